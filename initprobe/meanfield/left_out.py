"""What theory of norms and skips leaves out: bounds on the logs of its predictions.

A part of the first order in 1/width is not derived there, and under batch norm the second order matters. The bounds are
measured on random networks with 5 activations. They had 6 to 11 layers of 50 to 200 units, and 16 to 200 samples. Layer
norm without a skip needs none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from initprobe.activations.skips import Wiring
from initprobe.meanfield.batch_norm import NOTHING, missing_below
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.norm_and_skip_gradients import LayerPass

# Measured, not derived: bounds on what is left out of the log variance of dL/dh, by norm axis and skip. They
# are per layer above, in units of 1/width.
_LEFT_OUT = {(None, True): 0.5, (1, True): 0.3, (0, False): 0.5, (0, True): 1.0}
# Measured too: what the second order adds per layer, in squares of `BatchNoise.variance` and of `Varying.lengths`. The
# networks had batch norm, 6 activations, 40 to 256 units and 30 to 300 samples.
_SECOND_ORDER, _OF_LENGTHS = 5.0, 0.2
# And for dL/dW: the share of what norms above remove that may be wrong, and what long rows may add.
_OF_STEPS, _OF_LONG_ROWS = 0.4, 1.5
# Measured too, for the log variance of h under batch norm. They are per 1/width, and per variance of a row's mean
# square.
_LEFT_OUT_FORWARD, _LEFT_OUT_LENGTHS = 1.0, 0.1


def left_out_backward(
    layers: Sequence[Layer], wirings: Sequence[Wiring], passes: Sequence[LayerPass]
) -> tuple[list[float], list[float]]:
    """Bounds on what is left out of the log variances of dL/dh and dL/dW at every layer, first to last.

    Args:
        layers: first to last.
        wirings: norm and skip of each layer.
        passes: what theory computed at each layer.
    """
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
        long_rows = _OF_LONG_ROWS * here.noise.lengths / (1 + here.noise.lengths)
        bounds.append(_OF_STEPS * missing.steps * here.noise.variance + long_rows)
        missing = missing_below(here.grid, missing if wiring.skip is None else NOTHING, layer.n_in, rows)
    return bounds[::-1]


def _second_order(here: LayerPass) -> float:
    """What the second order in one over the directions of a batch, and in row lengths, may add per layer."""
    if here.noise is None:
        return 0.0
    return _SECOND_ORDER * here.noise.variance**2 + _OF_LENGTHS * here.output.varying.lengths**2


def left_out_forward(layer: Layer, wiring: Wiring, here: LayerPass) -> float:
    """A bound on what is left out of the log variance of h, in a network with a batch norm.

    Args:
        layer: the layer.
        wiring: its norm and skip.
        here: what theory computed there.
    """
    lengths = here.output.varying.lengths if wiring.by_batch else 0.0
    return _LEFT_OUT_FORWARD / layer.n_out + _LEFT_OUT_LENGTHS * lengths
