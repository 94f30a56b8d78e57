"""From a PyTorch tensor to the statistics that every result has. Only this file of the room uses the engine.

A tensor is measured while it exists, block by block, by the code that measures a NumPy layer. No tensor is kept. Small
tensors are copied and measured together, because for these the calls cost more than the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import fmean
from typing import Any

import numpy as np
import torch

from initprobe.arrays import Array
from initprobe.engine.buckets import COARSE, FINE, Tally, count, tally
from initprobe.engine.layer_record import Directions, directions
from initprobe.engine.magnitudes import Magnitudes
from initprobe.engine.sketch import Sketch
from initprobe.engine.small_tensors import add_many, mean_cosines
from initprobe.engine.threads import Workers, cached, row_blocks
from initprobe.torch import device_statistics

_STRIDED, _COUNTED = torch.strided, (torch.float32, torch.float64)
_CACHED_ENTRIES = 1 << 17  # of a block of a large tensor
_BLOCKS_AT_A_TIME = 64
_MOST_DENSE = 1 << 24  # entries up to which a sparse tensor is measured as a dense one, of 64 MB
SMALL = 1 << 12  # entries up to which sorting is faster than a table with a counter for every bucket
_MOST_WAITING = 1 << 16  # entries of small tensors that wait to be measured together; in float64, they fit in cache


def is_measured(tensor: Any) -> bool:
    """Whether this is a tensor of floating-point numbers that is not empty, and no sparse one of a large graph."""
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        return False
    return tensor.numel() > 0 and (tensor.layout is _STRIDED or tensor.numel() <= _MOST_DENSE)


def is_shared(tensor: Any) -> bool:
    """Whether NumPy can hold the entries without a copy."""
    return tensor.is_cpu and tensor.layout is _STRIDED and tensor.dtype in _COUNTED


def array_of(tensor: Any) -> Array:
    """The entries as a contiguous array of float32 or float64 of the tensor's shape; a view if possible."""
    plain = tensor.detach()
    if plain.layout is not _STRIDED:
        plain = plain.to_dense()
    if plain.dtype not in _COUNTED:
        plain = plain.float()  # which holds every half and bfloat16 exactly
    array: Array = (plain if plain.is_cpu else plain.cpu()).contiguous().numpy()
    return array


@lru_cache
def _counted_as(dtype: Any, fine: bool) -> tuple[np.dtype[Any], int, float]:
    """How the entries of a tensor are counted, dtype and bits; and the smallest normal number of the tensor's dtype."""
    is_double = dtype == torch.float64
    bits = FINE if fine and not is_double else COARSE
    return np.dtype(np.float64 if is_double else np.float32), bits, torch.finfo(dtype).tiny


def flat_blocks(entries: int) -> list[slice]:
    """Blocks of a flat array of so many entries, each small enough to stay in cache."""
    return [slice(start, start + _CACHED_ENTRIES) for start in range(0, entries, _CACHED_ENTRIES)]


@dataclass(eq=False, slots=True)
class Track(Sketch):
    """The statistics of one tensor of a model over the draws; mutable. It is called with the gradient of the tensor.

    Attributes:
        number: position of the tensor in the order in which tensors are made; -1 for a parameter.
        shape: shape in the latest draw.
        tiny: smallest normal number of the tensor's dtype.
        correlations: mean cosine between two samples (rows along the first axis) in each draw, where it was asked for.
        gradient: statistics of the gradient of the loss with respect to this tensor; None if there was none.
        small: collects small tensors, and has the threads that measure large ones.
        waiting: a copy of the tensor waits to be measured, so the statistics are not complete.
    """

    number: int = -1
    shape: tuple[int, ...] = ()
    tiny: float = 0.0
    correlations: Sequence[float | None] = ()
    gradient: Track | None = None
    small: SmallTensors = field(kw_only=True)
    waiting: bool = False

    @classmethod
    def like(cls, tensor: Any, number: int, small: SmallTensors, fine: bool, has_magnitudes: bool = False) -> Track:
        """An empty track for such a tensor. Its shape is noted when a tensor is measured.

        Args:
            tensor: gives the dtype.
            number: position in the order in which tensors are made; -1 for a parameter.
            small: collects small tensors.
            fine: for outputs, whose entries crowd at the bounds of activations.
            has_magnitudes: count magnitudes for the small formats.
        """
        dtype, bits, tiny = _counted_as(tensor.dtype, fine)
        magnitudes = Magnitudes() if has_magnitudes else None
        return cls(dtype, bits, magnitudes=magnitudes, number=number, tiny=tiny, small=small)

    def measure(self, tensor: Any, cosines: bool = False) -> None:
        """Measure the tensor of one more draw. A small tensor is measured when `small` is emptied.

        Args:
            tensor: of the draw.
            cosines: also measure the cosines between rows.
        """
        if self.waiting:
            self.small.empty()
        self.shape = self.small.shape_of(tensor)
        self.begin_draw()
        if tensor.is_cuda:
            self._add_there(tensor.detach(), cosines)
            return
        array = array_of(tensor)
        rows = array.reshape(len(array), -1) if cosines and array.ndim > 1 else array.reshape(-1)
        if rows.size <= SMALL and self.magnitudes is None:
            self.small.keep(self, rows)
        else:
            self.measure_now(rows)

    def measure_now(self, rows: Array) -> None:
        """Measure an array; also the cosines between the rows of a two-dimensional array.

        Args:
            rows: `(rows, entries)`.
        """
        if rows.ndim > 1:
            self._add_rows(rows, self.small.workers)
        else:
            self._add_flat(rows, self.small.workers)

    def __call__(self, gradient: Any) -> None:
        """Measure the gradient of one more draw, as a hook of the tensor.

        Args:
            gradient: a tensor; None where a fused operation leaves it undefined.
        """
        if gradient is None:
            return
        if self.gradient is None:
            self.gradient = Track.like(gradient, self.number, self.small, False, self.magnitudes is not None)
        self.gradient.measure(gradient)

    def _add_flat(self, entries: Array, workers: Workers) -> None:
        blocks = flat_blocks(entries.size)
        # The tables of all blocks of a large weight would take as much memory as the weight.
        for first in range(0, len(blocks), _BLOCKS_AT_A_TIME):
            group = blocks[first : first + _BLOCKS_AT_A_TIME]
            self._merge(entries, group, workers.map(lambda part: self._tally(entries[part]), group), workers)

    def _add_rows(self, rows: Array, workers: Workers) -> None:
        def work(block: slice) -> list[tuple[Tally, Array, int]]:
            return [self._tally_rows(rows[part]) for part in cached(block, rows.shape[1])]

        blocks = row_blocks(*rows.shape)
        measured = [part for parts in workers.map(work, blocks) for part in parts]
        self._merge(rows, blocks, [tally for tally, _, _ in measured], workers)
        summed = Directions()
        for _, total, nonzero in measured:
            summed.add((total, nonzero))
        self.correlations = (*self.correlations, summed.mean_cosine())

    def _tally(self, block: Array) -> Tally:
        return tally(block[None], self.grid, [self.centre or 0.0])[0]

    def _tally_rows(self, block: Array) -> tuple[Tally, Array, int]:
        return (self._tally(block), *directions(block))

    def _merge(self, array: Array, blocks: list[slice], tallies: list[Tally], workers: Workers) -> None:
        def recount(centre: float) -> Iterator[Array]:
            shift = array.dtype.type(centre)
            yield from workers.map(lambda part: count(array[None, part] - shift, self.grid)[0], blocks)

        self.add(tallies, recount)

    def _add_there(self, tensor: Any, cosines: bool) -> None:
        """Measure the tensor on its own device; only counts and sums are copied from there."""
        rows = device_statistics.entries(tensor)
        self.add([device_statistics.tally(rows, self)], lambda centre: [device_statistics.counts(rows - centre, self)])
        if cosines and tensor.ndim > 1:
            cosine = device_statistics.mean_cosine(rows.reshape(len(tensor), -1))
            self.correlations = (*self.correlations, cosine)

    @property
    def square(self) -> float:
        """Mean square of the entries, averaged over draws; NaN where an entry is not finite."""
        return math.nan if self.nonfinite else _average([draw.mean_square for draw in self.by_draw])

    @property
    def variance(self) -> float:
        """Variance of the entries about their mean, averaged over draws; NaN where an entry is not finite."""
        return math.nan if self.nonfinite else _average([draw.variance for draw in self.by_draw])

    @property
    def mean(self) -> float:
        """Mean of the entries, averaged over draws."""
        return _average([draw.true_mean for draw in self.by_draw])

    @property
    def entries(self) -> int:
        """Number of entries in one draw."""
        return math.prod(self.shape)


def _average(values: Sequence[float]) -> float:
    # A sum with 0 has no -0, and neither has `fmean`, which is slow for one value.
    return values[0] + 0.0 if len(values) == 1 else fmean(values)


class SmallTensors:
    """Copies of small tensors that wait to be measured together. The tensors may change or be freed meanwhile."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self._waiting: dict[tuple[Any, ...], list[tuple[Track, Array]]] = {}
        self._shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._entries = 0

    def shape_of(self, tensor: Any) -> tuple[int, ...]:
        """The shape of a tensor; one object for all tensors of this shape."""
        shape = tuple(tensor.shape)
        return self._shapes.setdefault(shape, shape)

    def keep(self, track: Track, rows: Array) -> None:
        """Copy the entries of a tensor; all that waits is measured once there is enough of it.

        Args:
            track: statistics of the tensor.
            rows: its entries, `(rows, entries)`.
        """
        track.waiting = True
        kind = rows.size, rows.dtype, track.bits
        self._waiting.setdefault(kind, []).append((track, rows.copy()))
        self._entries += rows.size
        if self._entries >= _MOST_WAITING:
            self.empty()

    def empty(self) -> None:
        """Measure all tensors that wait."""
        waiting, self._waiting, self._entries = self._waiting, {}, 0
        for kept in waiting.values():
            stack = np.array([rows.reshape(-1) for _, rows in kept])
            added = add_many([track for track, _ in kept], stack)
            in_rows: dict[tuple[int, ...], list[tuple[Track, Array]]] = {}
            for (track, rows), fits in zip(kept, added, strict=True):
                track.waiting = False
                if not fits:
                    track.measure_now(rows)
                elif rows.ndim > 1:
                    in_rows.setdefault(rows.shape, []).append((track, rows))
            for alike in in_rows.values():
                self._add_cosines(alike)

    def _add_cosines(self, alike: Sequence[tuple[Track, Array]]) -> None:
        """The mean cosine between two rows of each of some arrays of one shape."""
        cosines = mean_cosines(np.array([rows for _, rows in alike]))
        for (track, _), cosine in zip(alike, cosines, strict=True):
            track.correlations = (*track.correlations, cosine)
