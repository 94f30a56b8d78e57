"""Locks: the initialization that a model has today, kept as a contract, and how a later one differs from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from initprobe.contract.document import Contract, contract_text
from initprobe.contract.parameter import Parameter
from initprobe.contract.patterns import Clause, assign, miscounted
from initprobe.contract.recognise import Group, recognise
from initprobe.contract.rules import MEASURED, read_rule
from initprobe.formatting import counted, listed

HEAD = """Written by `initprobe torch --lock`. One line per group of parameters that are initialized alike.
~ says that the numbers were measured or recognised. A later draw is compared by its distribution, and the comparison
allows for the errors of both."""
RENEW = "--update-lock writes the lock anew"


def lock_text(parameters: Sequence[Parameter]) -> str:
    """The lock of a model, as text."""
    ties = [(parameter.name, *parameter.ties) for parameter in parameters if parameter.ties]
    return contract_text([_counted(_measured(group)) for group in recognise(parameters)], ties, HEAD)


def _measured(group: Group) -> Group:
    """A number that was recognised may stand for another one near it. So it is as uncertain as a measured one."""
    is_random = read_rule(group.rule).kind == "random"
    return replace(group, rule=MEASURED + group.rule.removeprefix(MEASURED)) if is_random else group


def _counted(group: Group) -> Group:
    """A pattern also covers the names of layers that are added later; its number of names shows them."""
    return replace(group, rule=f"{len(group.names)} x {group.rule}") if "*" in group.pattern else group


def settled(parameters: Sequence[Parameter], lock: Contract) -> tuple[list[Parameter], list[Clause], tuple[str, ...]]:
    """The part of a model that its lock knows, and the changes of names.

    Args:
        parameters: of the model as it is now.
        lock: written from the model as it was.

    Returns:
        The parameters that a clause covers, and the clauses that cover one, without their numbers. The last part has
        one line for each kind of change of the names.

    Raises:
        ConfigError: two clauses cover one parameter.
    """
    matched = [clause for clause in lock.clauses if any(clause.matches(parameter.names) for parameter in parameters)]
    uncounted = [replace(clause, count=None) for clause in matched]
    kept = [
        parameter
        for parameter in parameters
        if lock.default is not None or any(clause.matches(parameter.names) for clause in uncounted)
    ]
    covered = assign({parameter.name: parameter.names for parameter in kept}, uncounted, lock.default)
    changes = (*_changed_names(parameters, covered, matched, lock), *_changed_counts(covered, matched))
    return kept, uncounted, changes


def _changed_names(
    parameters: Sequence[Parameter], covered: Mapping[str, Clause], matched: Sequence[Clause], lock: Contract
) -> Iterator[str]:
    gone = [clause.pattern for clause in lock.clauses if clause not in matched and not clause.optional]
    new = [parameter.name for parameter in parameters if parameter.name not in covered]
    if gone:
        yield f"gone since the lock: {listed(gone)}; {RENEW}"
    if new:
        yield f"new since the lock: {listed(new)}; {RENEW}"


def _changed_counts(covered: Mapping[str, Clause], matched: Sequence[Clause]) -> Iterator[str]:
    for clause, count in miscounted(covered, matched):
        yield f"{clause.pattern} covers {counted(count, 'parameter')}, {clause.count} in the lock; {RENEW}"


def changed_ties(parameters: Sequence[Parameter], contract: Contract) -> tuple[str, ...]:
    """Ties of the contract that the model lacks, and those that the contract does not name.

    Args:
        parameters: of the model.
        contract: without `ties`, nothing counts as changed.

    Returns:
        A line for each group of tied names.
    """
    if contract.ties is None:
        return ()
    meant = {frozenset(group) for group in contract.ties}
    present = {frozenset((parameter.name, *parameter.ties)) for parameter in parameters if parameter.ties}
    gone = [f"no longer one tensor: {', '.join(sorted(group))}" for group in sorted(meant - present, key=sorted)]
    new = [f"one tensor now: {', '.join(sorted(group))}" for group in sorted(present - meant, key=sorted)]
    return (*gone, *new)
