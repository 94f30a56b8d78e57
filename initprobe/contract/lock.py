"""Locks: the initialization that a model has today, kept as a contract, and how a later one differs from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from initprobe.contract.document import Contract, contract_text
from initprobe.contract.parameter import Parameter
from initprobe.contract.patterns import Clause, assign, miscounted, most_specific
from initprobe.contract.recognise import Group, recognise
from initprobe.contract.rules import MEASURED, read_rule
from initprobe.errors import ConfigError
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
    """The part of a model that can be compared with its lock, and how the rest has changed.

    Args:
        parameters: of the model as it is now.
        lock: written from the model as it was.

    Returns:
        The parameters to which a rule of the lock can be applied. The clauses that cover one, without their numbers.
        One line for each kind of change.
    """
    matching = {each.name: [clause for clause in lock.clauses if clause.matches(each.names)] for each in parameters}
    new = [name for name, clauses in matching.items() if not clauses and lock.default is None]
    known = [parameter for parameter in parameters if parameter.name not in new]
    misfits = [each.name for each in known if not _fits(each, matching[each.name], lock.default)]
    kept = [parameter for parameter in known if parameter.name not in misfits]
    used = _used(lock, [matching[parameter.name] for parameter in kept])
    clauses = [replace(clause, count=None) for clause in used]
    covered = assign({parameter.name: parameter.names for parameter in kept}, clauses, lock.default)
    partly_used = _used(lock, [matching[name] for name in misfits])
    counts = _changed_counts(covered, [clause for clause in used if clause not in partly_used])
    return kept, clauses, (*_changed_names(_gone(lock, matching), new, misfits), *counts)


def _used(lock: Contract, matching: Iterable[Sequence[Clause]]) -> list[Clause]:
    """The clauses of the lock that match a parameter, in the order of the lock."""
    patterns = {clause.pattern for clauses in matching for clause in clauses}
    return [clause for clause in lock.clauses if clause.pattern in patterns]


def _gone(lock: Contract, matching: Mapping[str, Sequence[Clause]]) -> list[str]:
    used = {clause.pattern for clause in _used(lock, matching.values())}
    return [clause.pattern for clause in lock.clauses if clause.pattern not in used and not clause.optional]


def _fits(parameter: Parameter, matching: Sequence[Clause], default: Clause | None) -> bool:
    """Whether the lock has one rule for the parameter, which can be applied to its shape."""
    try:
        clause = most_specific(parameter.name, matching, default)
        return clause is not None and bool(clause.rule.scale(parameter))
    except ConfigError:
        return False


def _changed_names(gone: Sequence[str], new: Sequence[str], misfits: Sequence[str]) -> Iterator[str]:
    for start, names in (("gone since", gone), ("new since", new), ("another kind of tensor than in", misfits)):
        if names:
            yield f"{start} the lock: {listed(names)}; {RENEW}"


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
