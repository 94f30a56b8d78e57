"""Rules about the scale of weights: the wrong fan, one odd layer, and an initializer made for another activation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from initprobe.arrays import mean
from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.kinds_of_net import is_plain, norm_name
from initprobe.diagnosis.rule import Observation, Rule
from initprobe.diagnosis.trends import FLOAT_DECADES, chance_decades, real_trend, severity_of
from initprobe.formatting import factor, short
from initprobe.results.base import Severity
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult

_FEWEST_LAYERS = 3  # of which a median says something


def _scales(result: ProbeResult, side: Callable[[LayerStats], int]) -> list[float]:
    """`fan x Var(W)` per layer, where `side` gives fan_in or fan_out; empty if one is undefined, 0 or infinite."""
    scales = [side(layer) * (layer.weight.variance or 0.0) for layer in result.layers]
    return scales if all(0 < scale < math.inf for scale in scales) else []


def _fan_mismatch(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    if not is_plain(result):
        return  # a norm divides by the scale, and a skip bypasses it
    inward, outward = _scales(result, lambda layer: layer.fan_in), _scales(result, lambda layer: layer.fan_out)
    if not inward or max(outward) > (1 + 2 * limits.recognised) * min(outward):
        return
    ratio = max(inward) / min(inward)
    if ratio < limits.mismatch:
        return
    typical = statistics.median(inward)
    layer = max(result.layers, key=lambda layer: abs(math.log(inward[layer.layer - 1]) - math.log(typical)))
    evidence = (
        f"fan_out x Var(W) = {short(outward[0])} in every layer, but the signal follows fan_in x Var(W): "
        f"{short(inward[layer.layer - 1])} at layer {layer.layer} ({layer.fan_in} -> {layer.fan_out})"
    )
    yield Observation(layer.layer, evidence, "warning" if math.log10(ratio) >= limits.trend_decades else "info")


# fan_in Var(W) of the customary rules, with the nets that they were made for.
_CUSTOMARY = {
    "torch.nn.Linear's": 1 / 3,
    "Xavier's or LeCun's, for tanh and linear nets": 1.0,
    "He's, for ReLU nets": 2.0,
}


def _customary(scale: float, tolerance: float) -> str | None:
    """The customary rule with this `fan_in Var(W)`; `tolerance` is of its log."""
    return next((name for name, at in _CUSTOMARY.items() if abs(math.log(scale / at)) <= tolerance), None)


def _wrong_initializer(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    """A signal that decays or grows by exactly the factor between two customary rules."""
    scales = _scales(result, lambda layer: layer.fan_in)
    if not is_plain(result) or not scales or max(scales) > (1 + 2 * limits.recognised) * min(scales):
        return
    trends = [
        (tensor, moved_profile[0])
        for tensor in ("output", "output_gradient")
        for way in (-1, 1)
        if (moved_profile := real_trend(result, tensor, way, limits))
    ]
    if not trends:
        return
    tensor, moved = trends[0]
    if abs(moved.steady) > FLOAT_DECADES:
        return  # no customary rule differs that much from another
    scale = mean(scales)
    needed = scale / 10**moved.steady
    chance = chance_decades(result, tensor, limits) * math.log(10) / moved.steps
    used, fitting = _customary(scale, limits.recognised), _customary(needed, limits.recognised + chance)
    if used is None or fitting in (None, used):
        return
    evidence = f"fan_in x Var(W) = {scale:.2g} is {used}; this net needs {needed:.2g}: {fitting}"
    yield Observation(1, evidence, "warning")


class _Weights(NamedTuple):
    """The weights of a layer: how large they are, and between how many units."""

    layer: int
    rms: float
    fan_in: int
    fan_out: int

    @property
    def scales(self) -> tuple[float, ...]:
        """What initializers hold constant: `sqrt(fan_in E[W^2])`, `sqrt(fan_out E[W^2])`, or `sqrt(E[W^2])`."""
        return math.sqrt(self.fan_in) * self.rms, math.sqrt(self.fan_out) * self.rms, self.rms


def _odd_layers(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    """Of given weights, the layer furthest from the others; then the next among those that are left.

    Weights that `run` draws by one rule are not judged. The rule of given weights is not known, so an odd layer must be
    odd by every rule.
    """
    if not result.config.get("weights"):
        return
    left = [
        _Weights(layer.layer, layer.weight.rms, layer.fan_in, layer.fan_out)
        for layer in result.layers
        if layer.weight.rms
    ]
    while len(left) >= _FEWEST_LAYERS:
        odd = max(left, key=lambda weights: abs(math.log(_ratios(weights, left)[0])))
        ratios = _ratios(odd, left)
        if not (min(ratios) > limits.odd or max(ratios) < 1 / limits.odd**2):
            return
        yield _odd_observation(result, odd, ratios[0], len(left), limits)
        left.remove(odd)


def _odd_observation(result: ProbeResult, odd: _Weights, ratio: float, count: int, limits: Thresholds) -> Observation:
    evidence = (
        f"sqrt({odd.fan_in} x E[W^2]) = {short(odd.scales[0])} where the median of {count} layers is "
        f"{short(odd.scales[0] / ratio)}: {factor(ratio)}"
    )
    undone = norm_name(result) != "none"
    severity: Severity = "info" if undone else severity_of(2 * math.log10(ratio), limits)
    cause = "the norm after it corrects the scale, but not the learning rate that it needs" if undone else ""
    return Observation(odd.layer, evidence, severity, cause)


def _ratios(weights: _Weights, every: Sequence[_Weights]) -> list[float]:
    """The scales of a layer over the medians of all."""
    medians = [statistics.median(scales) for scales in zip(*(other.scales for other in every), strict=True)]
    return [scale / median for scale, median in zip(weights.scales, medians, strict=True)]


RULES = (
    Rule(
        name="fan-mismatch",
        meaning="the weights are scaled by fan_out, but the signal needs a scale by fan_in",
        measurement="fan_out Var(W) the same in every layer while fan_in Var(W) varies",
        remedy="mode=fan_in; fan_out keeps the gradient's variance instead",
        reference="He et al. 2015, arXiv:1502.01852",
        look=_fan_mismatch,
        of_weights=True,
    ),
    Rule(
        name="odd-layer",
        meaning="the weights of one layer have another scale than all others, which is usually a mistake",
        measurement="sqrt(fan_in E[W^2]) of a module, or of a layer of --weights, against the median",
        remedy="the initializer of the other layers",
        reference="Glorot & Bengio 2010, AISTATS 9:249",
        look=_odd_layers,
        of_weights=True,
    ),
    Rule(
        name="wrong-initializer",
        meaning="the weights follow a common initializer, but one made for another activation",
        measurement="fan_in Var(W) against the factor by which the signal changes per layer",
        remedy="the rule made for this activation",
        reference="He et al. 2015, arXiv:1502.01852",
        look=_wrong_initializer,
    ),
)
