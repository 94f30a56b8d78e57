"""Pictures of many results: heat maps, overlaid profiles, small multiples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from initprobe.reports.figures import BLACK, BLUE, GREY, ORANGE, blank_figure, style
from initprobe.results import Histogram

Array = np.ndarray[Any, np.dtype[Any]]
Line = tuple[str, Sequence[float | None], Sequence[float | None]]

_MOST_LABELS, _MOST_PANELS, _COLUMNS = 8, 24, 4


def heatmap(
    title: str,
    names: tuple[str, str, str],
    cells: Mapping[tuple[float, float], float | None],
    line: tuple[Array, Array] | None = None,
) -> Figure:
    """A colour at each `(x, y)`, `names` being those of x, y and the value; None and what is missing stay grey.

    `line` is drawn over it: x and y of the predicted edge of chaos.
    """
    x, y = (np.array(sorted({place[axis] for place in cells})) for axis in (0, 1))
    grid = np.full((len(y), len(x)), np.nan)
    for (column, row), value in cells.items():
        if value is not None and math.isfinite(value):
            grid[np.searchsorted(y, row), np.searchsorted(x, column)] = value
    with style():
        sheet = blank_figure(8.5, 6)
        axes = sheet.add_axes((0.1, 0.11, 0.74, 0.78), facecolor="#BBBBBB")
        drawn = axes.pcolormesh(_edges(x), _edges(y), np.ma.masked_invalid(grid), cmap=mpl.colormaps["cividis"])
        sheet.colorbar(drawn, cax=sheet.add_axes((0.86, 0.11, 0.025, 0.78))).set_label(names[2])
        if line is not None:
            axes.plot(*line, color="white", lw=4)
            axes.plot(*line, color=BLACK, lw=2, label="edge of chaos, predicted")
            axes.legend(loc="upper left", fontsize=9)
        axes.set(xlabel=names[0], ylabel=names[1], xlim=_edges(x)[[0, -1]], ylim=_edges(y)[[0, -1]])
        sheet.text(0.47, 0.94, title, ha="center", fontsize=13, weight="bold")
        if np.isnan(grid).any():
            sheet.text(0.47, 0.905, "grey: not run, failed, or lost", ha="center", fontsize=9)
        return sheet


def _edges(centres: Array) -> Array:
    """The edges of cells, half-way between their centres."""
    if len(centres) == 1:
        half = abs(float(centres[0])) / 10 or 0.5
        return np.array([centres[0] - half, centres[0] + half])
    middles = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middles[0]], middles, [2 * centres[-1] - middles[-1]]])


def depth(title: str, value: str, lines: Sequence[Line]) -> Figure:
    """Log10 of a variance over depth, a line a run `(label, measured, predicted)`, the prediction dashed."""
    with style():
        sheet = blank_figure(8.5, 5.5)
        axes = sheet.add_axes((0.1, 0.11, 0.85 if len(lines) > _MOST_LABELS else 0.6, 0.77))
        colors = mpl.colormaps["viridis"](np.linspace(0, 0.9, max(len(lines), 1)))
        fade = min(1.0, max(0.15, 20 / max(len(lines), 1)))
        for nth, dashes in ((1, "-"), (2, ":")):
            paths = [_path(line[nth]) for line in lines]  # type: ignore[arg-type]
            axes.add_collection(LineCollection(paths, colors=colors, linestyles=dashes, linewidths=1.4, alpha=fade))
        if len(lines) <= _MOST_LABELS:
            for (label, _, _), color in zip(lines, colors, strict=True):
                axes.plot([], [], color=color, label=label)
            axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes.autoscale()
        axes.set(xlabel="layer", ylabel=f"log10 {value}")
        sheet.text(0.1, 0.94, title, fontsize=13, weight="bold")
        many = f"; {len(lines)} runs, the first dark, the last light" if len(lines) > _MOST_LABELS else ""
        sheet.text(0.1, 0.9, f"solid: measured; dotted: predicted{many}", fontsize=9)
        return sheet


def _path(logs: Sequence[float | None]) -> Array:
    """Points of one line, with gaps where a variance was lost."""
    heights = [math.nan if log is None else log for log in logs]
    return np.column_stack([np.arange(1, len(logs) + 1), heights])


def histograms(title: str, tensor: str, panels: Sequence[tuple[str, Histogram | None]]) -> Figure:
    """One small histogram a panel `(label, counts)`, all on the axis that holds nearly everything."""
    shown = panels[:_MOST_PANELS]
    known = [histogram for _, histogram in shown if histogram is not None]
    low, high = min((h.low for h in known), default=-1.0), max((h.high for h in known), default=1.0)
    rows = max(math.ceil(len(shown) / _COLUMNS), 1)
    with style():
        sheet = blank_figure(8.5, 1.2 + 1.5 * rows)
        height = 1 - 0.9 / (1.2 + 1.5 * rows)
        for number, (label, histogram) in enumerate(shown):
            row, column = divmod(number, _COLUMNS)
            place = (0.04 + 0.24 * column, height * (1 - (row + 0.78) / rows), 0.21, 0.5 * height / rows)
            axes = sheet.add_axes(place)
            if histogram is None:
                axes.text(0.5, 0.5, "lost", transform=axes.transAxes, ha="center", color=ORANGE)
            else:
                edges = np.linspace(histogram.low, histogram.high, len(histogram.counts) + 1)
                if histogram.low == histogram.high:
                    edges = histogram.low + np.array([-0.5, 0.5]) * ((high - low) / 50 or 1.0)
                axes.stairs(np.array(histogram.counts) / max(histogram.counts), edges, fill=True, color=BLUE)
            axes.set(xlim=(low, high) if low < high else (low - 1, high + 1), ylim=(0, 1.05), yticks=[])
            axes.tick_params(labelsize=7)
            axes.set_title(label, fontsize=8)
        left = len(panels) - len(shown)
        more = f"; {left} more not shown" if left else ""
        sheet.text(
            0.04, 1 - 0.35 / (1.2 + 1.5 * rows), f"{title}: {tensor}, last layer{more}", fontsize=12, weight="bold"
        )
        sheet.text(0.04, 1 - 0.62 / (1.2 + 1.5 * rows), "each scaled to its peak", fontsize=8, color=GREY)
        return sheet
