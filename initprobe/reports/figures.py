"""Results as pictures. Everything drawn comes from `strips`; nothing is computed here, and pyplot is not used."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from initprobe.errors import UnknownNameError
from initprobe.numbers import percent, short
from initprobe.plain import visible
from initprobe.registry import suggestion
from initprobe.reports.blocks import roles, short_name
from initprobe.reports.captions import centred, legend_above
from initprobe.reports.strips import Array, Panel, Profile, Strip, gradient_strip, output_strip, profiles
from initprobe.results import LayerStats, ProbeResult

KINDS = ("summary", "output", "gradient", "depth", "fitting", "training")
DPI = 100
MOST_PANELS = 12
_LOG_BEYOND = 10  # times chance
_LOWEST_LOSS = 1e-12  # lowest on a log axis

# Okabe & Ito 2008, told apart with any colour vision.
BLUE, ORANGE, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#888888"
_COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.")
_MARKERS = ("o", "s", "^")
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "svg.hashsalt": "initprobe",
    "path.simplify": True,
    "text.hinting": "none",  # glyphs are a quarter of the drawing time, hinted ones more
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_GAP = 0.12
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


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
        "training": _training,
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


def draw_comparison(results: Sequence[ProbeResult]) -> Figure:
    """Depth profiles of the variances of h and dL/dh, a line a result, the prediction dotted over it."""
    with style():
        figure = blank_figure(13, 5.2)
        shared = results[0].description
        centred(figure, 0.26, f"{shared.shape} | {shared.setting}", fontsize=12)
        boxes = ((0.06, 0.3, 0.43, 0.56), (0.555, 0.3, 0.43, 0.56))
        for index, box in enumerate(boxes):
            axes = figure.add_axes(box)
            _draw_overlaid(axes, results, index)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, fontsize=9, ncols=4, loc="lower center")
        return figure


def _draw_overlaid(axes: Axes, results: Sequence[ProbeResult], index: int) -> None:
    """The profile number `index` (h, then dL/dh) of every result."""
    for number, result in enumerate(results):
        profile = profiles(result)[index]
        dashes, color = divmod(number, len(_COLORS))
        pattern = _DASHES[dashes % len(_DASHES)]
        (line,) = axes.plot(profile.layers, profile.log10, color=_COLORS[color], ls=pattern, lw=1.8)
        line.set_label(f"{result.config.get('weights') or result.config['init']} + {result.config['act']}")
        axes.plot(profile.layers, profile.predicted, color=BLACK, lw=0.9, ls=":")
    axes.set_title(f"Var({profile.label})", fontsize=11)
    _finish_profile_axes(axes, max(len(result.layers) for result in results))


_POWER = re.compile(r"\$10\^\{-?\d+\}\$")


def _show_as_it_is(text: Any) -> None:
    """Names of files and of others' functions are no formulas, and hold no control characters that are seen."""
    words = text.get_text()
    if "$" in words and not _POWER.fullmatch(words):
        text.set_parse_math(False)
    if (seen := visible(words, breaks=True)) != words:
        text.set_text(seen)


def render(figure: Figure, fmt: str) -> bytes:
    """A figure as png, svg or pdf; the same figure gives the same bytes."""
    out = io.BytesIO()
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # a box stands in its place
        # Level 2 takes a third of the default's time for files a tenth larger.
        fast: dict[str, Any] = {"pil_kwargs": {"compress_level": 2}} if fmt == "png" else {}
        figure.savefig(out, format=fmt, dpi=DPI, metadata=_METADATA[fmt], **fast)
    return out.getvalue()


_OUTPUT = "output h = phi(z)"
_FEW_LAYERS = 40
_MOST_ROLES = 8  # lines that colours distinguish
_GRADIENT = "gradient dL/dh"


def style() -> Any:
    """A context with our settings on top of matplotlib's own, whatever the user's matplotlibrc says."""
    settings: dict[Any, Any] = dict(mpl.rcParamsDefault)
    return mpl.rc_context(settings | _STYLE | {"backend": "agg"})


class Picture(Figure):
    """A figure that a notebook shows as the last value of a cell, without pyplot.

    Its words are shown literally, also where a notebook or a user's own code saves it.
    """

    def draw(self, renderer: RendererBase) -> None:
        for text in self.findobj(Text):
            _show_as_it_is(text)
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        return render(self, "png")


def blank_figure(width: float, height: float) -> Picture:
    """An empty white sheet, in inches."""
    figure = Picture(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _titled(figure: Figure, result: ProbeResult) -> None:
    words = result.description
    centred(figure, 0.28, words.title, fontsize=14, weight="bold")
    centred(figure, 0.56, f"{words.weights} | {words.setting}", fontsize=10, color="#333333")


def _summary(result: ProbeResult) -> Figure:
    figure = blank_figure(13, 9.4)
    _titled(figure, result)
    _draw_strip(figure.add_axes((0.06, 0.685, 0.925, 0.195)), output_strip(result), _OUTPUT, BLUE)
    _draw_strip(figure.add_axes((0.06, 0.39, 0.925, 0.195)), gradient_strip(result), _GRADIENT, ORANGE)
    _draw_profiles(figure.add_axes((0.06, 0.065, 0.925, 0.245)), result)
    return figure


def _strip_alone(result: ProbeResult, strip: Strip, label: str, color: str) -> Figure:
    figure = blank_figure(13, 3.8)
    _titled(figure, result)
    _draw_strip(figure.add_axes((0.06, 0.16, 0.925, 0.56)), strip, label, color)
    return figure


def _depth_alone(result: ProbeResult) -> Figure:
    figure = blank_figure(9, 5.6)
    _titled(figure, result)
    _draw_profiles(figure.add_axes((0.1, 0.11, 0.87, 0.73)), result)
    return figure


def _fitting(result: ProbeResult) -> Figure:
    """What each layer's weights were fitted to, before and after."""
    figure = blank_figure(9, 4.8)
    _titled(figure, result)
    axes = figure.add_axes((0.1, 0.13, 0.87, 0.66))
    fitted = [layer.fitting for layer in result.layers]
    layers = np.arange(1, len(fitted) + 1)
    words = {"before": "as drawn", "after": "fitted", "baseline": "best constant"}
    marker = "o" if len(layers) <= 40 else ""
    for (name, label), color, dashes in zip(words.items(), (GREY, BLUE, BLACK), ("--", "-", ":"), strict=True):
        values = [_log10_or_nan(getattr(one, name) if one else None) for one in fitted]
        if np.isfinite(values).any():
            axes.plot(layers, values, color=color, ls=dashes, lw=1.8, marker=marker, label=label)
    _finish_profile_axes(axes, len(layers))
    axes.set_ylabel(next((one.quantity for one in fitted if one), ""))
    legend_above(axes)
    return figure


def _log10_or_nan(value: float | None) -> float:
    return math.log10(value) if value else math.nan


def _training(result: ProbeResult) -> Figure:
    """The loss by step, and the variances by layer before and after."""
    figure = blank_figure(13, 4.8)
    _titled(figure, result)
    _draw_losses(figure.add_axes((0.06, 0.13, 0.42, 0.66)), result)
    _draw_change(figure.add_axes((0.56, 0.13, 0.425, 0.66)), result)
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
    """Profiles of the new and of the trained network; dashed where new."""
    assert result.training is not None
    layers = [layer.layer for layer in result.stream]
    for tensor, symbol, color in (("output", "h", BLUE), ("output_gradient", "dL/dh", ORANGE)):
        for when, shown, pattern in (("new", result.layers, "--"), ("trained", result.training.layers, "-")):
            if shown is not None:
                logs = [_finite_or_nan(shown[number - 1].tensor(tensor).variance_log10) for number in layers]
                axes.plot(layers, logs, color=color, lw=1.5, ls=pattern, label=f"Var({symbol}), {when}")
    _finish_profile_axes(axes, len(result.layers))
    legend_above(axes)


def _finite_or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _draw_strip(axes: Axes, strip: Strip, label: str, color: str) -> None:
    if len(strip.panels) <= MOST_PANELS:
        _draw_panels(axes, strip, label, color)
    else:
        _draw_density(axes, strip, label)


def _draw_panels(axes: Axes, strip: Strip, label: str, color: str) -> None:
    """All panels in one Axes, side by side, as one collection each of bars, lines and frames.

    An Axes a panel, or ticks of its own for each, would cost more than all the rest of the picture.
    """
    places = (strip.edges - strip.edges[0]) / (strip.edges[-1] - strip.edges[0])
    ceiling, lefts = strip.ceiling, [index * (1 + _GAP) for index in range(len(strip.panels))]
    bars, lines = [], []
    for left, panel in zip(lefts, strip.panels, strict=True):
        _label_panel(axes, panel, left, ceiling)
        if panel.shares is not None:
            bars.append(_outline(left + places, np.minimum(panel.shares, ceiling)))
        if panel.predicted is not None:
            lines.append(_outline(left + places, np.minimum(panel.predicted, ceiling)))
    axes.add_collection(PolyCollection(bars, facecolor=color, alpha=0.85, lw=0), autolim=False)
    axes.add_collection(LineCollection(lines, color=BLACK, lw=0.9), autolim=False)
    frames = [[(x, 0), (x, ceiling), (x + 1, ceiling), (x + 1, 0), (x, 0)] for x in lefts]
    axes.add_collection(LineCollection(frames, color="#BBBBBB", lw=0.8, clip_on=False), autolim=False)
    _label_ends(axes, strip, lefts)
    axes.set_xlim(-_GAP / 2, len(strip.panels) * (1 + _GAP) - _GAP / 2)
    axes.set_ylim(0, ceiling)
    axes.set_xticks([])
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g}%")
    axes.set_ylabel("share per bin")
    axes.set_xlabel(f"{label}; line: theory" if lines else label, labelpad=16)


def _outline(edges: Array, heights: Array) -> Array:
    """The corners of a step function that starts and ends at 0, `(2 bins + 2, 2)`."""
    return np.column_stack((np.repeat(edges, 2), np.concatenate(([0], np.repeat(heights, 2), [0]))))


def _label_ends(axes: Axes, strip: Strip, lefts: Sequence[float]) -> None:
    """The values at both ends and in the middle of the first and the last panel, below them."""
    low, width = strip.edges[0], strip.edges[-1] - strip.edges[0]
    middle = sum(strip.ends) / 2
    marks = [(strip.ends[0], "left"), (middle, "center"), (strip.ends[1], "right")]
    if len(_tick(middle)) > 3:
        del marks[1]
    for left in {lefts[0], lefts[-1]}:  # the axis is shared, and thirty texts cost a tenth of a second
        for value, side in marks:
            place = left + (value - low) / width
            axes.annotate(_tick(value), (place, 0), (0, -4), textcoords="offset points", ha=side, va="top", fontsize=9)


def _tick(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 1000 else short(value)


def _label_panel(axes: Axes, panel: Panel, left: float, ceiling: float) -> None:
    heading = f"layer {panel.layer}{f' {short_name(panel.name, 12)}' if panel.name else ''}\n{panel.std}"
    axes.text(left + 0.5, 1.03 * ceiling, heading, ha="center", va="bottom", fontsize=9, linespacing=1.4)
    if panel.shares is None:
        axes.text(left + 0.5, 0.5 * ceiling, panel.std, ha="center", va="center", fontsize=11, color=ORANGE)
        return
    peak = float(panel.shares.max())
    notes = [f"peak\n{percent(peak)}%"] if peak > ceiling else []
    notes += [f"{percent(panel.outside)}%\noutside"] if panel.outside > 0.02 else []
    if notes:
        axes.text(left + 0.97, 0.95 * ceiling, "\n".join(notes), ha="right", va="top", fontsize=9)


def _draw_density(axes: Axes, strip: Strip, label: str) -> None:
    """Depth x value: the histogram of each layer as a column of colour, with +-1 std on top."""
    empty = np.full(len(strip.edges) - 1, np.nan)
    image = np.array([empty if panel.shares is None else panel.shares for panel in strip.panels]).T
    layers = np.arange(1, len(strip.panels) + 1)
    axes.imshow(
        np.sqrt(image),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0.5, len(layers) + 0.5, float(strip.edges[0]), float(strip.edges[-1])),
        cmap=mpl.colormaps["viridis"].with_extremes(bad="#DDDDDD"),
        vmin=0,
        vmax=math.sqrt(strip.ceiling),
    )
    stds = np.array(strip.stds)
    for sign in (1, -1):
        axes.plot(layers, sign * stds, color="white", lw=1.6, ls="--")
    axes.set_ylim(strip.edges[0], strip.edges[-1])
    axes.set_xlim(0.5, len(layers) + 0.5)
    for panel in strip.panels[:: max(len(strip.panels) // 8, 1)]:
        side = "left" if panel.layer == 1 else "right" if panel.layer > 0.95 * len(layers) else "center"
        axes.text(panel.layer, strip.edges[-1], panel.std, ha=side, va="bottom", fontsize=9)
    axes.set_xlabel("layer (colour: square root of the share per bin; dashed: +-1 std)", labelpad=2)
    axes.set_ylabel(label)


def _draw_roles(axes: Axes, result: ProbeResult) -> bool:
    """A line per role of a model of many blocks: solid for h, dashed for dL/dh; whether there are such roles."""
    found = sorted(roles(result.layers).items(), key=lambda one: -len(one[1]))
    if not result.modules or len(result.layers) <= _FEW_LAYERS or len(found) < 2 or len(found[0][1]) < 3:
        return False
    for (name, group), color in zip(found[:_MOST_ROLES], cycle(_COLORS)):
        label = short_name(name, 40) if name else "others"
        places = [layer.layer for layer in group]
        for tensor, dashes in (("output", "-"), ("output_gradient", "--")):
            values = [getattr(layer, tensor).variance_log10 for layer in group]
            known = [math.nan if value is None else value for value in values]
            axes.plot(
                places, known, color=color, ls=dashes, lw=1.3, marker=".", ms=4, label=label if dashes == "-" else None
            )
    _finish_profile_axes(axes, len(result.layers))
    axes.set_xlabel("layer (solid: h, dashed: dL/dh; a line per place in a block)")
    legend_above(axes)
    return True


def _draw_profiles(axes: Axes, result: ProbeResult) -> None:
    if _draw_roles(axes, result):
        return
    shown = profiles(result)
    few = len(result.layers) <= _FEW_LAYERS
    for profile, color, marker in zip(shown, (BLUE, ORANGE, GREEN), _MARKERS, strict=True):
        _draw_profile(axes, profile, color, marker if few else "")
    if any(np.isfinite(profile.predicted).any() for profile in shown):
        axes.plot([], [], color=BLACK, lw=1, ls=":", label="theory +-2 SD")
    _mark_loss(axes, result.layers, ("preactivation", "output"), "from", "--")
    _mark_loss(axes, result.layers[::-1], ("output_gradient",), "down from", "-.")
    _finish_profile_axes(axes, len(result.layers))
    legend_above(axes)


def _finish_profile_axes(axes: Axes, layers: int) -> None:
    """Ticks in powers of ten over a log10 axis, layers along the other."""
    ticks = log_ticks(*axes.get_ylim())
    axes.set_yticks(ticks, [power_text(tick) for tick in ticks])
    axes.set_xlim(0.5, layers + 0.5)
    axes.set_xticks(_layer_ticks(layers))
    axes.grid(axis="y", color="#E5E5E5", lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("layer")
    axes.set_ylabel("variance")


def _mark_loss(axes: Axes, layers: Sequence[LayerStats], tensors: Sequence[str], where: str, dashes: str) -> None:
    """A vertical line where the dtype gave out, on the way through `layers`."""
    for layer in layers:
        lost = [layer.tensor(name).status for name in tensors if layer.tensor(name).status != "ok"]
        if lost:
            axes.axvline(layer.layer, color=GREY, lw=1, ls=dashes, label=f"{lost[0]} {where} layer {layer.layer}")
            return


def _draw_profile(axes: Axes, profile: Profile, color: str, marker: str) -> None:
    layers = profile.layers
    axes.plot(layers, profile.log10, color=color, lw=1.8, marker=marker, ms=5, label=f"Var({profile.label})")
    axes.fill_between(layers, profile.low, profile.high, color=color, alpha=0.25, lw=0)
    zeros = layers[profile.zeros]
    if len(zeros):  # which a log axis has no place for
        bottom = axes.get_xaxis_transform()
        label = f"Var({profile.label}) = 0"
        axes.plot(zeros, np.full(len(zeros), 0.02), color=color, marker="x", ls="", transform=bottom, label=label)
    axes.plot(layers, profile.predicted, color=BLACK, lw=1, ls=":")
    axes.fill_between(layers, profile.predicted_low, profile.predicted_high, color=BLACK, alpha=0.10, lw=0)


def _layer_ticks(count: int) -> list[int]:
    step = next(s * 10**e for e in range(9) for s in (1, 2, 5) if count / (s * 10**e) <= 20)
    return sorted({1, count, *range(step, count - step // 2, step)}) if step > 1 else list(range(1, count + 1))


def log_ticks(low: float, high: float) -> list[float]:
    """Places on a log10 axis: 1-2-5 over few decades, whole powers at even steps over many."""
    if high - low < 2.5:
        places = [k + math.log10(m) for k in range(math.floor(low) - 1, math.ceil(high) + 1) for m in (1, 2, 5)]
    else:
        step = max(math.ceil((high - low) / 8), 1)
        places = [float(k) for k in range(math.ceil(low), math.floor(high) + 1) if k % step == 0]
    return [place for place in places if low <= place <= high]


def power_text(log10: float) -> str:
    exponent = round(log10)
    if abs(log10 - exponent) < 1e-9 and not -3 <= exponent <= 3:
        return f"$10^{{{exponent}}}$"
    return f"{10**log10:.5g}"
