"""The table and the exports of many runs, for every command that shows a sweep."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

import click

from initprobe.cli.html_report import report_option, write_sweep_report
from initprobe.cli.parameters import option

if TYPE_CHECKING:
    from initprobe.reports.html_tables import Table
    from initprobe.reports.sweep_table import Layout
    from initprobe.results.run import ProbeResult
    from initprobe.sweeps.store import Store
    from initprobe.sweeps.store_rows import Row

_MOST_LINES = 20
_MOST_DIGITS = 18


class HasAxes(Protocol):
    """A planned run or a row of a store."""

    @property
    def axes(self) -> Mapping[str, object]:
        """What sets the run apart, by name."""


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """How the table of runs looks."""

    sort: str | None = option(
        "--sort", metavar="COLUMN", help="Sort by an axis or a column; -COLUMN puts the largest first."
    )
    columns: str | None = option(
        "--columns", metavar="NAME,...", help="Columns: verdict,output.variance,theory.z,elapsed_s."
    )
    rows: str = option("--rows", default="50", show_default=True, metavar="N|all", help="Most rows of the table.")

    def layout(self, axes: Sequence[str]) -> Layout:
        """The layout of a table whose runs differ along these axes.

        Raises:
            ConfigError: `rows` is not a number, or a column is unknown.
        """
        from initprobe.errors import ConfigError
        from initprobe.reports.sweep_table import layout

        if self.rows != "all" and not (self.rows.isascii() and self.rows.isdigit()):
            raise ConfigError(f"{self.rows!r} is neither a whole number nor `all`", field="--rows")
        if len(self.rows) > _MOST_DIGITS:
            raise ConfigError(f"a number of {len(self.rows):,} digits; `all` shows every row", field="--rows")
        columns = [name.strip() for name in self.columns.split(",")] if self.columns else []
        return layout(axes, columns, self.sort, None if self.rows == "all" else int(self.rows))


@dataclass(frozen=True, kw_only=True)
class TableExports:
    """Where the runs go as files; `-` is standard output."""

    export_csv: str | None = option(
        "--export-csv", metavar="FILE|-", help="Write one row per run and layer, for pandas, polars or DuckDB."
    )
    export_json: str | None = option("--export-json", metavar="FILE|-", help="Write every result in full.")
    markdown: str | None = option(
        "--markdown", metavar="FILE|-", help="Write the table as Markdown, for example for a CI summary."
    )

    report: str | None = report_option()

    def targets(self) -> list[str | None]:
        """All of them, None where one is not asked for."""
        return [self.export_csv, self.export_json, self.markdown, self.report]


def axes_of(rows: Sequence[HasAxes]) -> list[str]:
    """The names of the axes along which runs differ, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.axes))


def _with_columns(store: Store, rows: Sequence[Row], table: Layout) -> Sequence[Row]:
    """The rows, with the numbers of those columns that only the whole result has."""
    from initprobe.reports.sweep_table import others
    from initprobe.sweeps.checked_runs import with_numbers

    names = others(table)
    return [with_numbers(row, names, store) for row in rows] if names else rows


Change = Callable[["Row", "ProbeResult"], "ProbeResult"]


def _unchanged(row: Row, result: ProbeResult) -> ProbeResult:
    return result


@dataclass(frozen=True)
class Additions:
    """What a command adds to the table and the exports.

    Attributes:
        markdown: text above the table.
        change: what each result becomes before it is exported.
        breaches: the checks that do not hold, for the HTML report.
    """

    markdown: str = ""
    change: Change = _unchanged
    breaches: Table | None = None


@dataclass(frozen=True)
class TableOutput:
    """Where the table and the runs go, and in which form.

    Attributes:
        layout: of the table.
        exports: the files to write.
        others: further outputs of the command; the table leaves standard output to them too.
        title: of the HTML report.
    """

    layout: Layout
    exports: TableExports
    others: Sequence[str | None] = ()
    title: str = "Results"


def show(store: Store, rows: Sequence[Row], output: TableOutput, additions: Additions = Additions()) -> None:
    """Print the table and write the exports that were asked for.

    Args:
        store: the results.
        rows: the runs to show.
        output: the columns, and where the exports go.
        additions: what a command adds to the table and to the results.
    """
    from initprobe.cli.outputs import write_text
    from initprobe.cli.run_output import text_stream
    from initprobe.reports.console import console
    from initprobe.reports.sweep_table import markdown, print_sweep

    exports = output.exports
    rows = _with_columns(store, rows, output.layout)
    print_sweep(rows, output.layout, console(text_stream(*exports.targets(), *output.others)))
    keys = [row.key for row in rows]
    if exports.markdown:
        write_text(exports.markdown, additions.markdown + markdown(rows, output.layout))
    if exports.export_csv:
        _write(exports.export_csv, lambda file: write_csv(store, keys, file, additions.change))
    if exports.export_json:
        _write(exports.export_json, lambda file: write_json(store, keys, file, additions.change))
    write_sweep_report(exports.report, output.title, store, rows, additions.change, additions.breaches)


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
    """Stream to standard output; a terminal gets control characters as escapes."""
    from initprobe.formatting import visible

    if not sys.stdout.isatty():
        write(sys.stdout)
        return
    text = io.StringIO()
    write(text)
    click.echo(visible(text.getvalue(), breaks=True), nl=False)


def write_csv(store: Store, keys: Sequence[str], file: IO[str], change: Change = _unchanged) -> None:
    """Write one row per run and layer. It has key and axes of the run, then every number by its dotted name.

    Args:
        store: the runs.
        keys: which of them, in order.
        file: the open file.
        change: what is done to each result first.
    """
    from initprobe.reports.csv import csv_names, csv_rows

    axes = axes_of(list(store.rows(keys)))
    writer = csv.DictWriter(file, ["key", *axes, *csv_names()], lineterminator="\n")
    writer.writeheader()
    for row, result in store.results(keys):
        for line in csv_rows(change(row, result)):
            writer.writerow({"key": row.key, **row.axes, **line})


def write_json(store: Store, keys: Sequence[str], file: IO[str], change: Change = _unchanged) -> None:
    """Write all runs, failed ones too; one result is in memory at a time.

    Args:
        store: the runs.
        keys: which of them, in order.
        file: the open file.
        change: what is done to each result first.
    """
    file.write('{"schema":1,"runs":[')
    for number, row in enumerate(store.rows(keys)):
        result, fault = _result_of(store, row, change)
        state = "damaged" if fault else row.state
        summary = {"key": row.key, "axes": dict(row.axes), "state": state, "error": fault or row.error}
        file.write(f'{"," if number else ""}\n{json.dumps(summary)[:-1]}, "result": {result}}}')
    file.write("\n]}\n")


def _result_of(store: Store, row: Row, change: Change) -> tuple[str, str]:
    """The result of a run as JSON, or `null` without one; and what is damaged, or an empty text."""
    from initprobe.errors import DamagedRun

    try:
        return (change(row, store.result(row.key)).to_json() if row.state == "done" else "null"), ""
    except DamagedRun as error:
        return "null", str(error)


def report_damage(lines: Iterable[str]) -> None:
    """Print which runs could not be read, after all others were shown.

    Raises:
        RunsFailed: at least one run is damaged.
    """
    from initprobe.errors import RunsFailed
    from initprobe.formatting import counted

    listed = list(dict.fromkeys(lines))
    for line in listed[:_MOST_LINES]:
        click.echo(line, err=True)
    if listed:
        more = f", {_MOST_LINES} of them named" if len(listed) > _MOST_LINES else ""
        count = counted(len(listed), "run is", "runs are")
        raise RunsFailed(f"{count} damaged{more}; `initprobe sweep` with the same file runs them again")
