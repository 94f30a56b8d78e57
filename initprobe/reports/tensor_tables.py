"""The tables of `-v`: every statistic of every tensor, and every call of a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from initprobe.formatting import NOTHING, percent, short
from initprobe.reports.cells import STATUS_STYLE, relative_spread, value_text
from initprobe.reports.narrative import SYMBOLS
from initprobe.reports.tables import PlainTable, TextColumn
from initprobe.results.layers import ModuleStats, TensorStats
from initprobe.results.run import ProbeResult

_MODULE_COLUMNS: Mapping[str, Callable[[ModuleStats], str]] = {
    "module": lambda module: module.label or module.type,
    "class": lambda module: module.type,
    "\nlayer": lambda module: NOTHING if module.layer is None else str(module.layer),
    "input\nvar": lambda module: _variance(module.input),
    "output\nvar": lambda module: _variance(module.output),
    "\nmean": lambda module: NOTHING if module.output is None else short(module.output.mean),
    "dL/din\nvar": lambda module: _variance(module.input_gradient),
    "dL/dout\nvar": lambda module: _variance(module.output_gradient),
    "W\nstd": lambda module: NOTHING if module.weight is None else short(module.weight.std),
    "dL/dW\nvar": lambda module: _variance(module.weight_gradient),
}
_NAMES = ("module", "class")


def _variance(stats: TensorStats | None) -> str:
    return NOTHING if stats is None else value_text(stats, stats.variance)


def module_table(modules: Sequence[ModuleStats]) -> PlainTable:
    """A row per call of a leaf module."""
    columns = [
        TextColumn(heading, [entry(module) for module in modules], left=heading in _NAMES)
        for heading, entry in _MODULE_COLUMNS.items()
    ]
    return PlainTable(columns, [STATUS_STYLE[module.status] for module in modules])


def tensor_tables(result: ProbeResult, tensor: str) -> RenderableType:
    """All statistics of one tensor in two tables, one above the other, which fit 80 columns.

    Args:
        result: of a run.
        tensor: its JSON name.
    """
    moments = _stacked(
        result,
        tensor,
        ["mean", "var", "+-%", "std", "rms", "min", "max", "zero%", "~0%", "bad"],
        lambda s: [
            short(s.mean),
            value_text(s, s.variance),
            relative_spread(s),
            short(s.std),
            short(s.rms),
            short(s.min),
            short(s.max),
            percent(s.zero_fraction),
            percent(s.near_zero_fraction),
            str(s.nonfinite_count),
        ],
    )
    percentiles = _stacked(
        result,
        tensor,
        ["p1", "p5", "p25", "p50", "p75", "p95", "p99"],
        lambda s: [short(p) for _, p in s.percentiles] if s.percentiles else [NOTHING] * 7,
    )
    return Group(Text(SYMBOLS[tensor], style="bold"), moments, percentiles)


def _stacked(
    result: ProbeResult, tensor: str, headings: Sequence[str], entries: Callable[[TensorStats], list[str]]
) -> PlainTable:
    every = [layer.tensor(tensor) for layer in result.layers]
    rows = [(str(layer.layer), *entries(stats)) for layer, stats in zip(result.layers, every, strict=True)]
    columns = [*map(TextColumn, ("layer", *headings), zip(*rows, strict=True))]
    return PlainTable(columns, [STATUS_STYLE[stats.status] for stats in every])
