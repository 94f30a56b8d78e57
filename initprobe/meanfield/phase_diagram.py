"""The phase diagram of an activation, as `phase` returns it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from initprobe.errors import InputError
from initprobe.results.base import read_record
from initprobe.results.display import FigureKind, HasFigures, Row, draw_phase, print_phase

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.reports.console import Console
    from initprobe.reports.figures.look import Look

PHASES = ("ordered", "edge of chaos", "chaotic", "diverges")
_EDGE = 1e-6
Floats = npt.NDArray[np.float64]
Names = npt.NDArray[np.object_]
_CELL = ("settling", "q", "slope", "chi_1", "correlation", "xi_q", "xi_c", "xi_gradient")


@dataclass(frozen=True, repr=False)
class PhaseDiagram(HasFigures):
    """The fixed points of infinitely deep networks over a grid of scales, each as an array `(rows, columns)`.

    Attributes:
        activation: its name.
        sigma_w: std of the weights times sqrt(fan_in), `(columns,)`.
        sigma_b: std of the biases, `(rows,)`.
        settling, q, slope, chi_1, correlation, xi_q, xi_c, xi_gradient: as in `FixedPoint`.
    """

    activation: str
    sigma_w: Floats
    sigma_b: Floats
    settling: Names
    q: Floats
    slope: Floats
    chi_1: Floats
    correlation: Floats
    xi_q: Floats
    xi_c: Floats
    xi_gradient: Floats

    def __eq__(self, other: object) -> bool:
        """Whether all names and numbers are equal; NaN is equal to itself."""
        if not isinstance(other, PhaseDiagram):
            return NotImplemented
        return all(map(_same, vars(self).values(), vars(other).values()))

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "JSON") -> PhaseDiagram:
        """Read a phase diagram from the JSON that `initprobe phase --export-json` writes; null becomes NaN.

        Args:
            text: of the file.
            source: the name of the text in errors, such as its file.

        Raises:
            InputError: not JSON, or not a phase diagram of this schema version; names `source` and the field.
        """
        from initprobe.results.phase_cells import PhaseCells

        cells = read_record(PhaseCells, text, source)
        shape = (len(cells.sigma_b), len(cells.sigma_w))
        for name in _CELL:
            rows = getattr(cells, name)
            if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
                raise InputError(f"{name} must have {shape[0]} rows of {shape[1]} cells", file=source)
        settling = np.array(cells.settling, dtype=object).reshape(shape)
        numbers = {name: np.array(getattr(cells, name), float).reshape(shape) for name in _CELL if name != "settling"}
        return cls(cells.activation, np.array(cells.sigma_w), np.array(cells.sigma_b), settling, **numbers)

    @property
    def phases(self) -> Names:
        """The phase of each cell as text: `ordered`, `chaotic`, `edge of chaos` or `diverges`."""
        names = [
            phase_name(str(word), float(chi)) for word, chi in zip(self.settling.flat, self.chi_1.flat, strict=True)
        ]
        return np.array(names, dtype=object).reshape(self.settling.shape)

    def in_a_line(self) -> str:
        """How many cells are in each phase."""
        counts = Counter(map(str, self.phases.flat))
        phases = ", ".join(f"{counts[name]:,} {name}" for name in PHASES if counts[name])
        return f"{self.activation}, {len(self.sigma_b)} x {len(self.sigma_w)} cells of sigma_b x sigma_w: {phases}"

    def _draw(self, kind: FigureKind, look: Look) -> Figure:
        return draw_phase(self, kind, look)

    def _print(self, to: Console) -> None:
        print_phase(self, to)

    def _rows(self) -> Iterable[Row]:
        phases = self.phases
        for row, sigma_b in enumerate(self.sigma_b.tolist()):
            for column, sigma_w in enumerate(self.sigma_w.tolist()):
                scales = {"sigma_w": sigma_w, "sigma_b": sigma_b, "phase": phases[row, column]}
                yield scales | {name: getattr(self, name)[row, column] for name in _CELL}


def _same(one: npt.ArrayLike, other: npt.ArrayLike) -> bool:
    return np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f")


def phase_name(settling: str, chi_1: float) -> str:
    """The phase of a fixed point.

    Args:
        settling: how the variance settles.
        chi_1: factor of the gradient's variance per layer; within 1e-6 of 1 is the edge of chaos.
    """
    if settling == "diverges":
        return "diverges"
    if abs(chi_1 - 1) < _EDGE:
        return "edge of chaos"
    return "ordered" if chi_1 < 1 else "chaotic"
