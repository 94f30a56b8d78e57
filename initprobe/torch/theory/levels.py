"""Levels: the mean square at each place along an axis, over that of all places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.moments import ALIKE, Moments


def mixed_levels(parts: Sequence[Moments]) -> Mapping[int, Array]:
    """The levels of a sum of independent terms of the same shape; a term of another shape has none."""
    shape = parts[0].shape
    axes = {axis for part in parts for axis in part.levels}
    total = sum(part.square for part in parts)
    if not axes or total <= 0:
        return ALIKE
    levels = {}
    for axis in axes:
        if all(len(part.shape) == len(shape) and part.shape[axis] == shape[axis] for part in parts):
            terms = [part.square * part.levels.get(axis, np.ones(shape[axis])) for part in parts]
            levels[axis] = np.sum(terms, 0) / total
    return levels


def product_of_levels(parts: Sequence[Mapping[int, Array]]) -> tuple[Mapping[int, Array], float]:
    """The levels of a product of independent tensors, and its mean square over the product of theirs.

    Args:
        parts: levels of tensors of the same shape.
    """
    axes = {axis for part in parts for axis in part}
    levels, factor = {}, 1.0
    for axis in axes:
        made = np.prod([part[axis] for part in parts if axis in part], 0)
        levels[axis] = made / max(float(made.mean()), 1e-300)
        factor *= float(made.mean())
    return (levels or ALIKE), factor


def with_slopes(gradient: Moments, given: Moments, growth: float) -> tuple[Mapping[int, Array], float]:
    """The levels of a gradient times those of the squared slope, and the mean of these products.

    Args:
        gradient: moments of the gradient of the output.
        given: moments of the input of the function.
        growth: relative change of the mean squared slope per relative change of the mean square.
    """
    if not given.levels or given.shape != gradient.shape:
        return gradient.levels, 1.0
    levels, factor = dict(gradient.levels), 1.0
    for axis, level in given.levels.items():
        made = levels.get(axis, 1.0) * np.maximum(level, 1e-300) ** growth
        levels[axis], factor = made / made.mean(), factor * float(made.mean())
    return levels, factor


def of_function(given: Moments, growth: float) -> tuple[Mapping[int, Array], float]:
    """The levels of a function of the entries, and its mean square over that at the mean level.

    Args:
        given: moments of the entries.
        growth: relative change of the mean square of the function per relative change of that of the entries.
    """
    levels, factor = {}, 1.0
    for axis, level in given.levels.items():
        made = np.maximum(level, 0.0) ** growth
        mean = max(float(made.mean()), 1e-300)
        levels[axis], factor = made / mean, factor * mean
    return (levels or ALIKE), factor
