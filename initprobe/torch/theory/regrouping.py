"""The moments of the same entries in another shape, as after `view` or `flatten`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.groups import is_by_place
from initprobe.torch.theory.moments import ALIKE, Moments, NoRule, alike, apart, shares


def regrouped(moments: Moments, shape: Sequence[int]) -> Moments:
    """The moments of the same entries in another shape, in the same order.

    Args:
        moments: of the tensor before.
        shape: of the tensor after.
    """
    if moments.shape == tuple(shape):
        return replace(moments, bent=None, along=None)
    old = [(size, axis) for axis, size in enumerate(moments.shape) if size > 1]
    pairs = moments.pairs.reshape(
        [length for length, size in zip(moments.pairs.shape, moments.shape, strict=True) if size > 1]
    )
    new = [size for size in shape if size > 1]
    made, place = pairs, 0
    sizes = [size for size, _ in old]
    while place < len(new) or place < len(sizes):
        before, after = _group(sizes[place:], new[place:])
        if before > 1 or after > 1:
            made = _merged(made, sizes[place : place + before], place)
            made = _divided(made, new[place : place + after], math.prod(new[place : place + after]), place)
            sizes[place : place + before] = new[place : place + after]
        place += after
    lengths = iter(made.shape)
    full = made.reshape([1 if size == 1 else next(lengths) for size in shape])
    return replace(moments, shape=tuple(shape), pairs=full, bent=None, along=None, levels=ALIKE)


def _group(before: Sequence[int], after: Sequence[int]) -> tuple[int, int]:
    """The smallest numbers of leading sizes that have the same product on both sides."""
    here, there = 1, 1
    if not before or not after:
        raise NoRule("a view that no rule takes apart")
    left, right = before[0], after[0]
    while left != right:
        if left < right and here < len(before):
            left, here = left * before[here], here + 1
        elif right < left and there < len(after):
            right, there = right * after[there], there + 1
        else:
            raise NoRule("a view that no rule takes apart")
    return here, there


def _merged(pairs: Array, sizes: Sequence[int], first: int) -> Array:
    """Some axes that follow one another as one."""
    if len(sizes) == 1:
        return pairs
    axes = list(range(first, first + len(sizes)))
    for size, axis in zip(sizes, axes, strict=True):
        pairs = alike(pairs, size, axis) if is_by_place(size, pairs.shape[axis]) else pairs
    weights = reduce(
        np.multiply.outer, [shares(size, pairs.shape[axis]) for size, axis in zip(sizes, axes, strict=True)]
    )
    weights = np.asarray(weights).copy()
    weights[(0,) * len(sizes)] = 0
    weights /= weights.sum()
    other = np.tensordot(pairs, weights, (axes, list(range(len(sizes)))))
    same = pairs[(slice(None),) * first + (0,) * len(sizes)]
    return np.stack([same, other], first)


def _divided(pairs: Array, sizes: Sequence[int], size: int, axis: int) -> Array:
    """One axis as several."""
    if len(sizes) == 1:
        return pairs
    if len(sizes) == 2 and pairs.shape[axis] == size > 2:
        return _in_blocks(pairs, sizes[0], sizes[1], axis)
    pairs = alike(pairs, size, axis)
    index = np.ones((2,) * len(sizes), int)
    index[(0,) * len(sizes)] = 0
    return np.take(pairs, index, axis)


def _in_blocks(pairs: Array, count: int, size: int, axis: int) -> Array:
    """One axis with distances as two: an axis of blocks of neighbours, and one of the places in a block.

    Args:
        pairs: mean products of two entries.
        count, size: blocks, and places in each.
        axis: of the tensor.
    """
    by_distance = np.moveaxis(pairs, axis, -1)
    inside = by_distance[..., :size] @ apart(size, size)
    across = by_distance[..., ::size] @ apart(count, count)
    every = by_distance @ shares(count * size, count * size) * (count * size)
    others = every - by_distance[..., 0] - (size - 1) * inside - (count - 1) * across
    made = np.stack([by_distance[..., 0], inside, across, others / ((count - 1) * (size - 1))], -1)
    return np.moveaxis(made.reshape(*made.shape[:-1], 2, 2), (-2, -1), (axis, axis + 1))
