"""Figures of depth profiles and histograms of a sweep; their data are computed in `sweep_data`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from initprobe.arrays import Array
from initprobe.formatting import counted, percent
from initprobe.reports.figures.heat_map_data import by_ratio
from initprobe.reports.figures.look import SCREEN, Look
from initprobe.reports.figures.panel_grid import (
    CYCLE,
    Key,
    PanelSizes,
    clipped,
    columns_of,
    draw_bar,
    limits,
    make_grid,
    shades,
    verdict_color,
)
from initprobe.reports.figures.style import (
    BEHIND_NOTES,
    BLACK,
    most_x_ticks,
    percent_ticks,
    points,
    set_log_ticks,
    style,
)
from initprobe.reports.figures.sweep_data import LABEL, DepthLine, DepthPlot, HistogramPanel, HistogramPlot
from initprobe.reports.figures.titles import fit_title, title_of
from initprobe.reports.people_names import people_name, people_verdict
from initprobe.results.named_numbers import VERDICT

_FEW_LINES = 40
_LEAST_NOTED = 0.01
_STEPS = (1, 2, 5, 10)


def depth_figure(plot: DepthPlot, title: str = "", look: Look = SCREEN) -> Figure:
    """Draw overlaid profiles with theory dashed: few by name, many by colour.

    Args:
        plot: profiles of all runs.
        title: above the figure; "" for none.
        look: size, title, panels per row and style.
    """
    with style(look.settings):
        looks = _looks(plot)
        size = (7.4, 4.2) if len(plot.panels) <= 1 else (3.6, 2.6) if len(plot.panels) <= 4 else (2.4, 2.0)
        panels = PanelSizes(max(len(plot.panels), 1), columns_of(len(plot.panels)), *size)
        name = title_of(title, people_name(plot.value))
        keys = list(_depth_keys(plot, looks))
        ends = limits(np.concatenate([line.measured for line in plot.lines] or [np.zeros(0)]), plot.log)
        notes = [*plot.notes, *_beyond_ends(plot, ends)]
        grid = make_grid(name, notes, panels, keys, bar=looks.scale is not None, look=look)
        for axes, panel in zip(grid.axes, plot.panels, strict=False):
            _draw_lines(axes, panel.lines, looks)
            axes.set_title(clipped(panel.title), fontsize=points(9))
        for index, axes in enumerate(grid.axes):
            _finish_depth(axes, plot, ends, *grid.outer(index))
        if grid.bar is not None and looks.scale is not None:
            whole = all(line.shade is None or float(line.shade).is_integer() for line in plot.lines)
            draw_bar(grid.bar, looks.scale, plot.color, looks.log, whole=whole)
        return grid.figure


@dataclass(frozen=True)
class _Looks:
    """The colours of lines: one per word, or from a scale.

    Attributes:
        colors: by word.
        marked: words that share their colour with another, and so have markers.
        scale: of the shades; None for colours by word.
        log: whether the scale is of log10.
        by_verdict: whether the words are verdicts, not labels.
    """

    colors: Mapping[str, str]
    marked: frozenset[str]
    scale: ScalarMappable | None = None
    log: bool = False
    by_verdict: bool = False

    def of(self, lines: Sequence[DepthLine]) -> Array:
        """Red, green, blue and opacity of lines, `(lines, 4)`; grey for a line without a shade."""
        if self.scale is None:
            return to_rgba_array([self.colors[self.word(line)] for line in lines])
        shades_of_lines = np.array([np.nan if line.shade is None else line.shade for line in lines])
        return self.scale.to_rgba(np.ma.masked_invalid(np.log10(shades_of_lines) if self.log else shades_of_lines))

    def word(self, line: DepthLine) -> str:
        """The word of a line in the legend."""
        return line.verdict if self.by_verdict else line.label


def _looks(plot: DepthPlot) -> _Looks:
    if plot.color == VERDICT:
        colors = {line.verdict: verdict_color(line.verdict) for line in plot.lines}
        return _Looks(colors, frozenset(), by_verdict=True)
    if plot.color == LABEL:
        labels = list(dict.fromkeys(line.label for line in plot.lines))
        colors = dict(zip(labels, itertools.cycle(CYCLE), strict=False))
        return _Looks(colors, frozenset(labels[len(CYCLE) :]))
    values = sorted({line.shade for line in plot.lines if line.shade is not None})
    log = by_ratio(values)
    ends = np.log10([values[0], values[-1]]) if log else (values[0], values[-1])
    return _Looks({}, frozenset(), shades(*ends), log)


def _depth_keys(plot: DepthPlot, looks: _Looks) -> Iterator[Key]:
    counts = Counter(looks.word(line) for line in plot.lines) if looks.scale is None else Counter()
    for word, count in counts.items():
        marker = "o" if word in looks.marked else ""
        runs = f" ({count} runs)" if count > 1 else ""
        name = people_verdict(word) if looks.by_verdict else word
        yield Line2D([], [], color=looks.colors[word], lw=2, marker=marker, ms=4), f"{name or 'the run'}{runs}"
    if any(line.predicted is not None for line in plot.lines):
        yield Line2D([], [], color=BLACK, lw=1, ls="--"), "theory"
    if any(len(_ends_of_gaps(line.measured)) for line in plot.lines):
        meaning = "0 or lost beyond" if plot.log else "no value beyond"
        yield Line2D([], [], color=BLACK, lw=0, marker="x", ms=5), meaning


def _ends_of_gaps(numbers: Array) -> Array:
    """Indices of layers that have a number beside a layer without one."""
    finite = np.isfinite(numbers)
    beside = np.zeros_like(finite)
    beside[1:] |= ~finite[:-1]
    beside[:-1] |= ~finite[1:]
    return np.flatnonzero(finite & beside)


def _beyond_ends(plot: DepthPlot, ends: tuple[float, float]) -> Iterator[str]:
    """A note on lines that leave the axis."""
    with_numbers = [numbers for line in plot.lines if np.isfinite(numbers := line.measured).any()]
    leaving = sum(np.nanmin(numbers) < ends[0] or np.nanmax(numbers) > ends[1] for numbers in with_numbers)
    if leaving:
        yield counted(leaving, "line leaves the axis", "lines leave the axis")


def _draw_lines(axes: Axes, lines: Sequence[DepthLine], looks: _Looks) -> None:
    """Draw all lines as one collection and all predictions as another: hundreds of artists would take a second.

    Short lines are on top, where a longer one would hide them.
    """
    lines = sorted(lines, key=lambda line: -len(line.measured))
    width, alpha = (1.8, 0.9) if len(lines) <= _FEW_LINES else (0.8, 0.6)
    colors = looks.of(lines)
    paths = [_path(line.measured) for line in lines]
    axes.add_collection(LineCollection(paths, colors=colors, lw=width, alpha=alpha), autolim=False)
    theory = [_path(line.predicted) for line in lines if line.predicted is not None]
    axes.add_collection(LineCollection(theory, colors=BLACK, lw=0.9, ls="--", alpha=0.8), autolim=False)
    for line, path, color in zip(lines, paths, colors, strict=True):
        if looks.word(line) in looks.marked or len(path) == 1:
            axes.plot(*path.T, "o", color=color, ms=4)
    ends = np.concatenate([path[_ends_of_gaps(path[:, 1])] for path in paths])
    axes.plot(*ends.T, "x", color=BLACK, ms=5 if len(lines) <= _FEW_LINES else 3, zorder=3)


def _path(numbers: Array) -> Array:
    """Numbers per layer as points, `(layers, 2)`."""
    return np.column_stack((1 + np.arange(len(numbers)), numbers))


def _finish_depth(axes: Axes, plot: DepthPlot, ends: tuple[float, float], first: bool, lowest: bool) -> None:
    layers = max((len(line.measured) for line in plot.lines), default=1)
    low, high = ends
    room = 0.04 * (high - low)
    axes.set(xlim=(0.5, layers + 0.5), ylim=(low - room, high + room))
    axes.xaxis.set_major_locator(MaxNLocator(most_x_ticks(axes, len(str(layers))), integer=True))
    if plot.log:
        set_log_ticks(axes, low - room, high + room)
    axes.grid(axis="y", color="#E5E5E5", lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelleft=first, labelbottom=lowest)
    axes.set(xlabel="layer" if lowest else "", ylabel=people_name(plot.value) if first else "")


def histogram_figure(plot: HistogramPlot, title: str = "", look: Look = SCREEN) -> Figure:
    """Draw small multiples of histograms on one axis, theory as a black line.

    Args:
        plot: histograms of all runs.
        title: above the figure; "" for none.
        look: size, title, panels per row and style.
    """
    with style(look.settings):
        count = len(plot.panels)
        columns, *size = (3, 2.5, 1.9) if count <= 6 else (4, 1.9, 1.5) if count <= 12 else (6, 1.2, 1.1)
        colors = dict(zip(plot.labels or ("",), CYCLE, strict=False))
        name = title_of(title, people_name(plot.tensor), plot.layer)
        panels, keys = PanelSizes(count, columns, *size), list(_histogram_keys(plot, colors))
        grid = make_grid(name, plot.notes, panels, keys, look=look)
        for index, (axes, panel) in enumerate(zip(grid.axes, plot.panels, strict=True)):
            _draw_histograms(axes, plot, panel, colors)
            fit_title(axes)
            _finish_histogram(axes, plot, *grid.outer(index))
        return grid.figure


def _histogram_keys(plot: HistogramPlot, colors: Mapping[str, str]) -> Iterator[Key]:
    for label in plot.labels:
        yield Patch(facecolor=colors[label], alpha=0.7), label
    if any(curve.predicted is not None for panel in plot.panels for curve in panel.curves):
        yield Line2D([], [], color=BLACK, lw=0.9), "theory"


def _draw_histograms(axes: Axes, plot: HistogramPlot, panel: HistogramPanel, colors: Mapping[str, str]) -> None:
    alone = len(panel.curves) == 1
    for curve in panel.curves:
        heights = np.minimum(curve.shares, plot.ceiling)
        axes.stairs(heights, plot.edges, fill=True, color=colors[curve.label], alpha=0.85 if alone else 0.2, lw=0)
        if not alone:
            axes.stairs(heights, plot.edges, color=colors[curve.label], lw=1.4)
        if curve.predicted is not None:
            axes.stairs(np.minimum(curve.predicted, plot.ceiling), plot.edges, color=BLACK, lw=0.8)
    axes.set_title(
        f"{plot.over} {clipped(panel.title)}" if _bare(panel.title) else clipped(panel.title), fontsize=points(9)
    )
    words = [panel.note, *_beyond(panel, plot.ceiling)]
    look: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": points(8), "bbox": BEHIND_NOTES}
    axes.text(0.98, 0.96, "\n".join(words), transform=axes.transAxes, **look)


def _bare(title: str) -> bool:
    """Whether a title is a bare number, which needs the name of its axis."""
    return title[:1].isdigit() or title[:1] == "-"


def _beyond(panel: HistogramPanel, ceiling: float) -> Iterator[str]:
    """Notes on what a panel does not show: a spike, and entries beyond the axis."""
    peak = max((float(curve.shares.max()) for curve in panel.curves), default=0.0)
    outside = max((curve.outside for curve in panel.curves), default=0.0)
    if peak > ceiling:
        yield f"peak {percent(peak)}%"
    if outside > _LEAST_NOTED:
        yield f"{percent(outside)}% beyond the axis"


def _finish_histogram(axes: Axes, plot: HistogramPlot, first: bool, lowest: bool) -> None:
    axes.set(xlim=(plot.edges[0], plot.edges[-1]), ylim=(0, plot.ceiling))
    percent_ticks(axes)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=_STEPS))
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=_STEPS))
    axes.tick_params(labelleft=first, labelbottom=lowest, labelsize=points(8))
    axes.set(xlabel=people_name(plot.tensor) if lowest else "", ylabel="share per bin" if first else "")
