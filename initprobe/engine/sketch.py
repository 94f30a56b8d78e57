"""Streaming statistics: moments, and a histogram that needs no range in advance.

A tensor arrives in blocks. Each block becomes a `Tally`, in whatever thread has it in cache; tallies are merged in
block order into a `Sketch`, so that the result does not depend on the threads. Values are counted by the leading bits
of their floating-point pattern (sign, exponent, 5 bits of mantissa: buckets 3% wide; 7 for outputs in float32, which
crowd at the bounds of their activation), which fits any range and re-bins at the end.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

COARSE, FINE = 5, 7

# Beyond these, squares leave the range of float64 and the block is scaled by a power of two first.
_SAFE_LOW, _SAFE_HIGH = 1e-120, 1e120

# Entries of float32 that are summed in float32, and the magnitudes between which their squares are then in range.
_RUN = 512
_RUN_OF_ONES = np.ones(_RUN, np.float32)
_SHORT_LOW, _SHORT_HIGH = 2.0**-40, 2.0**50

# Entries that `numpy.bincount` counts so fast that nobody minds its keeping Python's lock meanwhile.
SOON_COUNTED = 1 << 14

# Small tensors of several layers are tallied together, up to so many entries and layers: a call costs as much as some
# thousands of entries, and a table of counters for every layer has to stay in cache.
_TALLIED_ENTRIES, _MOST_TALLIED = 1 << 19, 16

# Sizes of blocks that are kept ready for: those of weights and of samples, whole ones and the last.
_SIZES = 8

# Buckets are at most 2^-5 of their value wide. Where the mean is further from 0 than this many standard deviations,
# they would be too coarse beside the spread, and values are counted about the mean instead.
_CONCENTRATED = 4


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and sum of squared deviations, the last two in units of `2^exponent` and `4^exponent`."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    exponent: int = 0

    def merged(self, other: Moments) -> Moments:
        """The moments of both sets together (Chan et al. 1983, pairwise updating)."""
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
        return _ldexp(self.mean, self.exponent)

    @property
    def variance(self) -> float:
        """Population variance in plain units; 0 or infinite where float64 cannot hold it."""
        return _ldexp(self.squares / self.count, 2 * self.exponent)

    @property
    def mean_square(self) -> float:
        """Second moment in plain units; 0 or infinite where float64 cannot hold it."""
        return _ldexp(self.squares / self.count + self.mean**2, 2 * self.exponent)

    @property
    def log10_variance(self) -> float:
        """log10 of the variance, also where float64 cannot hold the variance; -inf for equal entries."""
        if self.squares == 0:
            return -math.inf
        return math.log10(self.squares / self.count) + 2 * self.exponent * math.log10(2)


def _ldexp(value: float, exponent: int) -> float:
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)


class _Scratch(threading.local):
    """What a thread has to itself to overwrite: fresh pages from the system cost more than the arithmetic in them."""

    def __init__(self) -> None:
        self._held: dict[npt.DTypeLike, Array] = {}
        self.counter = lru_cache(_SIZES)(self._counter)

    def array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """The thread's one array of a dtype, in some shape."""
        size = math.prod(shape)
        if dtype not in self._held or self._held[dtype].size < size:
            self._held[dtype] = np.empty(size, dtype)
        return self._held[dtype][:size].reshape(shape)

    def _counter(self, tensors: int, entries: int, buckets: int) -> Any:
        """A matrix of ones in columns that are to be overwritten, a row each tensor: made dense, it counts them."""
        from scipy.sparse import csr_array

        keys = self.array((tensors * entries,), np.int32)
        keys[:] = 0
        ends = entries * np.arange(tensors + 1, dtype=np.int32)
        return csr_array((_ones(tensors * entries), keys, ends), shape=(tensors, buckets), copy=False)


@lru_cache(_SIZES)
def _ones(entries: int) -> Array:
    return np.ones(entries, np.int32)


_scratch = _Scratch()


def widen(block: Array) -> tuple[Array, int]:
    """A block in float64 and units of `2^exponent`, in which squares stay in range; good until the thread's next."""
    wide = _scratch.array(block.shape, np.float64)
    if block.dtype == np.float64:
        peak = max(-float(block.min()), float(block.max()))
        if not (_SAFE_LOW < peak < _SAFE_HIGH or peak == 0 or not math.isfinite(peak)):
            exponent = math.frexp(peak)[1]
            return np.ldexp(block, -exponent, out=wide), exponent
    np.copyto(wide, block)
    return wide, 0


def moments(rows: Array, peaks: Sequence[float]) -> list[Moments]:
    """Moments of each row of finite entries, up to its peak in magnitude: of float32 to some 1e-7, else to 1e-15."""
    short = [rows.dtype == np.float32 and _SHORT_LOW < peak < _SHORT_HIGH for peak in peaks]
    if not any(short):
        return [_wide_moments(row) for row in rows]
    return [
        _one_pass(row.size, *sums) if fits and not _cancels(row.size, *sums) else _wide_moments(row)
        for row, fits, sums in zip(rows, short, _sums(rows), strict=True)
    ]


def _sums(rows: Array) -> list[tuple[float, float]]:
    """Sums of float32 rows and of their squares: over each run in float32, which rounds little there; then wider."""
    cut = rows.shape[1] - rows.shape[1] % _RUN
    runs, rest = rows[:, :cut].reshape(-1, _RUN), rows[:, cut:].astype(np.float64)
    # By dot products, which are the same wherever a run lies.
    totals, squares = (
        np.vecdot(runs, other).reshape(len(rows), cut // _RUN).sum(axis=1, dtype=np.float64)
        for other in (_RUN_OF_ONES, runs)
    )
    return list(zip((totals + rest.sum(axis=1)).tolist(), (squares + np.vecdot(rest, rest)).tolist(), strict=True))


def _wide_moments(row: Array) -> Moments:
    """Moments in float64, in two passes where one would cancel."""
    entries, exponent = widen(row)
    # `dot` lets go of Python's lock, where `@` and `vecdot` of one row do not.
    total, squares = float(entries.sum()), float(np.dot(entries, entries))
    if _cancels(entries.size, total, squares):
        return _two_passes(entries, total / entries.size, exponent)
    return _one_pass(entries.size, total, squares, exponent)


def _cancels(count: int, total: float, squares: float) -> bool:
    """Most of the sum of squares is the mean's."""
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


_FLOAT_OF: dict[Any, Any] = {np.uint32: np.float32, np.uint64: np.float64}


@dataclass(frozen=True)
class Grid:
    """How values of a dtype are counted: the unsigned view of their pattern, shifted right."""

    pattern: type[np.unsignedinteger[Any]]
    shift: int
    size: int

    def moved(self, counts: Array, exponent: int) -> Array:
        """Counts of the same values times `2^exponent`; what becomes subnormal is counted next to 0."""
        keys = np.flatnonzero(counts)
        octave = 1 << (np.finfo(_FLOAT_OF[self.pattern]).nmant - self.shift)
        magnitude = keys & (self.size // 2 - 1)
        goal = np.where(magnitude >= octave, np.clip(magnitude + exponent * octave, 0, self.size // 2 - 1), magnitude)
        found = np.zeros_like(counts)
        np.add.at(found, goal | (keys & (self.size // 2)), counts[keys])
        return found


@lru_cache
def grid_of(dtype: np.dtype[Any], bits: int) -> Grid:
    """The grid with that many bits of mantissa."""
    exponent, mantissa = (8, 23) if dtype == np.float32 else (11, 52)
    return Grid(np.uint32 if dtype == np.float32 else np.uint64, mantissa - bits, 1 << (1 + exponent + bits))


def tallied_together(entries: int) -> int:
    """How many tensors of so many entries are tallied at a time."""
    return min(max(_TALLIED_ENTRIES // entries, 1), _MOST_TALLIED)


def count(stack: Array, grid: Grid) -> Array:
    """Occurrences of each bucket in each tensor of a stack, integers of shape `(tensors, grid.size)`."""
    counted = _counted_small if stack.size < SOON_COUNTED else _counted
    return counted(stack.view(grid.pattern).reshape(len(stack), -1), grid)


def _counted_small(patterns: Array, grid: Grid) -> Array:
    keys = (patterns >> grid.shift).astype(np.int64)
    return np.array([np.bincount(row, minlength=grid.size) for row in keys])


def _counted(patterns: Array, grid: Grid) -> Array:
    """By SciPy, which lets go of Python's lock meanwhile, and is faster; but it takes a tenth of a second to load."""
    counter = _scratch.counter(*patterns.shape, grid.size)
    np.right_shift(patterns.reshape(-1), grid.shift, out=counter.indices.view(np.uint32), casting="unsafe")
    counts: Array = counter.toarray(out=np.empty(counter.shape, np.int32))
    return counts


class Tally(NamedTuple):
    """Partial statistics of one block; `counts` are of `block - centre`, and None where an entry is not finite."""

    moments: Moments
    low: float
    high: float
    zeros: int
    infinite: int
    nan: int
    counts: Array | None


def tally(stack: Array, grid: Grid, centres: Sequence[float]) -> list[Tally]:
    """Statistics of each of some blocks of one shape, `(blocks, ...)`.

    Several at a time where they are small: a call costs as much, and Python's lock changes hands at every one.
    """
    rows = stack.reshape(len(stack), -1)
    lows, highs = rows.min(axis=1).tolist(), rows.max(axis=1).tolist()
    if not all(map(math.isfinite, lows + highs)):
        return [_alone(row, grid, centre) for row, centre in zip(rows, centres, strict=True)]
    about = rows - np.array(centres, rows.dtype)[:, None] if any(centres) else rows
    peaks = [max(-low, high) for low, high in zip(lows, highs, strict=True)]
    seen = zip(rows, moments(rows, peaks), lows, highs, count(about, grid), centres, strict=True)
    return [Tally(own, low, high, _zeros(row, counts, at), 0, 0, counts) for row, own, low, high, counts, at in seen]


def _alone(row: Array, grid: Grid, centre: float) -> Tally:
    """The tally of a block that may hold what is not finite."""
    return tally(row[None], grid, [centre])[0] if np.isfinite(row).all() else _void(row)


def _void(block: Array) -> Tally:
    infinite, nan = (int(np.count_nonzero(bad(block))) for bad in (np.isinf, np.isnan))
    return Tally(Moments(), 0, 0, 0, infinite, nan, None)


def _zeros(block: Array, counts: Array, centre: float) -> int:
    """Entries that are 0, looked for only where the buckets beside it are not empty."""
    may_hold_zeros = bool(centre) or counts[0] or counts[len(counts) // 2]
    return int(np.count_nonzero(block == 0)) if may_hold_zeros else 0


@dataclass(slots=True)
class Sketch:
    """The statistics of one tensor over blocks, batches and draws; mutable.

    Attributes:
        dtype: float32 or float64.
        bits: bits of mantissa that values are counted by.
        by_draw: moments of each finished or current draw.
        faint: the entries of some draw were carried scaled, and are truly all below the normal range of the dtype.
        huge: the same, and some are beyond its largest number.
        keys: the occupied buckets of the grid, in order of their values.
        counts: how many entries each of them holds.
    """

    dtype: np.dtype[Any]
    bits: int = COARSE
    by_draw: list[Moments] = field(default_factory=list)
    centre: float | None = None
    low: float = math.inf
    high: float = -math.inf
    zeros: int = 0
    infinite: int = 0
    nan: int = 0
    faint: bool = False
    huge: bool = False
    keys: Array = field(default_factory=lambda: np.empty(0, np.uint32))
    counts: Array = field(default_factory=lambda: np.empty(0, np.uint8))
    grid: Grid = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.grid = grid_of(self.dtype, self.bits)

    def begin_draw(self) -> None:
        """What follows belongs to another network."""
        self.by_draw.append(Moments())

    def add(
        self,
        tallies: Sequence[Tally],
        recount: Callable[[float], Iterable[Array]],
        exponent: int = 0,
        moments: Moments | None = None,
    ) -> None:
        """Merge the tallies of a tensor's blocks, in block order; the tensor is what they saw times `2^exponent`.

        `recount` counts the tensor's blocks anew about a centre; it is called once in a sketch's life, and only for
        values whose mean is far from 0 beside their spread. Given the `moments` of a tensor, the tallies are of a
        sample of it.
        """
        self.infinite += sum(t.infinite for t in tallies)
        self.nan += sum(t.nan for t in tallies)
        if self.nonfinite:
            return
        total = moments or reduce(Moments.merged, (t.moments for t in tallies))
        self.by_draw[-1] = self.by_draw[-1].merged(total.scaled(exponent))
        self._note_range(min(t.low for t in tallies), max(t.high for t in tallies), exponent)
        self.zeros += sum(t.zeros for t in tallies)
        counted = [t.counts for t in tallies if t.counts is not None]
        if exponent:
            self.centre = self.centre or 0.0
            self._add_counts([self.grid.moved(part, exponent) for part in counted])
            return
        first, self.centre = self.centre is None, self._chosen_centre(total)
        self._add_counts(recount(self.centre) if first and self.centre else counted)

    def note(self, total: Moments, low: float, high: float, zeros: int) -> None:
        """Take all of a tensor but its counts, which are then to be of its entries less the centre."""
        self.by_draw[-1] = self.by_draw[-1].merged(total)
        self._note_range(low, high, 0)
        self.zeros += zeros
        self.centre = self._chosen_centre(total)

    def _note_range(self, low: float, high: float, exponent: int) -> None:
        self.low, self.high = min(self.low, _ldexp(low, exponent)), max(self.high, _ldexp(high, exponent))
        peak = max(-low, high)
        if exponent and peak > 0:
            octave, limits = math.frexp(peak)[1] + exponent, np.finfo(self.dtype)
            self.faint |= octave <= limits.minexp
            self.huge |= octave > limits.maxexp

    def _chosen_centre(self, total: Moments) -> float:
        if self.centre is not None:
            return self.centre
        concentrated = 0 < _CONCENTRATED * math.sqrt(total.variance) < abs(total.true_mean)
        return float(self.dtype.type(total.true_mean)) if concentrated else 0.0

    def _add_counts(self, parts: Iterable[Array]) -> None:
        table, *others = parts
        if others or len(self.keys):
            table = reduce(lambda total, part: np.add(total, part, out=total), others, table.astype(np.int64))
            table[self.keys] += self.counts.astype(np.int64)
        keys = np.flatnonzero(table != 0)
        # By value: the negative numbers, whose keys are the larger ones and in order of magnitude, come first.
        first = int(np.searchsorted(keys, self.grid.size // 2))
        # Of thousands of layers there are tens of thousands of sketches, so both are as narrow as they can be.
        keys = np.concatenate((keys[first:][::-1], keys[:first]))
        counts = table[keys]
        self.keys, self.counts = keys.astype(np.uint32), counts.astype(np.min_scalar_type(counts.max(initial=0)))

    def add_keys(self, keys: Array) -> None:
        """Count buckets by their keys, in any order."""
        found, counts = np.unique(keys, return_counts=True)
        if len(self.keys):
            found, places = np.unique(np.concatenate((self.keys, found)), return_inverse=True)
            counts = np.bincount(places, weights=np.concatenate((self.counts, counts))).astype(np.int64)
        first = int(np.searchsorted(found, self.grid.size // 2))
        self.keys = np.concatenate((found[first:][::-1], found[:first])).astype(np.uint32)
        counts = np.concatenate((counts[first:][::-1], counts[:first]))
        self.counts = counts.astype(np.min_scalar_type(counts.max(initial=0)))

    @property
    def nonfinite(self) -> int:
        """Entries that are infinite or NaN; with any, the other statistics are void."""
        return self.infinite + self.nan

    @property
    def is_zero(self) -> bool:
        """Every entry was 0."""
        return self.peak == 0 and not self.faint

    @property
    def total(self) -> int:
        """Entries counted."""
        return int(self.counts.sum(dtype=np.int64))

    @property
    def peak(self) -> float:
        """The largest magnitude."""
        return max(-self.low, self.high)


def is_plain(low: float, high: float) -> bool:
    """Entries between these are finite, and their squares in the range of float64."""
    peak = max(-low, high)
    return math.isfinite(low) and math.isfinite(high) and (peak == 0 or _SAFE_LOW < peak < _SAFE_HIGH)
