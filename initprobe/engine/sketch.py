"""The statistics of one tensor over blocks, batches and draws, merged from the tallies of `engine.buckets`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from initprobe.arrays import Array
from initprobe.engine.buckets import COARSE, Grid, Tally, grid_of
from initprobe.engine.magnitudes import Magnitudes
from initprobe.engine.moments import Moments, ldexp

# Buckets are at most 2^-5 of their value wide. Where the mean is further from 0 than this many standard deviations,
# they would be too coarse for the spread. Then the mean is subtracted before values are counted.
CONCENTRATED = 4

_NO_MOMENTS = 0, 0.0, 0.0, 0
# The arrays of a sketch before anything is counted; never written to.
_NO_KEYS, _NO_COUNTS = np.empty(0, np.uint32), np.empty(0, np.uint8)


@dataclass(eq=False, slots=True)
class Sketch:
    """The statistics of one tensor over blocks, batches and draws; mutable.

    Attributes:
        dtype: float32 or float64.
        bits: bits of mantissa that values are counted by.
        earlier: moments of each draw before the current one.
        held: `Moments` of the current draw as numbers; None before the first. The garbage collector visits every object
            of a class again and again, but not a tuple of numbers.
        centre: what is subtracted before values are counted; None before the first block.
        low: the smallest entry.
        high: the largest entry.
        zeros: entries that are 0.
        infinite: entries that are infinite.
        nan: entries that are NaN.
        faint: in some draw all entries, stored in a scaled unit, are truly below the normal range of the dtype.
        huge: in some draw entries, stored in a scaled unit, are truly above the largest number of the dtype.
        keys: the occupied buckets of the grid, in the order of values.
        counts: how many entries each of them holds.
        magnitudes: counts for the small formats; None where they were not asked for.
        grid: how values are counted.
    """

    dtype: np.dtype[Any]
    bits: int = COARSE
    earlier: tuple[Moments, ...] = ()
    held: tuple[int, float, float, int] | None = None
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
    magnitudes: Magnitudes | None = None
    grid: Grid = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.grid = grid_of(self.dtype, self.bits, self.magnitudes is not None)

    def begin_draw(self) -> None:
        """Start the statistics of another network."""
        self.earlier, self.held = self.by_draw, _NO_MOMENTS

    def add(
        self,
        tallies: Sequence[Tally],
        recount: Callable[[float], Iterable[Array]],
        exponent: int = 0,
        moments: Moments | None = None,
    ) -> None:
        """Merge the tallies of the blocks of a tensor.

        Args:
            tallies: in the order of the blocks.
            recount: counts the blocks again after a centre is subtracted. It is called at most once per sketch, where
                the mean is far from 0 beside the spread.
            exponent: the true tensor is the tallied one times 2^exponent.
            moments: of the tensor, where the tallies are of a sample of it.
        """
        self.infinite += sum(t.infinite for t in tallies)
        self.nan += sum(t.nan for t in tallies)
        if self.nonfinite:
            return
        total = moments or reduce(Moments.merged, (t.moments for t in tallies))
        self._add_moments(total.scaled(exponent))
        self._widen_range(min(t.low for t in tallies), max(t.high for t in tallies), exponent)
        self.zeros += sum(t.zeros for t in tallies)
        if self.magnitudes is not None:
            for tally in tallies:
                self.magnitudes.add(tally.magnitudes, exponent)
        counted = [t.counts for t in tallies if t.counts is not None]
        if exponent:
            self.centre = self.centre or 0.0
            self._add_counts([self.grid.moved(part, exponent) for part in counted], total.count)
            return
        first, self.centre = self.centre is None, self._chosen_centre(total)
        self._add_counts(recount(self.centre) if first and self.centre else counted, total.count)

    def add_all_but_counts(self, total: Moments, low: float, high: float, zeros: int, centre: float) -> None:
        """Add all statistics of a tensor but its counts, which must then be of its entries minus the centre.

        Args:
            total: moments of all entries.
            low: the smallest entry.
            high: the largest.
            zeros: number of entries that are exactly 0.
            centre: becomes the centre of a sketch that has none yet.
        """
        self._add_moments(total)
        if low < self.low:
            self.low = low
        if high > self.high:
            self.high = high
        self.zeros += zeros
        if self.centre is None:
            self.centre = centre

    def _add_moments(self, total: Moments) -> None:
        if self.held is not None and self.held[0]:
            total = Moments(*self.held).merged(total)
        self.held = total.count, total.mean, total.squares, total.exponent

    def _widen_range(self, low: float, high: float, exponent: int) -> None:
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

    def _add_counts(self, parts: Iterable[Array], entries: int) -> None:
        """Add the counts of the parts of a tensor with at most so many entries."""
        table, *others = parts
        if others or len(self.keys):
            fits = self.total + entries <= np.iinfo(np.int32).max
            table = table.astype(np.int32 if fits else np.int64)  # int32 takes half the time
            for part in others:
                table += part
            table[self.keys] += self.counts.astype(table.dtype)
        keys = np.flatnonzero(table != 0)
        # Sorted by value: negative numbers come first. Their keys are the larger ones, in the order of magnitude.
        first = int(np.searchsorted(keys, self.grid.size // 2))
        # Thousands of layers have tens of thousands of sketches, so both arrays get the smallest integer type.
        keys = np.concatenate((keys[first:][::-1], keys[:first]))
        counts = table[keys]
        self.keys, self.counts = keys.astype(np.uint32), counts.astype(np.min_scalar_type(counts.max(initial=0)))

    def add_keys(self, keys: Array) -> None:
        """Add entries by the keys of their buckets, in any order."""
        occupied, counts = np.unique(keys, return_counts=True)
        if len(self.keys):
            occupied, places = np.unique(np.concatenate((self.keys, occupied)), return_inverse=True)
            counts = np.bincount(places, weights=np.concatenate((self.counts, counts))).astype(np.int64)
        first = int(np.searchsorted(occupied, self.grid.size // 2))
        self.keys = np.concatenate((occupied[first:][::-1], occupied[:first])).astype(np.uint32)
        counts = np.concatenate((counts[first:][::-1], counts[:first]))
        self.counts = counts.astype(np.min_scalar_type(counts.max(initial=0)))

    @property
    def by_draw(self) -> tuple[Moments, ...]:
        """Moments of each draw, the current one last."""
        return self.earlier if self.held is None else (*self.earlier, Moments(*self.held))

    @property
    def draws(self) -> int:
        """How many draws have begun."""
        return len(self.earlier) + (self.held is not None)

    @property
    def nonfinite(self) -> int:
        """How many entries are infinite or NaN; with any, the other statistics are void."""
        return self.infinite + self.nan

    @property
    def is_zero(self) -> bool:
        """True if every entry is 0."""
        return self.peak == 0 and not self.faint

    @property
    def total(self) -> int:
        """Entries counted."""
        return int(self.counts.sum(dtype=np.int64))

    @property
    def peak(self) -> float:
        """The largest magnitude."""
        return max(-self.low, self.high)
