"""`--report`: results as one HTML file that opens offline."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from initprobe.cli.parameters import option
from initprobe.errors import ConfigError
from initprobe.formatting import shown

if TYPE_CHECKING:
    from initprobe.reports.html_runs import RunCard
    from initprobe.reports.html_tables import Table
    from initprobe.results.run import ProbeResult
    from initprobe.results.summary import Environment
    from initprobe.sweeps.store import Store
    from initprobe.sweeps.store_rows import Row

WORDS = "initprobe.words"


def report_option() -> Any:
    """`--report`, which several commands have."""
    about = "Write one HTML file with charts; it opens offline."
    return option("--report", metavar="FILE.html|-", callback=_page_name, help=about)


def _page_name(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """The name of the file; a name of another format is refused."""
    if name and PurePath(name).suffix.lower() not in ("", ".html", ".htm"):
        raise ConfigError(f"{shown(name)} is written as HTML; give a name that ends in .html", field="--report")
    return name


def typed() -> str:
    """The command line as it was typed, for the end of a page."""
    context = click.get_current_context(silent=True)
    return shlex.join(["initprobe", *(context.meta.get(WORDS, ()) if context else ())])


def write_run_report(target: str | None, result: ProbeResult, command: str = "") -> None:
    """Write the page of one result, if it was asked for; the command measures it again.

    Args:
        target: a path, or `-` for standard output; None if no page was asked for.
        result: of the run.
        command: a line for the user to run again; "" for none.

    Raises:
        OutputError: the file cannot be written.
    """
    if target:
        from initprobe.cli.outputs import write_page
        from initprobe.reports.html_run import run_page

        write_page(target, run_page(result, command or typed()))


def write_comparison_report(target: str | None, results: Sequence[ProbeResult]) -> None:
    """Write the page of several results, if it was asked for.

    Args:
        target: a path, or `-` for standard output; None if no page was asked for.
        results: in the order of the page.

    Raises:
        OutputError: the file cannot be written.
    """
    if not target:
        return
    from initprobe.cli.outputs import write_page
    from initprobe.reports.cells import compared_names
    from initprobe.reports.html_runs import card, runs_page

    cards = [card(compared_names(result), result, run_command(result.config)) for result in results]
    shared, survivors = results[0].description, sum(result.healthy for result in results)
    headline = f"{survivors} of {len(results)} survive; {shared.shape} | {shared.setting}"
    write_page(target, runs_page("Comparison", headline, cards, typed(), results[0].environment))


def run_command(config: Any) -> str:
    """The command line that measures one experiment; empty for one that no command line can name."""
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.errors import InitprobeError
    from initprobe.prediction.command_line import command_line

    try:
        return command_line(ProbeConfig.model_validate(config))
    except (InitprobeError, ValueError):
        return ""


Change = Callable[["Row", "ProbeResult"], "ProbeResult"]


def write_sweep_report(
    target: str | None, title: str, store: Store, rows: Sequence[Row], change: Change, breaches: Table | None = None
) -> None:
    """Write the page of the runs of a store, if it was asked for. One result is in memory at a time.

    Args:
        target: a file, or `-`; None for no page.
        title: the heading.
        store: the runs.
        rows: those that the page shows.
        change: what is done to each result first, as marking known findings.
        breaches: the table of failed checks; None without checks.
    """
    if not target:
        return
    from initprobe.cli.outputs import write_page
    from initprobe.reports.html_runs import runs_page
    from initprobe.reports.sweep_table import headline

    made = list(_cards(store, rows, change))
    cards = [card for card, _ in made]
    environment = next((environment for _, environment in made if environment is not None), None)
    write_page(target, runs_page(title, headline(rows), cards, typed(), environment, breaches))


def _cards(store: Store, rows: Sequence[Row], change: Change) -> Iterator[tuple[RunCard, Environment | None]]:
    """A card per run, with the environment of a run that is done."""
    import json

    from initprobe.errors import DamagedRun
    from initprobe.reports.html_runs import RunCard, card

    for row in rows:
        try:
            result = change(row, store.result(row.key)) if row.state == "done" else None
        except DamagedRun as error:
            yield RunCard(row.axes, "damaged", str(error), "", "", None), None
            continue
        command = run_command(json.loads(row.config))
        if result is None:
            yield RunCard(row.axes, row.state, row.error or "", "", command, None), None
        else:
            yield card(row.axes, result, command), result.environment
