"""The figure of training: loss per step, and variances before and after."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from initprobe.reports.figures.look import CHART, Look, sheet, stacked
from initprobe.reports.figures.profiles import finish_profile_axes
from initprobe.reports.figures.style import BLACK, BLUE, ORANGE, power_text
from initprobe.reports.figures.titles import legend_above
from initprobe.reports.log_axis import log_ticks
from initprobe.results.run import ProbeResult

_LOG_BEYOND = 10  # times chance
_LOWEST_LOSS = 1e-12  # lowest on a log axis


def training(result: ProbeResult, look: Look) -> Figure:
    """The loss per step, and the variances per layer before and after training; below each other on paper.

    Args:
        result: with a training.
        look: size, title and style.
    """
    if look.style == "paper":
        figure = sheet(result, look, 13, 18, [CHART, CHART])
        losses, change = stacked(figure, look, [CHART, CHART])
    else:
        figure = sheet(result, look, 13, 4.8, [CHART])
        half = float(figure.get_figwidth()) / 2
        (losses,) = stacked(figure, look, [CHART], right=half + 0.2)
        (change,) = stacked(figure, look, [CHART], left=half + 0.8)
    _draw_losses(losses, result)
    _draw_change(change, result)
    return figure


def _draw_losses(axes: Axes, result: ProbeResult) -> None:
    assert result.training is not None and result.loss is not None
    losses, loss = result.training.losses, result.loss
    wild = max(losses, default=1.0) > _LOG_BEYOND * loss.chance
    curve, chance = (np.log10(np.maximum(v, _LOWEST_LOSS)) if wild else np.asarray(v) for v in (losses, loss.chance))
    axes.plot(curve, color=BLUE, lw=1.5, label=f"{loss.name} of the step's batch")
    axes.axhline(float(chance), color=BLACK, lw=1, ls=":", label=f"chance: {loss.chance_words} = {loss.chance:.4g}")
    if result.training.diverged_at is not None:
        axes.axvline(result.training.diverged_at, color=ORANGE, lw=1.5, ls="--", label="diverged")
    if wild:  # matplotlib's own log scale overflows near the ends of the float range
        ticks = log_ticks(*axes.get_ylim())
        axes.set_yticks(ticks, [power_text(tick) for tick in ticks])
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(f"step of plain SGD, rate {result.training.learning_rate:g}")
    axes.set_ylabel("loss")
    axes.grid(axis="y", color="#E5E5E5", lw=0.8)
    legend_above(axes)


def _draw_change(axes: Axes, result: ProbeResult) -> None:
    """Draw profiles of the untrained network, dashed, and of the trained one."""
    assert result.training is not None
    layers = [layer.layer for layer in result.stream]
    for tensor, symbol, color in (("output", "h", BLUE), ("output_gradient", "dL/dh", ORANGE)):
        for when, shown, pattern in (("new", result.layers, "--"), ("trained", result.training.layers, "-")):
            if shown is not None:
                logs = [_finite_or_nan(shown[number - 1].tensor(tensor).variance_log10) for number in layers]
                axes.plot(layers, logs, color=color, lw=1.5, ls=pattern, label=f"Var({symbol}), {when}")
    finish_profile_axes(axes, len(result.layers))
    legend_above(axes)


def _finite_or_nan(value: float | None) -> float:
    return math.nan if value is None else value
