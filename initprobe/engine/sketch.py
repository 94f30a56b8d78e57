"""Streaming statistics: moments, and a histogram that needs no range in advance.

A tensor arrives in blocks. Each block becomes a `Tally`, in whatever thread has it in cache; tallies are merged in
block order into a `Sketch`, so that the result does not depend on the threads. Values are counted by the leading bits
of their floating-point pattern (sign, exponent, 5 bits of mantissa: buckets 3% wide; 7 for outputs in float32, which
crowd at the bounds of their activation), which fits any range and re-bins at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from initprobe.arrays import Array
from initprobe.engine.buckets import COARSE, Grid, Tally, grid_of
from initprobe.engine.moments import Moments, ldexp

# Buckets are at most 2^-5 of their value wide. Where the mean is further from 0 than this many standard deviations,
# they would be too coarse beside the spread, and values are counted about the mean instead.
CONCENTRATED = 4

# What a sketch has before anything is counted; never written to.
_NO_KEYS, _NO_COUNTS = np.empty(0, np.uint32), np.empty(0, np.uint8)


@dataclass(slots=True)
class Sketch:
    """The statistics of one tensor over blocks, batches and draws; mutable.

    Attributes:
        dtype: float32 or float64.
        bits: bits of mantissa that values are counted by.
        by_draw: moments of each finished or current draw.
        faint: the entries of some draw were carried scaled, and are truly all below the normal range of the dtype.
        huge: the same, and some are beyond its largest number.
        keys: the occupied buckets of the grid, in order of their values.
        counts: how many entries each of them holds.
    """

    dtype: np.dtype[Any]
    bits: int = COARSE
    by_draw: list[Moments] = field(default_factory=list)
    centre: float | None = None
    low: float = math.inf
    high: float = -math.inf
    zeros: int = 0
    infinite: int = 0
    nan: int = 0
    faint: bool = False
    huge: bool = False
    keys: Array = field(default_factory=lambda: _NO_KEYS)
    counts: Array = field(default_factory=lambda: _NO_COUNTS)
    grid: Grid = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.grid = grid_of(self.dtype, self.bits)

    def begin_draw(self) -> None:
        """What follows belongs to another network."""
        self.by_draw.append(Moments())

    def add(
        self,
        tallies: Sequence[Tally],
        recount: Callable[[float], Iterable[Array]],
        exponent: int = 0,
        moments: Moments | None = None,
    ) -> None:
        """Merge the tallies of a tensor's blocks, in block order; the tensor is what they saw times `2^exponent`.

        `recount` counts the tensor's blocks anew about a centre; it is called once in a sketch's life, and only for
        values whose mean is far from 0 beside their spread. Given the `moments` of a tensor, the tallies are of a
        sample of it.
        """
        self.infinite += sum(t.infinite for t in tallies)
        self.nan += sum(t.nan for t in tallies)
        if self.nonfinite:
            return
        total = moments or reduce(Moments.merged, (t.moments for t in tallies))
        self.by_draw[-1] = self.by_draw[-1].merged(total.scaled(exponent))
        self._note_range(min(t.low for t in tallies), max(t.high for t in tallies), exponent)
        self.zeros += sum(t.zeros for t in tallies)
        counted = [t.counts for t in tallies if t.counts is not None]
        if exponent:
            self.centre = self.centre or 0.0
            self._add_counts([self.grid.moved(part, exponent) for part in counted])
            return
        first, self.centre = self.centre is None, self._chosen_centre(total)
        self._add_counts(recount(self.centre) if first and self.centre else counted)

    def note(self, total: Moments, low: float, high: float, zeros: int, centre: float) -> None:
        """Take all of a tensor but its counts, which are then to be of its entries less the centre.

        `centre` is the one to count about, if the sketch has none yet.
        """
        draw = self.by_draw[-1]
        self.by_draw[-1] = draw.merged(total) if draw.count else total
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.zeros += zeros
        if self.centre is None:
            self.centre = centre

    def _note_range(self, low: float, high: float, exponent: int) -> None:
        self.low, self.high = min(self.low, ldexp(low, exponent)), max(self.high, ldexp(high, exponent))
        peak = max(-low, high)
        if exponent and peak > 0:
            octave, limits = math.frexp(peak)[1] + exponent, np.finfo(self.dtype)
            self.faint |= octave <= limits.minexp
            self.huge |= octave > limits.maxexp

    def _chosen_centre(self, total: Moments) -> float:
        if self.centre is not None:
            return self.centre
        concentrated = 0 < CONCENTRATED * math.sqrt(total.variance) < abs(total.true_mean)
        return float(self.dtype.type(total.true_mean)) if concentrated else 0.0

    def _add_counts(self, parts: Iterable[Array]) -> None:
        table, *others = parts
        if others or len(self.keys):
            table = reduce(lambda total, part: np.add(total, part, out=total), others, table.astype(np.int64))
            table[self.keys] += self.counts.astype(np.int64)
        keys = np.flatnonzero(table != 0)
        # By value: the negative numbers, whose keys are the larger ones and in order of magnitude, come first.
        first = int(np.searchsorted(keys, self.grid.size // 2))
        # Of thousands of layers there are tens of thousands of sketches, so both are as narrow as they can be.
        keys = np.concatenate((keys[first:][::-1], keys[:first]))
        counts = table[keys]
        self.keys, self.counts = keys.astype(np.uint32), counts.astype(np.min_scalar_type(counts.max(initial=0)))

    def add_keys(self, keys: Array) -> None:
        """Count buckets by their keys, in any order."""
        found, counts = np.unique(keys, return_counts=True)
        if len(self.keys):
            found, places = np.unique(np.concatenate((self.keys, found)), return_inverse=True)
            counts = np.bincount(places, weights=np.concatenate((self.counts, counts))).astype(np.int64)
        first = int(np.searchsorted(found, self.grid.size // 2))
        self.keys = np.concatenate((found[first:][::-1], found[:first])).astype(np.uint32)
        counts = np.concatenate((counts[first:][::-1], counts[:first]))
        self.counts = counts.astype(np.min_scalar_type(counts.max(initial=0)))

    @property
    def nonfinite(self) -> int:
        """Entries that are infinite or NaN; with any, the other statistics are void."""
        return self.infinite + self.nan

    @property
    def is_zero(self) -> bool:
        """Every entry was 0."""
        return self.peak == 0 and not self.faint

    @property
    def total(self) -> int:
        """Entries counted."""
        return int(self.counts.sum(dtype=np.int64))

    @property
    def peak(self) -> float:
        """The largest magnitude."""
        return max(-self.low, self.high)
