"""The signal on its way through the layers, as an animated GIF: one frame per layer."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from initprobe.arrays import Array, evenly
from initprobe.reports.figures.profiles import finish_profile_axes
from initprobe.reports.figures.result_data import HistogramRow, Profile, output_histograms, profiles
from initprobe.reports.figures.style import BLACK, BLUE, GREY, blank_figure, percent_ticks, style
from initprobe.reports.figures.titles import centred
from initprobe.results.run import ProbeResult

MOST_FRAMES = 60
_FRAME_MS, _LAST_MS = 700, 2500
_FASTEST_MS = 80
_COLORS = 64  # of a frame; a histogram needs few


def gif(result: ProbeResult) -> bytes:
    """The animation as a GIF. Of more than 60 layers, 60 are shown, the first and the last among them."""
    from PIL import Image

    row, profile = output_histograms(result), profiles(result)[0]
    with style():
        frames = [_picture(_frame(result, row, profile, index)) for index in evenly(len(row.panels), MOST_FRAMES)]
    pause = max(_FASTEST_MS, min(_FRAME_MS, 12_000 // len(frames)))
    images = [Image.fromarray(frame).quantize(_COLORS) for frame in frames]
    out = io.BytesIO()
    times = [pause] * (len(images) - 1) + [_LAST_MS]
    images[0].save(out, format="GIF", save_all=True, append_images=images[1:], duration=times, loop=0, optimize=True)
    return out.getvalue()


def _picture(figure: Figure) -> Array:
    """A figure as pixels, `(height, width, 3)`."""
    canvas = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]


def _frame(result: ProbeResult, row: HistogramRow, profile: Profile, index: int) -> Figure:
    figure = blank_figure(7.2, 3.6)
    centred(figure, 0.22, result.description.title, fontsize=12, weight="bold")
    _draw_histogram(figure.add_axes((0.09, 0.16, 0.4, 0.64)), row, index)
    _draw_profile(figure.add_axes((0.6, 0.16, 0.38, 0.64)), profile, row.panels[index].layer, len(row.panels))
    return figure


def _draw_histogram(axes: Axes, row: HistogramRow, index: int) -> None:
    panel, edges = row.panels[index], row.stretched(row.edges)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, row.ceiling)
    axes.set_xticks(row.stretched(np.array(row.ends)), [f"{end:.2g}" for end in row.ends])
    percent_ticks(axes)
    axes.set_title(f"layer {panel.layer}: {panel.std}", fontsize=10)
    axes.set_xlabel("output h, share per bin")
    if panel.shares is None:
        axes.text(0.5, 0.5, panel.std, transform=axes.transAxes, ha="center")
        return
    axes.stairs(np.minimum(panel.shares, row.ceiling), edges, fill=True, color=BLUE)
    if spike := panel.spike(row.ceiling):
        axes.text(0.97, 0.95, spike, transform=axes.transAxes, ha="right", va="top", fontsize=9)


def _draw_profile(axes: Axes, profile: Profile, layer: int, layers: int) -> None:
    """The variance of h so far; the axis is that of all layers."""
    finite = profile.log10[np.isfinite(profile.log10)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (-1.0, 0.0)
    axes.set_ylim(min(low, high - 1) - 0.3, high + 0.3)
    past = profile.layers <= layer
    axes.plot(profile.layers, profile.predicted, color=BLACK, lw=0.9, ls=":")
    axes.plot(profile.layers[past], profile.log10[past], color=BLUE, lw=1.8, marker="o", ms=4)
    axes.axvline(layer, color=GREY, lw=0.8)
    finish_profile_axes(axes, layers)
    has_theory = np.isfinite(profile.predicted).any()
    axes.set_title("variance of h (dotted: theory)" if has_theory else "variance of h", fontsize=10)
    axes.set_ylabel("")
