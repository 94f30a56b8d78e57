"""The loss at the start, one step of an optimizer, and training, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from initprobe.formatting import counted, short, sparkline
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Training

_CURVE = 20


def start_words(result: ProbeResult) -> str | None:
    """The starting loss beside the loss of chance."""
    loss = result.loss
    if loss is None:
        return None
    start = "beyond the float range" if loss.start is None else f"{loss.start:.4g}"
    draws, batches = _counts(result)
    several = [words for count, words in ((draws, f"{draws} draws"), (batches, f"{batches} batches")) if count > 1]
    mean = f" (mean of {' x '.join(several)})" if several else ""
    return f"{loss.name} {start} at the start{mean}, chance {loss.chance_words} = {loss.chance:.4g} ({loss.task})"


def _counts(result: ProbeResult) -> tuple[int, int]:
    """The number of draws and of batches per draw."""
    batches = result.config.get("batches")
    return result.draws, batches if isinstance(batches, int) else 1


def _of_first(result: ProbeResult) -> str:
    """Words for what is done with the first network and its first batch alone, where there are more."""
    draws, batches = _counts(result)
    words = " of the ".join(["first batch"] * (batches > 1) + ["first draw"] * (draws > 1))
    return f" ({words})" if words else ""


def step_words(result: ProbeResult) -> str:
    """The loss before and after one step, and the rate above which a small step grows."""
    step = result.step
    if step is None:
        return ""
    rate = f"of {step.optimizer} at {step.learning_rate:g}{_of_first(result)}"
    loss = f"{rate}: loss {short(step.loss_before)} -> {short(step.loss_after)}"
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
    rate = (
        f"{training.steps} steps of SGD, rate {training.learning_rate:g}{' (first draw)' if result.draws > 1 else ''}"
    )
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
