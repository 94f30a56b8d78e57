"""Groups of places along an axis, such as tokens: a long axis is followed by group instead of by place.

An axis of at most `MOST_PLACES` places has one place per group. In a longer one, the first places and the last stand
alone: a class token lies there, and behind a causal mask the first places differ most. The groups between grow with
the distance from the start. So the share `1 / place` of a causal mask changes by as much in each of them.

Along such an axis, `pairs` starts with the mean at the same place. Then come all pairs of groups, as mean products at
two different places. In a long axis, the mean squares of each group at the same place follow.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from initprobe.arrays import Array

MOST_PLACES = 64  # of an axis whose places are followed one by one
_ALONE = 8  # first places that stand alone
_GROUPS = 32  # at most; more where an axis has more than their square


@lru_cache(maxsize=256)
def group_sizes(size: int) -> Array:
    """Number of places in each group of an axis, in order.

    Args:
        size: places along the axis.
    """
    if size <= MOST_PLACES:
        return np.ones(size, int)
    between = max(_GROUPS, math.isqrt(size) + 2) - _ALONE - 1
    ends = np.unique(np.round(np.geomspace(_ALONE, size - 1, between + 1)).astype(int))
    return np.diff(np.concatenate([np.arange(_ALONE), ends, [size]]))


@lru_cache(maxsize=256)
def group_of(size: int) -> Array:
    """The group of each place of an axis, `(size,)`."""
    sizes = group_sizes(size)
    return np.repeat(np.arange(len(sizes)), sizes)


@lru_cache(maxsize=256)
def is_alone(size: int) -> Array:
    """The groups of one place, by index."""
    return np.flatnonzero(group_sizes(size) == 1)


@lru_cache(maxsize=256)
def grouped_length(size: int) -> int:
    """Indices of `pairs` along an axis that is followed by group."""
    count = len(group_sizes(size))
    return 1 + count * count + (count if size > MOST_PLACES else 0)


def is_by_place(size: int, length: int) -> bool:
    """Whether an axis has pairs of places or groups. Their index 0 is the mean at the same place.

    Args:
        size, length: places along the axis, and indices of `pairs` along it.
    """
    return size > 1 and (length == size * size + 1 or (size > MOST_PLACES and length == grouped_length(size)))


@lru_cache(maxsize=32)
def place_index(size: int, length: int) -> Array:
    """The index of `pairs` for each two places of an axis of `is_by_place`, `(size, size)`.

    Args:
        size, length: places along the axis, and indices of `pairs` along it.
    """
    if length == size * size + 1:
        return 1 + np.arange(size * size).reshape(size, size)
    group, count = group_of(size), len(group_sizes(size))
    index = 1 + group[:, None] * count + group
    np.fill_diagonal(index, 1 + count * count + group)
    return index


@lru_cache(maxsize=256)
def place_shares(size: int, length: int) -> Array:
    """Share of all pairs of places that each index of `pairs` of `is_by_place` stands for, `(length,)`.

    Args:
        size, length: places along the axis, and indices of `pairs` along it.
    """
    if length == size * size + 1:
        return np.append(0.0, np.full(size * size, 1 / size**2))
    sizes = group_sizes(size)
    others = np.outer(sizes, sizes)
    np.fill_diagonal(others, sizes * (sizes - 1))
    return np.concatenate([[0], others.ravel(), sizes]) / size**2


def same_places(size: int, length: int) -> slice:
    """The indices of `pairs` of `is_by_place` that are of one place and itself; `size` places, `length` indices."""
    return slice(1, None, size + 1) if length == size * size + 1 else slice(-len(group_sizes(size)), None)


@lru_cache(maxsize=64)
def lengthened_index(size: int, have: int, length: int) -> Array:
    """The index of `pairs` with `have` indices for each of `length` indices by place or by group.

    Args:
        size: places along the axis.
        have, length: indices of `pairs` along it before and after.
    """
    if have > 2 and is_by_place(size, have):
        return np.append(0, place_index(size, have).ravel())
    if length == size * size + 1:
        distances = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).ravel()
        return np.asarray(np.minimum(np.append(0, distances), have - 1))
    sizes = group_sizes(size)
    middles = np.cumsum(sizes) - (sizes + 1) / 2
    distances = np.abs(np.subtract.outer(middles, middles)).round().astype(int)
    np.fill_diagonal(distances, (sizes + 1) // 3)  # the mean distance of two places of a group
    every = np.concatenate([[0], distances.ravel(), np.zeros(len(sizes), int)])
    return np.asarray(np.minimum(every, have - 1))
