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
from initprobe.data.files import RESULT_FILE, STORE_FILE
from initprobe.formatting import counted, visible

if TYPE_CHECKING:
    from initprobe.reports.html_diff import BothSides, Side
    from initprobe.reports.junit import Case
    from initprobe.sweeps.store_diff import Change, Pair, Rule
    from initprobe.sweeps.store_kept_runs import KeptRun


_MOST_ROWS = 50
_HEADINGS = ("run", "number", "layer", "was", "is", "change")


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
    from initprobe.data.files import check_file, kind_of

    old, new, junit = options.old, options.new, options.junit
    check_junit(junit, options.fail_on)
    rules = _rules(options.fail_on)
    check_exports([options.markdown, junit, options.report], None)
    new_files = _files(new)
    for path in new_files:
        check_file(path)
    if kind_of(Path(old)) == "nothing":
        _without_baseline(options)
        return
    differences = _compared(_files(old), new_files, rules, bool(options.report))
    _report(differences, options)
    report_damage(differences.damage)
    if options.fail_on:
        _fail(differences)


@dataclass(frozen=True)
class _Differences:
    """What a comparison gave.

    Attributes:
        pairs: runs of OLD and NEW that belong together.
        changes: of each pair.
        headline: how many runs agree and differ.
        notes: why runs could not be paired.
        idle: one line for each rule that found nothing to compare.
        damage: one line for each damaged run.
        sides: both sides of each run, for the HTML report; empty without one.
    """

    pairs: Sequence[Pair]
    changes: Sequence[Sequence[Change]]
    headline: str
    notes: Sequence[str]
    idle: Sequence[str]
    damage: Sequence[str]
    sides: Sequence[BothSides]

    @property
    def all_changes(self) -> list[Change]:
        """The changes of all pairs, run by run."""
        return [change for changes in self.changes for change in changes]


def _without_baseline(options: DiffOptions) -> None:
    """Warn that nothing is compared, and write the files that were asked for.

    Raises:
        InputError: with --require-baseline.
    """
    from initprobe.errors import InputError

    hint = _similar(Path(options.old))
    if options.require_baseline:
        raise InputError(f"no such file or directory.{hint}", file=visible(options.old))
    note = f"{visible(options.old)}: no baseline yet, nothing to compare; keep {visible(options.new)} as one"
    click.echo(f"warning: {note}.{hint}", err=True)
    _write_files(_Differences([], [], note, [], [], [], []), options)


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


def _compared(old: Sequence[Path], new: Sequence[Path], rules: Sequence[Rule], sided: bool) -> _Differences:
    from initprobe.errors import DamagedRun
    from initprobe.sweeps.store_diff import Comparison, paired
    from initprobe.sweeps.store_kept_runs import kept_runs

    comparison, pairs, changes = Comparison(rules), [], []
    with kept_runs(old) as before, kept_runs(new) as after:
        damage = [run.damage for run in (*before, *after) if run.damage]
        before, after = ([run for run in runs if not run.damage] for runs in (before, after))
        for pair in paired(before, after):
            try:
                changes.append(comparison.add(pair))
                pairs.append(pair)
            except DamagedRun as error:
                damage.append(str(error))
        notes = _unpaired(before, after, pairs)
        sides = list(map(_both_sides, pairs, changes)) if sided else []
    return _Differences(pairs, changes, _headline(pairs, changes), notes, comparison.idle(), damage, sides)


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


def _report(differences: _Differences, options: DiffOptions) -> None:
    from initprobe.cli.run_output import text_stream
    from initprobe.reports.console import console

    changes, markdown, junit = differences.all_changes, options.markdown, options.junit
    to = console(text_stream(markdown, junit, options.report))
    to.print(differences.headline, style="bold", markup=False, soft_wrap=True)
    for note in differences.notes:
        to.print(visible(note), markup=False, soft_wrap=True)
    if changes:
        to.print(_table(changes[:_MOST_ROWS]))
    if len(changes) > _MOST_ROWS:
        to.print(f"{_MOST_ROWS} of {len(changes):,} changes", style="dim")
    _write_files(differences, options)


def _write_files(differences: _Differences, options: DiffOptions) -> None:
    """Write the Markdown, JUnit and HTML that were asked for."""
    from initprobe.cli.outputs import write_page, write_text

    changes = differences.all_changes
    if options.markdown:
        write_text(options.markdown, _markdown(differences.headline, changes[:_MOST_ROWS]))
    if options.junit:
        _write_junit(options.junit, differences)
    if options.report:
        from initprobe.reports.html_diff import diff_page

        notes = [*differences.notes, *differences.idle, *differences.damage]
        rows = list(map(_cells, changes))
        write_page(options.report, diff_page(differences.headline, notes, differences.sides, rows, typed()))


def _fail(differences: _Differences) -> None:
    """Fail for changes beyond the tolerance, or where nothing could be compared.

    Raises:
        CheckFailed: see above.
    """
    from initprobe.errors import CheckFailed

    if changes := differences.all_changes:
        count = counted(len(changes), "change exceeds its tolerance", "changes exceed their tolerance")
        raise CheckFailed(f"{count}; the first: {changes[0]}")
    if differences.idle:
        raise CheckFailed(differences.idle[0])


def _files(text: str) -> list[Path]:
    """The file itself; for a directory its store, its result, or all its JSON files.

    Raises:
        InputError: the directory holds none of these, or cannot be read.
    """
    from initprobe.data.files import is_directory, is_file, reading
    from initprobe.errors import InputError

    path = Path(text)
    if not is_directory(path):
        return [path]
    for name in (STORE_FILE, RESULT_FILE):
        if is_file(path / name):
            return [path / name]
    with reading(path):
        next(path.iterdir(), None)  # raises where the directory cannot be read; `glob` would find nothing there
    if documents := sorted(path.glob("*.json")):
        return documents
    raise InputError(f"holds no {STORE_FILE}, {RESULT_FILE} or other .json; name a file", file=path)


def _headline(pairs: Sequence[Pair], changes: Sequence[Sequence[Change]]) -> str:
    differs = [bool(changed) for pair, changed in zip(pairs, changes, strict=True) if pair.old and pair.new]
    counts = [counted(differs.count(False), "agrees", "agree"), counted(differs.count(True), "differs", "differ")]
    gone, added = sum(pair.new is None for pair in pairs), sum(pair.old is None for pair in pairs)
    counts += [f"{count:,} only in {name}" for count, name in ((gone, "OLD"), (added, "NEW")) if count]
    return f"{counted(len(differs), 'run')} in both: {', '.join(counts)}"


def _unpaired(before: Sequence[KeptRun], after: Sequence[KeptRun], pairs: Sequence[Pair]) -> list[str]:
    """A note where two single results are of different experiments, or where no runs belong together."""
    from initprobe.sweeps.store_diff import config_changes

    single, has_pair = len(pairs) == 1, any(pair.old and pair.new for pair in pairs)
    if not (before and after) or (has_pair and not single):
        return []
    fields = config_changes(before[0], after[0])
    start = "not the same experiment" if single else "no two runs have the same configuration; the first two differ in"
    return [f"{start}: {', '.join(fields)}"] if fields else []


def _cells(change: Change) -> tuple[str, ...]:
    return tuple(map(visible, (change.run, change.name, str(change.layer or ""), change.old, change.new, change.size)))


def _table(changes: Sequence[Change]) -> object:
    from rich.text import Text

    from initprobe.reports.tables import plain_table

    table = plain_table(*_HEADINGS, left=("run", "number"), gap=2)
    for change in changes:
        table.add_row(*map(Text, _cells(change)))
    return table


def _markdown(headline: str, changes: Sequence[Change]) -> str:
    from initprobe.reports.markdown import markdown_row, markdown_text

    rows = [_HEADINGS, ("---",) * len(_HEADINGS), *map(_cells, changes)] if changes else []
    return "\n".join([f"**{markdown_text(headline)}**", "", *map(markdown_row, rows)]) + "\n"


def _write_junit(target: str, differences: _Differences) -> None:
    from initprobe.cli.outputs import write_text
    from initprobe.reports.junit import Case, junit

    cases = [_case(pair, changes) for pair, changes in zip(differences.pairs, differences.changes, strict=True)]
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
