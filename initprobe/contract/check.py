"""A model compared with a file: a written contract, or a lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initprobe.arrays import finite
from initprobe.contract.document import read_contract
from initprobe.contract.faults import FaultGroup, fault_groups
from initprobe.contract.judge import Judged, Report, judge
from initprobe.contract.lock import changed_ties, settled
from initprobe.contract.parameter import Parameter
from initprobe.contract.words import fault_line
from initprobe.errors import ConfigError


@dataclass(frozen=True)
class Checked:
    """The outcome of a comparison with a file.

    Attributes:
        file: its name, as shown.
        report: every parameter compared with its rule.
        changes: one line for each tie that was added or removed; for a lock, also the changes of names.
        faults: the faults of the report, similar ones in one group.
    """

    file: str
    report: Report
    changes: tuple[str, ...]
    faults: tuple[FaultGroup, ...]

    @property
    def holds(self) -> bool:
        """Whether the model agrees with the file."""
        return not self.report.faults and not self.changes


def check_contract(parameters: Sequence[Parameter], path: Path) -> Checked:
    """Compare a model with a contract.

    Args:
        parameters: of the model.
        path: of the contract, YAML.

    Raises:
        InputError: the file cannot be read.
        ConfigError: the file is wrong, or does not fit the model; names file and, where known, line.
    """
    contract = read_contract(path)
    try:
        report = judge(parameters, contract.clauses, contract.default)
    except ConfigError as error:
        raise error if error.file else error.at(file=path) from None
    faults = fault_groups(report, parameters)
    return Checked(contract.file, report, changed_ties(parameters, contract), tuple(faults))


def check_lock(parameters: Sequence[Parameter], path: Path) -> Checked:
    """Compare a model with its lock.

    Args:
        parameters: of the model.
        path: of the lock, YAML.

    Raises:
        InputError: the lock cannot be read.
        ConfigError: the lock is wrong; names file and line.
    """
    lock = read_contract(path)
    kept, clauses, names = settled(parameters, lock)
    report = judge(kept, clauses, lock.default)
    changes = (*names, *changed_ties(parameters, lock))
    return Checked(lock.file, report, changes, tuple(fault_groups(report, kept)))


def as_json(checked: Checked) -> dict[str, Any]:
    """Names and numbers of a check, for JSON."""
    copies = checked.report.copies
    return {
        "file": checked.file,
        "holds": checked.holds,
        "changes": list(checked.changes),
        "parameters": [_entry(entry) for entry in checked.report.judged],
        "not_judged": list(checked.report.unjudged),
        "ties": [list(names) for names in copies.ties],
        "clones": [list(names) for names in copies.clones],
        "equal_seeds": [list(names) for names in copies.equal_seeds],
    }


def _entry(entry: Judged) -> dict[str, Any]:
    """One parameter; `smallest_error` is the relative error of the std that is found in 99 of 100 cases."""
    mean, std = entry.meant
    own, failed = entry.measured, entry.failed
    return {
        "name": entry.parameter,
        "entries": entry.count,
        "rule": entry.rule,
        "pattern": entry.pattern,
        "line": entry.place.line,
        "holds": entry.holds,
        "meant": {"mean": mean, "std": std},
        "measured": {
            name: finite(value)
            for name, value in (("mean", own.mean), ("std", own.std), ("min", own.low), ("max", own.high))
        },
        "failed": failed.kind if failed else None,
        "standard_errors": finite(failed.errors) if failed else None,
        "smallest_error": entry.smallest_error,
        "fault": fault_line(entry) if failed else None,
    }
