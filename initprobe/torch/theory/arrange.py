"""Rules for the same entries in another arrangement, and for means over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from initprobe.torch.theory.moments import ALIKE, Moments, NoRule, broadcast
from initprobe.torch.theory.regrouping import regrouped
from initprobe.torch.theory.rule import Lookup, Moved, Rule, first, names
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
    Rule(names("mean sum"), _reduction, _reduction_back),
    Rule(names("pad constant_pad_nd"), _padded, _padded_back),
)
