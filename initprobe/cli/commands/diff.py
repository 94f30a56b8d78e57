"""`initprobe diff`: what changed between two sets of results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from initprobe.cli.outputs import RESULT_FILE
from initprobe.cli.sweep_output import tell_damage
from initprobe.cli.sweep_run import STORE_FILE
from initprobe.formatting import counted, visible

if TYPE_CHECKING:
    from initprobe.reports.junit import Case
    from initprobe.sweeps.store.diff import Change, Pair, Rule
    from initprobe.sweeps.store.kept_runs import KeptRun


_MOST_ROWS = 50
_HEADINGS = ("run", "number", "layer", "was", "is", "change")


@click.command("diff")
@click.argument("old")
@click.argument("new")
@click.option(
    "--fail-on",
    "asked",
    multiple=True,
    metavar="NAME[:TOL]",
    help="Exit with 1 where it changed: verdict, missing, figures:1%, output.variance:10%, theory.z:0.5; repeatable.",
)
@click.option("--junit", metavar="FILE|-", help="A case for each run as JUnit XML, for CI; needs --fail-on.")
@click.option("--markdown", metavar="FILE|-", help="The table as Markdown, as for a CI step summary.")
def command(old: str, new: str, asked: tuple[str, ...], junit: str | None, markdown: str | None) -> None:
    """Compare two sets of results run by run.

    OLD and NEW are each a sweep.db, JSON of `run`, `compare` or `sweep`, or a directory.

    Runs of the same configuration belong together; two single results are compared whatever they are. A tolerance in
    percent is relative to the old number, any other is a distance; 1% without one. `figures` is all that pictures are
    drawn from, with histograms compared by how far entries have moved, in percent of their rms. OLD need not exist
    yet: nothing is compared then, and all is well. If it does, a --fail-on that finds nothing to compare fails. Exits
    with 3 if a store is damaged at some runs.

    \b
    Examples:
      initprobe diff old/sweep.db new/sweep.db --fail-on verdict --fail-on missing
      initprobe diff old.json new.json --fail-on output.variance:10%
    """
    from initprobe.cli.outputs import STDOUT, check_exports
    from initprobe.data.files import check_file, kind_of
    from initprobe.errors import ConfigError

    if junit and not asked:
        raise ConfigError("--junit: give --fail-on too; without it nothing can fail")
    rules = _rules(asked)
    check_exports([markdown, junit], None)
    now = _files(new)
    for path in now:
        check_file(path)
    if kind_of(Path(old)) == "nothing":
        words = f"{visible(old)}: no baseline yet, nothing to compare; keep {visible(new)} as one"
        click.echo(words, err=junit == STDOUT)
        if junit:
            _write_junit(junit, _Seen([], [], "", [], [], []))
        return
    seen = _compared(_files(old), now, rules)
    _tell(seen, markdown, junit)
    tell_damage(seen.damage)
    if asked:
        _fail(seen)


@dataclass(frozen=True)
class _Seen:
    """Pairs of runs with their changes, what is said of them, what could not be compared, and damaged runs."""

    pairs: Sequence[Pair]
    changes: Sequence[Sequence[Change]]
    headline: str
    notes: Sequence[str]
    idle: Sequence[str]
    damage: Sequence[str]

    @property
    def found(self) -> list[Change]:
        """All changes, run by run."""
        return [change for each in self.changes for change in each]


def _rules(asked: Sequence[str]) -> tuple[Rule, ...]:
    from initprobe.sweeps.store.diff import DEFAULT_RULES, parse_rule

    return tuple(map(parse_rule, asked)) or DEFAULT_RULES


def _compared(old: Sequence[Path], new: Sequence[Path], rules: Sequence[Rule]) -> _Seen:
    from initprobe.errors import DamagedRun
    from initprobe.sweeps.store.diff import Comparison, paired
    from initprobe.sweeps.store.kept_runs import kept_runs

    comparison, pairs, changes = Comparison(rules), [], []
    with kept_runs(old) as before, kept_runs(new) as after:
        damage = [kept.damage for kept in (*before, *after) if kept.damage]
        before, after = ([kept for kept in runs if not kept.damage] for runs in (before, after))
        for pair in paired(before, after):
            try:
                changes.append(comparison.add(pair))
                pairs.append(pair)
            except DamagedRun as error:
                damage.append(str(error))
        notes = _strangers(before, after, pairs)
    return _Seen(pairs, changes, _headline(pairs, changes), notes, comparison.idle(), damage)


def _tell(seen: _Seen, markdown: str | None, junit: str | None) -> None:
    from initprobe.cli import outputs
    from initprobe.reports.console import console

    found = seen.found
    to = console(sys.stderr if outputs.STDOUT in (markdown, junit) else sys.stdout)
    to.print(seen.headline, style="bold", markup=False, soft_wrap=True)
    for note in seen.notes:
        to.print(visible(note), markup=False, soft_wrap=True)
    if found:
        to.print(_table(found[:_MOST_ROWS]))
    if len(found) > _MOST_ROWS:
        to.print(f"{_MOST_ROWS} of {len(found):,} changes", style="dim")
    if markdown:
        outputs.write_text(markdown, _markdown(seen.headline, found[:_MOST_ROWS]))
    if junit:
        _write_junit(junit, seen)


def _fail(seen: _Seen) -> None:
    """One line for changes that were not allowed, or for what could not be compared."""
    from initprobe.errors import CheckFailed

    if found := seen.found:
        raise CheckFailed(
            f"{counted(len(found), 'change is', 'changes are')} more than was allowed; the first: {found[0]}"
        )
    if seen.idle:
        raise CheckFailed(seen.idle[0])


def _files(text: str) -> list[Path]:
    """The file itself; of a directory its store, its result, or every JSON file in it."""
    from initprobe.data.files import is_directory, is_file, reading
    from initprobe.errors import InputError

    path = Path(text)
    if not is_directory(path):
        return [path]
    for name in (STORE_FILE, RESULT_FILE):
        if is_file(path / name):
            return [path / name]
    with reading(path):
        next(path.iterdir(), None)  # `glob` finds nothing where it may not look
    if found := sorted(path.glob("*.json")):
        return found
    raise InputError(f"{path}: holds no {STORE_FILE}, {RESULT_FILE} or other .json; name a file")


def _headline(pairs: Sequence[Pair], changes: Sequence[Sequence[Change]]) -> str:
    both = [bool(seen) for pair, seen in zip(pairs, changes, strict=True) if pair.old and pair.new]
    counts = [f"{both.count(False):,} agree", f"{both.count(True):,} differ"]
    gone, added = sum(pair.new is None for pair in pairs), sum(pair.old is None for pair in pairs)
    counts += [f"{count:,} only in {name}" for count, name in ((gone, "OLD"), (added, "NEW")) if count]
    return f"{counted(len(both), 'run')} in both: {', '.join(counts)}"


def _strangers(before: Sequence[KeptRun], after: Sequence[KeptRun], pairs: Sequence[Pair]) -> list[str]:
    """A word where single results are of different experiments, or where no run meets its like."""
    from initprobe.sweeps.store.diff import config_changes

    single, met = len(pairs) == 1, any(pair.old and pair.new for pair in pairs)
    if not (before and after) or (met and not single):
        return []
    apart = config_changes(before[0], after[0])
    start = "not the same experiment" if single else "no run has the configuration of another; the first two differ in"
    return [f"{start}: {', '.join(apart)}"] if apart else []


def _cells(change: Change) -> tuple[str, ...]:
    return tuple(map(visible, (change.run, change.name, str(change.layer or ""), change.old, change.new, change.size)))


def _table(found: Sequence[Change]) -> object:
    from rich.text import Text

    from initprobe.reports.tables import plain_table

    table = plain_table(*_HEADINGS, left=("run", "number"), gap=2)
    for change in found:
        table.add_row(*map(Text, _cells(change)))
    return table


def _markdown(headline: str, found: Sequence[Change]) -> str:
    from initprobe.reports.markdown import markdown_row, markdown_text

    rows = [_HEADINGS, ("---",) * len(_HEADINGS), *map(_cells, found)] if found else []
    return "\n".join([f"**{markdown_text(headline)}**", "", *map(markdown_row, rows)]) + "\n"


def _write_junit(target: str, seen: _Seen) -> None:
    from initprobe.cli.outputs import write_text
    from initprobe.reports.junit import Case, junit

    cases = [_case(pair, changes) for pair, changes in zip(seen.pairs, seen.changes, strict=True)]
    cases += [Case("something to compare", "failure", line) for line in seen.idle]
    cases += [Case("damaged", "error", line) for line in seen.damage]
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
