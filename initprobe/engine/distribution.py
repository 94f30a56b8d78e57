"""From the counts of sketches to percentiles and histograms, of many sketches at a time: NumPy's calls cost more than
what they do to one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from initprobe.engine.sketch import Sketch

Array = npt.NDArray[Any]

BINS = 200
PERCENTS = (1, 5, 25, 50, 75, 95, 99)
NEAR_ZERO = 0.01
# Sketches at a time: their points stay in cache.
_TOGETHER = 32


@dataclass(frozen=True)
class Distribution:
    """What the counts of one sketch tell.

    Attributes:
        percentiles: the `PERCENTS` of all entries, `(7,)`.
        near_zero: share of entries within `NEAR_ZERO` of the given size of 0.
        counts: in equal bins from the smallest entry to the largest; in one bin where all entries are equal.
    """

    percentiles: Array
    near_zero: float
    counts: Array


def distributions(sketches: Sequence[Sketch], sizes: Sequence[float], bins: int = BINS) -> list[Distribution]:
    """The distributions of sketches of one dtype, each `NEAR_ZERO` measured by a size of its own, as a rule its rms."""
    chunks = (slice(start, start + _TOGETHER) for start in range(0, len(sketches), _TOGETHER))
    return [found for chunk in chunks for found in _chunk(sketches[chunk], np.array(sizes[chunk]), bins)]


def _chunk(sketches: Sequence[Sketch], sizes: Array, bins: int) -> Iterator[Distribution]:
    curves = _Curves(sketches)
    percentiles = curves.values(np.array(PERCENTS) / 100)
    near = NEAR_ZERO * sizes
    zeros = np.array([sketch.zeros for sketch in sketches])
    close = np.maximum(curves.below(near) - curves.below(-near), zeros) / curves.totals
    counts = curves.histograms(bins)
    for index, sketch in enumerate(sketches):
        own = np.array([sketch.total]) if sketch.low == sketch.high else counts[index]
        yield Distribution(percentiles[index], float(close[index]), own)


class _Curves:
    """The cumulative counts of sketches over their values, linear within a bucket, one behind the other.

    Both axes rise from sketch to sketch, so that one interpolation serves all: counts go on from those of the last,
    and the values of sketch k lie between 2k, the smallest, and 2k + 1.
    """

    def __init__(self, sketches: Sequence[Sketch]) -> None:
        self._low, self._high = (np.array([getattr(s, name) for s in sketches]) for name in ("low", "high"))
        buckets = np.array([len(s.keys) for s in sketches])
        counts = np.concatenate([s.counts for s in sketches]).astype(np.int64)
        self.totals = np.add.reduceat(counts, np.cumsum(buckets) - buckets)
        self._before = np.cumsum(self.totals) - self.totals
        ends = np.cumsum(counts)
        self._cumulative = _alternating(ends - counts, ends)
        self._owner = np.repeat(np.arange(len(sketches)), 2 * buckets)
        points = _alternating(*_edges(sketches, buckets, counts))
        self._points = np.clip(points, self._low[self._owner], self._high[self._owner], out=points)
        self._places = self._placed(points, self._owner)

    def _placed(self, values: Array, owner: Array) -> Array:
        """Values, within the range of their sketches, on the common axis."""
        # Each in a unit of its own: the distance between the ends of the float range is beyond it, and what one
        # subnormal number is divided by another is no number.
        unit = -np.frexp(np.maximum(np.abs(self._low), np.abs(self._high)))[1] - 1
        low, span = np.ldexp(self._low, unit), np.ldexp(self._high, unit) - np.ldexp(self._low, unit)
        place: Array = np.ldexp(values, unit[owner]) - low[owner]
        np.divide(place, span[owner], out=place, where=span[owner] > 0)
        place += 2 * owner
        return place

    def values(self, shares: Array) -> Array:
        """Values below which these shares of the entries lie, `(sketches, shares)`."""
        ranks = self._before[:, None] + self.totals[:, None] * shares
        return np.asarray(np.interp(ranks, self._cumulative, self._points))

    def below(self, values: Array) -> Array:
        """Entries at or below a value of each sketch's own, `(sketches,)`."""
        place = self._placed(np.clip(values, self._low, self._high), np.arange(len(values)))
        return np.where(values < self._low, 0.0, np.interp(place, self._places, self._cumulative) - self._before)

    def histograms(self, bins: int) -> Array:
        """Counts in equal bins, `(sketches, bins)`.

        Differences of rounded cumulative counts: integers with an exact total, and no comb.
        """
        upto = np.empty((len(self.totals), bins + 1))
        inner = np.arange(1, bins) / bins + 2 * np.arange(len(self.totals))[:, None]
        upto[:, 1:-1] = np.interp(inner, self._places, self._cumulative)
        upto[:, 0], upto[:, -1] = self._before, self._before + self.totals
        return np.diff(np.rint(upto), axis=1).astype(np.int64)


def _alternating(first: Array, second: Array) -> Array:
    found = np.empty(2 * len(first), first.dtype)
    found[::2], found[1::2] = first, second
    return found


def _edges(sketches: Sequence[Sketch], buckets: Array, counts: Array) -> tuple[Array, Array]:
    """Lowest and highest value of each bucket, those beside 0 at 0 where they hold exact zeros and nothing else."""
    grids = [sketch.grid for sketch in sketches]
    keys = np.concatenate([s.keys for s in sketches])
    by_sketch = np.array([(grid.size // 2, grid.shift) for grid in grids], keys.dtype)
    half, shift = (np.repeat(column, buckets) for column in by_sketch.T)
    negative = keys >= half
    magnitude = (keys - half * negative).astype(grids[0].pattern)
    near, far = (_floats(m << shift, sketches[0].dtype) for m in (magnitude, magnitude + 1))
    owner = np.repeat(np.arange(len(sketches)), buckets)
    smallest = magnitude == 0
    beside = np.bincount(owner[smallest], counts[smallest], len(sketches))
    atom = (beside == [s.zeros for s in sketches]) & [not s.centre for s in sketches]
    far[smallest & atom[owner]] = 0
    centre = np.array([s.centre or 0.0 for s in sketches])[owner]
    return np.where(negative, -far, near) + centre, np.where(negative, -near, far) + centre


def _floats(patterns: Array, dtype: np.dtype[Any]) -> Array:
    return patterns.view(dtype).astype(np.float64)
