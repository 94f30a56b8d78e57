"""Kinks of a function: points where it or its slope jumps, found by bisection between -8 and 8."""

from __future__ import annotations

import math

import numpy as np

from initprobe.activations.own_slopes import Value
from initprobe.arrays import Array

# Kinks are searched for cell by cell. No cell's edge is a round number, since kinks often are.
_REACH, _CELLS, _BISECTIONS = 8.0, 512, 34
_PLACES = 9
# A change of the slope by this share of its largest value, over this distance, is a kink.
_BREAK, _NEAR = 1e-2, 1e-5
# A rise over that distance, so many times as steep as over any cell, is a jump of phi itself.
_LEAP = 10
_MOST_KINKS = 32


def find_kinks(value: Value) -> tuple[float, ...]:
    """The points between -8 and 8 where phi or its slope jumps.

    Each cell is halved again and again, towards the half in which phi bends more. A function with more than 32 kinks,
    such as one read from a table, has none reported.
    """
    edges = np.linspace(-_REACH - math.sqrt(2) / 100, _REACH + math.sqrt(3) / 100, _CELLS + 1)
    low, high = edges[:-1].copy(), edges[1:].copy()
    for _ in range(_BISECTIONS):
        middle = low + (high - low) * 0.49  # not 0.5, so that a kink is never on an edge
        left = _bend(value, low, middle) > _bend(value, middle, high)
        low, high = np.where(left, low, middle), np.where(left, middle, high)
    places = np.unique(np.round((low + high) / 2, _PLACES)) + 0.0
    before, after = value(places - _NEAR), value(places + _NEAR)
    here, scale = value(places), np.abs(np.gradient(value(edges), edges)).max()
    jumps = np.abs(before - 2 * here + after) / _NEAR
    leaps = np.abs(after - before) / (2 * _NEAR)
    kinks = places[(jumps > _BREAK * scale) | (leaps > _LEAP * scale)]
    return tuple(kinks.tolist()) if len(kinks) <= _MOST_KINKS else ()


def _bend(value: Value, low: Array, high: Array) -> Array:
    """Distance of phi from its chord over each interval, divided by the interval's length."""
    middle = low + (high - low) * 0.47
    chord = value(low) + (value(high) - value(low)) * ((middle - low) / (high - low))
    return np.asarray(np.abs(value(middle) - chord) / (high - low))
