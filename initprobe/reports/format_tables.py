"""What small formats would lose, as a summary and a table per format.

A table has a row per layer and a column per tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from initprobe.formatting import NOTHING, percent, short
from initprobe.reports.console import Console, say_labelled
from initprobe.reports.shortened_table import ShortenedTable
from initprobe.reports.tables import PlainTable, TextColumn
from initprobe.results.base import TENSOR_SYMBOLS
from initprobe.results.formats import FormatStats, LossScale, TensorInFormat

_Entry = Callable[[TensorInFormat], str]


def print_format(
    form: FormatStats, to: Console, numbers: Sequence[int], verbose: bool = False, uncounted: Sequence[int] = ()
) -> None:
    """Print the table of a format with its summary.

    Args:
        form: what was counted.
        to: the console.
        numbers: of the layers to show.
        verbose: show the best scales too.
        uncounted: layers with tensors that are not finite before any cast, which are not counted.
    """
    parts: list[RenderableType] = [
        Text(_heading(form), style="bold"),
        _table(form, numbers, "lost/subnormal %", _losses),
    ]
    if verbose or form.needs_scales:
        parts.append(_table(form, numbers, "best scale, and lost % with it", _scale))
    to.print(Group(*parts))
    for label, words in (*_words(form), *_left_out(uncounted)):
        say_labelled(label, words, to)


def _heading(form: FormatStats) -> str:
    ends = f"{short(form.smallest)} to {short(form.largest)}, normal from {short(form.smallest_normal)}"
    return f"in {form.name}: {ends}; beyond: {form.beyond}"


def _table(form: FormatStats, numbers: Sequence[int], heading: str, entry: _Entry) -> Group:
    cells = {(tensor.layer, tensor.tensor): entry(tensor) for tensor in form.tensors}
    columns = [TextColumn("layer", [str(number) for number in numbers])]
    columns += [
        TextColumn(symbol, [cells.get((number, name), NOTHING) for number in numbers])
        for name, symbol in TENSOR_SYMBOLS.items()
    ]
    return Group(Text(heading, style="dim"), ShortenedTable(PlainTable(columns, [""] * len(numbers)), numbers))


def _losses(tensor: TensorInFormat) -> str:
    return f"{percent(tensor.lost)}/{percent(tensor.subnormal)}"


def _scale(tensor: TensorInFormat) -> str:
    return f"2^{tensor.scale_log2} {percent(tensor.scaled_zero)}"


def _words(form: FormatStats) -> Iterator[tuple[str, str]]:
    """What follows for signal and gradient."""
    yield "signal", _outcome(form.lost_at.signal, form.scaled_lost_at.signal)
    yield "gradient", _outcome(form.lost_at.gradient, form.scaled_lost_at.gradient)
    if form.operations:
        yield "others", _others(form)
    if form.loss_scale is not None:
        yield "scaled", _loss_scale(form.loss_scale)


def _left_out(uncounted: Sequence[int]) -> Iterator[tuple[str, str]]:
    """A line about tensors that are infinite or NaN already."""
    if uncounted:
        layers = f"layer {uncounted[0]}" if len(uncounted) == 1 else f"{len(uncounted)} layers from {uncounted[0]} on"
        yield "left out", f"tensors of {layers}, which are infinite or NaN without a cast too"


def _others(form: FormatStats) -> str:
    """The tensor of an operation that loses most."""
    worst = max(form.operations, key=lambda tensor: tensor.lost)
    if not worst.lost:
        return f"none of {len(form.operations)} further tensors loses an entry"
    symbol = "the gradient of " if worst.tensor == "output_gradient" else ""
    return f"{len(form.operations)} further tensors; {percent(worst.lost)}% of {symbol}{worst.name} are lost"


def _outcome(lost_at: int | None, scaled_lost_at: int | None) -> str:
    if lost_at is None:
        return "fits"
    scaled = "fits with a scale per tensor" if scaled_lost_at is None else "lost with a scale per tensor too"
    return f"lost from layer {lost_at}; {scaled}"


def _loss_scale(scale: LossScale) -> str:
    symbol = TENSOR_SYMBOLS[scale.worst_tensor]
    worst = f"{percent(scale.worst_zero)}% of {symbol} of layer {scale.worst_layer} becomes 0"
    outcome = "the gradient fits" if scale.lost_at is None else f"the gradient is lost from layer {scale.lost_at}"
    return f"with a loss scale of 2^{scale.scale_log2}, {outcome}; at most {worst}"
