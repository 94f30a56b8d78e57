"""The kinds of figure of one result: a table of them, and how each is drawn. Start reading here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from initprobe.errors import UnknownNameError
from initprobe.registry import suggestion
from initprobe.reports.figures.histograms import draw_histograms, is_density
from initprobe.reports.figures.look import CHART, SCREEN, Block, Look, fitted, sheet, stacked, thinned
from initprobe.reports.figures.profiles import draw_profiles, finish_profile_axes
from initprobe.reports.figures.result_data import HistogramRow
from initprobe.reports.figures.run_data import RunData, run_data
from initprobe.reports.figures.style import BLACK, BLUE, GREY, ORANGE, style
from initprobe.reports.figures.titles import legend_above
from initprobe.reports.figures.training import training

if TYPE_CHECKING:
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
    draw: Callable[[RunData, Look], Figure]
    applies: Callable[[RunData], bool] = lambda data: True
    missing: str = ""


def kinds(result: ProbeResult) -> tuple[str, ...]:
    """The names of those of `KINDS` for which a result has something to draw."""
    return kinds_of(run_data(result))


def kinds_of(data: RunData) -> tuple[str, ...]:
    """The same, for what the figures of a result show."""
    return tuple(kind.name for kind in KINDS.values() if kind.applies(data))


def draw(result: ProbeResult, kind: object, look: Look = SCREEN) -> Figure:
    """Draw one kind of figure of a result.

    Args:
        result: what was measured.
        kind: one of `kinds`.
        look: size, title, columns and style.

    Raises:
        UnknownNameError: another kind; a `KeyError` too.
    """
    return drawn(run_data(result), kind, look)


def drawn(data: RunData, kind: object, look: Look = SCREEN) -> Figure:
    """Draw one kind of figure of what a result shows.

    Args:
        data: of the result.
        kind: one of `kinds_of`.
        look: size, title, columns and style.

    Raises:
        UnknownNameError: another kind; a `KeyError` too.
    """
    if not isinstance(kind, str) or kind not in kinds_of(data):
        raise UnknownNameError(_no_figure(str(kind), kinds_of(data)))
    with style(look.settings):
        figure = KINDS[kind].draw(data, look)
        return thinned(figure) if look.style == "paper" else figure


def _no_figure(kind: str, names: Sequence[str]) -> str:
    """Why there is no such figure, and which there are."""
    missing = f"this result has no figure {kind!r}; {KINDS[kind].missing}" if kind in KINDS else ""
    return f"{missing or f'unknown figure {kind!r}'}.{suggestion(str(kind), names)} There are {', '.join(names)}."


_OUTPUT = "output h = phi(z)"
_GRADIENT = "gradient dL/dh"


_PANELS = Block(1.0, 0.52, 0.3)
_LAST_PANELS = Block(1.0, 0.52, 0.55)
_SHARE = 0.37  # of the height of a summary, for each of its two rows of histograms
_PROFILE = Block(1.3, 0.35, 0.6, has_legend=True)


def _panel_blocks(row: HistogramRow, look: Look, share: float = 1.0) -> list[Block]:
    """A block for each row of panels; one for columns of colour."""
    count = 1 if is_density(row, look, share) else math.ceil(len(row.panels) / look.per_row(len(row.panels)))
    return [_PANELS] * (count - 1) + [_LAST_PANELS]


def _summary(data: RunData, look: Look) -> Figure:
    rows = data.outputs, data.gradients
    blocks = [_panel_blocks(row, look, _SHARE) for row in rows]
    every = [*blocks[0], *blocks[1], _PROFILE]
    colours = [is_density(row, look, _SHARE) for row in rows]
    look = fitted(look, every)
    figure = sheet(data.heading, look, 13, 9.4 + 1.9 * (len(every) - 3), every)
    axes = stacked(figure, look, every)
    draw_histograms(axes[: len(blocks[0])], rows[0], _OUTPUT, BLUE, colours[0])
    draw_histograms(axes[len(blocks[0]) : -1], rows[1], _GRADIENT, ORANGE, colours[1])
    draw_profiles(axes[-1], data.depth)
    return figure


def _output(data: RunData, look: Look) -> Figure:
    return _histograms_alone(data, look, data.outputs, _OUTPUT, BLUE)


def _gradient(data: RunData, look: Look) -> Figure:
    return _histograms_alone(data, look, data.gradients, _GRADIENT, ORANGE)


def _histograms_alone(data: RunData, look: Look, row: HistogramRow, label: str, color: str) -> Figure:
    blocks, colours = _panel_blocks(row, look), is_density(row, look)
    look = fitted(look, blocks)
    figure = sheet(data.heading, look, 13, 3.8 + 1.9 * (len(blocks) - 1), blocks)
    draw_histograms(stacked(figure, look, blocks), row, label, color, colours)
    return figure


def _depth_alone(data: RunData, look: Look) -> Figure:
    figure = sheet(data.heading, look, 9, 5.6, [CHART])
    draw_profiles(stacked(figure, look, [CHART])[0], data.depth)
    return figure


def _fitting(data: RunData, look: Look) -> Figure:
    """The quantity to which each layer was fitted, before and after."""
    assert data.fits is not None
    figure = sheet(data.heading, look, 9, 4.8, [CHART])
    (axes,) = stacked(figure, look, [CHART], left=0.9)
    layers = np.arange(1, data.depth.count + 1)
    words = {"as drawn": data.fits.before, "fitted": data.fits.after, "best constant": data.fits.baseline}
    marker = "o" if len(layers) <= 40 else ""
    for (label, values), color, dashes in zip(words.items(), (GREY, BLUE, BLACK), ("--", "-", ":"), strict=True):
        if np.isfinite(values).any():
            axes.plot(layers, values, color=color, ls=dashes, lw=1.8, marker=marker, label=label)
    finish_profile_axes(axes, len(layers))
    axes.set_ylabel(data.fits.quantity)
    legend_above(axes)
    return figure


_KINDS = (
    FigureKind("summary", _summary),
    FigureKind("output", _output),
    FigureKind("gradient", _gradient),
    FigureKind("depth", _depth_alone),
    FigureKind(
        "fitting",
        _fitting,
        lambda data: data.fits is not None,
        "no weights were fitted to the data",
    ),
    FigureKind("training", training, lambda data: data.course is not None, "give train_steps"),
)
KINDS: Mapping[str, FigureKind] = {kind.name: kind for kind in _KINDS}
