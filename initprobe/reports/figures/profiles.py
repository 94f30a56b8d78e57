"""Variances over depth, with theory; in deep PyTorch models a line per role."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from initprobe.arrays import Array
from initprobe.reports.figures.result_data import Profile
from initprobe.reports.figures.run_data import FEW_LAYERS, Depth
from initprobe.reports.figures.style import (
    BLACK,
    BLUE,
    COLORS,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    set_log_ticks,
)
from initprobe.reports.figures.titles import legend_above
from initprobe.reports.gaps import gap_words

_POINTS = 72  # per inch
_HALF_DASH = 0.1  # layers
_LEAST_DECADES = 1.0  # so that rounding does not look like a slope


def _draw_roles(axes: Axes, depth: Depth) -> None:
    """Draw a line per role of a model of many blocks, solid for h, dashed for dL/dh."""
    for role, color in zip(depth.roles, cycle(COLORS)):
        for logs, dashes in ((role.output, "-"), (role.gradient, "--")):
            label = role.label if dashes == "-" else None
            axes.plot(role.layers, logs, color=color, ls=dashes, lw=1.3, marker=".", ms=4, label=label)
    finish_profile_axes(axes, depth.count)
    axes.set_xlabel("layer (solid: h, dashed: dL/dh; a line per place in a block)")
    legend_above(axes)


def draw_profiles(axes: Axes, depth: Depth) -> None:
    """Draw the variances of h, dL/dh and dL/dW over depth, with theory dotted.

    Args:
        axes: to draw on.
        depth: of a run.
    """
    if depth.roles:
        _draw_roles(axes, depth)
        return
    few = depth.count <= FEW_LAYERS
    for profile, color, marker in zip(depth.profiles, (BLUE, ORANGE, GREEN), MARKERS, strict=True):
        _draw_profile(axes, profile, color, marker if few else "")
    if any(np.isfinite(profile.predicted).any() for profile in depth.profiles):
        axes.plot([], [], color=BLACK, lw=1, ls=":", label="theory")
        axes.fill_between([], [], [], color=GREY, alpha=0.16, lw=0, label="theory +-2 SD")
    if depth.draws > 1:
        axes.fill_between([], [], [], color=GREY, alpha=0.4, lw=0, label="+-1 SD over draws")
    for loss in depth.losses:
        axes.axvline(loss.layer, color=GREY, lw=1, ls=loss.dashes, label=loss.label)
    finish_profile_axes(axes, depth.count)
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
    set_log_ticks(axes, low - room, high + room)
    axes.set_xlim(0.5, layers + 0.5)
    axes.set_xticks(_layer_ticks(layers, _most_ticks(axes, layers)))
    axes.grid(axis="y", color="#E5E5E5", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("layer")
    axes.set_ylabel("variance")


def _draw_profile(axes: Axes, profile: Profile, color: str, marker: str) -> None:
    layers, is_drawn = profile.layers, np.isfinite(profile.log10).any()
    zeros = layers[profile.zeros]
    lost = "" if is_drawn or len(zeros) else f": {gap_words(profile.gaps)}"
    if is_drawn or lost:
        label = f"Var({profile.label}){lost}"
        axes.plot(layers, profile.log10, color=color, lw=1.8, marker=marker, ms=5, label=label)
    axes.fill_between(*across(layers, profile.low, profile.high), color=color, alpha=0.25, lw=0)
    if len(zeros):  # a log axis has no place for 0
        bottom = axes.get_xaxis_transform()
        label = f"Var({profile.label}) = 0{_zeros_words(zeros, layers)}"
        axes.plot(zeros, np.full(len(zeros), 0.02), color=color, marker="x", ls="", transform=bottom, label=label)
    axes.plot(*across(layers, profile.predicted), color=BLACK, lw=1, ls=":")
    axes.fill_between(*across(layers, profile.predicted_low, profile.predicted_high), color=color, alpha=0.12, lw=0)


def across(places: Array, *values: Array) -> tuple[Any, ...]:
    """Places and values of a line or band. Those of a single place become a short dash, which can be seen.

    Args:
        places: on the x axis, `(points,)`.
        values: at these places, `(points,)` each.
    """
    if len(places) != 1:
        return places, *values
    return places + np.array([-_HALF_DASH, _HALF_DASH]), *(np.repeat(each, 2) for each in values)


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
