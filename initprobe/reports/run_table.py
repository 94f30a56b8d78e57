"""A result as text: verdict, heading, a row per layer, and the summary from first to last layer. Start reading here."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from initprobe.arrays import Array
from initprobe.formatting import NOTHING, percent, short, sparkline, visible
from initprobe.reports.binning import shares
from initprobe.reports.cells import LOST, SPARK_BINS, STATUS_STYLE, relative_spread, value_text
from initprobe.reports.console import Console, say
from initprobe.reports.format_tables import print_format
from initprobe.reports.layer_blocks import blocks, columns, fitting_depth, short_name
from initprobe.reports.narrative import cosine, course, has_one_weight
from initprobe.reports.shortened_table import ShortenedTable, shown_layers
from initprobe.reports.tables import PlainTable, TextColumn, fitting
from initprobe.reports.tensor_tables import module_table, tensor_tables
from initprobe.reports.verdict import print_verdict
from initprobe.results.base import TENSORS, worst
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult

_AROUND_TABLE = 4  # blank lines before and after the table, and the two of its heading
_MOST_LAYERS = 100


def _not_finite(result: ProbeResult) -> list[int]:
    """Numbers of the layers with a tensor that is infinite or NaN somewhere."""
    return [layer.layer for layer in result.layers if any(layer.tensor(name).nonfinite_count for name in TENSORS)]


def print_result(result: ProbeResult, to: Console, verbose: bool = False, depth: int | None = None) -> None:
    """Print the verdict, the heading, the table and the summary.

    The verdict comes first, and again at the end if it would scroll off a terminal.

    Args:
        result: what was measured.
        to: the console.
        verbose: print the tables of every tensor too.
        depth: parts of a module's name that make a block, with a row per block. None for a row per layer, or for
            automatic blocks in a PyTorch model of more than a hundred layers.
    """
    numbers = shown_layers(result, None if verbose else _most_rows(result, to))
    count = print_verdict(result, to) + say(_heading(result), to)
    to.print()
    by_block = _block_depth(result, verbose, depth)
    to.print(
        _layer_table(result, numbers, verbose, to.row_width)
        if by_block is None
        else _block_table(result, by_block, to.row_width)
    )
    to.print()
    count += len(numbers) + _AROUND_TABLE + say(summary(result), to)
    for form in result.formats:
        to.print()
        print_format(form, to, numbers, verbose, _not_finite(result))
        count += 2 * len(numbers) + _AROUND_TABLE
    if verbose:
        _print_tensors(result, to)
        count += len(TENSORS) * 2 * len(numbers)
    if to.file.isatty() and count > to.height:
        to.print()
        print_verdict(result, to)


def _most_rows(result: ProbeResult, to: Console) -> int | None:
    """Rows beyond which the middle is left out. A log gets no more of a PyTorch model than of its blocks."""
    return _MOST_LAYERS if to.most_rows is None and result.is_of_model else to.most_rows


def _print_tensors(result: ProbeResult, to: Console) -> None:
    """Every statistic of every tensor."""
    if result.modules:
        to.print()
        to.print(module_table(result.modules))
    for tensor in TENSORS:
        to.print()
        to.print(tensor_tables(result, tensor))


def _heading(result: ProbeResult) -> Text:
    words = result.description
    setting = f"{words.shape} | {words.setting}"
    return Text.assemble((visible(words.title), "bold"), "\n", visible(words.weights), "\n", visible(setting))


class Column(NamedTuple):
    """A column of the layer table.

    Attributes:
        heading: one or two lines.
        entry: the text of a layer.
        dropped: when it is left out of a table that is too wide, the lowest number first; None for never.
    """

    heading: str
    entry: Callable[[LayerStats], str]
    dropped: int | None = None


def _columns(result: ProbeResult, verbose: bool) -> list[Column]:
    edges = _spark_edges(result)
    return [
        _number_column(result),
        *([Column("\nmodule", lambda layer: short_name(layer.name or NOTHING))] if result.is_of_model else []),
        *_output_columns(result, verbose),
        *_gradient_columns(result, verbose),
        *_structure_columns(result),
        *_fitting_columns(result),
        *([Column("\ndW/W", lambda layer: short(layer.gradient_to_weight_ratio))] if verbose else []),
        Column(f"h in\n{_end(edges[0])}..{_end(edges[-1])}", lambda layer: _spark(layer, edges), dropped=2),
    ]


def _number_column(result: ProbeResult) -> Column:
    """The numbers of the layers; in brackets inside residual branches."""
    heading = "\nlayer" if len(result.stream) == len(result.layers) else "(branch)\nlayer"
    return Column(heading, lambda layer: f"({layer.layer})" if layer.inside_branch else str(layer.layer))


def _output_columns(result: ProbeResult, verbose: bool) -> Iterator[Column]:
    yield Column("output h\nstd", lambda layer: value_text(layer.output, layer.output.std))
    if _has_theory(result):
        yield Column("\ntheory", lambda layer: short(_predicted_std(layer)), dropped=4)
    if verbose and _has_local_theory(result):
        yield Column("\nlocal", lambda layer: short(_local_std(layer)), dropped=3)
    yield Column("\nvar", lambda layer: value_text(layer.output, layer.output.variance))
    if result.draws > 1 and result.loss is None:  # a loss has columns of its own
        yield Column("\n+-%", lambda layer: relative_spread(layer.output), dropped=1)
    if any(layer.output.saturated_fraction is not None for layer in result.layers):
        yield Column("\nsat%", lambda layer: percent(layer.output.saturated_fraction))
    if any(layer.output.dead_fraction is not None for layer in result.layers):
        yield Column("\ndead%", lambda layer: percent(layer.output.dead_fraction))
    yield Column("z\ncos", lambda layer: NOTHING if layer.correlation is None else cosine(layer.correlation))


def _gradient_columns(result: ProbeResult, verbose: bool) -> Iterator[Column]:
    yield Column("dL/dh\nvar", lambda layer: value_text(layer.output_gradient, layer.output_gradient.variance))
    if _has_theory(result):
        yield Column("\ntheory", lambda layer: short(_predicted_gradient(layer)), dropped=3)
    if verbose and _has_local_theory(result):
        yield Column("\nlocal", lambda layer: short(_local_gradient(layer)), dropped=2)
    if result.draws > 1 and result.loss is None:
        yield Column("\n+-%", lambda layer: relative_spread(layer.output_gradient), dropped=0)
    yield Column("dL/dW\nvar", _weight_gradient)
    if result.step is not None:
        yield Column("1 step\nof W", lambda layer: short(layer.weight_step_ratio))
        yield Column("\nof h", lambda layer: short(layer.output_step_ratio))
    if result.loss is not None:
        yield Column("var of\ndloss/dh", lambda layer: short(layer.loss_output_gradient_variance))
        yield Column(
            "\ndloss/dW", lambda layer: NOTHING if has_one_weight(layer) else short(layer.loss_weight_gradient_variance)
        )


def _weight_gradient(layer: LayerStats) -> str:
    """The variance over the entries of dL/dW; a single entry has none."""
    if has_one_weight(layer):
        return NOTHING
    return value_text(layer.weight_gradient, layer.weight_gradient.variance)


def _structure_columns(result: ProbeResult) -> Iterator[Column]:
    """What branches add to the stream, and the gates, of a PyTorch model."""
    if any(layer.branch_ratio is not None for layer in result.layers):
        yield Column("branch\n/stream", lambda layer: short(layer.branch_ratio), dropped=6)
    if any(layer.gates is not None for layer in result.layers):
        yield Column("mean\ngate", _gate, dropped=5)
    if any(layer.gates is not None and layer.gates.memory_steps is not None for layer in result.layers):
        yield Column("memory\nsteps", lambda layer: short(layer.gates.memory_steps if layer.gates else None), dropped=7)


def _gate(layer: LayerStats) -> str:
    """The mean of the gate that decides what passes on. In a recurrence that is the share of memory that stays."""
    gates = layer.gates
    means = (gates.forget, gates.update, gates.product) if gates else ()
    return short(next((mean for mean in means if mean is not None), None))


def _fitting_columns(result: ProbeResult) -> Iterator[Column]:
    """In place of theory, which does not hold for weights that are fitted to the data."""
    if any(layer.fitting is not None for layer in result.layers):
        yield Column("fit\nbefore", lambda layer: short(layer.fitting.before) if layer.fitting else NOTHING)
        yield Column("\nafter", lambda layer: short(layer.fitting.after) if layer.fitting else NOTHING)


def _has_theory(result: ProbeResult) -> bool:
    return any(layer.theory is not None for layer in result.layers) or _has_local_theory(result)


def _has_local_theory(result: ProbeResult) -> bool:
    return any(layer.model_theory is not None for layer in result.layers)


def _predicted_std(layer: LayerStats) -> float | None:
    """By theory from the input of the net."""
    if layer.model_theory is not None:
        return _root(layer.model_theory.end_to_end.output.variance)
    return _root(layer.theory.output_variance if layer.theory else None)


def _local_std(layer: LayerStats) -> float | None:
    """By theory from the measured input of the layer."""
    return None if layer.model_theory is None else _root(layer.model_theory.local.output.variance)


def _root(variance: float | None) -> float | None:
    return None if variance is None else math.sqrt(variance)


def _predicted_gradient(layer: LayerStats) -> float | None:
    if layer.model_theory is not None:
        return layer.model_theory.end_to_end.output_gradient.variance
    return layer.theory.output_gradient_variance if layer.theory else None


def _local_gradient(layer: LayerStats) -> float | None:
    return None if layer.model_theory is None else layer.model_theory.local.output_gradient.variance


def _spark_edges(result: ProbeResult) -> Array:
    """Edges of the small histograms' bins: the activation's range, or one that holds 98% of layer 1."""
    words, first = result.description, result.layers[0].output.percentiles
    reach = (max(abs(first.p1), abs(first.p99)) if first else 0.0) * 1.3 or 1.0
    reach = min(reach, sys.float_info.max / 4)  # the width of the axis is a number too
    low = words.output_low if words.output_low is not None else -reach
    high = words.output_high if words.output_high is not None else reach
    return np.linspace(low, high, SPARK_BINS + 1)


def _end(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 1000 else short(value)


def _spark(layer: LayerStats, edges: Array) -> str:
    histogram = layer.output.histogram
    if histogram is None:
        return LOST.get(layer.output.status, NOTHING)
    return sparkline([s if s > 1e-4 else 0 for s in shares(histogram, edges)])


def _block_depth(result: ProbeResult, verbose: bool, depth: int | None) -> int | None:
    """The depth of the blocks to show; None for a row per layer."""
    if not result.is_of_model:
        return None
    return depth or (None if verbose or len(result.layers) <= _MOST_LAYERS else fitting_depth(result.layers))


def _block_table(result: ProbeResult, depth: int, width: int | None) -> RenderableType:
    """A row per block: the lowest and the highest of its layers."""
    shown = blocks(result.layers, depth)
    styles = [STATUS_STYLE[worst(layer.status for layer in block.layers)] for block in shown]
    table = PlainTable(fitting(list(columns(shown)), width), styles)
    note = f"{len(result.layers)} layers in {len(shown)} blocks (--depth {depth}); -v shows every layer"
    return Group(table, Text(note, style="dim"))


def _layer_table(result: ProbeResult, numbers: Sequence[int], verbose: bool, width: int | None) -> ShortenedTable:
    """A row for each layer of these numbers, in lines of at most `width` columns."""
    layers = [result.layers[number - 1] for number in numbers]
    every = [
        TextColumn(column.heading, [visible(column.entry(layer)) for layer in layers], column.dropped)
        for column in _columns(result, verbose)
    ]
    return ShortenedTable(PlainTable(fitting(every, width), [STATUS_STYLE[layer.status] for layer in layers]), numbers)


def summary(result: ProbeResult) -> Text:
    """The summary: a labelled line for each part."""
    return Text("\n").join(Text.assemble((f"{label:<10}", "bold"), words) for label, words in course(result))
