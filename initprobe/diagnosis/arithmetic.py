"""Why a variance changes from layer to layer: a product that can be checked by hand.

Forward, `ms(h_l) = fan_in ms(W) ms(h_l-1) x ms(phi(z)) / ms(z)`. Back, `ms(dL/dh_l-1) = fan_out ms(W) ms(dL/dh_l) x
ms(dL/dz) / ms(dL/dh)`. Here ms is the mean square. The first factor is that of weights independent of their input. The
second is that of the activation, E[phi^2]/q and E[phi'^2]. Both are measured. The rest comes from finite width, biases
and means; it is named where it shows.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from initprobe.formatting import power, short
from initprobe.results.layers import LayerStats, TensorStats
from initprobe.results.run import ProbeResult
from initprobe.spec import parse_spec

# A factor this close to 1 vanishes in the three digits of the others.
_SILENT = math.log10(1.005)
# If the rest is beyond this factor, the product explains nothing.
_UNEXPLAINED = math.log10(2)
# From this share of the rms on, a mean makes mean square and variance differ, in h and in W.
_MEAN, _OF = 0.1, ("output", "weight")
# Two halves share the rate of the whole if their rates differ by less than a factor of 1.1. This is its log10.
_ALIKE = math.log10(1.1)
_SIDES = {
    "output": ("fan_in", "output", "preactivation", "E[phi^2]/q"),
    "output_gradient": ("fan_out", "preactivation_gradient", "output_gradient", "E[phi'^2]"),
}


def _halves(profile: Sequence[float]) -> tuple[int, float, float]:
    """Where the second half of a profile begins, and the rates of both halves; it has at least two values."""
    last = len(profile) - 1
    middle = max(last // 2, 1)
    early = (profile[middle] - profile[0]) / middle
    return middle, early, (profile[-1] - profile[middle]) / (last - middle) if last > middle else early


def steady_span(profile: Sequence[float]) -> tuple[int, int]:
    """First and last index of the half of a profile that moves less: its rate is the steady one."""
    last = len(profile) - 1
    if last < 2:
        return 0, last
    middle, early, late = _halves(profile)
    return (0, middle) if abs(early) <= abs(late) else (middle, last)


def stated_span(profile: Sequence[float]) -> tuple[int, int]:
    """First and last index of the part whose rate is stated. It is all if both halves move alike, else the steady half.

    Args:
        profile: log10 variances, layer by layer.
    """
    last = len(profile) - 1
    if last < 2:
        return 0, last
    _, early, late = _halves(profile)
    return (0, last) if abs(early - late) <= _ALIKE else steady_span(profile)


def arithmetic(result: ProbeResult, tensor: str, profile: Sequence[tuple[int, float]], rate: float) -> str:
    """`60 x 0.129^2 x 0.5 (E[phi^2]/q) = 0.5: `, a product of about 10^`rate`; empty where it explains nothing.

    Args:
        result: of a plain net.
        tensor: `output` or `output_gradient`; for others there is no product.
        profile: the layers and log10 variances from which the rate was computed.
        rate: decades per layer, in the direction of travel.
    """
    if tensor not in _SIDES:
        return ""
    start, end = stated_span([value for _, value in profile])
    numbers = range(profile[start][0] + 1, profile[end][0] + 1)
    layers = [result.layers[number - 1] for number in numbers]
    side, above, below, name = _SIDES[tensor]
    slopes = [2 * (a - b) for layer in layers for a, b in _pairs(layer.tensor(above), layer.tensor(below))]
    weights = _weights(layers, side, rate - statistics.fmean(slopes), _typed_std(result)) if slopes else None
    if weights is None:
        return ""
    of_activation = statistics.fmean(slopes)
    rest = rate - weights.log10 - of_activation
    if abs(rest) > _UNEXPLAINED:
        return ""
    named = ((of_activation, name), (rest, _rest_of(result, tensor, layers)))
    shown = [(log10, words) for log10, words in named if abs(log10) > _SILENT]
    factors = "".join(f" x {_number(log10)} ({words})" for log10, words in shown)
    return f"{weights.words}{factors} = {_number(weights.log10 + sum(log10 for log10, _ in shown))}: "


class _Weights(NamedTuple):
    """The factor by which the weights change a mean square: its log10, and the product in words."""

    log10: float
    words: str


def _pairs(above: TensorStats, below: TensorStats) -> Iterator[tuple[float, float]]:
    """log10 rms of two tensors, where both are defined and not 0."""
    if above.rms and below.rms:
        yield math.log10(above.rms), math.log10(below.rms)


def _typed_std(result: ProbeResult) -> float | None:
    """The std that the user typed, as in `normal:std=0.01`; None where they typed none."""
    init = result.config.get("init")
    spec = parse_spec(init) if isinstance(init, str) and "=" in init else None
    std = spec.params.get("std") if spec is not None and spec.name == "normal" else None
    return std if isinstance(std, float) and std > 0 else None


def _weights(layers: Sequence[LayerStats], side: str, needed: float, std: float | None) -> _Weights | None:
    """The factor of independent weights, or of a mean that adds up over inputs; the one closer to `needed`."""
    fans = [getattr(layer, side) for layer in layers]
    fan = round(statistics.geometric_mean(fans)) if len(set(fans)) == 1 else None
    factors = []
    if all(layer.weight.rms for layer in layers):
        size = statistics.fmean(math.log10(std or layer.weight.rms or 1) for layer in layers)
        factor = statistics.fmean(map(math.log10, fans)) + 2 * size
        words = f"{fan} x {_number(size)}^2" if fan else f"{_number(factor)} ({side} x mean W^2)"
        factors.append(_Weights(factor, words))
    if all(layer.weight.mean for layer in layers):
        mean = statistics.fmean(math.log10(abs(layer.weight.mean or 1)) for layer in layers)
        factor = 2 * (statistics.fmean(map(math.log10, fans)) + mean)
        words = f"({fan} x {_number(mean)})^2" if fan else f"{_number(factor)} (({side} x mean W)^2)"
        factors.append(_Weights(factor, words))
    return min(factors, key=lambda weights: abs(weights.log10 - needed), default=None)


def _rest_of(result: ProbeResult, tensor: str, layers: Sequence[LayerStats]) -> str:
    """What the rest comes from, in words."""
    if result.config.get("weights"):
        return "all else"
    means = [
        abs(layer.tensor(name).mean or 0) > _MEAN * (layer.tensor(name).rms or 0) for layer in layers for name in _OF
    ]
    biased = tensor == "output" and result.config.get("bias_init") is not None
    causes = ("biases" if biased else "", "means" if any(means) else "", "finite width")
    return ", ".join(filter(None, causes))


def _number(log10: float) -> str:
    """A factor as people write it: 0.05 and not 0.0500."""
    if abs(log10) > 300:
        return power(log10)
    value = 10**log10
    return f"{value:.3g}" if 1e-3 < value < 999.5 else short(value)
