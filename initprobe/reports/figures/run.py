"""Results as pictures. Everything drawn comes from `strips`; nothing is computed here, and pyplot is not used."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from initprobe.errors import UnknownNameError
from initprobe.registry import suggestion
from initprobe.reports.figures.captions import legend_above
from initprobe.reports.figures.histograms import draw_strip
from initprobe.reports.figures.panels import Strip, gradient_strip, output_strip
from initprobe.reports.figures.profiles import draw_profiles, finish_profile_axes
from initprobe.reports.figures.style import BLACK, BLUE, GREY, ORANGE, blank_figure, style, titled
from initprobe.reports.figures.training import training
from initprobe.results.run import ProbeResult

KINDS = ("summary", "output", "gradient", "depth", "fitting", "training")


def kinds(result: ProbeResult) -> tuple[str, ...]:
    """Those of `KINDS` that a result has something for."""
    there = {"training": result.training is not None, "fitting": any(layer.fitting for layer in result.layers)}
    return tuple(kind for kind in KINDS if there.get(kind, True))


def draw(result: ProbeResult, kind: str) -> Figure:
    """One of the result's `kinds` as a figure of its own.

    Raises:
        UnknownNameError: another kind; a `KeyError` too.
    """
    drawers: dict[str, Callable[[ProbeResult], Figure]] = {
        "summary": _summary,
        "output": lambda r: _strip_alone(r, output_strip(r), _OUTPUT, BLUE),
        "gradient": lambda r: _strip_alone(r, gradient_strip(r), _GRADIENT, ORANGE),
        "depth": _depth_alone,
        "fitting": _fitting,
        "training": training,
    }
    if kind not in (there := kinds(result)):
        raise UnknownNameError(_no_figure(kind, there))
    with style():
        return drawers[kind](result)


def _no_figure(kind: str, there: Sequence[str]) -> str:
    """Why there is no such figure, and which there are."""
    why = {"fitting": "; no weights were fitted to the data", "training": "; give train_steps"}
    known = f"this result has no figure {kind!r}{why[kind]}" if kind in why else f"unknown figure {kind!r}"
    return f"{known}.{suggestion(str(kind), there)} There are {', '.join(there)}."


_OUTPUT = "output h = phi(z)"
_GRADIENT = "gradient dL/dh"


def _summary(result: ProbeResult) -> Figure:
    figure = blank_figure(13, 9.4)
    titled(figure, result)
    draw_strip(figure.add_axes((0.06, 0.685, 0.925, 0.195)), output_strip(result), _OUTPUT, BLUE)
    draw_strip(figure.add_axes((0.06, 0.39, 0.925, 0.195)), gradient_strip(result), _GRADIENT, ORANGE)
    draw_profiles(figure.add_axes((0.06, 0.065, 0.925, 0.245)), result)
    return figure


def _strip_alone(result: ProbeResult, strip: Strip, label: str, color: str) -> Figure:
    figure = blank_figure(13, 3.8)
    titled(figure, result)
    draw_strip(figure.add_axes((0.06, 0.16, 0.925, 0.56)), strip, label, color)
    return figure


def _depth_alone(result: ProbeResult) -> Figure:
    figure = blank_figure(9, 5.6)
    titled(figure, result)
    draw_profiles(figure.add_axes((0.1, 0.11, 0.87, 0.73)), result)
    return figure


def _fitting(result: ProbeResult) -> Figure:
    """What each layer's weights were fitted to, before and after."""
    figure = blank_figure(9, 4.8)
    titled(figure, result)
    axes = figure.add_axes((0.1, 0.13, 0.87, 0.66))
    fitted = [layer.fitting for layer in result.layers]
    layers = np.arange(1, len(fitted) + 1)
    words = {"before": "as drawn", "after": "fitted", "baseline": "best constant"}
    marker = "o" if len(layers) <= 40 else ""
    for (name, label), color, dashes in zip(words.items(), (GREY, BLUE, BLACK), ("--", "-", ":"), strict=True):
        values = [_log10_or_nan(getattr(one, name) if one else None) for one in fitted]
        if np.isfinite(values).any():
            axes.plot(layers, values, color=color, ls=dashes, lw=1.8, marker=marker, label=label)
    finish_profile_axes(axes, len(layers))
    axes.set_ylabel(next((one.quantity for one in fitted if one), ""))
    legend_above(axes)
    return figure


def _log10_or_nan(value: float | None) -> float:
    return math.log10(value) if value else math.nan
