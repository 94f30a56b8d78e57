"""Rules for sums and products of signals with signals, constants and numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from initprobe.arrays import Array
from initprobe.torch.theory.arrange import summed_to
from initprobe.torch.theory.laws import gain, with_law_of_sum
from initprobe.torch.theory.levels import mixed_levels, product_of_levels
from initprobe.torch.theory.mapped import scaled_by_place
from initprobe.torch.theory.moments import (
    Bent,
    Moments,
    NoRule,
    broadcast,
    fluctuation,
    gaussian_noise,
    independent,
    matched,
    mixed_noise,
)
from initprobe.torch.theory.norms import by_hand, by_hand_back, mean_axes
from initprobe.torch.theory.places import settled, strengthened
from initprobe.torch.theory.pointwise import bent_of, curved, to_base
from initprobe.torch.theory.rule import Lookup, Moved, Rule, constant, names
from initprobe.torch.theory.trace import Constant, Node

_MASK = 1e4  # a term of this size masks logits


def _sides(node: Node) -> tuple[Any, Any]:
    """The two operands; for a sum, a number or tensor each."""
    left = node.argument("input", 0, node.kwargs.get("self"))
    right = node.kwargs["other"] if "other" in node.kwargs else node.args[-1 if len(node.args) < 2 else 1]
    return left, right


def _terms(node: Node) -> tuple[tuple[Any, float], tuple[Any, float]]:
    """The two terms of a sum or difference, each with its factor."""
    left, right = _sides(node)
    alpha = float(node.kwargs.get("alpha", 1))
    if node.name == "rsub":
        return (left, -alpha), (right, 1.0)
    return (left, 1.0), (right, alpha if node.name == "add" else -alpha)


def _sum(node: Node, of: Lookup) -> Moments:
    (left, left_factor), (right, right_factor) = _terms(node)
    if isinstance(left, Node) and isinstance(right, Node):
        return _of_two(node, of)
    source, other, factor, other_factor = (
        (left, right, left_factor, right_factor) if isinstance(left, Node) else (right, left, right_factor, left_factor)
    )
    given = of(source)
    if isinstance(other, int | float):
        return _with_number(source, given, float(other) * other_factor, factor)
    if isinstance(other, Constant) and (other.is_mask or not _is_small(other)):
        return broadcast(given, node.shape)
    return _added(given.scaled(factor**2, factor), constant(other).scaled(other_factor**2, other_factor))


def _is_small(held: Constant) -> bool:
    mean, square = held.moments
    return math.isfinite(square) and square < _MASK**2 and abs(mean) < _MASK


def _with_number(source: Node, given: Moments, number: float, factor: float) -> Moments:
    pairs = factor**2 * given.pairs + 2 * number * factor * given.mean + number**2
    made = Moments(given.shape, factor * given.mean + number, pairs, given.noise, levels=given.levels)
    return replace(made, bent=_composed(bent_of(source, given), lambda x: factor * x + number, lambda s: factor * s))


def _composed(bent: Bent, value: Callable[[Array], Array], slope: Callable[[Array], Array]) -> Bent:
    """The same entries after an affine function."""
    inner, inner_slope = bent.value, bent.slope
    return Bent(bent.base, bent.given, lambda x: value(inner(x)), lambda x: slope(inner_slope(x)), bent.kinks)


def _added(left: Moments, right: Moments) -> Moments:
    shape, (left_entry, right_entry) = matched([left, right])
    pairs = left_entry + right_entry + 2 * left.mean * right.mean
    noise = mixed_noise([left, right], [left.square, right.square])
    levels = mixed_levels([part for part in (left, right) if part.shape == shape])
    return Moments(shape, left.mean + right.mean, pairs, noise, levels=levels, shared=_shared_of_sum(left, right))


def _shared_of_sum(left: Moments, right: Moments) -> float:
    """Mean squared correlation of two units of a sum; what all places have in common does not count.

    A branch is made of the stream that it is added to. Two places that are alike in the stream, by chance, are alike
    in the branch. So the products of both vary together. What is `fresh` in the branch does not.
    """
    if not (left.shared or right.shared):
        return 0.0
    squares = []
    for term in (left, right):
        common = term.averaged(range(len(term.shape) - 1))
        squares.append(max(term.square - float(common.flat[0]), 0.0))
    stream, branch = (left, right) if left.shared - left.fresh <= right.shared - right.fresh else (right, left)
    own = stream.shared + 1 / stream.shape[-1]
    together = math.sqrt(max(branch.shared - branch.fresh, 0.0) * own) if branch.fresh else 0.0
    total = left.shared * squares[0] ** 2 + right.shared * squares[1] ** 2 + 2 * together * squares[0] * squares[1]
    return total / max(sum(squares), 1e-300) ** 2


def _of_two(node: Node, of: Lookup) -> Moments:
    (left, first_factor), (right, second_factor) = _terms(node)
    left_entry, right_entry = of(left), of(right)
    here, there = bent_of(left, left_entry), bent_of(right, right_entry)
    if here.base == there.base and here.base >= 0:
        return curved(
            Bent(
                here.base,
                here.given,
                lambda x: first_factor * here.value(x) + second_factor * there.value(x),
                lambda x: first_factor * here.slope(x) + second_factor * there.slope(x),
                (*here.kinks, *there.kinks),
            )
        )
    for whole, axes, factors in (
        (left_entry, mean_axes(left, right), (first_factor, second_factor)),
        (right_entry, mean_axes(right, left), (second_factor, first_factor)),
    ):
        if axes is not None:
            return _with_mean(whole, axes, *factors)
    made = _added(left_entry.scaled(first_factor**2, first_factor), right_entry.scaled(second_factor**2, second_factor))
    if left_entry.shape != right_entry.shape:
        return made
    return with_law_of_sum(made, left_entry, right_entry, first_factor, second_factor)


def _with_mean(given: Moments, axes: Sequence[int], factor: float, mean_factor: float) -> Moments:
    """A tensor and its mean over some axes, each times a factor."""
    pairs = factor**2 * given.pairs + (2 * factor + mean_factor) * mean_factor * given.averaged(axes)
    return Moments(given.shape, (factor + mean_factor) * given.mean, pairs, given.noise)


def _sum_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    if of(node).bent is not None and len(node.sources) == 2:
        yield from to_base(node, of, gradient)
        return
    (left, left_factor), (right, right_factor) = _terms(node)
    for source, factor, other, other_factor in (
        (left, left_factor, right, right_factor),
        (right, right_factor, left, left_factor),
    ):
        if not isinstance(source, Node) or (isinstance(other, Node) and mean_axes(other, source) is not None):
            continue  # the gradient of a mean is in that of its tensor
        axes = mean_axes(source, other) if isinstance(other, Node) else None
        if axes is not None:
            yield source, _with_mean(replace(gradient, mean=0.0), axes, factor, other_factor)
            continue
        moved = _summed(gradient, source.shape).scaled(factor**2)
        moved = moved.changed(gain=_gain(node, source, of, gradient), masked=None)
        if gradient.along is not None:
            moved = _share_along(moved, gradient.along, of(source).scaled(factor**2, factor), of(node))
        yield source, moved


def _summed(gradient: Moments, shape: Sequence[int]) -> Moments:
    """The gradient of what was expanded. A sum over many places is Gaussian, and spreads as such."""
    moved = summed_to(gradient, shape)
    return moved if moved.shape == gradient.shape else moved.with_noise(moved.noise + gaussian_noise(moved))


def _gain(node: Node, source: Node, of: Lookup, gradient: Moments) -> float:
    """How much more of the gradient of a sum is where the activation that made a term has a slope."""
    (left, left_factor), (right, right_factor) = _terms(node)
    if gradient.masked is None or not isinstance(left, Node) or not isinstance(right, Node):
        return 1.0
    term, other = of(source), of(right if source is left else left)
    if term.bent is None or term.shape != other.shape:
        return 1.0
    factors = (left_factor, right_factor) if source is left else (right_factor, left_factor)
    return gain(term.bent, other, gradient.masked, *factors)


def _share_along(moved: Moments, along: Array, term: Moments, total: Moments) -> Moments:
    """The gradient of a term, with what it has along that term; the terms are independent."""
    whole, own = total.square - total.mean**2, term.square - term.mean**2
    if moved.pairs.shape != along.shape or not 0 < own <= whole * 1.001:
        return moved
    correlation = matched([Moments(term.shape, 0.0, (term.pairs - term.mean**2) / own), moved])[1][0]
    share = own / whole
    return replace(moved, along=share * along + (1 - share) * moved.pairs * correlation)


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


def _operands(node: Node) -> tuple[Any, Any]:
    """The two sides of a product, or of a signal that is divided by a constant or by its norm."""
    left, right = _sides(node)
    is_norm = node.kind == "norm" and isinstance(left, Node)
    if _is_division(node) and isinstance(right, Node) and not is_norm:
        raise NoRule("a division by a signal")
    return left, right


def _product(node: Node, of: Lookup) -> Moments:
    left, right = _operands(node)
    if isinstance(left, Node) and isinstance(right, Node):
        return _product_of_two(node, left, right, of)
    source, other = (left, right) if isinstance(left, Node) else (right, left)
    if "factors" in node.facts and source.shape == node.shape:
        return scaled_by_place(of(source), int(node.facts["axis"]), node.facts["factors"])
    given, held = of(source), _factor(node, other)
    made = _times(given, held)
    if held.square == held.mean**2:
        made = replace(made, bent=_composed(bent_of(source, given), *_linear(held.mean)))
    return made


def _linear(factor: float) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    return lambda x: factor * x, lambda s: factor * s


def _times(left: Moments, right: Moments) -> Moments:
    shape, (left_entry, right_entry) = matched([left, right])
    levels, factor = product_of_levels([part.levels for part in (left, right) if part.shape == shape])
    both = fluctuation(left, left_entry) * fluctuation(right, right_entry)
    noise = left.noise + right.noise + max(Moments(shape, 0.0, both).average(), 0.0)
    shared = max(left.shared, right.shared)
    made = Moments(shape, left.mean * right.mean, left_entry * right_entry, noise, levels=levels, shared=shared)
    pairs = made.pairs if factor == 1 else strengthened(made.pairs, made, factor)
    return replace(made, pairs=settled(made, pairs))


def _product_of_two(node: Node, left: Node, right: Node, of: Lookup) -> Moments:
    if node.kind == "norm":
        return by_hand(node, left, right, of)
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
    left, right = _operands(node)
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
    if "factors" in node.facts and source.shape == node.shape:
        yield source, scaled_by_place(gradient, int(node.facts["axis"]), node.facts["factors"])
        return
    yield source, _moved(gradient, _factor(node, other), source)


def _moved(gradient: Moments, factor: Moments, source: Node) -> Moments:
    made = _times(gradient, factor)
    return replace(_summed(replace(made, mean=0.0), source.shape), common=gradient.common)


RULES = (
    Rule(names("add sub subtract rsub"), _sum, _sum_back),
    Rule(names("mul multiply div divide true_divide truediv"), _product, _product_back),
)
