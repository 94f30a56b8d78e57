"""How a result shows itself.

This is the only import of `reports` in this room, made when a table or figure is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.meanfield.phase_diagram import PhaseDiagram
    from initprobe.reports.figures.look import Look
    from initprobe.results.coordinate_check import CoordinateCheck
    from initprobe.results.run import ProbeResult
    from initprobe.results.spectrum import Spectrum


class HasFigures:
    """What every object with figures shares: one method, with the same arguments everywhere."""

    def figure(
        self,
        kind: Any = None,
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

    def _draw(self, kind: Any, look: Look) -> Figure:
        raise NotImplementedError


class Display(HasFigures):
    """The methods of `ProbeResult` that show it."""

    def _result(self) -> ProbeResult:
        return cast("ProbeResult", self)

    def _draw(self, kind: Any, look: Look) -> Figure:
        from initprobe.reports.figures.run import draw

        return draw(self._result(), "summary" if kind is None else kind, look)

    def table(self, width: int | None = None) -> str:
        """The table that `initprobe run` prints, as plain text.

        Args:
            width: columns into which sentences are folded; None for no limit.

        Returns:
            Lines without colours, in characters that standard output can show.
        """
        from initprobe.reports.run_table import plain_text

        return plain_text(self._result(), width)

    def to_dataframe(self) -> Any:
        """A pandas frame with a row per layer; the columns have the dotted names of JSON.

        Raises:
            InitprobeError: pandas is not installed.
        """
        from initprobe.reports.dataframe import dataframe

        return dataframe([({}, self._result())])

    def _repr_html_(self) -> str:
        """The table and the summary figure, as a notebook shows them."""
        from initprobe.reports.notebook import block

        return block(self._result())


def width_table(check: CoordinateCheck, width: int | None) -> str:
    """The table of a coordinate check as plain text.

    Args:
        check: with all lines.
        width: characters per line; None for no limit.
    """
    from initprobe.reports.width_table import plain_width

    return plain_width(check, width)


def draw_width(check: CoordinateCheck, kind: str | None, look: Look) -> Figure:
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


def draw_spectrum(spectrum: Spectrum, kind: str | None, look: Look) -> Figure:
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


def draw_phase(diagram: PhaseDiagram, kind: str | None, look: Look, layers: int = 10, marks: Any = ()) -> Figure:
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
