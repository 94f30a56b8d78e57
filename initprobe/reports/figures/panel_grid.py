"""A figure with a grid of equal panels, a title, notes and a legend. Colours and axes of figures of many runs."""

from __future__ import annotations

import math
import textwrap
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from initprobe.arrays import Array
from initprobe.reports.figures.look import SCREEN, Look
from initprobe.reports.figures.style import BLACK, BLUE, DASHES, GREEN, GREY, ORANGE, blank_figure, power_text
from initprobe.reports.figures.titles import centred, label_width
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
    "oversized-weights": "#705438",
    "too-deep": "#000038",
    "silent-input": "#C4E0FC",
    "lost-in-format": "#387070",
}
_OTHER_VERDICTS = ("#8C5400", "#54FC70", "#FC00C4")  # of rules without a colour of their own


def verdict_color(word: str) -> str:
    """The colour of a verdict. A rule that has none in the table gets one of a few by its name."""
    return VERDICTS.get(word) or _OTHER_VERDICTS[zlib.crc32(word.encode()) % len(_OTHER_VERDICTS)]


# How far an axis extends beyond the middle 90% of the numbers, in widths of these; and its least extent.
_FAR = 3.0
_LEAST_DECADES = 1.0
_LEAST_SHARE = 1e-3

_LEFT, _TOP, _BOTTOM, _RIGHT = 0.85, 0.8, 0.6, 0.25
_TOP_OF_PANEL = 0.35  # above the first row on paper: the headings of the panels
_NARROWEST, _LOWEST = 7.5, 0.3
_LEAST_BETWEEN = 0.5  # for labels of ticks and the heading below them
_PAPER_COLUMNS = 2
_PAPER_PANEL = 0.9  # inches: least height
_SHRINKS = (1.0, 0.9, 0.8, 0.75)  # of letters; labels on paper to 5 points
_LEAST_SHARE_OF_HEIGHT = 0.4  # of a figure of fixed height, for its panels
_FEWEST_LETTERS = 12  # of a line of the legend
_LINE = 0.2
_CHARACTER = 0.078
_HANDLE = 0.65
LONGEST = 44


@dataclass(frozen=True)
class PanelGrid:
    """A figure with its panels.

    Attributes:
        figure: the figure.
        axes: one per panel, row by row.
        columns: panels per row.
        panel: width and height of a panel in inches.
        bar: empty Axes at the right, for a colour bar; None without one.
    """

    figure: Figure
    axes: tuple[Axes, ...]
    columns: int
    panel: tuple[float, float]
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
    title: str,
    notes: Sequence[str],
    panels: PanelSizes,
    keys: Sequence[Key] = (),
    bar: bool = False,
    longest: int = LONGEST,
    look: Look = SCREEN,
) -> PanelGrid:
    """Make a figure with empty panels.

    Args:
        title: of the figure; on paper only if `look` has one.
        notes: written in a line below the title; not on paper.
        panels: number and sizes on a screen; their widths follow from the width of the figure if `look` has one.
        keys: handles and labels of the legend.
        bar: leave space for a colour bar.
        longest: characters of a label of the legend; longer ones are cut.
        look: size, title, panels per row and style that a caller wants.
    """
    labels = [clipped(label, longest) for _, label in keys]
    look, sheet = _fitted_layout(panels, labels, bar, look)
    labels = [wrapped(label, sheet.letters) for label in labels]
    figure = blank_figure(sheet.width, sheet.height)
    axes = tuple(figure.add_axes(sheet.box(index)) for index in range(panels.count))
    shades_at = figure.add_axes(sheet.bar_box) if bar else None
    _write(figure, title, notes, look)
    if labels:
        handles, ncols = [handle for handle, _ in keys], min(sheet.labels_per_row, len(labels))
        figure.legend(handles, labels, frameon=False, fontsize=9 * look.scale, ncols=ncols, loc="lower center")
    return PanelGrid(figure, axes, sheet.columns, sheet.panel, shades_at)


@dataclass(frozen=True)
class _Layout:
    """Where the parts of a figure go, in inches.

    Attributes:
        width: of the figure.
        height: of the figure.
        columns: panels per row.
        panel: width and height of a panel.
        gaps: between the panels of a row, and between rows.
        left: of the first panel, from the left.
        top: above the first row.
        foot: below the last row.
        labels_per_row: of the legend.
        letters: characters of a line of the legend.
    """

    width: float
    height: float
    columns: int
    panel: tuple[float, float]
    gaps: tuple[float, float]
    left: float
    top: float
    foot: float
    labels_per_row: int
    letters: int

    def box(self, index: int) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of a panel, as shares of the figure."""
        row, column = divmod(index, self.columns)
        x = self.left + column * (self.panel[0] + self.gaps[0])
        y = self.height - self.top - self.panel[1] - row * (self.panel[1] + self.gaps[1])
        return x / self.width, y / self.height, self.panel[0] / self.width, self.panel[1] / self.height

    @property
    def bar_box(self) -> tuple[float, float, float, float]:
        """The same of the colour bar, right of the panels."""
        x = self.left + self.columns * (self.panel[0] + self.gaps[0]) - self.gaps[0] + 0.15
        return x / self.width, self.foot / self.height, 0.18 / self.width, 1 - (self.foot + self.top) / self.height


def _fitted_layout(panels: PanelSizes, labels: Sequence[str], bar: bool, look: Look) -> tuple[Look, _Layout]:
    """The layout, with smaller letters and more panels per row where a fixed height leaves panels too low.

    Within the context of `style`, the smaller letters hold at once.
    """
    sheet = _layout(panels, labels, bar, look)
    if look.size is None:
        return look, sheet
    wider = replace(panels, columns=min(max(panels.columns, 2), panels.count))
    choices = [(each, factor) for factor in _SHRINKS for each in (panels, wider)]
    for each, factor in choices:
        smaller = replace(look, shrink=factor)
        sheet = _layout(each, labels, bar, smaller)
        if sheet.panel[1] >= _LEAST_SHARE_OF_HEIGHT * look.size[1] / max(math.ceil(each.count / sheet.columns), 1):
            break
    mpl.rcParams.update(smaller.settings)
    return smaller, sheet


def _layout(panels: PanelSizes, labels: Sequence[str], bar: bool, look: Look) -> _Layout:
    """Margins scale with the letters; where the size of the figure is fixed, panels take what is left."""
    scale, sides, on_screen = look.scale, look.sides, look.style == "screen"
    most = panels.columns if on_screen else _PAPER_COLUMNS
    columns = max(min(panels.count, look.columns or min(most, panels.columns)), 1)
    rows = max(math.ceil(panels.count / columns), 1)
    left, right = scale * _LEFT, scale * (1.2 if bar else _RIGHT)
    across, between = scale * panels.across, scale * panels.between
    across_all = columns * (panels.width + across) - across
    width = sides[0] if sides else max(left + across_all + right, _NARROWEST)
    wide = (width - left - right + across) / columns - across if sides else panels.width
    letters = int(((width - 0.3) / scale - _HANDLE) / _CHARACTER)
    longest = _HANDLE + max((_CHARACTER * len(each) if on_screen else label_width(each) for each in labels), default=0)
    fit = max(int((width - 0.3) / (scale * longest)), 1)
    lines = sum(wrapped(label, letters).count("\n") + 1 for label in labels) / fit
    foot = scale * (_BOTTOM + (_LINE * math.ceil(lines) + 0.1 if labels else 0))
    top = scale * (_TOP if look.style == "screen" or look.title else _TOP_OF_PANEL)
    height = sides[1] if sides else None
    tall = wide * panels.height / panels.width
    tall = tall if on_screen else max(tall, _PAPER_PANEL)
    if height is not None:
        spare = height - top - foot
        between = min(between, max((spare - rows * _LOWEST) / max(rows - 1, 1), scale * _LEAST_BETWEEN))
        tall = max((spare + between) / rows - between, _LOWEST)
    return _Layout(
        width=width,
        height=height or top + rows * (tall + between) - between + foot,
        columns=columns,
        panel=(wide, tall),
        gaps=(across, between),
        left=left + (width - right - left - columns * (wide + across) + across) / 2,
        top=top,
        foot=foot,
        labels_per_row=fit,
        letters=letters,
    )


def _write(figure: Figure, title: str, notes: Sequence[str], look: Look) -> None:
    """The title and the notes; on paper only a title that the caller gave."""
    words = title if look.title is None and look.style == "screen" else look.title
    if words:
        centred(figure, 0.25 * look.scale, words, fontsize=13 * look.scale, weight="bold")
    if look.style == "screen":
        centred(figure, 0.5, "; ".join(filter(None, notes)), fontsize=9, color="#333333")


def wrapped(label: str, letters: int) -> str:
    """A label in lines that fit the width of a figure.

    Args:
        label: in one line.
        letters: that fit.
    """
    return label if len(label) <= letters else textwrap.fill(label, max(letters, _FEWEST_LETTERS))


def clipped(label: str, longest: int = LONGEST) -> str:
    """A label cut to the longest length that fits a figure.

    Args:
        label, longest: of any length, and the number of characters that fit.
    """
    return label if len(label) <= longest else f"{label[: longest - 3]}..."


def line_look(number: int) -> dict[str, Any]:
    """Colour and dashes that tell a line from the lines of other numbers; colours come first."""
    dashes, color = divmod(number, len(CYCLE))
    return {"color": CYCLE[color], "ls": DASHES[dashes % len(DASHES)]}


def columns_of(panels: int) -> int:
    """The number of panels per row, so that the figure is no wider than a page."""
    return 2 if panels <= 4 else 3


def shades(low: float, high: float) -> ScalarMappable:
    """Colours from dark to light, without the palest, which are invisible on white.

    Args:
        low, high: numbers of the darkest and of the lightest colour.
    """
    dark = mpl.colormaps["viridis"](np.linspace(0, 0.93, 256))
    return ScalarMappable(Normalize(low, high), ListedColormap(dark).with_extremes(bad=GREY))


def limits(numbers: Array, log: bool) -> tuple[float, float]:
    """Ends of an axis for all numbers, unless a few outliers would make the others look alike.

    Args:
        numbers: in any shape; NaN is left out.
        log: whether they are logarithms.
    """
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


def draw_bar(
    axes: Axes, mappable: ScalarMappable, label: str, log: bool, extend: str = "neither", whole: bool = False
) -> None:
    """Draw a colour bar; for a log10 its ticks are the numbers themselves.

    Args:
        axes: where it goes.
        mappable: the colours and their range.
        label: of the bar.
        log: the colours show a log10.
        extend: the ends beyond which there are values: `neither`, `min`, `max` or `both`.
        whole: the numbers are whole, so the ticks are.
    """
    bar = axes.figure.colorbar(mappable, cax=axes, extend=extend)
    bar.set_label(label)
    if log:
        ticks = log_ticks(*mappable.get_clim())
        bar.set_ticks(ticks, labels=[power_text(tick) for tick in ticks])
    elif whole:
        bar.locator = MaxNLocator(integer=True)
        bar.update_ticks()
