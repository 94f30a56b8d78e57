"""What theory of norms and skips leaves out: bounds on the logs of its predictions.

Under batch norm a part of the first order in 1/width is not derived. The second order matters too, and what the
simulation of rows (`row_lengths`) leaves out. The bounds are measured; no prediction is changed by them. Layer norm and
skips without a batch norm need none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from initprobe.activations.skips import Wiring
from initprobe.meanfield.batch_norm import NOTHING
from initprobe.meanfield.finite_width import LayerSpread, Spread
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.norm_and_skip_gradients import LayerPass, missing_after
from initprobe.meanfield.row_lengths import LengthEffects

# Measured, not derived: bounds on what is left out of the log variance of dL/dh, by norm axis and skip. They
# are per layer above, in units of 1/width.
_LEFT_OUT: dict[tuple[int | None, bool], float] = {(0, False): 0.5, (0, True): 1.0}
# Measured too, under batch norm. The first is of the second order in `sum share^2`, per layer. One of its two factors
# is what a finite width adds. The others are shares of the effects of unequal rows, on gradients and on outputs. The
# networks had 7 activations and 8 to 20 layers of 75 to 1,000 units. Inputs were 24 to 400 samples, noise or digits.
_SECOND_ORDER, _OF_LENGTHS, _OF_LENGTHS_FORWARD = 3.0, 0.6, 0.5
# And for dL/dW: the share of what norms above remove that may be wrong.
_OF_STEPS = 0.35


class BatchRows(NamedTuple):
    """What is known of the rows of a batch: the effects of their lengths at every layer, and their number."""

    lengths: Sequence[LengthEffects]
    batch: int


def with_left_out(
    spreads: Sequence[LayerSpread],
    layers: Sequence[Layer],
    wirings: Sequence[Wiring],
    passes: Sequence[LayerPass],
    rows: BatchRows,
) -> list[LayerSpread]:
    """The spreads of every layer, with what the lengths of rows add and the bounds on what is left out.

    Args:
        spreads: to first order in 1/width.
        layers: first to last.
        wirings: norm and skip of each.
        passes: the forward passes.
        rows: of a batch.
    """
    forward = [0.0] * len(layers)
    if any(wiring.by_batch for wiring in wirings):
        forward = [_forward(here, each, rows.batch) for here, each in zip(passes, rows.lengths, strict=True)]
    left_out = *_backward(layers, wirings, passes, rows), forward
    return [
        spread._replace(
            output=_wider(spread.output, of_rows.output_sd),
            output_gradient=_wider(spread.output_gradient, of_rows.output_gradient_sd),
            underived_gradient=gradient,
            underived_weight=weight,
            underived_output=output,
        )
        for spread, of_rows, gradient, weight, output in zip(spreads, rows.lengths, *left_out, strict=True)
    ]


def _wider(spread: Spread, sd: float) -> Spread:
    """The spread with a further, independent deviation."""
    return Spread(math.hypot(spread.sd, sd), spread.bias)


def _backward(
    layers: Sequence[Layer], wirings: Sequence[Wiring], passes: Sequence[LayerPass], rows: BatchRows
) -> tuple[list[float], list[float]]:
    """Bounds on what is left out of the log variances of dL/dh and dL/dW at every layer, first to last."""
    lengths, batch = rows
    norm = next((wiring.norm.axis for wiring in wirings if wiring.norm is not None), None)
    has_skip = any(wiring.skip is not None for wiring in wirings)
    rate = _LEFT_OUT.get((norm, has_skip), 0.0)
    second = list(map(_second_order, passes, lengths))
    added = [rate / layer.n_out + order for layer, order in zip(layers, second, strict=True)]
    if norm == 0:
        added[-1] += max(_unknown_rows(here, batch) for here in passes)
    below = [math.fsum(added[k:]) for k in range(len(layers) + 1)]
    of_gradient = [_log_size(each.output_gradient) for each in lengths]
    of_weight = [_log_size(each.weight_gradient) for each in lengths]
    # A weight gradient has passed the norm of its own layer.
    weights = zip(below, _left_out_of_weights(wirings, passes, layers, batch), of_weight, strict=False)
    return (
        [bound + _OF_LENGTHS * size for bound, size in zip(below[1:], of_gradient, strict=True)],
        [bound + steps + _OF_LENGTHS * size for bound, steps, size in weights],
    )


def _log_size(factor: float) -> float:
    """How far a factor is from 1, in logs; infinite for one that is not known."""
    return abs(math.log(factor)) if factor > 0 else math.inf


def _left_out_of_weights(
    wirings: Sequence[Wiring], passes: Sequence[LayerPass], layers: Sequence[Layer], batch: int
) -> list[float]:
    """Bounds on what is left out of what the norms above a layer remove from its dL/dW, first to last."""
    missing, bounds = NOTHING, []
    for layer, wiring, here in zip(reversed(layers), reversed(wirings), reversed(passes), strict=True):
        bounds.append(0.0 if here.noise is None else _OF_STEPS * missing.steps * here.noise.variance)
        missing = missing_after(layer, wiring, here, missing, batch)
    return bounds[::-1]


def _second_order(here: LayerPass, lengths: LengthEffects) -> float:
    """What the second order in one over the directions of a batch may add at one layer."""
    if here.noise is None:
        return 0.0
    by_width = here.noise.variance - here.noise.mean.second + lengths.variance
    return _SECOND_ORDER * max(by_width, 0.0) * (here.noise.variance + lengths.variance)


def _forward(here: LayerPass, lengths: LengthEffects, batch: int) -> float:
    """A bound on what is left out of the log variance of h, in a network with a batch norm."""
    own = 0.0 if here.noise is None else (here.noise.variance + lengths.variance) ** 2
    return own + _OF_LENGTHS_FORWARD * _log_size(lengths.output) + _unknown_rows(here, batch)


def _unknown_rows(here: LayerPass, batch: int) -> float:
    """Standard error of a mean over a batch of which some rows are known."""
    squares = here.output.centred(batch)
    known = min(len(squares) / batch, 1.0)
    mean = float(squares.mean())
    return float(squares.std()) / mean * math.sqrt((1 - known) / len(squares)) if mean > 0 else 0.0
