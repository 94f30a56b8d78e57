"""Statistics of measured singular values, and the verdict on dynamical isometry in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from initprobe.arrays import Array, log10_mean
from initprobe.engine.jacobian import SingularValues
from initprobe.formatting import factor_of, percent, short
from initprobe.meanfield.jacobian_density import JacobianDensity
from initprobe.results.base import Histogram, Percentiles, Status
from initprobe.results.spectrum import SpectrumDensity, SpectrumStats, SpectrumTheory

# Singular values in this band count as preserved; a network that preserves this share of them is isometric.
ISOMETRIC_BAND = (0.8, 1.25)
ISOMETRIC_SHARE = 0.9
_BINS = 200
# A share of singular values that no picture shows.
_RARE = 1e-3
# Relative difference of logs below which singular values differ by rounding alone.
_ROUNDING = 1e-12
_PERCENTS = (1, 5, 25, 50, 75, 95, 99)


def finite_or_none(log10: float) -> tuple[float | None, float | None]:
    """A number and its log10. None for a number beyond the float range, and for the log10 of 0 or NaN."""
    if log10 == -math.inf:
        return 0.0, None
    if not math.isfinite(log10):
        return None, None
    limits = np.finfo(float)
    inside = math.log10(limits.tiny) < log10 < math.log10(limits.max)
    return (10**log10 if inside else None), log10


def density_shares(law: JacobianDensity) -> SpectrumDensity:
    """A density in equal bins of log10 s, without the ends that hold almost nothing."""
    below = np.maximum.accumulate(np.clip(law.below, 0, 1))
    first = max(int(np.searchsorted(below, below[0] + _RARE)) - 1, 0)
    last = min(int(np.searchsorted(below, 1 - _RARE / 10)) + 1, len(below) - 1)
    edges = np.linspace(law.log10_s[first], law.log10_s[last], _BINS + 1)
    shares = np.diff(np.interp(edges, law.log10_s, below))
    return SpectrumDensity(low=edges[0], high=edges[-1], shares=tuple(shares.tolist()))


def by_draw(values: Sequence[SingularValues], samples: int) -> list[Sequence[SingularValues]]:
    """The singular values of each draw, of `samples` Jacobians per draw.

    Args:
        values: of all Jacobians, those of a draw together.
        samples: Jacobians per draw.
    """
    return [values[start : start + samples] for start in range(0, len(values), samples)]


def layer_stats(
    layer: int,
    ends: Sequence[int],
    draws: Sequence[Sequence[SingularValues]],
    status: Status,
    predicted: Mapping[int, SpectrumTheory],
) -> SpectrumStats:
    """The statistics of one layer's Jacobians, or of the product up to it.

    Args:
        layer: its number.
        ends: units below and above.
        draws: singular values of each Jacobian of each draw.
        status: `ok`, or why nothing was measured.
        predicted: predictions by layer.
    """
    count, theory, values = min(ends), predicted.get(layer), [entry for draw in draws for entry in draw]
    if status != "ok":
        return SpectrumStats(layer=layer, count=count, status=status, theory=theory)
    logs = np.concatenate([entry.log10 for entry in values])
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
        zero_fraction=sum(entry.zeros for entry in values) / total,
        lost_fraction=sum(entry.lost for entry in values) / total,
        isometric_fraction=float(np.count_nonzero((logs >= low) & (logs <= high))) / total,
        percentiles_log10=_percentiles(logs),
        histogram_log10=_histogram(logs),
        theory=theory,
        **measured,
    )


def _mean_log10(values: Sequence[SingularValues]) -> float:
    """log10 of the mean square, averaged over Jacobians."""
    return log10_mean([entry.mean_square_log10 for entry in values])


def _relative_sd(logs: Sequence[float]) -> float | None:
    """Standard deviation over mean of numbers that are given by their log10; None for fewer than two."""
    top = max(logs)
    if len(logs) < 2 or not math.isfinite(top):
        return None
    sizes = [10 ** (log - top) for log in logs]
    return statistics.stdev(sizes) / statistics.fmean(sizes)


def _sd(values: Sequence[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return statistics.stdev(given) if len(given) > 1 else None


def _mean_spread(values: Sequence[SingularValues]) -> float | None:
    spreads = [spread for entry in values if math.isfinite(spread := entry.spread)]
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
    """Whether the whole network is isometric, and a sentence.

    Args:
        end_to_end: statistics of the products up to each layer, first to last.
        lost_from: the layer where z left the float range; used only where it did.
    """
    last = end_to_end[-1]
    share = last.isometric_fraction
    if share is None:
        return None, f"not measured end to end: z left the float range at layer {lost_from} ({last.status})"
    if last.zero_fraction == 1:
        return False, "not isometric: every singular value is 0, so the output does not depend on the input"
    band = f"{percent(share)}% of singular values between {ISOMETRIC_BAND[0]:g} and {ISOMETRIC_BAND[1]:g}"
    if share >= ISOMETRIC_SHARE:
        return True, f"isometric: {band}"
    words = [f"not isometric: {band}", _growth(end_to_end), *_missing(last)]
    return False, "; ".join(word for word in words if word)


def _growth(end_to_end: Sequence[SpectrumStats]) -> str:
    """How the largest singular value changes with depth, in words."""
    first, last = end_to_end[0], end_to_end[-1]
    if first.largest_log10 is None or last.largest_log10 is None:
        return ""
    ends = short(first.largest, first.largest_log10), short(last.largest, last.largest_log10)
    if first is last:
        return f"largest {ends[1]}"
    rate = factor_of((last.largest_log10 - first.largest_log10) / (last.layer - 1))
    return f"largest {ends[0]} after 1 layer, {ends[1]} after {last.layer} ({rate} per layer)"


def _missing(stats: SpectrumStats) -> Iterator[str]:
    if stats.zero_fraction:
        yield f"{percent(stats.zero_fraction)}% exactly 0"
    if stats.lost_fraction:
        yield f"{percent(stats.lost_fraction)}% too small to distinguish from 0"
