"""Colours, settings and files that all figures share."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from initprobe.formatting import visible

DPI = 100

# Okabe & Ito 2008: distinct with any colour vision.
BLUE, ORANGE, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#888888"
COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.")
MARKERS = ("o", "s", "^")
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "svg.hashsalt": "initprobe",
    "svg.fonttype": "none",  # text stays text: it can be searched, and edited for a paper
    "path.simplify": True,
    "text.hinting": "none",  # glyphs take a quarter of the drawing time, hinted glyphs more
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
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
        # Level 2 takes a third of the time of the default; files are 10% larger.
        fast: dict[str, Any] = {"pil_kwargs": {"compress_level": 2}} if fmt == "png" else {}
        figure.savefig(out, format=fmt, dpi=DPI, metadata=_METADATA[fmt], **fast)
    return out.getvalue()


FEW_LAYERS = 40


def style(changes: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """A context with our settings over matplotlib's defaults; the user's matplotlibrc is ignored.

    Args:
        changes: settings over ours.
    """
    settings: dict[Any, Any] = dict(mpl.rcParamsDefault)
    return mpl.rc_context(settings | _STYLE | {"backend": "agg"} | dict(changes))


class Picture(Figure):
    """A figure that a notebook shows as the last value of a cell, without pyplot.

    Its texts are literal, also when a notebook or user code saves it.
    """

    def draw(self, renderer: RendererBase) -> None:
        for text in self.findobj(Text):
            _show_literally(text)
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        return render(self, "png")


def blank_figure(width: float, height: float) -> Picture:
    """An empty white figure; sizes are in inches."""
    figure = Picture(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


_HALVES = tuple(number / 2 for number in range(2, 20))
_FINE = tuple(number / 20 for number in range(20, 200))
_DIGITS = ((1, 2, 5), (1, 1.5, 2, 3, 5, 7), _HALVES, _FINE)


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks on a log10 axis: whole powers at even steps over many decades, else digits as fine as three ticks need."""
    if high - low < 2.5:
        for digits in _DIGITS:
            places = [k + math.log10(m) for k in range(math.floor(low) - 1, math.ceil(high) + 1) for m in digits]
            if len(ticks := [place for place in places if low <= place <= high]) > 2:
                break
        return ticks
    step = max(math.ceil((high - low) / 8), 1)
    return [float(k) for k in range(math.ceil(low), math.floor(high) + 1) if k % step == 0]


def small() -> float:
    """Points of labels inside a figure."""
    return 0.9 * float(mpl.rcParams["font.size"])


def percent_ticks(axes: Axes) -> None:
    """Label the y axis of shares in percent."""
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")


def power_text(log10: float) -> str:
    """The label of a tick: a plain number, or a power of ten where that is far from 1."""
    exponent = round(log10)
    if abs(log10 - exponent) < 1e-9 and not -3 <= exponent <= 3:
        return f"$10^{{{exponent}}}$"
    return f"{10**log10:.5g}"
