"""Faults of alike parameters as one group, with the rule that their entries look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from initprobe.contract.judge import Judged, Report
from initprobe.contract.parameter import Parameter
from initprobe.contract.recognise import recognise
from initprobe.contract.rules import ANY, MEASURED
from initprobe.formatting import without_numbers


@dataclass(frozen=True)
class FaultGroup:
    """Parameters that differ from one rule in the same way, and whose names differ by numbers only.

    Attributes:
        pattern: their name, with `*` for the numbers.
        faults: in the order of the model.
        resembles: the rule that all of them agree with. Empty where there is none, or where the message has it already.
    """

    pattern: str
    faults: tuple[Judged, ...]
    resembles: str

    @property
    def worst(self) -> Judged:
        """The one that is furthest off."""
        return max(self.faults, key=lambda fault: fault.failed.errors if fault.failed else 0.0)


def fault_groups(report: Report, parameters: Sequence[Parameter]) -> list[FaultGroup]:
    """The faults of a report, grouped.

    Args:
        report: of these parameters.
        parameters: all of the model.
    """
    groups: dict[tuple[str, str, str], list[Judged]] = {}
    for fault in report.faults:
        kind = fault.failed.kind if fault.failed else ""
        groups.setdefault((without_numbers(fault.parameter), fault.rule, kind), []).append(fault)
    by_name = {parameter.name: parameter for parameter in parameters}
    return [
        FaultGroup(pattern, tuple(faults), _resembled([by_name[fault.parameter] for fault in faults]))
        for (pattern, _, _), faults in groups.items()
    ]


def _resembled(parameters: Sequence[Parameter]) -> str:
    """A known rule of all of them. That of a constant is not named, since the message shows its value."""
    rules = {group.rule for group in recognise(parameters)}
    rule = rules.pop() if len(rules) == 1 else ANY
    is_constant = any(parameter.values.min() == parameter.values.max() for parameter in parameters)
    return "" if rule == ANY or rule.startswith(MEASURED) or is_constant else rule
