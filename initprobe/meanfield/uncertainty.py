"""How far a prediction may be off where the first order in 1/width fails: the length map is too steep.

Deviations in length grow through an unstable length map. Once they are large, log variances are no longer linear in
them. The mean of two predictions, for longer and for shorter signals, then differs from the prediction between them.

Under norms and skips a part of the first order itself is not derived. Its bounds are measured: by random networks of 5
activations, 6 to 11 layers of 50 to 200 units and 16 to 200 samples. Layer norm without a skip needs none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.blocks.skips import Wiring
from initprobe.meanfield.batch_norm import NOTHING, missing_below
from initprobe.meanfield.layer import Layer, State
from initprobe.meanfield.lengths import Lengths
from initprobe.meanfield.propagate import length_groups

if TYPE_CHECKING:
    from initprobe.meanfield.norm_and_skip_gradients import LayerPass

# Standard deviations by which lengths are changed, up and down.
_SDS = (1.0, 2.0)
# A length map is unstable from this growth of deviations on. ReLU keeps them, up to rounding.
_UNSTABLE = 1.01
# Measured as above, not derived: bounds on what is left out of the log variance of dL/dh, by norm axis and skip. They
# are per layer above, in units of 1/width.
_LEFT_OUT = {(None, True): 0.5, (1, True): 0.3, (0, False): 0.5, (0, True): 1.0}
# Measured too: what the second order adds per layer, in squares of `BatchNoise.variance` and of `Varying.lengths`. The
# networks had batch norm, 6 activations, 40 to 256 units and 30 to 300 samples.
_SECOND_ORDER, _OF_LENGTHS = 5.0, 0.15
# And the share of what norms above remove from dL/dW that may be wrong.
_OF_STEPS = 0.4
# Measured too, for the log variance of h under batch norm: per 1/width, and per variance of a row's mean square.
_LEFT_OUT_FORWARD, _LEFT_OUT_LENGTHS = 1.0, 0.1


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


def left_out_backward(
    layers: Sequence[Layer], wirings: Sequence[Wiring], passes: Sequence[LayerPass]
) -> tuple[list[float], list[float]]:
    """Bounds on what is left out of the log variances of dL/dh and dL/dW at every layer, first to last."""
    norm = next((wiring.norm.axis for wiring in wirings if wiring.norm is not None), None)
    has_skip = any(wiring.skip is not None for wiring in wirings)
    rate = _LEFT_OUT.get((norm, has_skip), 0.0)
    added = [rate / layer.n_out + _second_order(here) for layer, here in zip(layers, passes, strict=True)]
    below = [math.fsum(added[k:]) for k in range(len(layers) + 1)]
    # A weight gradient has passed the norm of its own layer.
    own = zip(below, _left_out_of_weights(layers, wirings, passes), strict=False)
    return below[1:], [sum(pair) for pair in own]


def _left_out_of_weights(
    layers: Sequence[Layer], wirings: Sequence[Wiring], passes: Sequence[LayerPass]
) -> list[float]:
    """Bounds on what is left out of what the norms above a layer remove from its dL/dW, first to last."""
    missing, bounds = NOTHING, []
    for layer, wiring, here in zip(reversed(layers), reversed(wirings), reversed(passes), strict=True):
        if here.noise is None:
            bounds.append(0.0)
            continue
        rows = len(here.noise.own)
        bounds.append(_OF_STEPS * missing.steps * here.noise.variance)
        missing = missing_below(here.grid, missing if wiring.skip is None else NOTHING, layer.n_in, rows)
    return bounds[::-1]


def _second_order(here: LayerPass) -> float:
    """What the second order in one over the directions of a batch, and in the rows' lengths, may add at one layer."""
    if here.noise is None:
        return 0.0
    return _SECOND_ORDER * here.noise.variance**2 + _OF_LENGTHS * here.output.varying.lengths**2


def left_out_forward(layer: Layer, wiring: Wiring, here: LayerPass) -> float:
    """A bound on what is left out of the log variance of h."""
    if not wiring.by_batch:
        return 0.0
    return _LEFT_OUT_FORWARD / layer.n_out + _LEFT_OUT_LENGTHS * here.output.varying.lengths
