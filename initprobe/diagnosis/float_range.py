"""Rules about the float range: numbers that became too small or too large for the dtype."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.normed_scales import BELOW_EPSILON, is_below_epsilon
from initprobe.diagnosis.rule import Look, Observation, Rule
from initprobe.results.base import BACKWARD_TENSORS, FORWARD_TENSORS
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult


def _status_rule(*statuses: str) -> Look:
    """The first layer whose tensors have such a status: on the forward pass, else on the backward pass."""

    def look(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
        forward = [layer.layer for layer in result.layers if _any_status(layer, FORWARD_TENSORS, statuses)]
        back = [layer.layer for layer in result.layers if _any_status(layer, BACKWARD_TENSORS, statuses)]
        cause = BELOW_EPSILON if "underflow" in statuses and is_below_epsilon(result) else ""
        if forward:
            yield Observation(forward[0], "on the forward pass; all numbers computed from it are void", "error", cause)
        elif back:
            yield Observation(back[-1], _lost_back(result.layers[back[-1] - 1]), "error", cause)

    return look


def _lost_back(layer: LayerStats) -> str:
    """A probe can carry a gradient in another unit; training does not."""
    if layer.output_gradient.variance_log10 is not None:
        return "on the backward pass; training would lose it; its variance was measured in another unit"
    return "on the backward pass; all gradients before it are void"


def _any_status(layer: LayerStats, tensors: Sequence[str], statuses: Sequence[str]) -> bool:
    return any(layer.tensor(tensor).status in statuses for tensor in tensors)


RULES = (
    Rule(
        name="underflow",
        meaning="numbers fell below the normal range of the dtype",
        measurement="the status of each tensor",
        remedy="weights that keep the variance; --dtype float64 only moves the layer where it begins",
        reference="IEEE 754-2019",
        look=_status_rule("underflow"),
    ),
    Rule(
        name="overflow",
        meaning="numbers grew beyond the dtype and became infinite, then NaN",
        measurement="the status of each tensor",
        remedy="weights that keep the variance; --dtype float64 only moves the layer where it begins",
        reference="IEEE 754-2019",
        look=_status_rule("overflow", "nonfinite"),
    ),
)
