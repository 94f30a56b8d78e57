"""The loss at the start, one step of an optimizer, and training, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from initprobe.formatting import counted, short, sparkline
from initprobe.results.run import ProbeResult
from initprobe.results.step import StepStats
from initprobe.results.summary import LossStats, Training

_CURVE = 20


def start_words(loss: LossStats | None) -> str | None:
    """The starting loss beside the loss of chance."""
    if loss is None:
        return None
    start = "beyond the float range" if loss.start is None else f"{loss.start:.4g}"
    return f"{loss.name} {start} at the start, chance {loss.chance_words} = {loss.chance:.4g} ({loss.task})"


def step_words(step: StepStats | None) -> str:
    """The loss before and after one step, and the rate above which a small step grows."""
    if step is None:
        return ""
    loss = f"of {step.optimizer} at {step.learning_rate:g}: loss {short(step.loss_before)} -> {short(step.loss_after)}"
    if step.largest_curvature is None:
        return f"{loss}; curvature not computed: {step.curvature_note}"
    if step.highest_rate is None:
        return f"{loss}; largest curvature {short(step.largest_curvature)}, which limits no rate"
    limit = f"above the rate {short(step.highest_rate)} the loss may rise at first"
    return f"{loss}; largest curvature {short(step.largest_curvature)}: {limit}"


def training_words(result: ProbeResult) -> str | None:
    """The loss before and after training, and the change of the variances at both ends."""
    training = result.training
    if training is None:
        return None
    rate = f"{training.steps} steps of SGD, rate {training.learning_rate:g}"
    if training.final_loss is None or training.layers is None:
        return f"{rate}: diverged after {_steps(training.diverged_at)}, {_broken(training, len(result.layers))}"
    means = _resampled(training.losses, _CURVE)
    curve = sparkline([loss / max(means) if max(means) else 0 for loss in means])
    first, last = result.stream[0], result.stream[-1]
    changes = (
        ("h", last.layer, last.output, training.layers[-1].output),
        ("dL/dh", first.layer, first.output_gradient, training.layers[first.layer - 1].output_gradient),
    )
    moved = ", ".join(
        f"var {name} of layer {layer} {short(a.variance, a.variance_log10)} -> {short(b.variance, b.variance_log10)}"
        for name, layer, a, b in changes
    )
    return f"{rate}: loss {training.losses[0]:.4g} -> {training.final_loss:.4g} {curve}\n{'':<10}{moved}"


def _steps(count: int | None) -> str:
    return counted(count or 0, "step")


def _broken(training: Training, layers: int) -> str:
    """Where the trained net broke."""
    at = training.diverged_layer
    where = "the read-out" if at is None or at > layers else f"layer {at}"
    return f"where {where} left the float range; lower --learning-rate"


def _resampled(values: Sequence[float], count: int) -> list[float]:
    """At most `count` means of equal parts of a series, in order."""
    return [float(part.mean()) for part in np.array_split(np.asarray(values), min(count, len(values)))]
