"""What the figures of one result show, computed before drawing: histograms and log-variance profiles."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.formatting import percent, short
from initprobe.reports.binning import rebinned, shares
from initprobe.reports.gaps import STATUS_WORDS, Gap, gaps

if TYPE_CHECKING:
    from initprobe.results.layers import LayerStats, TensorStats
    from initprobe.results.run import ProbeResult

BINS = 51  # odd: a spike at 0 is one bin
_STRETCH = 1.3
_MARGIN_BINS = 3
_UNEVEN = 30.0  # largest over smallest layer of a model from which a linear axis hides the smaller ones
_BEYOND = 3.0  # times a linear axis: a layer that reaches further is hardly seen on it
_ATOM = 0.05  # a share of exact zeros from which a spike is named so
_ALL = 0.95  # a share of exact zeros beside which the rest is not worth a scale
_MOST_DECADES = 40  # of a logarithmic axis, on each side of 0
_LOPSIDED = 0.5  # how far the outputs reach to one side, relative to the other, below which an axis is not symmetric
_LN10 = math.log(10)
_LARGEST = sys.float_info.max
_FURTHEST = _LARGEST / 8  # end of an axis: its width and its margin are numbers too


class LayerHistogram(NamedTuple):
    """The histogram of one layer.

    Attributes:
        layer: its number.
        shares: share of the entries in each bin of the row's axis, `(bins,)`; None where they were lost.
        predicted: the same by theory, or None.
        outside: share of the entries beyond the axis.
        std: standard deviation as text, or how the dtype lost it.
        name: of the module, in a PyTorch model.
        at_zero: share of the entries that are exactly 0.
    """

    layer: int
    shares: Array | None
    predicted: Array | None
    outside: float
    std: str
    name: str = ""
    at_zero: float = 0.0

    def peak(self, edges: Array) -> float:
        """The largest share of a bin, without the entries that are exactly 0."""
        if self.shares is None:
            return 0.0
        heights = self.shares.copy()
        heights[max(int(np.searchsorted(edges, 0.0, side="right")) - 1, 0)] -= self.at_zero
        return float(heights.max())

    def spike(self, ceiling: float) -> str:
        """What a bin above the top of the axis is: the exact zeros, or a peak; empty without one."""
        largest = 0.0 if self.shares is None else float(self.shares.max())
        if largest <= ceiling and self.at_zero <= _ALL:
            return ""
        return f"{percent(self.at_zero)}% exactly 0" if self.at_zero > _ATOM else f"peak {percent(largest)}%"


class HistogramRow(NamedTuple):
    """Histograms of one tensor, one per layer, all on one axis.

    Attributes:
        edges: of the bins, `(bins + 1,)`.
        ends: the two values of the axis that are labelled.
        panels: one per layer.
        means, stds: mean and standard deviation per layer.
        bend: the axis is linear up to about this distance from 0 and logarithmic beyond; None for a linear axis.
    """

    edges: Array
    ends: tuple[float, float]
    panels: tuple[LayerHistogram, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    bend: float | None = None

    def stretched(self, values: Array) -> Array:
        """Where values are on the axis, in units in which all bins are equally wide."""
        return values if self.bend is None else np.arcsinh(values / self.bend)

    @property
    def ceiling(self) -> float:
        """Top of the shared axis: a spike is cut, so that the rest stays readable. Exact zeros do not count."""
        peaks = self._peaks
        return 1.15 * min(max(peaks), 3 * min(peaks)) if peaks else 1.0

    @property
    def brightest(self) -> float:
        """The share that has the brightest colour; on a log axis, whose bins differ, it may be above `ceiling`."""
        peaks = self._peaks
        if self.bend is None or not peaks:
            return self.ceiling
        return 1.15 * min(max(peaks), math.sqrt(3 * min(peaks) * max(peaks)))

    @property
    def _peaks(self) -> list[float]:
        """The peaks of the layers of which most is on the axis and not exactly 0."""
        shown = [p for p in self.panels if p.shares is not None and p.outside < 0.5 and p.at_zero <= _ALL]
        return [peak for panel in shown if (peak := panel.peak(self.edges)) > 0]


class Profile(NamedTuple):
    """log10 variance of one tensor over the layers that are not inside residual branches; arrays are `(layers,)`.

    Attributes:
        label: symbol of the tensor.
        layers: numbers of the layers.
        log10: log10 of the variance, NaN where it was lost.
        low: the same less one SD over draws.
        high: the same plus one SD over draws.
        predicted: log10 of the predicted variance.
        predicted_low: the same less two SDs.
        predicted_high: the same plus two SDs.
        zeros: whether the variance is 0.
        gaps: where the variance has no log, and why.
    """

    label: str
    layers: Array
    log10: Array
    low: Array
    high: Array
    predicted: Array
    predicted_low: Array
    predicted_high: Array
    zeros: Array
    gaps: tuple[Gap, ...] = ()


def output_histograms(result: ProbeResult) -> HistogramRow:
    """Histograms of the outputs h, on the activation's range where that is bounded."""
    words = result.description
    if words.output_high is None and (uneven := _uneven(result, "output")) is not None:
        lowest = -uneven[1] if words.output_low is None else words.output_low
        return _histograms(result, "output", lowest, uneven[1], bend=uneven[0])
    tensors = [layer.output for layer in result.layers]
    reach = _reach(tensors)
    below, above = _sides(tensors, reach)
    low = words.output_low if words.output_low is not None else -below
    high = words.output_high if words.output_high is not None else above
    return _histograms(result, "output", low, high)


def _sides(tensors: Sequence[TensorStats], reach: float) -> tuple[float, float]:
    """How far a linear axis reaches below 0 and above it: less on a side that hardly any entry reaches."""
    inside = [t.percentiles for t in tensors if t.percentiles and _stretched(_reach_of(t)) <= reach]
    below = _stretched(max((-each.p1 for each in inside), default=0.0))
    above = _stretched(max((each.p99 for each in inside), default=0.0))
    if 0 < below < _LOPSIDED * above:
        return below, reach
    return (reach, above) if 0 < above < _LOPSIDED * below else (reach, reach)


def gradient_histograms(result: ProbeResult) -> HistogramRow:
    """Histograms of dL/dh, on one symmetric axis."""
    if (uneven := _uneven(result, "output_gradient")) is not None:
        return _histograms(result, "output_gradient", -uneven[1], uneven[1], bend=uneven[0])
    reach = _reach([layer.output_gradient for layer in result.layers])
    return _histograms(result, "output_gradient", -reach, reach)


def _reaches(tensors: Sequence[TensorStats]) -> list[float]:
    """How far 98% of the entries of each tensor reach from 0; only those that do."""
    return [reach for tensor in tensors if (reach := _reach_of(tensor)) > 0]


def _reach_of(tensor: TensorStats) -> float:
    """How far 98% of its entries reach from 0; 0 without percentiles."""
    return max(abs(tensor.percentiles.p1), abs(tensor.percentiles.p99)) if tensor.percentiles else 0.0


def _uneven(result: ProbeResult, tensor: str) -> tuple[float, float] | None:
    """The bend and the end of a logarithmic axis, where on a linear one some layers would lie outside.

    In a PyTorch model also where the head or other layers dwarf the rest.
    """
    tensors = [layer.tensor(tensor) for layer in result.layers]
    reaches = _reaches(tensors)
    even = _UNEVEN * min(reaches, default=0.0) if result.is_of_model else _BEYOND * _reach(tensors)
    if not reaches or max(reaches) <= even:
        return None
    return max(min(reaches), max(reaches) / 10**_MOST_DECADES) / 2, _stretched(max(reaches))


def _reach(tensors: Sequence[TensorStats]) -> float:
    """Half of an axis that shows all layers if their scales are within a factor of 10.

    Otherwise it shows those within a factor of 10 of the first or last layer, whichever is closer to 1. Other layers
    are spikes, or extend beyond the axis.
    """
    positive = _reaches(tensors)
    if not positive:
        return 1.0
    anchor = min((positive[0], positive[-1]), key=lambda reach: abs(math.log10(reach)))
    return _stretched(max(reach for reach in positive if reach <= 10 * anchor))


def _stretched(reach: float) -> float:
    """Half of an axis for numbers that reach so far."""
    return min(_STRETCH * reach, _FURTHEST)


def _histograms(result: ProbeResult, tensor: str, low: float, high: float, bend: float | None = None) -> HistogramRow:
    """Histograms in bins that are equally wide on the axis."""
    start, end = (low, high) if bend is None else (math.asinh(low / bend), math.asinh(high / bend))
    # Whole bins of margin: an atom at a bound is neither hidden by the frame nor split.
    width = (end - start) / (BINS - 2 * _MARGIN_BINS)
    edges = start + width * (np.arange(BINS + 1) - _MARGIN_BINS)
    if bend is not None:
        with np.errstate(over="ignore"):
            edges = np.clip(bend * np.sinh(edges), -_LARGEST, _LARGEST)
    panels = tuple(_panel(layer, tensor, edges, bend is not None) for layer in result.layers)
    means, stds = (tuple(result.series(tensor, name)) for name in ("mean", "std"))
    return HistogramRow(edges, (low, high), panels, means, stds, bend)


def _panel(layer: LayerStats, tensor: str, edges: Array, log: bool) -> LayerHistogram:
    """The histogram of one layer. On a log axis exact zeros must not spread over their wide bin."""
    stats = layer.tensor(tensor)
    at_zero = (stats.zero_fraction or 0.0) if log else 0.0
    if stats.histogram is None:
        return LayerHistogram(layer.layer, None, None, 0.0, STATUS_WORDS[stats.status], layer.name or "")
    inside = shares(stats.histogram, edges, at_zero)
    return LayerHistogram(
        layer=layer.layer,
        shares=inside,
        predicted=predicted_shares(layer, edges, at_zero) if tensor == "output" else None,
        outside=max(1 - float(inside.sum()), 0.0),
        std=f"std {short(stats.std, None if stats.variance_log10 is None else stats.variance_log10 / 2)}",
        name=layer.name or "",
        at_zero=stats.zero_fraction or 0.0,
    )


def predicted_shares(layer: LayerStats, edges: Array, at_zero: float = 0.0) -> Array | None:
    """Compute the share of outputs per bin by theory.

    Args:
        layer: with its prediction.
        edges: of the bins, `(bins + 1,)`.
        at_zero: share of the outputs that are exactly 0, which are not spread over a bin.

    Returns:
        Shares, `(bins,)`; None without a prediction.
    """
    measured = layer.output.histogram
    if layer.theory is None or layer.theory.output_shares is None or measured is None:
        return None
    scale = 10**9  # shares as counts
    counts = tuple(round(scale * share) for share in layer.theory.output_shares)
    inside = sum(layer.theory.output_shares)
    if not any(counts):  # by theory all are outside
        return np.zeros(len(edges) - 1)
    return rebinned(counts, measured.low, measured.high, edges, at_zero) * inside


def profiles(result: ProbeResult) -> tuple[Profile, ...]:
    """Depth profiles of the variances of h, dL/dh and dL/dW."""
    return tuple(_profiles(result))


def _profiles(result: ProbeResult) -> Iterator[Profile]:
    for tensor, label in (("output", "h"), ("output_gradient", "dL/dh"), ("weight_gradient", "dL/dW")):
        shown = np.array([layer.layer for layer in result.stream])
        log10, sd, variance = (
            np.array(result.series(tensor, f"variance{suffix}"))[shown - 1] for suffix in ("_log10", "_sd", "")
        )
        with np.errstate(invalid="ignore"):  # a variance of 0 has no relative spread
            spread = sd / variance
        half = np.log10(1 + np.nan_to_num(spread))
        zeros = variance == 0
        predicted, band = (values[shown - 1] for values in _predicted_profile(result, tensor))
        low, high = predicted - band, predicted + band
        lost = tuple(gaps(result.stream, tensor))
        yield Profile(label, shown, log10, log10 - half, log10 + half, predicted, low, high, zeros, lost)


def _predicted_profile(result: ProbeResult, tensor: str) -> tuple[Array, Array]:
    """Predicted log10 variances, and two predicted SDs of the measured ones, `(layers,)` each."""
    values, spreads = [], []
    for layer in result.layers:
        variance, spread = layer.prediction(tensor)
        values.append(math.log10(variance) if variance else math.nan)
        spreads.append(2 * (spread or 0.0) / _LN10)
    return np.array(values), np.array(spreads)
