"""The figure of the length map and the correlation map; its numbers are computed in `maps_data`."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initprobe.reports.figures.maps_data import Curve, Maps, maps_of
from initprobe.reports.figures.panel_grid import CYCLE, Key, PanelSizes, make_grid
from initprobe.reports.figures.style import BLACK, GREY, style
from initprobe.reports.figures.sweep_kinds import SweepRun

_NOTE = "lines: theory for infinite width; dots: measured from one layer to the next"


def figure(title: str, runs: Sequence[SweepRun]) -> Figure:
    """Draw q and c of a layer over those of the layer before; each scale of weights and biases has a colour."""
    with style():
        maps = maps_of(runs)
        fields = ("act", "sigma_w", "sigma_b")
        varying = [name for name in fields if len({getattr(each.scales, name) for each in maps}) > 1]
        same = maps[0].scales.words(name for name in fields if name not in varying)
        name = f"{title}: length map and correlation map"
        grid = make_grid(name, [same, _NOTE], PanelSizes(2, 2, 3.9, 3.6, across=0.9), _keys(maps, varying))
        lengths, correlations = grid.axes
        for number, each in enumerate(maps):
            color = CYCLE[number % len(CYCLE)]
            _draw(lengths, each.lengths, color, each.point.q)
            _draw(correlations, each.correlations, color, each.point.correlation)
        top = max(float(each.lengths.before[-1]) for each in maps)
        _finish(lengths, top, "mean square q of z")
        _finish(correlations, 1.0, "correlation c of two inputs' z, at q*")
        return grid.figure


def _keys(maps: Sequence[Maps], varying: Sequence[str]) -> list[Key]:
    keys: list[Key] = [
        (Line2D([], [], color=CYCLE[number % len(CYCLE)], lw=2), f"{each.scales.words(varying)}: {each.numbers}")
        for number, each in enumerate(maps)
    ]
    star = Line2D([], [], color="white", mec=BLACK, marker="*", ms=12, lw=0)
    return [*keys, (star, "fixed point by theory"), (Line2D([], [], color=GREY, lw=1, ls="--"), "unchanged")]


def _draw(axes: Axes, curve: Curve, color: str, fixed: float) -> None:
    axes.plot(curve.before, curve.after, color=color, lw=1.6)
    axes.plot(*curve.measured.T, "o", color=color, ms=5, mec="white", mew=0.6, zorder=4)
    axes.plot([fixed], [fixed], "*", color=color, ms=14, mec=BLACK, mew=0.9, zorder=5)


def _finish(axes: Axes, top: float, what: str) -> None:
    axes.plot([0, top], [0, top], color=GREY, lw=1, ls="--", zorder=0)
    room = 0.02 * top
    axes.set(xlim=(-room, top + room), ylim=(-room, top + room))
    axes.set(xlabel=what, ylabel="the same one layer later")
