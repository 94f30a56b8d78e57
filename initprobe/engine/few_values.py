"""Statistics of many small tensors of one size at a time: calls cost more than entries, so buckets come from a sort."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from initprobe.arrays import Array
from initprobe.engine.buckets import Grid
from initprobe.engine.moments import Moments, is_plain
from initprobe.engine.sketch import Sketch


def add_many(sketches: Sequence[Sketch], rows: Array) -> list[bool]:
    """Add one row to each of several sketches.

    Args:
        sketches: different ones, with one grid.
        rows: `(sketches, entries)`.

    Returns:
        For each row, whether it was added. Rows with entries that are not finite, or whose squares leave the range of
        float64, are not.
    """
    lows, highs = rows.min(axis=1).tolist(), rows.max(axis=1).tolist()
    added = [is_plain(low, high) for low, high in zip(lows, highs, strict=True)]
    kept = [index for index, fits in enumerate(added) if fits]
    if kept:
        chosen = rows if len(kept) == len(rows) else rows[kept]
        _add([sketches[at] for at in kept], chosen, [lows[at] for at in kept], [highs[at] for at in kept])
    return added


def _add(sketches: Sequence[Sketch], rows: Array, lows: Sequence[float], highs: Sequence[float]) -> None:
    wide = rows.astype(np.float64)
    means = wide.mean(axis=1)
    wide -= means[:, None]
    squares = np.vecdot(wide, wide).tolist()
    zeros = np.count_nonzero(rows == 0, axis=1).tolist()
    entries = rows.shape[1]
    for sketch, mean, square, low, high, zero in zip(
        sketches, means.tolist(), squares, lows, highs, zeros, strict=True
    ):
        sketch.add_all_but_counts(Moments(entries, mean, square), low, high, zero)
    centres = [sketch.centre or 0.0 for sketch in sketches]
    centred = rows - np.array(centres, rows.dtype)[:, None] if any(centres) else rows
    grid = sketches[0].grid
    _count(sketches, centred.view(grid.pattern) >> grid.shift, grid)


def _count(sketches: Sequence[Sketch], keys: Array, grid: Grid) -> None:
    fresh = [index for index, sketch in enumerate(sketches) if not len(sketch.keys)]
    if len(fresh) < len(sketches):
        for index in set(range(len(sketches))) - set(fresh):
            sketches[index].add_keys(keys[index])
        keys = keys[fresh]
    if not fresh:
        return
    occupied, counts, ends = _occupied(keys, grid)
    start = 0
    for index, end in zip(fresh, ends.tolist(), strict=True):
        sketches[index].keys, sketches[index].counts = occupied[start:end], counts[start:end]
        start = end


def _occupied(keys: Array, grid: Grid) -> tuple[Array, Array, Array]:
    """The occupied buckets of each row in the order of values, the count of each, and where each row ends."""
    narrow = np.min_scalar_type(grid.size - 1).type
    half, every = narrow(grid.size // 2), narrow(grid.size - 1)
    keys = keys.astype(narrow)
    # Sorted by value: negative numbers come first. Their keys are the larger ones, in the order of magnitude.
    ordered = keys ^ np.where(keys < half, half, every)
    ordered.sort(axis=1, kind="stable")  # a radix sort for keys of 16 bits
    first = np.ones(ordered.shape, bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=first[:, 1:])
    starts = np.flatnonzero(first)
    values = ordered.reshape(-1)[starts]
    occupied = (values ^ np.where(values < half, every, half)).astype(np.uint32)
    counts = np.diff(starts, append=ordered.size).astype(np.min_scalar_type(ordered.shape[1]))
    return occupied, counts, np.cumsum(np.count_nonzero(first, axis=1))
