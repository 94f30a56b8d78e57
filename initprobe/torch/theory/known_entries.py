"""The moments of a tensor whose entries are known: the input of a model, or a table of positions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.measure import array_of, is_measured
from initprobe.torch.theory.moments import Moments
from initprobe.torch.theory.tensor_facts import MASKED

_SMALL_KERNEL = 64  # entries of a kernel


def measured_moments(values: Array, pictures: bool = True) -> Moments:
    """The moments of a tensor whose entries are known, with distances along rows and columns of `pictures`.

    Args:
        values: entries of the tensor.
        pictures: also take distances along rows and columns, the last two of four axes.
    """
    values = np.asarray(values, float)
    plain = 2 if pictures and values.ndim == 4 else values.ndim
    sums = {}
    for number in range(1 << plain):
        axes = tuple(axis for axis in range(plain) if number >> axis & 1)
        summed = values.sum(axis=axes, keepdims=True) if axes else values
        sums[number] = summed_products(summed, plain)
    pairs = np.empty((*(min(size, 2) for size in values.shape[:plain]), *sums[0].shape))
    for place in np.ndindex(pairs.shape[:plain]):
        number = sum(1 << axis for axis, index in enumerate(place) if index)
        total = sum(
            (-1) ** (number ^ part).bit_count() * sums[part] for part in range(number + 1) if part & ~number == 0
        )
        count = math.prod(size - 1 if index else 1 for size, index in zip(values.shape, place, strict=False))
        pairs[place] = total / (count * math.prod(values.shape[:plain]))
    return Moments(values.shape, float(values.mean()), pairs)


def summed_products(values: Array, plain: int) -> Array:
    """Sum of the products of two entries over the first axes, and mean by distance along two axes after these.

    Args:
        values: entries of a tensor.
        plain: number of first axes.
    """
    if values.ndim == plain:
        return np.asarray(np.vdot(values, values))
    rows, columns = values.shape[plain:]
    spectrum = np.fft.rfft2(values, (2 * rows, 2 * columns))
    power = np.sum(spectrum.real**2 + spectrum.imag**2, axis=tuple(range(plain)))
    both = np.fft.irfft2(power, (2 * rows, 2 * columns))
    mirrored = np.concatenate([both[:, :1], both[:, :columns:-1]], axis=1)
    counts = np.outer(rows - np.arange(rows), columns - np.arange(columns))
    return np.asarray((both[:rows, :columns] + mirrored[:rows]) / 2 / counts)


def is_mask(entries: Array) -> bool:
    """Whether numbers mask some of the logits to which they are added; other logits get 0."""
    is_open, is_masked = entries == 0, entries < MASKED
    return bool(is_open.any() and is_masked.any() and np.all(is_open | is_masked))


def uneven(weight: Any) -> float:
    """Relative variance of the mean square of a kernel, from the fourth moment of the entries of small kernels."""
    fan = math.prod(weight.shape[1:])
    if weight.ndim < 3 or fan > _SMALL_KERNEL or not is_measured(weight):
        return 0.0
    squares = array_of(weight).astype(np.float64) ** 2
    return float(squares.var() / max(squares.mean() ** 2, 1e-300) / fan)
