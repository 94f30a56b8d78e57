"""A figure with a grid of equal panels, a title, notes and a legend; colours and axes of figures of many runs."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from initprobe.arrays import Array
from initprobe.reports.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, blank_figure, power_text
from initprobe.reports.figures.titles import centred
from initprobe.reports.log_axis import log_ticks

Key = tuple[Artist, str]

CYCLE = (BLUE, ORANGE, "#CC79A7", "#E69F00", "#56B4E9", BLACK, "#8C00FC")
# Vanishing is blue, exploding orange, more severe is darker; all are distinct with any colour vision.
VERDICTS = {
    "survives": GREEN,
    "healthy": GREEN,
    "not healthy": ORANGE,
    "vanishing-gradient": "#56B4E9",
    "vanishing-output": BLUE,
    "underflow": "#003F63",
    "exploding-gradient": "#E69F00",
    "exploding-output": ORANGE,
    "overflow": "#7A3400",
    "unstable-gain": "#F0E442",
    "chaotic": "#8C00FC",
    "rank-collapse": "#8C70FC",
    "saturated": "#CC79A7",
    "heavy-tailed-gradient": "#543838",
    "symmetric": "#38008C",
    "dead-units": "#381C00",
    "dead-layer": BLACK,
    "fan-mismatch": "#8CA854",
    "wrong-initializer": "#A8FC8C",
    "odd-layer": "#FCC4C4",
    "too-deep": "#000038",
    "silent-input": "#C4E0FC",
    "lost-in-format": "#387070",
}
_OTHER_VERDICTS = ("#8C5400", "#54FC70", "#FC00C4")  # of rules without a colour of their own


def verdict_color(word: str) -> str:
    """The colour of a verdict; a rule that has none in the table gets one of a few by its name."""
    return VERDICTS.get(word) or _OTHER_VERDICTS[zlib.crc32(word.encode()) % len(_OTHER_VERDICTS)]


# How far an axis extends beyond the middle 90% of the numbers, in widths of these; and its least extent.
_FAR = 3.0
_LEAST_DECADES = 1.0
_LEAST_SHARE = 1e-3

_LEFT, _TOP, _BOTTOM, _RIGHT = 0.85, 0.8, 0.6, 0.25
_NARROWEST = 7.5
_LINE = 0.2
_CHARACTER = 0.078
_HANDLE = 0.65
_LONGEST = 44


@dataclass(frozen=True)
class PanelGrid:
    """A figure with its panels.

    Attributes:
        figure: the figure.
        axes: one per panel, row by row.
        columns: panels per row.
        bar: empty Axes at the right, for a colour bar; None without one.
    """

    figure: Figure
    axes: tuple[Axes, ...]
    columns: int
    bar: Axes | None

    def outer(self, index: int) -> tuple[bool, bool]:
        """Whether a panel is in the first column, and whether no panel is below it."""
        return index % self.columns == 0, index + self.columns >= len(self.axes)


@dataclass(frozen=True)
class PanelSizes:
    """The number of panels, panels per row, and their width, height and gaps in inches."""

    count: int
    columns: int
    width: float
    height: float
    across: float = 0.3
    between: float = 0.4


def make_grid(
    title: str, notes: Sequence[str], panels: PanelSizes, keys: Sequence[Key] = (), bar: bool = False
) -> PanelGrid:
    """Make a figure with empty panels.

    Args:
        title: of the figure.
        notes: written in a line below the title.
        panels: number and sizes.
        keys: handles and labels of the legend.
        bar: leave space for a colour bar.
    """
    columns = max(min(panels.count, panels.columns), 1)
    rows = max(math.ceil(panels.count / columns), 1)
    inner = columns * panels.width + (columns - 1) * panels.across
    right = 1.2 if bar else _RIGHT
    width = max(_LEFT + inner + right, _NARROWEST)
    labels = [clipped(label) for _, label in keys]
    fit = max(int((width - 0.3) / (_HANDLE + _CHARACTER * max(map(len, labels), default=0))), 1)
    lines = math.ceil(len(labels) / fit)
    foot = _BOTTOM + (_LINE * lines + 0.1 if lines else 0)
    height = _TOP + rows * panels.height + (rows - 1) * panels.between + foot
    figure = blank_figure(width, height)
    left = (width - right - inner + _LEFT) / 2

    def box(row: int, column: int) -> tuple[float, float, float, float]:
        x = left + column * (panels.width + panels.across)
        y = height - _TOP - panels.height - row * (panels.height + panels.between)
        return x / width, y / height, panels.width / width, panels.height / height

    axes = tuple(figure.add_axes(box(*divmod(index, columns))) for index in range(panels.count))
    scale = None
    if bar:
        place = ((left + inner + 0.15) / width, foot / height, 0.18 / width, 1 - (foot + _TOP) / height)
        scale = figure.add_axes(place)
    centred(figure, 0.25, title, fontsize=13, weight="bold")
    centred(figure, 0.5, "; ".join(notes), fontsize=9, color="#333333")
    if labels:
        handles = [handle for handle, _ in keys]
        figure.legend(handles, labels, frameon=False, fontsize=9, ncols=min(fit, len(labels)), loc="lower center")
    return PanelGrid(figure, axes, columns, scale)


def clipped(label: str) -> str:
    """A label cut to the longest length that fits a figure."""
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 3]}..."


def title_of(name: str, value: str, layer: str = "") -> str:
    """A title from the name of a sweep, the value shown and its layer; name and layer may be empty."""
    where = "" if not layer else f" at {layer}" if layer[-1].isdigit() else f" at the {layer}"
    return f"{name}: {value}{where}" if name else f"{value}{where}"


def columns_of(panels: int) -> int:
    """The number of panels per row, so that the figure is no wider than a page."""
    return 2 if panels <= 4 else 3


def shades(low: float, high: float) -> ScalarMappable:
    """Colours from dark to light, without the palest, which are invisible on white."""
    dark = mpl.colormaps["viridis"](np.linspace(0, 0.93, 256))
    return ScalarMappable(Normalize(low, high), ListedColormap(dark).with_extremes(bad=GREY))


def limits(numbers: Array, log: bool) -> tuple[float, float]:
    """Ends of an axis for all numbers, unless a few outliers would make the others look alike."""
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    inner, outer = (float(end) for end in np.percentile(finite, (5, 95)))
    if outer > inner:
        low, high = max(low, inner - _FAR * (outer - inner)), min(high, outer + _FAR * (outer - inner))
    least = _LEAST_DECADES if log else _LEAST_SHARE * (max(abs(low), abs(high)) or 1.0)
    room = max(least - (high - low), 0.0) / 2
    return low - room, high + room


def draw_bar(axes: Axes, mappable: ScalarMappable, label: str, log: bool, extend: str = "neither") -> None:
    """Draw a colour bar; for a log10 its ticks are the numbers themselves.

    Args:
        axes: where it goes.
        mappable: the colours and their range.
        label: of the bar.
        log: the colours show a log10.
        extend: the ends beyond which there are values: `neither`, `min`, `max` or `both`.
    """
    bar = axes.figure.colorbar(mappable, cax=axes, extend=extend)
    bar.set_label(label)
    if log:
        ticks = log_ticks(*mappable.get_clim())
        bar.set_ticks(ticks, labels=[power_text(tick) for tick in ticks])
