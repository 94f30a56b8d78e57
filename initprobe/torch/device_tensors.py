"""Tensors on a device that wait to be measured together, and statistics that wait to be read together.

Reading makes the host wait for all kernels that were started before. Both kinds of waiting are bounded, so memory is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch

from initprobe.arrays import Array
from initprobe.engine import magnitudes
from initprobe.engine.buckets import Grid
from initprobe.engine.layer_record import mean_cosine
from initprobe.engine.moments import Moments
from initprobe.torch.device_statistics import Statistics, entries, on_host, statistics

_LARGE = 1 << 20  # entries from which a tensor is measured alone, without a copy
_MOST_WAITING = 1 << 22  # entries of tensors that wait, of 16 or 32 MB
_MOST_COUNTERS = 1 << 21  # of statistics that wait, of 8 MB


class Measured(NamedTuple):
    """The statistics of one tensor; with entries that are not finite, all but their number are void.

    Attributes:
        moments: of its entries.
        low, high: the smallest and the largest entry.
        zeros, infinite, nan: entries that are 0, infinite or NaN.
        centre: was subtracted from the entries before they were counted.
        keys: the occupied buckets, ascending.
        counts: how many entries each of them holds.
        magnitudes: `magnitudes.table` of the entries; None where it was not asked for.
        cosines: the mean cosine between two samples, or None; empty where it was not asked for.
    """

    moments: Moments
    low: float
    high: float
    zeros: int
    infinite: int
    nan: int
    centre: float
    keys: Array
    counts: Array
    magnitudes: Array | None
    cosines: tuple[float | None, ...]


Receiver = Callable[[Measured], None]


class Request(NamedTuple):
    """What is to be measured of a tensor. Tensors with equal `grid` and `samples` are measured together.

    Attributes:
        grid: of the counts.
        samples: of the tensor, for the cosines between them; 0 for no cosines.
        centre: what is subtracted before entries are counted; None to choose it.
        receive: is called with the statistics.
    """

    grid: Grid
    samples: int
    centre: float | None
    receive: Receiver


class _Stack(NamedTuple):
    """Statistics on the device, of the tensors of some requests with so many entries."""

    requests: Sequence[Request]
    entries: int
    statistics: Statistics


class DeviceTensors:
    """The tensors of one device."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._stream: Any = None  # of the kernels so far
        self._waiting: dict[tuple[int, Grid, int], list[tuple[Request, Any]]] = {}
        self._entries = self._counters = 0
        self._stacks: list[_Stack] = []
        self._numbers: list[tuple[Any, Callable[[Array], None]]] = []

    def add(self, tensor: Any, request: Request) -> None:
        """Measure a tensor, which may change or be freed afterwards.

        Args:
            tensor: on the device.
            request: what is to be measured of it.
        """
        self._follow_stream()
        is_large = tensor.numel() >= _LARGE
        row = entries(tensor, is_copied=not is_large)
        if is_large:
            self._measure([request], row[None])
            return
        self._waiting.setdefault((len(row), request.grid, request.samples), []).append((request, row))
        self._entries += len(row)
        if self._entries >= _MOST_WAITING:
            self._measure_waiting()

    def later(self, numbers: Any, receive: Callable[[Array], None]) -> None:
        """Read numbers when statistics are read.

        Args:
            numbers: a small tensor, which does not change any more.
            receive: is called with its entries.
        """
        self._follow_stream()
        self._numbers.append((numbers, receive))
        self._count(numbers)

    def empty(self) -> None:
        """Measure all tensors that wait, and read all statistics."""
        with torch.cuda.stream(self._stream):
            self._measure_waiting()
            self._read()

    def _follow_stream(self) -> None:
        """Kernels of another stream do not wait for those of this one, so what waits is finished first."""
        stream = torch.cuda.current_stream(self._device) if self._device.type == "cuda" else None
        if stream != self._stream and (self._waiting or self._stacks or self._numbers):
            self.empty()
        self._stream = stream

    def _measure_waiting(self) -> None:
        waiting, self._waiting, self._entries = self._waiting, {}, 0
        while waiting:
            kept = waiting.popitem()[1]
            requests, rows = [request for request, _ in kept], torch.stack([row for _, row in kept])
            del kept  # the copies, for their memory
            self._measure(requests, rows)

    def _measure(self, requests: Sequence[Request], rows: Any) -> None:
        first, centres = requests[0], [request.centre for request in requests]
        own = statistics(rows, first.grid, first.samples, centres)
        self._stacks.append(_Stack(requests, rows.shape[1], own))
        self._count(own.counts)

    def _count(self, held: Any) -> None:
        """Read what waits once there is enough of it."""
        self._counters += held.numel()
        if self._counters >= _MOST_COUNTERS:
            self._read()

    def _read(self) -> None:
        stacks, self._stacks, self._counters = self._stacks, [], 0
        numbers, self._numbers = self._numbers, []
        held = [number for stack in stacks for number in stack.statistics.numbers]
        copies = iter(on_host([*held, *(number for number, _ in numbers)]))
        for stack, counted in zip(stacks, _occupied(stacks), strict=True):
            _receive(stack, list(islice(copies, len(stack.statistics.numbers))), counted)
        for (_, receive), copy in zip(numbers, copies, strict=True):
            receive(copy)


def _occupied(stacks: Sequence[_Stack]) -> Iterator[list[tuple[Array, Array]]]:
    """For each row of each stack, the places of its counters that are not 0, and these counters."""
    if not stacks:
        return
    flat = torch.cat([stack.statistics.counts.reshape(-1) for stack in stacks])
    places = flat.nonzero()[:, 0]
    occupied, counts = torch.stack((places, flat[places].long())).cpu().numpy()
    first = 0
    for stack in stacks:
        rows, width = stack.statistics.counts.shape
        starts = first + width * np.arange(rows + 1)
        ends = np.searchsorted(occupied, starts)
        yield [
            (occupied[begin:end] - start, counts[begin:end])
            for begin, end, start in zip(ends[:-1], ends[1:], starts[:-1], strict=True)
        ]
        first = starts[-1]


def _receive(stack: _Stack, numbers: Sequence[Array], counted: Sequence[tuple[Array, Array]]) -> None:
    each = zip(*(number.tolist() for number in numbers), strict=True)
    for request, own, (places, counts) in zip(stack.requests, each, counted, strict=True):
        request.receive(_measured(request, stack.entries, own, places, counts))


def _measured(request: Request, total: int, numbers: Sequence[float], places: Array, counts: Array) -> Measured:
    """The statistics of one tensor with `total` entries, from its numbers and its occupied counters."""
    grid = request.grid
    (mean, variance, low, high, nonzero, centre), cosines = numbers[:6], _cosines(request.samples, *numbers[6:])
    negative, end = np.searchsorted(places, (grid.size // 2, grid.size)).tolist()
    keys = np.concatenate((places[negative:end], places[:negative])) ^ (grid.size // 2)
    in_buckets = np.concatenate((counts[negative:end], counts[:negative]))
    sizes = _table(places[end:] - grid.size, counts[end:]) if grid.has_magnitudes else None
    moments, zeros = Moments(total, mean, variance * total), total - int(nonzero)
    return Measured(
        moments, low, high, zeros, *_nonfinite(grid, keys, in_buckets), centre, keys, in_buckets, sizes, cosines
    )


def _cosines(samples: int, silent: float = 0, length: float = 0) -> tuple[float | None, ...]:
    return (mean_cosine(length * length, samples - int(silent)),) if samples else ()


def _nonfinite(grid: Grid, keys: Array, counts: Array) -> tuple[int, int]:
    """How many entries are infinite and how many NaN.

    Infinity has the largest exponent and no mantissa. A NaN that went through a subtraction has the first bit of the
    mantissa set, which every grid keeps.
    """
    sizes, infinity = keys & (grid.size // 2 - 1), grid.size // 2 - grid.octave
    return int(counts[sizes == infinity].sum()), int(counts[sizes > infinity].sum())


def _table(cells: Array, counts: Array) -> Array:
    """The table of magnitudes without the last cell, that of zeros."""
    table = np.zeros(magnitudes.size() + 1, np.int64)
    table[cells] = counts
    return table[:-1]
