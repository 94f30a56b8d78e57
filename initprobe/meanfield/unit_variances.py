"""The variance of a unit over a batch, where weights have a mean: whether 1/v has a finite spread.

A batch norm divides the gradient of a unit by the variance v of its y over the batch. C is the covariance of h over
the batch. Then `v = w C w` for normal weights w of mean mu. Such weights enlarge one direction of C from layer to
layer. The others vanish beside it. Few units have weights whose sum along this direction is nearly 0. Their y hardly
varies, and 1/v is huge: for one direction alone its mean is infinite. Such units may be rarer than one per network.
Then a few networks have a gradient many times that of the others. No SD describes that.

The relative variance of 1/v over units is exact for the largest direction. The others count as one variance with the
same mean and SD: `E[1/v^k] = int t^(k-1) E[exp(-t v)] dt` for k = 1, 2.
"""

from __future__ import annotations

import math

import numpy as np

from initprobe.activations.norms import EPSILON
from initprobe.arrays import Array
from initprobe.meanfield.layer import Layer

# Rows that stand for a batch, and steps of the power iteration. A direction that matters is far larger than the others.
_ROWS, _STEPS = 256, 12
# Logs of `t` times the mean of v, at which `E[exp(-t v)]` is integrated.
_LOGS = np.linspace(-12, 40, 261)
# Chosen: the largest relative variance over networks of a mean over units of 1/v. Beyond it one unit of a network may
# outweigh all others.
LARGEST = 1.0


def relative_variance(h: Array, sums: Array, layer: Layer) -> float:
    """The relative variance over networks of the mean over units of 1/v.

    Args:
        h: the input of the layer, `(rows, units)`.
        sums: of its rows over all features, `(rows,)`.
        layer: whose weights have a mean.
    """
    step = max(len(h) // _ROWS, 1)
    rows, sums = (values[::step].astype(float) for values in (h, sums))
    rows, sums = rows - rows.mean(axis=0), sums - sums.mean()
    if not np.vdot(rows, rows) * layer.weight_variance > 0:
        return 0.0
    largest, direction = _largest(rows)
    shifts = rows.T @ sums / len(rows)
    along = float(direction @ shifts) / largest
    mean = layer.weight_mean * along / math.sqrt(layer.weight_variance)
    others = _others(rows, sums, layer, (largest, along, float(shifts @ shifts)))
    return _of_inverse(largest * layer.weight_variance, mean, *others) / layer.n_out


def _others(rows: Array, sums: Array, layer: Layer, top: tuple[float, float, float]) -> tuple[float, float]:
    """Scale and shape of a gamma distribution with the mean and variance of what the other directions add to v."""
    (largest, along, shifts), variance, square = top, layer.weight_variance, layer.weight_mean**2
    whole, of_sums = float(np.vdot(rows, rows)) / len(rows), float(sums @ sums) / len(rows)
    mean = variance * (whole - largest) + square * (of_sums - largest * along**2)
    varying = 2 * variance**2 * (_square(rows) - largest**2)
    varying += 4 * variance * square * (shifts - (largest * along) ** 2)
    return (varying / mean, mean * mean / varying) if min(mean, varying) > 0 else (0.0, 0.0)


def _of_inverse(largest: float, mean: float, scale: float, shape: float) -> float:
    """The relative variance of 1/v for `v = largest (z + mean)^2 + gamma`, z a standard normal number."""
    t = np.exp(_LOGS) / (largest * (1 + mean * mean) + scale * shape + EPSILON)
    stretched = 1 + 2 * largest * t
    logs = -np.log(stretched) / 2 - largest * mean * mean * t / stretched - shape * np.log1p(scale * t) - EPSILON * t
    density = np.exp(logs) * t
    return max(float(np.sum(density * t) / np.sum(density) ** 2 / (_LOGS[1] - _LOGS[0])) - 1, 0.0)


def _largest(rows: Array) -> tuple[float, Array]:
    """The largest variance of centred rows in a direction, and this direction."""
    direction = np.ones(rows.shape[1])
    if not (rows @ direction).any():  # as of one-hot rows
        direction = rows[np.argmax(np.vecdot(rows, rows))]
    for _ in range(_STEPS):
        image = rows.T @ (rows @ direction) / len(rows)
        size = float(np.linalg.norm(image))
        direction = image / size
    return size, direction


def _square(rows: Array) -> float:
    """The sum of the squares of the covariances of centred rows."""
    product = rows.T @ rows if rows.shape[1] < len(rows) else rows @ rows.T
    return float(np.vdot(product, product)) / len(rows) ** 2
