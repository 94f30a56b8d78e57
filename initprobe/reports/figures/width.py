"""The figure of `initprobe width`: rms against width, a panel per quantity and step, a line per layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from initprobe.arrays import Array
from initprobe.reports.figures.style import BLACK, GREY, ORANGE, blank_figure, power_text, style
from initprobe.reports.log_axis import log_ticks
from initprobe.reports.width_table import Row, headline, line_of, rows_of, signed
from initprobe.results.coordinate_check import CoordinateCheck, Quantity, WidthLine

_PANEL, _HEIGHT, _LEGEND = 2.35, 4.8, 2.6  # inches
_LEFT, _BELOW, _ABOVE, _GAP = 0.8, 0.7, 1.15, 0.6
_MOST_STEPS = 4  # panels of changes
_DASHES = {"layer": "-", "readout": "-", "attention": ":", "stream": "--"}


def width_figure(check: CoordinateCheck) -> Figure:
    """Draw rms of h and dL/dh before training, and of the change of h after each step, on log scales.

    Args:
        check: what was measured.
    """
    panels = list(_panels(check))
    rows = rows_of(check)
    size = _LEFT + len(panels) * (_PANEL + _GAP) + _LEGEND
    with style():
        figure = blank_figure(size, _HEIGHT)
        verdict = check.verdict.partition(":")[0]
        figure.text(0.02, 0.945, f"{check.title}: {verdict}", fontsize=13, weight="bold", va="center")
        figure.text(0.02, 0.885, headline(check), fontsize=10, color="#333333", va="center")
        for number, (quantity, step, title) in enumerate(panels):
            left = (_LEFT + number * (_PANEL + _GAP)) / size
            box = (left, _BELOW / _HEIGHT, _PANEL / size, (_HEIGHT - _BELOW - _ABOVE) / _HEIGHT)
            axes = figure.add_axes(box)
            axes.set_title(title, fontsize=10.5, loc="left")
            _draw(axes, check, rows, quantity, step)
            axes.set_ylabel("rms" if number == 0 else "")
        handles, labels = _handles(figure.axes, rows)
        figure.legend(
            handles,
            labels,
            loc="center right",
            frameon=False,
            fontsize=8.5,
            title="layer: slope in the last panel\n(dotted grey: width^0.5)",
            title_fontsize=8.5,
            alignment="left",
        )
        return figure


def _panels(check: CoordinateCheck) -> list[tuple[Quantity, int, str]]:
    steps = range(1, check.steps + 1)
    chosen = steps if check.steps <= _MOST_STEPS else sorted({1, 2, math.ceil(check.steps / 2), check.steps})
    changes: list[tuple[Quantity, int, str]] = [("change", step, f"change of h, step {step}") for step in chosen]
    return [("output", 0, "h before training"), ("gradient", 0, "dL/dh before training"), *changes]


def _draw(axes: Axes, check: CoordinateCheck, rows: Sequence[Row], quantity: Quantity, step: int) -> None:
    """Draw the lines of one panel, with the spread of the seeds, and a line of slope 1/2 for the eye."""
    widths = np.array(check.widths, float)
    for number, row in enumerate(rows):
        line = line_of(check, row, quantity, step)
        if line is None or line.slope is None:
            continue
        color = _color(number, len(rows), line)
        logs = np.log(np.array(line.rms, float))
        low, middle, high = (np.exp(edge) for edge in (logs.min(axis=1), logs.mean(axis=1), logs.max(axis=1)))
        thick = 2.6 if line.kind == "readout" else 1.6
        axes.plot(
            widths, middle, color=color, ls=_DASHES[line.kind], lw=thick, marker="o", ms=3.5, label=_label(row, line)
        )
        axes.fill_between(widths, low, high, color=color, alpha=0.12, lw=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(widths, [f"{width:g}" for width in check.widths])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("width")
    _finish(axes, widths)


def _finish(axes: Axes, widths: Array) -> None:
    """At least a decade on the y axis, so that level lines look level; and a dotted line of slope 1/2."""
    low, high = (math.log10(end) for end in axes.get_ylim())
    if not axes.lines:
        axes.text(0.5, 0.5, "0 everywhere", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_yticks([])
        return
    middle, half = (low + high) / 2, max(high - low, 1.2) / 2
    axes.set_ylim(10 ** (middle - half), 10 ** (middle + half))
    places = log_ticks(middle - half, middle + half)
    axes.set_yticks([10**place for place in places], [power_text(place) for place in places])
    axes.set_yticks([], minor=True)
    start = 10 ** (middle - half + 0.06 * half)
    axes.plot(widths, start * (widths / widths[0]) ** 0.5, color=GREY, lw=1, ls=":", zorder=0)
    axes.grid(axis="y", color="#eeeeee", lw=0.8, zorder=0)


def _color(number: int, count: int, line: WidthLine) -> Any:
    if line.kind == "readout":
        return ORANGE
    if line.kind == "attention":
        return BLACK
    return mpl.colormaps["viridis"](0.9 * number / max(count - 1, 1))


def _label(row: Row, line: WidthLine) -> str:
    return f"{row.name}: {signed(line.slope)}"


def _handles(axes: Sequence[Axes], rows: Sequence[Row]) -> tuple[list[Artist], list[str]]:
    """The lines of the last panel that has each row, in the order of the rows."""
    by_row: dict[str, tuple[Artist, str]] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            by_row[label.rpartition(": ")[0]] = (handle, label)
    known = [by_row[row.name] for row in rows if row.name in by_row]
    return [handle for handle, _ in known], [label for _, label in known]
