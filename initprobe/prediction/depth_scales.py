"""Depth scales, measured and predicted: over how many layers a gradient changes by e, and q and correlations settle.

Both values are slopes of a straight line through logs over the same layers. So a network of finite depth is compared
with theory for the same depth. The limit is the value at the fixed point of an infinitely deep network.
Schoenholz et al. 2017, arXiv:1611.01232.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from initprobe.arrays import finite
from initprobe.config.probe_config import ProbeConfig
from initprobe.meanfield.phase import FixedPoint, quick_fixed_point
from initprobe.prediction.rules import rule
from initprobe.results.layers import LayerStats
from initprobe.results.summary import DepthScale, DepthScales

# Layer number, measured log, predicted log.
Point = tuple[int, float, float]

_FEWEST_POINTS = 3
# A distance from the limit counts if it exceeds this many standard deviations of chance plus float32 rounding.
_SDS, _ROUNDING = 4.0, 1e-5
# A log that changes by less per layer is constant up to rounding of float64, and has no scale.
_LEAST_SLOPE = 1e-12


def depth_scales(config: ProbeConfig, layers: Sequence[LayerStats]) -> DepthScales | None:
    """The depth scales of a measured network, whose `layers` hold their predictions.

    Args:
        config: of the run.
        layers: measured, first to last.

    Returns:
        Scales in layers; None where a layer has no prediction.
    """
    if any(layer.theory is None for layer in layers):
        return None
    limit = _limit(config, layers)
    gradient = _fitted(_gradients(layers), -1, None if limit is None else limit.xi_gradient)
    if limit is None or limit.settling == "diverges":
        return DepthScales(gradient=gradient, correlation=None, length=None)
    return DepthScales(
        gradient=gradient,
        correlation=_fitted(_correlations(config, layers, limit.correlation), 1, limit.xi_c),
        length=_fitted(_lengths(layers, limit.q), 1, limit.xi_q),
    )


def _limit(config: ProbeConfig, layers: Sequence[LayerStats]) -> FixedPoint | None:
    """The fixed point of a deeper network with the same layers. None where the layers differ or there is no theory."""
    if not config.is_plain or config.network is not None:  # layers from a file always differ a little
        return None
    rules = [rule(config, fans) for fans in {(layer.fan_in, layer.fan_out) for layer in layers[1:]}]
    scales = {(r.n_in * r.weight_variance, r.bias_variance) for r in rules}
    if len(scales) != 1 or any(r.weight_mean or r.bias_mean for r in rules):
        return None
    weights, biases = scales.pop()
    return quick_fixed_point(config.activation, math.sqrt(weights), math.sqrt(biases))


def _fitted(points: Iterator[Point], sign: int, limit: float | None) -> DepthScale | None:
    """`sign` times the depth over which the logs fall by 1, by least squares; None for too few points."""
    table = np.array(list(points))
    if len(table) < _FEWEST_POINTS or (limit is not None and math.isinf(limit)):
        return None  # at the edge of chaos values change as powers of depth, which have no scale
    layer = table[:, 0] - table[:, 0].mean()
    slopes = layer @ table[:, 1:] / (layer @ layer)
    measured, predicted = (finite(-sign / slope) if abs(slope) >= _LEAST_SLOPE else None for slope in slopes.tolist())
    return DepthScale(measured=measured, predicted=predicted, limit=None if limit is None else finite(limit))


def _gradients(layers: Sequence[LayerStats]) -> Iterator[Point]:
    """Logs of Var(dL/dh)."""
    for layer in [layer for layer in layers if not layer.inside_branch]:
        measured, predicted = layer.output_gradient.variance_log10, _predicted(layer, "output_gradient_variance")
        if measured is not None and predicted:
            yield layer.layer, measured * math.log(10), math.log(predicted)


def _correlations(config: ProbeConfig, layers: Sequence[LayerStats], limit: float) -> Iterator[Point]:
    """Logs of the correlation's distance from its limit, up to the layer where it is within chance."""
    for layer in layers:
        chance = _SDS * (1 - limit**2) / math.sqrt(layer.fan_out * config.draws) + _ROUNDING
        predicted = _predicted(layer, "correlation")
        if layer.correlation is None or predicted is None:
            return
        gaps = abs(layer.correlation - limit), abs(predicted - limit)
        if min(gaps) <= chance:
            return
        yield layer.layer, math.log(gaps[0]), math.log(gaps[1])


def _lengths(layers: Sequence[LayerStats], limit: float) -> Iterator[Point]:
    """Logs of the distance of Var(z) from its limit, up to the layer where it is within chance."""
    for layer in layers:
        log10, predicted = layer.preactivation.variance_log10, _predicted(layer, "preactivation_variance")
        if log10 is None or predicted is None or log10 < math.log10(np.finfo(float).tiny):
            return
        spread = layer.theory.output_spread if layer.theory else None
        gaps = abs(10**log10 - limit), abs(predicted - limit)
        if min(gaps) <= max(_SDS * (spread or 0.0), _ROUNDING) * limit:
            return
        yield layer.layer, math.log(gaps[0]), math.log(gaps[1])


def _predicted(layer: LayerStats, name: str) -> float | None:
    value: float | None = getattr(layer.theory, name)
    return value
