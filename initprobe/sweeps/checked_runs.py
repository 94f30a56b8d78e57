"""The runs of a sweep with the answers of its checks: what is broken, and what of that is ignored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from initprobe.errors import DamagedRun
from initprobe.formatting import visible
from initprobe.reports.seed_means import layer_of
from initprobe.results.named_numbers import FROM_LAYER, HEALTHY, VERDICT, WHOLE, value_of, whole_of
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding
from initprobe.sweeps.breaches import Breach, verdicts
from initprobe.sweeps.checks import Check
from initprobe.sweeps.ignores import Ignore, apply, living
from initprobe.sweeps.known_findings import KnownFinding, known_findings_of
from initprobe.sweeps.store import Store
from initprobe.sweeps.store_rows import Row


@dataclass(frozen=True)
class Judged:
    """One check, for one run that it applies to.

    Attributes:
        run: the run, in words.
        check: the check.
        breaches: what breaks the check and counts.
        ignored: what breaks the check and is ignored, with the ignore that says why.
    """

    run: str
    check: Check
    breaches: tuple[Breach, ...]
    ignored: tuple[tuple[Breach, Ignore], ...]


@dataclass(frozen=True)
class JudgedRun:
    """A run with all of its checks.

    Attributes:
        row: of the store.
        result: with its ignored findings marked.
        checks: the checks that apply to it.
        used: the ignores that ignored something in it.
    """

    row: Row
    result: ProbeResult
    checks: tuple[Judged, ...]
    used: frozenset[Ignore]


@dataclass(frozen=True)
class NumberedRow(Row):
    """A row of a store with numbers of its full result, by name."""

    numbers: Mapping[str, str | bool | float | None]


def with_numbers(row: Row, names: Sequence[str], store: Store) -> NumberedRow:
    """A row with some numbers of its full result; without numbers where there is no result.

    Args:
        row: of the store.
        names: of the numbers. A number per layer is taken at the layer that tables show.
        store: that holds the result.
    """
    numbers: dict[str, str | bool | float | None] = {}
    if row.state == "done":
        with suppress(DamagedRun):  # reported at the end, from `store.damage`
            result = store.result(row.key)
            numbers = {name: _shown(result, name) for name in names}
    return NumberedRow(**vars(row), numbers=numbers)


def _shown(result: ProbeResult, name: str) -> str | bool | float | None:
    return whole_of(result, name) if name in WHOLE else value_of(result.stream[layer_of(name)], name)


def run_name(row: Row) -> str:
    """The values that distinguish a run within its sweep, as text."""
    return visible(" ".join(f"{name}={value}" for name, value in row.axes.items())) or row.key[:8]


def judge_run(checks: Iterable[Check], row: Row, result: ProbeResult, ignores: Sequence[Ignore]) -> JudgedRun:
    """A run with the answers of the checks; what is ignored does not count.

    Args:
        checks: of the sweep.
        row: of the store.
        result: of the same run.
        ignores: of the command line and of the file of known findings; expired ones have no effect.
    """
    applicable = [ignore for ignore in living(ignores) if ignore.run(result)]
    marked, used = apply(result, applicable)
    answers = tuple(_judged(check, run_name(row), marked, applicable) for check in checks)
    judged = tuple(answer for answer in answers if answer is not None)
    used |= {ignore for answer in judged for _, ignore in answer.ignored}
    return JudgedRun(row, marked, judged, frozenset(used))


def _judged(check: Check, run: str, result: ProbeResult, ignores: Sequence[Ignore]) -> Judged | None:
    """None where the check does not apply."""
    answers = list(verdicts(check, result))
    counted: list[Breach] = []
    ignored: list[tuple[Breach, Ignore]] = []
    for breach in answers:
        if breach is None:
            continue
        ignore = next((ignore for ignore in ignores if ignore.covers(breach.name, breach.layer)), None)
        if ignore is None:
            counted.append(breach)
        else:
            ignored.append((breach, ignore))
    return Judged(run, check, tuple(counted), tuple(ignored)) if answers else None


def known_findings(run: JudgedRun, reason: str, until: str | None) -> Iterator[KnownFinding]:
    """Entries for the findings that break the run's checks, and for the findings that are ignored already.

    Args:
        run: with its checks.
        reason: of the new entries.
        until: the last day of the new entries; None for no end.
    """
    broken = [judged.check for judged in run.checks if judged.breaches]
    every = any(check.name in (HEALTHY, FROM_LAYER) for check in broken)
    every = every or any(check.name == VERDICT and not check.bound.not_ for check in broken)
    rules = {rule for check in broken for rule in check.bound.not_ or ()}

    def is_wanted(finding: Finding) -> bool:
        return bool(finding.ignored) or finding.rule in rules or (every and finding.severity != "info")

    yield from known_findings_of(run.result, _where(run.row), reason, until, is_wanted)


def known_breaches(run: JudgedRun, reason: str, until: str | None) -> Iterator[KnownFinding]:
    """Entries for what breaks the run's checks once its findings are ignored, and for what is ignored already.

    Args:
        run: with its checks.
        reason: of the new entries.
        until: the last day of the new entries; None for no end.
    """
    layers: dict[tuple[str, str, str | None], dict[int, None]] = {}
    for judged in run.checks:
        for breach in judged.breaches:
            layers.setdefault((breach.name, reason, until), {}).update(_layer(breach))
        for breach, ignore in judged.ignored:
            layers.setdefault((breach.name, ignore.reason, ignore.mark.until), {}).update(_layer(breach))
    for (name, why, end), places in layers.items():
        yield KnownFinding(name, tuple(places), _where(run.row), why, end)


def _layer(breach: Breach) -> dict[int, None]:
    return {} if breach.layer is None else {breach.layer: None}


def _where(row: Row) -> dict[str, Any]:
    """The axes of a run as `where` takes them: lists and null as such, which a table shows as text."""
    config = json.loads(row.config)
    structured = {name: config[name] for name in row.axes if isinstance(config.get(name, ""), list | None)}
    return dict(row.axes) | structured
