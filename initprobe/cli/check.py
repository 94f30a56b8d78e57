"""`initprobe check`: a sweep that fails when an initialization has gone bad."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initprobe.cli.options import Choice
from initprobe.cli.run import DEFAULT_OUT
from initprobe.cli.sweep import STORE_FILE, finish, run_plan, sweep_options
from initprobe.cli.sweep_output import table_options
from initprobe.plain import visible

if TYPE_CHECKING:
    from initprobe.sweep.checks import Breach
    from initprobe.sweep.plan import Plan
    from initprobe.sweep.rows import Row


@click.command("check")
@sweep_options
@table_options
@click.option("--annotate", type=Choice(["github"]), help="Mark each breach where the CI service shows it.")
def command(annotate: str | None, **options: Any) -> None:
    """Run CONFIG and exit with 1 if one of its checks fails.

    The exit code is 3 if a run failed.

    \b
    Examples:
      initprobe check mine.yaml
      initprobe check mine.yaml --no-figures --annotate github --markdown - >> "$GITHUB_STEP_SUMMARY"
    """
    from initprobe.errors import CheckFailed, ConfigError
    from initprobe.sweep.plan import load

    plan = load(options["config"], options["overrides"], options["where"])
    if not plan.checks:
        raise ConfigError(f"{plan.path}: no checks; write for example `checks: {{healthy: true}}`, or use `sweep`")
    outcome, failed = run_plan(plan, options)
    found, idle = _judged(plan, Path(options["out"] or f"{DEFAULT_OUT}/{plan.name}") / STORE_FILE, failed)
    _report(plan, found, idle)
    if annotate:
        for row, breach in found:
            place = f"title=initprobe check,file={_property(str(plan.path))}"
            click.echo(f"::error {place}::{_escaped(f'{_name(row)}: {breach}')}")
    finish(outcome, failed)
    if found:
        raise CheckFailed(f"{len(found)} checks do not hold; the first: {_name(found[0][0])}: {found[0][1]}")


def _judged(plan: Plan, path: Path, failed: list[str]) -> tuple[list[tuple[Row, Breach]], list[str]]:
    """What breaks the checks, and the checks that spoke of nothing; runs that cannot be read join the failed ones."""
    from initprobe.sweep.checks import applied, judge
    from initprobe.sweep.store import read_store

    found: list[tuple[Row, Breach]] = []
    spoke: set[str] = set()
    with read_store(path) as store:
        for row, result in store.results([run.key for run in plan.runs]):
            found += [(row, breach) for breach in judge(plan.checks, result)]
            spoke |= applied(plan.checks, result)
        failed += store.damage.values()
    return found, [str(check) for check in plan.checks if str(check) not in spoke]


def _report(plan: Plan, found: Sequence[tuple[Row, Breach]], idle: Sequence[str]) -> None:
    from rich.table import Table

    from initprobe.reports.tables import console

    to = console(sys.stderr)
    for text in idle:
        to.print(f"note: the check {text} applies to no layer of any run", markup=False, soft_wrap=True)
    if not found:
        to.print(f"all {len(plan.checks)} checks hold", style="green")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("run", "what broke"):
        table.add_column(heading, no_wrap=True)
    for row, breach in found:
        table.add_row(_name(row), str(breach))
    to.print(table)


def _name(row: Row) -> str:
    return visible(" ".join(f"{name}={value}" for name, value in row.axes.items())) or row.key[:8]


def _escaped(text: str) -> str:
    """As GitHub's workflow commands want it."""
    broken = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return visible(broken)


def _property(text: str) -> str:
    """The same for what stands before the message, where `:` and `,` end a value."""
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
