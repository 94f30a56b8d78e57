"""Singular values of Jacobians at several depths over their predicted density, one panel per run.

Pennington et al. 2017, arXiv:1711.04735, figure 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initprobe.arrays import Array
from initprobe.errors import ConfigError
from initprobe.formatting import percent
from initprobe.reports.binning import shares
from initprobe.reports.figures.panel_grid import CYCLE, Key, PanelSizes, clipped, make_grid
from initprobe.reports.figures.spectrum import draw_density
from initprobe.reports.figures.style import BLACK, style
from initprobe.reports.figures.sweep_kinds import SweepRun
from initprobe.reports.figures.sweep_series import label, varying
from initprobe.results.spectrum import Spectrum, SpectrumStats

_MOST_PANELS, _MOST_DEPTHS = 9, 3
_BINS = 60
# The axis begins at most this many decades below 1; what is smaller is said in words.
_DECADES = 4.0


def figure(title: str, runs: Sequence[SweepRun]) -> Figure:
    """Draw log10 s of the product up to a layer, a colour per depth, and the density of theory as a line.

    Raises:
        ConfigError: more runs than panels fit.
    """
    if len(runs) > _MOST_PANELS:
        raise ConfigError(f"singular_values draws at most {_MOST_PANELS} runs, and these are {len(runs)}; use --where")
    names = varying([run.entry for run in runs])
    spectra = [(label(run.entry, names) or "the run", run.spectrum()) for run in runs]
    with style():
        depths = sorted({stats.layer for _, spectrum in spectra for stats in _chosen(spectrum)})
        colors = dict(zip(depths, CYCLE * len(depths), strict=False))
        columns = min(len(runs), 3)
        note = "of dh_l/dh_0, the change of layer l's output with the input"
        sheet = make_grid(
            f"{title}: singular values of the Jacobian",
            [note],
            PanelSizes(len(runs), columns, 2.9, 2.5, across=0.5, between=0.5),
            _keys(colors),
        )
        edges = _edges([stats for _, spectrum in spectra for stats in _chosen(spectrum)])
        for index, (axes, (name, spectrum)) in enumerate(zip(sheet.axes, spectra, strict=True)):
            _draw(axes, _chosen(spectrum), edges, colors)
            axes.set_title(clipped(name), fontsize=9)
            first, lowest = sheet.outer(index)
            axes.set(xlabel="log10 of singular value" if lowest else "", ylabel="share per bin" if first else "")
        return sheet.figure


def _chosen(spectrum: Spectrum) -> list[SpectrumStats]:
    """At most three depths beyond the first layer, evenly over their logarithm, the last one included."""
    ends = [stats for stats in spectrum.end_to_end if stats.layer > 1] or list(spectrum.end_to_end)
    step = max((len(ends) - 1) // (_MOST_DEPTHS - 1), 1)
    return ends[::-1][::step][:_MOST_DEPTHS][::-1]


def _keys(colors: dict[int, str]) -> list[Key]:
    keys: list[Key] = [(Line2D([], [], color=color, lw=2), f"l = {depth}") for depth, color in colors.items()]
    return [*keys, (Line2D([], [], color=BLACK, lw=1.1), "theory for infinite width")]


def _edges(drawn: Sequence[SpectrumStats]) -> Array:
    histograms = [stats.histogram_log10 for stats in drawn if stats.histogram_log10 is not None]
    high = max((values.high for values in histograms), default=1.0)
    low = max(min((values.low for values in histograms), default=-1.0), high - _DECADES)
    return np.linspace(low, high + 0.05 * (high - low) + 0.01, _BINS + 1)


def _draw(axes: Axes, drawn: Sequence[SpectrumStats], edges: Array, colors: dict[int, str]) -> None:
    smaller = []
    for stats in drawn:
        if stats.histogram_log10 is None:
            continue
        present = 1 - (stats.zero_fraction or 0.0) - (stats.lost_fraction or 0.0)
        heights = present * shares(stats.histogram_log10, edges)
        axes.stairs(heights, edges, fill=True, alpha=0.18, color=colors[stats.layer])
        axes.stairs(heights, edges, lw=1.5, color=colors[stats.layer])
        if (rest := 1 - float(heights.sum())) > 5e-3:
            smaller.append(f"l = {stats.layer}: {percent(rest)}% smaller or 0")
        if stats.theory and stats.theory.density:
            draw_density(axes, stats.theory.density, float(edges[1] - edges[0]))
    axes.text(0.03, 0.97, "\n".join(smaller), transform=axes.transAxes, ha="left", va="top", fontsize=8)
    axes.set(xlim=(edges[0], edges[-1]))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g}%")
