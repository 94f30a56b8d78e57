"""Rules for the same entries in another arrangement, some of the entries, and means over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.groups import group_of, is_by_place
from initprobe.torch.theory.mapped import is_taken, taken, taken_back
from initprobe.torch.theory.moments import ALIKE, Moments, NoRule, alike, broadcast, gaussian_noise
from initprobe.torch.theory.places import axes_by_place, blocks, from_blocks, moved, without_places
from initprobe.torch.theory.regrouping import regrouped
from initprobe.torch.theory.rule import Lookup, Moved, Rule, axis_of, first, names
from initprobe.torch.theory.trace import Node


def _same(node: Node, of: Lookup) -> Moments:
    return _viewed(of(first(node)), node.shape)


def _viewed(given: Moments, shape: tuple[int, ...]) -> Moments:
    """In another shape; what a view before this one merged is taken apart again."""
    before = given.before_merge
    if given.shape == shape:
        return given
    whole = given if before is None else before
    units = [place for place in range(len(whole.shape)) if math.prod(whole.shape[place:]) == shape[-1]]
    if units and len(shape) <= units[-1]:  # the axes after these are those of one row, such as heads and their units
        whole = regrouped(whole, (*whole.shape[: units[-1]], shape[-1]))
    made = regrouped(whole, shape)
    is_merged = len(shape) < len(whole.shape) and shape[-1] == whole.shape[-1]
    return replace(made, merged=(made.pairs, whole) if is_merged else None)


def _same_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    source = first(node)
    yield source, _viewed(gradient, source.shape)


def _order(node: Node) -> list[int]:
    """The axis of the input at each place of the output."""
    ndim = len(node.shape)
    if node.name in ("T", "mT", "t"):
        return [*range(ndim - 2), ndim - 1, ndim - 2]
    if node.name == "permute":
        given = node.argument("dims", 1)
        dims = given if isinstance(given, tuple) else node.args[1:]
        return [axis % ndim for axis in dims]
    axis, other_axis = node.argument("dim0", 1), node.argument("dim1", 2)
    if not isinstance(axis, int) or not isinstance(other_axis, int):
        raise NoRule(f"{node.name} of several axes")
    order = list(range(ndim))
    if node.name in ("movedim", "moveaxis"):
        order.insert(other_axis % ndim, order.pop(axis % ndim))
    else:
        order[axis % ndim], order[other_axis % ndim] = order[other_axis % ndim], order[axis % ndim]
    return order


def reordered(moments: Moments, order: Sequence[int]) -> Moments:
    """The moments with the axes in another order.

    Args:
        moments: of the tensor before.
        order: for each axis of the result, the axis before.
    """
    shape = tuple(moments.shape[axis] for axis in order)
    levels = {order.index(axis): level for axis, level in moments.levels.items()}
    return replace(moments, shape=shape, pairs=np.transpose(moments.pairs, order), bent=None, along=None, levels=levels)


def _permute(node: Node, of: Lookup) -> Moments:
    return reordered(of(first(node)), _order(node))


def _permute_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    yield first(node), reordered(gradient, np.argsort(_order(node)).tolist())


def _expand(node: Node, of: Lookup) -> Moments:
    return broadcast(of(first(node)), node.shape)


def summed_to(gradient: Moments, shape: Sequence[int]) -> Moments:
    """The gradient of a tensor that was expanded: the sum over its copies.

    Args:
        gradient: moments of the gradient of the expanded tensor.
        shape: before the tensor was expanded.
    """
    extra = len(gradient.shape) - len(shape)
    pairs = gradient.pairs
    for axis, size in enumerate(gradient.shape):
        if axis < extra or (shape[axis - extra] == 1 and size > 1):
            pairs = gradient.averaged([axis], pairs) * size**2
    levels = gradient.levels if gradient.shape == tuple(shape) else ALIKE
    pairs = pairs.reshape(pairs.shape[extra:])
    return gradient.changed(shape=tuple(shape), pairs=pairs, bent=None, along=None, levels=levels)


def _expand_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    source = first(node)
    yield source, summed_to(gradient, source.shape)


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
    for axis, size in enumerate(node.shape):
        have, before = pairs.shape[axis], axes[axis]
        if before is not None and is_by_place(size, have):
            continue
        if before is not None and have == source.shape[before] > 2 and size < have:
            step = max(have // size, 1) if have % size == 0 and node.name == "getitem" and _has_step(node) else 1
            pairs = np.take(pairs, np.arange(size) * step, axis)
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


def _has_step(node: Node) -> bool:
    given = node.args[1]
    index = given if isinstance(given, tuple) else (given,)
    return any(isinstance(part, slice) and part.step not in (None, 1) for part in index)


def _part_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    if is_taken(node):
        yield from taken_back(node, of, gradient)
        return
    source = first(node)
    chosen = _chosen(node, source, of(source))
    if chosen is not None:
        yield source, _row_back(gradient, chosen, source.shape)
        return
    share = math.prod(node.shape) / math.prod(source.shape)
    axes = _kept_axes(node, source)
    cut = _cut(node, source, axes)
    gradient = without_places(gradient, [place for place, axis in enumerate(axes) if axis in cut])
    kept = [axis for axis in axes if axis is not None]
    pairs = np.squeeze(gradient.pairs, tuple(place for place, axis in enumerate(axes) if axis is None))
    missing = [axis for axis in range(len(source.shape)) if axis not in kept]
    for axis in missing:
        pairs = np.expand_dims(pairs, axis)
    full: Array = pairs * share
    for axis, size in enumerate(source.shape):
        if full.shape[axis] == 1 and size > 1:
            full = np.concatenate([full, np.zeros_like(full)], axis)
        elif full.shape[axis] > 2 and not is_by_place(size, full.shape[axis]):
            full = alike(full, full.shape[axis], axis)
    yield source, Moments(source.shape, 0.0, full, gradient.noise)


def reduced_axes(node: Node, source: Node) -> list[int]:
    """The axes that a sum or mean is taken over.

    Args:
        node: a sum or mean.
        source: its input.
    """
    given: Any = node.argument("dim", 1, node.kwargs.get("axis"))
    ndim = len(source.shape)
    if given is None:
        return list(range(ndim))
    dims = given if isinstance(given, tuple) else (given,)
    return [axis % ndim for axis in dims]


def _reduction(node: Node, of: Lookup) -> Moments:
    source = first(node)
    given, axes = of(source), reduced_axes(node, source)
    count = math.prod(source.shape[axis] for axis in axes) if node.name == "sum" else 1
    pairs = given.averaged(axes) * count**2
    made = Moments(tuple(1 if a in axes else n for a, n in enumerate(source.shape)), given.mean * count, pairs)
    return replace(regrouped(made, node.shape), noise=given.noise)


def _reduction_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    source = first(node)
    axes = reduced_axes(node, source)
    whole = tuple(1 if a in axes else n for a, n in enumerate(source.shape))
    spread = broadcast(regrouped(gradient, whole), source.shape)
    count = 1 if node.name == "sum" else math.prod(source.shape[axis] for axis in axes)
    yield source, spread.scaled(1 / count**2)


def _padded(node: Node, of: Lookup) -> Moments:
    source = first(node)
    given = of(source)
    if node.argument("mode", 2, "constant") not in ("constant", None):
        share = 1.0
    else:
        share = math.prod(source.shape) / math.prod(node.shape)
    pairs = given.pairs * share
    for axis, (size, before) in enumerate(zip(node.shape, source.shape, strict=True)):
        if pairs.shape[axis] == before > 2 and size > before:
            pairs = np.take(pairs, np.minimum(np.arange(size), before - 1), axis)
    return replace(given, shape=node.shape, mean=given.mean * share, pairs=pairs, bent=None, levels=ALIKE)


def _padded_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    source = first(node)
    pairs = gradient.pairs
    for axis, size in enumerate(source.shape):
        if pairs.shape[axis] > max(size, 2):
            pairs = np.take(pairs, np.arange(size), axis)
    yield source, replace(gradient, shape=source.shape, pairs=pairs, levels=ALIKE)


RULES = (
    Rule(
        names(
            "view reshape view_as reshape_as flatten unflatten ravel squeeze unsqueeze contiguous clone alias to type "
            "type_as float double half bfloat16 cpu cuda detach positive checkpoint_name data real"
        ),
        _same,
        _same_back,
    ),
    Rule(names("permute transpose swapaxes swapdims movedim moveaxis t T mT"), _permute, _permute_back),
    Rule(names("expand expand_as broadcast_to"), _expand, _expand_back),
    Rule(names("masked_fill"), _expand, _expand_back),
    Rule(
        names("getitem chunk split split_with_sizes tensor_split unbind narrow select unsafe_chunk unsafe_split"),
        _part,
        _part_back,
    ),
    Rule(names("mean sum"), _reduction, _reduction_back),
    Rule(names("pad constant_pad_nd"), _padded, _padded_back),
)
