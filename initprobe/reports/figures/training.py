"""The figure of training: loss per step, and variances before and after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from initprobe.reports.figures.look import CHART, Look, fitted, sheet, stacked
from initprobe.reports.figures.profiles import finish_profile_axes
from initprobe.reports.figures.run_data import Course, RunData
from initprobe.reports.figures.style import BLACK, BLUE, ORANGE, loss_limits, set_log_ticks
from initprobe.reports.figures.titles import legend_above

_HALF = replace(CHART, above=0.5)  # a legend has two rows in half the width
_LOG_BEYOND = 10  # times chance
_LOWEST_LOSS = 1e-12  # lowest on a log axis


def training(data: RunData, look: Look) -> Figure:
    """The loss per step, and the variances per layer before and after training; below each other on paper.

    Args:
        data: with a training.
        look: size, title and style.
    """
    assert data.course is not None
    if look.style == "paper":
        look = fitted(look, [CHART, CHART])
        figure = sheet(data.heading, look, 13, 18, [CHART, CHART])
        losses, change = stacked(figure, look, [CHART, CHART])
    else:
        figure = sheet(data.heading, look, 13, 4.8, [_HALF])
        half = float(figure.get_figwidth()) / 2
        (losses,) = stacked(figure, look, [_HALF], right=half + 0.2)
        (change,) = stacked(figure, look, [_HALF], left=half + 0.8)
    _draw_losses(losses, data.course)
    _draw_change(change, data.course, data.depth.count)
    return figure


def _draw_losses(axes: Axes, course: Course) -> None:
    losses, best = course.losses, course.chance
    wild = max(losses, default=1.0) > _LOG_BEYOND * best
    curve, chance = (np.log10(np.maximum(v, _LOWEST_LOSS)) if wild else np.asarray(v) for v in (losses, best))
    axes.plot(curve, color=BLUE, lw=1.5, label=f"{course.loss} of the step's batch")
    axes.axhline(float(chance), color=BLACK, lw=1, ls=":", label=f"chance: {course.chance_words} = {best:.4g}")
    if course.diverged_at is not None:
        axes.axvline(course.diverged_at, color=ORANGE, lw=1.5, ls="--", label="diverged")
    if wild:  # matplotlib's own log scale overflows near the ends of the float range
        set_log_ticks(axes, *axes.get_ylim())
    else:
        axes.set_ylim(*loss_limits([*losses, best]))
        axes.yaxis.set_major_locator(MaxNLocator(max(min(int(axes.bbox.height / axes.figure.dpi / 0.25), 8), 1)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel(f"step of plain SGD, rate {course.learning_rate:g}")
    axes.set_ylabel("loss")
    axes.grid(axis="y", color="#E5E5E5", lw=0.8)
    legend_above(axes)


def _draw_change(axes: Axes, course: Course, layers: int) -> None:
    """Draw profiles of the untrained network, dashed, and of the trained one."""
    for line in course.lines:
        color, dashes = BLUE if line.is_output else ORANGE, "-" if line.is_trained else "--"
        axes.plot(course.layers, line.logs, color=color, lw=1.5, ls=dashes, label=line.label)
    finish_profile_axes(axes, layers)
    legend_above(axes)
