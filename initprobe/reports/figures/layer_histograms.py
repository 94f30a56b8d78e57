"""Histograms of h and dL/dh over one another, a curve per layer, a row of panels per run.

Glorot & Bengio 2010, figures 6 and 7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initprobe.arrays import Array, evenly
from initprobe.errors import ConfigError
from initprobe.formatting import short
from initprobe.reports.binning import shares
from initprobe.reports.figures.look import SCREEN, Look
from initprobe.reports.figures.panel_grid import Key, PanelSizes, clipped, make_grid, shades
from initprobe.reports.figures.style import percent_ticks, points, style
from initprobe.reports.figures.sweep_kinds import SweepRun
from initprobe.reports.figures.sweep_series import label, varying
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult

_MOST_RUNS, _MOST_CURVES = 6, 6
_BINS = 81
_PAPER_FONT = 5.8  # points
_PAPER_ROOM = 1.8  # times the highest peak on paper, where the words need the upper part
_TENSORS = {"output": "h", "output_gradient": "dL/dh"}


def figure(title: str, runs: Sequence[SweepRun], look: Look = SCREEN) -> Figure:
    """Draw the histograms of h at the left, of dL/dh at the right. The first layer is dark, the last light.

    Args:
        title: above the figure.
        runs: of a sweep, one row of panels each.
        look: size, title, panels per row and style.

    Raises:
        ConfigError: more runs than rows fit.
    """
    if len(runs) > _MOST_RUNS:
        raise ConfigError(f"layer_histograms draws at most {_MOST_RUNS} runs, and these are {len(runs)}; use --where")
    names = varying([run.entry for run in runs])
    results = [(label(run.entry, names) or "the run", run.read()) for run in runs]
    with style(look.settings):
        colors = _colors([result for _, result in results])
        sizes = PanelSizes(2 * len(runs), 2, 3.9, 2.1, across=0.8, between=0.55)
        note = "one curve per layer; the same axis in each column; std of the first and the last layer"
        grid = make_grid(f"{title}: outputs and gradients per layer", [note], sizes, _keys(colors), look=look)
        edges = {tensor: _edges([result for _, result in results], tensor) for tensor in _TENSORS}
        for index, axes in enumerate(grid.axes):
            row, column = divmod(index, 2)
            name, result = results[row]
            tensor = list(_TENSORS)[column]
            _draw(axes, result, tensor, edges[tensor], colors)
            axes.set_title(clipped(name), fontsize=points(9))
            axes.set(xlabel=_TENSORS[tensor] if row == len(runs) - 1 else "", ylabel="" if column else "share per bin")
        return grid.figure


def _chosen(result: ProbeResult) -> list[LayerStats]:
    """A few layers, the first and the last included."""
    return [result.layers[place] for place in evenly(len(result.layers), _MOST_CURVES)]


def _colors(results: Sequence[ProbeResult]) -> dict[int, str]:
    """A colour for each layer that is drawn in any run."""
    layers = sorted({layer.layer for result in results for layer in _chosen(result)})
    scale = shades(0, max(len(layers) - 1, 1))
    return {layer: _hex(*scale.to_rgba(np.array(place))) for place, layer in enumerate(layers)}


def _hex(red: float, green: float, blue: float, _: float) -> str:
    return to_hex((red, green, blue))


def _keys(colors: dict[int, str]) -> list[Key]:
    return [(Line2D([], [], color=color, lw=2), f"layer {layer}") for layer, color in colors.items()]


def _edges(results: Sequence[ProbeResult], tensor: str) -> Array:
    """Bins about 0 that hold 98% of the entries of each layer that is not much wider than the others."""
    stats = [layer.tensor(tensor).percentiles for result in results for layer in _chosen(result)]
    reaches = [max(abs(values.p1), abs(values.p99)) for values in stats if values is not None]
    reach = 1.3 * min(max(reaches, default=1.0), 4 * float(np.median(reaches or [1.0]))) or 1.0
    return np.linspace(-reach, reach, _BINS + 1)


def _draw(axes: Axes, result: ProbeResult, tensor: str, edges: Array, colors: dict[int, str]) -> None:
    drawn = _chosen(result)
    peaks = []
    for layer in drawn:
        histogram = layer.tensor(tensor).histogram
        if histogram is not None:
            heights = shares(histogram, edges)
            peaks.append(float(heights.max()))
            axes.stairs(heights, edges, lw=1.6, color=colors[layer.layer], baseline=None)
    ends = [layer.tensor(tensor) for layer in (drawn[0], drawn[-1])]
    words = " to ".join(short(stats.std, stats.variance_log10 and stats.variance_log10 / 2) for stats in ends)
    axes.text(
        0.98,
        0.95,
        f"std {words}{_theory_words(drawn, tensor)}",
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=points(9) if points(1) >= 1 else _PAPER_FONT,
    )
    room = 1.1 if points(1) >= 1 else _PAPER_ROOM
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, room * max(peaks, default=1.0)))
    percent_ticks(axes)


def _theory_words(drawn: Sequence[LayerStats], tensor: str) -> str:
    """The predicted std of the first and the last layer, on a line of its own. Empty where theory has none."""
    stds = [
        math.sqrt(each) for layer in (drawn[0], drawn[-1]) if (each := getattr(layer.theory, f"{tensor}_variance", 0))
    ]
    return "\ntheory " + " to ".join(map(short, stds)) if len(stds) == 2 else ""
