"""A result as a picture of a few lines: histograms of h, and bars for its variance, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from initprobe.arrays import evenly
from initprobe.formatting import short_of, sparkline
from initprobe.reports.binning import shares
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult

_BINS = 25  # odd: a spike at 0 is one bin
_BAR = 24
_MOST_ROWS = 6
# Log10 of the smallest variance that a bar shows.
_FLOOR = -12.0
_LEAST_SHARE = 1e-3
_WIDEST = 1e300


def small_picture(result: ProbeResult) -> Iterator[str]:
    """Lines of at most 80 characters: a heading, and a row for at most six layers.

    The bar is the variance of h. Its scale goes from 1e-12 to 1, or to the largest of this net if that is more. Each
    row says the number.
    """
    low, high = _edges(result.layers)
    logs = [layer.output.variance_log10 for layer in result.layers]
    top = max([0.0, *(log for log in logs if log is not None)])
    edges = np.linspace(low, high, _BINS + 1)
    yield f"layer  {f'outputs, {low:.2g} .. {high:.2g}':<{_BINS}}  variance"
    for layer in (result.layers[place] for place in evenly(len(result.layers), _MOST_ROWS)):
        yield f"{layer.layer:>5}  {_histogram(layer, edges)}  {_bar(layer.output.variance_log10, top)}"


def _edges(layers: Sequence[LayerStats]) -> tuple[float, float]:
    """An axis that holds 98% of the outputs of each layer, with 0 in the middle."""
    ends = [end for layer in layers if (shown := layer.output.percentiles) for end in (shown.p1, shown.p99)]
    reach = 1.1 * min(max(map(abs, ends), default=0.0), _WIDEST) or 1.0
    return -reach, reach


def _histogram(layer: LayerStats, edges: np.ndarray) -> str:
    if layer.output.histogram is None:
        return f"{layer.output.status:<{_BINS}}"
    return sparkline([share if share > _LEAST_SHARE else 0 for share in shares(layer.output.histogram, edges)])


def _bar(log10: float | None, top: float) -> str:
    if log10 is None:
        return f"{'':<{_BAR}} 0 or lost"
    length = _BAR * (max(log10, _FLOOR) - _FLOOR) / (top - _FLOOR)
    return f"{'█' * max(round(length), 1):<{_BAR}} {short_of(log10)}"
