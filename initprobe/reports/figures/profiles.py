"""Variances over depth, with theory; in deep PyTorch models a line per role."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from initprobe.arrays import Array
from initprobe.reports.figures.result_data import Profile, profiles
from initprobe.reports.figures.style import (
    BLACK,
    BLUE,
    COLORS,
    FEW_LAYERS,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    power_text,
)
from initprobe.reports.figures.titles import legend_above
from initprobe.reports.gaps import STATUS_WORDS
from initprobe.reports.layer_blocks import roles, short_name
from initprobe.reports.log_axis import log_ticks
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult

_POINTS = 72  # per inch
_LEAST_DECADES = 1.0  # so that rounding does not look like a slope
_MOST_ROLES = 8  # lines that colours distinguish


def _draw_roles(axes: Axes, result: ProbeResult) -> bool:
    """Draw a line per role of a model of many blocks, solid for h, dashed for dL/dh. False if there are none."""
    by_role = sorted(roles(result.layers).items(), key=lambda item: -len(item[1]))
    if not result.is_of_model or len(result.layers) <= FEW_LAYERS or len(by_role) < 2 or len(by_role[0][1]) < 3:
        return False
    for (name, group), color in zip(by_role[:_MOST_ROLES], cycle(COLORS)):
        label = short_name(name, 40) if name else "others"
        places = [layer.layer for layer in group]
        for tensor, dashes in (("output", "-"), ("output_gradient", "--")):
            values = [getattr(layer, tensor).variance_log10 for layer in group]
            logs = [math.nan if value is None else value for value in values]
            axes.plot(
                places, logs, color=color, ls=dashes, lw=1.3, marker=".", ms=4, label=label if dashes == "-" else None
            )
    finish_profile_axes(axes, len(result.layers))
    axes.set_xlabel("layer (solid: h, dashed: dL/dh; a line per place in a block)")
    legend_above(axes)
    return True


def draw_profiles(axes: Axes, result: ProbeResult) -> None:
    """Draw the variances of h, dL/dh and dL/dW over depth, with theory dotted.

    Args:
        axes: to draw on.
        result: of a run.
    """
    if _draw_roles(axes, result):
        return
    shown = profiles(result)
    few = len(result.layers) <= FEW_LAYERS
    for profile, color, marker in zip(shown, (BLUE, ORANGE, GREEN), MARKERS, strict=True):
        _draw_profile(axes, profile, color, marker if few else "")
    if any(np.isfinite(profile.predicted).any() for profile in shown):
        axes.plot([], [], color=BLACK, lw=1, ls=":", label="theory")
        axes.fill_between([], [], [], color=BLACK, alpha=0.10, lw=0, label="theory +-2 SD")
    if result.draws > 1:
        axes.fill_between([], [], [], color=GREY, alpha=0.4, lw=0, label="+-1 SD over draws")
    _mark_loss(axes, result.layers, ("preactivation", "output"), "from", "--")
    _mark_loss(axes, result.layers[::-1], ("output_gradient",), "down from", "-.")
    finish_profile_axes(axes, len(result.layers))
    legend_above(axes)


def finish_profile_axes(axes: Axes, layers: int) -> None:
    """Set ticks in powers of ten on the log10 axis, of at least one decade, and layers on the other.

    Args:
        axes: with the profiles.
        layers: number of layers.
    """
    low, high = axes.get_ylim()
    room = max(_LEAST_DECADES - (high - low), 0.0) / 2
    axes.set_ylim(low - room, high + room)
    ticks = log_ticks(low - room, high + room)
    axes.set_yticks(ticks, [power_text(tick) for tick in ticks])
    axes.set_xlim(0.5, layers + 0.5)
    axes.set_xticks(_layer_ticks(layers, _most_ticks(axes, layers)))
    axes.grid(axis="y", color="#E5E5E5", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("layer")
    axes.set_ylabel("variance")


def _mark_loss(axes: Axes, layers: Sequence[LayerStats], tensors: Sequence[str], where: str, dashes: str) -> None:
    """Draw a vertical line at the first of `layers` where the dtype lost a number."""
    for layer in layers:
        lost = [layer.tensor(name).status for name in tensors if layer.tensor(name).status != "ok"]
        if lost:
            axes.axvline(
                layer.layer, color=GREY, lw=1, ls=dashes, label=f"{STATUS_WORDS[lost[0]]} {where} layer {layer.layer}"
            )
            return


def _draw_profile(axes: Axes, profile: Profile, color: str, marker: str) -> None:
    layers, is_drawn = profile.layers, np.isfinite(profile.log10).any()
    zeros = layers[profile.zeros]
    lost = "" if is_drawn or len(zeros) else f": {'; '.join(gap.words for gap in profile.gaps)}"
    if is_drawn or lost:
        label = f"Var({profile.label}){lost}"
        axes.plot(layers, profile.log10, color=color, lw=1.8, marker=marker, ms=5, label=label)
    axes.fill_between(layers, profile.low, profile.high, color=color, alpha=0.25, lw=0)
    if len(zeros):  # a log axis has no place for 0
        bottom = axes.get_xaxis_transform()
        label = f"Var({profile.label}) = 0{_zeros_words(zeros, layers)}"
        axes.plot(zeros, np.full(len(zeros), 0.02), color=color, marker="x", ls="", transform=bottom, label=label)
    axes.plot(layers, profile.predicted, color=BLACK, lw=1, ls=":")
    axes.fill_between(layers, profile.predicted_low, profile.predicted_high, color=BLACK, alpha=0.10, lw=0)


def _zeros_words(zeros: Array, layers: Array) -> str:
    """The layers of a variance of 0: ` in all layers`, ` from layer 4`, ` to layer 3`; empty where they are apart."""
    if len(zeros) == len(layers):
        return " in all layers"
    if len(zeros) != zeros[-1] - zeros[0] + 1:
        return ""
    return f" from layer {zeros[0]}" if zeros[-1] == layers[-1] else f" to layer {zeros[-1]}"


def _most_ticks(axes: Axes, layers: int) -> int:
    """How many numbers of layers fit side by side; at most 20."""
    width = axes.bbox.width / axes.figure.dpi
    letters = float(mpl.rcParams["font.size"]) / _POINTS
    return max(min(20, int(width / (letters * (0.65 * len(str(layers)) + 1)))), 2)


def _layer_ticks(count: int, most: int) -> list[int]:
    """The first layer, the last, and round numbers between them, at most about `most`."""
    step = next(s * 10**e for e in range(9) for s in (1, 2, 5) if count / (s * 10**e) <= most)
    return sorted({1, count, *range(step, count - step // 2, step)}) if step > 1 else list(range(1, count + 1))
