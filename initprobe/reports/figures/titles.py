"""Titles and legends that fit the width of a figure."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from initprobe.formatting import visible
from initprobe.reports.figures.style import small

_SMALLEST = 7  # points; smaller text cannot be read
_POINTS = 72  # per inch
_SCREEN = 9  # points of a legend on a screen
_SHARE = 0.97  # of the figure's width
_FEW_LABELS = 6  # of a legend on paper that starts at the chart's left
_BEYOND = 1.2  # how far a name may reach beyond its panel
_LEAST = 5.5  # points of a shrunk name on paper
_PAPER_ROOM = 0.4  # inches above a chart on paper, for its legend


def label_width(label: str) -> float:
    """Inches of a label of a legend in letters of a screen."""
    font = FontProperties(family="DejaVu Sans", size=_SCREEN)
    return float(text_to_path.get_text_width_height_descent(visible(label), font, False)[0]) / _POINTS


def centred(figure: Figure, inches_down: float, words: str, **font: Any) -> None:
    """Write a centred line that fits the figure's width: in smaller letters, and cut if 7 points are too large.

    Args:
        figure: to write on.
        inches_down: from its top.
        words: of the line.
        font: properties of matplotlib's text.
    """
    down = 1 - inches_down / figure.get_figheight()
    line = figure.text(0.5, down, visible(words), ha="center", va="center", parse_math=False, **font)
    room = _SHARE * figure.bbox.width
    if (wide := line.get_window_extent().width) > room:
        line.set_fontsize(max(float(line.get_fontsize()) * room / wide, _SMALLEST))
    if (wide := line.get_window_extent().width) > room:
        line.set_text(f"{line.get_text()[: int(len(line.get_text()) * room / wide) - 3]}...")


def fit_words(figure: Figure) -> None:
    """Fold or shrink names of axes and headings that are longer than their panel, as on paper.

    Args:
        figure: drawn, with all its texts.
    """
    for axes in figure.axes:
        room = axes.get_window_extent()
        for text, length in ((axes.xaxis.label, room.width), (axes.yaxis.label, room.height), (axes.title, room.width)):
            least = 1.0 if text is axes.xaxis.label else _LEAST / float(text.get_fontsize())
            if text is not axes.title and least * _length(text) > _BEYOND * length:
                text.set_text(textwrap.fill(text.get_text(), len(text.get_text()) // 2 + 3))
            if (share := _BEYOND * length / max(_length(text), 1.0)) < 1:
                text.set_fontsize(max(share * float(text.get_fontsize()), _LEAST))


def title_of(name: str, value: str, layer: str = "") -> str:
    """A title from the name of a sweep, the value shown and its layer; name and layer may be empty.

    Args:
        name: of a sweep; may be empty.
        value: what is shown.
        layer: which layer it is of; may be empty.
    """
    where = "" if not layer else f" at {layer}" if layer[-1].isdigit() else f" at the {layer}"
    return f"{name}: {value}{where}" if name else f"{value}{where}"


def fit_title(axes: Axes) -> None:
    """Shrink the heading of a panel to the panel's width, and cut it where 7 points are too large.

    Args:
        axes: with its heading.
    """
    title, room, size = axes.title, axes.bbox.width, float(axes.title.get_fontsize())
    title.set_parse_math(False)  # names are no formulas
    if (wide := _length(title)) > room:
        title.set_fontsize(max(size * room / wide, min(_SMALLEST, size)))
    if (wide := _length(title)) > room:
        title.set_text(f"{title.get_text()[: int(len(title.get_text()) * room / wide) - 3]}...")


def _length(text: Text) -> float:
    """Pixels along the text, which may stand upright."""
    box = text.get_window_extent()
    return max(box.width, box.height)


def legend_above(axes: Axes) -> None:
    """Draw the legend above a chart, in as few rows as fit: at most three, or six on paper.

    Where these are not enough, letters become smaller. On paper the chart makes room for more than two rows.
    """
    handles, labels = axes.get_legend_handles_labels()
    figure = axes.get_figure(root=True)
    if not handles or figure is None:
        return  # every line was lost
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2, "frameon": False}
    size, rows = small(), (1, 2, 3)
    if size < _SCREEN:  # on paper every point counts
        rows = (1, 2, 3, 4, 5, 6)  # type: ignore[assignment]
        left, _, width, _ = axes.get_position().bounds
        place |= {"bbox_to_anchor": (-0.9 * left / width, 1)} if len(labels) > _FEW_LABELS else {}
        place |= {"handlelength": 1.2, "handletextpad": 0.4, "columnspacing": 0.8, "labelspacing": 0.2}
    for count in rows:
        place["ncols"] = math.ceil(len(labels) / count)
        box = axes.legend(handles, labels, fontsize=size, **place).get_window_extent()
        if box.x1 <= figure.bbox.x1:
            break
    else:
        fit = (figure.bbox.x1 - box.x0) / box.width
        box = axes.legend(handles, labels, fontsize=_SHARE * fit * size, **place).get_window_extent()
    if size < _SCREEN and (over := box.height - _PAPER_ROOM * figure.dpi) > 0:
        box_of_axes = axes.get_position()
        height = box_of_axes.height - over / figure.bbox.height
        axes.set_position((box_of_axes.x0, box_of_axes.y0, box_of_axes.width, height))
