"""Which rule each parameter agrees with, as text that is itself a contract."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from initprobe.contract.candidates import candidates, pooled, shape_of
from initprobe.contract.judge import judge
from initprobe.contract.parameter import Parameter
from initprobe.contract.patterns import Clause, assign, read_clauses
from initprobe.contract.rules import ANY, MEASURED, MOMENTS, read_rule
from initprobe.contract.statistics import CUT_STD, Moments, kurtosis, moments
from initprobe.errors import ConfigError
from initprobe.formatting import NUMBER_IN_NAME, without_numbers

# A std is that of a rule where the two differ by no more standard errors than this. Then the whole rule is tested.
_NEAR = 4.5
# Mean and std alone are compared only for so many entries or more, and up to this kurtosis.
_FEWEST, _LONGEST_TAILS = 16, 6.0


@dataclass(frozen=True)
class Group:
    """Parameters that one line of a contract covers.

    Attributes:
        pattern: covers their names, and in this model no others.
        names: their names.
        rule: text of the rule that all of them agree with.
        shape: of the first.
        std: of the entries of all of them, each about its own mean.
        error: relative standard error of `std`.
    """

    pattern: str
    names: tuple[str, ...]
    rule: str
    shape: tuple[int, ...]
    std: float
    error: float


def recognise(parameters: Sequence[Parameter]) -> list[Group]:
    """A rule for every parameter; parameters that differ by a number in their name are one group if they agree.

    A parameter without a known rule gets `~normal:std=...` and the like, with what was measured, if its shape is
    known. One of another shape gets `~moments:...`, and one of a few entries, or with long tails, `any`.
    """
    measured = {parameter.name: moments(parameter.values) for parameter in parameters if parameter.count}
    blocks = _blocks([parameter.name for parameter in parameters])
    families: dict[str, list[Parameter]] = defaultdict(list)
    for parameter in parameters:
        families[without_numbers(parameter.name)].append(parameter)
    groups = [group for pattern, family in families.items() for group in _grouped(pattern, family, measured, blocks)]
    return _checked(groups, {parameter.name: parameter.names for parameter in parameters})


def _blocks(names: Sequence[str]) -> int:
    """The number of repeated blocks: the most that one place of a name counts."""
    counts: dict[str, set[str]] = defaultdict(set)
    for name in names:
        for place in NUMBER_IN_NAME.finditer(name):
            counts[name[: place.start()]].add(place.group())
    return max((len(numbers) for numbers in counts.values()), default=1)


def _grouped(pattern: str, family: Sequence[Parameter], measured: dict[str, Moments], blocks: int) -> Iterator[Group]:
    """One group if all agree with a rule, else a group for each rule."""
    nothing = [parameter for parameter in family if not parameter.count]  # empty or unreadable
    yield from (Group(each.name, (each.name,), ANY, each.values.shape, math.nan, math.nan) for each in nothing)
    family = [parameter for parameter in family if parameter.count]
    if not family:
        return
    shared = _rule(family, measured, blocks) or _shared_numbers(family, measured)
    if shared is not None:
        yield _group(pattern if len(family) > 1 else family[0].name, family, shared, measured)
        return
    for parameter in family:
        rule = _rule([parameter], measured, blocks) or _shared_numbers([parameter], measured) or ANY
        yield _group(parameter.name, [parameter], rule, measured)


def _group(pattern: str, family: Sequence[Parameter], rule: str, measured: dict[str, Moments]) -> Group:
    names = tuple(parameter.name for parameter in family)
    return Group(pattern, names, rule, family[0].values.shape, *pooled(family, measured))


def _rule(family: Sequence[Parameter], measured: dict[str, Moments], blocks: int) -> str | None:
    """The first candidate that every parameter of the family agrees with."""
    for text in candidates(family, measured, blocks):
        if _agrees(family, text, measured):
            return text
    return None


def _agrees(family: Sequence[Parameter], text: str, measured: dict[str, Moments]) -> bool:
    """Whether the std is near for all, and then whether every test of the rule holds."""
    rule = read_rule(text)
    try:
        near = all(_is_near(parameter, rule.scale(parameter)[1], measured[parameter.name].std) for parameter in family)
    except ConfigError:
        return False
    if rule.kind == "random" and not near:
        return False
    return not judge(family, (Clause("*", rule),)).faults


def _is_near(parameter: Parameter, meant: float, std: float) -> bool:
    return abs(std - meant) <= _NEAR * meant / math.sqrt(2 * parameter.count)


def _shared_numbers(family: Sequence[Parameter], measured: dict[str, Moments]) -> str | None:
    """What was measured, if all agree with it: a distribution of a known shape, else mean and std alone."""
    own = [measured[parameter.name] for parameter in family]
    if not all(math.isfinite(each.std) and each.std > 0 for each in own):
        return None
    std = pooled(family, measured)[0]
    mean = sum(each.mean * parameter.count for each, parameter in zip(own, family, strict=True))
    mean /= sum(parameter.count for parameter in family)
    for text in (_distribution(shape_of(family[0], own[0]), mean, std), _moments(family, measured, mean, std)):
        if text is not None and not judge(family, (Clause("*", read_rule(text)),)).faults:
            return text
    return None


def _distribution(shape: str, mean: float, std: float) -> str:
    if shape == "uniform":
        half = math.sqrt(3) * std
        return f"{MEASURED}uniform:low={mean - half:.6g},high={mean + half:.6g}"
    before = std / (CUT_STD if shape == "truncated_normal" else 1.0)
    return f"{MEASURED}{shape}:std={before:.6g},mean={mean:.6g}"


def _moments(family: Sequence[Parameter], measured: dict[str, Moments], mean: float, std: float) -> str | None:
    is_fit = all(
        parameter.count >= _FEWEST and kurtosis(parameter.values, measured[parameter.name]) <= _LONGEST_TAILS
        for parameter in family
    )
    return f"{MEASURED}{MOMENTS}:mean={mean:.6g},std={std:.6g}" if is_fit else None


def _checked(groups: Sequence[Group], names: Mapping[str, Sequence[str]]) -> list[Group]:
    """Groups whose patterns cover just their own names; where a pattern would take others, each name is a line."""
    clauses = read_clauses({group.pattern: group.rule for group in groups})
    try:
        covers = assign(names, clauses, None)
        wrong = {
            group.pattern for group in groups if any(covers[name].pattern != group.pattern for name in group.names)
        }
    except ConfigError:
        wrong = {group.pattern for group in groups if len(group.names) > 1}
    return [part for group in groups for part in (_split(group) if group.pattern in wrong else [group])]


def _split(group: Group) -> list[Group]:
    return [Group(name, (name,), group.rule, group.shape, group.std, group.error) for name in group.names]
