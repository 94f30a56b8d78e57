"""The phase diagram of an activation, as `phase` returns it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from initprobe.arrays import Array
from initprobe.results.display import HasFigures, draw_phase

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.reports.figures.look import Look


@dataclass(frozen=True)
class PhaseDiagram(HasFigures):
    """`FixedPoint` over a grid: `sigma_w` `(columns,)`, `sigma_b` `(rows,)`, every other array `(rows, columns)`.

    `activation` is its name.
    """

    activation: str
    sigma_w: Array
    sigma_b: Array
    settling: Array
    q: Array
    slope: Array
    chi_1: Array
    correlation: Array
    xi_q: Array
    xi_c: Array
    xi_gradient: Array

    def _draw(self, kind: Any, look: Look) -> Figure:
        return draw_phase(self, kind, look)
