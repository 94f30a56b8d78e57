"""How far a predicted gradient may be off where the length map is so steep that the first order in 1/width fails.

Deviations in length grow through an unstable length map. Once they are large, log gradients are no longer linear in
them. The mean of two predictions, for longer and for shorter signals, then differs from the prediction between them.
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


def gradient_uncertainty(
    activation: Activation, layers: Sequence[Layer], states: Sequence[State], lengths: Lengths
) -> Array:
    """How far the log of the variance of dL/dh may be off at each layer, `(layers,)`; 0 under a stable length map.

    Args:
        activation: any record.
        layers: first to last.
        states: their pre-activations.
        lengths: the deviations of their mean squares.
    """
    uncertainty = np.zeros(len(layers))
    growth = np.cumprod(np.append(1.0, lengths.response[1:]))
    if not growth.max() > _UNSTABLE:
        return uncertainty
    # The deviation at layer 2 that would give the one where deviations have grown most.
    furthest = int(np.argmax(growth))
    start = float(np.sqrt(lengths.single[1 + furthest])) / growth[furthest]
    changes = start * np.array([0.0, *_SDS, *(-sds for sds in _SDS)])
    logs = np.array([_slope_logs(activation, layers[1:], states[0], change) for change in changes])
    longer, shorter = np.split(logs[1:], 2)
    uneven = (longer + shorter) / 2 - logs[0]
    # dL/dh of a layer has passed the slopes of all layers above it.
    uncertainty[:-1] = np.abs(np.cumsum(uneven[:, ::-1], axis=1)).max(axis=0)[::-1]
    return uncertainty


def _slope_logs(activation: Activation, layers: Sequence[Layer], first: State, change: float) -> Array:
    """Logs of `E[phi'^2]` at the layers above the first, whose mean squares of h change by a factor `exp(change)`."""
    squares, means = (first.over_biases(values) for values in (first.moments.square, first.moments.mean))
    groups = length_groups(activation, layers, first.sample_shares, squares * np.exp(change), means)
    return np.log([float(layer.average(layer.moments.slope_square)) for layer in groups])
