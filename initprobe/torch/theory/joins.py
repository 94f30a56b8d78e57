"""Rules for sums and products of signals with signals, constants and numbers, and for tensors put together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.arrange import summed_to
from initprobe.torch.theory.laws import gain, with_law_of_sum
from initprobe.torch.theory.moments import Bent, Moments, NoRule, alike, broadcast, independent, matched, mixed_noise
from initprobe.torch.theory.norms import by_hand, by_hand_back, is_centring
from initprobe.torch.theory.places import MOST_PLACES, axes_by_place, from_matrices, matrices, settled
from initprobe.torch.theory.pointwise import bent_of, curved, to_base
from initprobe.torch.theory.rule import Lookup, Moved, Rule, axis_of, constant, names
from initprobe.torch.theory.trace import Constant, Node

_ALIKE = 0.9  # least ratio of the mean squares of rows that count as alike
_MASK = 1e4  # a term of this size masks logits


def _sides(node: Node) -> tuple[Any, Any]:
    if len(node.args) < 2:
        other = node.kwargs.get("other", node.kwargs.get("alpha"))
        return node.args[0], other
    return node.args[0], node.args[1]


def _sign(node: Node) -> float:
    """The factor of the second term."""
    factor = float(node.kwargs.get("alpha", 1))
    return -factor if node.name in ("sub", "subtract") else factor


def _sum(node: Node, of: Lookup) -> Moments:
    left, right = _sides(node)
    if node.name == "rsub":
        left, right = right, left
    if isinstance(left, Node) and isinstance(right, Node):
        return _of_two(node, left, right, of)
    source, other = (left, right) if isinstance(left, Node) else (right, left)
    given = of(source)
    first_factor, other_factor = (1.0, _sign(node)) if source is left and node.name != "rsub" else (_sign(node), 1.0)
    if node.name == "rsub":
        first_factor = -1.0
    if isinstance(other, int | float):
        return _with_number(source, given, float(other) * other_factor, first_factor)
    if isinstance(other, Constant) and not _is_small(other):
        return broadcast(given, node.shape)
    return _added(given.scaled(first_factor**2, first_factor), constant(other).scaled(other_factor**2, other_factor))


def _is_small(held: Constant) -> bool:
    mean, square = held.moments
    return math.isfinite(square) and square < _MASK**2 and abs(mean) < _MASK


def _with_number(source: Node, given: Moments, number: float, factor: float) -> Moments:
    pairs = factor**2 * given.pairs + 2 * number * factor * given.mean + number**2
    made = Moments(given.shape, factor * given.mean + number, pairs, given.noise)
    return replace(made, bent=_composed(bent_of(source, given), lambda x: factor * x + number, lambda s: factor * s))


def _composed(bent: Bent, value: Callable[[Array], Array], slope: Callable[[Array], Array]) -> Bent:
    """The same entries after an affine function."""
    inner, inner_slope = bent.value, bent.slope
    return Bent(bent.base, bent.given, lambda x: value(inner(x)), lambda x: slope(inner_slope(x)), bent.kinks)


def _added(left: Moments, right: Moments) -> Moments:
    shape, (left_entry, right_entry) = matched([left, right])
    pairs = left_entry + right_entry + 2 * left.mean * right.mean
    noise = mixed_noise([left, right], [left.square, right.square])
    return Moments(shape, left.mean + right.mean, pairs, noise)


def _of_two(node: Node, left: Node, right: Node, of: Lookup) -> Moments:
    left_entry, right_entry = of(left), of(right)
    here, there = bent_of(left, left_entry), bent_of(right, right_entry)
    sign = _sign(node)
    if here.base == there.base and here.base >= 0:
        return curved(
            Bent(
                here.base,
                here.given,
                lambda x: here.value(x) + sign * there.value(x),
                lambda x: here.slope(x) + sign * there.slope(x),
                (*here.kinks, *there.kinks),
            )
        )
    if is_centring(left, right):
        return _centred(left_entry, right_entry.shape)
    made = _added(left_entry, right_entry.scaled(sign**2, sign))
    return with_law_of_sum(made, left_entry, right_entry, sign) if left_entry.shape == right_entry.shape else made


def _centred(given: Moments, reduced: tuple[int, ...]) -> Moments:
    axes = [axis for axis, size in enumerate(reduced) if size == 1 and given.shape[axis] > 1]
    return Moments(given.shape, 0.0, given.pairs - given.averaged(axes), given.noise)


def _sum_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    if of(node).bent is not None and len(node.sources) == 2:
        yield from to_base(node, of, gradient)
        return
    left, right = _sides(node)
    for source, factor in ((left, 1.0), (right, _sign(node))):
        if isinstance(source, Node) and not (source is right and isinstance(left, Node) and is_centring(left, source)):
            moved = summed_to(gradient, source.shape).scaled(factor**2)
            moved = replace(moved, gain=_gain(node, source, of, gradient), masked=None)
            yield source, _share_along(moved, gradient, of(source), of(node))


def _gain(node: Node, source: Node, of: Lookup, gradient: Moments) -> float:
    """How much more of the gradient of a sum is where the activation that made a term has a slope."""
    left, right = _sides(node)
    if gradient.masked is None or not isinstance(left, Node) or not isinstance(right, Node):
        return 1.0
    term, other = of(source), of(right if source is left else left)
    if term.bent is None or term.shape != other.shape:
        return 1.0
    return gain(term.bent, other, gradient.masked, _sign(node) if source is left else 1.0)


def _share_along(moved: Moments, gradient: Moments, term: Moments, total: Moments) -> Moments:
    """The gradient of a term, with what it has along that term; the terms are independent."""
    whole, own = total.square - total.mean**2, term.square - term.mean**2
    if gradient.along is None or moved.pairs.shape != gradient.along.shape or not 0 < own <= whole * 1.001:
        return moved
    correlation = matched([Moments(term.shape, 0.0, (term.pairs - term.mean**2) / own), moved])[1][0]
    share = own / whole
    return replace(moved, along=share * gradient.along + (1 - share) * moved.pairs * correlation)


def _factor(node: Node, other: Any) -> Moments:
    """The moments of what a product multiplies by."""
    if isinstance(other, int | float):
        number = 1 / float(other) if _is_division(node) else float(other)
        return independent((), number, number * number)
    held = constant(other)
    if _is_division(node):
        if held.square <= 0:
            raise NoRule("a division by 0")
        spread = max(held.square - held.mean**2, 0.0) / held.square
        if spread > 1e-6:
            raise NoRule("a division by constants that differ")
        return independent(held.shape, 1 / held.mean, 1 / held.square)
    return held


def _is_division(node: Node) -> bool:
    return "div" in node.name


def _product(node: Node, of: Lookup) -> Moments:
    left, right = _sides(node)
    if isinstance(left, Node) and isinstance(right, Node):
        return _product_of_two(node, left, right, of)
    source, other = (left, right) if isinstance(left, Node) else (right, left)
    if _is_division(node) and source is right:
        raise NoRule("a division by a signal")
    given, held = of(source), _factor(node, other)
    made = _times(given, held)
    if held.square == held.mean**2:
        made = replace(made, bent=_composed(bent_of(source, given), *_linear(held.mean)))
    return made


def _linear(factor: float) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    return lambda x: factor * x, lambda s: factor * s


def _times(left: Moments, right: Moments) -> Moments:
    shape, (left_entry, right_entry) = matched([left, right])
    made = Moments(shape, left.mean * right.mean, left_entry * right_entry, left.noise + right.noise)
    return replace(made, pairs=settled(made, made.pairs))


def _product_of_two(node: Node, left: Node, right: Node, of: Lookup) -> Moments:
    if node.kind == "norm":
        return by_hand(node, left, right, of)
    if _is_division(node):
        raise NoRule("a division by a signal")
    left_entry, right_entry = of(left), of(right)
    here, there = bent_of(left, left_entry), bent_of(right, right_entry)
    if here.base != there.base or here.base < 0:
        return _times(left_entry, right_entry)
    return curved(
        Bent(
            here.base,
            here.given,
            lambda x: here.value(x) * there.value(x),
            lambda x: here.slope(x) * there.value(x) + here.value(x) * there.slope(x),
            (*here.kinks, *there.kinks),
        )
    )


def _product_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    left, right = _sides(node)
    if isinstance(left, Node) and isinstance(right, Node):
        if node.kind == "norm":
            yield from by_hand_back(node, left, right, of, gradient)
        elif of(node).bent is not None:
            yield from to_base(node, of, gradient)
        else:
            for source, other in ((left, right), (right, left)):
                yield source, _moved(gradient, of(other), source)
        return
    source, other = (left, right) if isinstance(left, Node) else (right, left)
    yield source, _moved(gradient, _factor(node, other), source)


def _moved(gradient: Moments, factor: Moments, source: Node) -> Moments:
    made = _times(gradient, factor)
    return replace(summed_to(replace(made, mean=0.0), source.shape), noise=gradient.noise)


def _pieces(node: Node, of: Lookup) -> Iterator[tuple[Node | None, Moments]]:
    given = node.args[0] if node.args else node.kwargs.get("tensors")
    if not isinstance(given, tuple):
        raise NoRule(f"{node.name} without a list of tensors")
    for part in given:
        if isinstance(part, Node):
            yield part, of(part)
        elif math.prod(part.shape):  # a cache is empty at first
            yield None, constant(part)


def _cat(node: Node, of: Lookup) -> Moments:
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
    return Moments(node.shape, mean, pairs, noise)


def _differ(pieces: list[Moments], axis: int, shape: tuple[int, ...]) -> bool:
    """Whether the pieces are rows of one sequence that differ, such as a class token beside patches."""
    squares = [piece.square for piece in pieces]
    return (
        len(shape) == 3
        and axis == 1
        and shape[1] <= MOST_PLACES
        and min(squares) < _ALIKE * max(squares)
        and not any(0 in axes_by_place(piece) or 2 in axes_by_place(piece) for piece in pieces)
    )


def _by_place(pieces: list[Moments], axis: int, shape: tuple[int, ...]) -> Moments:
    """The pieces with all pairs of places along the axis; two pieces are independent."""
    total = sum(piece.shape[axis] for piece in pieces)
    made, place = np.zeros((*(min(size, 2) for i, size in enumerate(shape) if i != axis), total, total)), 0
    means = [piece.mean for piece in pieces for _ in range(piece.shape[axis])]
    made += np.multiply.outer(means, means)
    for piece in pieces:
        after = place + piece.shape[axis]
        whole = broadcast(piece, (*shape[:axis], piece.shape[axis], *shape[axis + 1 :]))
        made[..., place:after, place:after] = matrices(whole.pairs, piece.shape[axis], axis)
        place = after
    mean = float(np.mean(means))
    noise = mixed_noise(pieces, [piece.square * piece.shape[axis] / total for piece in pieces])
    return Moments(shape, mean, from_matrices(made, axis), noise)


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
    return replace(moments, shape=shape, pairs=np.expand_dims(moments.pairs, axis), bent=None)


def _aligned(parts: list[Moments], axis: int) -> list[Array]:
    """The pairs of the pieces, with two indices along the axis and equal ones along all others."""
    held = []
    for part in parts:
        pairs = alike(part.pairs, part.shape[axis], axis)
        held.append(Moments((*part.shape[:axis], 2, *part.shape[axis + 1 :]), part.mean, pairs))
    return matched(held)[1]


def _cat_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    axis = axis_of(node.argument("dim", 1, node.kwargs.get("axis", 0)), len(node.shape))
    pieces, place = list(_pieces(node, of)), 0
    if axis in axes_by_place(gradient) and node.name != "stack":
        held = matrices(gradient.pairs, node.shape[axis], axis)
        for part, moments in pieces:
            after = place + moments.shape[axis]
            if part is not None:
                pairs = from_matrices(held[..., place:after, place:after], axis)
                pairs = pairs.take([0], axis) if moments.shape[axis] == 1 else pairs
                yield part, Moments(part.shape, 0.0, pairs, gradient.noise)
            place = after
        return
    for part, moments in pieces:
        if part is None:
            continue
        pairs = gradient.pairs
        if node.name == "stack":
            yield part, replace(gradient, shape=part.shape, pairs=pairs.take(0, axis))
        else:
            short = pairs.take([0], axis) if moments.shape[axis] == 1 else pairs
            yield part, replace(gradient, shape=part.shape, pairs=short)


RULES = (
    Rule(names("add sub subtract rsub"), _sum, _sum_back),
    Rule(names("mul multiply div divide true_divide truediv"), _product, _product_back),
    Rule(names("cat concat concatenate stack"), _cat, _cat_back),
)
