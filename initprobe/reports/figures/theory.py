"""Figures of theory: an activation over its input, and the phase diagram of order and chaos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from initprobe.arrays import Array
from initprobe.reports.figures.style import BLACK, BLUE, GREY, ORANGE, blank_figure, style


def activation_figure(
    name: str, formula: str, x: Array, value: Array, slope: Array, densities: Sequence[tuple[str, Array]]
) -> Figure:
    """An activation and its slope over densities of its input.

    Args:
        name: of the activation.
        formula: in words.
        x: pre-activations, `(points,)`.
        value: phi(x), `(points,)`.
        slope: phi'(x), `(points,)`.
        densities: labels and densities of the pre-activation, `(points,)` each, drawn on a scale of their own.
    """
    with style():
        figure = blank_figure(7.5, 4.6)
        axes = figure.add_axes((0.09, 0.12, 0.86, 0.76))
        axes.plot(x, value, color=BLUE, lw=2.2, label=f"{name}(x)")
        axes.plot(x, slope, color=ORANGE, lw=2.2, ls="--", label="slope")
        low, high = axes.get_ylim()
        for shade, (label, density) in zip((0.35, 0.22, 0.12), densities, strict=False):
            top = low + 0.45 * (high - low) * density / max(float(d.max()) for _, d in densities)
            axes.fill_between(x, low, top, color=BLACK, alpha=shade, lw=0, label=label)
        axes.set_ylim(low, high)
        axes.set_xlim(x[0], x[-1])
        axes.axhline(0, color=GREY, lw=0.8)
        axes.set_xlabel("pre-activation x")
        axes.set_title(f"{name}: {formula}", fontsize=11)
        axes.legend(frameon=False, fontsize=9, loc="upper left")
        return figure


def phase_figure(
    name: str,
    sigma_w: Array,
    sigma_b: Array,
    chi_1: Array,
    xi_c: Array,
    layers: int,
    marks: Sequence[tuple[str, float, float]],
) -> Figure:
    """The phase diagram: colour is log chi_1, grey for NaN; the black line is chi_1 = 1.

    Contours show where the depth scale of the correlation is half, one and three times `layers`.

    Args:
        name: of the activation.
        sigma_w: std(W) sqrt(fan_in), `(columns,)`.
        sigma_b: std(b), `(rows,)`.
        chi_1: `(rows, columns)`.
        xi_c: depth scale of the correlation in layers, `(rows, columns)`.
        layers: depth of the user's net.
        marks: labelled points, with sigma_w and sigma_b.
    """
    with style():
        figure = blank_figure(8.5, 6)
        axes = figure.add_axes((0.1, 0.11, 0.74, 0.77))
        with np.errstate(divide="ignore"):
            image = np.clip(np.log(chi_1), -1, 1)
        extent = (*_cell_edges(sigma_w), *_cell_edges(sigma_b))
        colors = mpl.colormaps["PuOr_r"].with_extremes(bad="#BBBBBB")
        drawn = axes.imshow(image, origin="lower", extent=extent, aspect="auto", cmap=colors, vmin=-1, vmax=1)
        scale = figure.colorbar(drawn, cax=figure.add_axes((0.86, 0.11, 0.025, 0.77)))
        scale.set_label("log chi_1: below 0 ordered, above 0 chaotic (clipped at +-1)")
        if np.isfinite(image).any() and np.nanmin(image) < 0 < np.nanmax(image):
            axes.contour(sigma_w, sigma_b, image, levels=[0], colors=BLACK, linewidths=2)
        _name_phases(axes, sigma_w, sigma_b, image)
        _draw_depths(axes, sigma_w, sigma_b, xi_c, layers)
        _draw_marks(axes, sigma_w, sigma_b, marks)
        axes.set(xlabel="sigma_w = std(W) sqrt(fan_in)", ylabel="sigma_b = std(b)")
        axes.set(xlim=(sigma_w[0], sigma_w[-1]), ylim=(sigma_b[0], sigma_b[-1]))
        figure.text(0.47, 0.94, f"{name}: order and chaos at infinite depth", ha="center", fontsize=13, weight="bold")
        depths = ", ".join(str(depth) for depth in _depths(layers))
        note = f"dashed: correlations forget in {depths} layers; grey: q grows without bound"
        figure.text(0.47, 0.9, note, ha="center", fontsize=9)
        return figure


_PAPER = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.7, "edgecolor": "none"}


def _cell_edges(axis: Array) -> tuple[float, float]:
    """The outer edges of cells, given their centres."""
    half = float(axis[1] - axis[0]) / 2
    return float(axis[0]) - half, float(axis[-1]) + half


def _places(marks: Sequence[tuple[str, float, float]]) -> dict[tuple[float, float], list[str]]:
    """The labels at each point; one point may have several."""
    labels: dict[tuple[float, float], list[str]] = {}
    for label, w, b in marks:
        labels.setdefault((round(w, 6), round(b, 6)), []).append(label)
    return labels


def _depths(layers: int) -> tuple[int, ...]:
    return (max(layers // 2, 1), layers, 3 * layers)


def _within(axis: Array, value: float) -> bool:
    return bool(axis[0] <= value <= axis[-1])


def _name_phases(axes: Axes, sigma_w: Array, sigma_b: Array, image: Array) -> None:
    """Write `order`, `chaos` and `edge of chaos` where they are, in the upper half of the picture."""
    row = int(0.8 * (len(sigma_b) - 1))
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 13, "style": "italic", "zorder": 8}
    for word, cells in (("order", image[row] < 0), ("chaos", image[row] > 0)):
        if (places := np.flatnonzero(cells)).size > len(sigma_w) // 10:
            colour = "white" if word == "order" and image[row, places[places.size // 2]] < -0.5 else BLACK
            axes.text(sigma_w[places[places.size // 2]], sigma_b[row], word, color=colour, **look)
    edge = np.flatnonzero(np.diff(np.sign(image[row])) > 0)
    if edge.size:
        low = int(0.6 * (len(sigma_b) - 1))
        crossing = np.flatnonzero(np.diff(np.sign(image[low])) > 0)
        if crossing.size:
            place = (float(sigma_w[crossing[0]]), float(sigma_b[low]))
            words: dict[str, Any] = {
                "textcoords": "offset points",
                "fontsize": 10,
                "weight": "bold",
                "bbox": _PAPER,
                "va": "center",
            }
            axes.annotate("edge of chaos", place, (14, 0), arrowprops={"arrowstyle": "-"}, zorder=8, **words)


def _draw_marks(axes: Axes, sigma_w: Array, sigma_b: Array, marks: Sequence[tuple[str, float, float]]) -> None:
    """Labelled points, those that lie in the picture."""
    taken: list[Bbox] = []
    for (w, b), labels in _places(marks).items():
        if _within(sigma_w, w) and _within(sigma_b, b):
            axes.plot([w], [b], "o", color=BLACK, mec="white", ms=8, clip_on=False, zorder=9)
            look: dict[str, Any] = {
                "textcoords": "offset points",
                "fontsize": 9,
                "weight": "bold",
                "bbox": _PAPER,
                "zorder": 10,
            }
            taken.append(_free_label(axes, "\n".join(labels), (w, b), taken, look))


def _free_label(
    axes: Axes, words: str, place: tuple[float, float], taken: Sequence[Bbox], look: Mapping[str, Any]
) -> Bbox:
    """Write a label above its point, as high as is needed to cover no other label; return where it is."""
    for lift in range(6, 200, 8):
        arrow = {"arrowstyle": "-", "lw": 0.8} if lift > 20 else None
        label = axes.annotate(words, place, (6, lift), arrowprops=arrow, **look)
        box = Text.get_window_extent(label).padded(4)  # without the arrow
        if not any(box.overlaps(other) for other in taken):
            break
        label.remove()
    return box


def _draw_depths(axes: Axes, sigma_w: Array, sigma_b: Array, xi_c: Array, layers: int) -> None:
    """Draw contours of the depth scale around the user's depth, labelled in layers."""
    depths = np.where(np.isfinite(xi_c), xi_c, np.nan)
    finite = depths[~np.isnan(depths)]
    levels = [level for level in sorted(set(_depths(layers))) if finite.size and finite.min() < level < finite.max()]
    if levels:
        lines = axes.contour(sigma_w, sigma_b, depths, levels=levels, colors="#333333", linewidths=1, linestyles="--")
        axes.clabel(lines, fmt="%g", fontsize=9)
