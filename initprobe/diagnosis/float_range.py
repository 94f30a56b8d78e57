"""What a result means: findings as data, each with its evidence.

Rates and trends are judged, not one ratio: a variance that falls as a power of depth (Xavier + tanh) is no collapse,
and a net whose draws differ by a factor of ten (ReLU + He at depth) is not judged by one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.kinds_of_net import first_where, is_dense_chain
from initprobe.diagnosis.rule import Look, Observation
from initprobe.formatting import short
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult


def _tail(layer: LayerStats) -> float:
    """rms over median of |dL/dz|, for a distribution symmetric about 0; 0 where units may be off."""
    stats, unseen = layer.preactivation_gradient, layer.name is not None and layer.activation is None
    if unseen or layer.output.dead_fraction is not None or not stats.percentiles or not stats.rms:
        return 0.0
    median = (stats.percentiles.p75 - stats.percentiles.p25) / 2
    return stats.rms / median if median > 0 else math.inf


def heavy_tailed(result: ProbeResult, limits: Thresholds) -> Observation | None:
    def words(layer: LayerStats) -> str:
        ratio = _tail(layer)
        median = (
            "the median of |dL/dz| is 0" if math.isinf(ratio) else f"rms of dL/dz is {short(ratio)} times its median"
        )
        return f"{median}: few entries carry all of it"

    if not is_dense_chain(result):
        return None  # a pooling, a skipped position or a function between two layers makes zeros of its own
    return first_where(result, lambda layer: _tail(layer) > limits.tail, words, "warning")


def status_rule(*statuses: str) -> Look:
    def look(result: ProbeResult, limits: Thresholds) -> Observation | None:
        forward = [layer.layer for layer in result.layers if _any_status(layer, _FORWARD, statuses)]
        back = [layer.layer for layer in result.layers if _any_status(layer, _BACKWARD, statuses)]
        if forward:
            return Observation(forward[0], "on the way forward; what is computed from it is void", "error")
        return Observation(back[-1], _lost_back(result.layers[back[-1] - 1]), "error") if back else None

    return look


def _lost_back(layer: LayerStats) -> str:
    """A gradient can be carried in another unit, which training does not do."""
    carried = layer.output_gradient.variance_log10 is not None
    rest = "training would lose it; its variance is known in another unit" if carried else "what follows is void"
    return f"on the way back; {rest}"


_FORWARD = ("weight", "preactivation", "output")
_BACKWARD = ("output_gradient", "preactivation_gradient", "weight_gradient")


def _any_status(layer: LayerStats, tensors: Sequence[str], statuses: Sequence[str]) -> bool:
    return any(layer.tensor(tensor).status in statuses for tensor in tensors)
