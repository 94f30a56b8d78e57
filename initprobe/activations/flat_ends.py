"""Ends on which a function is exactly constant, and what follows: dead units, saturation, its range.

A tanh is constant at large |z| too, but only by rounding. It is distinguished from a ReLU by its slow change next to
the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from initprobe.activations.record import Band
from initprobe.arrays import Array

Value = Callable[[Array], Array]
Slope = Callable[[Array, Array], Array]

_REACH = 8.0
_FAR = -np.geomspace(1e6, 12, 12)
_GRID = np.concatenate([_FAR, np.linspace(-_REACH, _REACH, 513)])
_BISECTIONS, _PLACES = 60, 9
# At this distance from a flat end, a square has changed by 4e-6 of its range between -8 and 8. A function that is flat
# by rounding has changed by about 1e-15.
_BEYOND, _LEFT = 1 / 64, 1e-6
# Within this distance of an edge, a central difference reaches beyond it.
_CLEAR = 1e-4


@dataclass(frozen=True)
class FlatEnds:
    """What follows from the flat ends of a function, as in `Activation`; infinite or None where nothing does."""

    dead_below: float | None
    saturation: Band | None
    bounds: tuple[float, float]


def flat_ends(value: Value, slope: Slope) -> FlatEnds:
    """What follows for a function from where it is exactly constant with a slope of exactly 0.

    Args:
        value: `phi(z)`.
        slope: `phi'(z)` from `(z, phi(z))`.
    """
    low = _edge(value, slope)
    high = _edge(lambda z: value(-z), lambda z, h: slope(-z, h))
    bottom, top = (float(value(z)[0]) + 0.0 for z in (_GRID[:1], -_GRID[:1]))
    # Two constant ends, not 0, are saturation, as of a hard tanh. A single constant end makes dead units.
    dead = low if low is not None and (bottom == 0 or high is None) else None
    ends = [end for end, edge in ((bottom, low), (top, high)) if edge is not None]
    if not ends or not _is_monotone(value):
        return FlatEnds(dead, None, (-math.inf, math.inf))
    live = [end for end, edge in ((bottom, low if dead is None else None), (top, high)) if edge is not None]
    lowest, highest = min(bottom, top), max(bottom, top)
    band = Band(lowest if lowest in live else -math.inf, highest if highest in live else math.inf)
    return FlatEnds(
        dead_below=dead,
        saturation=band if len(ends) == 2 else None,
        bounds=(lowest if lowest in ends else -math.inf, highest if highest in ends else math.inf),
    )


def _edge(value: Value, slope: Slope) -> float | None:
    """The z between -8 and 8 at or below which phi is constant and its slope 0. None if there is none."""
    floor = value(_GRID[:1])[0]
    same = value(_GRID) == floor
    flat = len(_GRID) if same.all() else int(np.argmin(same))
    if not len(_FAR) < flat < len(_GRID):
        return None
    low, high = float(_GRID[flat - 1]), float(_GRID[flat])
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if value(np.array([middle]))[0] == floor else (low, middle)
    rounded = round(low, _PLACES) + 0.0
    edge = rounded if value(np.array([rounded]))[0] == floor else low
    below = _GRID[edge - _CLEAR > _GRID]
    if np.any(slope(below, value(below))) or not _leaves(value, edge):
        return None
    return edge


def _leaves(value: Value, edge: float) -> bool:
    """Whether phi changes clearly just above the edge, which a phi that is flat by rounding does not."""
    near, beyond = value(np.array([edge, edge + _BEYOND]))
    return bool(abs(beyond - near) > _LEFT * np.ptp(value(_GRID[len(_FAR) :])))


def _is_monotone(value: Value) -> bool:
    steps = np.diff(value(np.concatenate([_GRID, -_FAR[::-1]])))
    return bool(np.all(steps >= 0) or np.all(steps <= 0))
