"""From a tensor of PyTorch's to the statistics that every result has: the only file here that knows the engine.

A tensor goes through the same tallies as a NumPy layer, block by block, while it is still there; nothing of it is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import fmean
from typing import Any

import numpy as np
import torch

from initprobe.arrays import Array
from initprobe.engine.buckets import COARSE, FINE, Tally, count, tally
from initprobe.engine.few_values import add_many
from initprobe.engine.layer_record import Directions, directions
from initprobe.engine.sketch import Sketch
from initprobe.engine.threads import Workers, cached, row_blocks
from initprobe.torch import device_statistics

_CACHED_ENTRIES = 1 << 17
_TOGETHER = 64
_FEW_ENTRIES = 1 << 12  # that are sorted sooner than counted in a table of every bucket
_MOST_WAITING = 1 << 16  # entries of small tensors that wait to be counted together; widened, they fit in cache


def is_measured(tensor: Any) -> bool:
    """Floating-point numbers, at least one of them."""
    return isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.numel() > 0


def array_of(tensor: Any) -> Array:
    """The entries as a contiguous array of float32 or float64, of the tensor's shape; a copy only where it must be."""
    plain = tensor.detach()
    if plain.layout is not torch.strided:
        plain = plain.to_dense()
    if plain.dtype not in (torch.float32, torch.float64):
        plain = plain.float()  # which holds every half and bfloat16 exactly
    array: Array = plain.cpu().contiguous().numpy()
    return array


@lru_cache
def _counted_as(dtype: Any) -> tuple[np.dtype[Any], float]:
    """The dtype in which entries are counted, and the smallest normal number of their own."""
    return np.dtype(np.float64 if dtype == torch.float64 else np.float32), torch.finfo(dtype).tiny


def flat_blocks(entries: int) -> list[slice]:
    """Parts of a flat array that stay in cache while statistics are taken."""
    return [slice(start, start + _CACHED_ENTRIES) for start in range(0, entries, _CACHED_ENTRIES)]


@dataclass(eq=False, slots=True)
class Track:
    """The statistics of one tensor of a model over the draws; mutable.

    Attributes:
        number: tensors are numbered in the order in which they come to be.
        shape: in the latest draw.
        tiny: smallest normal number of the tensor's own dtype.
        sketch: the statistics.
        correlations: mean cosine between two samples (rows along the first dimension) in each draw, where asked for.
        gradient: the same of the loss's gradient with respect to this tensor; None until there is one.
    """

    number: int
    shape: tuple[int, ...]
    tiny: float
    sketch: Sketch
    correlations: list[float | None] = field(default_factory=list)
    gradient: Track | None = None

    @classmethod
    def like(cls, tensor: Any, number: int, fine: bool) -> Track:
        """Room for a tensor such as this one; `fine` for outputs, which crowd at the bounds of activations."""
        dtype, tiny = _counted_as(tensor.dtype)
        bits = FINE if fine and dtype == np.float32 else COARSE
        return cls(number, tuple(tensor.shape), tiny, Sketch(dtype, bits))

    def add(self, tensor: Any, few: Few, cosines: bool = False) -> None:
        """Take the statistics of the tensor of one more draw; those of a small one when `few` is emptied."""
        few.settle(self)
        self.shape = tuple(tensor.shape)
        self.sketch.begin_draw()
        if tensor.is_cuda:
            self._add_there(tensor.detach(), cosines)
            return
        array = array_of(tensor)
        rows = array.reshape(len(array), -1) if cosines and array.ndim > 1 else array.reshape(-1)
        if rows.size <= _FEW_ENTRIES:
            few.keep(self, rows)
        else:
            self.add_now(rows, few.workers)

    def add_now(self, rows: Array, workers: Workers) -> None:
        """Take the statistics of an array; of one in rows their cosines too."""
        if rows.ndim > 1:
            self._add_rows(rows, workers)
        else:
            self._add_flat(rows, workers)

    def add_cosine(self, rows: Array) -> None:
        """The mean cosine of few rows."""
        summed = Directions()
        summed.add(directions(rows))
        self.correlations.append(summed.mean_cosine())

    def add_gradient(self, gradient: Any, few: Few) -> None:
        """Take the statistics of the gradient of one more draw; a fused operation may leave it undefined, None."""
        if gradient is None:
            return
        if self.gradient is None:
            self.gradient = Track.like(gradient, self.number, fine=False)
        self.gradient.add(gradient, few)

    def _add_flat(self, entries: Array, workers: Workers) -> None:
        blocks = flat_blocks(entries.size)
        for first in range(0, len(blocks), _TOGETHER):  # the tables of a large weight's blocks would take as much as it
            some = blocks[first : first + _TOGETHER]
            self._merge(entries, some, workers.map(lambda part: self._tally(entries[part]), some), workers)

    def _add_rows(self, rows: Array, workers: Workers) -> None:
        def work(block: slice) -> list[tuple[Tally, Array, int]]:
            return [self._tally_rows(rows[part]) for part in cached(block, rows.shape[1])]

        blocks = row_blocks(*rows.shape)
        found = [part for parts in workers.map(work, blocks) for part in parts]
        self._merge(rows, blocks, [part[0] for part in found], workers)
        summed = Directions()
        for _, total, nonzero in found:
            summed.add((total, nonzero))
        self.correlations.append(summed.mean_cosine())

    def _tally(self, block: Array) -> Tally:
        return tally(block[None], self.sketch.grid, [self.sketch.centre or 0.0])[0]

    def _tally_rows(self, block: Array) -> tuple[Tally, Array, int]:
        return (self._tally(block), *directions(block))

    def _merge(self, array: Array, blocks: list[slice], tallies: list[Tally], workers: Workers) -> None:
        def recount(centre: float) -> Iterator[Array]:
            shift = array.dtype.type(centre)
            yield from workers.map(lambda part: count(array[None, part] - shift, self.sketch.grid)[0], blocks)

        self.sketch.add(tallies, recount)

    def _add_there(self, tensor: Any, cosines: bool) -> None:
        """The same on the tensor's own device, of which only counts and sums come back."""
        rows = device_statistics.entries(tensor)
        self.sketch.add(
            [device_statistics.tally(rows, self.sketch)],
            lambda centre: [device_statistics.counts(rows - centre, self.sketch)],
        )
        if cosines and tensor.ndim > 1:
            self.correlations.append(device_statistics.mean_cosine(rows.reshape(len(tensor), -1)))

    @property
    def square(self) -> float:
        """Mean square of the entries, the mean over draws; NaN where an entry is not finite."""
        return math.nan if self.sketch.nonfinite else fmean([draw.mean_square for draw in self.sketch.by_draw])

    @property
    def variance(self) -> float:
        """Variance of the entries, the mean over draws; NaN where an entry is not finite."""
        return math.nan if self.sketch.nonfinite else fmean([draw.variance for draw in self.sketch.by_draw])

    @property
    def mean(self) -> float:
        """Mean of the entries, the mean over draws."""
        return fmean([draw.true_mean for draw in self.sketch.by_draw])

    @property
    def draws(self) -> int:
        """How many draws it has seen."""
        return len(self.sketch.by_draw)

    @property
    def entries(self) -> int:
        """Entries of the tensor in one draw."""
        return math.prod(self.shape)


class Few:
    """Small tensors that wait to be counted together, as copies: what a pass made may be overwritten or go."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self._waiting: dict[tuple[Any, ...], list[tuple[Track, Array]]] = {}
        self._entries = 0
        self._tracks: set[Track] = set()

    def settle(self, track: Track) -> None:
        """A tensor that comes again is not to wait twice."""
        if track in self._tracks:
            self.empty()

    def keep(self, track: Track, rows: Array) -> None:
        """Put off a tensor's statistics, until there are many or they are asked for."""
        alike = rows.size, rows.dtype, track.sketch.bits
        self._waiting.setdefault(alike, []).append((track, rows.copy()))
        self._tracks.add(track)
        self._entries += rows.size
        if self._entries >= _MOST_WAITING:
            self.empty()

    def empty(self) -> None:
        """Take the statistics of all that waits."""
        waiting, self._waiting, self._tracks, self._entries = self._waiting, {}, set(), 0
        for kept in waiting.values():
            stack = np.stack([rows.reshape(-1) for _, rows in kept])
            added = add_many([track.sketch for track, _ in kept], stack)
            for (track, rows), fits in zip(kept, added, strict=True):
                if not fits:
                    track.add_now(rows, self.workers)
                elif rows.ndim > 1:
                    track.add_cosine(rows)
