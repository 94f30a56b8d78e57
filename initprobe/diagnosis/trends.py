"""What a result means: findings as data, each with its evidence.

Rates and trends are judged, not one ratio: a variance that falls as a power of depth (Xavier + tanh) is no collapse,
and a net whose draws differ by a factor of ten (ReLU + He at depth) is not judged by one of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from initprobe.config.thresholds import Thresholds
from initprobe.formatting import power, short
from initprobe.results.base import Severity
from initprobe.results.run import ProbeResult

TensorProfile = list[tuple[int, float]]
# Powers of ten beyond this are said by their logarithm: a float holds few more.
FLOAT_DECADES = 300


@dataclass(frozen=True)
class Trend:
    """How log10 of a variance moves with depth.

    Attributes:
        change: decades from the first layer to the last.
        steady: decades a layer in the half of the net that moves less, 0 if the halves disagree in sign: what is left
            of a power law at depth, and all of an exponential.
        steps: layers between the two ends.
    """

    change: float
    steady: float
    steps: int

    @property
    def decades(self) -> float:
        """Decades that the steady rate makes over the whole depth."""
        return self.steady * self.steps


def trend(profile: Sequence[float]) -> Trend:
    """The trend of some log10 variances, first layer to last."""
    steps = len(profile) - 1
    if steps < 1:
        return Trend(0.0, 0.0, 0)
    middle = max(steps // 2, 1)
    early = (profile[middle] - profile[0]) / middle
    late = (profile[-1] - profile[middle]) / (steps - middle) if steps > middle else early
    steady = math.copysign(min(abs(early), abs(late)), early) if early * late > 0 else 0.0
    return Trend(profile[-1] - profile[0], steady, steps)


def _profile(result: ProbeResult, tensor: str) -> TensorProfile:
    """Layer and log10 variance, where it is known.

    What is inside of a branch is judged by what the branch adds. The read-out of a user's own model is left out:
    by having fewer units it takes a factor from the gradient once, at any depth. So are layers beside another: from one
    head to the next there is no way that a signal takes.
    """
    beside = layers_named(result, "beside")
    layers = [layer for layer in result.stream if layer.name not in beside]
    layers = layers[:-1] if layers[-1:] == list(result.layers[-1:]) and _has_readout(result) else layers
    known = ((layer.layer, layer.tensor(tensor).variance_log10) for layer in layers)
    return [(layer, value) for layer, value in known if value is not None]


def layers_named(result: ProbeResult, key: str) -> Collection[str | None]:
    """Layers that the probe of somebody's own model names under a key of its configuration."""
    named = result.config.get(key)
    return [str(name) for name in named] if isinstance(named, list) else []


def _has_readout(result: ProbeResult) -> bool:
    last = result.layers[-1]
    return last.name is not None and last.activation is None and last.fan_out < last.fan_in


def chance_decades(result: ProbeResult, tensor: str, limits: Thresholds) -> float:
    """Decades that chance may move a variance of this net, as predicted."""
    names = ("output_spread", "output_gradient_spread") if tensor == "weight_gradient" else (f"{tensor}_spread",)
    spreads = [math.hypot(*(getattr(layer.theory, name, None) or 0.0 for name in names)) for layer in result.layers]
    return limits.spread_sds * max(spreads, default=0.0) / math.log(10)


def real_trend(result: ProbeResult, tensor: str, sign: int, limits: Thresholds) -> tuple[Trend, TensorProfile] | None:
    """The trend of a tensor's variance on the signal's way, if it is steady, beyond chance, and of this sign."""
    profile = _profile(result, tensor)
    moved = trend([value for _, value in profile])
    if tensor != "output":  # gradients travel the other way
        moved = Trend(-moved.change, -moved.steady, moved.steps)
    least = limits.trend_decades + chance_decades(result, tensor, limits)
    return (moved, profile) if sign * moved.decades >= least else None


def severity_of(decades: float, limits: Thresholds) -> Severity:
    return "error" if abs(decades) >= limits.grave_decades else "warning"


def per_layer_words(rate: float, symbol: str, steps: str) -> str:
    if rate < 0:
        return f"{steps} keeps {variance_text(rate + 2)}% of the variance of {symbol}"
    return f"{steps} multiplies the variance of {symbol} by {variance_text(rate)}"


def steps_in_words(profile: TensorProfile, span: tuple[int, int], step: str) -> str:
    """`each layer`, or `each of layers 2 to 4` where the rate is that of a part of the profile."""
    start, end = span
    if (start, end) == (0, len(profile) - 1):
        return f"each {step}"
    first, last = profile[start][0] + 1, profile[end][0]
    if first >= last:
        return f"layer {last}"
    return f"each of layers {first} to {last}" if step == "layer" else f"each {step} of layers {first} to {last}"


def variance_text(log10: float) -> str:
    return short(10**log10) if abs(log10) < FLOAT_DECADES else power(log10)
