"""A row of histograms, one per layer; for many layers, columns of colour."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from initprobe.arrays import Array
from initprobe.formatting import percent, short
from initprobe.reports.figures.look import SCREEN, Look
from initprobe.reports.figures.result_data import HistogramRow, LayerHistogram
from initprobe.reports.figures.style import BEHIND_NOTES, BLACK, ORANGE, POINTS, percent_ticks, small
from initprobe.reports.layer_blocks import short_name

MOST_PANELS = 12
_GAP = 0.12
_SCREEN = 9  # points of labels on a screen; on paper they are smaller
_MOST_LABELS = 9  # of columns of colour
_LEAST = 5  # points of a label
_FEWEST_TICKS = 2  # of a colour bar
_BAR_ROOM, _BAR_ALONE = 0.8, 0.6  # inches for a colour bar with its label and without it, on a screen
_TICK = 0.25  # inches from a tick to the next, on a screen
_ROW = 1.4  # least height of a row of panels with its headings, in inches on a screen
_NARROW = 0.7  # inches of a panel in which three labels would overlap
_LINE = 1.0  # heights of a letter from one label to the next
_LETTER = 0.7  # widths of a letter with some room, in units of its height


def is_density(row: HistogramRow, look: Look = SCREEN, share: float = 1.0) -> bool:
    """Whether columns of colour stand for panels: for many layers, or where rows of panels have no room.

    Args:
        row: the histograms of one tensor.
        look: size of the figure.
        share: of its height, for this tensor.
    """
    count = len(row.panels)
    rows = math.ceil(count / look.per_row(count))
    is_low = look.size is not None and rows > 1 and share * look.size[1] < _ROW * look.scale * rows
    return count > MOST_PANELS or is_low


def draw_histograms(rows: Sequence[Axes], row: HistogramRow, label: str, color: str, colours: bool) -> None:
    """Draw histograms: panels for few layers, colours for many.

    Args:
        rows: Axes from top to bottom, each for a row of panels; one for colours.
        row: the histograms of one tensor.
        label: below the last row.
        color: of the bars.
        colours: whether to draw columns of colour.
    """
    if colours:
        _draw_density(rows[0], row, label)
        return
    per_row = math.ceil(len(row.panels) / len(rows))
    for number, axes in enumerate(rows):
        panels = row.panels[number * per_row : (number + 1) * per_row]
        is_last = number == len(rows) - 1
        _draw_panels(axes, row._replace(panels=panels), row.ceiling, label if is_last else "", color, per_row)
    rows[len(rows) // 2].set_ylabel("share per bin")


def _draw_panels(axes: Axes, row: HistogramRow, ceiling: float, label: str, color: str, per_row: int) -> None:
    """Draw all panels side by side in one Axes, with one collection each for bars, lines and frames.

    An Axes per panel, with its own ticks, would cost more time than the rest of the figure.
    """
    places = _places(row, row.edges)
    lefts = [index * (1 + _GAP) for index in range(len(row.panels))]
    bars, lines = [], []
    width = axes.bbox.width / axes.figure.dpi / (per_row * (1 + _GAP))
    for left, panel in zip(lefts, row.panels, strict=True):
        _label_panel(axes, panel, left, ceiling, is_narrow=width < _NARROW)
        if panel.shares is not None:
            bars.append(_outline(left + places, np.minimum(panel.shares, ceiling)))
        if panel.predicted is not None:
            lines.append(_outline(left + places, np.minimum(panel.predicted, ceiling)))
    axes.add_collection(PolyCollection(bars, facecolor=color, alpha=0.85, lw=0), autolim=False)
    axes.add_collection(LineCollection(lines, color=BLACK, lw=0.9), autolim=False)
    frames = [[(x, 0), (x, ceiling), (x + 1, ceiling), (x + 1, 0), (x, 0)] for x in lefts]
    axes.add_collection(LineCollection(frames, color="#BBBBBB", lw=0.8, clip_on=False), autolim=False)
    _label_ends(axes, row, lefts, width)
    axes.set_xlim(-_GAP / 2, per_row * (1 + _GAP) - _GAP / 2)
    axes.set_ylim(0, ceiling)
    axes.set_xticks([])
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    percent_ticks(axes)
    notes = ("; line: theory" if lines else "", "" if row.bend is None else "; log axis on both sides of 0")
    if label:
        axes.set_xlabel(f"{label}{''.join(notes)}", labelpad=1.6 * small())


def _outline(edges: Array, heights: Array) -> Array:
    """The corners of a step function that starts and ends at 0, `(2 bins + 2, 2)`."""
    return np.column_stack((np.repeat(edges, 2), np.concatenate(([0], np.repeat(heights, 2), [0]))))


def _label_ends(axes: Axes, row: HistogramRow, lefts: Sequence[float], width: float) -> None:
    """Label both ends and the middle of the axis below the first and the last panel; `width` is in inches."""
    middle = sum(row.ends) / 2
    marks = [(row.ends[0], "left"), (middle, "center"), (row.ends[1], "right")]
    if width < _NARROW or max(len(_tick(value)) for value in (middle, *row.ends)) > 4 - (middle != 0):
        del marks[1]
    if sum(len(_tick(value)) for value in row.ends) * _LETTER * small() / POINTS > width:
        marks = [(value, "center") for value, _ in marks]  # half of each label stands outside the panel
    for left in {lefts[0], lefts[-1]}:  # the axis is shared; thirty texts take 0.1 s
        for value, side in marks:
            place = left + float(_places(row, np.array(value)))
            axes.annotate(
                _tick(value), (place, 0), (0, -4), textcoords="offset points", ha=side, va="top", fontsize=small()
            )


def _places(row: HistogramRow, values: Array) -> Array:
    """Where values are on the axis, from 0 at its lower end to 1."""
    low, high = row.stretched(row.edges[[0, -1]])
    return np.asarray((row.stretched(values) - low) / (high - low))


def _tick(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 1000 else short(value)


def _label_panel(axes: Axes, panel: LayerHistogram, left: float, ceiling: float, is_narrow: bool) -> None:
    heading = f"layer {panel.layer}{f' {short_name(panel.name, 12)}' if panel.name else ''}\n{panel.std}"
    axes.text(left + 0.5, 1.03 * ceiling, heading, ha="center", va="bottom", fontsize=small(), linespacing=1.4)
    if panel.shares is None:
        axes.text(left + 0.5, 0.5 * ceiling, panel.std, ha="center", va="center", fontsize=1.2 * small(), color=ORANGE)
        return
    spike = panel.spike(ceiling).replace("exactly", "at" if is_narrow else "exactly")
    notes = [spike.replace(" ", "\n", 1)] if spike else []
    notes += [f"{percent(panel.outside)}%\noutside"] if panel.outside > 0.02 else []
    if notes:
        place, side = _lowest_third(panel.shares)
        look: dict[str, Any] = {"va": "top", "fontsize": small(), "bbox": BEHIND_NOTES}
        axes.text(left + place, 0.95 * ceiling, "\n".join(notes), ha=side, **look)


def _lowest_third(shares: Array) -> tuple[float, str]:
    """Where in a panel a note covers least: place and side, the right one if all are alike."""
    left, centre, right = (float(part.max()) for part in np.array_split(shares, 3))
    return min((right, 0.97, "right"), (left, 0.03, "left"), (centre, 0.5, "center"), key=lambda end: end[0])[1:]


def _draw_density(axes: Axes, row: HistogramRow, label: str) -> None:
    """Draw depth x value: the histogram of each layer as a column of colour, with mean +-1 std on top."""
    empty = np.full(len(row.edges) - 1, np.nan)
    image = np.array([empty if panel.shares is None else panel.shares for panel in row.panels]).T
    layers = np.arange(1, len(row.panels) + 1)
    low, high = row.stretched(row.edges[[0, -1]])
    drawn = axes.imshow(
        np.sqrt(image),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0.5, len(layers) + 0.5, float(low), float(high)),
        cmap=mpl.colormaps["viridis"].with_extremes(bad="#DDDDDD"),
        vmin=0,
        vmax=math.sqrt(row.brightest),
    )
    is_paper = small() < _SCREEN
    _add_colour_bar(axes, drawn, "" if is_paper else "share per bin")
    is_lost = [panel.shares is None for panel in row.panels]
    for sign in (1, -1):
        edge = np.where(is_lost, np.nan, np.array(row.means) + sign * np.array(row.stds))
        axes.plot(layers, row.stretched(edge), color="white", lw=1.6, ls="--")
    axes.yaxis.set_major_locator(MaxNLocator(_most_ticks(axes)))
    if row.bend is not None:
        _set_log_ticks(axes, row, row.bend)
    axes.set_ylim(low, high)
    axes.set_xlim(0.5, len(layers) + 0.5)
    before, most = None, max(min(_MOST_LABELS, int(axes.bbox.width / axes.figure.dpi / (0.12 * small()))), 1)
    for panel in row.panels[:: max(math.ceil(len(row.panels) / most), 1)]:
        lost = panel.std if panel.shares is None else None
        if lost is not None and lost == before:  # the reason was given at the last label
            continue
        before = lost
        side = "left" if panel.layer == 1 else "right" if panel.layer > 0.95 * len(layers) else "center"
        axes.text(panel.layer, high, panel.std, ha=side, va="bottom", fontsize=small())
    axis = "; log axis on both sides of 0" if row.bend is not None else "; colour: share per bin" if is_paper else ""
    axes.set_xlabel(f"layer (dashed: mean +-1 std{axis})", labelpad=2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(label)


def _add_colour_bar(axes: Axes, drawn: AxesImage, label: str) -> None:
    """The scale beside the axes, in percent; colours follow the square root of the share."""
    figure, box = axes.figure, axes.get_position()
    inch = small() / _SCREEN * figure.dpi / figure.bbox.width
    axes.set_position((box.x0, box.y0, box.width - (_BAR_ROOM if label else _BAR_ALONE) * inch, box.height))
    place = (axes.get_position().x1 + 0.1 * inch, box.y0, 0.12 * inch, box.height)
    bar = figure.colorbar(drawn, cax=figure.add_axes(place))
    shares = list(_round_shares(float(drawn.get_clim()[1] or 1.0), min(_most_ticks(axes), 6)))
    bar.set_ticks([math.sqrt(share) for share in shares], labels=[f"{100 * share:g}%" for share in shares])
    bar.ax.tick_params(labelsize=max(0.9 * small(), min(_LEAST, small())))
    bar.set_label(label, fontsize=small())


def _round_shares(root: float, most: int) -> Iterator[float]:
    """Round shares from 0 to the square of `root`, whose square roots are at least `root / most` apart; two or more."""
    yield 0.0
    last = 0.0
    shares = (digit * 10.0**power for power in range(-6, 1) for digit in (1, 2, 4, 6) if digit == 1 or power < 0)
    below = [round(share, 9) for share in shares if math.sqrt(share) <= root]
    for share in below if most > _FEWEST_TICKS else below[-1:]:
        if last + root / most <= math.sqrt(share) or most <= _FEWEST_TICKS:
            last = math.sqrt(share)
            yield share


def _set_log_ticks(axes: Axes, row: HistogramRow, bend: float) -> None:
    """Set ticks at 0 and at powers of ten, at most four on each side that the axis has."""
    first, last = math.ceil(math.log10(bend)), math.floor(math.log10(row.ends[1]))
    step = max(math.ceil((last - first + 1) / max(min(_most_ticks(axes) // 2, 4), 1)), 1)
    low, high = row.stretched(row.edges[[0, -1]])
    far = (high - low) * _LINE * small() / POINTS / (axes.bbox.height / axes.figure.dpi)  # a nearer tick covers the 0
    places = [k for k in range(last, first - 1, -step) if row.stretched(np.array([10.0**k]))[0] > far]
    ticks = [*(-(10.0**k) for k in places), 0.0, *(10.0**k for k in reversed(places))]
    words = [f"{10.0**k:g}" if abs(k) < 3 else f"1e{k}" for k in places]
    labelled = zip(ticks, [*(f"-{word}" for word in words), "0", *reversed(words)], strict=True)
    shown = [(tick, word) for tick, word in labelled if tick >= row.edges[0]]
    axes.set_yticks(row.stretched(np.array([tick for tick, _ in shown])), [word for _, word in shown])


def _most_ticks(axes: Axes) -> int:
    """How many ticks of the y axis leave room for their labels."""
    return max(min(int(axes.bbox.height / axes.figure.dpi / (_TICK * small() / _SCREEN)), 8), 1)
