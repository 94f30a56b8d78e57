"""Slopes in residual branches: a skip passes the gradient whatever they are, so no trend of the stream shows them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from initprobe.diagnosis.kinds_of_net import adding_layers, branch_scale
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult


def branch_slopes(result: ProbeResult) -> dict[int, float]:
    """log10 of E[phi'^2] per layer whose activation is in a residual branch, where a gradient arrives.

    Args:
        result: of a net of `run`.
    """
    return {
        layer.layer: slope - 2 * math.log10(scale)
        for layer, scale in _with_scales(result)
        if scale and (slope := _slope_log10(layer)) is not None
    }


def _with_scales(result: ProbeResult) -> Iterator[tuple[LayerStats, float]]:
    """Layers with an activation in a branch, and the factor between their activation and h."""
    ends, alone = adding_layers(result), result.config.get("block", 1) == 1
    for layer in result.layers:
        if layer.inside_branch:
            yield layer, 1.0
        elif alone and layer.layer in ends:
            yield layer, abs(branch_scale(result))


def _slope_log10(layer: LayerStats) -> float | None:
    """log10 of Var(dL/dz) over Var(dL/dh); None where one is 0."""
    passed, given = layer.preactivation_gradient.variance_log10, layer.output_gradient.variance_log10
    return None if passed is None or given is None else passed - given
