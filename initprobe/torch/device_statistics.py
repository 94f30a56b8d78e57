"""Statistics of a tensor on the device where it is. Only counts and sums are copied from there."""

from __future__ import annotations

import math
from typing import Any

import torch

from initprobe.engine.buckets import Tally
from initprobe.engine.magnitudes import HIGHEST, LOWEST, cells_per_exponent, size
from initprobe.engine.moments import Moments
from initprobe.engine.number_formats import mantissas
from initprobe.engine.sketch import Sketch

_WIDENED = 1 << 24  # entries that are converted to float64 at a time
_SIGNED = {torch.float32: torch.int32, torch.float64: torch.int64}


def entries(tensor: Any) -> Any:
    """The entries as one contiguous row of float32 or float64."""
    plain = tensor if tensor.dtype in _SIGNED else tensor.float()
    return plain.contiguous().reshape(-1)


def counts(rows: Any, sketch: Sketch) -> Any:
    """Occurrences of each bucket of the sketch's grid, an array of `(grid.size,)`.

    Args:
        rows: a tensor, `(entries,)`.
        sketch: with the grid.
    """
    grid = sketch.grid
    keys = (rows.view(_SIGNED[rows.dtype]) >> grid.shift).long() & (grid.size - 1)
    return torch.bincount(keys, minlength=grid.size).cpu().numpy()


def tally(rows: Any, sketch: Sketch) -> Tally:
    """The partial statistics of all entries; moments in float64.

    Args:
        rows: a tensor, `(entries,)`.
        sketch: to which the statistics will be added.
    """
    low, high = (float(bound) for bound in torch.stack(torch.aminmax(rows)))
    if not (math.isfinite(low) and math.isfinite(high)):
        return Tally(Moments(), 0, 0, 0, int(torch.isinf(rows).sum()), int(torch.isnan(rows).sum()), None)
    mean = float(rows.mean(dtype=torch.float64))
    squares = sum(float(torch.sum((part.double() - mean) ** 2)) for part in rows.split(_WIDENED))
    counted = counts(rows - (sketch.centre or 0.0) if sketch.centre else rows, sketch)
    sized = None if sketch.magnitudes is None else magnitudes_of(rows)
    return Tally(Moments(rows.numel(), mean, squares), low, high, int((rows == 0).sum()), 0, 0, counted, sized)


def magnitudes_of(rows: Any) -> Any:
    """`magnitudes.table` of all entries."""
    mantissa, exponent = torch.frexp(rows[rows != 0])
    cells = (exponent.clamp(LOWEST, HIGHEST) - LOWEST).long() * cells_per_exponent()
    for limit, is_exclusive in mantissas():
        cells += mantissa.abs() > limit if is_exclusive else mantissa.abs() >= limit
    return torch.bincount(cells, minlength=size()).cpu().numpy()


def mean_cosine(rows: Any) -> float | None:
    """Mean cosine over all pairs of different rows; None with fewer than two rows that have a direction."""
    wide = rows.double()
    norms = wide.norm(dim=1)
    kept = norms > 0
    count = int(kept.sum())
    if count < 2:
        return None
    total = (wide[kept] / norms[kept, None]).sum(0)
    squared = float(total @ total)
    return min(max((squared - count) / (count * (count - 1.0)), -1.0), 1.0) if math.isfinite(squared) else None
