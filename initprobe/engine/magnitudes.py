"""Counts of magnitudes that tell exactly what a tensor loses in a small format, times any power of two.

A magnitude is `mantissa 2^exponent`. It is counted by its exponent, and by the limits of the formats that its mantissa
has passed. So the counts are of float32 or float64 numbers, and one set of them serves all formats and scales.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.engine.number_formats import Limit, NumberFormat, mantissas

# Exponents with cells of their own. Beyond them no format and no sensible scale has a number.
LOWEST, HIGHEST = -320, 320
# Powers of two that a tensor may be multiplied by. They map the range of float32 to that of any format.
SCALES = np.arange(-150, 151)


def table(values: Array) -> Array:
    """Counts of the magnitudes of finite values in all cells, without those of exact zeros.

    Args:
        values: `(entries,)`.
    """
    mantissa, exponent = np.frexp(values[values != 0])
    np.abs(mantissa, out=mantissa)
    cells = (np.clip(exponent, LOWEST, HIGHEST) - LOWEST).astype(np.intp) * cells_per_exponent()
    for limit, is_exclusive in mantissas():
        cells += mantissa > limit if is_exclusive else mantissa >= limit
    return np.bincount(cells, minlength=size())


def size() -> int:
    """Number of cells."""
    return (HIGHEST - LOWEST + 1) * cells_per_exponent()


def cells_per_exponent() -> int:
    """Number of cells of the magnitudes of one exponent."""
    return len(mantissas()) + 1


def _first_cell(limit: Limit) -> int:
    """The first cell whose magnitudes are all at or beyond a limit."""
    passed = mantissas().index((limit.mantissa, limit.is_exclusive)) + 1
    return (limit.exponent - LOWEST) * cells_per_exponent() + passed


class Losses(NamedTuple):
    """How many entries a format would change, at each of the `SCALES`: arrays `(scales,)`.

    Attributes:
        zero: entries that are not 0 and become 0.
        subnormal: entries that become subnormal.
        overflow: entries that leave the range.
    """

    zero: Array
    subnormal: Array
    overflow: Array


@dataclass(slots=True)
class Magnitudes:
    """The counts of one tensor over blocks, batches and draws; mutable.

    Attributes:
        cells: the occupied cells, in ascending order of magnitudes.
        counts: how many entries each of them holds.
    """

    cells: Array = field(default_factory=lambda: np.empty(0, np.int64))
    counts: Array = field(default_factory=lambda: np.empty(0, np.int64))

    def add(self, counts: Array | None, exponent: int = 0) -> None:
        """Add a table of counts.

        Args:
            counts: of `table`; None to add nothing.
            exponent: the true entries are the counted ones times 2^exponent.
        """
        if counts is None:
            return
        occupied = np.flatnonzero(counts)
        cells = np.clip(occupied + exponent * cells_per_exponent(), 0, size() - 1)
        self.cells, places = np.unique(np.concatenate((self.cells, cells)), return_inverse=True)
        total = np.zeros(len(self.cells), np.int64)
        np.add.at(total, places, np.concatenate((self.counts, counts[occupied])))
        self.counts = total

    @property
    def total(self) -> int:
        """Entries that are not 0."""
        return int(self.counts.sum())

    def losses(self, form: NumberFormat) -> Losses:
        """What a format would change at each scale."""
        below = np.concatenate(([0], np.cumsum(self.counts)))
        zero, small, finite = (self._below(below, limit) for limit in form.limits)
        return Losses(zero, small - zero, self.total - finite)

    def _below(self, below: Array, limit: Limit) -> Array:
        """How many entries are below a limit after they are multiplied by each scale."""
        first = _first_cell(limit) - SCALES * cells_per_exponent()
        counted: Array = below[np.searchsorted(self.cells, first)]
        return counted
