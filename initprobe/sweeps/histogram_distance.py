"""How far the entries of a tensor have moved between two results, from their histograms."""

from __future__ import annotations

import math

import numpy as np

from initprobe.arrays import Array
from initprobe.results.base import Histogram
from initprobe.results.layers import TensorStats


def histogram_change(old: TensorStats, new: TensorStats) -> tuple[float | None, float | None]:
    """0, and the Wasserstein distance of the histograms relative to the old rms; None for a side without one.

    Args:
        old, new: statistics of the same tensor on both sides.
    """
    if old.histogram is None or new.histogram is None:
        return (None if old.histogram is None else 0.0), (None if new.histogram is None else 0.0)
    distance = _wasserstein(old.histogram, new.histogram)
    return 0.0, distance / old.rms if old.rms else math.inf if distance else 0.0


def _wasserstein(a: Histogram, b: Histogram) -> float:
    """The least area between cumulative distributions with these counts; entries may lie anywhere in their bins."""
    curves = [_cumulative(histogram) for histogram in (a, b)]
    x = np.union1d(*(edges for edges, _ in curves))
    (low, high), (other_low, other_high) = (_bounds(x, *curve) for curve in curves)
    gap = np.maximum(np.maximum(low - other_high, other_low - high), 0.0)
    return float(np.sum(gap * np.diff(x)))


def _bounds(x: Array, edges: Array, shares: Array) -> tuple[Array, Array]:
    """Per interval of `x`, the smallest and the largest share of entries that may lie below a point of it."""
    bins = np.searchsorted(edges, (x[:-1] + x[1:]) / 2)
    return shares[np.maximum(bins - 1, 0)] * (bins > 0), shares[np.minimum(bins, len(shares) - 1)]


def _cumulative(histogram: Histogram) -> tuple[Array, Array]:
    """The edges of the bins, and the share of entries below each edge."""
    low, high, counts = histogram.low, histogram.high, np.array(histogram.counts)
    if low == high:  # all entries are equal: a step
        high, counts = math.nextafter(low, math.inf), np.array([1])
    edges = np.linspace(low, high, len(counts) + 1)
    return edges, np.concatenate([[0], np.cumsum(counts) / counts.sum()])
