"""What a sweep leaves behind, whichever command shows it: table, exports."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from initprobe.reports.sweep_table import Layout
    from initprobe.results.run import ProbeResult
    from initprobe.sweeps.store.rows import Row
    from initprobe.sweeps.store.store import Store

Command = TypeVar("Command", bound=Callable[..., Any])
_MOST_TOLD = 20

_OPTIONS = (
    click.option("--sort", metavar="COLUMN", help="An axis or a column; -COLUMN for the largest first."),
    click.option("--columns", metavar="NAME,...", help="Columns, as in verdict,output.variance,theory.z,elapsed_s."),
    click.option("--rows", default="50", show_default=True, metavar="N|all", help="Most rows of the table."),
    click.option("--export-csv", metavar="FILE|-", help="A row a run and layer, tidy, for pandas, polars or DuckDB."),
    click.option("--export-json", metavar="FILE|-", help="Every result in full."),
    click.option("--markdown", metavar="FILE|-", help="The table as Markdown, as for a CI step summary."),
)


def table_options(command: Command) -> Command:
    """Give a command the options of tables and exports."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_MOST_DIGITS = 18


def layout_from(axes: Sequence[str], options: dict[str, Any]) -> Layout:
    """How the table is to look."""
    from initprobe.errors import ConfigError
    from initprobe.reports.sweep_table import layout

    text = options["rows"]
    if text != "all" and not (text.isascii() and text.isdigit()):
        raise ConfigError(f"--rows: {text!r} is neither a whole number nor `all`")
    if len(text) > _MOST_DIGITS:
        raise ConfigError(f"--rows: a number of {len(text):,} digits; `all` shows every row")
    columns = [name.strip() for name in options["columns"].split(",")] if options["columns"] else []
    return layout(axes, columns, options["sort"], None if text == "all" else int(text))


def axes_of(rows: Sequence[Row]) -> list[str]:
    """The names of what varies, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.axes))


def numbered(store: Store, rows: Sequence[Row], how: Layout) -> Sequence[Row]:
    """The rows, with the numbers of columns that only the whole result has."""
    from initprobe.reports.sweep_table import others
    from initprobe.sweeps.checked_runs import with_numbers

    names = others(how)
    return [with_numbers(row, names, store) for row in rows] if names else rows


Change = Callable[["Row", "ProbeResult"], "ProbeResult"]


def _as_it_is(row: Row, result: ProbeResult) -> ProbeResult:
    return result


@dataclass(frozen=True)
class Beside:
    """What a command adds to the table and the exports: Markdown to begin with, and a change to each run's result."""

    markdown: str = ""
    change: Change = _as_it_is


def show(store: Store, rows: Sequence[Row], how: Layout, options: dict[str, Any], beside: Beside = Beside()) -> None:
    """Print the table and write the exports that were asked for."""
    from initprobe.cli.outputs import STDOUT, write_text
    from initprobe.reports.console import console
    from initprobe.reports.sweep_table import markdown, print_sweep

    targets = [options.get(name) for name in ("export_csv", "export_json", "markdown", "junit")]
    rows = numbered(store, rows, how)
    print_sweep(rows, how, console(sys.stderr if STDOUT in targets else sys.stdout))
    keys = [row.key for row in rows]
    if options["markdown"]:
        write_text(options["markdown"], beside.markdown + markdown(rows, how))
    if options["export_csv"]:
        _write(options["export_csv"], lambda file: write_csv(store, keys, file, beside.change))
    if options["export_json"]:
        _write(options["export_json"], lambda file: write_json(store, keys, file, beside.change))


def _write(target: str, write: Callable[[IO[str]], None]) -> None:
    """Stream text to a file, or to standard output for `-`."""
    from initprobe.cli.outputs import STDOUT, write_whole

    if target == STDOUT:
        _write_out(write)
        return

    def encoded(file: IO[bytes]) -> None:
        wrapper = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        write(wrapper)
        wrapper.detach()

    write_whole(Path(target), encoded)


def _write_out(write: Callable[[IO[str]], None]) -> None:
    """Stream to standard output; what people read on a terminal has its control characters as escapes."""
    from initprobe.formatting import visible

    if not sys.stdout.isatty():
        write(sys.stdout)
        return
    text = io.StringIO()
    write(text)
    click.echo(visible(text.getvalue(), breaks=True), nl=False)


def write_csv(store: Store, keys: Sequence[str], file: IO[str], change: Change = _as_it_is) -> None:
    """A row a run and layer: the run's key and axes, then every number by its dotted name."""
    from initprobe.reports.csv import csv_names, csv_rows

    axes = axes_of(list(store.rows(keys)))
    writer = csv.DictWriter(file, ["key", *axes, *csv_names()], lineterminator="\n")
    writer.writeheader()
    for row, result in store.results(keys):
        for line in csv_rows(change(row, result)):
            writer.writerow({"key": row.key, **row.axes, **line})


def write_json(store: Store, keys: Sequence[str], file: IO[str], change: Change = _as_it_is) -> None:
    """All runs, failed ones too, one at a time."""
    file.write('{"schema":1,"runs":[')
    for number, row in enumerate(store.rows(keys)):
        result, fault = _result_of(store, row, change)
        state = "damaged" if fault else row.state
        about = {"key": row.key, "axes": dict(row.axes), "state": state, "error": fault or row.error}
        file.write(f'{"," if number else ""}\n{json.dumps(about)[:-1]}, "result": {result}}}')
    file.write("\n]}\n")


def _result_of(store: Store, row: Row, change: Change) -> tuple[str, str]:
    """A result as JSON, and what is wrong with it; `null` for a run without one."""
    from initprobe.errors import DamagedRun

    try:
        return (change(row, store.result(row.key)).to_json() if row.state == "done" else "null"), ""
    except DamagedRun as error:
        return "null", str(error)


def tell_damage(lines: Iterable[str]) -> None:
    """Say which runs could not be read, after all others were shown.

    Raises:
        RunsFailed: there are some.
    """
    from initprobe.errors import RunsFailed
    from initprobe.formatting import counted

    listed = list(dict.fromkeys(lines))
    for line in listed[:_MOST_TOLD]:
        click.echo(line, err=True)
    if listed:
        more = f", {_MOST_TOLD} of them named" if len(listed) > _MOST_TOLD else ""
        count = counted(len(listed), "run is", "runs are")
        raise RunsFailed(f"{count} damaged{more}; `initprobe sweep` with the same file runs what is damaged again")
