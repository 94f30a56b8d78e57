"""Locks: the initialization that a model has today, kept as a contract, and how a later one differs from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from initprobe.contract.document import Contract, contract_text, read_contract
from initprobe.contract.judge import Report, judge
from initprobe.contract.parameter import Parameter
from initprobe.contract.recognise import Group, recognise
from initprobe.contract.rules import MEASURED, read_rule

HEAD = """Written by `initprobe torch --lock`. One line per group of parameters that are initialized alike.
~ says that the numbers were measured or recognised: a later draw is compared by its distribution, and the comparison
allows for the errors of both."""


def lock_text(parameters: Sequence[Parameter]) -> str:
    """The lock of a model, as text."""
    ties = [(parameter.name, *parameter.ties) for parameter in parameters if parameter.ties]
    return contract_text([_measured(group) for group in recognise(parameters)], ties, HEAD)


def _measured(group: Group) -> Group:
    """A number that was recognised may be another one that is near, so it is as uncertain as a measured one."""
    is_random = read_rule(group.rule).kind == "random"
    return replace(group, rule=MEASURED + group.rule.removeprefix(MEASURED)) if is_random else group


def compare(parameters: Sequence[Parameter], path: Path) -> tuple[Report, tuple[str, ...]]:
    """A model beside its lock.

    Returns:
        The report of all parameters, and a line for each tie that came or went.

    Raises:
        InputError: the lock cannot be read.
        ConfigError: the lock is wrong, or names of parameters came or went; names one and says what to do.
    """
    contract = read_contract(path)
    return judge(parameters, contract.clauses, contract.default), changed_ties(parameters, contract)


def changed_ties(parameters: Sequence[Parameter], contract: Contract) -> tuple[str, ...]:
    """Ties of the contract that the model lacks, and those that the contract does not name."""
    if contract.ties is None:
        return ()
    meant = {frozenset(group) for group in contract.ties}
    found = {frozenset((parameter.name, *parameter.ties)) for parameter in parameters if parameter.ties}
    gone = [f"no longer one tensor: {', '.join(sorted(group))}" for group in sorted(meant - found, key=sorted)]
    new = [f"one tensor now: {', '.join(sorted(group))}" for group in sorted(found - meant, key=sorted)]
    return (*gone, *new)
