"""What theory predicts for a layer of a PyTorch model, from the graph of its operations."""

from __future__ import annotations

from initprobe.results.base import Finite, Record


class Predicted(Record):
    """The prediction of one tensor, over all its entries.

    Attributes:
        mean_square: mean square of the entries.
        variance: variance about their mean.
        log_sd: standard deviation of `log(measured / predicted)` of the variance that independent weights allow.
        log_mean: mean of that log. One draw of random weights is log-normal about the mean over draws, so its log lies
            half its variance lower.
        z: `log(measured / predicted)` of the variance less `log_mean`, in units of `log_sd`.
        reason: why there is no prediction; null where there is one.
    """

    mean_square: Finite | None = None
    variance: Finite | None = None
    log_sd: Finite | None = None
    log_mean: Finite | None = None
    z: Finite | None = None
    reason: str | None = None


class TheoryColumn(Record):
    """The predictions of a layer that start from the same place.

    Attributes:
        preactivation: z.
        output: h.
        output_gradient: dL/dh.
    """

    preactivation: Predicted
    output: Predicted
    output_gradient: Predicted


class ModelTheory(Record):
    """What a layer with independent weights of the measured variance does.

    Attributes:
        local: from the measured input of the layer, and from the measured gradients of the operations that take h.
        end_to_end: from the input of the model, and from the gradient of the loss at its output. It starts again
            behind an operation without a rule, from what was measured there.
        restarted: the operation without a rule behind which `end_to_end` started last; null where it never did.
    """

    local: TheoryColumn
    end_to_end: TheoryColumn
    restarted: str | None = None
