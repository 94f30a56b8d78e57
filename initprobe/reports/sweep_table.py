"""Many results as one table: a row per setting, with the mean over seeds."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rich.console import Console

from initprobe import arrays
from initprobe.errors import UnknownNameError
from initprobe.formatting import NOTHING, counted, fixed, percent, short_of, trimmed, visible
from initprobe.registry import suggestion
from initprobe.reports import seed_means
from initprobe.reports.markdown import markdown_row, markdown_text
from initprobe.reports.narrative import cosine
from initprobe.reports.people_names import people_verdict
from initprobe.reports.tables import plain_table
from initprobe.results.digest import Digest
from initprobe.results.named_numbers import NAMES

Scalar = str | int | float | bool

SEED = "seed"
MOST_ROWS = 50
# The outcome of a net in the headline, by its most severe finding; other rules show their own name.
_NAMES = {
    "vanishing-output": "vanish",
    "vanishing-gradient": "vanish",
    "underflow": "vanish",
    "exploding-output": "explode",
    "exploding-gradient": "explode",
    "overflow": "explode",
    "unstable-gain": "drift",
    "saturated": "saturate",
    "heavy-tailed-gradient": "saturate",
    "dead-units": "die",
    "dead-layer": "die",
    "symmetric": "stay symmetric",
    "chaotic": "turn chaotic",
    "too-deep": "vanish",
}


class Entry(Protocol):
    """A run of a sweep, as the store returns it."""

    @property
    def axes(self) -> Mapping[str, Scalar]:
        """The values of the axes on which the runs differ."""

    @property
    def state(self) -> str:
        """`queued`, `running`, `done`, `failed` or `damaged`."""

    @property
    def error(self) -> str | None:
        """The message of a failed run."""

    @property
    def elapsed_s(self) -> float | None:
        """The seconds that a finished run took."""

    @property
    def digest(self) -> Digest | None:
        """The digest of a finished run."""


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed.

    Attributes:
        axes: the values of all axes but the seed.
        runs: the runs.
    """

    axes: Mapping[str, Scalar]
    runs: tuple[Entry, ...]

    @property
    def digests(self) -> list[Digest]:
        """The digests of the finished runs."""
        return [run.digest for run in self.runs if run.digest is not None]


@dataclass(frozen=True)
class Column:
    """A statistic of a group.

    Attributes:
        name: dotted name, as in JSON.
        heading: one or two lines.
        text: the cell of a group.
        rank: the value by which groups are sorted.
    """

    name: str
    heading: str
    text: Callable[[Group], str]
    rank: Callable[[Group], float | str]


def groups(entries: Iterable[Entry]) -> list[Group]:
    """The runs grouped by all axes but the seed, in order."""
    by_axes: dict[tuple[tuple[str, Scalar], ...], list[Entry]] = {}
    for entry in entries:
        by_axes.setdefault(tuple((k, v) for k, v in entry.axes.items() if k != SEED), []).append(entry)
    return [Group(dict(axes), tuple(runs)) for axes, runs in by_axes.items()]


def headline(entries: Sequence[Entry]) -> str:
    """`120 runs: 84 survive, 30 vanish, 6 explode`."""
    outcomes = Counter(_outcome(entry) for entry in entries)
    ordered = sorted(outcomes.items(), key=lambda outcome: (outcome[0] != "survive", -outcome[1]))
    runs = counted(len(entries), "run")
    return f"{runs}: {', '.join(f'{count:,} {_verb(word, count)}' for word, count in ordered)}"


def _outcome(entry: Entry) -> str:
    if entry.digest is None:
        return entry.state
    return "survive" if entry.digest.healthy else _NAMES.get(entry.digest.verdict, people_verdict(entry.digest.verdict))


def _verb(outcome: str, count: int) -> str:
    """The verb in the right number: one run survives, two survive."""
    if count != 1 or outcome in ("failed", "queued", "running") or outcome not in {*_NAMES.values(), "survive"}:
        return outcome
    first, *rest = outcome.split()
    return " ".join([f"{first}{'es' if first.endswith('sh') else 's'}", *rest])


def _verdict(group: Group) -> str:
    words = Counter(people_verdict(run.digest.verdict) if run.digest else run.state for run in group.runs)
    (word, count), *others = words.most_common()
    return f"{word} {count}/{len(group.runs)}" if others else word


def _logs(group: Group, of: Callable[[Digest], float | None]) -> list[float]:
    return [log for digest in group.digests if (log := of(digest)) is not None]


def _spread(logs: Sequence[float]) -> str:
    """` +-3%`: the standard deviation in percent of the mean; empty for fewer than two numbers."""
    if len(logs) < 2:
        return ""
    if (mean := arrays.log10_mean(logs)) == -math.inf:
        return ""
    return f" +-{fixed(100 * statistics.stdev(10 ** (log - mean) for log in logs), 0)}%"


def _variance_column(name: str, heading: str, of: Callable[[Digest], float | None], spread: bool) -> Column:
    def text(group: Group) -> str:
        logs = _logs(group, of)
        if not logs:
            return NOTHING
        mean = arrays.log10_mean(logs)
        return short_of(mean) + (_spread(logs) if spread else "")

    return Column(name, heading, text, lambda group: arrays.log10_mean(_logs(group, of)))


def _number_column(
    name: str, heading: str, of: Callable[[Digest], float | None], words: Callable[[float], str]
) -> Column:
    def mean(group: Group) -> float:
        numbers = _logs(group, of)
        return arrays.mean(numbers) if numbers else math.nan

    return Column(name, heading, lambda group: NOTHING if math.isnan(mean(group)) else words(mean(group)), mean)


def _seconds(group: Group) -> float:
    return math.fsum(run.elapsed_s or 0.0 for run in group.runs)


COLUMNS = {
    column.name: column
    for column in (
        Column("verdict", "verdict", _verdict, _verdict),
        _variance_column("output.variance", "var h\nlast", lambda d: d.last_output, True),
        _variance_column("theory.output_variance", "\ntheory", lambda d: d.output_theory[-1], False),
        _variance_column("output_gradient.variance", "dL/dh\nfirst", lambda d: d.first_gradient, True),
        _variance_column(
            "theory.output_gradient_variance", "\ntheory", lambda d: d.gradient_theory[d.start - 1], False
        ),
        _number_column("correlation", "cos\nlast", lambda d: d.correlation, cosine),
        _number_column("output.saturated_fraction", "\nsat%", lambda d: d.saturated, percent),
        _number_column("output.dead_fraction", "\ndead%", lambda d: d.dead, percent),
        _number_column("theory.z", "\nz", lambda d: d.z, lambda z: fixed(z, 1)),
        _number_column("loss.start", "loss\nstart", lambda d: d.loss, lambda loss: f"{loss:.4g}"),
        _number_column("training.final_loss", "\nend", lambda d: d.final_loss, lambda loss: f"{loss:.4g}"),
        _number_column("layer", "from\nlayer", lambda d: d.layer, lambda layer: f"{layer:.0f}"),
        Column("elapsed_s", "\nseconds", lambda group: fixed(_seconds(group), 2), _seconds),
    )
}
DEFAULT_COLUMNS = ("verdict", "output.variance", "theory.output_variance", "output_gradient.variance", "correlation")
_LOSS_COLUMNS = {"loss.start": "loss", "training.final_loss": "final_loss"}


@dataclass(frozen=True)
class Layout:
    """The content of a table.

    Attributes:
        axes: columns for the axes, without the seed.
        columns: statistics; empty for the default ones, and losses where there are any.
        sort: an axis or a statistic, with `-` in front for the largest first; None for the sweep's order.
        rows: the most rows shown; None for all.
    """

    axes: tuple[str, ...]
    columns: tuple[Column, ...]
    sort: str | None = None
    rows: int | None = MOST_ROWS


def layout(
    axes: Iterable[str], columns: Sequence[str] = (), sort: str | None = None, rows: int | None = MOST_ROWS
) -> Layout:
    """Check the names and make a layout.

    Args:
        axes: of the sweep.
        columns: dotted names of statistics.
        sort: see `Layout`.
        rows: see `Layout`.

    Raises:
        UnknownNameError: a name is neither an axis of this sweep nor a statistic.
    """
    shown = tuple(axis for axis in axes if axis != SEED)
    for name in columns:
        _check_name(name, [], "columns")
    if sort is not None:
        _check_name(sort.removeprefix("-"), shown, "sort")
    return Layout(shown, tuple(map(_column, columns)), sort, rows)


def _column(name: str) -> Column:
    """A statistic by name: from the digest, else from the `numbers` of each run."""
    if name in COLUMNS:
        return COLUMNS[name]

    def mean(group: Group) -> float | str:
        return seed_means.mean(getattr(run, "numbers", {}).get(name) for run in group.runs)

    return Column(name, seed_means.heading(name), lambda group: seed_means.text(mean(group)), mean)


def _check_name(name: str, axes: Sequence[str], field: str) -> None:
    shown = [*axes, *COLUMNS]
    if name not in shown and name not in NAMES:
        hint = suggestion(name, [*shown, *NAMES])
        hint = hint or f" It is one of {', '.join(shown)}, or any other number of the JSON, as in output.mean"
        raise UnknownNameError(f"unknown column {name!r}.{hint}", field=field)


def others(how: Layout) -> list[str]:
    """The names in a layout that the digest lacks, so that whole results must be read."""
    sort = [] if how.sort is None else [how.sort.removeprefix("-")]
    named = [*(column.name for column in how.columns), *sort]
    return [name for name in named if name not in COLUMNS and name not in how.axes]


def _sorted(unsorted: list[Group], how: Layout) -> list[Group]:
    if how.sort is None:
        return unsorted
    name = how.sort.removeprefix("-")
    column = None if name in how.axes else _column(name)

    def value_of(group: Group) -> Scalar:
        return column.rank(group) if column else group.axes.get(name, "")

    def rank(group: Group) -> tuple[bool, float, str]:
        value = value_of(group)
        if isinstance(value, str):
            return False, 0.0, value
        return math.isnan(value), (-value if how.sort != name else value), ""

    ordered = sorted(unsorted, key=rank)
    words = any(isinstance(value_of(group), str) for group in unsorted)
    return ordered[::-1] if words and how.sort != name else ordered


def _filled(how: Layout, rows: Sequence[Group]) -> Layout:
    """The layout with default columns, if it names none."""
    if how.columns:
        return how
    digests = [digest for group in rows for digest in group.digests]
    losses = [name for name, field in _LOSS_COLUMNS.items() if any(getattr(d, field) is not None for d in digests)]
    return replace(how, columns=tuple(COLUMNS[name] for name in (*DEFAULT_COLUMNS, *losses)))


def _cells(group: Group, how: Layout) -> Iterator[str]:
    for axis in how.axes:
        yield visible(trimmed(group.axes.get(axis, NOTHING)))
    for column in how.columns:
        yield column.text(group)


def print_sweep(entries: Sequence[Entry], how: Layout, to: Console) -> None:
    """Print the headline of the runs, a row per group as `how` says, and the failures.

    Args:
        entries: runs, done or failed.
        how: groups, columns and order.
        to: the console.
    """
    to.print(visible(headline(entries)), soft_wrap=True, markup=False, style="bold")
    rows = _sorted(groups(entries), how)
    how = _filled(how, rows)
    shown = rows[: how.rows]
    axes = {axis: f"\n{visible(axis)}" for axis in how.axes}
    numeric = [axis for axis in axes if all(isinstance(group.axes.get(axis, 0), int | float) for group in rows)]
    words = [heading for axis, heading in axes.items() if axis not in numeric]
    table = plain_table(*axes.values(), *(column.heading for column in how.columns), left=(*words, "verdict"))
    for group in shown:
        table.add_row(*_cells(group, how), style=_style(group))
    to.print()
    to.print(table)
    if len(shown) < len(rows):
        to.print(f"{len(shown)} of {len(rows):,} rows; --rows all shows every one", style="dim")
    failures = Counter(entry.error for entry in entries if entry.error and entry.state == "failed")
    for error, count in failures.most_common(5):
        times = f" ({count} runs)" if count > 1 else ""
        to.print(f"failed{times}: {visible(str(error))}", soft_wrap=True, markup=False, style="red")


def _style(group: Group) -> str:
    severities = {d.severity for d in group.digests if not d.healthy}
    return "red" if "error" in severities else "yellow" if severities else ""


def markdown(entries: Sequence[Entry], how: Layout) -> str:
    """The same in GitHub's Markdown; arguments as in `print_sweep`."""
    rows = _sorted(groups(entries), how)
    how = _filled(how, rows)
    headings = [*how.axes, *(column.name for column in how.columns)]
    title = f"**{markdown_text(headline(entries))}**"
    lines = [title, "", markdown_row(headings), markdown_row(["---"] * len(headings))]
    lines += [markdown_row(list(_cells(group, how))) for group in rows[: how.rows]]
    if how.rows is not None and len(rows) > how.rows:
        lines += ["", f"{how.rows} of {len(rows):,} rows"]
    return "\n".join(lines) + "\n"
