"""What a result means: findings as data, each with its evidence.

Rates and trends are judged, not one ratio: a variance that falls as a power of depth (Xavier + tanh) is no collapse,
and a net whose draws differ by a factor of ten (ReLU + He at depth) is not judged by one of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from initprobe.arrays import mean
from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.kinds_of_net import is_chain, is_plain, norm_name
from initprobe.diagnosis.rule import Observation
from initprobe.diagnosis.trends import FLOAT_DECADES, chance_decades, real_trend, severity_of
from initprobe.formatting import factor, short
from initprobe.results.base import Severity
from initprobe.results.layers import LayerStats, ModuleStats
from initprobe.results.run import ProbeResult


def _scales(result: ProbeResult, side: Callable[[LayerStats], int]) -> list[float]:
    """`fan x Var(W)` of every layer, by `side` fan_in or fan_out; empty where one is not known, 0 or infinite."""
    scales = [side(layer) * (layer.weight.variance or 0.0) for layer in result.layers]
    return scales if all(0 < scale < math.inf for scale in scales) else []


def fan_mismatch(result: ProbeResult, limits: Thresholds) -> Observation | None:
    if not is_plain(result):
        return None  # a norm divides by the scale, and a skip goes round it
    inward, outward = _scales(result, lambda layer: layer.fan_in), _scales(result, lambda layer: layer.fan_out)
    if not inward or max(outward) > (1 + 2 * limits.recognised) * min(outward):
        return None
    ratio = max(inward) / min(inward)
    if ratio < limits.mismatch:
        return None
    typical = statistics.median(inward)
    layer = max(result.layers, key=lambda layer: abs(math.log(inward[layer.layer - 1]) - math.log(typical)))
    evidence = (
        f"fan_out x Var(W) = {short(outward[0])} everywhere, but what the signal meets, fan_in x Var(W), is "
        f"{short(inward[layer.layer - 1])} at layer {layer.layer} ({layer.fan_in} -> {layer.fan_out})"
    )
    return Observation(layer.layer, evidence, "warning" if math.log10(ratio) >= limits.trend_decades else "info")


# fan_in Var(W) of the rules that everybody uses, and for what they were made.
_CUSTOMARY = {
    "torch.nn.Linear's": 1 / 3,
    "Xavier's or LeCun's, for tanh and linear nets": 1.0,
    "He's, for ReLU nets": 2.0,
}


def _customary(scale: float, tolerance: float) -> str | None:
    """Whose rule has this `fan_in Var(W)`; `tolerance` is of its log."""
    return next((name for name, at in _CUSTOMARY.items() if abs(math.log(scale / at)) <= tolerance), None)


def wrong_initializer(result: ProbeResult, limits: Thresholds) -> Observation | None:
    """A signal that decays or grows by exactly the factor between two customary rules."""
    scales = _scales(result, lambda layer: layer.fan_in)
    if not is_plain(result) or not scales or max(scales) > (1 + 2 * limits.recognised) * min(scales):
        return None
    scale, tensors = mean(scales), ("output", "output_gradient")
    found = [(t, seen) for t in tensors for way in (-1, 1) if (seen := real_trend(result, t, way, limits))]
    if not found:
        return None
    tensor, (moved, _) = found[0]
    if abs(moved.steady) > FLOAT_DECADES:
        return None  # no customary rule is that far from another
    needed = scale / 10**moved.steady
    chance = chance_decades(result, tensor, limits) * math.log(10) / moved.steps
    used, fitting = _customary(scale, limits.recognised), _customary(needed, limits.recognised + chance)
    if used is None or fitting in (None, used):
        return None
    evidence = f"fan_in x Var(W) = {scale:.2g} is {used}; this net needs {needed:.2g}: {fitting}"
    return Observation(1, evidence, "warning")


@dataclass(frozen=True)
class _Weights:
    """A module's weights, or in a net of `run` a layer's: whose, how large, and between how many units."""

    name: str | None
    layer: int
    rms: float
    fan_in: int
    fan_out: int

    @property
    def scales(self) -> tuple[float, ...]:
        """What initializers hold constant: `sqrt(fan_in E[W^2])` first, then by fan_out, then as it is."""
        return math.sqrt(self.fan_in) * self.rms, math.sqrt(self.fan_out) * self.rms, self.rms


def _all_weights(result: ProbeResult) -> list[_Weights]:
    """Every module's weights by name, or every layer's where they were given, unless they are all 0.

    Weights that `run` draws by one rule are not asked about.
    """
    if result.config.get("weights"):
        return [
            _Weights(None, one.layer, one.weight.rms, one.fan_in, one.fan_out)
            for one in result.layers
            if one.weight.rms
        ]
    found = {
        one.name: _Weights(one.name, _layer_of(result, one), one.weight.rms, one.fan_in, one.fan_out or 1)
        for one in result.modules
        if one.fan_in is not None and one.weight is not None and one.weight.rms
    }
    return list(found.values())


def odd_layer(result: ProbeResult, limits: Thresholds) -> Observation | None:
    """The weights furthest from the others; smaller ones are often so on purpose, and a norm undoes it.

    Given weights of nets of `run` were drawn by a rule that nobody knows, so they have to be odd by every rule.
    """
    every = _all_weights(result)
    if len(every) < 3:
        return None
    odd = max(every, key=lambda one: abs(math.log(_ratios(one, every)[0])))
    ratios = _ratios(odd, every) if odd.name is None else _ratios(odd, every)[:1]
    if not (min(ratios) > limits.odd or max(ratios) < 1 / limits.odd**2):
        return None
    ratio, what = ratios[0], "layers" if odd.name is None else "modules"
    evidence = (
        f"sqrt({odd.fan_in} x E[W^2]) = {short(odd.scales[0])} where the median of {len(every)} {what} is "
        f"{short(odd.scales[0] / ratio)}: {factor(ratio)}"
    )
    undone = _is_normalised(result, odd)
    harmless = undone or (ratio < 1 and not is_chain(result))
    severity: Severity = "info" if harmless else severity_of(2 * math.log10(ratio), limits)
    cause = "the norm after it makes up for that, though not for the learning rate that it needs" if undone else ""
    return Observation(odd.layer, evidence, severity, cause, odd.name)


def _ratios(one: _Weights, every: Sequence[_Weights]) -> list[float]:
    """A layer's scales over the median of all."""
    medians = [statistics.median(scales) for scales in zip(*(other.scales for other in every), strict=True)]
    return [scale / median for scale, median in zip(one.scales, medians, strict=True)]


def _is_normalised(result: ProbeResult, odd: _Weights) -> bool:
    if odd.name is None:
        return norm_name(result) != "none"
    own = [one for one in result.modules if one.layer is not None and one.layer == _own_layer(result, odd.name)]
    return any(one.kind == "normalisation" for one in own)


def _own_layer(result: ProbeResult, name: str) -> int | None:
    return next(one.layer for one in reversed(result.modules) if one.name == name)


def _layer_of(result: ProbeResult, module: ModuleStats) -> int:
    """The layer a module is a part of, else the last that came before it, else the first."""
    before = result.modules[: result.modules.index(module) + 1]
    return module.layer or next((one.layer for one in reversed(before) if one.layer), 1)
