"""`initprobe sweep`: the experiments of a file, in parallel, kept in one database."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from initprobe.cli.run_output import DEFAULT_OUT
from initprobe.cli.sweep_output import Beside, axes_of, layout_from, show
from initprobe.formatting import counted, duration, visible

if TYPE_CHECKING:
    from initprobe.sweeps.execution_runner import Event, Outcome, Workers
    from initprobe.sweeps.plan import Plan
    from initprobe.sweeps.runs import Run
    from initprobe.sweeps.store.rows import Row
    from initprobe.sweeps.store.store import Store


Command = TypeVar("Command", bound=Callable[..., Any])

STORE_FILE = "sweep.db"
_LINE_EVERY_S = 2.0

_OPTIONS = (
    click.argument("config"),
    click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the file: layers=5; repeatable."
    ),
    click.option("--where", multiple=True, metavar="FIELD=VALUE", help="Only runs that have it: act=relu; repeatable."),
    click.option("-o", "--out", metavar="DIR", help=f"Where sweep.db and figures go.  [default: {DEFAULT_OUT}/NAME/]"),
    click.option("-j", "--jobs", type=int, metavar="N", help="Runs at a time.  [default: one a processor]"),
    click.option("--scheduler", metavar="ADDRESS", help="Run on a Dask cluster, as in tcp://10.0.0.1:8786."),
    click.option("--shard", metavar="I/N", help="Only part I of N, as for a job array; `initprobe merge` joins them."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first run that fails."),
    click.option("--no-figures", is_flag=True, help="Draw nothing."),
    click.option(
        "--format", "formats", default="png", show_default=True, metavar="png,svg,pdf", help="Figure formats."
    ),
)


def sweep_options(command: Command) -> Command:
    """Give a command the options of a sweep."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def rehearse(options: dict[str, Any]) -> None:
    """List the runs; a function that the file names is neither imported nor called."""
    from initprobe.sweeps.plan import load

    plan = load(options["config"], options["overrides"], options["where"], importing=False)
    print_costs(chosen(plan, options["shard"]), options["jobs"])
    if plan.own_names:
        click.echo(f"note: not looked at, so as to run no code: {', '.join(plan.own_names)}", err=True)


def chosen(plan: Plan, part: str | None) -> tuple[Run, ...]:
    """The runs that this process is to do."""
    from initprobe.sweeps.execution_runner import shard

    return shard(plan.runs, part) if part else plan.runs


def run_plan(
    plan: Plan, options: dict[str, Any], look: Callable[[Store, Sequence[Row]], Beside] | None = None
) -> tuple[Outcome, list[str]]:
    """Run, print and draw; how it went, and the failures in words. `look` is given the runs before they are shown."""
    from initprobe.cli import outputs
    from initprobe.sweeps.execution_runner import execute
    from initprobe.sweeps.store.store import open_store

    runs = chosen(plan, options["shard"])
    directory = Path(options["out"] or f"{DEFAULT_OUT}/{plan.name}")
    how = layout_from(plan.axes, options)
    formats = () if options["no_figures"] else outputs.parse_formats(options["formats"])
    _fill_exports(plan, directory, options)
    named = ("export_csv", "export_json", "markdown", "junit", "write_known")
    outputs.check_exports([options.get(name) for name in named], directory)
    workers = _workers(options, len(runs))
    with open_store(directory / STORE_FILE) as store:
        for line in store.drop_damaged([run.key for run in runs]):
            click.echo(line, err=True)
        known = store.done()
        _tell_outdated(runs, known)
        kept = sum(run.key in known for run in runs)
        again = f", {kept:,} of them done" if kept else ""
        click.echo(f"{plan.name}: {counted(len(runs), 'run')}{again}; {outputs.relative(store.path)}", err=True)
        with _progress() as on_event:
            outcome = execute(runs, store, workers, fail_fast=options["fail_fast"], on_event=on_event)
        rows = list(store.rows([run.key for run in runs]))
        show(store, rows, how, options, look(store, rows) if look else Beside())
        if formats:
            from initprobe.cli.sweep_figures import draw_all

            for path in draw_all(plan, store, rows, directory, formats):
                click.echo(f"wrote     {outputs.relative(path)}", err=True)
    return outcome, [_failure_words(row) for row in rows if row.error]


def _tell_outdated(runs: Sequence[Run], known: frozenset[str]) -> None:
    """Say that runs are done again whose numbers are those of an earlier revision of initprobe."""
    from initprobe.sweeps.runs import REVISION

    count = sum(run.key not in known and not known.isdisjoint(run.former_keys) for run in runs)
    if count:
        click.echo(
            f"{counted(count, 'run is', 'runs are')} of an earlier initprobe, whose numbers differ (results are of "
            f"revision {REVISION} now): such runs are done again and replaced; to keep them, give another -o",
            err=True,
        )


def _failure_words(row: Row) -> str:
    """What sets a run apart, and why it failed."""
    axes = " ".join(f"{name}={value}" for name, value in row.axes.items())
    return f"{axes}: {row.error}" if axes else str(row.error)


def finish(outcome: Outcome, failed: Sequence[str]) -> None:
    """Raise what the exit code should say."""
    from initprobe.errors import Interrupted, RunsFailed

    if outcome.interrupted:
        left = counted(outcome.left, "run")
        raise Interrupted(f"stopped with {left} left; the same command goes on where this one ended")
    if failed:
        count, them = counted(len(failed), "run"), "it" if len(failed) == 1 else "them"
        raise RunsFailed(f"{count} failed; the same command tries {them} again. The first: {failed[0]}")


def _fill_exports(plan: Plan, directory: Path, options: dict[str, Any]) -> None:
    """What the file exports goes beside the store, unless an option says where else."""
    for kind, name in (("csv", "results.csv"), ("json", "results.json"), ("markdown", "table.md")):
        option = kind if kind == "markdown" else f"export_{kind}"
        if kind in plan.export and options[option] is None:
            options[option] = str(directory / name)


def _workers(options: dict[str, Any], runs: int) -> Workers:
    from initprobe.errors import ConfigError
    from initprobe.sweeps.execution_runner import local_workers

    if not options["scheduler"]:
        return local_workers(options["jobs"], runs)
    if options["jobs"] is not None:
        raise ConfigError("-j is for this machine; a Dask cluster has as many workers as it has")
    from initprobe.sweeps.execution_dask import dask_workers

    return dask_workers(options["scheduler"])


@contextmanager
def _progress() -> Iterator[Callable[[Event], None]]:
    """A bar on a terminal, else a line now and then."""
    from initprobe.cli import outputs

    if not outputs.is_watched():
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
            words = f"{event.failed} failed, {words_of(event)}" if event.failed else words_of(event)
            bar.update(task, completed=event.done + event.failed, total=event.total, words=words[:50])

        yield advance


class _Lines:
    """Progress where nobody sees a bar: failures at once, the rest every few seconds."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()
        self._first: int | None = None

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        over = event.done + event.failed
        self._first = over if self._first is None else self._first
        if event.kind == "started" or (event.kind == "done" and now - self._last < _LINE_EVERY_S):
            return
        self._last = now
        pace = (now - self._started) / max(over - self._first, 1)
        left = f", about {duration(pace * (event.total - over))} left" if over > self._first else ""
        failed = f", {event.failed} failed" if event.failed else ""
        click.echo(f"{over}/{event.total}{failed}{left}: {words_of(event)}", err=True)


def words_of(event: Event) -> str:
    """What happened, in a few words."""
    if event.run is None:
        return "finishing what is in hand; Ctrl-C again to stop at once"
    axes = " ".join(f"{name}={value}" for name, value in event.run.axes.items())
    return visible(f"{event.kind} {axes}".strip())


def print_costs(runs: Sequence[Run], jobs: int | None = None) -> None:
    """A row a run: what varies, the matrix products in it, and the memory it takes at its peak."""
    from initprobe.data.machine import processors
    from initprobe.formatting import short
    from initprobe.probe.memory import cost
    from initprobe.reports.console import console
    from initprobe.reports.sweep_table import MOST_ROWS
    from initprobe.reports.tables import plain_table

    to = console(sys.stdout)
    costs = [cost(run.config) for run in runs]
    flops, most = sum(one.flops for one in costs), max((one.peak_bytes for one in costs), default=0)
    at_once = min(jobs or processors(), max(len(runs), 1))
    together = f", {at_once * most / 1e6:,.0f} MB for {at_once} at a time" if at_once > 1 else ""
    each = f"at most {most / 1e6:,.0f} MB at a time each{together}"
    to.print(f"{counted(len(runs), 'run')}, {short(flops / 1e9)} GFLOP in all, {each}")
    axes = axes_of(runs)  # type: ignore[arg-type]
    headings = (*axes, "GFLOP", "MB")
    table = plain_table(*headings, left=headings, gap=2)
    for run, one in list(zip(runs, costs, strict=True))[:MOST_ROWS]:
        values = [str(run.axes.get(axis, "-")) for axis in axes]
        table.add_row(*values, short(one.flops / 1e9), f"{one.peak_bytes / 1e6:,.0f}")
    to.print(table)
    if len(runs) > MOST_ROWS:
        to.print(f"{MOST_ROWS} of {len(runs):,} runs shown")
