"""What fitting a layer to the data reports, and the output of a plain layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from initprobe.arrays import Array
from initprobe.engine.mlp import Layer
from initprobe.engine.threads import Workers, row_blocks


@dataclass(frozen=True)
class Fitted:
    """What fitting one layer reports.

    Attributes:
        before: the reconstruction loss, or the variance, with the weights as drawn.
        after: the same with the fitted weights.
        baseline: the loss of the best constant reconstruction, which is the variance of the input; None for a variance.
        iterations: steps of SGD, or times that the layer was scaled.
        converged: whether the variance came within the tolerance; None for an autoencoder, which has no such aim.
    """

    before: float
    after: float
    baseline: float | None
    iterations: int
    converged: bool | None


def outputs(layer: Layer, x: Array, pool: Workers) -> Array:
    """The output `h` of a layer without norm and skip, `(samples, fan_out)`, for the input `x`, `(samples, fan_in)`.

    Args:
        layer: weights, biases and activation.
        x: the input.
        pool: threads.
    """
    h = np.empty((len(x), layer.weight.shape[1]), x.dtype)

    def work(rows: slice) -> None:
        z = np.matmul(x[rows], layer.weight)
        if layer.bias is not None:
            z += layer.bias
        h[rows] = layer.activation.value(z)

    pool.map(work, row_blocks(*h.shape))
    return h
