"""The distribution of an entry where it is far from Gaussian: a sum with the output of an activation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy import special

from initprobe.arrays import Array
from initprobe.torch.theory.moments import Bent, Moments

_VALUES = 128


@lru_cache(maxsize=1)
def _normal() -> Array:
    return np.asarray(special.ndtri((np.arange(_VALUES) + 0.5) / _VALUES))


def is_gaussian(moments: Moments) -> bool:
    """Whether an entry counts as Gaussian."""
    return moments.values is None and moments.bent is None


def values_of(moments: Moments) -> Array:
    """Equally likely values of an entry; those of a function of entries are in the order of these."""
    if moments.values is not None:
        return moments.values
    if moments.bent is not None:
        return np.asarray(moments.bent.value(values_of(moments.bent.given)))
    return np.asarray(moments.mean + np.sqrt(max(moments.square - moments.mean**2, 0.0)) * _normal())


def with_law_of_pieces(made: Moments, pieces: Sequence[tuple[float, Moments]]) -> Moments:
    """Tensors that were put together, with the values of an entry where one is far from Gaussian.

    Args:
        made: moments of the whole.
        pieces: for each tensor, its share of the entries and its moments.
    """
    if all(is_gaussian(piece) for _, piece in pieces):
        return made
    values = np.concatenate([values_of(piece) for _, piece in pieces])
    weights = np.concatenate([np.full(_VALUES, share / _VALUES) for share, _ in pieces])
    order = np.argsort(values)
    places = np.cumsum(weights[order]) - weights[order] / 2
    return replace(made, law=(made.pairs, np.interp((np.arange(_VALUES) + 0.5) / _VALUES, places, values[order])))


def likely_values(numbers: Array) -> Array:
    """Equally likely values of numbers that were drawn.

    Args:
        numbers: in any shape.
    """
    return np.asarray(np.quantile(numbers, (np.arange(_VALUES) + 0.5) / _VALUES))


def of_normal(values: Array) -> Callable[[Array], Array]:
    """The function that turns normal numbers into these equally likely values; constant beyond the outermost.

    Args:
        values: sorted.
    """
    return lambda x: np.asarray(np.interp(x, _normal(), values))


def with_law_of_sum(made: Moments, left: Moments, right: Moments, factor: float, other_factor: float) -> Moments:
    """The sum of two independent terms times their factors, with its values where one term is far from Gaussian.

    Args:
        made: moments of the sum.
        left: moments of the first term.
        right: moments of the second term.
        factor: of the first term.
        other_factor: of the second term.
    """
    if is_gaussian(left) and is_gaussian(right):
        return made
    total = np.sort(np.add.outer(factor * values_of(left), other_factor * values_of(right)).ravel())
    return replace(made, law=(made.pairs, total.reshape(_VALUES, -1).mean(1)))


def gain(term: Bent, other: Moments, function: Bent, factor: float, other_factor: float) -> float:
    """Ratio of the squared slope of a function of a sum where that of a term is not 0.

    Args:
        term: the function that made the term.
        other: the other term, which is independent.
        function: the function of the sum.
        factor: of the term in the sum.
        other_factor: of the other term.
    """
    base = values_of(term.given)
    own = _squared(term.slope, base)
    sums = np.add.outer(factor * np.asarray(term.value(base)), other_factor * values_of(other))
    both = _squared(function.slope, sums)
    total = own.mean() * both.mean()
    return float(np.mean(own[:, None] * both) / total) if total > 0 else 1.0


def _squared(slope: Callable[[Array], Array], x: Array) -> Array:
    return np.broadcast_to(np.asarray(slope(x), float) ** 2, x.shape)
