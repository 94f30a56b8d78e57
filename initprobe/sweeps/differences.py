"""`diff`: two sets of results compared run by run. `store_diff` compares one pair of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from initprobe.data.files import RESULT_FILE, STORE_FILE, is_directory, is_file, reading
from initprobe.errors import ConfigError, DamagedRun, InputError
from initprobe.formatting import counted, shown, visible
from initprobe.results.display import Row, Shown
from initprobe.results.run import ProbeResult
from initprobe.sweeps.store import read_store
from initprobe.sweeps.store_diff import (
    DEFAULT_RULES,
    Change,
    Comparison,
    Pair,
    Rule,
    config_changes,
    paired,
    parse_rule,
)
from initprobe.sweeps.store_kept_runs import KeptRun, kept_failure, kept_result, kept_row, kept_runs, name_of
from initprobe.sweeps.swept import Sweep

if TYPE_CHECKING:
    from initprobe.reports.console import Console

_COLUMNS = ("run", "name", "layer", "old", "new", "size")
Source = str | Path | ProbeResult | Sweep | Iterable[ProbeResult]


@dataclass(frozen=True, repr=False)
class Differences(Shown):
    """What `diff` returns.

    Attributes:
        headline: how many runs agree and differ.
        notes: why runs could not be paired.
        pairs: runs of both sides that belong together.
        by_pair: the changes of each pair that exceed their tolerance.
        idle: one line for each number that is on neither side.
        damage: one line for each damaged run.
    """

    headline: str
    notes: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    by_pair: tuple[tuple[Change, ...], ...] = ()
    idle: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes of all pairs, run by run."""
        return tuple(change for changes in self.by_pair for change in changes)

    def __len__(self) -> int:
        return len(self.changes)

    def in_a_line(self) -> str:
        """How many runs agree and differ, and the first change."""
        return "; ".join([self.headline, *map(str, self.changes[:1])])

    def cells(self) -> list[tuple[str, ...]]:
        """The changes as rows of text: run, number, layer, old and new value, and size of the change."""
        return [
            tuple(map(visible, (each.run, each.name, str(each.layer or ""), each.old, each.new, each.size)))
            for each in self.changes
        ]

    def _print(self, to: Console) -> None:
        from initprobe.reports.diff_table import print_differences

        print_differences(self.headline, (*self.notes, *self.idle, *self.damage), self.cells(), to)

    def _rows(self) -> Iterable[Row]:
        for change in self.changes:
            yield {name: getattr(change, name) for name in _COLUMNS}

    def _columns(self) -> Sequence[str]:
        return _COLUMNS


def diff(old: Source, new: Source, numbers: Sequence[str] = ()) -> Differences:
    """Compare two sets of results run by run. Runs of the same configuration belong together, and two single results.

    Args:
        old: a result, a comparison or list of results, a `Sweep`, or a file or directory with results.
        new: the same.
        numbers: what to compare, with a tolerance if it is not 1%: `verdict`, `missing`, `figures:1%`,
            `output.variance:10%`, `theory.z:0.5`. Empty for the verdict and all numbers that figures show.

    Returns:
        The changes that exceed their tolerance.

    Raises:
        ConfigError: an unknown number or tolerance, or an object that holds no results.
        InputError: a file cannot be read, or holds no results.

    Example:
        `diff("baseline.db", "initprobe-out/mine", ["verdict", "output.variance:10%"]).changes`
    """
    if isinstance(numbers, str):
        raise ConfigError(f"must be a list of texts, as in [{numbers!r}]", field="numbers")
    try:
        rules = tuple(map(parse_rule, numbers)) or DEFAULT_RULES
    except ConfigError as error:
        raise error.at(field="numbers") from None
    return compared(_checked("old", old), _checked("new", new), rules)


def compared(
    old: Source, new: Source, rules: Sequence[Rule], on_pair: Callable[[Pair, Sequence[Change]], None] | None = None
) -> Differences:
    """Compare two sets of results by rules.

    Args:
        old, new: as for `diff`.
        rules: what is compared, and how much it may change.
        on_pair: called with each pair and its changes, while their results can be loaded.

    Raises:
        InputError: a file cannot be read, or holds no results.
    """
    comparison, pairs, changes = Comparison(rules), [], []
    with _kept(old) as before, _kept(new) as after:
        damage = [run.damage for run in (*before, *after) if run.damage]
        before, after = ([run for run in runs if not run.damage] for runs in (before, after))
        for pair in paired(before, after):
            try:
                changes.append(comparison.add(pair))
                pairs.append(pair)
            except DamagedRun as error:
                damage.append(str(error))
        notes = _unpaired(before, after, pairs)
        if on_pair is not None:
            for pair, changed in zip(pairs, changes, strict=True):
                on_pair(pair, changed)
    headline, idle = _headline(pairs, changes), comparison.idle()
    return Differences(headline, tuple(notes), tuple(pairs), tuple(changes), tuple(idle), tuple(damage))


def files_of(path: str | Path) -> list[Path]:
    """The file itself; for a directory its store, its result, or all its JSON files.

    Args:
        path: a file or a directory.

    Raises:
        InputError: the directory holds none of these, or cannot be read.
    """
    place = Path(path)
    if not is_directory(place):
        return [place]
    for name in (STORE_FILE, RESULT_FILE):
        if is_file(place / name):
            return [place / name]
    with reading(place):
        next(place.iterdir(), None)  # raises where the directory cannot be read; `glob` would find nothing there
    if documents := sorted(place.glob("*.json")):
        return documents
    raise InputError(f"holds no {STORE_FILE}, {RESULT_FILE} or other .json; name a file", file=place)


def _checked(field: str, source: Source) -> Source:
    """The source, with its results in a list where it is an iterable of them.

    Raises:
        ConfigError: it holds no results.
    """
    if isinstance(source, str | Path | ProbeResult | Sweep):
        return source
    results = list(source) if isinstance(source, Iterable) else [source]
    if not results or not all(isinstance(result, ProbeResult) for result in results):
        raise ConfigError(f"must be results or a path of results, not {shown(repr(source))}", field=field)
    return results


@contextmanager
def _kept(source: Source) -> Iterator[list[KeptRun]]:
    """The runs of a source; those of a store can be loaded while the context is open."""
    if isinstance(source, str | Path):
        with kept_runs(files_of(source)) as runs:
            yield runs
    elif isinstance(source, Sweep) and source.exported is not None:
        yield list(_exported(source, source.exported))
    elif isinstance(source, Sweep):
        with read_store(source.path) as store:
            yield [kept_row(store, row) for row in source.rows]
    else:
        results = [source] if isinstance(source, ProbeResult) else source
        yield [kept_result(result) for result in results]


def _exported(sweep: Sweep, results: Mapping[str, ProbeResult]) -> Iterator[KeptRun]:
    """The runs of an export, also those without a result."""
    for number, row in enumerate(sweep.rows, start=1):
        name, result = name_of(row.axes), results.get(row.key)
        if result is not None:
            yield kept_result(result, name)
        else:
            yield kept_failure(name, row.state, row.error, f"{sweep.path}, run {number}")


def _headline(pairs: Sequence[Pair], changes: Sequence[Sequence[Change]]) -> str:
    differs = [bool(changed) for pair, changed in zip(pairs, changes, strict=True) if pair.old and pair.new]
    counts = [counted(differs.count(False), "agrees", "agree"), counted(differs.count(True), "differs", "differ")]
    gone, added = sum(pair.new is None for pair in pairs), sum(pair.old is None for pair in pairs)
    counts += [f"{count:,} only in {name}" for count, name in ((gone, "OLD"), (added, "NEW")) if count]
    return f"{counted(len(differs), 'run')} in both: {', '.join(counts)}"


def _unpaired(before: Sequence[KeptRun], after: Sequence[KeptRun], pairs: Sequence[Pair]) -> list[str]:
    """A note where two single results are of different experiments, or where no runs belong together."""
    single, has_pair = len(pairs) == 1, any(pair.old and pair.new for pair in pairs)
    if not (before and after) or (has_pair and not single):
        return []
    fields = config_changes(before[0], after[0])
    start = "not the same experiment" if single else "no two runs have the same configuration; the first two differ in"
    return [f"{start}: {', '.join(fields)}"] if fields else []
