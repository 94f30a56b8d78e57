"""The figure of lengths that differ from draw to draw; its numbers are computed in `length_spread_data`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initprobe.arrays import evenly
from initprobe.reports.figures.length_spread_data import FOURTHS, SpreadLine, spread_lines
from initprobe.reports.figures.look import SCREEN, Look
from initprobe.reports.figures.panel_grid import CYCLE, Key, PanelSizes, make_grid
from initprobe.reports.figures.style import BLACK, DASHES, MARKERS, style
from initprobe.reports.figures.sweep_kinds import SweepRun

_MOST_POINTS = 14


def figure(title: str, runs: Sequence[SweepRun], look: Look = SCREEN) -> Figure:
    """Draw the variance over draws against the sum of 1/width, a colour per run, and theory as a line.

    Args:
        title: above the figure.
        runs: of a sweep.
        look: size, title, panels per row and style.
    """
    with style(look.settings):
        act, lines = spread_lines(runs)
        law = f"exp({FOURTHS[act] - 1:g} x sum of 1/width) - 1"
        note = f"{act}, {runs[0].config.draws:,} draws; bars: one standard error"
        name, panels = f"{title}: lengths from draw to draw", PanelSizes(1, 1, 6.6, 4.2)
        grid = make_grid(name, [note], panels, _keys(lines, law), look=look)
        (axes,) = grid.axes
        end = max(float(line.reciprocals[-1]) for line in lines)
        sums = np.linspace(0, end, 100)
        axes.plot(sums, np.expm1((FOURTHS[act] - 1) * sums), color=BLACK, lw=1.4, zorder=3)
        for number, line in enumerate(lines):
            _draw(axes, line, number)
        axes.set(xlabel="sum of 1/width over the layers before", ylabel="variance of mean square z / mean squared")
        axes.set_xlim(-0.02 * end, 1.03 * end)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="#E5E5E5", lw=0.8)
        axes.set_axisbelow(True)
        return grid.figure


def _keys(lines: Sequence[SpreadLine], law: str) -> list[Key]:
    keys: list[Key] = [
        (Line2D([], [], color=CYCLE[number % len(CYCLE)], marker=_marker(number), ms=6, lw=0), line.label or "measured")
        for number, line in enumerate(lines)
    ]
    exact = Line2D([], [], color=BLACK, lw=0.9, ls=DASHES[1])
    return [*keys, (exact, "exact at these widths"), (Line2D([], [], color=BLACK, lw=1.4), law)]


def _marker(number: int) -> str:
    return MARKERS[number % len(MARKERS)]


def _draw(axes: Axes, line: SpreadLine, number: int) -> None:
    color = CYCLE[number % len(CYCLE)]
    axes.plot(line.reciprocals, line.predicted, color=color, lw=0.9, ls=DASHES[1])
    chosen = evenly(len(line.reciprocals), _MOST_POINTS)
    axes.errorbar(
        line.reciprocals[chosen],
        line.measured[chosen],
        yerr=line.error[chosen],
        fmt=_marker(number),
        color=color,
        ms=5,
        mec="white",
        mew=0.5,
        elinewidth=1,
        zorder=4,
    )
