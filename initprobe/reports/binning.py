"""Histogram counts redistributed into other bins."""

from __future__ import annotations

import math

import numpy as np

from initprobe.arrays import Array
from initprobe.results.base import Histogram


def shares(histogram: Histogram, edges: Array, at_zero: float = 0.0) -> Array:
    """Compute the share of the entries in each bin between `edges`; entries outside are left out.

    Entries count as spread evenly over their own bin. A histogram of equal entries stays a spike.

    Args:
        histogram: counts in equal bins.
        edges: of the new bins, `(bins + 1,)`.
        at_zero: share of the entries that are exactly 0, which are not spread. For bins that are narrow about 0.

    Returns:
        Shares of all entries, `(bins,)`.
    """
    total = sum(histogram.counts)
    if histogram.low == histogram.high:
        inside, _ = np.histogram([histogram.low], edges)
        return inside.astype(np.float64)
    # In units of a power of two: no difference or quotient leaves the float range.
    unit = -math.frexp(max(abs(histogram.low), abs(histogram.high)))[1]
    own = np.linspace(math.ldexp(histogram.low, unit), math.ldexp(histogram.high, unit), len(histogram.counts) + 1)
    with np.errstate(over="ignore", under="ignore"):
        edges = np.ldexp(edges, unit)
    counts = np.array(histogram.counts, float) / total
    zeros = min(at_zero, counts[_bin_of_zero(own)])
    counts[_bin_of_zero(own)] -= zeros
    spread: Array = np.diff(np.interp(edges, own, np.concatenate(([0], np.cumsum(counts)))))
    if edges[0] <= 0 <= edges[-1]:
        spread[_bin_of_zero(edges)] += zeros
    return spread


def _bin_of_zero(edges: Array) -> int:
    """The number of the bin with 0; the nearest if 0 lies outside."""
    return int(np.clip(np.searchsorted(edges, 0.0, side="right") - 1, 0, len(edges) - 2))
