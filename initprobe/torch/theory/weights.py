"""Rules for products with weights: linear layers, convolutions, embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.mapped import mixed, mixed_back
from initprobe.torch.theory.moments import Moments, NoRule, apart, gaussian_noise, lengthened, shares
from initprobe.torch.theory.places import without_places
from initprobe.torch.theory.regrouping import regrouped
from initprobe.torch.theory.rule import Lookup, Moved, Rule, constant, names
from initprobe.torch.theory.trace import Constant, Node
from initprobe.torch.theory.window import Window, swept, windows

_CLEAR_MEAN = 5  # standard errors from which on a mean of the weights is no chance


@dataclass(frozen=True)
class Weights:
    """Independent weights: variance about their mean, and the mean where it is no chance."""

    variance: float
    mean: float


def weights_of_product(held: Any) -> Weights:
    """The weights that a product sums over.

    Args:
        held: a parameter.
    """
    if not isinstance(held, Constant) or held.as_weights is None:
        moments = constant(held)
        variance = max(moments.square - moments.mean**2, 0.0)
        is_clear = moments.mean**2 * held.entries > _CLEAR_MEAN**2 * variance
        held.as_weights = Weights(variance, moments.mean) if is_clear else Weights(moments.square, 0.0)
    made: Weights = held.as_weights
    return made


def _summed(given: Moments, axis: int, fan: float, weights: Weights) -> tuple[Array, Array]:
    """Mean products of two sums over weights: in the same unit and in two units. The axis stays with one index."""
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


def _with_few(moments: Moments, few: float, fan: float) -> Moments:
    """With the noise of sums over inputs that are alike.

    The variance of a unit is `w' C w`, with the covariance C of its inputs. Its relative variance is `2 few`, with
    `few = tr C^2 / (tr C)^2`. That is `1 / fan` for independent inputs, and so much of it the measured weights show.
    """
    return moments.with_noise(moments.noise + 2 * max(few - 1 / fan, 0.0) / moments.shape[1])


def _few(given: Moments, axis: int, each: Sequence[Window], groups: int) -> float:
    """Mean squared correlation of two inputs of a unit, of which those of other channels are independent."""
    near = given.pairs[(0,) * (axis + 1)] - given.averaged(range(len(given.shape))).item()
    if not near.flat[0] > 0:
        return 0.0
    squares = (near / near.flat[0]) ** 2
    for window in reversed(each):
        taps = np.arange(window.taps)
        apart = np.minimum(np.abs(taps[:, None] - taps) * window.dilation, squares.shape[-1] - 1)
        squares = np.take(squares, apart, squares.ndim - 1).mean((-2, -1))
    return float(squares) * groups / given.shape[axis]


def _parts(node: Node) -> tuple[Node, Any, Any, bool]:
    """The input of a product with a matrix, the matrix, the bias, and whether the outputs are its rows."""
    if node.name == "linear":
        return node.argument("input", 0), node.argument("weight", 1), node.argument("bias", 2), True
    if node.name == "addmm":
        return node.args[1], node.args[2], node.args[0], False
    return node.args[0], node.args[1], None, False


def _linear(node: Node, of: Lookup) -> Moments:
    source, held, bias, _ = _parts(node)
    given, weights = of(source) if isinstance(source, Node) else constant(source), weights_of_product(held)
    before = given.before_merge
    if before is not None:
        shape = (*before.shape[:-1], node.shape[-1])
        whole = _linear(replace(node, shape=shape), lambda _: before)
        made = regrouped(whole, node.shape)
        return replace(made, merged=(made.pairs, whole))
    axis, fan, units = len(given.shape) - 1, given.shape[-1], node.shape[-1]
    same, other = _summed(given, axis, fan, weights)
    mean = fan * weights.mean * given.mean
    made = _made(node, given, _joined(same, other, axis, units), mean, bias, axis)
    return replace(made, shared=given.shared + 1 / fan, fresh=1 / fan)


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
    weights, axis = weights_of_product(held), len(source.shape) - 1
    same, other = _summed(gradient, axis, node.shape[-1], weights)
    units = source.shape[-1]
    aligned = gradient.aligned + (1 - gradient.aligned) / units
    moments = Moments(source.shape, 0.0, _joined(same, other, axis, units), aligned=aligned)
    yield source, moments.with_noise(gradient.noise + gaussian_noise(moments) + 2 * gradient.aligned / units)


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


def _through(given: Moments, node: Node, target: Node, forward: bool) -> tuple[Moments, float]:
    """The moments after a convolution or back through it, and the factor of the mean."""
    _, held, _, each, is_transposed = _convolution(node)
    along = forward != is_transposed
    count, levels = swept(given, each, along)
    fan = float(held.shape[1] if along else held.shape[0] // int(node.argument("groups", 6, 1))) * count
    weights, axis = weights_of_product(held), len(target.shape) - len(each) - 1
    same, other = _summed(given, axis, fan, weights)
    thin = _joined(same, other, axis, target.shape[axis])
    for number, window in enumerate(each, axis + 1):
        move = window.convolved if along else window.spread
        same, other = move(same, number), move(other, number)
    made = Moments(target.shape, 0.0, _joined(same, other, axis, target.shape[axis]), levels=levels)
    return (replace(made, even=_even(made, thin, axis, each)) if along else made), fan


def _even(made: Moments, before: Array, axis: int, each: Sequence[Window]) -> tuple[Array, Array, Mapping[int, Array]]:
    """The pairs behind a convolution as a norm sees them, which takes the mean of all places off each place.

    All places have something in common, `far`. Near the border it is smaller, and so differs from its mean there.

    Args:
        made: moments of the output.
        before: pairs of the sums over the kernel, by distance of the inputs.
        axis: of the channels.
        each: the windows along the axes after it.

    Returns:
        The pairs of `made`, these without that, and the levels of the variance about the mean.
    """
    far = before
    for number, window in enumerate(each, axis + 1):
        far = np.expand_dims(np.moveaxis(far, number, -1) @ apart(window.size, far.shape[number]), number)
    near = np.ones((1,) * made.pairs.ndim)
    for number, window in enumerate(each, axis + 1):
        near = near * window.along(window.border.near, made.pairs, number)
    total = math.prod(window.border.total for window in each)
    own, levels = max(made.square - float(far.flat[0]), 0.0), {}
    for number, window in enumerate(each, axis + 1):
        common = window.border.own - (2 * total / window.border.total) * window.border.rows + total
        level = own * made.levels.get(number, np.ones(window.made)) + float(far.flat[0]) * common
        if np.ptp(level) > 0 and level.min() > 0:
            levels[number] = level / level.mean()
    return made.pairs, made.pairs - 2 * far * (near - total), levels


def _convolve(node: Node, of: Lookup) -> Moments:
    source, held, bias, each, _ = _convolution(node)
    given, axis = of(source), len(node.shape) - len(each) - 1
    moments, fan = _through(given, node, node, True)
    made = _made(node, given, moments.pairs, fan * weights_of_product(held).mean * given.mean, bias, axis)
    few = _few(given, axis, each, int(node.argument("groups", 6, 1)))
    made = _with_few(made, few, fan)
    even = made.pairs, moments.even_pairs + (made.pairs - moments.pairs), moments.even_levels
    return replace(made, levels=moments.levels, even=even, shared=few + given.shared)


def _convolve_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    source, held, _, _, is_transposed = _convolution(node)
    moments, _ = _through(gradient, node, source, False)
    if gradient.against and not is_transposed:
        moments = replace(moments, pairs=moments.pairs * (1 - held.uneven))
    share = held.uneven + 1 / math.prod(held.shape[1:]) if held.uneven else 0.0
    yield source, replace(moments, noise=gradient.noise + gaussian_noise(moments), rise=gradient.rise * share)


def _embedding(node: Node, of: Lookup) -> Moments:
    weight = constant(node.argument("weight", 1))
    equal = node.facts["equal"]
    same = (weight.square - weight.mean**2) * equal + weight.mean**2
    pairs = np.stack([same, np.full_like(same, weight.mean**2)], -1)
    share = float(equal.flat[min(1, equal.shape[-1] - 1)]) if equal.ndim else 0.0  # of equal tokens in a sample
    moments = Moments(node.shape, weight.mean, pairs, shared=share * (1 - share))
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
    return Moments(tuple(shape), size * left.mean * right.mean, pairs, left.noise + right.noise, shared=right.shared)


def _padded(moments: Moments, ndim: int) -> Array:
    return moments.pairs.reshape((1,) * (ndim - moments.pairs.ndim) + moments.pairs.shape)


def swapped(moments: Moments) -> Moments:
    """The moments of the transposed matrices."""
    order = (*moments.shape[:-2], moments.shape[-1], moments.shape[-2])
    return replace(moments, shape=order, pairs=np.swapaxes(moments.pairs, -1, -2), bent=None)


def with_common(moved: Moments, gradient: Moments, other: Moments) -> Moments:
    """The gradient of queries, with what keys and values have in common; and that of attention weights, with its cause.

    Args:
        moved: moments of the gradient of the first of two matrices, if all three are independent.
        gradient: moments of the gradient of the product.
        other: moments of the second matrix.
    """
    if gradient.common and other.shared:
        return replace(moved, pairs=moved.pairs * (1 + gradient.common))
    return replace(moved, common=other.shared)


def _matmul(node: Node, of: Lookup) -> Moments:
    sources = node.sources
    if "matrix" in node.facts:
        return mixed(node, of)
    if isinstance(node.args[0], Constant):
        return swapped(_linear(_turned(node), lambda source: swapped(of(sources[0]))))
    if len(sources) == 2 and len(node.args) > 1 and min(len(source.shape) for source in sources) > 1:
        return multiplied(of(sources[0]), of(sources[1]), node.shape)
    return _linear(node, of)


def _turned(node: Node) -> Node:
    """A product with the weight on the left, as a linear layer on the transposed signal."""
    source = replace(node.sources[0], shape=_transposed(node.sources[0].shape))
    return replace(node, name="linear", args=(source, node.args[0]), shape=_transposed(node.shape))


def _transposed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2])


def _matmul_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    sources = node.sources
    if "matrix" in node.facts:
        yield from mixed_back(node, of, gradient)
        return
    if isinstance(node.args[0], Constant):
        for _, moved in _linear_back(_turned(node), of, swapped(gradient)):
            yield sources[0], swapped(moved)
        return
    if len(sources) != 2:
        yield from _linear_back(node, of, gradient)
        return
    left, right = sources
    yield left, with_common(multiplied(gradient, swapped(of(right)), left.shape), gradient, of(right))
    yield right, multiplied(swapped(of(left)), gradient, right.shape)


RULES = (
    Rule(names("linear addmm"), _linear, _linear_back),
    Rule(names("matmul bmm mm"), _matmul, _matmul_back),
    Rule(names("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"), _convolve, _convolve_back),
    Rule(names("embedding"), _embedding, _nothing_back),
)
