"""The runs of a sweep before its checks: what does not hold, what of that is ignored, and what was not judged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from initprobe.ignores import Ignore, apply, living
from initprobe.reports.sweep_table import layer_of
from initprobe.results import ProbeResult
from initprobe.sweep.checks import Breach, Check, verdicts
from initprobe.sweep.known import Known, known_of
from initprobe.sweep.store import Row, Store
from initprobe.vocabulary import HEALTHY, SURVIVES, VERDICT, WHOLE, value_of, whole_of


@dataclass(frozen=True)
class Judged:
    """One check of one run that it applies to.

    Attributes:
        run: the run, in words.
        check: the check.
        breaches: what does not hold, and counts.
        excused: what does not hold and is ignored, and why.
    """

    run: str
    check: Check
    breaches: tuple[Breach, ...]
    excused: tuple[tuple[Breach, Ignore], ...]


@dataclass(frozen=True)
class JudgedRun:
    """A run with all of its checks.

    Attributes:
        row: as the store has it.
        result: with its findings marked that are ignored.
        checks: those that apply to it.
        used: the ignores that ignored something in it.
    """

    row: Row
    result: ProbeResult
    checks: tuple[Judged, ...]
    used: frozenset[Ignore]


@dataclass(frozen=True)
class NumberedRow(Row):
    """A run with numbers that its digest does not have, by name."""

    numbers: Mapping[str, str | bool | float | None]


def with_numbers(row: Row, names: Sequence[str], store: Store) -> NumberedRow:
    """A row with these numbers, of a layer where a table shows them; none for a run without a result."""
    result = store.result(row.key) if row.state == "done" and row.digest else None
    found = {} if result is None else {name: _shown(result, name) for name in names}
    return NumberedRow(**vars(row), numbers=found)


def _shown(result: ProbeResult, name: str) -> str | bool | float | None:
    return whole_of(result, name) if name in WHOLE else value_of(result.layers[layer_of(name)], name)


def run_name(row: Row) -> str:
    """What sets a run apart, in words."""
    return " ".join(f"{name}={value}" for name, value in row.axes.items()) or row.key[:8]


def judge_run(checks: Iterable[Check], row: Row, result: ProbeResult, ignores: Sequence[Ignore]) -> JudgedRun:
    """A run before the checks; what is ignored does not count."""
    marked, used = apply(result, ignores)
    mine = [one for one in living(ignores) if one.run(result)]
    found = tuple(_judged(check, run_name(row), marked, mine) for check in checks)
    applying = tuple(one for one in found if one is not None)
    used |= {ignore for one in applying for _, ignore in one.excused}
    return JudgedRun(row, marked, applying, frozenset(used))


def _judged(check: Check, run: str, result: ProbeResult, ignores: Sequence[Ignore]) -> Judged | None:
    """None where the check does not apply."""
    seen = list(verdicts(check, result))
    broken = [breach for breach in seen if breach is not None]
    excuses = [
        next((one for one in ignores if one.covers(breach.name, breach.layer)), None) for breach in broken
    ]  # fmt: skip
    pairs = list(zip(broken, excuses, strict=True))
    counting = tuple(breach for breach, excuse in pairs if excuse is None)
    excused = tuple((breach, excuse) for breach, excuse in pairs if excuse is not None)
    return Judged(run, check, counting, excused) if seen else None


def known_in(run: JudgedRun, reason: str, until: str | None) -> Iterator[Known]:
    """Entries by which all that does not hold in a run would be ignored."""
    where = _where(run.row)
    broken = [one for one in run.checks if one.breaches]
    if any(one.check.name in (HEALTHY, VERDICT) for one in broken) or any(one.ignored for one in run.result.diagnosis):
        rules = {rule for one in broken for rule in one.check.bound.not_ or ()}
        yield from known_of(run.result, where, reason, until, rules)
    for one in run.checks:
        for (why, end), breaches in _by_words(one, reason, until).items():
            if one.check.name not in (HEALTHY, VERDICT) or one.check.bound.is_ not in (True, SURVIVES, None):
                places = tuple(breach.layer for breach in breaches if breach.layer and one.check.name != VERDICT)
                yield Known(one.check.name, places, where, why, end)


def _by_words(one: Judged, reason: str, until: str | None) -> Mapping[tuple[str, str | None], list[Breach]]:
    """What does not hold, by why and until when it is ignored."""
    found: dict[tuple[str, str | None], list[Breach]] = {}
    for breach in one.breaches:
        found.setdefault((reason, until), []).append(breach)
    for breach, ignore in one.excused:
        found.setdefault((ignore.reason, ignore.mark.until), []).append(breach)
    return found


def _where(row: Row) -> dict[str, Any]:
    """What sets a run apart, as `where` has it: lists as lists."""
    config = json.loads(row.config)
    return {name: config[name] if isinstance(config.get(name), list) else value for name, value in row.axes.items()}
