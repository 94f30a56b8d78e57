"""What a layer that was fitted to the data is, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.engine.mlp import Parameters
from initprobe.engine.threads import Workers, row_blocks


@dataclass(frozen=True)
class Fitted:
    """What became of one layer.

    Attributes:
        before: the reconstruction loss, or the variance, of the weights as drawn.
        after: the same of the fitted weights.
        baseline: the loss of the best constant reconstruction, which is the variance of the input; None for a variance.
        iterations: steps of SGD, or times that the layer was scaled.
        converged: it came as close as it should; None where no such aim is set.
    """

    before: float
    after: float
    baseline: float | None
    iterations: int
    converged: bool | None


def outputs(layer: Parameters, activation: Activation, x: Array, pool: Workers) -> Array:
    """`h` of a plain layer, `(samples, fan_out)`."""
    h = np.empty((len(x), layer.weight.shape[1]), x.dtype)

    def work(rows: slice) -> None:
        z = np.matmul(x[rows], layer.weight)
        if layer.bias is not None:
            z += layer.bias
        h[rows] = activation.value(z)

    pool.map(work, row_blocks(*h.shape))
    return h
