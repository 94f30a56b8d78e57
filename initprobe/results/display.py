"""How a result shows itself.

This is the only import of `reports` in this room, made when a table or figure is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.results.coordinate_check import CoordinateCheck
    from initprobe.results.run import ProbeResult


class Display:
    """The methods of `ProbeResult` that show it."""

    def _result(self) -> ProbeResult:
        return cast("ProbeResult", self)

    def figure(
        self,
        kind: str = "summary",
        *,
        size: tuple[float, float] | None = None,
        title: str | None = None,
        columns: int | None = None,
        style: Literal["screen", "paper"] = "screen",
    ) -> Figure:
        """Draw a matplotlib figure of this result.

        Args:
            kind: `summary`, `output`, `gradient` or `depth`; `fitting` or `training` where there was any.
            size: width and height in inches; None for that of the kind.
            title: instead of the title of the result; an empty text for none.
            columns: panels of histograms in a row; None for all in one row, or five on paper.
            style: `paper` for a column of 3.3 inches: letters of 7.5 points, no title.

        Raises:
            UnknownNameError: another kind; the message lists those of this result. A `KeyError` too.
            ConfigError: a size, number of columns or style that cannot be.
        """
        from initprobe.reports.figures.look import Look
        from initprobe.reports.figures.run import draw

        return draw(self._result(), kind, Look(size, title, columns, style))

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


def width_figure(
    check: CoordinateCheck,
    size: tuple[float, float] | None,
    title: str | None,
    columns: int | None,
    style: Literal["screen", "paper"],
) -> Figure:
    """The figure of a coordinate check.

    Args:
        check: with all lines.
        size: in inches; None for the usual size.
        title: None for that of the check, "" for none.
        columns: of panels; None for the usual number.
        style: of a screen or of paper.
    """
    from initprobe.reports.figures.look import Look
    from initprobe.reports.figures.width import width_figure

    return width_figure(check, Look(size, title, columns, style))
