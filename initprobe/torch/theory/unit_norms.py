"""What a norm of each unit by its own variance does to the pairs of small batches and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.moments import Shape

_MOST = 128  # entries of a unit up to which its pairs are followed one by one; the effect is of order `2 / entries`
_LARGEST_SPREAD = 0.5  # relative variance of a variance up to which the first order holds


def of_each_unit(pairs: Array, shape: Shape, axes: Sequence[int]) -> Array:
    """The pairs after each unit was divided by its own standard deviation, not by that of all units.

    With the covariance `K` of the N entries of a unit, the variance of a unit varies by `s = 2 tr K^2 / N^2`. It is
    larger where the unit has more of what many entries have in common. So to first order in `1 / N`, `K` becomes
    `K (1 + s) - 2 K^2 / N`.

    Args:
        pairs: mean products of two entries, over the mean variance.
        shape: of the tensor; axis 1 is that of the units.
        axes: over which batch norm averages, all but axis 1.

    Returns:
        The pairs, changed for two entries of the same unit.
    """
    count = math.prod(shape[axis] for axis in axes)
    if count > _MOST:
        return pairs
    own = np.take(pairs, 0, 1)
    index = _indices(tuple(shape[axis] for axis in axes), own.shape)
    full = own.ravel()[index]
    spread = 2 * float(np.mean(full**2))
    if spread > _LARGEST_SPREAD:
        return pairs
    changed = full * (1 + spread) - full @ full * (2 / count)
    counts = np.bincount(index.ravel(), minlength=own.size)
    means = np.bincount(index.ravel(), changed.ravel(), own.size) / np.maximum(counts, 1)
    made = pairs.copy()
    made[:, 0] = np.where(counts > 0, means, own.ravel()).reshape(own.shape)
    return made


@lru_cache(maxsize=64)
def _indices(sizes: tuple[int, ...], lengths: tuple[int, ...]) -> Array:
    """The flat index of the pair of each two entries, `(entries, entries)`."""
    total = np.zeros((1, 1), int)
    for size, length in zip(sizes, lengths, strict=True):
        apart_by = np.minimum(np.abs(np.subtract.outer(np.arange(size), np.arange(size))), length - 1)
        total = (total[:, None, :, None] * length + apart_by[None, :, None, :]).reshape(len(total) * size, -1)
    return total
