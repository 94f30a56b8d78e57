"""Rules for norms, of torch and written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.arrange import reduced_axes
from initprobe.torch.theory.moments import Moments, NoRule, lengthened, matched, shares
from initprobe.torch.theory.places import axes_by_place, deviations, settled, weighted_shares, without_places
from initprobe.torch.theory.regrouping import regrouped
from initprobe.torch.theory.rule import Lookup, Moved, Rule, constant, first, names
from initprobe.torch.theory.trace import Constant, Node
from initprobe.torch.theory.unit_norms import of_each_unit

_REDUCED = ("mean", "var", "std", "sum", "norm", "vector_norm", "linalg_vector_norm")


def normalised(given: Moments, axes: Sequence[int], eps: float, centred: bool = True) -> tuple[Moments, Array]:
    """The moments after a norm over these axes, and the variance that it divided by, which may differ by place.

    Args:
        given: moments of the input.
        axes: over which mean and variance are taken.
        eps: is added to the variance.
        centred: subtract the mean; a norm by root mean square does not.
    """
    given = without_places(given) if set(axes) & set(axes_by_place(given)) else given
    is_even = centred and set(range(2, len(given.shape))) <= set(axes)
    held, held_levels = (given.even_pairs, given.even_levels) if is_even else (given.pairs, given.levels)
    pairs = held - given.averaged(axes, held) if centred else held
    variance = deviations(given, pairs, eps)
    own = float(variance[(0,) * pairs.ndim])
    if own <= 0:
        return Moments(given.shape, 0.0, np.zeros_like(pairs)), np.ones(())
    mean = 0.0 if centred else given.mean / own**0.5
    levels = {axis: level for axis, level in held_levels.items() if axis in axes}  # each other place has its own norm
    normal = settled(given, pairs / variance)
    if is_even and 0 in axes and 1 not in axes:  # batch norm
        normal = of_each_unit(normal, given.shape, axes)
    return Moments(given.shape, mean, normal, levels=levels, shared=given.shared), variance


def denormalised(
    normal: Moments,
    variance: Array,
    axes: Sequence[int],
    gradient: Moments,
    centred: bool = True,
    given: Moments | None = None,
) -> Moments:
    """The gradient of the input of a norm: what changes mean or length of the input is taken out.

    Args:
        normal: moments of the output.
        variance: by which the norm divided.
        axes: over which the norm averages.
        gradient: moments of the gradient of the output.
        centred: whether the norm subtracts the mean.
        given: moments of the input, if levels and spread of its units are to count.
    """
    gradient = without_places(gradient) if set(axes) & set(axes_by_place(gradient)) else gradient
    extra = [] if gradient.along is None else [Moments(normal.shape, 0.0, gradient.along)]
    shape, (own, outer, *rest) = matched([normal, gradient, *extra])
    here = Moments(shape, 0.0, own)
    along = rest[0] if rest else outer * own
    spread = _spread(here, axes)
    if given is not None and given.shape == normal.shape and 1 not in axes:
        even = given.even_pairs
        scale = max(given.square - float(given.averaged(axes).flat[0]), 1e-300)
        spread = _spread(replace(given, pairs=(even - given.averaged(axes, even)) / scale), axes)
    factor, levels = _by_level(given, normal, axes, gradient)
    left = outer - (here.averaged(axes, outer) if centred else 0.0) - own * here.averaged(axes, along)
    shaped = Moments(normal.shape, 0.0, left)
    for axis in set(axes_by_place(shaped)) - set(axes_by_place(normal)):
        variance = lengthened(variance, left.shape[axis], axis, normal.shape[axis]) if variance.ndim else variance
    made = settled(shaped, left / variance * (factor + spread))
    return Moments(normal.shape, 0.0, made, gradient.noise, levels=levels, rise=gradient.rise)


def _spread(normal: Moments, axes: Sequence[int]) -> float:
    """Relative variance of the variance that a norm divides by: the mean of its inverse is larger by that.

    A unit with large weights has a large variance, too. That is left out: its gradient is as much smaller as its
    weights, which take it back, are larger.
    """
    return 2 * float(normal.averaged(axes, normal.pairs**2).flat[0])


def _by_level(
    given: Moments | None, normal: Moments, axes: Sequence[int], gradient: Moments
) -> tuple[float, Mapping[int, Array]]:
    """What places of different levels change in the mean gradient of a norm's input, and the levels of that."""
    levels, factor = dict(gradient.levels), 1.0
    if given is None or given.shape != normal.shape:
        return factor, levels
    for axis, level in given.levels.items():
        if axis not in axes and level.min() > 0:
            made = gradient.levels.get(axis, np.ones(level.shape)) / level
            levels[axis] = made / made.mean()
            factor *= float(made.mean())
    return factor, levels


def _affine(moments: Moments, weight: Any, bias: Any, axis: int | None) -> Moments:
    """Times the weight of a norm plus its bias; `axis` is that of both, None for the last axes."""
    for held, is_factor in ((weight, True), (bias, False)):
        if not isinstance(held, Constant):
            continue
        entry = constant(held)
        if axis is not None:
            ndim = len(moments.shape) - axis - 1
            pairs = entry.pairs.reshape(entry.pairs.shape + (1,) * ndim)
            entry = Moments(entry.shape + (1,) * ndim, entry.mean, pairs)
        shape, (own_pairs, other_pairs) = matched([moments, entry])
        mean = moments.mean * entry.mean if is_factor else moments.mean + entry.mean
        made = own_pairs * other_pairs if is_factor else own_pairs + other_pairs + 2 * moments.mean * entry.mean
        along = moments.along * entry.square if moments.along is not None and is_factor else moments.along
        moments = replace(moments, shape=shape, mean=mean, pairs=made, along=along)
    return moments


class _Norm:
    """A norm of torch: its axes, its parameters, and the shape in which it is taken."""

    def __init__(self, node: Node) -> None:
        self.source = source = first(node)
        ndim = len(source.shape)
        self.shape, self.axes, self.channel = source.shape, list(range(2, ndim)), 1
        self.centred, self.eps, self.weight, self.bias = True, 1e-5, None, None
        getattr(self, f"_{node.name}")(node, ndim)

    def _layer_norm(self, node: Node, ndim: int) -> None:
        given = node.argument("normalized_shape", 1)
        count = len(given) if isinstance(given, tuple) else 1
        self.axes, self.channel = list(range(ndim - count, ndim)), None
        self.weight, self.bias = node.argument("weight", 2), node.argument("bias", 3)
        self.eps = node.argument("eps", 4, 1e-5)

    def _rms_norm(self, node: Node, ndim: int) -> None:
        self._layer_norm(node, ndim)
        self.centred, self.bias = False, None
        eps = node.argument("eps", 3)
        self.eps = eps if isinstance(eps, float) else 1e-7

    def _batch_norm(self, node: Node, ndim: int) -> None:
        if not node.argument("training", 5, False):
            raise NoRule("batch norm with stored statistics")
        self.axes = [0, *range(2, ndim)]
        self.weight, self.bias = node.argument("weight", 3), node.argument("bias", 4)
        self.eps = node.argument("eps", 7, 1e-5)

    def _instance_norm(self, node: Node, ndim: int) -> None:
        self.weight, self.bias = node.argument("weight", 3), node.argument("bias", 4)
        self.eps = node.argument("eps", 7, 1e-5)

    def _group_norm(self, node: Node, ndim: int) -> None:
        groups, shape = int(node.argument("num_groups", 1)), self.source.shape
        self.shape = (shape[0], groups, shape[1] // groups, *shape[2:])
        self.axes = list(range(2, ndim + 1))
        self.weight, self.bias = node.argument("weight", 2), node.argument("bias", 3)
        self.eps = node.argument("eps", 4, 1e-5)

    channel: int | None
    weight: Any
    bias: Any


def _norm(node: Node, of: Lookup) -> Moments:
    norm = _Norm(node)
    made, _ = normalised(regrouped(of(norm.source), norm.shape), norm.axes, norm.eps, norm.centred)
    return _affine(regrouped(made, node.shape), norm.weight, norm.bias, norm.channel)


def _norm_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    norm = _Norm(node)
    given = of(norm.source)
    normal, variance = normalised(regrouped(given, norm.shape), norm.axes, norm.eps, norm.centred)
    scaled = _affine(gradient, norm.weight, None, norm.channel)
    moved = denormalised(normal, variance, norm.axes, regrouped(scaled, norm.shape), norm.centred, given)
    made = regrouped(moved, node.shape)
    yield norm.source, replace(made, noise=gradient.noise + _length_noise(normal, moved, norm.axes))


def _length_noise(normal: Moments, gradient: Moments, axes: Sequence[int]) -> float:
    """Variance of the log of the gradient's mean square that comes from the variances by which a norm divides.

    It counts where few places have most of the gradient, such as a class token.
    """
    places = axes_by_place(gradient)
    spread = normal.averaged(axes, 2 * normal.pairs**2)
    weights = []
    for axis, (size, length) in enumerate(zip(normal.shape, spread.shape, strict=True)):
        if axis in axes or axis not in places:
            weights.append(shares(size, length))
            continue
        weights.append(weighted_shares(gradient, axis, length))
    for share in weights:
        spread = np.tensordot(spread, share, (0, 0))
    return max(float(spread.item()), 0.0)


def mean_axes(whole: Node, reduced: Node) -> tuple[int, ...] | None:
    """The axes over which one node is the mean of another; None where it is not.

    Args:
        whole: node of the graph of operations.
        reduced: node that may be its mean.

    Raises:
        NoRule: it is the mean, but its places do not lie at those of the tensor.
    """
    if reduced.name != "mean" or reduced.sources[:1] != [whole]:
        return None
    axes = tuple(reduced_axes(reduced, whole))
    ndim = len(whole.shape)
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(whole.shape))
    if (1,) * (ndim - len(reduced.shape)) + reduced.shape != kept:
        raise NoRule("a mean whose places are not those of its tensor")
    return axes


def _by_hand_parts(left: Node, right: Node) -> tuple[Node, Node, list[int]]:
    """The tensor, what it is divided by, and the axes over which that was taken."""
    whole, reduced = (left, right) if np.prod(left.shape) >= np.prod(right.shape) else (right, left)
    if len(whole.shape) != len(reduced.shape):
        raise NoRule("a norm that no rule takes apart")
    axes = [axis for axis, size in enumerate(reduced.shape) if size == 1 and whole.shape[axis] > 1]
    return whole, reduced, axes


def _size(reduced: Node, whole: Node, axes: Sequence[int]) -> float:
    """1 for a norm by a mean; the number of entries for a norm by a sum."""
    has_root = False
    for _ in range(8):
        if reduced.name in _REDUCED:
            if not _is_of_squares(reduced, has_root):
                raise NoRule("a norm that is not a root mean square")
            is_mean = reduced.name in ("mean", "var", "std")
            return 1.0 if is_mean else float(np.prod([whole.shape[axis] for axis in axes]))
        if not reduced.sources:
            break
        is_power = reduced.name == "pow" and reduced.argument("exponent", 1) in (0.5, -0.5)
        has_root |= is_power or reduced.name in ("sqrt", "rsqrt")
        reduced = reduced.sources[0]
    raise NoRule("a norm that no rule takes apart")


def _is_of_squares(reduced: Node, has_root: bool) -> bool:
    """Whether a tensor is reduced to its root mean square, or the root of a sum of squares."""
    if "norm" in reduced.name:
        return not has_root and reduced.argument("p", 1, reduced.kwargs.get("ord", 2)) in (2, None, "fro")
    if reduced.name == "std":
        return not has_root
    source = reduced.sources[0]
    is_product = source.name in ("mul", "multiply") and source.args[0] is source.args[1]
    is_power = source.name == "pow" and source.argument("exponent", 1) == 2
    return has_root and (reduced.name == "var" or source.name == "square" or is_product or is_power)


def by_hand(node: Node, left: Node, right: Node, of: Lookup) -> Moments:
    """A tensor over its own root mean square, or the like.

    Args:
        node: the quotient.
        left: the numerator.
        right: the denominator.
        of: gives the moments of a node.
    """
    whole, reduced, axes = _by_hand_parts(left, right)
    made, _ = normalised(of(whole), axes, 0.0, False)
    return made.scaled(1 / _size(reduced, whole, axes))


def by_hand_back(node: Node, left: Node, right: Node, of: Lookup, gradient: Moments) -> Moved:
    """The gradient of the tensor; what it was divided by is made of it, and gets none of its own.

    Args:
        node: the quotient.
        left: the numerator.
        right: the denominator.
        of: gives the moments of a node.
        gradient: moments of the gradient of the quotient.
    """
    whole, reduced, axes = _by_hand_parts(left, right)
    normal, variance = normalised(of(whole), axes, 0.0, False)
    yield whole, denormalised(normal, variance, axes, gradient.scaled(1 / _size(reduced, whole, axes)), False)


RULES = (Rule(names("layer_norm rms_norm batch_norm instance_norm group_norm"), _norm, _norm_back),)
