"""Axes whose places differ, such as tokens behind a causal mask, or a class token beside patches.

Such an axis of `size` places has `1 + size^2` indices in `pairs`. The first is the mean at the same place, then come
all pairs. A long axis has indices by group, see `groups.py`. The `blocks` of both kinds have one layout.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.groups import (
    MOST_PLACES,
    group_of,
    group_sizes,
    grouped_length,
    is_alone,
    is_by_place,
    place_index,
    same_places,
)
from initprobe.torch.theory.moments import Moments, alike


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
    elif pairs.shape[axis] == size * size + 1:
        flat = np.moveaxis(pairs, axis, -1)[..., 1:]
    else:
        flat = np.moveaxis(np.take(pairs, place_index(size, pairs.shape[axis]).ravel(), axis), axis, -1)
    return np.asarray(flat.reshape(*flat.shape[:-1], size, size))


def from_matrices(held: Array, axis: int) -> Array:
    """`pairs` with all pairs of places along an axis, from matrices in the last two axes.

    Args:
        held, axis: `(..., size, size)`, and where the axis belongs in `pairs`.
    """
    same = np.einsum("...ii->...", held)[..., None] / held.shape[-1]
    flat = np.concatenate([same, held.reshape(*held.shape[:-2], -1)], -1)
    return np.moveaxis(flat, -1, axis)


def blocks(pairs: Array, size: int, axis: int) -> Array:
    """The pairs of groups of an axis, with those at the same place beside them.

    Args:
        pairs: mean products of two entries.
        size: places along the axis.
        axis: of the tensor.

    Returns:
        `(..., groups + 1, groups)`, with the other axes of `pairs` in order before. The first rows are the mean
        products at two different places of two groups. The last row has those at the same place. A group of one place
        has that in both.
    """
    count = len(group_sizes(size))
    if size > MOST_PLACES and pairs.shape[axis] == grouped_length(size):
        return np.moveaxis(pairs, axis, -1)[..., 1:].reshape(*np.delete(pairs.shape, axis), count + 1, count)
    if size <= MOST_PLACES or pairs.shape[axis] == size * size + 1:
        return _gathered(matrices(pairs, size, axis), size)
    pairs = alike(pairs, size, axis)
    index = np.full((count + 1, count), pairs.shape[axis] - 1)
    index[-1] = index[is_alone(size), is_alone(size)] = 0
    return np.moveaxis(np.take(pairs, index.ravel(), axis), axis, -1).reshape(
        *np.delete(pairs.shape, axis), *index.shape
    )


def _gathered(held: Array, size: int) -> Array:
    """The blocks of all pairs of places."""
    same = np.einsum("...ii->...i", held)
    if size > MOST_PLACES:
        sizes = group_sizes(size)
        starts = np.cumsum(sizes) - sizes
        own = np.add.reduceat(same, starts, -1)
        held = np.add.reduceat(np.add.reduceat(held, starts, -1), starts, -2) / np.outer(sizes, sizes)
        same = own / sizes
        held = apart_in_groups(held, same, size)
    return np.concatenate([held, same[..., None, :]], -2)


def grouped(pairs: Array, size: int, axis: int) -> Array:
    """`pairs` of a long axis by group; others as they were.

    Args:
        pairs: mean products of two entries, by place along the axis.
        size: places along the axis.
        axis: of the tensor.
    """
    return pairs if size <= MOST_PLACES else from_blocks(blocks(pairs, size, axis), size, axis)


def apart_in_groups(held: Array, same: Array, size: int) -> Array:
    """Mean products at two different places, from those at any two; a group of one place keeps its own.

    Args:
        held, same: mean products of two groups, `(..., groups, groups)`, and at the same place, `(..., groups)`.
        size: places along the axis.
    """
    sizes, index = group_sizes(size), np.arange(held.shape[-1])
    own = (held[..., index, index] * sizes - same) / np.maximum(sizes - 1, 1)
    held = held.copy()
    held[..., index, index] = np.where(sizes > 1, own, same)
    return held


def from_blocks(held: Array, size: int, axis: int) -> Array:
    """`pairs` along an axis, from its blocks in the last two axes.

    Args:
        held: `(..., groups + 1, groups)`.
        size: places along the axis.
        axis: where the axis belongs in `pairs`.
    """
    if size <= MOST_PLACES:
        return from_matrices(held[..., :-1, :], axis)
    same = held[..., -1, :] @ (group_sizes(size) / size)
    flat = np.concatenate([same[..., None], held.reshape(*held.shape[:-2], -1)], -1)
    return np.moveaxis(flat, -1, axis)


def set_same(held: Array, same: Array, size: int) -> None:
    """Replace the mean products at the same place in blocks, in the array itself.

    Args:
        held, same: the blocks, and the new numbers, `(..., groups)`.
        size: places along the axis.
    """
    alone = is_alone(size)
    held[..., -1, :] = same
    held[..., alone, alone] = np.broadcast_to(same, held[..., -1, :].shape)[..., alone]


def outer(numbers: Array) -> Array:
    """The products of one number per group, as blocks."""
    return np.concatenate([np.outer(numbers, numbers), (numbers * numbers)[None]])


def moved(held: Array, source: Array, before: int) -> Array:
    """The blocks after each place got what one place had before, or nothing.

    Args:
        held: blocks before.
        source: by place, the place before; -1 for a place that gets nothing.
        before: places before.
    """
    size = len(source)
    sizes, taken = group_sizes(size), np.zeros((len(group_sizes(size)), len(group_sizes(before))))
    is_filled = source >= 0
    np.add.at(taken, (group_of(size)[is_filled], group_of(before)[source[is_filled]]), 1.0)
    taken /= sizes[:, None]
    same = held[..., -1, :] @ taken.T
    all_pairs = taken @ held[..., :-1, :] @ taken.T
    own = np.einsum("...ii->...i", held[..., :-1, :]) @ taken.T  # of a place and itself, as if these were two
    apart = apart_in_groups(all_pairs, own, size)
    made = np.concatenate([apart, same[..., None, :]], -2)
    set_same(made, same, size)
    return made


def settled(moments: Moments, pairs: Array) -> Array:
    """`pairs` whose mean at the same place is that of the places, after a step that is not linear.

    Args:
        moments: with the shape of the tensor.
        pairs: mean products of two entries.
    """
    for axis in _axes(moments, pairs):
        own = np.moveaxis(pairs, axis, -1)[..., same_places(moments.shape[axis], pairs.shape[axis])]
        sizes = _same_sizes(moments.shape[axis], pairs.shape[axis])
        pairs = pairs.copy()
        np.moveaxis(pairs, axis, -1)[..., 0] = own @ (sizes / moments.shape[axis])
    return pairs


def _same_sizes(size: int, length: int) -> Array:
    """The places of each index of `same_places`."""
    return np.ones(size) if length == size * size + 1 else group_sizes(size)


def at_places(pairs: Array, size: int, axis: int) -> Array:
    """The mean product of an entry and itself, by place or by group.

    Args:
        pairs: mean products of two entries.
        size: places along the axis.
        axis: that has pairs of places or groups.
    """
    index = tuple(slice(None) if place == axis else 0 for place in range(pairs.ndim))
    return np.asarray(pairs[index][same_places(size, pairs.shape[axis])])


def weighted_shares(moments: Moments, axis: int, length: int) -> Array:
    """Like `shares`, where each place of an axis counts by its mean square.

    Args:
        moments: of the tensor whose mean squares count.
        axis: that has pairs of places or groups.
        length: indices of the result.
    """
    size, have = moments.shape[axis], moments.pairs.shape[axis]
    own = np.maximum(at_places(moments.pairs, size, axis), 0)
    own = own if have == size * size + 1 else own[group_of(size)]
    own = own / max(float(own.sum()), 1e-300)
    if not is_by_place(size, length):
        return np.array([own @ own, 1 - own @ own])[:length]
    if length == size * size + 1:
        return np.append(0.0, np.outer(own, own).ravel())
    starts = np.cumsum(group_sizes(size)) - group_sizes(size)
    sums, squares = np.add.reduceat(own, starts), np.add.reduceat(own**2, starts)
    others = np.outer(sums, sums)
    np.fill_diagonal(others, np.maximum(sums**2 - squares, 0))
    return np.concatenate([[0.0], others.ravel(), squares])


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
        sizes = _same_sizes(size, own.shape[axis])
        variance = np.maximum(at_places(own, size, axis) + extra, 1e-300)
        mean = float(variance @ sizes) / size
        roots = np.sqrt(variance)
        held = np.outer(roots, roots).ravel()
        here = np.concatenate([[mean], held, *([variance] if own.shape[axis] != size * size + 1 else [])]) / mean
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
    index: list[int | slice | Array] = [0] * pairs.ndim
    pairs[tuple(index)] *= factor
    for axis in _axes(moments, pairs):
        size, length = moments.shape[axis], pairs.shape[axis]
        index[axis] = same_places(size, length)
        pairs[tuple(index)] *= factor
        if length != size * size + 1:
            index[axis] = 1 + is_alone(size) * (len(group_sizes(size)) + 1)  # which their groups hold twice
            pairs[tuple(index)] *= factor
        index[axis] = 0
    return pairs
