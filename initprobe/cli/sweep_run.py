"""Run the experiments of a sweep file: what `sweep` and `check` have in common."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from initprobe.cli.candidates import configs
from initprobe.cli.outputs import format_option, parse_formats
from initprobe.cli.parameters import argument, option
from initprobe.cli.sweep_output import Additions, TableExports, TableOptions, TableOutput, axes_of, show
from initprobe.data.files import DEFAULT_OUT, STORE_FILE
from initprobe.formatting import counted, duration, visible

if TYPE_CHECKING:
    from initprobe.sweeps.execution_runner import Event, Outcome, Workers
    from initprobe.sweeps.plan import Plan
    from initprobe.sweeps.runs import Run
    from initprobe.sweeps.store import Store
    from initprobe.sweeps.store_rows import Row


_LINE_EVERY_S = 2.0


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Which runs of a file are done, where, and by how many workers."""

    config: str = argument(shell_complete=configs)
    overrides: tuple[str, ...] = option(
        "--set", multiple=True, metavar="KEY=VALUE", help="Change a value of the file: layers=5; repeatable."
    )
    where: tuple[str, ...] = option(
        "--where", multiple=True, metavar="FIELD=VALUE", help="Only runs with this value: act=relu; repeatable."
    )
    out: str | None = option(
        "-o", "--out", metavar="DIR", help=f"Directory of sweep.db and figures.  [default: {DEFAULT_OUT}/NAME/]"
    )
    jobs: int | None = option(
        "-j", "--jobs", type=int, metavar="N", help="Runs at a time.  [default: one per processor]"
    )
    scheduler: str | None = option("--scheduler", metavar="ADDRESS", help="Run on a Dask cluster: tcp://10.0.0.1:8786.")
    shard: str | None = option(
        "--shard", metavar="I/N", help="Only part I of N, for a job array; `initprobe merge` joins the parts."
    )
    fail_fast: bool = option("--fail-fast", is_flag=True, help="Stop at the first run that fails.")
    no_figures: bool = option("--no-figures", is_flag=True, help="Draw no figures.")
    formats: str = format_option()

    def plan(self, importing: bool = True) -> Plan:
        """The plan of the file, with the changes asked for.

        Args:
            importing: import the functions that the file names; without it no code runs.

        Raises:
            ConfigError: the file or a change is wrong.
        """
        from initprobe.sweeps.plan import load

        return load(self.config, self.overrides, self.where, importing=importing)

    def runs(self, plan: Plan) -> tuple[Run, ...]:
        """The runs that this process does."""
        from initprobe.sweeps.execution_runner import shard

        return shard(plan.runs, self.shard) if self.shard else plan.runs

    def directory(self, plan: Plan) -> Path:
        """Where the store and the figures go."""
        return Path(self.out or f"{DEFAULT_OUT}/{plan.name}")

    def wanted(self) -> tuple[str, ...]:
        """The formats of the figures; none for no figures."""
        return () if self.no_figures else parse_formats(self.formats)

    def workers(self, runs: int) -> Workers:
        """Processes of this machine, or those of a Dask cluster.

        Args:
            runs: number of runs to do.

        Raises:
            ConfigError: `-j` together with a Dask cluster.
        """
        from initprobe.errors import ConfigError
        from initprobe.sweeps.execution_runner import local_workers

        if not self.scheduler:
            return local_workers(self.jobs, runs)
        if self.jobs is not None:
            raise ConfigError("-j is for this machine; on a Dask cluster all its workers are used")
        from initprobe.sweeps.execution_dask import dask_workers

        return dask_workers(self.scheduler)


def print_plan(options: SweepOptions) -> None:
    """List the runs and their costs, for `--dry-run`; functions named in the file are neither imported nor called."""
    plan = options.plan(importing=False)
    print_costs(options.runs(plan), options.jobs)
    if plan.own_names:
        click.echo(f"note: not imported, so that no code runs: {', '.join(plan.own_names)}", err=True)


def run_plan(
    plan: Plan,
    options: SweepOptions,
    output: TableOutput,
    judge: Callable[[Store, Sequence[Row]], Additions] | None = None,
) -> tuple[Outcome, list[str]]:
    """Run what is not done yet, print the table, write the exports and draw the figures.

    Args:
        plan: of the file.
        options: which of its runs, where and how.
        output: see `table_output`.
        judge: called with the runs before they are shown; it may add to the table.

    Returns:
        How the runs went, and one line for each run that failed.
    """
    from initprobe.cli import outputs
    from initprobe.sweeps.execution_runner import execute
    from initprobe.sweeps.store import open_store

    runs, directory, formats = options.runs(plan), options.directory(plan), options.wanted()
    outputs.check_exports([*output.exports.targets(), *output.others], directory)
    workers = options.workers(len(runs))
    with open_store(directory / STORE_FILE) as store:
        _announce(plan, runs, store)
        with _progress(bool({run.key for run in runs} - store.done())) as on_event:
            outcome = execute(runs, store, workers, fail_fast=options.fail_fast, on_event=on_event)
        rows = list(store.rows([run.key for run in runs]))
        show(store, rows, output, judge(store, rows) if judge else Additions())
        if formats:
            from initprobe.cli.sweep_figures import draw_all

            for path in draw_all(plan, store, rows, directory, formats):
                click.echo(f"wrote     {outputs.relative(path)}", err=True)
    return outcome, [_failure(row) for row in rows if row.error]


def table_output(
    plan: Plan, options: SweepOptions, table: TableOptions, exports: TableExports, others: Sequence[str | None] = ()
) -> TableOutput:
    """Where the table of a plan goes: an export that only its file asks for goes beside the store.

    Args:
        plan: of the file.
        options: where the store is.
        table: columns, order and rows.
        exports: files that options name.
        others: further outputs, which may not name the same file.
    """
    names = {"csv": "results.csv", "json": "results.json", "markdown": "table.md"}
    directory = options.directory(plan)
    default_csv, default_json, default_markdown = (
        str(directory / name) if kind in plan.export else None for kind, name in names.items()
    )
    filled = replace(
        exports,
        export_csv=default_csv if exports.export_csv is None else exports.export_csv,
        export_json=default_json if exports.export_json is None else exports.export_json,
        markdown=default_markdown if exports.markdown is None else exports.markdown,
    )
    return TableOutput(table.layout(plan.axes), filled, others, f"Sweep {plan.name}")


def _announce(plan: Plan, runs: Sequence[Run], store: Store) -> None:
    """Print how many runs there are and how many are done; damaged ones are dropped, to be done again."""
    from initprobe.cli.outputs import relative

    for line in store.drop_damaged([run.key for run in runs]):
        click.echo(line, err=True)
    done = store.done()
    _report_outdated(runs, done)
    count = sum(run.key in done for run in runs)
    kept = f", {count:,} of them done" if count else ""
    click.echo(f"{plan.name}: {counted(len(runs), 'run')}{kept}; {relative(store.path)}", err=True)


def _report_outdated(runs: Sequence[Run], done: frozenset[str]) -> None:
    """Print how many runs are repeated because an earlier revision of initprobe gave other numbers."""
    from initprobe.sweeps.runs import REVISION

    count = sum(run.key not in done and not done.isdisjoint(run.former_keys) for run in runs)
    if count:
        click.echo(
            f"{counted(count, 'run is', 'runs are')} of an earlier initprobe, whose numbers differ (results are of "
            f"revision {REVISION} now). Such runs are done again and replaced; to keep them, give another -o",
            err=True,
        )


def _failure(row: Row) -> str:
    """The axes of a run, and why it failed."""
    axes = _axes_text(row.axes)
    return f"{axes}: {row.error}" if axes else str(row.error)


def _axes_text(axes: Mapping[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in axes.items())


def finish(outcome: Outcome, failures: Sequence[str]) -> None:
    """Raise the error that gives the exit code.

    Args:
        outcome: what became of the runs.
        failures: a line for each run that failed.

    Raises:
        Interrupted: runs are left.
        RunsFailed: runs failed.
    """
    from initprobe.errors import Interrupted, RunsFailed

    if outcome.interrupted:
        left = counted(outcome.left, "run")
        raise Interrupted(f"stopped with {left} left; the same command continues where this one ended")
    if failures:
        count, them = counted(len(failures), "run"), "it" if len(failures) == 1 else "them"
        raise RunsFailed(f"{count} failed; the same command tries {them} again. The first: {failures[0]}")


@contextmanager
def _progress(has_work: bool) -> Iterator[Callable[[Event], None]]:
    """A bar on a terminal where a run is left to do, elsewhere a line every few seconds."""
    from initprobe.cli.outputs import is_watched

    if not (has_work and is_watched()):
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[words]}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("sweep", words="starting", total=None)

        def advance(event: Event) -> None:
            words = f"{event.failed} failed, {event_text(event)}" if event.failed else event_text(event)
            bar.update(task, completed=event.done + event.failed, total=event.total, words=words[:50])

        yield advance


class _Lines:
    """Progress as lines: a failure at once, the rest every few seconds."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()
        self._first: int | None = None

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        finished = event.done + event.failed
        self._first = finished if self._first is None else self._first
        if event.kind == "started" or (event.kind == "done" and now - self._last < _LINE_EVERY_S):
            return
        self._last = now
        pace = (now - self._started) / max(finished - self._first, 1)
        left = f", about {duration(pace * (event.total - finished))} left" if finished > self._first else ""
        failed = f", {event.failed} failed" if event.failed else ""
        click.echo(f"{finished}/{event.total}{failed}{left}: {event_text(event)}", err=True)


def event_text(event: Event) -> str:
    """What happened, in a few words."""
    if event.run is None:
        return "finishing the runs that have started; Ctrl-C again to stop at once"
    return visible(f"{event.kind} {_axes_text(event.run.axes)}".strip())


def print_costs(runs: Sequence[Run], jobs: int | None = None) -> None:
    """Print one row per run: its axes, the floating-point operations of its products, and its peak memory.

    Args:
        runs: in the order of the plan.
        jobs: processes at a time, for the sum of memory; None for the number that would be used.
    """
    from initprobe.data.machine import processors
    from initprobe.formatting import short
    from initprobe.probe.memory import cost
    from initprobe.reports.console import console
    from initprobe.reports.sweep_table import MOST_ROWS
    from initprobe.reports.tables import plain_table

    to = console(sys.stdout)
    costs = [cost(run.config) for run in runs]
    flops, most = sum(price.flops for price in costs), max((price.peak_bytes for price in costs), default=0)
    at_once = min(jobs or processors(), max(len(runs), 1))
    together = f", {at_once * most / 1e6:,.0f} MB for {at_once} at a time" if at_once > 1 else ""
    memory = f"at most {most / 1e6:,.0f} MB per run{together}"
    to.print(f"{counted(len(runs), 'run')}, {short(flops / 1e9)} GFLOP in total, {memory}")
    axes = axes_of(runs)
    headings = (*axes, "GFLOP", "MB")
    table = plain_table(*headings, left=headings, gap=2)
    for run, price in list(zip(runs, costs, strict=True))[:MOST_ROWS]:
        values = [str(run.axes.get(axis, "-")) for axis in axes]
        table.add_row(*values, short(price.flops / 1e9), f"{price.peak_bytes / 1e6:,.0f}")
    to.print(table)
    if len(runs) > MOST_ROWS:
        to.print(f"{MOST_ROWS} of {len(runs):,} runs shown")
