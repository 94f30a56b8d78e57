"""What one step of training does, and the curvature that limits its rate."""

from __future__ import annotations

from initprobe.results.base import Finite, Record


class StepStats(Record):
    """One step of an optimizer from the start, on the first batch of the first network.

    Attributes:
        optimizer: `sgd`, `adam` or `adamw`.
        learning_rate: of the step.
        loss_before: the loss at the start.
        loss_after: the loss of the same batch after the step; null where it is not finite.
        largest_curvature: the largest eigenvalue of the Hessian of the loss by all parameters that learn. Null where it
            was not computed, and `curvature_note` says why.
        highest_rate: 2 / `largest_curvature`: above this rate of SGD, a small step along the eigenvector grows. The
            loss may rise at first. Null without a positive curvature.
        curvature_note: why there is no curvature; null with one.
    """

    optimizer: str
    learning_rate: Finite
    loss_before: Finite | None
    loss_after: Finite | None
    largest_curvature: Finite | None
    highest_rate: Finite | None
    curvature_note: str | None
