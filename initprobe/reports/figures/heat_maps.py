"""Heat maps of a sweep as pictures; what they show is computed in `heat_map_data`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullLocator

from initprobe.arrays import Array
from initprobe.formatting import short
from initprobe.reports.figures.heat_map_data import DISAGREE, FAILED, NOT_RUN, Cell, HeatMap, HeatPanel, Scale
from initprobe.reports.figures.look import SCREEN, Look
from initprobe.reports.figures.panel_grid import (
    Key,
    PanelSizes,
    clipped,
    columns_of,
    draw_bar,
    limits,
    make_grid,
    verdict_color,
)
from initprobe.reports.figures.style import BLACK, GREY, points, power_text, style
from initprobe.reports.figures.sweep_series import text
from initprobe.reports.figures.titles import title_of
from initprobe.reports.log_axis import log_ticks
from initprobe.reports.people_names import people_name, people_verdict
from initprobe.results.named_numbers import LOSSES, RATE

_HATCHES = {FAILED: "xxx", NOT_RUN: "...", DISAGREE: "\\\\\\"}
_LOST = "///"
_NOWHERE, _LACKING, _HATCHING = "#BBBBBB", "#DDDDDD", "#777777"
_SIGNED = ("z", "mean")
_HALF_A_DECADE = 0.5
_FEW_PLACES = 13
# Inches that a character and a line take at font size 1, and the longest number in a cell.
_CHARACTER, _LINE = 0.0085, 0.02
_LONGEST = 7
_FLOAT_DECADES = 300
_BRIGHT = 0.55
# Rec. 601: what red, green and blue add to brightness.
_LUMA = (0.299, 0.587, 0.114)
_OUTLINE = [withStroke(linewidth=3.5, foreground="white")]


def heat_map_figure(plot: HeatMap, title: str = "", look: Look = SCREEN) -> Figure:
    """Draw coloured cells, grey and hatched without a value, and the edge of chaos where there is one.

    Args:
        plot: cells, axes and colours.
        title: above the figure; "" for none.
        look: size, title, panels per row and style.
    """
    with style(look.settings):
        count = len(plot.panels)
        size = (6.2, 4.4) if count == 1 else (3.5, 2.6) if count <= 4 else (2.2, 1.9)
        panels, font = PanelSizes(count, columns_of(count), *size), points(10 if count == 1 else 8)
        keys = [*_word_keys(plot), *_lacking_keys(plot), *_line_keys(plot)]
        name = title_of(title, people_name(plot.value), plot.layer)
        grid = make_grid(name, plot.notes, panels, keys, bar=not plot.categorical, look=look)
        shade = _shade(plot)
        for index, (axes, panel) in enumerate(zip(grid.axes, plot.panels, strict=True)):
            _draw_panel(axes, plot, panel, shade, _font_in_cells(plot, grid.panel))
            _finish_map(axes, plot, panel, grid.panel, font, *grid.outer(index))
        if grid.bar is not None:
            draw_bar(grid.bar, shade.mappable, people_name(plot.value), plot.log, shade.extend)
        return grid.figure


def _word_keys(plot: HeatMap) -> Iterator[Key]:
    counts = Counter(cell.word for cell in plot.cells if cell.word)
    for word, count in counts.most_common():
        yield Patch(facecolor=verdict_color(word)), f"{people_verdict(word)} ({count})"


def _lacking_keys(plot: HeatMap) -> Iterator[Key]:
    counts = Counter((cell.empty, cell.lacking) for cell in plot.cells if cell.lacking)
    for (empty, lacking), count in sorted(counts.items(), reverse=True):
        prefix = "" if empty or lacking == DISAGREE else "some "
        yield Patch(**_hatching(empty, lacking)), f"{prefix}{lacking} ({count})"
    if plot.missing:
        yield Patch(facecolor=_NOWHERE), f"not in the sweep ({plot.missing})"


def _hatching(empty: bool, lacking: str) -> dict[str, Any]:
    hatch = _HATCHES.get(lacking, _LOST)
    return {"facecolor": _LACKING if empty else "none", "edgecolor": _HATCHING, "lw": 0, "hatch": hatch}


def _line_keys(plot: HeatMap) -> Iterator[Key]:
    if any(panel.line for panel in plot.panels):
        yield Line2D([], [], color=BLACK, lw=2, path_effects=_OUTLINE), plot.line_name


@dataclass(frozen=True)
class _Shade:
    """Colours of numbers, the same in each panel; `extend` names the ends beyond which some numbers lie."""

    mappable: ScalarMappable
    extend: str


def _shade(plot: HeatMap) -> _Shade:
    numbers = [cell.number for cell in plot.cells if cell.number is not None]
    low, high = limits(np.array(numbers), plot.log)
    last = plot.value.rpartition(".")[2]
    balanced = plot.log and low < -_HALF_A_DECADE and high > _HALF_A_DECADE
    if last in (RATE, *_SIGNED) or balanced:
        high = max(-low, high)
        colors, low = "PuOr_r", -high
    elif last.endswith("_fraction") or last == "correlation":
        colors, low, high = "viridis", min(low, 0.0), 1.0
    elif plot.value in LOSSES:
        colors, low = "viridis_r", 0.0  # bright is trained
    else:
        colors = "viridis"
    ends = (any(number < low for number in numbers), any(number > high for number in numbers))
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(ends, "neither")
    return _Shade(ScalarMappable(Normalize(low, high), mpl.colormaps[colors]), extend)


def _draw_panel(axes: Axes, plot: HeatMap, panel: HeatPanel, shade: _Shade, font: int) -> None:
    """Draw the cells of a panel, the edge of chaos, and the numbers where they fit."""
    filled = [cell for cell in panel.cells if not cell.empty]
    fills = _fills(filled, shade)
    axes.set_facecolor(_NOWHERE if plot.missing else "white")
    if plot.sparse:
        axes.scatter(
            [cell.x for cell in filled], [cell.y for cell in filled], c=fills, marker="s", s=30, lw=0.4, edgecolors=GREY
        )
    else:
        axes.add_collection(_boxes(plot, filled, facecolor=fills, lw=0, antialiased=False))
    for key in dict.fromkeys((cell.empty, cell.lacking) for cell in panel.cells if cell.lacking):
        lacking = [cell for cell in panel.cells if (cell.empty, cell.lacking) == key]
        axes.add_collection(_boxes(plot, lacking, **_hatching(*key)))
    if panel.line is not None:
        places = (scale.drawn(panel.line[scale.name]) for scale in (plot.x, plot.y))
        axes.plot(*places, color=BLACK, lw=2, path_effects=_OUTLINE)
    if font:
        for x, y, cell, fill in zip(*_places(plot, filled), filled, fills, strict=True):
            _write(axes, (x, y), _decades(cell.number) if plot.log else short(cell.number), fill, font)


def _fills(cells: Sequence[Cell], shade: _Shade) -> Array:
    """Red, green, blue and opacity of cells that are not empty, `(cells, 4)`."""
    if any(cell.word for cell in cells):
        return to_rgba_array([verdict_color(cell.word) for cell in cells])
    return shade.mappable.to_rgba(np.array([cell.number for cell in cells], float))


def _boxes(plot: HeatMap, cells: Sequence[Cell], **look: Any) -> PolyCollection:
    """Cells as rectangles."""
    (left, right), (low, high) = (_ends(plot.x, [c.x for c in cells]), _ends(plot.y, [c.y for c in cells]))
    corners = np.array([(left, low), (right, low), (right, high), (left, high)])
    return PolyCollection(list(np.moveaxis(corners, 2, 0)), **look)


def _ends(scale: Scale, values: Sequence[float]) -> tuple[Array, Array]:
    """Lower and upper edges of the cells at the given values."""
    index, edges = scale.indices(values), np.array(scale.edges)
    return edges[index], edges[index + 1]


def _font_in_cells(plot: HeatMap, size: tuple[float, float]) -> int:
    """Font size of the numbers in cells. 0 where they do not fit a panel, or the edge of chaos crosses them."""
    widths, heights = len(plot.x.values) * _CHARACTER * _LONGEST, len(plot.y.values) * _LINE
    fitting = int(min(size[0] / max(widths, _LINE), size[1] / max(heights, _LINE), 10))
    crossed = any(panel.line for panel in plot.panels)
    return 0 if plot.categorical or plot.sparse or crossed or fitting < 7 else fitting


def _places(plot: HeatMap, cells: Sequence[Cell]) -> tuple[Array, Array]:
    """The places of cells, `(cells,)` across and upwards."""
    index = plot.x.indices([cell.x for cell in cells]), plot.y.indices([cell.y for cell in cells])
    return np.array(plot.x.places)[index[0]], np.array(plot.y.places)[index[1]]


def _write(axes: Axes, place: tuple[float, float], words: str, fill: Array, font: int) -> None:
    """Write a number in its cell, in black or white, whichever is readable on its colour."""
    bright = float(np.dot(fill[:3], _LUMA)) > _BRIGHT
    axes.text(*place, words, ha="center", va="center", fontsize=font, color=BLACK if bright else "white")


def _decades(log10: float | None) -> str:
    """A number as text, by its log10."""
    if log10 is None:
        return ""
    return short(10**log10 if abs(log10) < _FLOAT_DECADES else None, log10)


def _finish_map(
    axes: Axes, plot: HeatMap, panel: HeatPanel, size: tuple[float, float], font: float, first: bool, lowest: bool
) -> None:
    axes.set_title(clipped(panel.title), fontsize=points(9))
    if plot.x.log:
        axes.set_xscale("log")
    if plot.y.log:
        axes.set_yscale("log")
    axes.set(xlim=(plot.x.edges[0], plot.x.edges[-1]), ylim=(plot.y.edges[0], plot.y.edges[-1]))
    widest = max((len(text(value)) for value in plot.x.values), default=0)
    axes.tick_params(labelsize=font)
    _tick(axes.xaxis, plot.x, int(size[0] / (_CHARACTER * font * (widest + 1))), lowest)
    _tick(axes.yaxis, plot.y, int(size[1] / (_LINE * font)), first)


def _tick(axis: Axis, scale: Scale, most: int, labelled: bool) -> None:
    """Set ticks at the values if they are few, or at every second or third where labels would overlap."""
    axis.set_minor_locator(NullLocator())
    if scale.constant:
        axis.set_ticks([])
    elif len(scale.values) <= _FEW_PLACES:
        step = max(math.ceil(len(scale.values) / max(most, 1)), 1)
        axis.set_ticks(scale.places[::step], [text(value) for value in scale.values[::step]])
    elif scale.log:
        ticks = log_ticks(*np.log10([scale.edges[0], scale.edges[-1]]))
        axis.set_ticks([10**tick for tick in ticks], [power_text(tick) for tick in ticks])
    if labelled:
        axis.set_label_text(f"{scale.name} (the same in all runs)" if scale.constant else scale.name)
    else:
        axis.set_tick_params(labelbottom=False, labelleft=False)
