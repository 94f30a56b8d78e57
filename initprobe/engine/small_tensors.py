"""Statistics of many small tensors of one size at a time: for these, NumPy's calls cost more than the arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from initprobe.arrays import Array
from initprobe.engine.buckets import Grid
from initprobe.engine.layer_record import Directions
from initprobe.engine.moments import Moments, is_plain
from initprobe.engine.sketch import CONCENTRATED, Sketch


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
    wide = rows.astype(np.float64)
    means = wide.mean(axis=1)
    wide -= means[:, None]
    squares = np.vecdot(wide, wide)
    is_zero = rows == 0
    zeros = np.count_nonzero(is_zero, axis=1).tolist() if is_zero.any() else [0] * len(rows)
    spreads = CONCENTRATED * np.sqrt(squares / entries)
    is_concentrated = (spreads > 0) & (spreads < np.abs(means))
    new_centres = np.where(is_concentrated, means.astype(rows.dtype), rows.dtype.type(0)).tolist()
    moments = [Moments(entries, *pair) for pair in zip(means.tolist(), squares.tolist(), strict=True)]
    for sketch, total, low, high, zero, centre in zip(sketches, moments, lows, highs, zeros, new_centres, strict=True):
        sketch.add_all_but_counts(total, low, high, zero, centre)
    centres = [sketch.centre or 0.0 for sketch in sketches]
    about = rows - np.array(centres, rows.dtype)[:, None] if any(centres) else rows
    grid = sketches[0].grid
    _count(sketches, about.view(grid.pattern) >> grid.shift, grid)


def _count(sketches: Sequence[Sketch], keys: Array, grid: Grid) -> None:
    """Count the bucket keys of each row, `(sketches, entries)`."""
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
        sketch = sketches[index]
        sketch.keys, sketch.counts = occupied[start:end], counts[start:end]
        start = end


def _occupied(keys: Array, grid: Grid) -> tuple[Array, Array, Array]:
    """The occupied buckets of each row in order of their values, how many keys each holds, and where rows end."""
    ordered = _by_value(keys.astype(np.uint32, copy=False), grid)
    ordered.sort(axis=1)
    is_first = np.ones(ordered.shape, bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=is_first[:, 1:])
    starts = np.flatnonzero(is_first)
    occupied = _by_value(ordered.reshape(-1)[starts], grid, back=True)
    counts = np.empty(len(starts), np.min_scalar_type(ordered.shape[1]))
    np.subtract(starts[1:], starts[:-1], out=counts[:-1], casting="unsafe")
    counts[-1] = ordered.size - starts[-1]
    # Every row begins with a first key, so a row ends where the next one starts.
    ends = np.append(np.searchsorted(starts, np.arange(1, len(ordered)) * ordered.shape[1]), len(starts))
    return occupied, counts, ends


def _by_value(keys: Array, grid: Grid, back: bool = False) -> Array:
    """Keys changed so that they ascend with their values: negative numbers have the larger keys, in order of size.

    The upper half of the keys is turned round, and then the halves are exchanged; `back` undoes it.
    """
    half, every = np.uint32(grid.size // 2), np.uint32(grid.size - 1)
    is_upper = keys >> np.uint32(grid.size.bit_length() - 2)
    if back:
        is_upper ^= np.uint32(1)
    turned: Array = keys ^ (np.negative(is_upper) & every | half)
    return turned


def mean_cosines(stack: Array) -> list[float | None]:
    """The mean cosine over all pairs of different rows of each of several arrays, `(arrays, rows, columns)`.

    Squares of the entries are in the range of float64. The cosine is None with fewer than two rows that have a
    direction.
    """
    wide = stack.astype(np.float64)
    norms = np.sqrt(np.vecdot(wide, wide))
    has_direction = norms > 0
    inverse = np.divide(1, norms, out=np.zeros_like(norms), where=has_direction)
    counts = has_direction.sum(axis=1).tolist()
    return [
        Directions(np.dot(scales, rows), count).mean_cosine()
        for scales, rows, count in zip(inverse, wide, counts, strict=True)
    ]
