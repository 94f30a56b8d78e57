"""A report of a contract in words: the faults first, one line each."""

from __future__ import annotations

from collections.abc import Iterator

from initprobe.contract.copies import Copies
from initprobe.contract.faults import FaultGroup
from initprobe.contract.judge import Judged, Report
from initprobe.formatting import counted, listed, percent, short


def fault_line(entry: Judged) -> str:
    """Name, what was meant, what was measured, and how far that is."""
    return f"{entry.parameter}: meant {entry.rule} ({_meant(entry)}), has {_measured(entry)}: {_distance(entry)}"


def group_line(group: FaultGroup) -> str:
    """One line for alike parameters: `h.*.fc.weight (12 parameters, first h.0.fc.weight): meant ...`."""
    worst = group.worst
    line = fault_line(worst)
    if len(group.faults) > 1:
        names = f"{group.pattern} ({len(group.faults)} parameters, first {group.faults[0].parameter})"
        line = f"{names}: meant {worst.rule} ({_meant(worst)}), at worst has {_measured(worst)}: {_distance(worst)}"
    return f"{line}; it looks like {group.resembles}" if group.resembles else line


def _meant(entry: Judged) -> str:
    mean, std = entry.meant
    centre = f"mean {short(mean)}, " if mean and std else ""
    return f"{centre}std {short(std)}" if std else f"all {mean:.6g}"


def _measured(entry: Judged) -> str:
    own = entry.measured
    if own.low == own.high:
        return f"{entry.count:,} x {own.mean:.6g}"
    return f"mean {short(own.mean)}, std {short(own.std)}"


def _distance(entry: Judged) -> str:
    """The difference in the unit of the test that failed."""
    failed, own = entry.failed, entry.measured
    assert failed is not None
    if failed.kind == "mean":
        return f"the mean is {short(failed.errors)} standard errors off"
    if failed.kind == "std":
        return f"the std is {_too_much(own.std, entry.meant[1])}, {short(failed.errors)} standard errors"
    if failed.kind == "bounds":
        return f"entries from {short(own.low)} to {short(own.high)} lie outside of the rule's bounds"
    return _OTHER_FAULTS[failed.kind]


def _too_much(std: float, meant: float) -> str:
    if meant == 0 or std / meant >= 2:
        return f"{short(std / meant)} times what was meant" if meant else "not 0"
    return f"{percent(abs(std / meant - 1))}% too {'large' if std > meant else 'small'}"


_OTHER_FAULTS = {
    "finite": "not all entries are finite",
    "values": "its entries are not those of the rule",
    "shape": "mean and std agree, but the distribution has another shape",
    "tails": "mean and std agree, but the tails are those of another distribution",
}


def copies_lines(copies: Copies) -> Iterator[str]:
    """One line per group of tensors that are not drawn on their own."""
    for names in copies.ties:
        yield f"one tensor under {counted(len(names), 'name')}: {listed(names)}"
    for names in copies.clones:
        yield f"equal entries in {counted(len(names), 'parameter')}: {listed(names)}"
    for names in copies.equal_seeds:
        yield f"drawn from equal random numbers: {listed(names)}"


def weakest_line(report: Report) -> str | None:
    """The parameter in which the largest error could hide: `norm.bias (64 entries): a std 61% off would be found`."""
    rated = [entry for entry in report.judged if entry.smallest_error is not None and entry.meant[1]]
    if not rated:
        return None
    entry = max(rated, key=lambda entry: entry.smallest_error or 0.0)
    error = entry.smallest_error or 0.0
    wrong = f"{percent(error)}% off" if error < 1 else f"{short(1 + error)} times as large"
    return (
        f"least certain: {entry.parameter} ({counted(entry.count, 'entry', 'entries')}), where a std {wrong} is found "
        "in 99 of 100 cases"
    )
