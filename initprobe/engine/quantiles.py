"""Percentiles and histograms from the counts of sketches, many at a time: a call costs more than one sketch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.engine.buckets import Grid
from initprobe.engine.sketch import Sketch

BINS = 200
PERCENTS = (1, 5, 25, 50, 75, 95, 99)
NEAR_ZERO = 0.01
# Sketches that are read together; their points stay in cache.
TOGETHER = 32
# Largest exponent at which a power of 2 and its inverse are both in the float range.
_FARTHEST = 1000


class Distribution(NamedTuple):
    """The distribution of the entries of one sketch.

    Attributes:
        percentiles: at the `PERCENTS`, `(7,)`.
        near_zero: share of entries below `NEAR_ZERO` times the given size in magnitude.
        total: how many entries were counted.
        counts: in equal bins from the smallest entry to the largest; a single bin where all entries are equal.
    """

    percentiles: Array
    near_zero: float
    total: int
    counts: Array


def distributions(sketches: Sequence[Sketch], sizes: Sequence[float], bins: int = BINS) -> list[Distribution]:
    """The distributions of sketches of one dtype.

    Args:
        sketches: with finite entries.
        sizes: what `NEAR_ZERO` is relative to in each, usually its rms.
        bins: of the histograms.
    """
    chunks = (slice(start, start + TOGETHER) for start in range(0, len(sketches), TOGETHER))
    return [own for chunk in chunks for own in _chunk(sketches[chunk], np.array(sizes[chunk]), bins)]


def _chunk(sketches: Sequence[Sketch], sizes: Array, bins: int) -> Iterator[Distribution]:
    curves = _Curves(sketches)
    near, place = NEAR_ZERO * sizes[:, None], np.arange(bins + 1) / bins
    edges = curves.low * (1 - place) + curves.high * place
    below, percentiles = curves.read(np.hstack([-near, near, edges]), np.array(PERCENTS) / 100)
    zeros = np.array([sketch.zeros for sketch in sketches])
    close = np.maximum(below[:, 1] - below[:, 0], zeros) / curves.totals
    # Differences of rounded cumulative counts are integers with an exact total, without a comb pattern.
    upto = np.rint(below[:, 2:]).astype(np.int64)
    upto[:, 0], upto[:, -1] = 0, curves.totals
    counts = np.diff(upto, axis=1)
    for index, sketch in enumerate(sketches):
        own = upto[index, -1:] if sketch.low == sketch.high else counts[index]
        yield Distribution(percentiles[index], float(close[index]), int(upto[index, -1]), own)


class _Curves:
    """The cumulative counts of sketches as functions of the value, linear within a bucket.

    Attributes:
        low: smallest values, `(sketches, 1)`.
        high: largest values, `(sketches, 1)`.
        totals: entries, `(sketches,)`.
    """

    def __init__(self, sketches: Sequence[Sketch]) -> None:
        self.low, self.high = np.array([(sketch.low, sketch.high) for sketch in sketches]).T[:, :, None]
        # Each in units of its own size. The distance between the ends of the float range would overflow. A ratio of
        # subnormal numbers is not accurate.
        octave = np.frexp(np.maximum(-self.low, self.high))[1]
        self._unit = np.ldexp(1.0, np.clip(octave, -_FARTHEST, _FARTHEST))
        ends = np.cumsum([len(sketch.keys) for sketch in sketches])
        self._parts = [slice(2 * a, 2 * b) for a, b in pairwise([0, *ends.tolist()])]
        self._points = _points(sketches, self._unit[:, 0], ends)
        # The counts of each sketch continue those of the one before it.
        upto = np.cumsum(np.concatenate([sketch.counts for sketch in sketches]), dtype=np.int64)
        self._counts = np.zeros(2 * len(upto))
        self._counts[1::2], self._counts[2::2] = upto, upto[:-1]
        self._before = self._counts[[part.start for part in self._parts]]
        self.totals = self._counts[[part.stop - 1 for part in self._parts]] - self._before

    def read(self, values: Array, shares: Array) -> tuple[Array, Array]:
        """Read the curves in both directions.

        Args:
            values: of each sketch, `(sketches, values)`.
            shares: of the entries, `(shares,)`.

        Returns:
            How many entries lie at or below each value, and the value below which each share lies.
        """
        below = np.empty_like(values)
        for index, (places, part) in enumerate(zip(values / self._unit, self._parts, strict=True)):
            below[index] = np.interp(places, self._points[part], self._counts[part])
        # Counts ascend over all sketches, so one call reads them all.
        ranks = self._before[:, None] + self.totals[:, None] * shares
        reached = np.interp(ranks, self._counts, self._points)
        return below - self._before[:, None], reached * self._unit


def _points(sketches: Sequence[Sketch], units: Array, ends: Array) -> Array:
    """The lowest and the highest value of each occupied bucket, within the range of its sketch.

    Buckets next to 0 that hold only exact zeros are at 0.
    """
    points = np.concatenate([_edges(sketch.grid).take(sketch.keys, axis=0) for sketch in sketches])
    starts = np.concatenate(([0], ends[:-1]))
    for sketch, start, end in zip(sketches, starts.tolist(), ends.tolist(), strict=True):
        if sketch.centre:
            points[start:end] += sketch.centre
        elif sketch.zeros:
            beside = sketch.keys % (sketch.grid.size // 2) == 0
            if sketch.counts[beside].sum() == sketch.zeros:
                points[start:end][beside] = 0.0
    low, high = np.array([(sketch.low, sketch.high) for sketch in sketches]).T[:, :, None]
    for places in (starts, ends - 1):  # points ascend, so only these can be outside the range
        points[places] = points[places].clip(low, high)
    points /= np.repeat(units, np.diff(ends, prepend=0))[:, None]
    return points.ravel()


@lru_cache
def _edges(grid: Grid) -> Array:
    """The lowest and the highest value of every bucket, `(grid.size, 2)`."""
    patterns = np.arange(grid.size // 2 + 1, dtype=grid.pattern) << grid.shift
    with np.errstate(invalid="ignore"):  # some patterns are NaN
        edges = patterns.view(np.float32 if grid.pattern is np.uint32 else np.float64).astype(np.float64)
    positive = np.stack([edges[:-1], edges[1:]], axis=1)
    return np.concatenate([positive, -positive[:, ::-1]])
