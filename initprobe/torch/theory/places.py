"""Axes whose places differ, such as tokens behind a causal mask, or a class token beside patches.

Such an axis of `size` places has `1 + size^2` indices in `pairs`. The first is the mean at the same place, then come
all pairs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.moments import Moments, alike, is_by_place

MOST_PLACES = 64  # of such an axis; more are taken as alike


def axes_by_place(moments: Moments) -> list[int]:
    """The axes that have all pairs of places."""
    return _axes(moments, moments.pairs)


def _axes(moments: Moments, pairs: Array) -> list[int]:
    """The same for other pairs of the tensor."""
    lengths = zip(moments.shape, pairs.shape, strict=True)
    return [axis for axis, (size, length) in enumerate(lengths) if length > 2 and is_by_place(size, length)]


def matrices(pairs: Array, size: int, axis: int) -> Array:
    """All pairs of places of an axis as the last two axes; without them, by same or other place.

    Args:
        pairs: mean products of two entries.
        size: places along the axis.
        axis: of the tensor.

    Returns:
        `(..., size, size)`, with the other axes of `pairs` in order before.
    """
    if not is_by_place(size, pairs.shape[axis]):
        pairs = alike(pairs, size, axis)
        index = np.minimum(1 - np.eye(size, dtype=int), pairs.shape[axis] - 1).ravel()
        flat = np.moveaxis(np.take(pairs, index, axis), axis, -1)
    else:
        flat = np.moveaxis(pairs, axis, -1)[..., 1:]
    return np.asarray(flat.reshape(*flat.shape[:-1], size, size))


def from_matrices(held: Array, axis: int) -> Array:
    """`pairs` with all pairs of places along an axis, from matrices in the last two axes.

    Args:
        held, axis: `(..., size, size)`, and where the axis belongs in `pairs`.
    """
    same = np.einsum("...ii->...", held)[..., None] / held.shape[-1]
    flat = np.concatenate([same, held.reshape(*held.shape[:-2], -1)], -1)
    return np.moveaxis(flat, -1, axis)


def settled(moments: Moments, pairs: Array) -> Array:
    """`pairs` whose mean at the same place is that of the places, after a step that is not linear.

    Args:
        moments: with the shape of the tensor.
        pairs: mean products of two entries.
    """
    for axis in _axes(moments, pairs):
        pairs = from_matrices(matrices(pairs, moments.shape[axis], axis), axis)
    return pairs


def deviations(moments: Moments, own: Array, extra: float = 0.0) -> Array:
    """Product of the standard deviations of two entries, which differ by place.

    Args:
        moments: with the shape of the tensor.
        own: mean products of two entries about the mean.
        extra: is added to each variance.
    """
    total = np.full((1,) * own.ndim, float(own.item(0)) + extra)
    for axis in _axes(moments, own):
        size = moments.shape[axis]
        index = tuple(slice(None) if place == axis else 0 for place in range(own.ndim))
        variance = np.maximum(np.diagonal(own[index][1:].reshape(size, size)) + extra, 1e-300)
        here = np.append(variance.mean(), np.sqrt(np.outer(variance, variance))) / max(variance.mean(), 1e-300)
        total = total * here.reshape([-1 if place == axis else 1 for place in range(own.ndim)])
    return total


def without_places(moments: Moments, axes: Iterable[int] | None = None) -> Moments:
    """The same with places that are all alike, along these axes or all.

    Args:
        moments: of a tensor.
        axes: along which places become alike; None for all.
    """
    pairs, along = moments.pairs, moments.along
    for axis in axes_by_place(moments):
        if axes is not None and axis not in axes:
            continue
        pairs = alike(pairs, moments.shape[axis], axis)
        along = None if along is None else alike(along, moments.shape[axis], axis)
    return moments if pairs is moments.pairs else replace(moments, pairs=pairs, along=along, bent=None)


def strengthened(pairs: Array, moments: Moments, factor: float) -> Array:
    """`pairs` with the products of an entry with itself times a factor.

    Args:
        pairs: mean products of two entries.
        moments: with the shape of the tensor.
        factor: of the products of an entry with itself.
    """
    pairs = pairs.copy()
    index: list[int | slice] = [0] * pairs.ndim
    pairs[tuple(index)] *= factor
    for axis in _axes(moments, pairs):
        index[axis] = slice(1, None, moments.shape[axis] + 1)
        pairs[tuple(index)] *= factor
        index[axis] = 0
    return pairs
