"""Mean and variance of blocks at any scale, without overflow; and the scratch memory of each thread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from initprobe.arrays import Array, Scratch

# Outside these limits squares leave the range of float64, and the block is first scaled by a power of two.
_SAFE_LOW, _SAFE_HIGH = 1e-120, 1e120

# Entries of float32 that are summed in float32, and the limits between which their squares stay in range.
_RUN = 512
_RUN_OF_ONES = np.ones(_RUN, np.float32)
_SHORT_LOW, _SHORT_HIGH = 2.0**-40, 2.0**50


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and sum of squared deviations of some entries.

    Attributes:
        count: of the entries.
        mean: in units of `2^exponent`.
        squares: sum of squared deviations from the mean, in units of `4^exponent`.
        exponent: of the unit.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    exponent: int = 0

    def merged(self, other: Moments) -> Moments:
        """The moments of both sets of entries together (Chan et al. 1983, pairwise updating)."""
        if not (self.count and other.count):
            return self if self.count else other
        exponent = max(self.exponent, other.exponent)
        (mean, squares), (other_mean, other_squares) = self._in_units(exponent), other._in_units(exponent)
        count, gap = self.count + other.count, other_mean - mean
        return Moments(
            count,
            mean + gap * other.count / count,
            squares + other_squares + gap * gap * self.count * other.count / count,
            exponent,
        )

    def _in_units(self, exponent: int) -> tuple[float, float]:
        shift = self.exponent - exponent
        return math.ldexp(self.mean, shift), math.ldexp(self.squares, 2 * shift)

    def scaled(self, exponent: int) -> Moments:
        """The moments of all entries times `2^exponent`."""
        return replace(self, exponent=self.exponent + exponent) if exponent else self

    @property
    def true_mean(self) -> float:
        """The mean in plain units; 0 or infinite where float64 cannot hold it."""
        return ldexp(self.mean, self.exponent)

    @property
    def variance(self) -> float:
        """Population variance in plain units; 0 or infinite where float64 cannot hold it."""
        return ldexp(self.squares / self.count, 2 * self.exponent)

    @property
    def mean_square(self) -> float:
        """Second moment in plain units; 0 or infinite where float64 cannot hold it."""
        return ldexp(self.squares / self.count + self.mean**2, 2 * self.exponent)

    @property
    def log10_variance(self) -> float:
        """log10 of the variance, also where float64 cannot hold the variance; -inf for equal entries."""
        if self.squares == 0:
            return -math.inf
        return math.log10(self.squares / self.count) + 2 * self.exponent * math.log10(2)


def ldexp(value: float, exponent: int) -> float:
    """`value 2^exponent`, infinite where that is beyond float64.

    Args:
        value: any float.
        exponent: of the power of two.
    """
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)


scratch = Scratch()


def widen(block: Array) -> tuple[Array, int]:
    """A block in float64, in a unit in which squares stay in range.

    Returns:
        The block times `2^-exponent`, valid until the next call in this thread, and the exponent.
    """
    wide = scratch.array(block.shape, np.float64)
    if block.dtype == np.float64:
        peak = max(-float(block.min()), float(block.max()))
        if not (_SAFE_LOW < peak < _SAFE_HIGH or peak == 0 or not math.isfinite(peak)):
            exponent = math.frexp(peak)[1]
            return np.ldexp(block, -exponent, out=wide), exponent
    np.copyto(wide, block)
    return wide, 0


def moments(rows: Array, peaks: Sequence[float]) -> list[Moments]:
    """Moments of each row, accurate to 1e-7 for float32 and to 1e-15 for float64.

    Args:
        rows: finite entries, `(rows, entries)`.
        peaks: the largest magnitude in each row.
    """
    short = [rows.dtype == np.float32 and _SHORT_LOW < peak < _SHORT_HIGH for peak in peaks]
    if not any(short):
        return [_wide_moments(row) for row in rows]
    return [
        _one_pass(row.size, *sums) if fits and not _cancels(row.size, *sums) else _wide_moments(row)
        for row, fits, sums in zip(rows, short, _sums(rows), strict=True)
    ]


def _sums(rows: Array) -> list[tuple[float, float]]:
    """Sums of float32 rows and of their squares: each run in float32, where rounding is small, then in float64."""
    cut = rows.shape[1] - rows.shape[1] % _RUN
    runs, rest = rows[:, :cut].reshape(-1, _RUN), rows[:, cut:].astype(np.float64)
    # Dot products give the same bits wherever a run begins in memory.
    totals, squares = (
        np.vecdot(runs, other).reshape(len(rows), cut // _RUN).sum(axis=1, dtype=np.float64)
        for other in (_RUN_OF_ONES, runs)
    )
    return list(zip((totals + rest.sum(axis=1)).tolist(), (squares + np.vecdot(rest, rest)).tolist(), strict=True))


def _wide_moments(row: Array) -> Moments:
    """Moments in float64, in two passes where one would cancel."""
    entries, exponent = widen(row)
    # `dot` releases Python's lock; `@` and `vecdot` of one row do not.
    total, squares = float(entries.sum()), float(np.dot(entries, entries))
    if _cancels(entries.size, total, squares):
        return _two_passes(entries, total / entries.size, exponent)
    return _one_pass(entries.size, total, squares, exponent)


def _cancels(count: int, total: float, squares: float) -> bool:
    """True if most of the sum of squares comes from the mean, so that subtracting it would lose digits."""
    mean = total / count
    return not count * mean * mean < squares / 2


def _one_pass(count: int, total: float, squares: float, exponent: int = 0) -> Moments:
    mean = total / count
    return Moments(count, mean, squares - count * mean * mean, exponent)


def _two_passes(entries: Array, mean: float, exponent: int) -> Moments:
    centred = np.subtract(entries, mean, out=entries)
    slip = float(centred.sum()) / centred.size
    squares = float(np.dot(centred, centred)) - centred.size * slip * slip
    return Moments(centred.size, mean + slip, max(squares, 0.0), exponent)


def is_plain(low: float, high: float) -> bool:
    """True if entries between `low` and `high` are finite and their squares are in the range of float64.

    Args:
        low, high: the smallest and the largest entry.
    """
    peak = max(-low, high)
    return math.isfinite(low) and math.isfinite(high) and (peak == 0 or _SAFE_LOW < peak < _SAFE_HIGH)
