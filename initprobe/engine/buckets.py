"""Streaming statistics: moments, and a histogram that needs no range in advance.

A tensor arrives in blocks. Each block becomes a `Tally`, in whatever thread has it in cache; tallies are merged in
block order into a `Sketch`, so that the result does not depend on the threads. Values are counted by the leading bits
of their floating-point pattern (sign, exponent, 5 bits of mantissa: buckets 3% wide; 7 for outputs in float32, which
crowd at the bounds of their activation), which fits any range and re-bins at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.engine.moments import Moments, moments, scratch

COARSE, FINE = 5, 7

# Entries that `numpy.bincount` counts so fast that nobody minds its keeping Python's lock meanwhile.
SOON_COUNTED = 1 << 14

# Small tensors of several layers are tallied together, up to so many entries and layers: a call costs as much as some
# thousands of entries, and a table of counters for every layer has to stay in cache.
_TALLIED_ENTRIES, _MOST_TALLIED = 1 << 19, 16

_FLOAT_OF: dict[Any, Any] = {np.uint32: np.float32, np.uint64: np.float64}


@dataclass(frozen=True)
class Grid:
    """How values of a dtype are counted: the unsigned view of their pattern, shifted right."""

    pattern: type[np.unsignedinteger[Any]]
    shift: int
    size: int

    def moved(self, counts: Array, exponent: int) -> Array:
        """Counts of the same values times `2^exponent`; what becomes subnormal is counted next to 0."""
        keys = np.flatnonzero(counts)
        octave = 1 << (np.finfo(_FLOAT_OF[self.pattern]).nmant - self.shift)
        magnitude = keys & (self.size // 2 - 1)
        goal = np.where(magnitude >= octave, np.clip(magnitude + exponent * octave, 0, self.size // 2 - 1), magnitude)
        found = np.zeros_like(counts)
        np.add.at(found, goal | (keys & (self.size // 2)), counts[keys])
        return found


@lru_cache
def grid_of(dtype: np.dtype[Any], bits: int) -> Grid:
    """The grid with that many bits of mantissa."""
    exponent, mantissa = (8, 23) if dtype == np.float32 else (11, 52)
    return Grid(np.uint32 if dtype == np.float32 else np.uint64, mantissa - bits, 1 << (1 + exponent + bits))


def tallied_together(entries: int) -> int:
    """How many tensors of so many entries are tallied at a time."""
    return min(max(_TALLIED_ENTRIES // entries, 1), _MOST_TALLIED)


def count(stack: Array, grid: Grid) -> Array:
    """Occurrences of each bucket in each tensor of a stack, integers of shape `(tensors, grid.size)`."""
    counted = _counted_small if stack.size < SOON_COUNTED else _counted
    return counted(stack.view(grid.pattern).reshape(len(stack), -1), grid)


def _counted_small(patterns: Array, grid: Grid) -> Array:
    keys = (patterns >> grid.shift).astype(np.int64)
    return np.array([np.bincount(row, minlength=grid.size) for row in keys])


def _counted(patterns: Array, grid: Grid) -> Array:
    """By SciPy, which lets go of Python's lock meanwhile, and is faster; but it takes a tenth of a second to load."""
    counter = scratch.counter(*patterns.shape, grid.size)
    np.right_shift(patterns.reshape(-1), grid.shift, out=counter.indices.view(np.uint32), casting="unsafe")
    counts: Array = counter.toarray(out=np.empty(counter.shape, np.int32))
    return counts


class Tally(NamedTuple):
    """Partial statistics of one block; `counts` are of `block - centre`, and None where an entry is not finite."""

    moments: Moments
    low: float
    high: float
    zeros: int
    infinite: int
    nan: int
    counts: Array | None


def tally(stack: Array, grid: Grid, centres: Sequence[float]) -> list[Tally]:
    """Statistics of each of some blocks of one shape, `(blocks, ...)`.

    Several at a time where they are small: a call costs as much, and Python's lock changes hands at every one.
    """
    rows = stack.reshape(len(stack), -1)
    lows, highs = rows.min(axis=1).tolist(), rows.max(axis=1).tolist()
    if not all(map(math.isfinite, lows + highs)):
        return [_alone(row, grid, centre) for row, centre in zip(rows, centres, strict=True)]
    about = rows - np.array(centres, rows.dtype)[:, None] if any(centres) else rows
    peaks = [max(-low, high) for low, high in zip(lows, highs, strict=True)]
    seen = zip(rows, moments(rows, peaks), lows, highs, count(about, grid), centres, strict=True)
    return [Tally(own, low, high, _zeros(row, counts, at), 0, 0, counts) for row, own, low, high, counts, at in seen]


def _alone(row: Array, grid: Grid, centre: float) -> Tally:
    """The tally of a block that may hold what is not finite."""
    return tally(row[None], grid, [centre])[0] if np.isfinite(row).all() else _void(row)


def _void(block: Array) -> Tally:
    infinite, nan = (int(np.count_nonzero(bad(block))) for bad in (np.isinf, np.isnan))
    return Tally(Moments(), 0, 0, 0, infinite, nan, None)


def _zeros(block: Array, counts: Array, centre: float) -> int:
    """Entries that are 0, looked for only where the buckets beside it are not empty."""
    may_hold_zeros = bool(centre) or counts[0] or counts[len(counts) // 2]
    return int(np.count_nonzero(block == 0)) if may_hold_zeros else 0
