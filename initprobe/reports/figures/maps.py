"""The figure of the length map and the correlation map; its numbers are computed in `maps_data`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initprobe.errors import ConfigError
from initprobe.reports.figures.look import SCREEN, Look
from initprobe.reports.figures.maps_data import Curve, Maps, maps_of
from initprobe.reports.figures.panel_grid import Key, PanelSizes, line_look, make_grid
from initprobe.reports.figures.style import BLACK, GREY, style
from initprobe.reports.figures.sweep_kinds import SweepRun

_MOST_SCALES = 14
_LONGEST = 72  # characters of a label: an activation, two scales and three numbers
_NOTE = "lines: theory for infinite width; dots: measured from one layer to the next"


def figure(title: str, runs: Sequence[SweepRun], look: Look = SCREEN) -> Figure:
    """Draw q and c of a layer over those of the layer before. Each scale of weights and biases has a line.

    Args:
        title: above the figure.
        runs: of a sweep.
        look: size, title, panels per row and style.

    Raises:
        ConfigError: no run has such maps, or there are too many to tell their lines apart.
    """
    maps = maps_of(runs)
    if len(maps) > _MOST_SCALES:
        known = f"at most {_MOST_SCALES} activations and scales, and these are {len(maps)}"
        raise ConfigError(f"maps draws {known}; use --where")
    with style(look.settings):
        fields = ("act", "sigma_w", "sigma_b")
        varying = [name for name in fields if len({getattr(each.scales, name) for each in maps}) > 1]
        same = maps[0].scales.words(name for name in fields if name not in varying)
        name = f"{title}: length map and correlation map"
        panels = PanelSizes(2, 2, 3.9, 3.6, across=0.9)
        grid = make_grid(name, [same, _NOTE], panels, _keys(maps, varying), longest=_LONGEST, look=look)
        lengths, correlations = grid.axes
        for number, each in enumerate(maps):
            _draw(lengths, each.lengths, line_look(number), each.point.q)
            _draw(correlations, each.correlations, line_look(number), each.point.correlation)
        top = max(float(each.lengths.before[-1]) for each in maps)
        _finish(lengths, top, "mean square q of z")
        _finish(correlations, 1.0, "correlation c of two inputs' z, at q*")
        return grid.figure


def _keys(maps: Sequence[Maps], varying: Sequence[str]) -> list[Key]:
    keys: list[Key] = [
        (Line2D([], [], lw=2, **line_look(number)), f"{each.scales.words(varying)}: {each.numbers}")
        for number, each in enumerate(maps)
    ]
    star = Line2D([], [], color="white", mec=BLACK, marker="*", ms=12, lw=0)
    return [*keys, (star, "fixed point by theory"), (Line2D([], [], color=GREY, lw=1, ls=":"), "unchanged")]


def _draw(axes: Axes, curve: Curve, look: dict[str, Any], fixed: float) -> None:
    color = look["color"]
    axes.plot(curve.before, curve.after, lw=1.6, **look)
    axes.plot(*curve.measured.T, "o", color=color, ms=5, mec="white", mew=0.6, zorder=4)
    axes.plot([fixed], [fixed], "*", color=color, ms=13, mec=BLACK, mew=0.9, zorder=5)


def _finish(axes: Axes, top: float, what: str) -> None:
    axes.plot([0, top], [0, top], color=GREY, lw=1, ls=":", zorder=0)
    room = 0.02 * top
    axes.set(xlim=(-room, top + room), ylim=(-room, top + room))
    axes.set(xlabel=what, ylabel="the same one layer later")
