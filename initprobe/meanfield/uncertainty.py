"""How far a prediction may be off where the first order in 1/width fails: the length map is too steep.

Deviations in length grow through an unstable length map. Once they are large, log variances are no longer linear in
them. The mean of two predictions, for longer and for shorter signals, then differs from the prediction between them.

What is not derived of norms and skips is in `left_out`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.layer import Layer, State
from initprobe.meanfield.lengths import Lengths
from initprobe.meanfield.propagate import length_groups

# Standard deviations by which lengths are changed, up and down.
_SDS = (1.0, 2.0)
# A length map is unstable from this growth of deviations on. ReLU keeps them, up to rounding.
_UNSTABLE = 1.01


def uncertainties(
    activation: Activation, layers: Sequence[Layer], states: Sequence[State], lengths: Lengths
) -> tuple[Array, Array]:
    """How far the logs of the variances of h and dL/dh may be off at each layer, `(layers,)` each.

    Both are 0 under a stable length map.

    Args:
        activation: any record.
        layers: first to last.
        states: their pre-activations.
        lengths: the deviations of their mean squares.
    """
    of_output, of_gradient = np.zeros((2, len(layers)))
    growth = np.cumprod(np.append(1.0, lengths.response[1:]))
    if not growth.max() > _UNSTABLE:
        return of_output, of_gradient
    # The deviation at layer 2 that would give the one where deviations have grown most.
    furthest = int(np.argmax(growth))
    start = float(np.sqrt(lengths.single[1 + furthest])) / growth[furthest]
    changes = start * np.array([0.0, *_SDS, *(-sds for sds in _SDS)])
    logs = np.array([_logs(activation, layers[1:], states[0], change) for change in changes])
    longer, shorter = np.split(logs[1:], 2)
    squares, slopes = np.moveaxis((longer + shorter) / 2 - logs[0], 1, 0)
    of_output[1:] = np.abs(squares).max(axis=0)
    # dL/dh of a layer has passed the slopes of all layers above it.
    of_gradient[:-1] = np.abs(np.cumsum(slopes[:, ::-1], axis=1)).max(axis=0)[::-1]
    return of_output, of_gradient


def _logs(activation: Activation, layers: Sequence[Layer], first: State, change: float) -> Array:
    """Logs of `E[phi^2]` and `E[phi'^2]` at the layers above the first, `(2, layers)`.

    The mean squares of h at the first layer change by a factor `exp(change)`.
    """
    squares, means = (first.over_biases(values) for values in (first.moments.square, first.moments.mean))
    groups = length_groups(activation, layers, first.sample_shares, squares * np.exp(change), means)
    moments = [(layer.average(layer.moments.square), layer.average(layer.moments.slope_square)) for layer in groups]
    logs: Array = np.log(np.array(moments, float)).T
    return logs
