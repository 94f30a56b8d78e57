"""Activations of the user's own: any vectorised function, or a `package.module:name` to be imported.

A function needs nothing but to map an array to one of its shape, entry by entry. It may carry two attributes:
`kinks`, the points where it or one of its first two derivatives jumps, and `slope`, its derivative as a function of z.
Without them the slope is a central difference and jumps of the slope are looked for, as are ends where it is exactly
constant (`flats`). An `Activation` record says everything else: saturation, bounds, a period.
"""

from __future__ import annotations

import math

import numpy as np

from initprobe.activations.own_slopes import Value
from initprobe.arrays import Array

# Kinks are looked for cell by cell; no cell's edge is a round number, as kinks are.
_REACH, _CELLS, _BISECTIONS = 8.0, 512, 34
_PLACES = 9
# A slope that jumps by this share of its largest value over this distance does not bend there, it breaks.
_BREAK, _NEAR = 1e-2, 1e-5
# A rise over that distance, so many times as steep as over any cell, is a leap of phi itself.
_LEAP = 10
_MOST_KINKS = 32


def found_kinks(value: Value) -> tuple[float, ...]:
    """Where phi or its slope jumps between -8 and 8: every cell is halved towards the half that bends more.

    None where there are more than a few, as in a function read from a table.
    """
    edges = np.linspace(-_REACH - math.sqrt(2) / 100, _REACH + math.sqrt(3) / 100, _CELLS + 1)
    low, high = edges[:-1].copy(), edges[1:].copy()
    for _ in range(_BISECTIONS):
        middle = low + (high - low) * 0.49  # off the middle, so that a kink is never on an edge
        left = _bend(value, low, middle) > _bend(value, middle, high)
        low, high = np.where(left, low, middle), np.where(left, middle, high)
    places = np.unique(np.round((low + high) / 2, _PLACES)) + 0.0
    before, after = value(places - _NEAR), value(places + _NEAR)
    here, scale = value(places), np.abs(np.gradient(value(edges), edges)).max()
    jumps = np.abs(before - 2 * here + after) / _NEAR
    leaps = np.abs(after - before) / (2 * _NEAR)
    found = places[(jumps > _BREAK * scale) | (leaps > _LEAP * scale)]
    return tuple(found.tolist()) if len(found) <= _MOST_KINKS else ()


def _bend(value: Value, low: Array, high: Array) -> Array:
    """How far phi is from straight over an interval, for its length: a kink counts the more the shorter that is."""
    middle = low + (high - low) * 0.47
    chord = value(low) + (value(high) - value(low)) * ((middle - low) / (high - low))
    return np.asarray(np.abs(value(middle) - chord) / (high - low))
