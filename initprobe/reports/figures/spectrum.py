"""The figure of `initprobe spectrum`: singular values end to end, and over depth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from initprobe.arrays import Array
from initprobe.formatting import percent
from initprobe.reports.binning import shares
from initprobe.reports.figures.look import SCREEN, Look
from initprobe.reports.figures.panel_grid import Key, PanelSizes, make_grid
from initprobe.reports.figures.profiles import across
from initprobe.reports.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, percent_ticks, points, style
from initprobe.results.base import Histogram, Percentiles
from initprobe.results.spectrum import Spectrum, SpectrumDensity, SpectrumStats

_COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", ":")
_BINS = 100
# At least half a decade, so that equal singular values are a line in the middle of the axis.
_NARROWEST = 0.25
_TICK_WIDTH = 0.2  # inches that the label of a depth takes
_PANEL, _LONGEST = (5.5, 3.6), 160  # inches; characters of a name in the legend, which folds it


@dataclass(frozen=True)
class SpectrumLine:
    """The singular values s of one network's Jacobians `dh_l/dh_0`.

    Attributes:
        label: the network in words.
        values: log10 s at the last layer; None where all are 0 or lost.
        missing: share of them that is 0 or lost.
        depths: layers l of the fields below, `(depths,)`.
        percentiles: of log10 s at these layers.
        largest: log10 of the largest, NaN for none.
        smallest: log10 of the smallest that is not 0.
        predicted: log10 of the root mean square, NaN where there is no theory.
        density: predicted density of log10 s at the last layer; None where there is none.
    """

    label: str
    values: Histogram | None
    missing: float
    depths: Array
    percentiles: Sequence[Percentiles | None]
    largest: Array
    smallest: Array
    predicted: Array
    density: SpectrumDensity | None = None


def draw_spectra(spectra: Sequence[Spectrum], look: Look = SCREEN) -> Figure:
    """The singular values of networks of one shape.

    Args:
        spectra: one per network.
        look: size, title, panels per row and style.
    """
    first = spectra[0]
    return spectrum_figure(first.title, first.description.setting, [_line_of(spectrum) for spectrum in spectra], look)


def _line_of(spectrum: Spectrum) -> SpectrumLine:
    ends, last = spectrum.end_to_end, spectrum.end_to_end[-1]
    return SpectrumLine(
        label=spectrum.name,
        values=last.histogram_log10,
        missing=(last.zero_fraction or 0.0) + (last.lost_fraction or 0.0),
        depths=_column([stats.layer for stats in ends]),
        percentiles=[stats.percentiles_log10 for stats in ends],
        largest=_column([stats.largest_log10 for stats in ends]),
        smallest=_column([stats.smallest_log10 for stats in ends]),
        predicted=_column([_predicted_rms(stats) for stats in ends]),
        density=last.theory.density if last.theory else None,
    )


def _predicted_rms(stats: SpectrumStats) -> float | None:
    log10 = stats.theory.mean_square_log10 if stats.theory else None
    return None if log10 is None else log10 / 2


def _column(values: Sequence[float | None]) -> Array:
    return np.array([np.nan if value is None else value for value in values])


def spectrum_figure(title: str, setting: str, lines: Sequence[SpectrumLine], look: Look = SCREEN) -> Figure:
    """Singular values end to end as overlaid histograms of log10 s, and over depth as bands.

    Args:
        title: of the figure.
        setting: the line below the title.
        lines: one network each.
        look: size, title, panels per row and style.
    """
    sizes = PanelSizes(2, 1 if look.style == "paper" else 2, *_PANEL, across=0.9, between=0.95)
    with style(look.settings):
        grid = make_grid(title, [setting], sizes, list(_keys(lines)), longest=_LONGEST, look=look)
        _draw_values(grid.axes[0], lines)
        _draw_depths(grid.axes[1], lines)
        return grid.figure


def _keys(lines: Sequence[SpectrumLine]) -> Iterator[Key]:
    for number, line in enumerate(lines):
        yield Line2D([], [], lw=1.8, **_line_look(number)), _label(line)
    if any(line.density is not None for line in lines):
        yield Line2D([], [], color=BLACK, lw=1.1), "theory for infinite width"
    if any(np.isfinite(line.predicted).any() for line in lines):
        yield Line2D([], [], color=BLACK, lw=1.1, ls=":"), "predicted rms"
    if not any(np.isfinite(line.largest).any() for line in lines):
        return
    above = " of those above 0" if any(line.missing for line in lines) else ""
    yield Line2D([], [], color=GREY, lw=1.8), f"median by depth{above}"
    yield Patch(color=GREY, alpha=0.3, lw=0), "5 to 95%"
    yield Line2D([], [], color=GREY, lw=0.9), "smallest, largest"


def draw_density(axes: Axes, law: SpectrumDensity, width: float) -> None:
    """Draw a predicted density of log10 s as a line, scaled to shares per bin of the given width.

    Args:
        axes: to draw in.
        law: the density.
        width: of a bin, in decades.
    """
    bins = np.linspace(law.low, law.high, len(law.shares) + 1)
    middles, size = (bins[1:] + bins[:-1]) / 2, bins[1] - bins[0]
    axes.plot(middles, np.array(law.shares) * width / size, color=BLACK, lw=1.1, zorder=3)


def _line_look(number: int) -> dict[str, Any]:
    """Colour and dashes of the line with this number."""
    dashes, color = divmod(number, len(_COLORS))
    return {"color": _COLORS[color], "ls": _DASHES[dashes % len(_DASHES)]}


def _draw_values(axes: Axes, lines: Sequence[SpectrumLine]) -> None:
    histograms = [line.values for line in lines if line.values is not None]
    low = min((values.low for values in histograms), default=0.0)
    low = max(low, min((line.percentiles[-1].p5 for line in lines if line.percentiles[-1]), default=low) - 1)
    high = max((values.high for values in histograms), default=0.0)
    room = max((high - low) / 50, _NARROWEST)
    edges = np.linspace(low - room, high + room, _BINS + 1)
    for number, line in enumerate(lines):
        heights = np.zeros(_BINS) if line.values is None else (1 - line.missing) * shares(line.values, edges)
        axes.stairs(heights, edges, lw=1.8, **_line_look(number))
        axes.stairs(heights, edges, fill=True, alpha=0.18, color=_line_look(number)["color"])
    for line in lines:
        if line.density is not None:
            draw_density(axes, line.density, edges[1] - edges[0])
    if not histograms:
        _write_nothing(axes)
    else:
        axes.axvline(0, color=GREY, lw=1, zorder=0)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    percent_ticks(axes)
    axes.set(xlabel="log10 of singular value (grey: 1)", ylabel="share per bin")
    axes.set_title("end to end, dh_L/dh_0", fontsize=points(11))


def _label(line: SpectrumLine) -> str:
    if line.values is None:
        return f"{line.label}: {'all at 0' if line.missing else 'not measured'}"
    return f"{line.label}, and {percent(line.missing)}% at 0" if line.missing else line.label


def _draw_depths(axes: Axes, lines: Sequence[SpectrumLine]) -> None:
    """Draw median, middle 90% and extremes of log10 s over depth, and the predicted root mean square."""
    for number, line in enumerate(lines):
        low, middle, high = (_percentile(line, name) for name in ("p5", "p50", "p95"))
        look = _line_look(number)
        axes.plot(line.depths, middle, lw=1.8, marker="o", ms=4, **look)
        axes.fill_between(*across(line.depths, low, high), color=look["color"], alpha=0.18, lw=0)
        for extreme in (line.smallest, line.largest):
            axes.plot(*across(line.depths, extreme), color=look["color"], lw=0.9)
        axes.plot(*across(line.depths, line.predicted), color=BLACK, lw=1.1, ls=":")
    bottom = np.nanmin(
        [np.nanmin(_percentile(line, "p5")) for line in lines if np.isfinite(line.smallest).any()] or [0]
    )
    if (now := axes.get_ylim())[0] < bottom - 1:  # a few very small values would hide the rest
        axes.set_ylim(bottom - 1, now[1])
    axes.axhline(0, color=GREY, lw=1, zorder=0)
    axes.set_xscale("log", base=2)
    depths = sorted({int(depth) for line in lines for depth in line.depths})
    apart = 2 ** (math.log2(depths[-1] / depths[0]) * _TICK_WIDTH / (axes.bbox.width / axes.figure.dpi))
    depths = [depth for depth in depths if depth == depths[-1] or depth * apart < depths[-1]]
    axes.set_xticks(depths, [str(depth) for depth in depths])
    axes.set_xlim(depths[0] / 1.15, depths[-1] * 1.15)
    if not any(np.isfinite(line.largest).any() for line in lines):
        _write_nothing(axes)
        axes.set_yticks([])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="layers l", ylabel="log10 of singular value")
    axes.set_title("by depth, dh_l/dh_0", fontsize=points(11))


def _write_nothing(axes: Axes) -> None:
    axes.text(0.5, 0.6, "no singular value above 0", transform=axes.transAxes, ha="center", color=GREY)


def _percentile(line: SpectrumLine, name: str) -> Array:
    return np.array([np.nan if values is None else getattr(values, name) for values in line.percentiles])
