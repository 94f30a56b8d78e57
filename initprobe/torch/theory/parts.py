"""Rules for a part of a tensor: a place of an axis, a slice, or what an index tensor takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.groups import group_of, is_by_place
from initprobe.torch.theory.mapped import is_taken, taken, taken_back
from initprobe.torch.theory.moments import ALIKE, Moments, NoRule, gaussian_noise
from initprobe.torch.theory.places import axes_by_place, blocks, from_blocks, moved, without_places
from initprobe.torch.theory.rule import Lookup, Moved, Rule, axis_of, first, names
from initprobe.torch.theory.trace import Node


def _part_axes(node: Node, source: Node) -> list[int | None]:
    """The axis of the input at each place of the output of an index; None for a new one."""
    given = node.args[1] if len(node.args) > 1 else ()
    index = given if isinstance(given, tuple) else (given,)
    count = sum(part is not None and part is not ... for part in index)
    axes: list[int | None] = []
    place = 0
    for part in index:
        if part is ...:
            reach = len(source.shape) - count
            axes += range(place, place + reach)
            place += reach
        elif part is None:
            axes.append(None)
        elif isinstance(part, slice):
            axes.append(place)
            place += 1
        elif isinstance(part, int) and not isinstance(part, bool):
            place += 1
        else:
            raise NoRule("an index by a tensor")
    return [*axes, *range(place, len(source.shape))]


def _kept_axes(node: Node, source: Node) -> list[int | None]:
    if node.name == "getitem":
        return _part_axes(node, source)
    every: list[int | None] = list(range(len(source.shape)))
    if len(node.shape) < len(source.shape):
        every.pop(axis_of(node.argument("dim", 1, 0), len(source.shape)))
    return every


def _part(node: Node, of: Lookup) -> Moments:
    if is_taken(node):
        return taken(node, of)
    source = first(node)
    given, axes = of(source), _kept_axes(node, source)
    chosen = _chosen(node, source, given)
    if chosen is not None:
        return _row(given, chosen, node.shape)
    given = without_places(given, _cut(node, source, axes))
    if len(axes) != len(node.shape):
        raise NoRule(f"{node.name}: an index that no rule takes apart")
    dropped = tuple(axis for axis in range(len(source.shape)) if axis not in axes)
    pairs = given.pairs[tuple(0 if axis in dropped else slice(None) for axis in range(given.pairs.ndim))]
    for place, axis in enumerate(axes):
        if axis is None:
            pairs = np.expand_dims(pairs, place)
    steps = _steps(node, source)
    for axis, size in enumerate(node.shape):
        have, before = pairs.shape[axis], axes[axis]
        if before is not None and is_by_place(size, have):
            continue
        if before is not None and have == source.shape[before] > 2 and size < have:
            pairs = np.take(pairs, np.arange(size) * steps.get(before, 1), axis)
        elif size == 1 and have > 1:
            pairs = np.take(pairs, [0], axis)
    made = replace(given, shape=node.shape, pairs=pairs, bent=None, levels=ALIKE)
    return made.with_noise(given.noise + max(gaussian_noise(made) - gaussian_noise(given), 0.0))


def _chosen(node: Node, source: Node, given: Moments) -> tuple[int, int | slice] | None:
    """The axis and the places that an index takes of it, if places differ and other axes stay whole."""
    taken = _taken(node, len(source.shape))
    if taken is None:
        return None
    axis, part = taken
    if axis in axes_by_place(given):
        return taken
    is_sequence = len(source.shape) == 3 and axis == 1 and source.shape[1] > 1
    return taken if is_sequence and isinstance(part, int) else None


def _taken(node: Node, ndim: int) -> tuple[int, int | slice] | None:
    """The one axis of which a call takes a place or a slice; None where it takes parts of several."""
    if node.name in ("select", "unbind"):
        axis = int(node.argument("dim", 1, 0)) % ndim
        return axis, int(node.argument("index", 2)) if node.name == "select" else node.output
    if node.name != "getitem":
        return None
    index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    parts = [(axis, part) for axis, part in enumerate(index) if part != slice(None)]
    if len(parts) != 1 or isinstance(parts[0][1], bool) or not isinstance(parts[0][1], int | slice):
        return None
    return parts[0]


def taken_place(node: Node) -> tuple[int, int, int] | None:
    """The number of the tensor of which a call takes one place, the axis (0 or 1), and the place."""
    if not node.sources or len(node.sources[0].shape) != 3:
        return None
    source = node.sources[0]
    taken_part = _taken(node, 3)
    if taken_part is None or taken_part[0] > 1 or not isinstance(taken_part[1], int):
        return None
    return source.number, taken_part[0], taken_part[1] % source.shape[taken_part[0]]


def _row(given: Moments, chosen: tuple[int, int | slice], shape: tuple[int, ...]) -> Moments:
    axis, places = chosen
    size = given.shape[axis]
    held = blocks(given.pairs, size, axis)
    if isinstance(places, int):
        own = held[..., -1, group_of(size)[places]]
        return replace(given, shape=shape, pairs=own, bent=None, along=None, levels=ALIKE)
    source = np.arange(size)[places]
    made = from_blocks(moved(held, source, size), len(source), axis)
    made = made.take([0], axis) if shape[axis] == 1 else made
    return replace(given, shape=shape, pairs=made, bent=None, along=None, levels=ALIKE)


def _row_back(gradient: Moments, chosen: tuple[int, int | slice], shape: tuple[int, ...]) -> Moments:
    axis, places = chosen
    size, source = shape[axis], np.full(shape[axis], -1)
    if isinstance(places, int):
        held, before = np.stack([gradient.pairs[..., None]] * 2, -2), 1
        source[places] = 0
    else:
        before = gradient.shape[axis]
        held = blocks(gradient.pairs, before, axis)
        source[places] = np.arange(before)
    return Moments(shape, 0.0, from_blocks(moved(held, source, before), size, axis), gradient.noise)


def _cut(node: Node, source: Node, axes: Sequence[int | None]) -> set[int]:
    """The axes of the source of which the part lacks some places."""
    whole = {axis for place, axis in enumerate(axes) if axis is not None and node.shape[place] == source.shape[axis]}
    return set(range(len(source.shape))) - whole


def _steps(node: Node, source: Node) -> dict[int, int]:
    """The steps of slices, by axis of the source."""
    if node.name != "getitem":
        return {}
    given = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    index = [part for part in given if part is not None]
    if ... in index:
        place = index.index(...)
        index[place : place + 1] = [slice(None)] * (len(source.shape) - len(index) + 1)
    return {axis: int(part.step or 1) for axis, part in enumerate(index) if isinstance(part, slice)}


def _part_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    if is_taken(node):
        yield from taken_back(node, of, gradient)
        return
    source = first(node)
    chosen = _chosen(node, source, of(source))
    if chosen is not None:
        yield source, _row_back(gradient, chosen, source.shape)
        return
    axes = _kept_axes(node, source)
    cut = _cut(node, source, axes)
    gradient = without_places(gradient, [place for place, axis in enumerate(axes) if axis in cut])
    kept = [axis for axis in axes if axis is not None]
    pairs = np.squeeze(gradient.pairs, tuple(place for place, axis in enumerate(axes) if axis is None))
    for axis in [axis for axis in range(len(source.shape)) if axis not in kept]:
        pairs = np.expand_dims(pairs, axis)
    sizes = {axis: node.shape[place] for place, axis in enumerate(axes) if axis is not None}
    steps = _steps(node, source)
    for axis in cut:
        pairs = _spread_out(pairs, axis, sizes.get(axis, 1), source.shape[axis], steps.get(axis, 1))
    yield source, Moments(source.shape, 0.0, pairs, gradient.noise)


def _spread_out(pairs: Array, axis: int, size: int, whole: int, step: int) -> Array:
    """The pairs of a tensor that has a part at some places of an axis, and 0 at the others.

    Args:
        pairs: mean products of two entries of the part.
        axis: of the tensor.
        size, whole: places of the part and of the tensor.
        step: places of the tensor from one place of the part to the next.
    """
    if step > 1 and pairs.shape[axis] == 2:  # neighbours of a place that is taken are not taken
        pairs = pairs.take(np.minimum(np.arange(size), 1), axis)
    have = pairs.shape[axis]
    shape = [-1 if place == axis else 1 for place in range(pairs.ndim)]
    if have == size > 2:
        apart = np.arange(size)
        shares = (size - apart) / np.maximum(whole - apart * step, 1)
        made = np.zeros([whole if place == axis else length for place, length in enumerate(pairs.shape)])
        np.moveaxis(made, axis, 0)[: size * step : step] = np.moveaxis(pairs * shares.reshape(shape), axis, 0)
        return made
    same, other = pairs.take([0], axis) * (size / whole), pairs.take([-1], axis) * (size * (size - 1))
    return np.concatenate([same, other / (whole * (whole - 1))], axis)


RULES = (
    Rule(
        names("getitem chunk split split_with_sizes tensor_split unbind narrow select unsafe_chunk unsafe_split"),
        _part,
        _part_back,
    ),
)
