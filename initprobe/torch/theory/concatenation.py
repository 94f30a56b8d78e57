"""Rules for tensors that are put together: concatenation and stacking."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.groups import group_sizes
from initprobe.torch.theory.laws import with_law_of_pieces
from initprobe.torch.theory.moments import Moments, NoRule, alike, broadcast, gaussian_noise, matched, mixed_noise
from initprobe.torch.theory.places import axes_by_place, blocks, from_blocks, moved, outer
from initprobe.torch.theory.rule import Lookup, Moved, Rule, axis_of, constant, names
from initprobe.torch.theory.trace import Node

_ALIKE = 0.9  # least ratio of the mean squares of rows that count as alike


def _pieces(node: Node, of: Lookup) -> Iterator[tuple[Node | None, Moments]]:
    given = node.args[0] if node.args else node.kwargs.get("tensors")
    if not isinstance(given, tuple):
        raise NoRule(f"{node.name} without a list of tensors")
    for part in given:
        if isinstance(part, Node):
            yield part, of(part)
        elif math.prod(part.shape):  # a cache is empty at first
            yield None, constant(part)


def concatenated(node: Node, of: Lookup) -> Moments:
    """The moments of tensors put together.

    Args:
        node: a concatenation or stack.
        of: gives the moments of a node.
    """
    pieces = list(_pieces(node, of))
    axis = axis_of(node.argument("dim", 1, node.kwargs.get("axis", 0)), len(node.shape))
    if node.name == "stack":
        pieces = [(part, _with_axis(moments, axis)) for part, moments in pieces]
    if _differ([moments for _, moments in pieces], axis, node.shape):
        return _by_place([moments for _, moments in pieces], axis, node.shape)
    sizes = np.array([moments.shape[axis] for _, moments in pieces], float)
    portions = sizes / sizes.sum()
    mean = float(sum(share * moments.mean for share, (_, moments) in zip(portions, pieces, strict=True)))
    arrays = _aligned([moments for _, moments in pieces], axis)
    same = sum(share * array.take([0], axis) for share, array in zip(portions, arrays, strict=True))
    other = _between(arrays, [moments.mean for _, moments in pieces], sizes, axis)
    noise = mixed_noise([m for _, m in pieces], [s * m.square for s, (_, m) in zip(portions, pieces, strict=True)])
    pairs = np.concatenate([same, other], axis) if node.shape[axis] > 1 else np.asarray(same)
    made = Moments(node.shape, mean, pairs, noise, levels=_levels(node, [m for _, m in pieces], axis))
    return with_law_of_pieces(made, [(float(share), m) for share, (_, m) in zip(portions, pieces, strict=True)])


def _about_means(part: Moments, axis: int) -> float:
    """Variance of the entries about the mean of each place of an axis: a norm takes that mean off."""
    means = float(part.averaged([other for other in range(len(part.shape)) if other != axis]).flat[0])
    return part.square - means if part.square - means > 1e-6 * part.square else part.square


def _levels(node: Node, pieces: Sequence[Moments], axis: int) -> dict[int, Array]:
    """The levels of the whole: those of the axis by piece, those of other axes mixed."""
    squares = [np.full(part.shape[axis], _about_means(part, axis)) * part.levels.get(axis, 1.0) for part in pieces]
    made = np.concatenate(squares)
    total = max(float(made.sum()), 1e-300)
    levels = {axis: made * (len(made) / total)} if np.ptp(made) > 0 else {}
    for other in {each for part in pieces for each in part.levels if each != axis}:
        terms = [
            part.levels.get(other, np.ones(node.shape[other])) * own.sum()
            for part, own in zip(pieces, squares, strict=True)
        ]
        levels[other] = np.sum(terms, 0) / total
    return levels


def _differ(pieces: list[Moments], axis: int, shape: tuple[int, ...]) -> bool:
    """Whether the pieces are rows of one sequence that differ, such as a class token beside patches."""
    squares = [piece.square for piece in pieces]
    return (
        len(shape) == 3
        and axis == 1
        and min(squares) < _ALIKE * max(squares)
        and not any(0 in axes_by_place(piece) or 2 in axes_by_place(piece) for piece in pieces)
    )


def _by_place(pieces: list[Moments], axis: int, shape: tuple[int, ...]) -> Moments:
    """The pieces with all pairs of places along the axis; two pieces are independent."""
    total, place = shape[axis], 0
    means = np.array([piece.mean for piece in pieces for _ in range(piece.shape[axis])])
    starts = np.cumsum(group_sizes(total)) - group_sizes(total)
    made = outer(np.add.reduceat(means, starts) / group_sizes(total))
    for piece in pieces:
        size = piece.shape[axis]
        whole = broadcast(piece, (*shape[:axis], size, *shape[axis + 1 :]))
        source = np.full(total, -1)
        source[place : place + size] = np.arange(size)
        made = made + moved(blocks(whole.pairs - piece.mean**2, size, axis), source, size)
        place += size
    mean = float(np.mean(means))
    noise = mixed_noise(pieces, [piece.square * piece.shape[axis] / total for piece in pieces])
    return Moments(shape, mean, from_blocks(made, total, axis), noise)


def _between(arrays: list[Array], means: list[float], sizes: Array, axis: int) -> Array:
    """Mean product of two entries at different places along the axis."""
    total = np.zeros_like(arrays[0].take([0], axis))
    for array, size, mean in zip(arrays, sizes, means, strict=True):
        total = total + size * (size - 1) * array.take([-1], axis)
        others = sum(s * m for s, m in zip(sizes, means, strict=True)) - size * mean
        total = total + size * mean * others
    count = sizes.sum()
    return np.asarray(total / max(count * (count - 1), 1))


def _with_axis(moments: Moments, axis: int) -> Moments:
    shape = (*moments.shape[:axis], 1, *moments.shape[axis:])
    return replace(moments, shape=shape, pairs=np.expand_dims(moments.pairs, axis), bent=None, levels={})


def _aligned(parts: list[Moments], axis: int) -> list[Array]:
    """The pairs of the pieces, with two indices along the axis and equal ones along all others."""
    held = []
    for part in parts:
        pairs = alike(part.pairs, part.shape[axis], axis)
        held.append(Moments((*part.shape[:axis], 2, *part.shape[axis + 1 :]), part.mean, pairs))
    return matched(held)[1]


def _short(pairs: Array, size: int, axis: int, is_stack: bool) -> Array:
    """The pairs of a piece with so many places along the axis, which a piece of a stack lacks."""
    short: Array = pairs.take(0, axis) if is_stack else pairs.take([0], axis) if size == 1 else pairs
    return short


def divided(node: Node, of: Lookup, gradient: Moments) -> Moved:
    """The gradient of each of the tensors that were put together.

    Args:
        node: a concatenation or stack.
        of: gives the moments of a node.
        gradient: moments of the gradient of the whole.
    """
    axis = axis_of(node.argument("dim", 1, node.kwargs.get("axis", 0)), len(node.shape))
    pieces, place, is_stack = list(_pieces(node, of)), 0, node.name == "stack"
    if axis in axes_by_place(gradient):
        held, total = blocks(gradient.pairs, node.shape[axis], axis), node.shape[axis]
        for part, moments in pieces:
            after = place + (1 if is_stack else moments.shape[axis])
            if part is not None:
                pairs = from_blocks(moved(held, np.arange(place, after), total), after - place, axis)
                yield part, Moments(part.shape, 0.0, _short(pairs, after - place, axis, is_stack), gradient.noise)
            place = after
        return
    for part, moments in pieces:
        size = 1 if is_stack else moments.shape[axis]
        level, place = gradient.levels.get(axis, np.ones(node.shape[axis]))[place : place + size], place + size
        if part is None:
            continue
        share = float(level.mean())
        own = {other: each for other, each in gradient.levels.items() if other != axis} if not is_stack else {}
        if np.ptp(level) > 0:
            own[axis] = level / share
        pairs = _short(np.asarray(gradient.pairs * share), size, axis, is_stack)
        made = replace(gradient, shape=part.shape, pairs=pairs, levels=own, along=None)
        yield part, replace(made, noise=gradient.noise + max(gaussian_noise(made) - gaussian_noise(gradient), 0.0))


RULES = (Rule(names("cat concat concatenate stack"), concatenated, divided),)
