"""Lines of words across a whole figure, and keys above a chart, which must not run over its edges."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from initprobe.formatting import visible

_SMALLEST = 7  # points; below this nobody can read a line
_SHARE = 0.97  # of the figure's width


def centred(figure: Figure, inches_down: float, words: str, **font: Any) -> None:
    """A line in the middle of a figure, `inches_down` from its top: smaller if it is too long, cut at 7 points."""
    down = 1 - inches_down / figure.get_figheight()
    line = figure.text(0.5, down, visible(words), ha="center", va="center", parse_math=False, **font)
    room = _SHARE * figure.bbox.width
    if (wide := line.get_window_extent().width) > room:
        line.set_fontsize(max(float(line.get_fontsize()) * room / wide, _SMALLEST))
    if (wide := line.get_window_extent().width) > room:
        line.set_text(f"{line.get_text()[: int(len(line.get_text()) * room / wide) - 3]}...")


def legend_above(axes: Axes) -> None:
    """The key in one row on top of a chart, in smaller letters where the row would leave the figure."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return  # every line was lost
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2, "frameon": False}
    legend = axes.legend(handles, labels, fontsize=9, ncols=5, **place)
    box, figure = legend.get_window_extent(), axes.get_figure(root=True)
    assert figure is not None
    if box.x1 > figure.bbox.x1:
        fit = (figure.bbox.x1 - box.x0) / box.width
        axes.legend(handles, labels, fontsize=_SHARE * fit * 9, ncols=5, **place)
