"""The table of `initprobe compare`: a row per result, worst first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from initprobe.arrays import evenly
from initprobe.formatting import BLOCKS, NOTHING, visible
from initprobe.reports.cells import SPARK_BINS, names_of, shared_words, value_text
from initprobe.reports.console import Console
from initprobe.reports.narrative import cosine
from initprobe.reports.tables import plain_table
from initprobe.reports.verdict import SEVERITY_STYLE
from initprobe.results.layers import TensorStats
from initprobe.results.run import ProbeResult


def print_comparison(results: Sequence[ProbeResult], to: Console) -> None:
    """Print a row per result, worst first: verdict, variances at both ends, and the variance of h over depth.

    Args:
        results: in any order.
        to: the console.
    """
    table = plain_table(*_HEADINGS, left=_LEFT)
    names = dict(zip(map(id, results), names_of(results), strict=True))
    for result in sorted(results, key=_badness, reverse=True):
        cells = [visible(names[id(result)]), *_compared(result)]
        table.add_row(*cells, style="" if result.healthy else SEVERITY_STYLE[result.diagnosis[0].severity])
    if shared := " | ".join(shared_words(results)):
        to.print(visible(shared), soft_wrap=True, markup=False)
        to.print()
    to.print(table)


def _badness(result: ProbeResult) -> tuple[int, float]:
    """Sort key, worse is larger: the highest severity, then the decades by which output and gradient change."""
    severities = ["info", "warning", "error"]
    worst = max((severities.index(finding.severity) for finding in result.diagnosis), default=0)
    ends = [_ends(result, tensor) for tensor in ("output", "output_gradient")]
    return worst, sum(abs(b - a) for a, b in ends if math.isfinite(a) and math.isfinite(b))


def _ends(result: ProbeResult, tensor: str) -> tuple[float, float]:
    """log10 variance at the first and the last layer where it is finite."""
    logs = [value for layer in result.stream if math.isfinite(value := _log10(layer.tensor(tensor)))]
    return (logs[0], logs[-1]) if logs else (math.nan, math.nan)


def _log10(stats: TensorStats) -> float:
    return math.nan if stats.variance_log10 is None else stats.variance_log10


_LEFT = ("init + act", "verdict", "log var h\nby layer")
_HEADINGS = (*_LEFT[:2], "var h\nfirst", "\nlast", "dL/dh\nfirst", "cos\nlast", _LEFT[2])


def _compared(result: ProbeResult) -> list[str]:
    first, last = result.stream[0], result.stream[-1]
    return [
        "survives" if result.healthy else result.diagnosis[0].name,
        value_text(first.output, first.output.variance),
        value_text(last.output, last.output.variance),
        value_text(first.output_gradient, first.output_gradient.variance),
        NOTHING if last.correlation is None else cosine(last.correlation),
        _course([_log10(layer.output) for layer in result.stream]),
    ]


def _course(logs: Sequence[float]) -> str:
    """A log variance over depth as at most seven block characters; blank where it was lost."""
    shown = [logs[place] for place in evenly(len(logs), SPARK_BINS)]
    finite = [value for value in shown if math.isfinite(value)]
    if not finite:
        return ""
    low, span = min(finite), max(max(finite) - min(finite), 1.0)  # less than a decade is level
    return "".join(BLOCKS[1 + round(7 * (v - low) / span)] if math.isfinite(v) else " " for v in shown)
