"""How a result shows itself: the one place where this room asks `reports`, and only when it is asked to.

A result has `.table()` and `.figure()`, and a notebook shows it, without this room knowing how they are made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.results.run import ProbeResult


class Display:
    """What `ProbeResult` can show of itself."""

    def _result(self) -> ProbeResult:
        return cast("ProbeResult", self)

    def figure(self, kind: str = "summary") -> Figure:
        """A matplotlib figure: `summary`, `output`, `gradient`, `depth`; `fitting` or `training` if there was any.

        Raises:
            UnknownNameError: another kind; says which there are. A `KeyError` too.
        """
        from initprobe.reports.figures.run import draw

        return draw(self._result(), kind)

    def table(self, width: int | None = None) -> str:
        """The table that `initprobe run` prints, as plain text; sentences are folded into `width` columns, if given."""
        from initprobe.reports.run_table import plain_text

        return plain_text(self._result(), width)

    def _repr_html_(self) -> str:
        """A notebook shows the table and the summary picture."""
        from initprobe.reports.notebook import block

        return block(self._result())
