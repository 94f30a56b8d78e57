"""Rules about what an average hides: a gradient of few entries, and a scale that small deviations upset."""

from __future__ import annotations

import math
from collections.abc import Iterator

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.rule import Observation, Rule, each_layer
from initprobe.diagnosis.trends import real_trend
from initprobe.formatting import factor_of, fixed, short
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult

# From this rms over the 95th percentile on, 5% of the entries carry 90%: 1 - 0.95 / 3.08^2.
_FEW_CARRY_MOST = 3.08


def _tail(layer: LayerStats) -> float:
    """rms over median of |dL/dz|, for a distribution symmetric about 0; 0 where units are off, or many carry it.

    Where half of the units are on a flat end, the median is near 0. The other half carries the gradient.
    """
    stats = layer.preactivation_gradient
    if layer.output.dead_fraction is not None or not stats.percentiles or not stats.rms:
        return 0.0
    median = (stats.percentiles.p75 - stats.percentiles.p25) / 2
    if stats.rms < _FEW_CARRY_MOST * (stats.percentiles.p95 - stats.percentiles.p5) / 2:
        return 0.0
    return stats.rms / median if median > 0 else math.inf


def _heavy_tailed(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    def words(layer: LayerStats) -> str:
        ratio = _tail(layer)
        beside = f"rms of dL/dz is {short(ratio)} times its median"
        median = "the median of |dL/dz| is 0" if math.isinf(ratio) else beside
        return f"{median}, and 5% of the entries carry over 90% of its square"

    return each_layer(result, lambda layer: _tail(layer) > limits.tail, words, "warning")


def _unstable_gain(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    """The steepest slope counts, not the product: once the scale has slipped, the map is level again."""
    slopes = {
        layer.layer: slope
        for layer in result.layers
        if layer.theory is not None and (slope := layer.theory.length_slope) is not None
    }
    steepest = max(slopes, key=lambda layer: slopes[layer], default=0)
    if not slopes or not slopes[steepest] > 0:
        return
    growth = len(slopes) * math.log10(slopes[steepest])
    if growth < math.log10(limits.unstable):
        return
    slips = any(real_trend(result, tensor, way, limits) for tensor in ("output", "output_gradient") for way in (-1, 1))
    evidence = (
        f"length-map slope {fixed(slopes[steepest], 3)} at layer {steepest}: to the power of {len(slopes)}, "
        f"deviations in scale grow {factor_of(growth)}"
    )
    yield Observation(steepest, evidence, "warning" if slips else "info")


RULES = (
    Rule(
        name="heavy-tailed-gradient",
        meaning="a few units carry almost the whole gradient, and the median unit gets almost none",
        measurement="rms of dL/dz over the median of its magnitude",
        remedy="smaller weights: a net that saturates forward explodes backward",
        reference="Hanin & Nica 2020, arXiv:1812.05994",
        look=_heavy_tailed,
        from_layer_on=True,
    ),
    Rule(
        name="unstable-gain",
        meaning="the length map is steeper than 1 here, so no constant gain keeps the scale at depth",
        measurement="largest predicted d log q_l / d log q_(l-1), to the power of the depth",
        remedy="--norm layer or --residual; a gain only changes the depth at which the scale is lost",
        reference="Poole et al. 2016, arXiv:1606.05340; Hayou et al. 2019, arXiv:1902.06853",
        look=_unstable_gain,
    ),
)
