"""The statistics of one block of a tensor, and a histogram that needs no range in advance.

A tensor arrives in blocks. Each becomes a `Tally`, in the thread that has it in cache. Tallies are merged into a
`Sketch` in the order of the blocks. So the result does not depend on the threads.

Values are counted by the leading bits of their floating-point pattern: sign, exponent and 5 bits of mantissa. So
buckets are 3% wide, fit any range, and are re-binned at the end. Outputs in float32 have 7 bits of mantissa. Many of
their values lie close to the bounds of the activation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.engine import magnitudes
from initprobe.engine.moments import Moments, moments, scratch
from initprobe.importing import loaded_alone

COARSE, FINE = 5, 7

# `numpy.bincount` keeps Python's lock. Fewer entries than this it counts so fast that other threads hardly wait.
SOON_COUNTED = 1 << 14

# Small tensors of several layers are tallied together, up to so many entries and layers. A call costs as much as some
# thousands of entries. But the counters of all these layers must stay in cache.
_TALLIED_ENTRIES, _MOST_TALLIED = 1 << 19, 16

_SIZES = 8  # of blocks: of weights and of samples, whole ones and the last ones

_FLOAT_OF: dict[Any, Any] = {np.uint32: np.float32, np.uint64: np.float64}


class Grid(NamedTuple):
    """How values of a dtype are counted: by the unsigned view of their pattern, shifted right.

    Attributes:
        pattern: the unsigned integer type.
        shift: bits that are dropped.
        size: number of buckets.
        has_magnitudes: magnitudes are counted too, for the small formats.
    """

    pattern: type[np.unsignedinteger[Any]]
    shift: int
    size: int
    has_magnitudes: bool = False

    def moved(self, counts: Array, exponent: int) -> Array:
        """Counts of the same values times `2^exponent`; values that become subnormal are counted next to 0.

        Args:
            counts: `(..., size)`.
            exponent: of the power of two.

        Returns:
            Counts of the same shape.
        """
        keys = np.flatnonzero(counts)
        octave = 1 << (np.finfo(_FLOAT_OF[self.pattern]).nmant - self.shift)
        magnitude = keys & (self.size // 2 - 1)
        goal = np.where(magnitude >= octave, np.clip(magnitude + exponent * octave, 0, self.size // 2 - 1), magnitude)
        moved = np.zeros_like(counts)
        np.add.at(moved, goal | (keys & (self.size // 2)), counts[keys])
        return moved


@lru_cache
def grid_of(dtype: np.dtype[Any], bits: int, has_magnitudes: bool = False) -> Grid:
    """The grid of a dtype with so many bits of mantissa.

    Args:
        dtype: of the entries.
        bits: of mantissa that a bucket keeps.
        has_magnitudes: count without signs.
    """
    exponent, mantissa = (8, 23) if dtype == np.float32 else (11, 52)
    pattern: Any = np.uint32 if dtype == np.float32 else np.uint64
    return Grid(pattern, mantissa - bits, 1 << (1 + exponent + bits), has_magnitudes)


def tallied_together(entries: int) -> int:
    """How many tensors of so many entries are tallied together."""
    return min(max(_TALLIED_ENTRIES // entries, 1), _MOST_TALLIED)


def count(stack: Array, grid: Grid) -> Array:
    """How often each bucket occurs in each tensor of a stack: integers, `(tensors, grid.size)`.

    Args:
        stack: tensors, `(tensors, entries)`.
        grid: of their dtype.
    """
    by_numpy = add_to_buckets is None or stack.size < SOON_COUNTED
    counted = _counted_by_numpy if by_numpy else _counted_by_scipy
    return counted(stack.view(grid.pattern).reshape(len(stack), -1), grid)


def _counted_by_numpy(patterns: Array, grid: Grid) -> Array:
    keys = scratch.array(patterns.shape, np.float64).view(np.int64)  # the moments, taken before, had this memory
    np.right_shift(patterns, grid.shift, out=keys, casting="unsafe")
    counts = np.empty((len(keys), grid.size), np.int32)
    for row, own in zip(keys, counts, strict=True):
        own[:] = np.bincount(row, minlength=grid.size)
    return counts


def _counted_by_scipy(patterns: Array, grid: Grid) -> Array:
    """Each entry is a 1 of a sparse matrix, in the column of its bucket. The dense matrix holds their sums."""
    tensors, entries = patterns.shape
    columns = scratch.array((patterns.size,), np.int32)
    np.right_shift(patterns.reshape(-1), grid.shift, out=columns.view(np.uint32), casting="unsafe")
    counts = np.zeros((tensors, grid.size), np.int32)
    assert add_to_buckets is not None
    add_to_buckets(tensors, grid.size, _row_ends(tensors, entries), columns, _ones(patterns.size), counts)
    return counts


@lru_cache(_SIZES)
def _row_ends(tensors: int, entries: int) -> Array:
    return entries * np.arange(tensors + 1, dtype=np.int32)


@lru_cache(_SIZES)
def _ones(entries: int) -> Array:
    return np.ones(entries, np.int32)


def _compiled_adder() -> Callable[..., None] | None:
    """The function of SciPy that makes a sparse matrix dense, without `scipy.sparse`; None where SciPy has moved it.

    It takes 0.41 ns per entry and releases Python's lock; `numpy.bincount` takes 1.16 ns. The first command of the
    README counts 100 million entries. The compiled file loads in 0.3 ms, `scipy.sparse` in 70 ms.
    """
    name = "scipy.sparse._sparsetools"
    adder: Callable[..., None] | None = getattr(loaded_alone(name), "csr_todense", None)
    return adder


# Found once, when this file is imported: two threads may not load a compiled file at once.
add_to_buckets = _compiled_adder()


class Tally(NamedTuple):
    """The statistics of one block.

    Attributes:
        moments: of its entries.
        low: the smallest entry.
        high: the largest entry.
        zeros: entries that are 0.
        infinite: entries that are infinite; with any, or any NaN, all else is void.
        nan: entries that are NaN.
        counts: of `block - centre` in the buckets; None where an entry is not finite.
        magnitudes: `magnitudes.table` of the block; None where it was not asked for, or an entry is not finite.
    """

    moments: Moments
    low: float
    high: float
    zeros: int
    infinite: int
    nan: int
    counts: Array | None
    magnitudes: Array | None = None


def tally(stack: Array, grid: Grid, centres: Sequence[float]) -> list[Tally]:
    """The tallies of several blocks of one shape, which saves calls where blocks are small.

    Args:
        stack: `(blocks, ...)`.
        grid: of the counts.
        centres: what is subtracted from each block before it is counted.
    """
    rows = stack.reshape(len(stack), -1)
    lows, highs = rows.min(axis=1).tolist(), rows.max(axis=1).tolist()
    if not all(map(math.isfinite, lows + highs)):
        return [_alone(row, grid, centre) for row, centre in zip(rows, centres, strict=True)]
    centred = rows - np.array(centres, rows.dtype)[:, None] if any(centres) else rows
    peaks = [max(-low, high) for low, high in zip(lows, highs, strict=True)]
    sizes = map(magnitudes.table, rows) if grid.has_magnitudes else [None] * len(rows)
    each = zip(rows, moments(rows, peaks), lows, highs, count(centred, grid), centres, sizes, strict=True)
    return [
        Tally(own, low, high, _zeros(row, counts, at), 0, 0, counts, sized)
        for row, own, low, high, counts, at, sized in each
    ]


def _alone(row: Array, grid: Grid, centre: float) -> Tally:
    """The tally of a block that may hold what is not finite."""
    return tally(row[None], grid, [centre])[0] if np.isfinite(row).all() else _void(row)


def _void(block: Array) -> Tally:
    infinite, nan = (int(np.count_nonzero(bad(block))) for bad in (np.isinf, np.isnan))
    return Tally(Moments(), 0, 0, 0, infinite, nan, None)


def _zeros(block: Array, counts: Array, centre: float) -> int:
    """How many entries are 0; they are compared only where the buckets next to 0 are not empty."""
    may_hold_zeros = bool(centre) or counts[0] or counts[len(counts) // 2]
    return int(np.count_nonzero(block == 0)) if may_hold_zeros else 0
