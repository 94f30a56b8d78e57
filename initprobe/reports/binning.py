"""Histogram counts redistributed into other bins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from initprobe.arrays import Array

if TYPE_CHECKING:
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
    return rebinned(histogram.counts, histogram.low, histogram.high, edges, at_zero)


def rebinned(counts: Sequence[int], low: float, high: float, edges: Array, at_zero: float = 0.0) -> Array:
    """Compute the same from the counts themselves.

    Args:
        counts: in equal bins.
        low, high: the ends of these bins.
        edges: of the new bins, `(bins + 1,)`.
        at_zero: as above.

    Returns:
        Shares of all entries, `(bins,)`.
    """
    if low == high:
        inside, _ = np.histogram([low], edges)
        return inside.astype(np.float64)
    # In units of a power of two: no difference or quotient leaves the float range.
    unit = -math.frexp(max(abs(low), abs(high)))[1]
    own = np.linspace(math.ldexp(low, unit), math.ldexp(high, unit), len(counts) + 1)
    with np.errstate(over="ignore", under="ignore"):
        edges = np.ldexp(edges, unit)
    parts = np.array(counts, float) / sum(counts)
    zeros = min(at_zero, parts[_bin_of_zero(own)])
    parts[_bin_of_zero(own)] -= zeros
    spread: Array = np.diff(np.interp(edges, own, np.concatenate(([0], np.cumsum(parts)))))
    if edges[0] <= 0 <= edges[-1]:
        spread[_bin_of_zero(edges)] += zeros
    return spread


def _bin_of_zero(edges: Array) -> int:
    """The number of the bin with 0; the nearest if 0 lies outside."""
    return int(np.clip(np.searchsorted(edges, 0.0, side="right") - 1, 0, len(edges) - 2))
