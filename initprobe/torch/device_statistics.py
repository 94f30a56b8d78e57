"""Statistics of tensors on the device where they are.

Every kernel takes some microseconds to start, so tensors of one size are measured as the rows of one stack. The host
waits for the device in `on_host`, and where a centre is given. It would in `torch.where` with a number too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch

from initprobe.arrays import Array
from initprobe.engine import magnitudes
from initprobe.engine.buckets import Grid
from initprobe.engine.number_formats import mantissas
from initprobe.engine.sketch import CONCENTRATED

_PART = 1 << 22  # entries of which float64 copies are made at a time, of 32 MB
_TABLES = 32  # of a row: its entries are counted in several tables, as additions to one counter wait for each other
_SIGNED = {torch.float32: torch.int32, torch.float64: torch.int64}
_COUNTER_LIMIT = torch.iinfo(torch.int32).max

Parts = Sequence[Any]  # of a stack, `(rows, some entries)` each


class Statistics(NamedTuple):
    """The statistics of the rows of a stack: a tensor for each kind, `(rows,)` but for the counts.

    Attributes:
        mean: of the entries, in float64.
        variance: about the mean, in float64.
        low, high: smallest and largest entry.
        nonzero: entries that are not 0.
        centre: was subtracted from the entries before they were counted.
        counts: of the buckets, `(rows, grid.size)`: those of negative numbers, then those of the others. With
            magnitudes, their counts follow.
        cosines: how many samples have no direction, and the length of the sum of the unit vectors along the others.
            Empty where cosines were not asked for.
    """

    mean: Any
    variance: Any
    low: Any
    high: Any
    nonzero: Any
    centre: Any
    counts: Any
    cosines: tuple[Any, ...] = ()

    @property
    def numbers(self) -> list[Any]:
        """All but the counts."""
        return [self.mean, self.variance, self.low, self.high, self.nonzero, self.centre, *self.cosines]


def entries(tensor: Any, is_copied: bool) -> Any:
    """The entries as one row of float32 or float64.

    Args:
        tensor: of any layout.
        is_copied: never a view of the tensor.
    """
    plain = tensor.detach()
    plain = plain if plain.layout is torch.strided else plain.to_dense()
    dtype = plain.dtype if plain.dtype in _SIGNED else torch.float32
    return plain.to(dtype, copy=is_copied, memory_format=torch.contiguous_format).reshape(-1)


def statistics(rows: Any, grid: Grid, samples: int, centres: Sequence[float | None]) -> Statistics:
    """Measure each row of a stack.

    Args:
        rows: `(rows, entries)`.
        grid: of the counts.
        samples: of each row, for the cosines between them; 0 for no cosines.
        centres: what is subtracted from each row before it is counted; None to choose it by the moments.
    """
    parts = rows.split(max(_PART // len(rows), 1), 1)
    mean, variance = _moments(parts, rows.shape[1])
    centre = _centre(mean, variance, centres).to(rows.dtype)
    nonzero = _added(torch.count_nonzero(part, dim=1) for part in parts)
    counts = _counts(parts, lambda part: _buckets(part - centre[:, None], grid), grid.size, grid.size // 2)
    if grid.has_magnitudes:
        counts = torch.cat((counts, _counts(parts, _cells, magnitudes.size() + 1)), 1)
    cosines = _directions(rows.reshape(len(rows), samples, -1)) if samples else ()
    low, high = torch.aminmax(rows, dim=1)
    return Statistics(mean, variance, low, high, nonzero, centre, counts, cosines)


def _added(each: Iterator[Any]) -> Any:
    return reduce(torch.add, each)


def _moments(parts: Parts, total: int) -> tuple[Any, Any]:
    """Mean and variance of each row: of its parts together (Chan et al. 1983)."""
    own = [torch.var_mean(part.double(), 1, correction=0) for part in parts]
    if len(own) == 1:
        return own[0][1], own[0][0]
    shares = [part.shape[1] / total for part in parts]
    mean = _added(part * share for (_, part), share in zip(own, shares, strict=True))
    pairs = zip(own, shares, strict=True)
    return mean, _added((variance + (part - mean).square()) * share for (variance, part), share in pairs)


def _centre(mean: Any, variance: Any, centres: Sequence[float | None]) -> Any:
    """The given centres; where there is none, the mean if that is far from 0 beside the spread, else 0."""
    spread = CONCENTRATED * variance.sqrt()
    chosen = mean.masked_fill(~((spread > 0) & (spread < mean.abs())), 0.0)
    if all(centre is None for centre in centres):
        return chosen
    given = mean.new_tensor([math.nan if centre is None else centre for centre in centres])
    return torch.where(given.isnan(), chosen, given)


def _counts(parts: Parts, keys_of: Callable[[Any], Any], size: int, zero: int = 0) -> Any:
    """How often each key occurs in each row, `(rows, size)`; the count of key 0 is at the place `zero`."""
    rows, device = len(parts[0]), parts[0].device
    tables = max(_TABLES // rows, 1)
    dtype = torch.int32 if sum(part.shape[1] for part in parts) <= _COUNTER_LIMIT else torch.int64
    counters = torch.zeros(rows * tables * size, dtype=dtype, device=device)
    starts = torch.arange(zero, len(counters), size, device=device).reshape(rows, 1, tables)
    step = torch.ones((), dtype=dtype, device=device)
    for part in parts:
        used = math.gcd(part.shape[1], tables)
        places = (keys_of(part).reshape(rows, -1, used) + starts[..., :used]).reshape(-1)
        counters.scatter_add_(0, places, step.expand(len(places)))
    return counters.reshape(rows, tables, size).sum(1, dtype=dtype) if tables > 1 else counters.reshape(rows, size)


def _buckets(entries: Any, grid: Grid) -> Any:
    """The bucket of each entry, in the memory of the entries; less `grid.size` for a negative one."""
    return entries.view(_SIGNED[entries.dtype]).bitwise_right_shift_(grid.shift)


def _cells(part: Any) -> Any:
    """The cell of `magnitudes.table` of each entry; one cell more for zeros."""
    mantissa, exponent = torch.frexp(part)
    limits = magnitudes.LOWEST, magnitudes.HIGHEST
    cells = (exponent.clamp(*limits) - magnitudes.LOWEST).long() * magnitudes.cells_per_exponent()
    for limit, is_exclusive in mantissas():
        cells += mantissa.abs() > limit if is_exclusive else mantissa.abs() >= limit
    return cells.masked_fill_(part == 0, magnitudes.size())


def _directions(stack: Any) -> tuple[Any, Any]:
    """What the mean cosine between the samples of each array of a stack follows from.

    Args:
        stack: `(arrays, samples, entries)`.

    Returns:
        How many samples have no direction, and the length of the sum of the unit vectors along the others.
    """
    samples = max(_PART // stack[:, 0].numel(), 1)
    each = [_unit_sums(part.to(torch.float64, copy=True)) for part in stack.split(samples, 1)]
    total = _added(unit_sum for _, unit_sum in each)
    return _added(count for count, _ in each), torch.linalg.vector_norm(total, dim=1)


def _unit_sums(wide: Any) -> tuple[Any, Any]:
    """The same of one part, which is overwritten: the number, and the sum."""
    norms = torch.linalg.vector_norm(wide, dim=2)
    is_zero = norms == 0
    return is_zero.sum(1), wide.div_(norms.masked_fill_(is_zero, 1.0)[..., None]).sum(1)


def on_host(tensors: Sequence[Any]) -> list[Array]:
    """Copies of tensors on the host. Those of one device and dtype are copied together."""
    groups: dict[tuple[Any, Any], list[int]] = {}
    for place, tensor in enumerate(tensors):
        groups.setdefault((tensor.device, tensor.dtype), []).append(place)
    copies: dict[int, Array] = {}
    for places in groups.values():
        flat = _array(torch.cat([tensors[place].detach().reshape(-1) for place in places]))
        ends = np.cumsum([tensors[place].numel() for place in places])
        copies |= zip(places, np.split(flat, ends[:-1]), strict=True)
    return [copies[place].reshape(tensor.shape) for place, tensor in enumerate(tensors)]


def _array(tensor: Any) -> Array:
    """The same on the host; NumPy has no type for some floating-point numbers of 8 and 16 bits."""
    is_small = tensor.is_floating_point() and tensor.dtype not in _SIGNED
    array: Array = (tensor.float() if is_small else tensor).cpu().numpy()
    return array
