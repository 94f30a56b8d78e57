"""Depth profiles and histograms of a sweep's runs, computed before drawing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.arrays import Array
from initprobe.formatting import short
from initprobe.reports.binning import shares
from initprobe.reports.figures.result_data import BINS, predicted_shares
from initprobe.reports.figures.sweep_series import E, is_log, is_number, label, series, text, thinned, varying
from initprobe.reports.gaps import STATUS_WORDS
from initprobe.results.layers import LayerStats, TensorStats
from initprobe.results.named_numbers import VERDICT
from initprobe.results.run import ProbeResult

MOST_LINES = 1000
MOST_NAMED = 14
MOST_DASHED = 40
MOST_PANELS = 24
MOST_CURVES = 7
MOST_POOLED = 20
LABEL = "label"
_MOST_FACETS = 9
_FEWEST_SHADES = 3
_MARGIN_BINS = 3
_STRETCH = 1.3


@dataclass(frozen=True)
class DepthLine:
    """The line of a run.

    Attributes:
        label: the settings that vary, without the seed and the setting of its panel.
        shade: its value on the axis that colours the lines; None without such an axis.
        verdict: of the run.
        measured: the number per layer, `(layers,)`, NaN where there is none.
        predicted: the same by theory, `(layers,)`; None where it is not drawn, as for a second seed.
    """

    label: str
    shade: float | None
    verdict: str
    measured: Array
    predicted: Array | None


@dataclass(frozen=True)
class DepthPanel:
    """The lines at one value of an axis, which is the title."""

    title: str
    lines: tuple[DepthLine, ...]


@dataclass(frozen=True)
class DepthPlot:
    """Profiles over the layers.

    Attributes:
        value: the number's dotted name.
        log: whether the lines are of its log10.
        color: the meaning of the colours: `label`, `verdict`, or the name of a numeric axis.
        panels: the panels, in order.
        notes: on what is not drawn.
    """

    value: str
    log: bool
    color: str
    panels: tuple[DepthPanel, ...]
    notes: tuple[str, ...]

    @property
    def lines(self) -> list[DepthLine]:
        """The lines of all panels."""
        return [line for panel in self.panels for line in panel.lines]


def depth_plot(entries: Sequence[E], value: str, read: Callable[[E], ProbeResult]) -> DepthPlot:
    """Compute profiles of a number over the layers, a line per run.

    Few settings are labelled by name. More settings are split into panels by an axis of names. Their colours show a
    numeric axis, else the verdict.

    Args:
        entries: the runs.
        value: dotted name of the number.
        read: reads the whole result of a finished run.
    """
    done = [entry for entry in entries if entry.digest is not None]
    chosen = thinned(done, MOST_LINES)
    names = varying(chosen)
    facet, color = _arrangement(chosen, names)
    rest = [name for name in names if name != facet]
    by_panel: dict[str, list[DepthLine]] = {}
    predicted: set[str] = set()
    few = len({label(entry, names) for entry in chosen}) <= MOST_DASHED
    for entry in chosen:
        lines = by_panel.setdefault("" if facet is None else label(entry, [facet]) or f"no {facet}", [])
        whole = label(entry, names)
        lines.append(_line(entry, value, read, label(entry, rest), color, dashed=few and whole not in predicted))
        predicted.add(whole)
    lost = sum(np.isnan(line.measured).all() for lines in by_panel.values() for line in lines)
    notes = [
        *_missing(entries),
        *_hidden([name for name in rest if name != color] if color != LABEL else []),
        *([f"{lost} without a value{' above 0' if is_log(value) else ''}"] if lost else []),
        *([f"{len(chosen):,} of {len(done):,} runs drawn"] if len(chosen) < len(done) else []),
    ]
    panels = tuple(DepthPanel(title, tuple(lines)) for title, lines in by_panel.items())
    return DepthPlot(value, is_log(value), color, panels, tuple(notes))


def _hidden(names: Sequence[str]) -> list[str]:
    """A note on axes that neither colours nor panels show."""
    return [f"lines also differ in {', '.join(names)}"] if names else []


def _missing(entries: Sequence[E]) -> list[str]:
    states = Counter("failed" if e.state == "failed" else "not run" for e in entries if e.digest is None)
    return [f"{count:,} {state}" for state, count in sorted(states.items())]


def _line(entry: E, value: str, read: Callable[[E], ProbeResult], name: str, color: str, dashed: bool) -> DepthLine:
    numbers = series(value, entry, read)
    shade = entry.axes.get(color)
    verdict = entry.digest.verdict if entry.digest else ""
    predicted = numbers.predicted if dashed and np.isfinite(numbers.predicted).any() else None
    return DepthLine(name, float(shade) if is_number(shade) else None, verdict, numbers.measured, predicted)  # type: ignore[arg-type]


def _arrangement(entries: Sequence[E], names: Sequence[str]) -> tuple[str | None, str]:
    """The axis of the panels, None for a single panel, and the meaning of the colours."""
    if _count(entries, names) <= MOST_NAMED:
        return None, LABEL
    values = {name: {entry.axes[name] for entry in entries if name in entry.axes} for name in names}
    numeric = [name for name in names if all(map(is_number, values[name]))]
    worded = [name for name in names if name not in numeric and _count(entries, [name]) <= _MOST_FACETS]
    facet = max(worded, key=lambda name: len(values[name]), default=None)
    if facet and _count(entries, [name for name in names if name != facet]) <= MOST_NAMED:
        return facet, LABEL
    shaded = max(numeric, key=lambda name: len(values[name]), default=None)
    return facet, shaded if shaded and len(values[shaded]) >= _FEWEST_SHADES else VERDICT


def _count(entries: Sequence[E], names: Sequence[str]) -> int:
    """The number of settings of the given axes."""
    return len({label(entry, names) for entry in entries})


@dataclass(frozen=True)
class Curve:
    """A histogram averaged over runs.

    Attributes:
        label: the setting in words.
        shares: share of the entries per bin, `(bins,)`.
        predicted: the same by theory; None without a prediction.
        outside: share of the entries beyond the axis.
    """

    label: str
    shares: Array
    predicted: Array | None
    outside: float


@dataclass(frozen=True)
class HistogramPanel:
    """The histograms at one value of the axis; `note` has their std and the missing runs."""

    title: str
    curves: tuple[Curve, ...]
    note: str


@dataclass(frozen=True)
class HistogramPlot:
    """Small multiples.

    Attributes:
        over: the axis of the panels.
        tensor: the tensor whose entries are counted.
        layer: its layer, in words.
        edges: of the bins, `(bins + 1,)`, the same in every panel.
        ceiling: top of the shared axis of shares; a spike is cut, so that other panels stay readable.
        labels: of the curves in the legend; empty for one curve per panel.
        panels: one per value of the axis.
        notes: on averages and on what is left out.
    """

    over: str
    tensor: str
    layer: str
    edges: Array
    ceiling: float
    labels: tuple[str, ...]
    panels: tuple[HistogramPanel, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Sample:
    """One layer of a run; whole results of thousands of runs would fill the memory."""

    label: str
    layer: LayerStats
    stats: TensorStats


def histogram_plot(entries: Sequence[E], over: str, tensor: str, read: Callable[[E], ProbeResult]) -> HistogramPlot:
    """Compute histograms of a tensor where it arrives: the signal at the last layer, a gradient at the first.

    A panel has one value of the axis `over`. A curve has one setting of the other axes; if these are many, there is one
    curve for all.

    Args:
        entries: the runs.
        over: the axis of the panels.
        tensor: one of `TENSORS`.
        read: reads the whole result of a finished run.
    """
    by_title: dict[str, list[E]] = {}
    for entry in entries:
        by_title.setdefault(_title(entry, over), []).append(entry)
    titles = list(by_title)[:MOST_PANELS]
    names = varying((entry for title in titles for entry in by_title[title]), (over,))
    if len({label(entry, names) for title in titles for entry in by_title[title]}) > MOST_CURVES:
        names = []
    samples = {title: _samples(by_title[title], names, tensor, read) for title in titles}
    edges = _edges([sample.stats for listed in samples.values() for sample in listed])
    panels = tuple(_panel(title, by_title[title], samples[title], edges, tensor) for title in titles)
    labels = tuple(dict.fromkeys(curve.label for panel in panels for curve in panel.curves if curve.label))
    notes = _left_out(by_title, samples, named=bool(labels))
    return HistogramPlot(over, tensor, _arrival(tensor), edges, _ceiling(panels), labels, panels, tuple(notes))


def _title(entry: E, over: str) -> str:
    value = entry.axes.get(over)
    return f"no {over}" if value is None else text(value)


def _arrival(tensor: str) -> str:
    return "first layer" if "gradient" in tensor else "last layer"


def _samples(
    entries: Sequence[E], names: Sequence[str], tensor: str, read: Callable[[E], ProbeResult]
) -> list[_Sample]:
    pooled = thinned([entry for entry in entries if entry.digest is not None], MOST_POOLED)
    layers = [read(entry).layers[0 if "gradient" in tensor else -1] for entry in pooled]
    pairs = zip(pooled, layers, strict=True)
    return [_Sample(label(entry, names), layer, layer.tensor(tensor)) for entry, layer in pairs]


def _edges(stats: Sequence[TensorStats]) -> Array:
    """Bins for histograms within a factor of 10 of the scale closest to 1; others are spikes, or extend beyond.

    The margin has whole bins, and 0 is in the middle of one. So an atom at a bound or at 0 is not split.
    """
    bounds = [(sample.percentiles.p1, sample.percentiles.p99) for sample in stats if sample.percentiles]
    reaches = [reach for low, high in bounds if (reach := max(abs(low), abs(high))) > 0]
    anchor = min(reaches, key=lambda reach: abs(math.log10(reach)), default=1.0)
    shown = [(low, high) for low, high in bounds if 0 < max(abs(low), abs(high)) <= 10 * anchor] or [(-1.0, 1.0)]
    low, high = (
        _STRETCH * end for end in (min(0.0, *(low for low, _ in shown)), max(0.0, *(high for _, high in shown)))
    )
    width = (high - low) / (BINS - 2 * _MARGIN_BINS)
    first = round(low / width) - _MARGIN_BINS
    return np.asarray(width * (first + np.arange(BINS + 1) - 0.5))


def _panel(title: str, entries: Sequence[E], samples: Sequence[_Sample], edges: Array, tensor: str) -> HistogramPanel:
    by_label: dict[str, list[_Sample]] = {}
    for sample in samples:
        if sample.stats.histogram is not None:
            by_label.setdefault(sample.label, []).append(sample)
    curves = tuple(_curve(name, listed, edges, tensor) for name, listed in by_label.items())
    lost = Counter(sample.stats.status for sample in samples if sample.stats.histogram is None)
    without = [*(f"{count} {STATUS_WORDS[status]}" for status, count in lost.items()), *_missing(entries)]
    if not curves:
        return HistogramPanel(title, (), "\n".join(without))
    stds = [_std(sample.stats) for sample in samples if sample.stats.histogram is not None]
    low, high = min(stds, key=_size), max(stds, key=_size)
    spread = f"std {low[1]}" + (f" to {high[1]}" if high[1] != low[1] else "")
    return HistogramPanel(title, curves, "\n".join((spread, *without)))


def _std(stats: TensorStats) -> tuple[float, str]:
    log10 = None if stats.variance_log10 is None else stats.variance_log10 / 2
    return -math.inf if log10 is None else log10, short(stats.std, log10)


def _size(std: tuple[float, str]) -> float:
    return std[0]


def _curve(name: str, samples: Sequence[_Sample], edges: Array, tensor: str) -> Curve:
    inside = [shares(sample.stats.histogram, edges) for sample in samples if sample.stats.histogram is not None]
    measured = np.mean(inside, axis=0)
    predicted = [predicted_shares(sample.layer, edges) for sample in samples] if tensor == "output" else []
    available = [values for values in predicted if values is not None]
    theory = np.mean(available, axis=0) if available and len(available) == len(samples) else None
    return Curve(name, measured, theory, max(1 - float(measured.sum()), 0.0))


def _ceiling(panels: Sequence[HistogramPanel]) -> float:
    peaks = [float(curve.shares.max()) for panel in panels for curve in panel.curves if curve.outside < 0.5]
    return 1.15 * min(max(peaks), 3 * float(np.median(peaks))) if peaks else 1.0


def _left_out(
    by_title: Mapping[str, Sequence[E]], samples: Mapping[str, Sequence[_Sample]], named: bool
) -> Iterator[str]:
    most = max(map(len, samples.values()), default=0)
    if most > 1 and not named:
        yield f"mean of up to {most} runs per panel"
    if any(sum(e.digest is not None for e in by_title[title]) > len(listed) for title, listed in samples.items()):
        yield "evenly picked from more"
    if len(by_title) > len(samples):
        yield f"{len(samples)} of {len(by_title):,} values shown"
