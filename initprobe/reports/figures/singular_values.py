"""Singular values of Jacobians at several depths over their predicted density, one panel per run.

Pennington et al. 2017, arXiv:1711.04735, figure 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initprobe.arrays import Array
from initprobe.errors import ConfigError
from initprobe.formatting import percent
from initprobe.reports.binning import shares
from initprobe.reports.figures.look import SCREEN, Look
from initprobe.reports.figures.panel_grid import CYCLE, Key, PanelSizes, clipped, make_grid
from initprobe.reports.figures.spectrum import draw_density
from initprobe.reports.figures.style import BEHIND_NOTES, BLACK, percent_ticks, points, style
from initprobe.reports.figures.sweep_kinds import SweepRun
from initprobe.reports.figures.sweep_series import label, varying
from initprobe.results.spectrum import Spectrum, SpectrumStats

_MOST_PANELS, _MOST_DEPTHS = 9, 3
_BINS = 60
# The axis begins at most this many decades below 1; what is smaller is said in words.
_DECADES = 4.0
# A peak this many times as high as the next is cut. A share below the second is not mentioned.
_SPIKE, _RARE = 2.5, 5e-3


def figure(title: str, runs: Sequence[SweepRun], look: Look = SCREEN) -> Figure:
    """Draw log10 s of the product up to a layer, and the density of theory as a line. A colour per depth.

    Args:
        title: above the figure.
        runs: of a sweep, one panel each.
        look: size, title, panels per row and style.

    Raises:
        ConfigError: more runs than panels fit.
    """
    if len(runs) > _MOST_PANELS:
        raise ConfigError(f"singular_values draws at most {_MOST_PANELS} runs, and these are {len(runs)}; use --where")
    spectra = list(zip(_titles(runs), (run.spectrum() for run in runs), strict=True))
    with style(look.settings):
        depths = sorted({stats.layer for _, spectrum in spectra for stats in _chosen(spectrum)})
        colors = dict(zip(depths, CYCLE * len(depths), strict=False))
        columns = min(len(runs), 3)
        note = "of dh_l/dh_0, layer l over the input; lines: theory for infinite width; below: left of the axis, or 0"
        grid = make_grid(
            f"{title}: singular values of the Jacobian",
            [note],
            PanelSizes(len(runs), columns, 2.65, 2.5, across=0.45, between=0.5),
            _keys(colors),
            look=look,
        )
        edges = _edges([stats for _, spectrum in spectra for stats in _chosen(spectrum)])
        for index, (axes, (name, spectrum)) in enumerate(zip(grid.axes, spectra, strict=True)):
            _draw(axes, _chosen(spectrum), edges, colors)
            axes.set_title(clipped(name), fontsize=points(9))
            first, lowest = grid.outer(index)
            axes.set(xlabel="log10 of singular value" if lowest else "", ylabel="share per bin" if first else "")
        return grid.figure


def _titles(runs: Sequence[SweepRun]) -> list[str]:
    """Activation and initializer of each run without parameters, or all settings where these are not enough."""
    short = [f"{str(run.config.act).partition(':')[0]}, {str(run.config.init).partition(':')[0]}" for run in runs]
    names = varying([run.entry for run in runs])
    return short if len(set(short)) == len(short) else [label(run.entry, names) for run in runs]


def _chosen(spectrum: Spectrum) -> list[SpectrumStats]:
    """At most three depths beyond the first layer, evenly over their logarithm, the last one included."""
    ends = [stats for stats in spectrum.end_to_end if stats.layer > 1] or list(spectrum.end_to_end)
    step = max((len(ends) - 1) // (_MOST_DEPTHS - 1), 1)
    return ends[::-1][::step][:_MOST_DEPTHS][::-1]


def _keys(colors: dict[int, str]) -> list[Key]:
    keys: list[Key] = [(Line2D([], [], color=color, lw=2), f"l = {depth}") for depth, color in colors.items()]
    return [*keys, (Line2D([], [], color=BLACK, lw=1.1), "theory")]


def _edges(drawn: Sequence[SpectrumStats]) -> Array:
    histograms = [stats.histogram_log10 for stats in drawn if stats.histogram_log10 is not None]
    high = max((values.high for values in histograms), default=1.0)
    low = max(min((values.low for values in histograms), default=-1.0), high - _DECADES)
    return np.linspace(low, high + 0.05 * (high - low) + 0.01, _BINS + 1)


def _draw(axes: Axes, drawn: Sequence[SpectrumStats], edges: Array, colors: dict[int, str]) -> None:
    heights = {stats.layer: _heights(stats, edges) for stats in drawn if stats.histogram_log10 is not None}
    ceiling = _ceiling([float(each.max()) for each in heights.values()])
    notes: list[str] = []
    for stats in drawn:
        if stats.layer not in heights:
            continue
        shown = np.minimum(heights[stats.layer], ceiling)
        axes.stairs(shown, edges, fill=True, alpha=0.18, color=colors[stats.layer])
        axes.stairs(shown, edges, lw=1.5, color=colors[stats.layer])
        notes += _notes(stats.layer, heights[stats.layer], ceiling)
        if stats.theory and stats.theory.density:
            draw_density(axes, stats.theory.density, float(edges[1] - edges[0]))
    look: dict[str, Any] = {"ha": "left", "va": "top", "fontsize": points(8), "bbox": BEHIND_NOTES if notes else None}
    axes.text(0.03, 0.97, "\n".join(notes), transform=axes.transAxes, **look)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, ceiling))
    percent_ticks(axes)


def _heights(stats: SpectrumStats, edges: Array) -> Array:
    """Share of all singular values in each bin, zeros and lost ones counted."""
    assert stats.histogram_log10 is not None
    present = 1 - (stats.zero_fraction or 0.0) - (stats.lost_fraction or 0.0)
    return present * shares(stats.histogram_log10, edges)


def _ceiling(peaks: Sequence[float]) -> float:
    """The top of a panel: above all peaks but one that is far higher than the others."""
    others = sorted(peaks)[:-1] or [1.0]
    return 1.15 * min(max(peaks, default=1.0), _SPIKE * others[-1])


def _notes(layer: int, heights: Array, ceiling: float) -> Iterator[str]:
    """What the panel does not show: a spike, and what lies below the axis."""
    below = 1 - float(heights.sum())
    if below > _RARE:
        yield f"l = {layer}: {percent(below)}% below"
    if heights.max() > ceiling:
        yield f"l = {layer}: peak {percent(float(heights.max()))}%"
