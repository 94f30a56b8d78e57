"""Rules for products with weights: linear layers, convolutions, embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.moments import Moments, NoRule, gaussian_noise, lengthened, shares
from initprobe.torch.theory.places import without_places
from initprobe.torch.theory.regrouping import regrouped
from initprobe.torch.theory.rule import Lookup, Moved, Rule, constant, names
from initprobe.torch.theory.trace import Constant, Node

_CLEAR_MEAN = 5  # standard errors from which on a mean of the weights is no chance


@dataclass(frozen=True)
class Weights:
    """Independent weights: variance about their mean, and the mean where it is no chance."""

    variance: float
    mean: float


def _weights(held: Any) -> Weights:
    moments = constant(held)
    variance = max(moments.square - moments.mean**2, 0.0)
    is_clear = moments.mean**2 * held.entries > _CLEAR_MEAN**2 * variance
    return Weights(variance, moments.mean) if is_clear else Weights(moments.square, 0.0)


def _summed(given: Moments, axis: int, fan: float, weights: Weights) -> tuple[Array, Array]:
    """Mean products of two sums over weights: in the same unit and in two units; the axis stays with one index."""
    same = given.pairs[(*(slice(None),) * axis, slice(0, 1))] * (fan * weights.variance)
    if weights.mean == 0:
        return same, np.zeros_like(same)
    both = given.averaged([axis]) * (fan * weights.mean) ** 2
    return same + both, both


def _joined(same: Array, other: Array, axis: int, units: int) -> Array:
    return np.concatenate([same, other], axis) if units > 1 else same


def _with_bias(pairs: Array, mean: float, held: Any, axis: int) -> tuple[Array, float]:
    if not isinstance(held, Constant):
        return pairs, mean
    bias = constant(held)
    both = bias.mean**2 + 2 * mean * bias.mean
    made = pairs + both
    own: tuple[slice | int, ...] = (*(slice(None),) * axis, 0)
    made[own] += bias.square - bias.mean**2
    return made, mean + bias.mean


def _made(node: Node, given: Moments, pairs: Array, mean: float, held: Any, axis: int) -> Moments:
    pairs, mean = _with_bias(pairs, mean, held, axis)
    moments = Moments(node.shape, mean, pairs)
    return moments.with_noise(given.noise + gaussian_noise(moments))


def _uneven(each: Sequence[Window]) -> float:
    return math.prod(window.uneven for window in each) - 1


def _parts(node: Node) -> tuple[Node, Any, Any, bool]:
    """The input of a product with a matrix, the matrix, the bias, and whether the outputs are its rows."""
    if node.name == "linear":
        return node.argument("input", 0), node.argument("weight", 1), node.argument("bias", 2), True
    if node.name == "addmm":
        return node.args[1], node.args[2], node.args[0], False
    if isinstance(node.args[0], Constant):
        raise NoRule("a product with the weight on the left")
    return node.args[0], node.args[1], None, False


def _linear(node: Node, of: Lookup) -> Moments:
    source, held, bias, _ = _parts(node)
    given, weights = of(source), _weights(held)
    before = given.before_merge
    if before is not None:
        shape = (*before.shape[:-1], node.shape[-1])
        whole = _linear(replace(node, shape=shape), lambda _: before)
        made = regrouped(whole, node.shape)
        return replace(made, merged=(made.pairs, whole))
    axis, fan, units = len(given.shape) - 1, given.shape[-1], node.shape[-1]
    same, other = _summed(given, axis, fan, weights)
    mean = fan * weights.mean * given.mean
    return _made(node, given, _joined(same, other, axis, units), mean, bias, axis)


def _linear_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    source, held, _, _ = _parts(node)
    before = gradient.before_merge
    if before is not None:
        shape = (*before.shape[:-1], source.shape[-1])
        above = replace(source, shape=shape)
        args = tuple(above if part is source else part for part in node.args)
        ((_, whole),) = _linear_back(replace(node, args=args, shape=before.shape), of, before)
        made = regrouped(whole, source.shape)
        yield source, replace(made, merged=(made.pairs, whole))
        return
    weights, axis = _weights(held), len(source.shape) - 1
    same, other = _summed(gradient, axis, node.shape[-1], weights)
    moments = Moments(source.shape, 0.0, _joined(same, other, axis, source.shape[-1]))
    yield source, moments.with_noise(gradient.noise + gaussian_noise(moments))


@dataclass(frozen=True)
class Window:
    """A convolution along one axis.

    Attributes:
        size: places of the input.
        made: places of the output.
        taps: of the kernel.
        stride: places of the input from one output to the next.
        padding: places added at the start; None for as many as keep the size.
        dilation: places from one tap to the next.
    """

    size: int
    made: int
    taps: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @property
    def inside(self) -> float:
        """Mean share of the taps of an output that are not beyond the border."""
        return _inside(self)[0]

    @property
    def uneven(self) -> float:
        """Mean square of that share over the square of its mean."""
        return _inside(self)[1]

    @cached_property
    def shared(self) -> Array:
        """Share of the taps that are inside at two outputs, over the share at one, by the distance of the outputs."""
        places = np.arange(self.made)[:, None] * self.stride - self.padding + np.arange(self.taps) * self.dilation
        inside = ((places >= 0) & (places < self.size)).astype(float)
        both = [np.mean(inside[: self.made - apart] * inside[apart:]) for apart in range(self.made)]
        return np.asarray(np.array(both) / max(both[0], 1e-300))

    def convolved(self, pairs: Array, axis: int) -> Array:
        """Pairs of outputs by distance, of pairs of inputs: at borders, two outputs share fewer taps than one has.

        Args:
            pairs: of the inputs.
            axis: of the tensor.
        """
        moved, shared = self.thinned(pairs, axis), self.shared
        if moved.shape[axis] == 2 != self.made:
            weights = shares(self.made, self.made)[1:]
            shared = np.array([1.0, float(shared[1:] @ weights / weights.sum())])
        return np.asarray(moved * shared.reshape([-1 if place == axis else 1 for place in range(moved.ndim)]))

    def thinned(self, pairs: Array, axis: int) -> Array:
        """Pairs by distance between outputs, of pairs between inputs; arguments as in `convolved`."""
        if self.made == 1:
            return np.take(pairs, [0], axis)
        if pairs.shape[axis] == 1:
            return np.repeat(pairs, 2, axis)
        if pairs.shape[axis] == 2 != self.size:
            return pairs
        return np.asarray(np.take(pairs, np.minimum(np.arange(self.made) * self.stride, pairs.shape[axis] - 1), axis))

    def spread(self, pairs: Array, axis: int) -> Array:
        """Pairs between inputs, of pairs between outputs that share weights; arguments as in `convolved`."""
        if self.size == 1:
            return np.take(pairs, [0], axis)
        if pairs.shape[axis] == 1 or (pairs.shape[axis] == 2 != self.made):
            return pairs if pairs.shape[axis] > 1 else np.asarray(np.concatenate([pairs, np.zeros_like(pairs)], axis))
        places = np.arange(self.size)
        taken = np.take(pairs, np.minimum(places // self.stride, pairs.shape[axis] - 1), axis)
        shape = [1] * pairs.ndim
        shape[axis] = -1
        return np.asarray(taken * (places % self.stride == 0).reshape(shape))


@lru_cache(maxsize=1024)
def _inside(window: Window) -> tuple[float, float]:
    starts = np.arange(window.made)[:, None] * window.stride - window.padding
    places = starts + np.arange(window.taps) * window.dilation
    inside = np.mean((places >= 0) & (places < window.size), 1)
    return float(np.mean(inside)), float(np.mean(inside**2) / np.mean(inside) ** 2)


def per_axis(value: Any, count: int) -> tuple[int, ...]:
    """An argument of a convolution or pooling, with one number per axis.

    Args:
        value: one number, or one per axis.
        count: number of axes.
    """
    if isinstance(value, tuple):
        return value * count if len(value) == 1 else value
    return (int(value),) * count


def windows(node: Node, source: Node, taps: Sequence[int], places: tuple[int, int, int]) -> list[Window]:
    """The windows along the axes after the second.

    Args:
        node: a convolution or pooling.
        source: its input.
        taps: length of the window along each axis.
        places: indices of stride, padding and dilation among the arguments of the call.
    """
    count = len(taps)
    stride = node.argument("stride", places[0], 1)
    strides = per_axis(taps if stride is None or stride == () else stride, count)
    padding = node.argument("padding", places[1], 0)
    dilations = per_axis(node.argument("dilation", places[2], 1), count)
    if padding == "same":
        pads: tuple[int, ...] = tuple(step * (tap - 1) // 2 for step, tap in zip(dilations, taps, strict=True))
    else:
        pads = (0,) * count if isinstance(padding, str) else per_axis(padding, count)
    sizes, made = source.shape[-count:], node.shape[-count:]
    return [Window(*each) for each in zip(sizes, made, taps, strides, pads, dilations, strict=True)]


def _convolution(node: Node) -> tuple[Node, Constant, Any, list[Window], bool]:
    source, held, bias = node.argument("input", 0), node.argument("weight", 1), node.argument("bias", 2)
    if not isinstance(source, Node) or not isinstance(held, Constant):
        raise NoRule(f"{node.name} with a weight that depends on the input")
    is_transposed = node.name.startswith("conv_transpose")
    if is_transposed:
        made = windows(node, source, held.shape[2:], (3, 4, 7))
        made = [replace(each, size=each.made, made=each.size) for each in made]
        return source, held, bias, made, True
    return source, held, bias, windows(node, source, held.shape[2:], (3, 4, 5)), False


def _fan(held: Constant, each: Sequence[Window], axis: int, groups: int) -> float:
    """Products in a sum, on average: forward along axis 1 of the weight, back along axis 0."""
    fan = float(held.shape[1] if axis == 1 else held.shape[0] // groups)
    for window in each:
        fan *= window.taps * window.inside * (1 if axis == 1 else window.made / window.size)
    return fan


def _through(given: Moments, node: Node, target: Node, forward: bool) -> tuple[Array, Array, float]:
    """Pairs in the same unit and in two units after a convolution or back through it, and the fan."""
    _, held, _, each, is_transposed = _convolution(node)
    along = forward != is_transposed
    fan = _fan(held, each, 1 if along else 0, int(node.argument("groups", 6, 1)))
    weights, axis = _weights(held), len(target.shape) - len(each) - 1
    same, other = _summed(given, axis, fan, weights)
    for number, window in enumerate(each, axis + 1):
        move = window.convolved if along else window.spread
        same, other = move(same, number), move(other, number)
    return same, other, fan * weights.mean


def _convolve(node: Node, of: Lookup) -> Moments:
    source, _, bias, each, _ = _convolution(node)
    given, axis = of(source), len(node.shape) - len(each) - 1
    same, other, factor = _through(given, node, node, True)
    made = _made(node, given, _joined(same, other, axis, node.shape[axis]), factor * given.mean, bias, axis)
    return replace(made, uneven=_uneven(each))


def _convolve_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    source, _, _, each, _ = _convolution(node)
    axis = len(node.shape) - len(each) - 1
    same, other, _ = _through(gradient, node, source, False)
    moments = Moments(source.shape, 0.0, _joined(same, other, axis, source.shape[axis]))
    yield source, replace(moments, noise=gradient.noise + gaussian_noise(moments))


def _embedding(node: Node, of: Lookup) -> Moments:
    weight = constant(node.argument("weight", 1))
    equal = node.facts["equal"]
    same = (weight.square - weight.mean**2) * equal + weight.mean**2
    pairs = np.stack([same, np.full_like(same, weight.mean**2)], -1)
    moments = Moments(node.shape, weight.mean, pairs)
    return replace(moments, noise=gaussian_noise(moments))


def _nothing_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    return ()


def multiplied(left: Moments, right: Moments, shape: Sequence[int]) -> Moments:
    """The moments of the matrix product of two independent tensors.

    Args:
        left: moments of the first matrix.
        right: moments of the second matrix.
        shape: of the product.
    """
    left, right = without_places(left), without_places(right)
    size, length = left.shape[-1], max(left.pairs.shape[-1], right.pairs.shape[-2])
    ndim = len(shape)
    left_pairs, right_pairs = (_padded(part, ndim) for part in (left, right))
    left_pairs = lengthened(left_pairs, length, -1) * shares(size, length)
    right_pairs = lengthened(right_pairs, length, -2)
    batch = [max(a, b) for a, b in zip(left_pairs.shape[:-2], right_pairs.shape[:-2], strict=True)]
    for axis, most in enumerate(batch):
        left_pairs, right_pairs = lengthened(left_pairs, most, axis), lengthened(right_pairs, most, axis)
    pairs = np.matmul(left_pairs, right_pairs) * size**2
    return Moments(tuple(shape), size * left.mean * right.mean, pairs, left.noise + right.noise)


def _padded(moments: Moments, ndim: int) -> Array:
    return moments.pairs.reshape((1,) * (ndim - moments.pairs.ndim) + moments.pairs.shape)


def swapped(moments: Moments) -> Moments:
    """The moments of the transposed matrices."""
    order = (*moments.shape[:-2], moments.shape[-1], moments.shape[-2])
    return replace(moments, shape=order, pairs=np.swapaxes(moments.pairs, -1, -2), bent=None)


def _matmul(node: Node, of: Lookup) -> Moments:
    sources = node.sources
    if len(sources) == 2 and len(node.args) > 1 and min(len(source.shape) for source in sources) > 1:
        return multiplied(of(sources[0]), of(sources[1]), node.shape)
    return _linear(node, of)


def _matmul_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    sources = node.sources
    if len(sources) != 2:
        yield from _linear_back(node, of, gradient)
        return
    left, right = sources
    yield left, multiplied(gradient, swapped(of(right)), left.shape)
    yield right, multiplied(swapped(of(left)), gradient, right.shape)


RULES = (
    Rule(names("linear addmm"), _linear, _linear_back),
    Rule(names("matmul bmm mm"), _matmul, _matmul_back),
    Rule(names("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"), _convolve, _convolve_back),
    Rule(names("embedding"), _embedding, _nothing_back),
)
