"""The figure of `initprobe width`: rms against width, a panel per quantity and step, a line per layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initprobe.arrays import Array
from initprobe.reports.figures.look import SCREEN, Look
from initprobe.reports.figures.panel_grid import Key, PanelSizes, make_grid
from initprobe.reports.figures.style import BLACK, GREY, ORANGE, points, power_text, style, tick_step
from initprobe.reports.log_axis import log_ticks
from initprobe.reports.width_table import Row, headline, line_of, rows_of, signed
from initprobe.results.coordinate_check import CoordinateCheck, Quantity, WidthLine

_LONGEST = 50  # characters of a label
_MOST_STEPS = 4  # panels of changes
_COLUMNS, _PAPER_COLUMNS = 3, 2
_DASHES = {"layer": "-", "readout": "-", "attention": ":", "stream": "--"}
_GUIDE = ":"  # dashes of the line of slope 1/2


def width_figure(check: CoordinateCheck, look: Look = SCREEN) -> Figure:
    """Draw rms of h and dL/dh before training, and of the change of h after each step, on log scales.

    Args:
        check: what was measured.
        look: size, title, panels per row and style.
    """
    panels = list(_panels(check))
    rows = rows_of(check)
    with style(look.settings):
        title = f"{check.title}: {check.verdict.partition(':')[0]}"
        columns = _PAPER_COLUMNS if look.style == "paper" else _COLUMNS
        sizes = PanelSizes(len(panels), columns, 2.45, 2.3, across=0.65, between=0.85)
        keys = list(_keys(check, rows, panels))
        notes = [headline(check), f"numbers: slopes, {panels[-1][2]}; bands: all seeds"]
        grid = make_grid(title, notes, sizes, keys, longest=_LONGEST, look=look)
        for number, (axes, (quantity, step, heading)) in enumerate(zip(grid.axes, panels, strict=True)):
            left, lowest = grid.outer(number)
            axes.set_title(heading, fontsize=points(10.5), loc="left")
            _draw(axes, check, rows, quantity, step)
            axes.set(xlabel="width" if lowest else "", ylabel="rms" if left else "")
        return grid.figure


def _panels(check: CoordinateCheck) -> list[tuple[Quantity, int, str]]:
    steps = range(1, check.steps + 1)
    chosen = steps if check.steps <= _MOST_STEPS else sorted({1, 2, math.ceil(check.steps / 2), check.steps})
    changes: list[tuple[Quantity, int, str]] = [("change", step, f"change of h, step {step}") for step in chosen]
    return [("output", 0, "h at the start"), ("gradient", 0, "dL/dh at the start"), *changes]


def _draw(axes: Axes, check: CoordinateCheck, rows: Sequence[Row], quantity: Quantity, step: int) -> None:
    """Draw the lines of one panel, with the spread of the seeds, and a guide line of slope 1/2."""
    widths = np.array(check.widths, float)
    for number, row in enumerate(rows):
        line = line_of(check, row, quantity, step)
        if line is None or line.slope is None:
            continue
        logs = np.log(np.array(line.rms, float))
        low, middle, high = (np.exp(edge) for edge in (logs.min(axis=1), logs.mean(axis=1), logs.max(axis=1)))
        axes.plot(widths, middle, marker="o", ms=3.5, **_line_style(number, len(rows), line))
        axes.fill_between(widths, low, high, color=_color(number, len(rows), line), alpha=0.12, lw=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(widths, [f"{width:g}" for width in check.widths])
    axes.set_xticks([], minor=True)
    _finish(axes, widths)


def _finish(axes: Axes, widths: Array) -> None:
    """At least a decade on the y axis, so that level lines look level, and a dotted guide line."""
    low, high = (math.log10(end) for end in axes.get_ylim())
    if not axes.lines:
        axes.text(0.5, 0.5, "0 or not finite everywhere", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_yticks([])
        axes.set_yticks([], minor=True)
        axes.set_xlim(widths[0] / 1.1, widths[-1] * 1.1)
        return
    middle, half = (low + high) / 2, max(high - low, 1.2) / 2
    axes.set_ylim(10 ** (middle - half), 10 ** (middle + half))
    places = log_ticks(middle - half, middle + half)
    places = places[:: tick_step(axes, len(places))]
    axes.set_yticks([10**place for place in places], [power_text(place) for place in places])
    axes.set_yticks([], minor=True)
    start = 10 ** (middle - half + 0.06 * half)
    axes.plot(widths, start * (widths / widths[0]) ** 0.5, color=GREY, lw=1, ls=_GUIDE, zorder=0)
    axes.grid(axis="y", color="#eeeeee", lw=0.8, zorder=0)


def _color(number: int, count: int, line: WidthLine) -> Any:
    if line.kind == "readout":
        return ORANGE
    if line.kind == "attention":
        return BLACK
    return mpl.colormaps["viridis"](0.9 * number / max(count - 1, 1))


def _line_style(number: int, count: int, line: WidthLine) -> dict[str, Any]:
    thick = 2.6 if line.kind == "readout" else 1.6
    return {"color": _color(number, count, line), "ls": _DASHES[line.kind], "lw": thick}


def _keys(check: CoordinateCheck, rows: Sequence[Row], panels: Sequence[tuple[Quantity, int, str]]) -> Iterator[Key]:
    """A label for each row, with the slope of its last panel, and one for the line of slope 1/2."""
    for number, row in enumerate(rows):
        lines = [line_of(check, row, quantity, step) for quantity, step, _ in panels]
        shown = [(line, panel) for line, panel in zip(lines, panels, strict=True) if line and line.slope is not None]
        if shown:
            line, (_, _, heading) = shown[-1]
            where = "" if shown[-1][1] == panels[-1] else f" ({heading})"
            yield Line2D([], [], **_line_style(number, len(rows), line)), f"{row.name}: {signed(line.slope)}{where}"
    yield Line2D([], [], color=GREY, lw=1, ls=_GUIDE), "width^0.5"
