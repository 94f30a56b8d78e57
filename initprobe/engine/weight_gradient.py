"""The weight gradient `dL/dW = h' delta` of a batch, and its statistics; delta is dL/dy, `(batch, fan_out)`.

Where the batch is much smaller than the layer, mean and variance need no product of the size of W. `|h' delta|^2 =
sum((h h') * (delta delta'))`, and the sum of all entries is the product of row sums. Percentiles, extremes and the
histogram are then measured on a sample of rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.engine.buckets import Tally
from initprobe.engine.layer_record import merge, merge_each, tallied
from initprobe.engine.moments import Moments
from initprobe.engine.products import has_equal_columns, multiplier
from initprobe.engine.room import Room
from initprobe.engine.sketch import Sketch
from initprobe.engine.threads import Workers, row_blocks, tallied_blocks

# Rows of dL/dW in a sample, each of one input unit.
SAMPLED_ROWS = 128
# Rows of h h' computed at a time; beside the diagonal, one entry of each symmetric pair.
GRAM_ROWS = 256
# Sampling is used where it takes less than this share of the operations of the full product.
_WORTHWHILE = 0.75
# Outside these limits the products of products leave the range of float32.
_SAFE_LOW, _SAFE_HIGH = 2.0**-40, 2.0**40
# Largest factor by which the sum of products may cancel; beyond it the full product is computed.
_MOST_CANCELLED = 2.0**10
# Largest factor between the mean square of the sampled rows and that of all rows.
_MOST_DIFFERENT = 2.0


def is_sampled(batch: int, fan_in: int, fan_out: int) -> bool:
    """True if sampling saves enough operations, for a batch of so many samples.

    Args:
        batch: samples.
        fan_in, fan_out: rows and columns of dL/dW.
    """
    grams = (batch + GRAM_ROWS) / 2 * (fan_in + fan_out) / (fan_in * fan_out)
    return grams + SAMPLED_ROWS / fan_in <= _WORTHWHILE


def add_weight_gradient(h_in: Array, delta: Array, total: Array, workers: Workers) -> None:
    """Add `h_{l-1}' dL/dy_l` to `total` later.

    Args:
        h_in: the input of the layer, `(batch, fan_in)`.
        delta: dL/dy, `(batch, fan_out)`.
        total: the sum so far, `(fan_in, fan_out)`.
        workers: which do it later; both factors must stay until they `finish`.
    """

    write_product = multiplier(delta, has_equal_columns(h_in))

    def work(rows: slice) -> None:
        part = np.empty_like(total[rows])
        write_product(h_in[:, rows].T, part)
        total[rows] += part

    workers.later(work, row_blocks(*total.shape), lambda _: None)


def weight_gradients(
    h_in: Sequence[Array],
    delta: Sequence[Array],
    sketches: Sequence[Sketch],
    workers: Workers,
    exponents: Sequence[int],
    room: Room | None = None,
) -> None:
    """Put off dL/dW of a single batch and its statistics, for some layers of one shape.

    Args:
        h_in: input of each layer, `(batch, fan_in)`.
        delta: dL/dy of each layer times 2^-exponent, `(batch, fan_out)`.
        sketches: of dL/dW of each layer.
        workers: the threads.
        exponents: of each layer.
        room: memory for dL/dW; None for new memory.
    """
    shape = len(delta), h_in[0].shape[1], delta[0].shape[1]
    gradients = (room or Room()).empty(shape, delta[0].dtype)
    write_products = [multiplier(d, has_equal_columns(h)) for h, d in zip(h_in, delta, strict=True)]

    def work(rows: slice) -> list[list[Tally]]:
        for h, write_product, gradient in zip(h_in, write_products, gradients, strict=True):
            write_product(h[:, rows].T, gradient[rows])
        return tallied(gradients, rows, sketches, exponents)

    def add(blocks: list[list[list[Tally]]]) -> None:
        merge_each(sketches, gradients, [part for block in blocks for part in block], exponents)

    workers.later(work, tallied_blocks(*gradients.shape[1:]), add)


def sampled_weight_gradient(
    h_in: Array, delta: Array, sketch: Sketch, workers: Workers, exponent: int, rows: Array
) -> None:
    """Put off the statistics of dL/dW of one layer. Mean and variance are of all entries, the rest of a sample of rows.

    Args:
        h_in: input of the layer, `(batch, fan_in)`.
        delta: dL/dy times 2^-exponent, `(batch, fan_out)`.
        sketch: of dL/dW.
        workers: the threads.
        exponent: of the unit of `delta`.
        rows: the sample, as indices of input units.
    """
    sampled_rows = np.empty((len(rows), delta.shape[1]), delta.dtype)
    tallies: list[Tally] = []

    def work(block: slice | None) -> _Sums | None:
        if block is not None:
            return _sums(h_in, delta, block)
        np.matmul(h_in[:, rows].T, delta, out=sampled_rows)
        parts = tallied(sampled_rows[None], slice(0, len(sampled_rows)), [sketch], [exponent])
        tallies.extend(part for (part,) in parts)
        return None

    def add(sums: list[_Sums | None]) -> None:
        moments = _moments(h_in, delta, [part for part in sums if part is not None])
        if moments is None or _is_unrepresentative(tallies, moments):
            weight_gradients([h_in], [delta], [sketch], Workers(0), [exponent])
        else:
            merge(sketch, sampled_rows, tallies, exponent, moments)

    starts = range(0, len(delta), GRAM_ROWS)
    workers.later(work, [None, *(slice(start, min(start + GRAM_ROWS, len(delta))) for start in starts)], add)


def _is_unrepresentative(tallies: Sequence[Tally], whole: Moments) -> bool:
    """True if the sample does not represent all rows, as where few input units are not silent."""
    sample = reduce(Moments.merged, (part.moments for part in tallies))
    return not whole.mean_square / _MOST_DIFFERENT <= sample.mean_square <= _MOST_DIFFERENT * whole.mean_square


class _Sums(NamedTuple):
    """What a block of samples adds to the sums over the entries of dL/dW: of entries, squares and magnitudes."""

    entries: float
    squares: float
    magnitudes: float


def _sums(h: Array, delta: Array, block: slice) -> _Sums:
    """The sums over the pairs of samples whose first is in `block` and whose second is not before it."""
    products = np.multiply(*(np.matmul(a[block], a[block.start :].T) for a in (h, delta)), dtype=np.float64)
    size = block.stop - block.start
    own, others = products[:, :size], products[:, size:]
    entries = h[block].sum(axis=1, dtype=np.float64) @ delta[block].sum(axis=1, dtype=np.float64)
    squares = float(own.sum()) + 2 * float(others.sum())
    return _Sums(float(entries), squares, float(np.abs(own).sum()) + 2 * float(np.abs(others).sum()))


def _moments(h: Array, delta: Array, sums: Sequence[_Sums]) -> Moments | None:
    """Moments of all entries of dL/dW; None where the range of float32 or cancellation would make them wrong."""
    entries, squares, magnitudes = (math.fsum(column) for column in zip(*sums, strict=True))
    peaks = [max(-float(array.min()), float(array.max())) for array in (h, delta)]
    count = h.shape[1] * delta.shape[1]
    mean = entries / count
    centred = squares - count * mean * mean
    if min(peaks) == 0:
        return Moments(count)  # truly 0: no input, or no gradient
    safe = all(_SAFE_LOW < peak < _SAFE_HIGH for peak in peaks)
    return Moments(count, mean, centred) if safe and centred * _MOST_CANCELLED > magnitudes else None
