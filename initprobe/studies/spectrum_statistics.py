"""`spectrum.measure`: the singular values of a network's Jacobians, layer by layer and end to end, beside theory.

A network whose end-to-end Jacobian has all its singular values near 1 passes every direction on as it is: dynamical
isometry (Saxe et al. 2014, arXiv:1312.6120; Pennington et al. 2017, arXiv:1711.04735).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from initprobe.arrays import Array, log10_mean
from initprobe.engine.jacobian import SingularValues
from initprobe.formatting import factor_of, percent, short
from initprobe.results.base import Histogram, Percentiles, Status
from initprobe.results.spectrum import SpectrumStats, SpectrumTheory

# Singular values this near to 1 count as preserved, and a net that preserves this share of them as isometric.
ISOMETRIC_BAND = (0.8, 1.25)
ISOMETRIC_SHARE = 0.9
_BINS = 200
# Logs that differ by less are of singular values that rounding alone tells apart.
_ROUNDING = 1e-12
_PERCENTS = (1, 5, 25, 50, 75, 95, 99)


def finite_or_none(log10: float) -> tuple[float | None, float | None]:
    """A number from its log10, and the log10: None where there is none, or the float range does not reach."""
    if log10 == -math.inf:
        return 0.0, None
    if not math.isfinite(log10):
        return None, None
    limits = np.finfo(float)
    inside = math.log10(limits.tiny) < log10 < math.log10(limits.max)
    return (10**log10 if inside else None), log10


def by_draw(values: Sequence[SingularValues], samples: int) -> list[Sequence[SingularValues]]:
    return [values[start : start + samples] for start in range(0, len(values), samples)]


def layer_stats(
    layer: int,
    ends: Sequence[int],
    draws: Sequence[Sequence[SingularValues]],
    status: Status,
    predicted: Mapping[int, SpectrumTheory],
) -> SpectrumStats:
    count, theory, values = min(ends), predicted.get(layer), [one for draw in draws for one in draw]
    if status != "ok":
        return SpectrumStats(layer=layer, count=count, status=status, theory=theory)
    logs = np.concatenate([one.log10 for one in values])
    total = count * len(values)
    low, high = map(math.log10, ISOMETRIC_BAND)
    measured = dict(zip(("mean_square", "mean_square_log10"), finite_or_none(_mean_log10(values)), strict=True))
    if len(logs):
        measured |= dict(zip(("largest", "largest_log10"), finite_or_none(float(logs.max())), strict=True))
        measured |= dict(zip(("smallest", "smallest_log10"), finite_or_none(float(logs.min())), strict=True))
    return SpectrumStats(
        layer=layer,
        count=count,
        status=status,
        mean_square_sd=_relative_sd([_mean_log10(draw) for draw in draws]),
        spread=_mean_spread(values),
        spread_sd=_sd([_mean_spread(draw) for draw in draws]),
        zero_fraction=sum(one.zeros for one in values) / total,
        lost_fraction=sum(one.lost for one in values) / total,
        isometric_fraction=float(np.count_nonzero((logs >= low) & (logs <= high))) / total,
        percentiles_log10=_percentiles(logs),
        histogram_log10=_histogram(logs),
        theory=theory,
        **measured,
    )


def _mean_log10(values: Sequence[SingularValues]) -> float:
    """log10 of the mean over Jacobians of their mean squares."""
    return log10_mean([one.mean_square_log10 for one in values])


def _relative_sd(logs: Sequence[float]) -> float | None:
    """Standard deviation of numbers given by their log10, in units of their mean."""
    top = max(logs)
    if len(logs) < 2 or not math.isfinite(top):
        return None
    sizes = [10 ** (log - top) for log in logs]
    return statistics.stdev(sizes) / statistics.fmean(sizes)


def _sd(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) > 1 else None


def _mean_spread(values: Sequence[SingularValues]) -> float | None:
    spreads = [spread for one in values if math.isfinite(spread := one.spread)]
    return sum(spreads) / len(spreads) if spreads else None


def _percentiles(logs: Array) -> Percentiles | None:
    if not len(logs):
        return None
    return Percentiles(**dict(zip((f"p{p}" for p in _PERCENTS), np.percentile(logs, _PERCENTS).tolist(), strict=True)))


def _histogram(logs: Array) -> Histogram | None:
    if not len(logs):
        return None
    low, high = float(logs.min()), float(logs.max())
    if high - low < _ROUNDING * max(abs(low), abs(high), 1.0):
        return Histogram(low=high, high=high, counts=(len(logs),))
    counts, _ = np.histogram(logs, _BINS, (low, high))
    return Histogram(low=low, high=high, counts=tuple(counts.tolist()))


def verdict_words(end_to_end: Sequence[SpectrumStats], lost_from: int) -> tuple[bool | None, str]:
    """Whether the whole network is isometric, and by how much it is not; the float range ended at layer `lost_from`."""
    last = end_to_end[-1]
    share = last.isometric_fraction
    if share is None:
        return None, f"not measured end to end: z left the float range at layer {lost_from} ({last.status})"
    if last.zero_fraction == 1:
        return False, "not isometric: every singular value is 0, so nothing at the input moves the output"
    band = f"{percent(share)}% of singular values between {ISOMETRIC_BAND[0]:g} and {ISOMETRIC_BAND[1]:g}"
    if share >= ISOMETRIC_SHARE:
        return True, f"isometric: {band}"
    words = [f"not isometric: {band}", _growth(end_to_end), *_missing(last)]
    return False, "; ".join(word for word in words if word)


def _growth(end_to_end: Sequence[SpectrumStats]) -> str:
    """How the largest singular value changes with depth."""
    first, last = end_to_end[0], end_to_end[-1]
    if first.largest_log10 is None or last.largest_log10 is None:
        return ""
    ends = short(first.largest, first.largest_log10), short(last.largest, last.largest_log10)
    if first is last:
        return f"largest {ends[1]}"
    rate = factor_of((last.largest_log10 - first.largest_log10) / (last.layer - 1))
    return f"largest {ends[0]} after 1 layer, {ends[1]} after {last.layer} ({rate} a layer)"


def _missing(stats: SpectrumStats) -> Iterator[str]:
    if stats.zero_fraction:
        yield f"{percent(stats.zero_fraction)}% exactly 0"
    if stats.lost_fraction:
        yield f"{percent(stats.lost_fraction)}% too small to tell from 0"
