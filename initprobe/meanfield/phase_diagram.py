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
    """The fixed points of infinitely deep networks over a grid of scales, each as an array `(rows, columns)`.

    Attributes:
        activation: its name.
        sigma_w: std of the weights times sqrt(fan_in), `(columns,)`.
        sigma_b: std of the biases, `(rows,)`.
        settling, q, slope, chi_1, correlation, xi_q, xi_c, xi_gradient: as in `FixedPoint`.
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
