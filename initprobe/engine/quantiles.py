"""From the counts of sketches to percentiles and histograms, of many sketches at a time: NumPy's calls cost more than
what they do to one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from initprobe.arrays import Array
from initprobe.engine.buckets import Grid
from initprobe.engine.sketch import Sketch

BINS = 200
PERCENTS = (1, 5, 25, 50, 75, 95, 99)
NEAR_ZERO = 0.01
# Sketches at a time: their points stay in cache.
_TOGETHER = 32
# Octaves from 1 beyond which a power of 2 or its inverse may leave the float range.
_FARTHEST = 1000


@dataclass(frozen=True)
class Distribution:
    """What the counts of one sketch tell.

    Attributes:
        percentiles: the `PERCENTS` of all entries, `(7,)`.
        near_zero: share of entries within `NEAR_ZERO` of the given size of 0.
        total: entries.
        counts: in equal bins from the smallest entry to the largest; in one bin where all entries are equal.
    """

    percentiles: Array
    near_zero: float
    total: int
    counts: Array


def distributions(sketches: Sequence[Sketch], sizes: Sequence[float], bins: int = BINS) -> list[Distribution]:
    """The distributions of sketches of one dtype, each `NEAR_ZERO` measured by a size of its own, as a rule its rms."""
    chunks = (slice(start, start + _TOGETHER) for start in range(0, len(sketches), _TOGETHER))
    return [found for chunk in chunks for found in _chunk(sketches[chunk], np.array(sizes[chunk]), bins)]


def _chunk(sketches: Sequence[Sketch], sizes: Array, bins: int) -> Iterator[Distribution]:
    curves = _Curves(sketches)
    near, place = NEAR_ZERO * sizes[:, None], np.arange(bins + 1) / bins
    edges = curves.low * (1 - place) + curves.high * place
    below, percentiles = curves.read(np.hstack([-near, near, edges]), np.array(PERCENTS) / 100)
    zeros = np.array([sketch.zeros for sketch in sketches])
    close = np.maximum(below[:, 1] - below[:, 0], zeros) / curves.totals
    # Differences of rounded cumulative counts: integers with an exact total, and no comb.
    upto = np.rint(below[:, 2:]).astype(np.int64)
    upto[:, 0], upto[:, -1] = 0, curves.totals
    counts = np.diff(upto, axis=1)
    for index, sketch in enumerate(sketches):
        own = upto[index, -1:] if sketch.low == sketch.high else counts[index]
        yield Distribution(percentiles[index], float(close[index]), int(upto[index, -1]), own)


class _Curves:
    """The cumulative counts of sketches over their values, linear within a bucket.

    Attributes:
        low: smallest values, `(sketches, 1)`.
        high: largest values, `(sketches, 1)`.
        totals: entries, `(sketches,)`.
    """

    def __init__(self, sketches: Sequence[Sketch]) -> None:
        self.low, self.high = np.array([(sketch.low, sketch.high) for sketch in sketches]).T[:, :, None]
        # Each in units of its own size: the distance between the ends of the float range is beyond it, and what one
        # subnormal number is divided by another is no number.
        octave = np.frexp(np.maximum(-self.low, self.high))[1]
        self._unit = np.ldexp(1.0, np.clip(octave, -_FARTHEST, _FARTHEST))
        ends = np.cumsum([len(sketch.keys) for sketch in sketches])
        self._parts = [slice(2 * a, 2 * b) for a, b in pairwise([0, *ends.tolist()])]
        self._points = _points(sketches, self._unit[:, 0], ends)
        # Counts go on from sketch to sketch.
        upto = np.cumsum(np.concatenate([sketch.counts for sketch in sketches]), dtype=np.int64)
        self._counts = np.zeros(2 * len(upto))
        self._counts[1::2], self._counts[2::2] = upto, upto[:-1]
        self._before = self._counts[[part.start for part in self._parts]]
        self.totals = self._counts[[part.stop - 1 for part in self._parts]] - self._before

    def read(self, values: Array, shares: Array) -> tuple[Array, Array]:
        """Entries at or below values of each sketch's own, `(sketches, values)`; and values below which shares lie."""
        ranks = self._before[:, None] + self.totals[:, None] * shares
        below, reached = np.empty_like(values), np.empty_like(ranks)
        rows = zip(values / self._unit, ranks, self._parts, strict=True)
        for index, (places, own_ranks, part) in enumerate(rows):
            points, counts = self._points[part], self._counts[part]
            below[index] = np.interp(places, points, counts)
            reached[index] = np.interp(own_ranks, counts, points)
        return below - self._before[:, None], reached * self._unit


def _points(sketches: Sequence[Sketch], units: Array, ends: Array) -> Array:
    """Lowest and highest value of each occupied bucket, one after the other, within the range of its sketch.

    Those beside 0 are at 0 where they hold exact zeros and nothing else.
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
    for places in (starts, ends - 1):  # they ascend, so that no other reaches beyond the range
        points[places] = points[places].clip(low, high)
    points /= np.repeat(units, np.diff(ends, prepend=0))[:, None]
    return points.ravel()


@lru_cache
def _edges(grid: Grid) -> Array:
    """Lowest and highest value of every bucket, `(grid.size, 2)`."""
    patterns = np.arange(grid.size // 2 + 1, dtype=grid.pattern) << grid.shift
    with np.errstate(invalid="ignore"):  # among the patterns beyond infinity
        edges = patterns.view(np.float32 if grid.pattern is np.uint32 else np.float64).astype(np.float64)
    positive = np.stack([edges[:-1], edges[1:]], axis=1)
    return np.concatenate([positive, -positive[:, ::-1]])
