"""A phase diagram as text: the edge of chaos in it, and a row per cell."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from rich.table import Table

from initprobe.arrays import evenly, finite
from initprobe.formatting import NOTHING, short
from initprobe.meanfield.phase_diagram import PhaseDiagram
from initprobe.reports.console import Console
from initprobe.reports.tables import plain_table

_MOST_CELLS, _PER_SIDE = 24, 5
_HEADINGS = ("sigma_w", "sigma_b", "phase", "q*", "chi_1", "c*", "gradient depth")
_NOTES = """
q*: variance of z at the fixed point. chi_1: factor of the gradient's variance per layer.
c*: correlation of two inputs. gradient depth: layers for a factor of e; negative where it grows."""


def print_phase(diagram: PhaseDiagram, to: Console) -> None:
    """Print the number of cells in each phase, where chaos begins, and the cells.

    Args:
        diagram: the fixed points. Of many cells, some are shown, evenly spaced with both ends.
        to: the console.
    """
    to.print(diagram.in_a_line(), style="bold", markup=False, soft_wrap=True)
    for line in _edges(diagram):
        to.print(line, markup=False, soft_wrap=True)
    rows, columns = _shown(diagram)
    to.print()
    to.print(_table(diagram, rows, columns))
    if (cells := len(rows) * len(columns)) < diagram.q.size:
        to.print(f"{cells} of {diagram.q.size:,} cells; to_dataframe() has all", style="dim", markup=False)
    to.print(_NOTES, markup=False)


def _edges(diagram: PhaseDiagram) -> Iterator[str]:
    """Between which cells of the lowest and the highest row chaos begins."""
    for row in sorted({0, len(diagram.sigma_b) - 1}):
        chi = diagram.chi_1[row]
        for place in np.flatnonzero((chi[:-1] < 1) & (chi[1:] >= 1)):
            ends = " and ".join(f"{sigma_w:.5g}" for sigma_w in diagram.sigma_w[place : place + 2])
            yield f"edge of chaos at sigma_b = {diagram.sigma_b[row]:g}: between sigma_w = {ends}"


def _shown(diagram: PhaseDiagram) -> tuple[list[int], list[int]]:
    """The rows and the columns of the cells that are shown."""
    rows, columns = diagram.q.shape
    if rows * columns <= _MOST_CELLS:
        return list(range(rows)), list(range(columns))
    most = (rows, _MOST_CELLS // rows) if rows < _PER_SIDE else (_PER_SIDE, _PER_SIDE)
    return evenly(rows, most[0]), evenly(columns, most[1])


def _table(diagram: PhaseDiagram, rows: list[int], columns: list[int]) -> Table:
    table, phases = plain_table(*_HEADINGS, left=("phase",), gap=2), diagram.phases
    for row in rows:
        for column in columns:
            place = row, column
            scales = f"{diagram.sigma_w[column]:.5g}", f"{diagram.sigma_b[row]:.5g}"
            q, chi_1, depth = (_number(array[place]) for array in (diagram.q, diagram.chi_1, diagram.xi_gradient))
            table.add_row(*scales, phases[place], q, chi_1, _correlation(diagram.correlation[place]), depth)
    return table


def _number(value: float) -> str:
    """A number; `inf` for a gradient that stays level."""
    return "inf" if value == math.inf else short(finite(float(value)))


def _correlation(value: float) -> str:
    """To three decimals: the series gives no more than six."""
    return NOTHING if math.isnan(value) else f"{value:.3f}"
