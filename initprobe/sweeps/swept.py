"""`Sweep`: the runs of a sweep, in its store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from initprobe.errors import InputError
from initprobe.results.base import Record, read_record
from initprobe.results.digest import digest
from initprobe.results.display import FigureKind, HasFigures
from initprobe.results.run import ProbeResult
from initprobe.sweeps.runs import Scalar
from initprobe.sweeps.store import read_store
from initprobe.sweeps.store_rows import Row, State

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.reports.console import Console
    from initprobe.reports.figures.look import Look
    from initprobe.results.display import Row as FrameRow
    from initprobe.sweeps.plan import Plan


@dataclass(frozen=True, repr=False)
class Sweep(HasFigures):
    """The runs of a sweep, in its store.

    Attributes:
        path: the store, a `sweep.db`.
        rows: the runs, each with its axes, state, error and digest.
        plan: what the file asks for; None for a store that was loaded.
        exported: the results by key, where `path` is a JSON file of `--export-json`; None for a store.
    """

    path: Path
    rows: tuple[Row, ...]
    plan: Plan | None = None
    exported: Mapping[str, ProbeResult] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def in_a_line(self) -> str:
        """How many runs survive, and the store."""
        from initprobe.reports.sweep_table import headline

        return f"{headline(self.rows)}; {self.path}"

    def results(self) -> Iterator[tuple[Mapping[str, Scalar], ProbeResult]]:
        """The axes and the result of each run that is done; one result is in memory at a time.

        Raises:
            DamagedRun: a result cannot be read.
        """
        with self._reading() as read:
            yield from ((row.axes, read(row)) for row in self.rows if row.state == "done")

    @contextmanager
    def _reading(self) -> Iterator[Callable[[Row], ProbeResult]]:
        """Reads the result of a run while the context is open."""
        if (exported := self.exported) is not None:
            yield lambda row: exported[row.key]
            return
        with read_store(self.path) as store:
            yield lambda row: store.result(row.key)

    def table(self, width: int | None = None, columns: Sequence[str] = ()) -> str:
        """The table that `initprobe sweep` prints: a row per setting, with means over seeds.

        Args:
            width: columns of the text; None for no limit.
            columns: dotted names of numbers; empty for the usual ones. `initprobe.reports.sweep_table.COLUMNS` has all.

        Raises:
            UnknownNameError: there is no such number.
        """
        from initprobe.reports.console import plain

        return plain(partial(self._print, columns=columns), width)

    def _print(self, to: Console, columns: Sequence[str] = ()) -> None:
        from initprobe.reports.sweep_table import layout, print_sweep

        axes = dict.fromkeys(name for row in self.rows for name in row.axes)
        print_sweep(self.rows, layout(axes, columns), to)

    def _draw(self, kind: FigureKind, look: Look) -> Figure:
        """Draw a figure of the file by its name, or any kind of figure of a sweep.

        Raises:
            ConfigError: the runs lack what the figure shows.
            DamagedRun: a result cannot be read.
        """
        from initprobe.sweeps.figures import SweepData, draw

        name, configs, wanted = self.path.parent.name, {}, None
        if self.plan is not None:
            name, wanted = self.plan.name, self.plan.figures
            configs = {run.key: run.config for run in self.plan.runs}
        with self._reading() as read:
            return draw(SweepData(name, self.rows, read, configs, wanted), kind, look)

    def _rows(self) -> Iterable[FrameRow]:
        from initprobe.reports.csv import csv_rows

        for axes, result in self.results():
            yield from ({**axes, **row} for row in csv_rows(result))


class _Entry(Record):
    """A run in an export."""

    key: str
    axes: dict[str, Scalar]
    state: State
    error: str | None
    result: ProbeResult | None


class _Export(Record):
    """The JSON of a sweep."""

    schema_version: Literal[1] = Field(alias="schema")
    runs: tuple[_Entry, ...]


def exported_sweep(text: str | bytes, file: Path) -> Sweep:
    """A sweep from the JSON that `initprobe sweep --export-json` writes.

    Args:
        text: of the file.
        file: its path.

    Raises:
        InputError: not such a file; names the field.
    """
    entries = read_record(_Export, text, str(file)).runs
    for number, entry in enumerate(entries, start=1):
        if entry.state == "done" and entry.result is None:
            raise InputError("has no result", file=f"{file}, run {number}")
    results = {entry.key: entry.result for entry in entries if entry.result is not None}
    return Sweep(file, tuple(map(_row, entries)), exported=results)


def _row(entry: _Entry) -> Row:
    result = entry.result
    config = json.dumps(result.config if result is not None else {})
    summary, elapsed_s = (None, None) if result is None else (digest(result), result.elapsed_s)
    return Row(entry.key, entry.axes, config, entry.state, entry.error, elapsed_s, summary)
