"""The runs of a sweep before its checks: what does not hold, what of that is ignored, and what was not judged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from initprobe.errors import DamagedRun
from initprobe.formatting import visible
from initprobe.reports.seedwise import layer_of
from initprobe.results.named_numbers import FROM_LAYER, HEALTHY, VERDICT, WHOLE, value_of, whole_of
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding
from initprobe.sweeps.checks import Breach, Check, verdicts
from initprobe.sweeps.ignores import Ignore, apply, living
from initprobe.sweeps.known_findings import Known, known_of
from initprobe.sweeps.store.rows import Row
from initprobe.sweeps.store.store import Store


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
    found: dict[str, str | bool | float | None] = {}
    if row.state == "done":
        with suppress(DamagedRun):  # which is said at the end
            result = store.result(row.key)
            found = {name: _shown(result, name) for name in names}
    return NumberedRow(**vars(row), numbers=found)


def _shown(result: ProbeResult, name: str) -> str | bool | float | None:
    return whole_of(result, name) if name in WHOLE else value_of(result.stream[layer_of(name)], name)


def run_name(row: Row) -> str:
    """What sets a run apart, in words."""
    return visible(" ".join(f"{name}={value}" for name, value in row.axes.items())) or row.key[:8]


def judge_run(checks: Iterable[Check], row: Row, result: ProbeResult, ignores: Sequence[Ignore]) -> JudgedRun:
    """A run before the checks; what is ignored does not count."""
    mine = [one for one in living(ignores) if one.run(result)]
    marked, used = apply(result, mine)
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


def known_findings(run: JudgedRun, reason: str, until: str | None) -> Iterator[Known]:
    """Entries for the findings that break its checks, and for those that are ignored already."""
    broken = [one.check for one in run.checks if one.breaches]
    every = any(check.name in (HEALTHY, FROM_LAYER) for check in broken)
    every = every or any(check.name == VERDICT and not check.bound.not_ for check in broken)
    rules = {rule for check in broken for rule in check.bound.not_ or ()}

    def is_asked(finding: Finding) -> bool:
        return bool(finding.ignored) or finding.rule in rules or (every and finding.severity != "info")

    yield from known_of(run.result, _where(run.row), reason, until, is_asked)


def known_breaches(run: JudgedRun, reason: str, until: str | None) -> Iterator[Known]:
    """Entries for what does not hold in a run once its findings are ignored, and for what is ignored already."""
    found: dict[tuple[str, str, str | None], dict[int, None]] = {}
    for one in run.checks:
        for breach in one.breaches:
            found.setdefault((breach.name, reason, until), {}).update(_place(breach))
        for breach, ignore in one.excused:
            found.setdefault((breach.name, ignore.reason, ignore.mark.until), {}).update(_place(breach))
    for (name, why, end), places in found.items():
        yield Known(name, tuple(places), _where(run.row), why, end)


def _place(breach: Breach) -> dict[int, None]:
    return {} if breach.layer is None else {breach.layer: None}


def _where(row: Row) -> dict[str, Any]:
    """What sets a run apart, as `where` has it: a list or null as such, which a table shows as text."""
    config = json.loads(row.config)
    plain = {name: config[name] for name in row.axes if isinstance(config.get(name, ""), list | None)}
    return dict(row.axes) | plain
