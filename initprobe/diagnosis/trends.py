"""How a variance moves with depth: its steady rate, what chance may do, and the words for both."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.kinds_of_net import is_plain, norm_name
from initprobe.formatting import power, short
from initprobe.results.base import Severity
from initprobe.results.run import ProbeResult

# How far a gradient may grow back through layers with a norm, as a multiple of `grave_decades`. Measured with ReLU and
# batch norm at width 40 on the digits. Each of 3 seeds made 300 steps of SGD with rate 0.1. At 5.0 decades (30 layers)
# the loss is 0.03 to 0.08. At 6.9 (40 layers) it is 0.5 to 1.1, and chance is 2.3. Tanh with layer norm hardly
# learns at 4.4 (60 layers).
_LIMITS_BACK = {"batch": 1.35, "layer": 1.0}
TensorProfile = list[tuple[int, float]]
# Beyond this power of ten a number is shown by its logarithm: a float holds few more.
FLOAT_DECADES = 300


class Trend(NamedTuple):
    """How log10 of a variance moves with depth.

    Attributes:
        change: decades from the first layer to the last.
        steady: decades per layer in the half of the net that moves less; 0 if the halves disagree in sign. Of a power
            law little is left at depth, of an exponential all.
        steps: layers between the two ends.
    """

    change: float
    steady: float
    steps: int

    @property
    def decades(self) -> float:
        """Decades over the whole depth at the steady rate."""
        return self.steady * self.steps


def trend(profile: Sequence[float]) -> Trend:
    """The trend of a profile.

    Args:
        profile: log10 variances, first layer to last.
    """
    steps = len(profile) - 1
    if steps < 1:
        return Trend(0.0, 0.0, 0)
    middle = max(steps // 2, 1)
    early = (profile[middle] - profile[0]) / middle
    late = (profile[-1] - profile[middle]) / (steps - middle) if steps > middle else early
    steady = math.copysign(min(abs(early), abs(late)), early) if early * late > 0 else 0.0
    return Trend(profile[-1] - profile[0], steady, steps)


def _profile(result: ProbeResult, tensor: str) -> TensorProfile:
    """Layers with their log10 variance, where it is defined; a branch is judged by what it adds."""
    variances = ((layer.layer, layer.tensor(tensor).variance_log10) for layer in result.stream)
    return [(layer, log10) for layer, log10 in variances if log10 is not None]


def _entries(result: ProbeResult, tensor: str, number: int) -> int:
    """Entries of a gradient at a layer: variance times entries is its squared norm, which no change of width alters."""
    layer = result.layers[number - 1]
    return layer.fan_out * (layer.fan_in if tensor == "weight_gradient" else 1)


def chance_decades(result: ProbeResult, tensor: str, limits: Thresholds) -> float:
    """Decades by which chance may move a variance of this net: as theory predicts, but no more than draws differ.

    First-order theory of the spread fails in narrow deep nets, where it can be thousands of times too large.

    Args:
        result: with its predictions.
        tensor: `output`, `output_gradient` or `weight_gradient`.
        limits: of the verdict: how many standard deviations are chance.
    """
    names = ("output_spread", "output_gradient_spread") if tensor == "weight_gradient" else (f"{tensor}_spread",)
    spreads = [math.hypot(*(getattr(layer.theory, name, None) or 0.0 for name in names)) for layer in result.layers]
    widest = math.sqrt(sum(_MOST_VARIANCE / layer.fan_out for layer in result.layers))
    predicted = limits.spread_sds * min(max(spreads, default=0.0), widest) / math.log(10)
    return min(predicted, _measured_chance(result, tensor, limits))


# Student's t, at the probability of 3 standard deviations, over 3: for 3 draws, 4, and so on.
_STUDENT = (6.4, 3.1, 2.2, 1.84, 1.63, 1.51, 1.43, 1.36)
_FEWEST_DRAWS = 3
# Chosen: the log of the factor of a layer has at most this variance over the width. ReLU has 5.
_MOST_VARIANCE = 40.0


def _changes_by_draw(result: ProbeResult, tensor: str) -> list[float]:
    """Decades by which a variance changes over the stream at its steady rate, in each draw where it is defined."""
    by_layer = [layer.tensor(tensor).variance_by_draw for layer in result.stream]
    draws = zip(*by_layer, strict=True)
    return [trend([math.log10(value) for value in draw]).decades for draw in draws if all(draw)]


def _measured_chance(result: ProbeResult, tensor: str, limits: Thresholds) -> float:
    """Decades by which chance may move the mean over draws, from the spread of the draws; infinite for few draws.

    A draw in which a variance is exactly 0 is left out, if most are not.
    """
    changes = _changes_by_draw(result, tensor)
    if len(changes) < max(_FEWEST_DRAWS, result.draws // 2):
        return math.inf
    student = _STUDENT[min(len(changes) - _FEWEST_DRAWS, len(_STUDENT) - 1)]
    return limits.spread_sds * student * statistics.stdev(changes) / math.sqrt(len(changes))


def _every_draw_moves(result: ProbeResult, tensor: str, sign: int, limits: Thresholds) -> bool:
    """Whether every draw has the trend. A net whose typical draw is predicted has a rule of its own for that."""
    changes = _changes_by_draw(result, tensor)
    way = sign if tensor == "output" else -sign
    enough = len(changes) >= max(_FEWEST_DRAWS, result.draws) and (result.typical is None or not is_plain(result))
    return enough and all(way * change >= limits.trend_decades for change in changes)


def real_trend(result: ProbeResult, tensor: str, sign: int, limits: Thresholds) -> tuple[Trend, TensorProfile] | None:
    """The trend of a tensor's variance and its profile, if it is steady, beyond chance, and of this sign.

    Where widths differ, a gradient of constant norm has another variance in each layer. So its norm must move too.
    A norm makes up for a gradient that grows backward, up to a limit of its own.

    Args:
        result: of a net of `run`.
        tensor: `output`, `output_gradient` or `weight_gradient`.
        sign: 1 for growth in the direction of travel, -1 for decay; gradients travel backward.
        limits: of the verdict.
    """
    profile = _profile(result, tensor)
    moved = trend([value for _, value in profile])
    chance = 0.0 if _every_draw_moves(result, tensor, sign, limits) else chance_decades(result, tensor, limits)
    back = norm_name(result) if sign > 0 and tensor != "output" else "none"
    least = (_LIMITS_BACK[back] * limits.grave_decades if back in _LIMITS_BACK else limits.trend_decades) + chance
    if tensor == "output":
        return (moved, profile) if sign * moved.decades >= least else None
    moved = Trend(-moved.change, -moved.steady, moved.steps)  # gradients travel the other way
    of_norm = -trend([value + math.log10(_entries(result, tensor, layer)) for layer, value in profile]).decades
    return (moved, profile) if min(sign * moved.decades, sign * of_norm) >= least else None


def severity_of(decades: float, limits: Thresholds) -> Severity:
    """An error from `grave_decades` on, else a warning.

    Args:
        decades, limits: log10 of the factor between the ends, and the thresholds.
    """
    return "error" if abs(decades) >= limits.grave_decades else "warning"


def per_layer_words(rate: float, symbol: str, steps: str) -> str:
    """`each layer keeps 5% of the variance of h`, for a rate in decades per layer.

    Args:
        rate: decades of the variance per layer.
        symbol: of the tensor: `h` or `dL/dh`.
        steps: the subject of the sentence: `each layer`.
    """
    if rate < 0:
        return f"{steps} keeps {variance_text(rate + 2)}% of the variance of {symbol}"
    return f"{steps} multiplies the variance of {symbol} by {variance_text(rate)}"


def steps_in_words(profile: TensorProfile, span: tuple[int, int], step: str) -> str:
    """`each layer`, or `each of layers 2 to 4` where the rate is of a part of the profile.

    Args:
        profile: pairs of layer and log10 of the variance.
        span: first and last place of the profile that the rate is of.
        step: `layer` or `block`.
    """
    start, end = span
    if (start, end) == (0, len(profile) - 1):
        return f"each {step}"
    first, last = profile[start][0] + 1, profile[end][0]
    if first >= last:
        return f"layer {last}"
    return f"each of layers {first} to {last}" if step == "layer" else f"each {step} of layers {first} to {last}"


def variance_text(log10: float) -> str:
    """A variance by its log10, also where it is beyond the float range."""
    return short(10**log10) if abs(log10) < FLOAT_DECADES else power(log10)
