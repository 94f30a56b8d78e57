"""The weight gradient `dL/dW = h' delta` of a batch, and its statistics.

Where the batch is smaller than the layer is wide, mean and variance need no product of that size:
`|h' delta|^2 = sum((h h') * (delta delta'))`, and the sum of all entries is the product of row sums. Percentiles,
extremes and the histogram are then of some rows.
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
from initprobe.engine.sketch import Sketch
from initprobe.engine.threads import Workers, row_blocks, tallied_blocks

# Rows of dL/dW that stand for all of it: those of so many input units.
SAMPLED_ROWS = 128
# Rows of h h' made at a time; of those beside the diagonal, one of each pair.
_GRAM_ROWS = 256
# Share of the full product's operations from which the shorter way is not worth its loss of detail.
_WORTHWHILE = 0.75
# Beyond these the products of products leave the range of float32.
_SAFE_LOW, _SAFE_HIGH = 2.0**-40, 2.0**40
# Digits, as a factor, that may cancel in the sum of products before it is taken the long way.
_MOST_CANCELLED = 2.0**10
# How far, as a factor, the mean square of the sampled rows may lie from that of all.
_MOST_UNLIKE = 2.0


def is_sampled(batch: int, fan_in: int, fan_out: int) -> bool:
    """The shorter way is worth while for a batch of so many samples."""
    grams = (batch + _GRAM_ROWS) / 2 * (fan_in + fan_out) / (fan_in * fan_out)
    return grams + SAMPLED_ROWS / fan_in <= _WORTHWHILE


def add_weight_gradient(h_in: Array, delta: Array, total: Array, workers: Workers) -> None:
    """Put off adding `h_{l-1}' dL/dz_l` to `total`, of the shape of `W_l`."""

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
) -> None:
    """Put off `dL/dW_l = h_{l-1}' dL/dz_l` of a single batch and its statistics, of some layers of one shape.

    Each `delta` is `2^-exponent` of dL/dz.
    """
    gradients = np.empty((len(delta), h_in[0].shape[1], delta[0].shape[1]), delta[0].dtype)
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
    """The same of one layer, not made whole: the `rows` of dL/dW stand for all but mean and variance."""
    some = np.empty((len(rows), delta.shape[1]), delta.dtype)
    tallies: list[Tally] = []

    def work(block: slice | None) -> _Sums | None:
        if block is not None:
            return _sums(h_in, delta, block)
        np.matmul(h_in[:, rows].T, delta, out=some)
        tallies.extend(part for (part,) in tallied(some[None], slice(0, len(some)), [sketch], [exponent]))
        return None

    def add(sums: list[_Sums | None]) -> None:
        moments = _moments(h_in, delta, [part for part in sums if part is not None])
        if moments is None or _is_unlike(tallies, moments):
            weight_gradients([h_in], [delta], [sketch], Workers(0), [exponent])
        else:
            merge(sketch, some, tallies, exponent, moments)

    starts = range(0, len(delta), _GRAM_ROWS)
    workers.later(work, [None, *(slice(start, min(start + _GRAM_ROWS, len(delta))) for start in starts)], add)


def _is_unlike(tallies: Sequence[Tally], whole: Moments) -> bool:
    """The rows that were picked are no picture of all: few inputs of an otherwise silent layer are."""
    sample = reduce(Moments.merged, (part.moments for part in tallies))
    return not whole.mean_square / _MOST_UNLIKE <= sample.mean_square <= _MOST_UNLIKE * whole.mean_square


class _Sums(NamedTuple):
    """What a block of samples adds to sums over the entries of dL/dW."""

    entries: float
    squares: float
    magnitudes: float


def _sums(h: Array, delta: Array, block: slice) -> _Sums:
    """Of the pairs of samples of which the first is in `block` and the other is not before it."""
    products = np.multiply(*(np.matmul(a[block], a[block.start :].T) for a in (h, delta)), dtype=np.float64)
    size = block.stop - block.start
    own, others = products[:, :size], products[:, size:]
    entries = h[block].sum(axis=1, dtype=np.float64) @ delta[block].sum(axis=1, dtype=np.float64)
    squares = float(own.sum()) + 2 * float(others.sum())
    return _Sums(float(entries), squares, float(np.abs(own).sum()) + 2 * float(np.abs(others).sum()))


def _moments(h: Array, delta: Array, sums: Sequence[_Sums]) -> Moments | None:
    """Moments of all entries of dL/dW; None where float32 or cancellation would spoil them."""
    entries, squares, magnitudes = (math.fsum(column) for column in zip(*sums, strict=True))
    peaks = [max(-float(array.min()), float(array.max())) for array in (h, delta)]
    count = h.shape[1] * delta.shape[1]
    mean = entries / count
    centred = squares - count * mean * mean
    if min(peaks) == 0:
        return Moments(count)  # as it should be: nothing comes in, or nothing goes back
    safe = all(_SAFE_LOW < peak < _SAFE_HIGH for peak in peaks)
    return Moments(count, mean, centred) if safe and centred * _MOST_CANCELLED > magnitudes else None
