"""Histogram counts redistributed into other bins."""

from __future__ import annotations

import math

import numpy as np

from initprobe.arrays import Array
from initprobe.results.base import Histogram


def shares(histogram: Histogram, edges: Array) -> Array:
    """Compute the share of the entries in each bin between `edges`; entries outside are left out.

    Entries count as spread evenly over their own bin. A histogram of equal entries stays a spike.

    Args:
        histogram: counts in equal bins.
        edges: of the new bins, `(bins + 1,)`.

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
    upto = np.concatenate(([0], np.cumsum(histogram.counts))) / total
    return np.diff(np.interp(edges, own, upto))
