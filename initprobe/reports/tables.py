"""A result as text: the experiment in words, a row a layer, and what happened from first to last."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from initprobe.characters import showable
from initprobe.numbers import BLOCKS, NOTHING, fixed, percent, short, sparkline
from initprobe.plain import visible
from initprobe.reports.binning import shares
from initprobe.reports.blocks import blocks, columns, fitting_depth, short_name
from initprobe.reports.console import Console, say, text_console
from initprobe.reports.console import console as console
from initprobe.reports.elision import Elided, shown_layers
from initprobe.reports.words import SYMBOLS, cosine, course
from initprobe.results import TENSORS, Finding, LayerStats, ModuleStats, ProbeResult, TensorStats, worst
from initprobe.vocabulary import counted, survives

_BLANK = 4  # lines: before and after the table, and its heading
_MOST_LAYERS = 100
_SPARK_BINS = 7  # odd, so that a spike at 0 is one
_STATUS_STYLE = {"ok": "", "underflow": "yellow", "overflow": "red", "nonfinite": "red"}
_HEALTHY = "SIGNAL SURVIVES initialization (training is another matter)"
_KNOWN = "NOTHING NEW: every finding is ignored"
_SEVERITY_STYLE = {"error": "bold red", "warning": "bold yellow", "info": "dim"}
_NO_FIX = "no initializer, norm or residual branch is predicted to keep this signal at this depth"
_LOST = {"underflow": "under", "overflow": "over", "nonfinite": "NaN"}


def plain_text(result: ProbeResult, width: int | None = None) -> str:
    """What `print_result` prints, without colour, in characters that standard output can show."""
    to, out = text_console(width)
    print_result(result, to)
    return showable(out.getvalue(), getattr(sys.stdout, "encoding", None))


def print_result(result: ProbeResult, to: Console, verbose: bool = False, depth: int | None = None) -> None:
    """Print the heading, the table and the summary; every tensor's tables too if `verbose`.

    `depth` asks for a row per block, by so many parts of the names of a model's own modules; without it a model of
    more than a hundred layers has them too.

    The verdict, which comes first, is repeated at the end of what scrolls away on a terminal.
    """
    numbers = shown_layers(result, None if verbose else to.most_rows)
    count = print_verdict(result, to) + say(_heading(result), to)
    to.print()
    by_block = _block_depth(result, verbose, depth)
    to.print(_layer_table(result, numbers, verbose) if by_block is None else _block_table(result, by_block))
    to.print()
    count += len(numbers) + _BLANK + say(summary(result), to)
    if verbose:
        _print_tensors(result, to)
        count += len(TENSORS) * 2 * len(numbers)
    if to.file.isatty() and count > to.height:
        to.print()
        print_verdict(result, to)


def _print_tensors(result: ProbeResult, to: Console) -> None:
    """Every statistic of every tensor."""
    if result.modules:
        to.print()
        to.print(_module_table(result.modules))
    for tensor in TENSORS:
        to.print()
        to.print(_tensor_tables(result, tensor))


def print_verdict(result: ProbeResult, to: Console) -> int:
    """Print what was found, gravest first, and the command line that cures it; give the lines that it took."""
    return say(_verdict(result), to)


def _verdict(result: ProbeResult) -> Text:
    lines = [Text(_healthy(result), "bold yellow" if result.is_partial else "bold green")] if result.healthy else []
    if survives(result) and not result.healthy:
        lines = [Text(_KNOWN, "bold green")]
    if result.coverage is not None:
        lines.append(Text.assemble((f"{'judged':<10}", "bold"), result.coverage.words))
    for number, finding in enumerate(result.diagnosis):
        if finding.ignored:
            lines.append(_ignored(finding))
            continue
        style = _SEVERITY_STYLE[finding.severity]
        name = finding.name.upper() if number == 0 and not result.healthy else finding.name
        heading = f"{finding.severity:<10}{name} from layer {finding.layer}{_module_words(finding)}: "
        lines.append(Text.assemble((visible(heading), style), visible(finding.evidence)))
    none = None if survives(result) or result.modules else _NO_FIX
    fix = next((finding.fix for finding in counted(result) if finding.fix), none)
    if fix:
        lines += [Text.assemble((f"{'fix':<10}", "bold"), visible(line)) for line in fix.split("\n")]
    elif reason := next((one.no_fix for one in result.diagnosis if one.no_fix and one.severity != "info"), None):
        lines.append(Text.assemble((f"{'no fix':<10}", "bold"), visible(reason)))
    return Text("\n").join(lines)


def _healthy(result: ProbeResult) -> str:
    """The verdict of a healthy net; of the part that was judged where that is too little."""
    if not result.is_partial or result.coverage is None:
        return _HEALTHY
    return f"SIGNAL SURVIVES in the {percent(result.coverage.share)}% that was judged"
def _ignored(finding: Finding) -> Text:
    """What does not count, and why."""
    until = f"; until {finding.ignored.until}" if finding.ignored and finding.ignored.until else ""
    heading = f"{'ignored':<10}{finding.name} from layer {finding.layer}{_module_words(finding)}: "
    reason = f" ({finding.ignored.reason}{until})" if finding.ignored else ""
    return Text.assemble((visible(heading), "dim"), visible(finding.evidence), (visible(reason), "dim"))


def _module_words(finding: Finding) -> str:
    return f" ({finding.module})" if finding.module else ""


def print_comparison(results: Sequence[ProbeResult], to: Console) -> None:
    """Print a row a result, worst first: verdict, variances at both ends, and how the output's variance moves."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading, side in _COMPARISON:
        table.add_column(heading, justify="right" if side == ">" else "left", no_wrap=True)
    for result in sorted(results, key=_gravity, reverse=True):
        table.add_row(*_compared(result), style="" if result.healthy else _SEVERITY_STYLE[result.diagnosis[0].severity])
    shared = results[0].description
    to.print(visible(f"{shared.shape} | {shared.setting}"), soft_wrap=True, markup=False)
    to.print()
    to.print(table)


def _gravity(result: ProbeResult) -> tuple[int, float]:
    """Worse is larger: the gravest severity, then the decades that output and gradient move."""
    severities = ["info", "warning", "error"]
    gravest = max((severities.index(finding.severity) for finding in result.diagnosis), default=0)
    ends = [_ends(result, tensor) for tensor in ("output", "output_gradient")]
    return gravest, sum(abs(b - a) for a, b in ends if math.isfinite(a) and math.isfinite(b))


def _ends(result: ProbeResult, tensor: str) -> tuple[float, float]:
    """log10 variance at the first and the last layer where it is known."""
    known = [value for layer in result.stream if math.isfinite(value := _log10(layer.tensor(tensor)))]
    return (known[0], known[-1]) if known else (math.nan, math.nan)


def _log10(stats: TensorStats) -> float:
    return math.nan if stats.variance_log10 is None else stats.variance_log10


_COMPARISON = (
    ("init + act", "<"),
    ("verdict", "<"),
    ("var h\nfirst", ">"),
    ("\nlast", ">"),
    ("dL/dh\nfirst", ">"),
    ("cos\nlast", ">"),
    ("log var h\nby layer", "<"),
)


def _compared(result: ProbeResult) -> list[str]:
    first, last = result.stream[0], result.stream[-1]
    return [
        visible(f"{result.config.get('weights') or result.config['init']} + {result.config['act']}"),
        "survives" if result.healthy else result.diagnosis[0].name,
        _value(first.output, first.output.variance),
        _value(last.output, last.output.variance),
        _value(first.output_gradient, first.output_gradient.variance),
        NOTHING if last.correlation is None else cosine(last.correlation),
        _course([_log10(layer.output) for layer in result.stream]),
    ]


def _course(logs: Sequence[float]) -> str:
    """A log variance over depth as block characters, at most ten; blank where it was lost."""
    shown = [logs[round(place)] for place in np.linspace(0, len(logs) - 1, min(len(logs), _SPARK_BINS))]
    known = [value for value in shown if math.isfinite(value)]
    if not known:
        return ""
    low, span = min(known), max(max(known) - min(known), 1.0)  # less than a decade is level
    return "".join(BLOCKS[1 + round(7 * (v - low) / span)] if math.isfinite(v) else " " for v in shown)


def _heading(result: ProbeResult) -> Text:
    words = result.description
    setting = f"{words.shape} | {words.setting}"
    return Text.assemble((visible(words.title), "bold"), "\n", visible(words.weights), "\n", visible(setting))


@dataclass(frozen=True)
class Column:
    """A column of the layer table: its heading, and a layer's entry."""

    heading: str
    entry: Callable[[LayerStats], str]


def _relative_spread(stats: TensorStats) -> str:
    if not stats.variance or stats.variance_sd is None:
        return NOTHING
    spread = 100 * stats.variance_sd / stats.variance
    return f"{spread:.1f}" if spread < 9.95 else fixed(spread, 0)


def _value(stats: TensorStats, value: float | None) -> str:
    """A number, or in its place what became of it."""
    lost = value is None and stats.variance_log10 is None and stats.status != "ok"
    return _LOST[stats.status] if lost else short(value, stats.variance_log10)


def _columns(result: ProbeResult, verbose: bool) -> list[Column]:
    edges = _spark_edges(result)
    return [
        _number_column(result),
        *([Column("\nmodule", lambda layer: short_name(layer.name or NOTHING))] if result.modules else []),
        *_output_columns(result),
        *_gradient_columns(result),
        *_fitting_columns(result),
        *([Column("\ndW/W", lambda layer: short(layer.gradient_to_weight_ratio))] if verbose else []),
        Column(f"h in\n{_spark_heading(edges)}", lambda layer: _spark(layer, edges)),
    ]


def _number_column(result: ProbeResult) -> Column:
    """The layers' numbers, those inside of residual branches in brackets."""
    heading = "\nlayer" if len(result.stream) == len(result.layers) else "(branch)\nlayer"
    return Column(heading, lambda layer: f"({layer.layer})" if layer.inside_branch else str(layer.layer))


def _output_columns(result: ProbeResult) -> Iterator[Column]:
    yield Column("output h\nstd", lambda layer: _value(layer.output, layer.output.std))
    if _has_theory(result):
        yield Column("\ntheory", lambda layer: short(_predicted_std(layer)))
    yield Column("\nvar", lambda layer: _value(layer.output, layer.output.variance))
    if result.draws > 1 and result.loss is None:  # whose columns take the room
        yield Column("\n+-%", lambda layer: _relative_spread(layer.output))
    if any(layer.output.saturated_fraction is not None for layer in result.layers):
        yield Column("\nsat%", lambda layer: percent(layer.output.saturated_fraction))
    if any(layer.output.dead_fraction is not None for layer in result.layers):
        yield Column("\ndead%", lambda layer: percent(layer.output.dead_fraction))
    yield Column("z\ncos", lambda layer: NOTHING if layer.correlation is None else cosine(layer.correlation))


def _gradient_columns(result: ProbeResult) -> Iterator[Column]:
    yield Column("dL/dh\nvar", lambda layer: _value(layer.output_gradient, layer.output_gradient.variance))
    if _has_theory(result):
        yield Column("\ntheory", lambda layer: short(_predicted_gradient(layer)))
    if result.draws > 1 and result.loss is None:
        yield Column("\n+-%", lambda layer: _relative_spread(layer.output_gradient))
    yield Column("dL/dW\nvar", lambda layer: _value(layer.weight_gradient, layer.weight_gradient.variance))
    if result.loss is not None:
        yield Column("loss by\nh var", lambda layer: short(layer.loss_output_gradient_variance))
        yield Column("W\nvar", lambda layer: short(layer.loss_weight_gradient_variance))


def _fitting_columns(result: ProbeResult) -> Iterator[Column]:
    """They take the room of theory, which has nothing to say of weights that are fitted to the data."""
    if any(layer.fitting is not None for layer in result.layers):
        yield Column("fit\nbefore", lambda layer: short(layer.fitting.before) if layer.fitting else NOTHING)
        yield Column("\nafter", lambda layer: short(layer.fitting.after) if layer.fitting else NOTHING)


def _has_theory(result: ProbeResult) -> bool:
    return any(layer.theory is not None for layer in result.layers)


def _predicted_std(layer: LayerStats) -> float | None:
    variance = layer.theory.output_variance if layer.theory else None
    return None if variance is None else math.sqrt(variance)


def _predicted_gradient(layer: LayerStats) -> float | None:
    return layer.theory.output_gradient_variance if layer.theory else None


def _spark_edges(result: ProbeResult) -> tuple[float, float]:
    """The axis of the small histograms: the activation's range, or what holds nearly all of layer 1."""
    words, first = result.description, result.layers[0].output.percentiles
    reach = (max(abs(first.p1), abs(first.p99)) if first else 0.0) * 1.3 or 1.0
    reach = min(reach, sys.float_info.max / 2)  # the width of the axis is a number too
    low = words.output_low if words.output_low is not None else -reach
    high = words.output_high if words.output_high is not None else reach
    return low, high


def _spark_heading(edges: tuple[float, float]) -> str:
    return f"{_end(edges[0])}..{_end(edges[1])}"


def _end(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 1000 else short(value)


def _spark(layer: LayerStats, edges: tuple[float, float]) -> str:
    histogram = layer.output.histogram
    if histogram is None:
        return _LOST.get(layer.output.status, NOTHING)
    return sparkline([s if s > 1e-4 else 0 for s in shares(histogram, np.linspace(*edges, _SPARK_BINS + 1))])


def _block_depth(result: ProbeResult, verbose: bool, depth: int | None) -> int | None:
    """The depth of the blocks to show; None for a row per layer."""
    if not result.modules:
        return None
    return depth or (None if verbose or len(result.layers) <= _MOST_LAYERS else fitting_depth(result.layers))


def _block_table(result: ProbeResult, depth: int) -> RenderableType:
    """A row per block: the lowest and the highest of its layers."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    entries = list(columns())
    for heading, _ in entries:
        table.add_column(heading, justify="right", no_wrap=True)
    shown = blocks(result.layers, depth)
    for block in shown:
        style = _STATUS_STYLE[worst(layer.status for layer in block.layers)]
        table.add_row(*(Text(entry(block)) for _, entry in entries), style=style)
    note = f"{len(result.layers)} layers in {len(shown)} blocks (--depth {depth}); -v shows every layer"
    return Group(table, Text(note, style="dim"))


def _layer_table(result: ProbeResult, numbers: Sequence[int], verbose: bool) -> Elided:
    """A row for each layer of these numbers."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    columns = _columns(result, verbose)
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for layer in (result.layers[number - 1] for number in numbers):
        # As text: a module's name may look like markup.
        table.add_row(*(Text(visible(column.entry(layer))) for column in columns), style=_STATUS_STYLE[layer.status])
    return Elided(table, numbers)


_MODULE_COLUMNS: Mapping[str, Callable[[ModuleStats], str]] = {
    "module": lambda one: one.label or one.type,
    "class": lambda one: one.type,
    "\nlayer": lambda one: NOTHING if one.layer is None else str(one.layer),
    "input\nvar": lambda one: _variance(one.input),
    "output\nvar": lambda one: _variance(one.output),
    "\nmean": lambda one: NOTHING if one.output is None else short(one.output.mean),
    "dL/din\nvar": lambda one: _variance(one.input_gradient),
    "dL/dout\nvar": lambda one: _variance(one.output_gradient),
    "W\nstd": lambda one: NOTHING if one.weight is None else short(one.weight.std),
    "dL/dW\nvar": lambda one: _variance(one.weight_gradient),
}


def _variance(stats: TensorStats | None) -> str:
    return NOTHING if stats is None else _value(stats, stats.variance)


def _module_table(modules: Sequence[ModuleStats]) -> Table:
    """A row a call of a leaf module."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in _MODULE_COLUMNS:
        justify: Literal["left", "right"] = "left" if heading in ("module", "class") else "right"
        table.add_column(heading, justify=justify, no_wrap=True, vertical="bottom")
    for one in modules:
        table.add_row(
            *(Text(visible(entry(one))) for entry in _MODULE_COLUMNS.values()), style=_STATUS_STYLE[one.status]
        )
    return table


def summary(result: ProbeResult) -> Text:
    """What happened between the first layer and the last."""
    return Text("\n").join(Text.assemble((f"{label:<10}", "bold"), words) for label, words in course(result))


def _tensor_tables(result: ProbeResult, tensor: str) -> RenderableType:
    """All statistics of one tensor in two tables, so that they fit 80 columns."""
    moments = _stacked(
        result,
        tensor,
        ["mean", "var", "+-%", "std", "rms", "min", "max", "zero%", "~0%", "bad"],
        lambda s: [
            short(s.mean),
            _value(s, s.variance),
            _relative_spread(s),
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
        lambda s: [short(p) for p in s.percentiles.model_dump().values()] if s.percentiles else [NOTHING] * 7,
    )
    return Group(Text(SYMBOLS[tensor], style="bold"), moments, percentiles)


def _stacked(
    result: ProbeResult, tensor: str, headings: Sequence[str], entries: Callable[[TensorStats], list[str]]
) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("layer", *headings):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in result.layers:
        stats = layer.tensor(tensor)
        table.add_row(str(layer.layer), *entries(stats), style=_STATUS_STYLE[stats.status])
    return table
