"""What a rule is: how the moments of an operation's output follow from those of its inputs, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from initprobe.torch.theory.moments import Moments, NoRule, independent
from initprobe.torch.theory.trace import Constant, Node

Moved: TypeAlias = Iterable[tuple[Node, Moments]]
Lookup: TypeAlias = Callable[[Node], Moments]


@dataclass(frozen=True)
class Rule:
    """The rule for some functions.

    Attributes:
        names: plain names of the functions.
        forward: the moments of the output, from a node and a function that gives the moments of its sources.
        backward: the gradients of the sources, from these two and the gradient of the output.
    """

    names: tuple[str, ...]
    forward: Callable[[Node, Lookup], Moments]
    backward: Callable[[Node, Lookup, Moments], Moved]


def names(text: str) -> tuple[str, ...]:
    """Names that are separated by spaces."""
    return tuple(text.split())


def first(node: Node) -> Node:
    """The first source.

    Args:
        node: of the graph of operations.

    Raises:
        NoRule: it has no source.
    """
    sources = node.sources
    if not sources:
        raise NoRule(f"{node.name} without a signal")
    return sources[0]


def constant(held: Any) -> Moments:
    """The moments of a parameter or constant; its entries count as independent.

    Args:
        held: a tensor or a number; None where it is not known.

    Raises:
        NoRule: it is not known, or its mean square is not finite.
    """
    if not isinstance(held, Constant):
        raise NoRule("a parameter is missing")
    if held.pairs is not None:
        return held.pairs
    if held.as_moments is None:
        held.as_moments = _independent(held)
    return held.as_moments


def _independent(held: Constant) -> Moments:
    mean, square = held.moments
    if not (abs(mean) < 1e15 and square < 1e30):
        raise NoRule("a constant without a finite mean square")
    return independent(held.shape, mean, max(square, mean * mean))


def axis_of(held: Any, ndim: int) -> int:
    """An axis counted from the first.

    Args:
        held, ndim: the axis, which may be negative, and the number of axes.
    """
    return int(held) % ndim
