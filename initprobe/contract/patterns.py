"""Patterns of parameter names: the most specific pattern wins, and no pattern and no parameter is left over."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property

from initprobe.contract.rules import Rule, read_rule
from initprobe.data.documents import Place
from initprobe.errors import ConfigError
from initprobe.formatting import counted, listed
from initprobe.registry import suggestion

_NOWHERE = Place()
_WILD = re.compile(r"[*?]|\[[^]]*\]")


@dataclass(frozen=True)
class Clause:
    """One line of a contract.

    Attributes:
        pattern: a name, in which `*` stands for any text, dots included.
        rule: what the parameters with such names are meant to hold.
        place: where the line stands; unknown for a contract in Python.
        count: the number of parameters that it covers; None for any number.
        optional: it may cover none.
    """

    pattern: str
    rule: Rule
    place: Place = _NOWHERE
    count: int | None = None
    optional: bool = False

    @property
    def rank(self) -> tuple[int, int]:
        """More letters that stand for themselves are more specific; then fewer wildcards."""
        return len(_WILD.sub("", self.pattern)), -len(_WILD.findall(self.pattern))

    @cached_property
    def _is_matched(self) -> Callable[[str], object]:
        """Compiled here: the cache of `fnmatch` holds fewer patterns than a lock has lines."""
        return re.compile(translate(self.pattern)).match if _WILD.search(self.pattern) else self.pattern.__eq__

    def matches(self, names: Sequence[str]) -> bool:
        """Whether the pattern covers a parameter, by one of the names that it has."""
        return any(self._is_matched(name) for name in names)


def read_clauses(rules: Mapping[str, str], optional: Mapping[str, str] | None = None) -> tuple[Clause, ...]:
    """The clauses of a contract that is written in Python.

    Args:
        rules: patterns and their rules.
        optional: those that may cover no parameter.

    Raises:
        ConfigError: a rule that does not exist; names the pattern. A pattern stands in both.
    """
    optional = optional or {}
    refuse_twice(rules, optional)
    required = (Clause(pattern, _rule(pattern, text)) for pattern, text in rules.items())
    return (*required, *(Clause(pattern, _rule(pattern, text), optional=True) for pattern, text in optional.items()))


def refuse_twice(rules: Iterable[str], optional: Iterable[str]) -> None:
    """Refuse a pattern that stands under both.

    Args:
        rules, optional: patterns of names.

    Raises:
        ConfigError: there is one.
    """
    if twice := set(rules) & set(optional):
        raise ConfigError(f"{min(twice)!r} is under parameters and under optional; keep one of them")


def _rule(pattern: str, text: object) -> Rule:
    if not isinstance(text, str):
        raise ConfigError("a rule is text, as in 'zeros' or 'normal:std=0.02'", field=pattern)
    try:
        return read_rule(text)
    except ConfigError as error:
        raise error.at(field=pattern) from None


def assign(
    names: Mapping[str, Sequence[str]], clauses: Sequence[Clause], default: Rule | Clause | None
) -> dict[str, Clause]:
    """The clause of each parameter.

    Args:
        names: by the first name of each parameter, all names of it: a tied one has several.
        clauses: the contract.
        default: of parameters that no clause covers.

    Raises:
        ConfigError: a pattern matches no name, or another number than its count. Or two equally specific patterns name
            different rules for one parameter. Or a parameter has no clause and there is no default.
    """
    _refuse_idle([name for group in names.values() for name in group], clauses)
    fallback = Clause("default", default) if isinstance(default, Rule) else default
    assigned = {
        name: most_specific(name, [clause for clause in clauses if clause.matches(group)], fallback)
        for name, group in names.items()
    }
    uncovered = [name for name, clause in assigned.items() if clause is None]
    if uncovered:
        shown = listed(uncovered)
        raise ConfigError(f"no pattern covers {shown}; add one, or a default (`any` leaves them unjudged)")
    covered = {name: clause for name, clause in assigned.items() if clause is not None}
    for clause, count in miscounted(covered, clauses):
        raise clause.place.error(f"{clause.pattern!r} covers {counted(count, 'parameter')}, not {clause.count}")
    return covered


def miscounted(covered: Mapping[str, Clause], clauses: Sequence[Clause]) -> list[tuple[Clause, int]]:
    """The clauses that cover another number of parameters than they say, and the number that they cover.

    Args:
        covered: the clause of each parameter, by its name.
        clauses: of the contract.
    """
    counts = Counter(clause.pattern for clause in covered.values())
    return [
        (clause, counts[clause.pattern])
        for clause in clauses
        if clause.count is not None and clause.count != counts[clause.pattern]
    ]


def most_specific(name: str, matching: Sequence[Clause], default: Clause | None) -> Clause | None:
    """The clause of one parameter.

    Args:
        name: of the parameter.
        matching: the clauses that match it.
        default: where none matches.

    Raises:
        ConfigError: two equally specific clauses name different rules.
    """
    if not matching:
        return default
    first = max(matching, key=lambda clause: clause.rank)
    rival = next((c for c in matching if c.rank == first.rank and c.rule.text != first.rule.text), None)
    if rival is not None:
        raise rival.place.error(
            f"{name} is covered by {first.pattern!r} ({first.rule.text}) and by {rival.pattern!r} "
            f"({rival.rule.text}), which are equally specific; make one of them longer"
        )
    return first


def _refuse_idle(names: Sequence[str], clauses: Sequence[Clause]) -> None:
    for clause in clauses:
        if not clause.optional and not clause.matches(names):
            raise clause.place.error(f"{clause.pattern!r} matches no parameter.{_hint(clause.pattern, names)}")


def _hint(pattern: str, names: Sequence[str]) -> str:
    """The nearest name, cut to as many parts as the pattern has if the pattern begins with a wildcard."""
    tail = pattern.lstrip("*.")
    parts = 0 if tail == pattern else tail.count(".") + 1  # the last 0 parts are all of them
    shortened = dict.fromkeys(".".join(name.split(".")[-parts:]) for name in names)
    return suggestion(_WILD.sub("", tail), list(shortened)) or f" There are {', '.join(names[:3])}, ..."
