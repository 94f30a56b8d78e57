"""Every rule, by the name of the function it is for. A rule stands in the file of its family."""

from __future__ import annotations

from collections.abc import Mapping

from initprobe.torch.theory import (
    arrange,
    attention,
    bags,
    cells,
    concatenation,
    contractions,
    gates,
    joins,
    mapped,
    maxima,
    norms,
    parts,
    pointwise,
    pooling,
    recurrences,
    weights,
)
from initprobe.torch.theory.moments import NoRule
from initprobe.torch.theory.rule import Rule

_FAMILIES = (
    pointwise,
    weights,
    arrange,
    parts,
    joins,
    mapped,
    maxima,
    concatenation,
    norms,
    pooling,
    attention,
    bags,
    cells,
    gates,
    contractions,
    recurrences,
)
RULES: Mapping[str, Rule] = {name: rule for family in _FAMILIES for rule in family.RULES for name in rule.names}


def rule_of(name: str) -> Rule:
    """The rule for a function.

    Raises:
        NoRule: there is none.
    """
    rule = RULES.get(name)
    if rule is None:
        raise NoRule(f"{name} has no rule")
    return rule
