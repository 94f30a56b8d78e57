"""The kinds of figure of one result: a table of them, and how each is drawn. Start reading here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from initprobe.errors import UnknownNameError
from initprobe.registry import suggestion
from initprobe.reports.figures.histograms import draw_histograms
from initprobe.reports.figures.profiles import draw_profiles, finish_profile_axes
from initprobe.reports.figures.result_data import HistogramRow, gradient_histograms, output_histograms
from initprobe.reports.figures.style import BLACK, BLUE, GREY, ORANGE, blank_figure, style, titled
from initprobe.reports.figures.titles import legend_above
from initprobe.reports.figures.training import training
from initprobe.results.run import ProbeResult


@dataclass(frozen=True)
class FigureKind:
    """A kind of figure of one result.

    Attributes:
        name: of the file without its suffix, and the argument of `ProbeResult.figure`.
        draw: makes the figure.
        applies: whether a result has something to draw.
        missing: why a result has not, in words.
    """

    name: str
    draw: Callable[[ProbeResult], Figure]
    applies: Callable[[ProbeResult], bool] = lambda result: True
    missing: str = ""


def kinds(result: ProbeResult) -> tuple[str, ...]:
    """The names of those of `KINDS` for which a result has something to draw."""
    return tuple(kind.name for kind in KINDS.values() if kind.applies(result))


def draw(result: ProbeResult, kind: str) -> Figure:
    """Draw one kind of figure of a result.

    Args:
        result: what was measured.
        kind: one of `kinds(result)`.

    Raises:
        UnknownNameError: another kind; a `KeyError` too.
    """
    if kind not in (names := kinds(result)):
        raise UnknownNameError(_no_figure(kind, names))
    with style():
        return KINDS[kind].draw(result)


def _no_figure(kind: str, names: Sequence[str]) -> str:
    """Why there is no such figure, and which there are."""
    missing = f"this result has no figure {kind!r}; {KINDS[kind].missing}" if kind in KINDS else ""
    return f"{missing or f'unknown figure {kind!r}'}.{suggestion(str(kind), names)} There are {', '.join(names)}."


_OUTPUT = "output h = phi(z)"
_GRADIENT = "gradient dL/dh"


def _summary(result: ProbeResult) -> Figure:
    figure = blank_figure(13, 9.4)
    titled(figure, result)
    draw_histograms(figure.add_axes((0.06, 0.685, 0.925, 0.195)), output_histograms(result), _OUTPUT, BLUE)
    draw_histograms(figure.add_axes((0.06, 0.39, 0.925, 0.195)), gradient_histograms(result), _GRADIENT, ORANGE)
    draw_profiles(figure.add_axes((0.06, 0.065, 0.925, 0.245)), result)
    return figure


def _histograms_alone(result: ProbeResult, row: HistogramRow, label: str, color: str) -> Figure:
    figure = blank_figure(13, 3.8)
    titled(figure, result)
    draw_histograms(figure.add_axes((0.06, 0.16, 0.925, 0.56)), row, label, color)
    return figure


def _depth_alone(result: ProbeResult) -> Figure:
    figure = blank_figure(9, 5.6)
    titled(figure, result)
    draw_profiles(figure.add_axes((0.1, 0.11, 0.87, 0.73)), result)
    return figure


def _fitting(result: ProbeResult) -> Figure:
    """The quantity to which each layer was fitted, before and after."""
    figure = blank_figure(9, 4.8)
    titled(figure, result)
    axes = figure.add_axes((0.1, 0.13, 0.87, 0.66))
    fitted = [layer.fitting for layer in result.layers]
    layers = np.arange(1, len(fitted) + 1)
    words = {"before": "as drawn", "after": "fitted", "baseline": "best constant"}
    marker = "o" if len(layers) <= 40 else ""
    for (name, label), color, dashes in zip(words.items(), (GREY, BLUE, BLACK), ("--", "-", ":"), strict=True):
        values = [_log10_or_nan(getattr(fitting, name) if fitting else None) for fitting in fitted]
        if np.isfinite(values).any():
            axes.plot(layers, values, color=color, ls=dashes, lw=1.8, marker=marker, label=label)
    finish_profile_axes(axes, len(layers))
    axes.set_ylabel(next((fitting.quantity for fitting in fitted if fitting), ""))
    legend_above(axes)
    return figure


def _log10_or_nan(value: float | None) -> float:
    return math.log10(value) if value else math.nan


_KINDS = (
    FigureKind("summary", _summary),
    FigureKind("output", lambda result: _histograms_alone(result, output_histograms(result), _OUTPUT, BLUE)),
    FigureKind("gradient", lambda result: _histograms_alone(result, gradient_histograms(result), _GRADIENT, ORANGE)),
    FigureKind("depth", _depth_alone),
    FigureKind(
        "fitting",
        _fitting,
        lambda result: any(layer.fitting for layer in result.layers),
        "no weights were fitted to the data",
    ),
    FigureKind("training", training, lambda result: result.training is not None, "give train_steps"),
)
KINDS: Mapping[str, FigureKind] = {kind.name: kind for kind in _KINDS}
