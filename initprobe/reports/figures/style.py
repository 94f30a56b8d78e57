"""Colours, settings and files that all figures share."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from functools import cache
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from initprobe.arrays import Array
from initprobe.formatting import visible
from initprobe.reports.figures.png import encode
from initprobe.reports.log_axis import log_ticks, plain_number, power_of_ten

DPI = 100
FONT = 10.0  # points of letters on a screen
POINTS = 72  # per inch
_LINES_PER_TICK = 1.4
_MOST_X_TICKS = 20
_LETTER = 0.75  # widths of a letter with some room, in units of its height
BEHIND_NOTES = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.5}  # the box of words over bars
_LEAST_SPAN, _ROOM = 0.02, 0.05  # of an axis of losses: of the largest, and of the span at each end

# Okabe & Ito 2008: distinct with any colour vision.
BLUE, ORANGE, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#888888"
COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.")
MARKERS = ("o", "s", "^")
# Text stays text in an SVG: it can be searched, and edited for a paper. A minus is that of every other text.
_SVG: dict[Any, Any] = {"svg.fonttype": "none", "axes.unicode_minus": False}
# Letters of a PDF are outlines of TrueType, which publishers ask for and editors can change.
_FILES: dict[Any, Any] = {**_SVG, "pdf.fonttype": 42}
_STYLE: dict[str, Any] = {
    **_FILES,
    "font.family": "DejaVu Sans",
    "font.size": FONT,
    "svg.hashsalt": "initprobe",
    "path.simplify": True,
    "text.hinting": "none",  # glyphs take a quarter of the drawing time, hinted glyphs more
    "axes.spines.top": False,
    "axes.spines.right": False,
    "backend": "agg",
}
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}

_POWER = re.compile(r"\$10\^\{-?\d+\}\$")


def _show_literally(text: Any) -> None:
    """Names of files and functions are no formulas; their control characters are shown as escapes."""
    words = text.get_text()
    if "$" in words and not _POWER.fullmatch(words):
        text.set_parse_math(False)
    if (escaped := visible(words, breaks=True)) != words:
        text.set_text(escaped)


def render(figure: Figure, fmt: str) -> bytes:
    """Render a figure; the same figure gives the same bytes.

    Args:
        figure: to render.
        fmt: `png`, `svg` or `pdf`.
    """
    out = io.BytesIO()
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # a box is drawn instead
        if fmt == "png":
            return encode(_pixels(figure), DPI)
        figure.savefig(out, format=fmt, dpi=DPI, metadata=_METADATA[fmt])
    return out.getvalue()


def _pixels(figure: Figure) -> Array:
    """The pixels of a figure, `(height, width, 3)`; it is white where nothing is drawn, so none is transparent."""
    own = figure.get_dpi()
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    figure.set_dpi(own)
    return np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]


def style(changes: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """A context with our settings over matplotlib's defaults; the user's matplotlibrc is ignored.

    Args:
        changes: settings over ours.
    """
    settings = _defaults() | _STYLE | dict(changes)
    return nullcontext() if settings == _kept else mpl.rc_context(settings)


@cache
def _defaults() -> dict[Any, Any]:
    """The defaults of matplotlib; reading each of 330 settings takes time."""
    return dict(mpl.rcParamsDefault)


_kept: dict[Any, Any] = {}  # settings that hold to the end of this process


def keep_style() -> None:
    """Set our style for the rest of this process.

    To enter and leave it twice per figure would take a fifteenth of the time of drawing.
    """
    _kept.update(_defaults() | _STYLE)
    mpl.rcParams.update(_kept)


class Picture(Figure):
    """A figure that a notebook shows as the last value of a cell, without pyplot.

    Its texts are literal, and stay text in an SVG, also when a notebook or user code saves it.
    """

    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure in our style, as matplotlib asks for it."""
        for text in self.findobj(Text):
            _show_literally(text)
        with nullcontext() if _kept else mpl.rc_context(_SVG):
            super().draw(renderer)

    def savefig(self, fname: Any, **settings: Any) -> None:
        """Save the figure with text that stays text.

        Args:
            fname: a path or an open binary file.
            settings: as for matplotlib's own `savefig`.
        """
        with nullcontext() if _kept else mpl.rc_context(_FILES):
            super().savefig(fname, **settings)

    def _repr_png_(self) -> bytes:
        return render(self, "png")


def blank_figure(width: float, height: float) -> Picture:
    """An empty white figure.

    Args:
        width, height: in inches.
    """
    figure = Picture(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def points(on_screen: float) -> float:
    """Points of letters in the style that is being drawn.

    Args:
        on_screen: their points on a screen.
    """
    return on_screen / FONT * float(mpl.rcParams["font.size"])


def small() -> float:
    """Points of labels inside a figure."""
    return points(9)


def percent_ticks(axes: Axes) -> None:
    """Label the y axis of shares in percent."""
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")


def loss_limits(losses: npt.ArrayLike) -> tuple[float, float]:
    """Ends of an axis of losses, not below 0. They are at least 2% of the largest apart, so that noise is no slope.

    Args:
        losses: all that must be seen; those that are not finite are left out.
    """
    finite = np.asarray(losses, float)[np.isfinite(losses)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    span = max(high - low, _LEAST_SPAN * high) or 1.0
    room = (span - (high - low)) / 2 + _ROOM * span
    return max(low - room, 0.0), high + room


def set_log_ticks(axes: Axes, low: float, high: float) -> None:
    """Label a y axis of log10 values, with as many ticks as leave room for their labels.

    Args:
        axes: with the axis.
        low, high: its ends, as log10.
    """
    ticks = log_ticks(low, high)
    step = tick_step(axes, len(ticks))
    axes.set_yticks(ticks[::step], [power_text(tick) for tick in ticks[::step]])


def tick_step(axes: Axes, count: int) -> int:
    """Every how manieth tick of a y axis leaves room for its label: 1 for all of them.

    Args:
        axes: with the axis.
        count: of its ticks.
    """
    lines = axes.bbox.height / axes.figure.dpi * POINTS / float(mpl.rcParams["font.size"])
    return math.ceil(_LINES_PER_TICK * count / max(lines, 1.0))


def most_x_ticks(axes: Axes, letters: int) -> int:
    """How many labels of the x axis fit beside each other.

    Args:
        axes: with the axis.
        letters: of the longest label.
    """
    width = axes.bbox.width / axes.figure.dpi * POINTS / float(mpl.rcParams["font.size"])
    return min(max(int(width / (_LETTER * (letters + 1))), 1), _MOST_X_TICKS)


def power_text(log10: float) -> str:
    """The label of a tick: a plain number, or a power of ten where that is far from 1."""
    exponent = power_of_ten(log10)
    return plain_number(log10) if exponent is None else f"$10^{{{exponent}}}$"
