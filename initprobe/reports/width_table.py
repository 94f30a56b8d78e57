"""The table of `initprobe width`: the slopes of each layer, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from initprobe.formatting import NOTHING, counted, role, visible
from initprobe.reports.console import LABEL, Console, say
from initprobe.reports.tables import TextColumn, fitting, plain_table
from initprobe.reports.verdict import SEVERITY_STYLE
from initprobe.results.coordinate_check import CoordinateCheck, Quantity, WidthLine

# Above so many layers, those with equal names but for numbers share a row.
MOST_ROWS = 24
_WIDEST_NAME, _WIDTH = 24, 80
_NOTES = """slope: of log rms against log width. +-: standard error over seeds. theory: for
infinite width. update: fan_in rms(dW) rms(input), the change of z that the
layer's own update can make. Equal layers share a row with the largest slope."""


@dataclass(frozen=True)
class Row:
    """A row of the table: a layer, or equal layers of several blocks.

    Attributes:
        name: of the layer, with `*` for numbers of blocks.
        layers: the layers.
    """

    name: str
    layers: tuple[str, ...]


def rows_of(check: CoordinateCheck, every: bool = False) -> list[Row]:
    """The rows of a table or the lines of a figure.

    Args:
        check: with all lines.
        every: a row per layer, instead of one per kind of layer.
    """
    names = list(dict.fromkeys(line.layer for line in check.lines))
    if every or len(names) <= MOST_ROWS:
        return [Row(name, (name,)) for name in names]
    groups: dict[str, list[str]] = {}
    for name in names:
        module, colon, rest = name.partition(":")
        groups.setdefault(role(module) + colon + rest, []).append(name)
    return [Row(name, tuple(layers)) for name, layers in groups.items()]


def line_of(check: CoordinateCheck, row: Row, quantity: Quantity, step: int) -> WidthLine | None:
    """The line of a row: that of the largest slope.

    Args:
        check: with all lines.
        row: layers of one kind.
        quantity: what is compared over widths.
        step: of training.

    Returns:
        None where nothing was measured.
    """
    lines = [check.line(layer, quantity, step) for layer in row.layers]
    known = [line for line in lines if line is not None]
    return max(known, key=lambda line: abs(line.slope or 0.0), default=None)


def print_width(check: CoordinateCheck, to: Console, every: bool = False) -> None:
    """Print the table, the findings and the fix.

    Args:
        check: what was measured.
        to: the console.
        every: a row per layer.
    """
    widths = ", ".join(map(str, check.widths))
    say(Text(f"{check.title}\nwidths {widths}; {check.setting}\n"), to)
    rows = rows_of(check, every)
    marked = {layer for finding in check.findings if finding.severity == "error" for layer in finding.layers}
    styles = [SEVERITY_STYLE["error"] if marked & set(row.layers) else "" for row in rows]
    to.print(_table(fitting(list(_columns(check, rows)), _WIDTH), styles))
    to.print(f"\n{_NOTES}\n", markup=False)
    print_width_verdict(check, to)


def _table(columns: Sequence[TextColumn], styles: Sequence[str]) -> Table:
    table = plain_table(*(column.heading for column in columns), left=(columns[0].heading,))
    for number, style in enumerate(styles):
        table.add_row(*(Text(visible(column.cells[number])) for column in columns), style=style)
    return table


def print_width_verdict(check: CoordinateCheck, to: Console) -> None:
    """Print the verdict with its reasons and the fix.

    Args:
        check: with its findings.
        to: the console.
    """
    style = "bold green" if check.transfers else "bold red" if check.transfers is False else "bold yellow"
    say(Text(check.verdict, style), to)
    for finding in check.findings:
        if finding.text not in check.verdict:
            say(_labelled(finding.severity, finding.text, SEVERITY_STYLE[finding.severity]), to)
    for place, line in enumerate(check.fix):
        say(_labelled("" if place else "fix", line, "bold"), to)
    if check.fix:
        say(_labelled("", f"tried: with {'it' if len(check.fix) == 1 else 'all of it'} the network transfers", ""), to)
    if check.fix_note:
        say(_labelled("no fix", check.fix_note, "bold"), to)


def _labelled(label: str, text: str, style: str) -> Text:
    return Text.assemble((f"{label:<{LABEL}}", style), visible(text))


def _columns(check: CoordinateCheck, rows: Sequence[Row]) -> Iterator[TextColumn]:
    last = check.steps
    yield TextColumn("\nlayer", [_name(row) for row in rows])
    yield from _slopes(check, rows, "output", 0, ("h before\nslope", "\n+-", "\ntheory"), (4, 5))
    yield TextColumn("dL/dh\nslope", _cells(check, rows, "gradient", 0, _slope), 3)
    if last > 1:
        yield from _slopes(check, rows, "change", 1, ("step 1\nchange", "\n+-", "\ntheory"), (1, 2))
    headings = (f"step {last}\nchange", "\n+-", "\ntheory")
    yield from _slopes(check, rows, "change", last, headings if last == 1 else headings[:2], (6, 7))
    yield TextColumn("\nupdate", _cells(check, rows, "own_change", last, _slope))


def _slopes(
    check: CoordinateCheck,
    rows: Sequence[Row],
    quantity: Quantity,
    step: int,
    headings: Sequence[str],
    dropped: tuple[int, int],
) -> Iterator[TextColumn]:
    texts = (_slope, _error, _theory)
    ranks = (None, *dropped)
    for heading, text, rank in zip(headings, texts, ranks, strict=False):
        yield TextColumn(heading, _cells(check, rows, quantity, step, text), rank)


def _cells(
    check: CoordinateCheck, rows: Sequence[Row], quantity: Quantity, step: int, text: Callable[[WidthLine], str]
) -> list[str]:
    lines = [line_of(check, row, quantity, step) for row in rows]
    return [NOTHING if line is None else text(line) for line in lines]


def _name(row: Row) -> str:
    count = f" x{len(row.layers)}" if len(row.layers) > 1 else ""
    room = _WIDEST_NAME - len(count)
    name = row.name if len(row.name) <= room else f"..{row.name[2 - room :]}"
    return f"{name}{count}"


def _slope(line: WidthLine) -> str:
    if line.status == "zero":
        return "0"
    return "lost" if line.status == "nonfinite" else signed(line.slope)


def _error(line: WidthLine) -> str:
    return NOTHING if line.slope_se is None else f"{line.slope_se:.2f}"


def _theory(line: WidthLine) -> str:
    return signed(line.theory)


def signed(slope: float | None) -> str:
    """A slope with its sign and two decimals; never -0.00."""
    return NOTHING if slope is None else f"{round(slope, 2) + 0.0:+.2f}"


def headline(check: CoordinateCheck) -> str:
    """Widths and setting in a line, for figures."""
    return f"widths {', '.join(map(str, check.widths))} | {counted(check.seeds, 'seed')}, {check.optimizer}"
