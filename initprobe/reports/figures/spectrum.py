"""The figure of `initprobe spectrum`: singular values end to end, and over depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from initprobe.arrays import Array
from initprobe.formatting import percent
from initprobe.reports.binning import shares
from initprobe.reports.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, blank_figure, percent_ticks, style
from initprobe.results.base import Histogram, Percentiles
from initprobe.results.spectrum import SpectrumDensity

_COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", ":")
_BINS = 100
# At least half a decade, so that equal singular values are a line in the middle of the axis.
_NARROWEST = 0.25


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


def spectrum_figure(title: str, setting: str, lines: Sequence[SpectrumLine]) -> Figure:
    """Singular values end to end as overlaid histograms of log10 s, and over depth as bands.

    Args:
        title: of the figure.
        setting: the line below the title.
        lines: one network each.
    """
    with style():
        figure = blank_figure(13, 5.8)
        figure.text(0.5, 0.955, title, ha="center", va="center", fontsize=13, weight="bold")
        figure.text(0.5, 0.905, setting, ha="center", va="center", fontsize=10, color="#333333")
        _draw_values(figure.add_axes((0.06, 0.19, 0.43, 0.63)), lines)
        _draw_depths(figure.add_axes((0.56, 0.19, 0.425, 0.63)), lines)
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), frameon=False, fontsize=9, ncols=3, loc="lower center"
        )
        return figure


def draw_density(axes: Axes, law: SpectrumDensity, width: float, label: str = "") -> None:
    """Draw a predicted density of log10 s as a line, scaled to shares per bin of the given width.

    Args:
        axes: to draw in.
        law: the density.
        width: of a bin, in decades.
        label: for the legend; empty for none.
    """
    bins = np.linspace(law.low, law.high, len(law.shares) + 1)
    middles, size = (bins[1:] + bins[:-1]) / 2, bins[1] - bins[0]
    axes.plot(middles, np.array(law.shares) * width / size, color=BLACK, lw=1.1, label=label or "_nolegend_", zorder=3)


def _look(number: int) -> dict[str, Any]:
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
        axes.stairs(heights, edges, lw=1.8, label=_label(line), **_look(number))
        axes.stairs(heights, edges, fill=True, alpha=0.18, color=_look(number)["color"])
    predicted = [line.density for line in lines if line.density is not None]
    for number, law in enumerate(predicted):
        draw_density(axes, law, edges[1] - edges[0], "" if number else "theory for infinite width")
    axes.axvline(0, color=GREY, lw=1, zorder=0)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    percent_ticks(axes)
    axes.set(xlabel="log10 of singular value (grey: 1)", ylabel="share per bin")
    axes.set_title("end to end, dh_L/dh_0", fontsize=11)


def _label(line: SpectrumLine) -> str:
    if line.values is None:
        return f"{line.label}: {'all at 0' if line.missing else 'not measured'}"
    return f"{line.label}, and {percent(line.missing)}% at 0" if line.missing else line.label


def _draw_depths(axes: Axes, lines: Sequence[SpectrumLine]) -> None:
    """Draw median, middle 90% and extremes of log10 s over depth, and the predicted root mean square."""
    for number, line in enumerate(lines):
        low, middle, high = (_percentile(line, name) for name in ("p5", "p50", "p95"))
        look = _look(number)
        axes.plot(line.depths, middle, lw=1.8, marker="o", ms=4, **look)
        axes.fill_between(line.depths, low, high, color=look["color"], alpha=0.18, lw=0)
        for extreme in (line.smallest, line.largest):
            axes.plot(line.depths, extreme, color=look["color"], lw=0.9)
        axes.plot(line.depths, line.predicted, color=BLACK, lw=1.1, ls=":")
    bottom = np.nanmin(
        [np.nanmin(_percentile(line, "p5")) for line in lines if np.isfinite(line.smallest).any()] or [0]
    )
    if (now := axes.get_ylim())[0] < bottom - 1:  # a few very small values would hide the rest
        axes.set_ylim(bottom - 1, now[1])
    axes.axhline(0, color=GREY, lw=1, zorder=0)
    axes.set_xscale("log", base=2)
    depths = sorted({int(depth) for line in lines for depth in line.depths})
    axes.set_xticks(depths, [str(depth) for depth in depths])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="layers l", ylabel="log10 of singular value")
    axes.set_title("by depth, dh_l/dh_0: median, 5-95%, extremes; dotted: predicted rms", fontsize=11)


def _percentile(line: SpectrumLine, name: str) -> Array:
    return np.array([np.nan if values is None else getattr(values, name) for values in line.percentiles])
