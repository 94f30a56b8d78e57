"""Figures of theory: an activation over its input, and the phase diagram of order and chaos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from initprobe.arrays import Array
from initprobe.reports.figures.look import SCREEN, Look
from initprobe.reports.figures.panel_grid import PanelSizes, make_grid
from initprobe.reports.figures.style import BLACK, BLUE, GREY, ORANGE, blank_figure, points, style


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
        axes.set_title(f"{name}: {formula}", fontsize=points(11))
        axes.legend(frameon=False, fontsize=points(9), loc="upper left")
        return figure


def phase_figure(
    name: str,
    sigma_w: Array,
    sigma_b: Array,
    chi_1: Array,
    xi_c: Array,
    layers: int,
    marks: Sequence[tuple[str, float, float]],
    look: Look = SCREEN,
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
        look: size, title and style.
    """
    with style(look.settings):
        title = f"{name}: order and chaos at infinite depth"
        grid = make_grid(title, [_note(layers)], PanelSizes(1, 1, *_PHASE), [], bar=True, look=look)
        figure, (axes,) = grid.figure, grid.axes
        image, extent = _clipped_log(chi_1), (*_cell_edges(sigma_w), *_cell_edges(sigma_b))
        colors = mpl.colormaps["PuOr_r"].with_extremes(bad="#BBBBBB")
        drawn = axes.imshow(image, origin="lower", extent=extent, aspect="auto", cmap=colors, vmin=-1, vmax=1)
        scale = figure.colorbar(drawn, cax=grid.bar)
        scale.set_label("log chi_1, at most +-1" if look.style == "paper" else _BAR)
        whole = _clipped_log(_with_limits(chi_1, sigma_w))
        if np.isfinite(whole).any() and np.nanmin(whole) < 0 < np.nanmax(whole):
            axes.contour(sigma_w, sigma_b, whole, levels=[0], colors=BLACK, linewidths=2)
        axes.set(xlabel="sigma_w = std(W) sqrt(fan_in)", ylabel="sigma_b = std(b)")
        axes.set(xlim=(sigma_w[0], sigma_w[-1]), ylim=(sigma_b[0], sigma_b[-1]))
        texts, lines = _draw_depths(axes, sigma_w, sigma_b, xi_c, layers)
        texts += _draw_marks(axes, sigma_w, sigma_b, marks, texts)
        texts += _name_edge(axes, sigma_w, sigma_b, whole, texts)
        grey = _name_grey(axes, sigma_w, sigma_b, np.isnan(image), texts)
        axes.set_title(_GREY if look.style == "paper" and np.isnan(image).any() and not grey else "", size=points(9))
        _name_phases(axes, sigma_w, sigma_b, image, [*texts, *grey], lines)
        return figure


_PHASE = (6.4, 4.6)  # inches
_POINTS, _DOT = 72, 8  # points per inch, and of a mark
_BAR = "log chi_1: below 0 ordered, above 0 chaotic (clipped at +-1)"
_GREY = "grey: q grows without bound"
_LEAST_SHARE = 0.13  # of the picture's width, into which a word fits
_ABOVE_1 = 1 + 1e-9  # chi_1 at least, where q grows without bound
_ROWS = (0.6, 0.5, 0.7, 0.4, 0.8, 0.3, 0.9, 0.2, 0.1)  # shares of the height at which words are tried
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


def _note(layers: int) -> str:
    depths = ", ".join(str(depth) for depth in _depths(layers))
    return f"dashed: correlations forget in {depths} layers; {_GREY}"


def _within(axis: Array, value: float) -> bool:
    return bool(axis[0] <= value <= axis[-1])


def _clipped_log(chi_1: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.clip(np.log(chi_1), -1, 1)


def _with_limits(chi_1: Array, sigma_w: Array) -> Array:
    """chi_1, with its limit where q grows without bound: `sigma_w^2 E[phi'^2]`, the mean as at the last finite q.

    There `E[phi^2] / q` is at least `1 / sigma_w^2` in the limit. `E[phi'^2]` is no smaller, so chi_1 is at least 1.
    """
    last = np.maximum.accumulate(np.where(np.isnan(chi_1), 0, np.arange(chi_1.shape[1])), axis=1)
    with np.errstate(all="ignore"):  # sigma_w may be 0, and chi_1 infinite
        mean_square_slope = chi_1 / sigma_w**2
    limit = sigma_w**2 * np.take_along_axis(mean_square_slope, last, axis=1)
    return np.where(np.isnan(chi_1), np.maximum(limit, _ABOVE_1), chi_1)


def _rows(sigma_b: Array) -> list[int]:
    return [int(share * (len(sigma_b) - 1)) for share in _ROWS]


def _name_edge(axes: Axes, sigma_w: Array, sigma_b: Array, log_chi: Array, texts: Sequence[Bbox]) -> list[Bbox]:
    """Write `edge of chaos` beside the line, if possible in the upper half; it covers no text."""
    edges = [
        (row, int(place)) for row in _rows(sigma_b) for place in np.flatnonzero(np.diff(np.sign(log_chi[row])) > 0)[:1]
    ]
    look: dict[str, Any] = {"textcoords": "offset points", "weight": "bold", "bbox": _PAPER}
    look |= {"va": "center", "zorder": 8, "arrowprops": {"arrowstyle": "-"}}
    at_edge = [
        partial(axes.annotate, "edge of chaos", (sigma_w[place], sigma_b[row]), (x, 0), ha=side, fontsize=size, **look)
        for size in (points(10), points(8))
        for row, place in edges
        for x, side in ((14, "left"), (-14, "right"))
    ]
    return _written(at_edge, texts, axes.get_window_extent())


def _name_phases(
    axes: Axes, sigma_w: Array, sigma_b: Array, image: Array, texts: Sequence[Bbox], lines: Sequence[Bbox]
) -> None:
    """Write `order` and `chaos` where they are: on no text, and on no line if there is such a place."""
    boxes = list(texts)
    for word, sign in (("order", -1), ("chaos", 1)):
        cells = [(row, place) for row in _rows(sigma_b) for place in _spread(np.sign(image[row]) == sign)]
        look: dict[str, Any] = {"ha": "center", "va": "center", "style": "italic", "zorder": 8}
        inside = [
            partial(axes.text, sigma_w[x], sigma_b[y], word, color=_readable(float(image[y, x])), fontsize=size, **look)
            for size in (points(13), points(9))
            for y, x in cells
        ]
        free = _tried(inside, [*boxes, *lines], axes.get_window_extent())
        boxes += free or _written(inside[len(cells) :], boxes, axes.get_window_extent())


def _name_grey(axes: Axes, sigma_w: Array, sigma_b: Array, grey: Array, texts: Sequence[Bbox]) -> list[Bbox]:
    """Name the region without a fixed point where its name fits into it, in one line or two."""
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": points(11), "style": "italic", "zorder": 8}
    wide = [row for row in _rows(sigma_b) if grey[row].sum() > _LEAST_SHARE * grey.shape[1]]
    spans = [(row, np.flatnonzero(grey[row])[[0, -1]]) for row in wide]
    boxes: list[Bbox] = []
    for words in ("q grows without bound", "q grows\nwithout\nbound"):
        for row, ends in spans if not boxes else ():
            left, right = axes.transData.transform([(sigma_w[end], sigma_b[row]) for end in ends])[:, 0]
            make = partial(axes.text, sigma_w[ends].mean(), sigma_b[row], words, color=BLACK, **look)
            boxes = boxes or _tried([make], texts, Bbox([[left, 0], [right, 1]]))
    return boxes


def _readable(log_chi: float) -> str:
    """White on the darkest violet, else black."""
    return "white" if log_chi < -0.5 else BLACK


def _spread(cells: Array) -> list[int]:
    """The middle of the marked cells of a row first, then places beside it. None where a word does not fit them."""
    columns = np.flatnonzero(cells)
    shares = (0.5, 0.35, 0.65, 0.2, 0.8)
    fits = columns.size > _LEAST_SHARE * len(cells)
    return [int(columns[int(share * (columns.size - 1))]) for share in shares] if fits else []


def _written(makers: Sequence[Callable[[], Text]], taken: Sequence[Bbox], inside: Bbox | None = None) -> list[Bbox]:
    """Write a text at the first place `inside` where it covers nothing, else at the first; return its place."""
    return _tried(makers, taken, inside) or [_extent(make()) for make in makers[:1]]


def _tried(makers: Sequence[Callable[[], Text]], taken: Sequence[Bbox], inside: Bbox | None) -> list[Bbox]:
    """Write a text at the first place `inside` where it covers nothing, and return its place; else write none."""
    for make in makers:
        text = make()
        box = _extent(text)
        if (inside is None or (inside.x0 <= box.x0 and box.x1 <= inside.x1)) and _is_free(box, taken):
            return [box]
        text.remove()
    return []


def _extent(text: Text) -> Bbox:
    """Where a text is, without its arrow."""
    if isinstance(text, Annotation):
        text.update_positions(text.get_figure(root=True).canvas.get_renderer())  # type: ignore[union-attr]
    return Text.get_window_extent(text).padded(3)


def _is_free(box: Bbox, taken: Sequence[Bbox]) -> bool:
    return not any(box.overlaps(other) for other in taken)


def _draw_marks(
    axes: Axes, sigma_w: Array, sigma_b: Array, marks: Sequence[tuple[str, float, float]], boxes: Sequence[Bbox]
) -> list[Bbox]:
    """Draw labelled points, those that lie in the picture; return where points and labels are."""
    shown = {at: names for at, names in _places(marks).items() if _within(sigma_w, at[0]) and _within(sigma_b, at[1])}
    dots = {at: _dot(axes, at) for at in shown}
    look = {"textcoords": "offset points", "fontsize": points(9), "weight": "bold", "bbox": _PAPER, "zorder": 10}
    labels: list[Bbox] = []
    for at, names in shown.items():
        others = [dot for other, dot in dots.items() if other != at]
        labels.append(_free_label(axes, "\n".join(names), at, [*boxes, *labels, *others], look))
    return [*dots.values(), *labels]


def _dot(axes: Axes, at: tuple[float, float]) -> Bbox:
    """Draw a point; return where it is."""
    axes.plot([at[0]], [at[1]], "o", color=BLACK, mec="white", ms=_DOT, clip_on=False, zorder=9)
    x, y = axes.transData.transform(at)
    size = _DOT * axes.figure.dpi / _POINTS
    return Bbox.from_bounds(x - size / 2, y - size / 2, size, size)


def _free_label(
    axes: Axes, words: str, place: tuple[float, float], taken: Sequence[Bbox], look: Mapping[str, Any]
) -> Bbox:
    """Write a label above its point, at the first height where it covers no label and no other point."""
    for lift in range(6, 200, 8):
        arrow = {"arrowstyle": "-", "lw": 0.8} if lift > 20 else None
        label = axes.annotate(words, place, (6, lift), arrowprops=arrow, **look)
        box = _extent(label)
        if _is_free(box, taken):
            break
        label.remove()
    return box


def _draw_depths(axes: Axes, sigma_w: Array, sigma_b: Array, xi_c: Array, layers: int) -> tuple[list[Bbox], list[Bbox]]:
    """Draw contours of the depth scale around the user's depth, and return where their labels and lines are."""
    depths = np.where(np.isfinite(xi_c), xi_c, np.nan)
    finite = depths[~np.isnan(depths)]
    levels = [level for level in sorted(set(_depths(layers))) if finite.size and finite.min() < level < finite.max()]
    if not levels:
        return [], []
    draw = partial(axes.contour, sigma_w, sigma_b, depths, levels=levels, colors="#333333", linewidths=1)
    lines, labels = _labelled(partial(draw, linestyles="--"), levels)
    drawn = [axes.transData.transform(path.vertices).tolist() for path in lines.get_paths() if len(path)]
    return labels, [Bbox.from_bounds(x, y, 1, 1) for points in drawn for x, y in points]


def _labelled(draw: Callable[[], ContourSet], levels: Sequence[int]) -> tuple[ContourSet, list[Bbox]]:
    """Contours with their labels, and the places of these. A level whose labels would touch others has none."""
    lines = draw()
    boxes: dict[str, list[Bbox]] = {}
    for label in lines.clabel(fmt="%g", fontsize=points(9)):
        boxes.setdefault(label.get_text(), []).append(_extent(label))
    clear: list[int] = []
    for level in levels:
        others = [box for each in clear for box in boxes[f"{each}"]]
        own = boxes.get(f"{level}", [])
        if own and not any(box.overlaps(other) for box in own for other in others):
            clear.append(level)
    if len(clear) < len(levels):  # labels leave gaps in their lines
        lines.remove()
        lines = draw()
        lines.clabel(clear, fmt="%g", fontsize=points(9))
    return lines, [box for level in clear for box in boxes[f"{level}"]]
