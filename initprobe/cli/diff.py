"""`initprobe diff`: what changed between two sets of results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from initprobe.cli.outputs import RESULT_FILE
from initprobe.cli.sweep import STORE_FILE
from initprobe.cli.sweep_output import tell_damage
from initprobe.plain import visible

if TYPE_CHECKING:
    from initprobe.sweep.diff import Change, Pair, Rule
    from initprobe.sweep.sources import Kept

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
@click.option("--markdown", metavar="FILE|-", help="The table as Markdown, as for a CI step summary.")
def command(old: str, new: str, asked: tuple[str, ...], markdown: str | None) -> None:
    """Compare two sets of results run by run.

    OLD and NEW are each a sweep.db, JSON of `run`, `compare` or `sweep`, or a directory. Runs of the same configuration
    belong together; two single results are compared whatever they are. A tolerance in percent is relative to the old
    number, any other is a distance; 1% without one. `figures` is all that pictures are drawn from, with histograms
    compared by how far entries have moved, in percent of their rms. OLD need not exist yet: nothing is compared then,
    and all is well. Exits with 3 if a store is damaged at some runs.

    \b
    Examples:
      initprobe diff baseline/sweep.db initprobe-out/mine --fail-on verdict --fail-on missing
      initprobe diff baseline.json initprobe-out/xavier-tanh-10x500 --fail-on output.variance:10%
    """
    from initprobe.cli import outputs
    from initprobe.errors import CheckFailed
    from initprobe.files import check_file, kind_of
    from initprobe.reports.tables import console
    from initprobe.sweep.diff import DEFAULT_RULES, paired, parse_rule
    from initprobe.sweep.sources import kept_runs

    rules = tuple(map(parse_rule, asked)) or DEFAULT_RULES
    outputs.check_exports([markdown], None)
    now = _files(new)
    for path in now:
        check_file(path)
    if kind_of(Path(old)) == "nothing":
        click.echo(f"{visible(old)}: no baseline yet, nothing to compare; keep {visible(new)} as one")
        return
    with kept_runs(_files(old)) as before, kept_runs(now) as after:
        damage = [kept.damage for kept in (*before, *after) if kept.damage]
        before, after = ([kept for kept in runs if not kept.damage] for runs in (before, after))
        pairs, changes = _compared(paired(before, after), rules, damage)
        headline = _headline(pairs, changes)
        notes = _strangers(before, after, pairs)
    found = [change for each in changes for change in each]
    to = console(sys.stderr if markdown == outputs.STDOUT else sys.stdout)
    to.print(headline, style="bold", markup=False, soft_wrap=True)
    for note in notes:
        to.print(visible(note), markup=False, soft_wrap=True)
    if found:
        to.print(_table(found[:_MOST_ROWS]))
    if len(found) > _MOST_ROWS:
        to.print(f"{_MOST_ROWS} of {len(found):,} changes", style="dim")
    if markdown:
        outputs.write_text(markdown, _markdown(headline, found[:_MOST_ROWS]))
    tell_damage(damage)
    if asked and found:
        raise CheckFailed(f"{len(found):,} changes are more than was allowed; the first: {found[0]}")


def _compared(
    pairs: Sequence[Pair], rules: Sequence[Rule], damage: list[str]
) -> tuple[list[Pair], list[tuple[Change, ...]]]:
    """The pairs that can be compared, and what changed in each; a line joins `damage` for every one that cannot."""
    from initprobe.errors import DamagedRun
    from initprobe.sweep.diff import compare

    whole, changes = [], []
    for pair in pairs:
        try:
            changes.append(compare(pair, rules))
            whole.append(pair)
        except DamagedRun as error:
            damage.append(str(error))
    return whole, changes


def _files(text: str) -> list[Path]:
    """The file itself; of a directory its store, its result, or every JSON file in it."""
    from initprobe.errors import InputError
    from initprobe.files import is_directory, is_file, reading

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
    return f"{len(both):,} run{'s' * (len(both) != 1)} in both: {', '.join(counts)}"


def _strangers(before: Sequence[Kept], after: Sequence[Kept], pairs: Sequence[Pair]) -> list[str]:
    """A word where single results are of different experiments, or where no run meets its like."""
    from initprobe.sweep.diff import config_changes

    single, met = len(pairs) == 1, any(pair.old and pair.new for pair in pairs)
    if not (before and after) or (met and not single):
        return []
    apart = config_changes(before[0], after[0])
    start = "not the same experiment" if single else "no run has the configuration of another; the first two differ in"
    return [f"{start}: {', '.join(apart)}"] if apart else []


def _cells(change: Change) -> tuple[str, ...]:
    return tuple(map(visible, (change.run, change.name, str(change.layer or ""), change.old, change.new, change.size)))


def _table(found: Sequence[Change]) -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in _HEADINGS:
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("run", "number") else "right")
    for change in found:
        table.add_row(*map(Text, _cells(change)))
    return table


def _markdown(headline: str, found: Sequence[Change]) -> str:
    from initprobe.reports.sweep_table import markdown_row, markdown_text

    rows = [_HEADINGS, ("---",) * len(_HEADINGS), *map(_cells, found)] if found else []
    return "\n".join([f"**{markdown_text(headline)}**", "", *map(markdown_row, rows)]) + "\n"
