"""Statistics of many small tensors of one size at a time: for these, NumPy's calls cost more than the arithmetic."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from initprobe.arrays import Array
from initprobe.engine.buckets import Grid
from initprobe.engine.layer_record import Directions
from initprobe.engine.moments import Moments, is_plain, scratch
from initprobe.engine.sketch import CONCENTRATED, Sketch

_UPPER = 1 if sys.byteorder == "little" else 0  # which half of a pattern holds its leading bits


def add_many(sketches: Sequence[Sketch], rows: Array) -> list[bool]:
    """Add one row of entries to each of several sketches.

    Args:
        sketches: different sketches of one grid; each has begun the draw that its row belongs to.
        rows: the entries, `(sketches, entries)`, in the dtype of the sketches.

    Returns:
        Whether each row was added. A row is not added if an entry is not finite, or if its square leaves the range
        of float64.
    """
    lows, highs = rows.min(axis=1).tolist(), rows.max(axis=1).tolist()
    added = list(map(is_plain, lows, highs))
    if all(added):
        _add(sketches, rows, lows, highs)
    elif any(added):
        kept = [index for index, fits in enumerate(added) if fits]
        _add([sketches[k] for k in kept], rows[kept], [lows[k] for k in kept], [highs[k] for k in kept])
    return added


def _add(sketches: Sequence[Sketch], rows: Array, lows: Sequence[float], highs: Sequence[float]) -> None:
    entries = rows.shape[1]
    means, squares = _moments(rows)
    new_centres = _new_centres(means, squares, rows).tolist()
    numbers = zip(sketches, means.tolist(), squares.tolist(), lows, highs, _zeros(rows), new_centres, strict=True)
    for sketch, mean, square, low, high, zero, centre in numbers:
        sketch.add_all_but_counts(Moments(entries, mean, square), low, high, zero, centre)
    centres = [sketch.centre or 0.0 for sketch in sketches]
    _count(sketches, rows - np.array(centres, rows.dtype)[:, None] if any(centres) else rows)


def _moments(rows: Array) -> tuple[Array, Array]:
    """Means, and sums of squared deviations from them, of each row."""
    wide = scratch.array(rows.shape, np.float64)
    np.copyto(wide, rows)
    means = wide.mean(axis=1)
    wide -= means[:, None]
    return means, np.vecdot(wide, wide)


def _new_centres(means: Array, squares: Array, rows: Array) -> Array:
    """What is subtracted from each row: its mean where that is far from 0 beside the spread, else 0."""
    spreads = CONCENTRATED * np.sqrt(squares / rows.shape[1])
    is_concentrated = (spreads > 0) & (spreads < np.abs(means))
    return np.where(is_concentrated, means.astype(rows.dtype), rows.dtype.type(0))


def _zeros(rows: Array) -> list[int]:
    """How many entries of each row are 0."""
    is_zero = np.equal(rows, 0, out=scratch.array(rows.shape, np.bool_))
    if not is_zero.any():
        return [0] * len(rows)
    if rows.shape[1] % 8:
        return [int(np.count_nonzero(row)) for row in is_zero]
    # Eight at a time: NumPy's own count along an axis takes three times as long.
    zeros: list[int] = np.bitwise_count(is_zero.view(np.uint64)).sum(axis=1, dtype=np.int64).tolist()
    return zeros


def _count(sketches: Sequence[Sketch], rows: Array) -> None:
    """Count the entries of each row in buckets."""
    grid = sketches[0].grid
    fresh = [index for index, sketch in enumerate(sketches) if not len(sketch.keys)]
    if len(fresh) < len(sketches):
        for index in set(range(len(sketches))) - set(fresh):
            sketches[index].add_keys(rows[index].view(grid.pattern) >> grid.shift)
        rows = rows[fresh]
    if not fresh:
        return
    occupied, counts, ends = _occupied(rows, grid)
    start = 0
    for index, end in zip(fresh, ends, strict=True):
        sketch = sketches[index]
        sketch.keys, sketch.counts = occupied[start:end], counts[start:end]
        start = end


def _occupied(rows: Array, grid: Grid) -> tuple[Array, Array, list[int]]:
    """The occupied buckets of each row in order of their values, how many entries each holds, and where rows end."""
    ordered, dropped = _ordered(rows, grid)
    is_first = scratch.array(ordered.shape, np.bool_)
    is_first[:, 0] = True
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=is_first[:, 1:])
    starts = np.flatnonzero(is_first)
    occupied = ordered.reshape(-1).take(starts)
    occupied ^= ~_sign_and_below(occupied) | _sign(occupied)  # which undoes the order
    occupied >>= occupied.dtype.type(dropped)
    counts = np.empty(len(starts), np.min_scalar_type(ordered.shape[1]))
    np.subtract(starts[1:], starts[:-1], out=counts[:-1], casting="unsafe")
    counts[-1] = ordered.size - starts[-1]
    # Every row begins with a first key, so a row ends where the next one starts.
    ends = np.searchsorted(starts, np.arange(1, len(ordered)) * ordered.shape[1]).tolist()
    return occupied, counts, [*ends, len(starts)]


def _ordered(rows: Array, grid: Grid) -> tuple[Array, int]:
    """The sorted keys of each row, which ascend with their values, and by how many bits to shift them.

    A key is in the leading half of a pattern, and half the size is sorted in half the time. Of negative numbers, whose
    patterns descend, all bits are turned round; of the others the sign alone.
    """
    half = np.dtype(f"u{rows.itemsize // 2}")
    keys = scratch.array(rows.shape, half.type)
    dropped = grid.shift - 8 * half.itemsize
    np.bitwise_and(rows.view(half)[:, _UPPER::2], half.type(-1 << dropped & (1 << 8 * half.itemsize) - 1), out=keys)
    keys ^= _sign_and_below(keys) | _sign(keys)
    keys.sort(axis=1)
    return keys, dropped


def _sign(keys: Array) -> Array:
    """The bit of the sign."""
    sign: Array = keys.dtype.type(1 << (8 * keys.itemsize - 1))
    return sign


def _sign_and_below(keys: Array) -> Array:
    """All bits where the bit of the sign is set, else none."""
    spread: Array = (keys.view(f"i{keys.itemsize}") >> (8 * keys.itemsize - 1)).view(keys.dtype)
    return spread


def mean_cosines(stack: Array) -> list[float | None]:
    """The mean cosine over all pairs of different rows of each of several arrays, `(arrays, rows, columns)`.

    Squares of the entries are in the range of float64. The cosine is None with fewer than two rows that have a
    direction.
    """
    wide = scratch.array(stack.shape, np.float64)
    np.copyto(wide, stack)
    norms = np.sqrt(np.vecdot(wide, wide))
    has_direction = norms > 0
    inverse = np.divide(1, norms, out=np.zeros_like(norms), where=has_direction)
    counts = has_direction.sum(axis=1).tolist()
    return [
        Directions(np.dot(scales, rows), count).mean_cosine()
        for scales, rows, count in zip(inverse, wide, counts, strict=True)
    ]
