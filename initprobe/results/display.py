"""How a result shows itself: as a line, a table, a figure, a pandas frame, and in a notebook.

This is the only import of `reports` in this room, made when one of them is asked for. A class of results inherits
`Shown`, or `HasFigures`. It says how it is printed and drawn, and what its rows are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from initprobe.results.base import InALine

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from initprobe.meanfield.phase_diagram import PhaseDiagram
    from initprobe.reports.console import Console
    from initprobe.reports.figures.look import Look
    from initprobe.results.coordinate_check import CoordinateCheck
    from initprobe.results.gain import Gain
    from initprobe.results.recommendation import Recommendation
    from initprobe.results.run import ProbeResult
    from initprobe.results.spectrum import Spectrum

Row = Mapping[str, object]
FigureKind = str | Mapping[str, object] | None


class Shown(InALine):
    """What all results share: a line, a table, a pandas frame and a block of HTML."""

    def table(self, width: int | None = None) -> str:
        """The table that the command of this result prints, as plain text.

        Args:
            width: columns into which sentences are folded; None for no limit.

        Returns:
            Lines without colours, in characters that standard output can show.
        """
        from initprobe.reports.console import plain

        return plain(self._print, width)

    def to_dataframe(self) -> DataFrame:
        """A pandas frame with the numbers of the table; the columns have the names of JSON.

        Results of networks and of `spectrum` have a row per layer. The frame of `phase` has a row per cell, that of
        `recommend` one per quantity. That of `width` has one per layer, quantity, step, width and seed.

        Raises:
            InitprobeError: pandas is not installed.
        """
        from initprobe.reports.dataframe import dataframe

        return dataframe(self._rows, self._columns())

    def _repr_html_(self) -> str:
        """The table and the usual figure, as a notebook shows them."""
        from initprobe.reports.notebook import block

        return block(self._print, self._picture, self.in_a_line())

    def _print(self, to: Console) -> None:
        """Print the table to a console."""
        raise NotImplementedError

    def _rows(self) -> Iterable[Row]:
        """The rows of the frame."""
        raise NotImplementedError

    def _columns(self) -> Sequence[str] | None:
        """The columns of the frame where there may be no row; None for those of the rows."""
        return None

    def _picture(self) -> Figure | None:
        """The figure of a notebook; None for results without one."""
        return None


class HasFigures(Shown):
    """What every object with figures shares: one method, with the same arguments everywhere."""

    def figure(
        self,
        kind: FigureKind = None,
        *,
        size: tuple[float, float] | None = None,
        title: str | None = None,
        columns: int | None = None,
        style: Literal["screen", "paper"] = "screen",
    ) -> Figure:
        """Draw a matplotlib figure.

        Args:
            kind: which of its figures; None for the usual one. A wrong name lists those there are. One run has
                `summary`, `output`, `gradient`, `depth`, and `fitting` or `training` where there was any. A sweep has
                those of its file, such as `heatmap`; or a mapping with keys as in the file.
            size: width and height in inches; None for that of the kind.
            title: instead of its own title; an empty text for none.
            columns: panels in a row; None for the usual number.
            style: `paper` for a column of 3.3 inches: letters of 7.5 points, thin lines, no title.

        Raises:
            UnknownNameError: another kind; the message lists those there are. A `KeyError` too.
            ConfigError: a size, number of columns or style that cannot be.
        """
        from initprobe.reports.figures.look import Look

        return self._draw(kind, Look(size, title, columns, style))

    def _picture(self) -> Figure | None:
        return self.figure()

    def _draw(self, kind: FigureKind, look: Look) -> Figure:
        raise NotImplementedError


class Display(HasFigures):
    """The methods of `ProbeResult` that show it."""

    def _result(self) -> ProbeResult:
        return cast("ProbeResult", self)

    def _draw(self, kind: FigureKind, look: Look) -> Figure:
        from initprobe.reports.figures.run import draw

        return draw(self._result(), "summary" if kind is None else kind, look)

    def _print(self, to: Console) -> None:
        from initprobe.reports.run_table import print_result

        print_result(self._result(), to)

    def _rows(self) -> Iterable[Row]:
        from initprobe.reports.csv import csv_rows

        return csv_rows(self._result())


def print_width(check: CoordinateCheck, to: Console) -> None:
    """Print a coordinate check.

    Args:
        check: with all lines.
        to: the console.
    """
    from initprobe.reports.width_table import print_width as printed

    printed(check, to)


def print_spectrum(spectrum: Spectrum, to: Console) -> None:
    """Print the singular values of a network.

    Args:
        spectrum: of one network.
        to: the console.
    """
    from initprobe.reports.spectrum_table import print_spectra

    print_spectra([spectrum], to)


def print_gain(gain: Gain, to: Console) -> None:
    """Print the gains of an activation.

    Args:
        gain: of one activation.
        to: the console.
    """
    from initprobe.reports.gain_table import print_gains

    print_gains([gain], to)


def print_phase(diagram: PhaseDiagram, to: Console) -> None:
    """Print the cells of a phase diagram.

    Args:
        diagram: the fixed points over both scales.
        to: the console.
    """
    from initprobe.reports.phase_table import print_phase as printed

    printed(diagram, to)


def print_recommendation(advice: Recommendation, to: Console) -> None:
    """Print a recommendation with its reasons and all code.

    Args:
        advice: the recommendation.
        to: the console.
    """
    from initprobe.reports.recommendation_text import print_advice

    print_advice(advice, to, details=True)


def draw_width(check: CoordinateCheck, kind: FigureKind, look: Look) -> Figure:
    """The figure of a coordinate check.

    Args:
        check: with all lines.
        kind: `rms`.
        look: size, title, panels per row and style.
    """
    from functools import partial

    from initprobe.reports.figures.choose import choose
    from initprobe.reports.figures.width import width_figure

    return choose({"rms": partial(width_figure, check)}, kind, look)


def draw_spectrum(spectrum: Spectrum, kind: FigureKind, look: Look) -> Figure:
    """The figure of singular values.

    Args:
        spectrum: of one network.
        kind: `singular_values`.
        look: size, title, panels per row and style.
    """
    from functools import partial

    from initprobe.reports.figures.choose import choose
    from initprobe.reports.figures.spectrum import draw_spectra

    return choose({"singular_values": partial(draw_spectra, [spectrum])}, kind, look)


def draw_phase(diagram: PhaseDiagram, kind: FigureKind, look: Look, layers: int = 10, marks: Any = ()) -> Figure:
    """The figure of a phase diagram.

    Args:
        diagram: the fixed points over both scales.
        kind: `phase`.
        look: size, title and style.
        layers: depth of the user's network.
        marks: labelled points, with sigma_w and sigma_b.

    Raises:
        ConfigError: the diagram has a single row or column.
    """
    from functools import partial

    from initprobe.errors import ConfigError
    from initprobe.reports.figures.choose import choose
    from initprobe.reports.figures.theory import phase_figure

    if min(diagram.chi_1.shape) < 2:
        raise ConfigError("a figure needs at least two values of sigma_w and two of sigma_b", field="kind")
    numbers = diagram.sigma_w, diagram.sigma_b, diagram.chi_1, diagram.xi_c
    return choose({"phase": partial(phase_figure, diagram.activation, *numbers, layers, marks)}, kind, look)
