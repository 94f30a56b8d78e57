"""Compare two sets of results run by run.

OLD and NEW are each a sweep.db, the JSON of `run`, `compare` or `sweep`, or a directory. OLD may be missing, as before
the first run in CI. Then a warning says that nothing is compared, and the exit code is 0. With --require-baseline it
is 2.

Runs of the same configuration are compared. Two single results are always compared. A tolerance in percent is relative
to the old number, any other is an absolute difference. The default is 1%. `figures` means all numbers that figures
show, `step` the sizes of one step of --optimizer. `formats` means the shares that --formats counts: entries that become
0 or subnormal, or leave the range. Without --fail-on, all three and the verdict are compared. Two histograms are
compared by how far entries have moved, in percent of their rms.

Where OLD exists, a --fail-on that finds nothing to compare fails. Exits with 3 if some runs are damaged in a store.

\b
Examples:
  initprobe diff old/sweep.db new/sweep.db --fail-on verdict --fail-on missing
  initprobe diff old.json new.json --fail-on output.variance:10% \\
      --require-baseline
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from initprobe.cli.candidates import files
from initprobe.cli.html_report import report_option, typed
from initprobe.cli.parameters import argument, command_of, option
from initprobe.cli.sweep_output import report_damage
from initprobe.formatting import counted, visible

if TYPE_CHECKING:
    from initprobe.reports.html_diff import BothSides, Side
    from initprobe.reports.junit import Case
    from initprobe.sweeps.differences import Differences
    from initprobe.sweeps.store_diff import Change, Pair, Rule
    from initprobe.sweeps.store_kept_runs import KeptRun


@dataclass(frozen=True, kw_only=True)
class DiffOptions:
    """The options of `initprobe diff`."""

    old: str = argument(shell_complete=files)
    new: str = argument(shell_complete=files)
    fail_on: tuple[str, ...] = option(
        "--fail-on",
        multiple=True,
        metavar="NAME[:TOL]",
        help="Exit with 1 if it changed: verdict, missing, figures:1%, output.variance:10%, theory.z:0.5; repeatable.",
    )
    require_baseline: bool = option("--require-baseline", is_flag=True, help="Exit with 2 if OLD is missing.")
    junit: str | None = option(
        "--junit", metavar="FILE|-", help="Write one case per run as JUnit XML, for CI; needs --fail-on."
    )
    markdown: str | None = option(
        "--markdown", metavar="FILE|-", help="Write the table as Markdown, for example for a CI summary."
    )
    report: str | None = report_option()


@command_of(DiffOptions, help=__doc__)
def command(options: DiffOptions) -> None:
    """Compare two results or stores, and fail where a gate is exceeded."""
    from initprobe.cli.gate import check_junit
    from initprobe.cli.outputs import check_exports
    from initprobe.cli.run_output import text_stream
    from initprobe.data.files import check_file, kind_of
    from initprobe.reports.console import console
    from initprobe.reports.diff_table import print_differences
    from initprobe.sweeps.differences import compared, files_of

    old, new, junit = options.old, options.new, options.junit
    check_junit(junit, options.fail_on)
    rules = _rules(options.fail_on)
    check_exports([options.markdown, junit, options.report], None)
    for path in files_of(new):
        check_file(path)
    if kind_of(Path(old)) == "nothing":
        _without_baseline(options)
        return
    sides: list[BothSides] = []
    differences = compared(old, new, rules, lambda *pair: sides.append(_both_sides(*pair)) if options.report else None)
    to = console(text_stream(options.markdown, junit, options.report))
    print_differences(differences.headline, differences.notes, differences.cells(), to)
    _write_files(differences, sides, options)
    report_damage(differences.damage)
    if options.fail_on:
        _fail(differences)


def _without_baseline(options: DiffOptions) -> None:
    """Warn that nothing is compared, and write the files that were asked for.

    Raises:
        InputError: with --require-baseline.
    """
    from initprobe.errors import InputError
    from initprobe.sweeps.differences import Differences

    hint = _similar(Path(options.old))
    if options.require_baseline:
        raise InputError(f"no such file or directory.{hint}", file=visible(options.old))
    note = f"{visible(options.old)}: no baseline yet, nothing to compare; keep {visible(options.new)} as one"
    click.echo(f"warning: {note}.{hint}", err=True)
    _write_files(Differences(note), (), options)


def _similar(path: Path) -> str:
    """A hint at a file beside `path` that has a similar name."""
    from initprobe.data.files import is_directory
    from initprobe.registry import suggestion

    if not is_directory(path.parent):
        return ""
    return suggestion(path.name, [f.name for f in path.parent.iterdir() if f.suffix == path.suffix])


def _rules(asked: Sequence[str]) -> tuple[Rule, ...]:
    from initprobe.sweeps.store_diff import DEFAULT_RULES, parse_rule

    return tuple(map(parse_rule, asked)) or DEFAULT_RULES


def _both_sides(pair: Pair, changes: Sequence[Change]) -> BothSides:
    from initprobe.reports.html_diff import BothSides

    lines = [str(change).removeprefix(f"{pair.name}: ") for change in changes]
    old, new = (_side(run, run.name if run and pair.is_unlike else "") for run in (pair.old, pair.new))
    return BothSides(pair.name, old, new, lines)


def _side(run: KeptRun | None, name: str) -> Side:
    from initprobe.errors import DamagedRun
    from initprobe.reports.html_diff import Side
    from initprobe.results.digest import digest

    if run is None:
        return Side("missing", None)
    try:
        result = run.load() if run.state == "done" else None
    except DamagedRun:
        return Side("damaged", None)
    if result is None:
        return Side(run.state, None, name=name)
    return Side(run.state, digest(result), result.environment, name)


def _write_files(differences: Differences, sides: Sequence[BothSides], options: DiffOptions) -> None:
    """Write the Markdown, JUnit and HTML that were asked for."""
    from initprobe.cli.outputs import write_page, write_text

    headline, rows = differences.headline, differences.cells()
    if options.markdown:
        from initprobe.reports.diff_table import markdown

        write_text(options.markdown, markdown(headline, rows))
    if options.junit:
        _write_junit(options.junit, differences)
    if options.report:
        from initprobe.reports.html_diff import diff_page

        notes = [*differences.notes, *differences.idle, *differences.damage]
        write_page(options.report, diff_page(headline, notes, sides, rows, typed()))


def _fail(differences: Differences) -> None:
    """Fail for changes beyond the tolerance, or where nothing could be compared.

    Raises:
        CheckFailed: see above.
    """
    from initprobe.errors import CheckFailed

    if changes := differences.changes:
        count = counted(len(changes), "change exceeds its tolerance", "changes exceed their tolerance")
        raise CheckFailed(f"{count}; the first: {changes[0]}")
    if differences.idle:
        raise CheckFailed(differences.idle[0])


def _write_junit(target: str, differences: Differences) -> None:
    from initprobe.cli.outputs import write_text
    from initprobe.reports.junit import Case, junit

    cases = [_case(pair, changes) for pair, changes in zip(differences.pairs, differences.by_pair, strict=True)]
    cases += [Case("something to compare", "failure", line) for line in differences.idle]
    cases += [Case("damaged", "error", line) for line in differences.damage]
    cases = cases or [Case("something to compare", "skipped", differences.headline)]
    write_text(target, junit("initprobe diff", cases))


def _case(pair: Pair, changes: Sequence[Change]) -> Case:
    from initprobe.reports.junit import Case

    if changes:
        return Case(pair.name, "failure", "\n".join(map(str, changes)))
    if pair.old is None or pair.new is None:
        return Case(pair.name, "skipped", f"only in {'NEW' if pair.old is None else 'OLD'}")
    if pair.new.state.startswith("failed"):
        return Case(pair.name, "error", pair.new.state)
    both = pair.old.state == pair.new.state == "done"
    return Case(pair.name) if both else Case(pair.name, "skipped", f"was {pair.old.state}, is {pair.new.state}")
