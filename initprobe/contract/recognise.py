"""Which rule each parameter agrees with, as text that is itself a contract."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.contract.judge import judge
from initprobe.contract.parameter import Parameter
from initprobe.contract.patterns import Clause, assign, read_clauses
from initprobe.contract.rules import MEASURED, read_rule
from initprobe.contract.statistics import Moments, moments
from initprobe.errors import ConfigError
from initprobe.initializers.distributions import truncated_moments
from initprobe.spec import parse_number

# A std is that of a rule where the two differ by no more standard errors than this; then the whole rule is tested.
_NEAR = 4.5
# A round number is that of a rule where it is this near: there are many of them.
_ROUND_NEAR = 2.5
# Log odds of a plain number against one divided by the root of the depth: one weight in ten has the latter.
_RARE = math.log(10)
# The kurtosis of a uniform distribution is 9/5, of a normal one 3; between them lies a cut normal.
_UNIFORM_BELOW, _NORMAL_FROM = 2.05, 2.7
_ORTHOGONAL = 1e-4
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
# Rules with a scale of their own that people choose; others have the same distribution under another name.
_NAMED = (
    "xavier_normal", "xavier_uniform", "he_normal", "he_uniform", "lecun_normal", "lecun_uniform", "torch_linear",
)  # fmt: skip


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

    A parameter without a known rule gets the measured numbers, as in `~normal:std=...`, if its shape is known.
    Otherwise it gets `any`.
    """
    measured = {parameter.name: moments(parameter.values) for parameter in parameters if parameter.count}
    blocks = _blocks([parameter.name for parameter in parameters])
    families: dict[str, list[Parameter]] = defaultdict(list)
    for parameter in parameters:
        if parameter.count:
            families[_NUMBER.sub("*", parameter.name)].append(parameter)
    groups = [group for pattern, family in families.items() for group in _grouped(pattern, family, measured, blocks)]
    return _checked(groups, [parameter.name for parameter in parameters if parameter.count])


def _blocks(names: Sequence[str]) -> int:
    """The number of repeated blocks: the most that one place of a name counts."""
    counts: dict[str, set[str]] = defaultdict(set)
    for name in names:
        for place in _NUMBER.finditer(name):
            counts[name[: place.start()]].add(place.group())
    return max((len(numbers) for numbers in counts.values()), default=1)


def _grouped(pattern: str, family: Sequence[Parameter], measured: dict[str, Moments], blocks: int) -> Iterator[Group]:
    """One group if all agree with a rule, else a group for each rule."""
    shared = _rule(family, measured, blocks)
    if shared is not None or len(family) == 1:
        yield _group(
            pattern if len(family) > 1 else family[0].name, family, shared or _fallback(family[0], measured), measured
        )
        return
    for parameter in family:
        rule = _rule([parameter], measured, blocks) or _fallback(parameter, measured)
        yield _group(parameter.name, [parameter], rule, measured)


def _group(pattern: str, family: Sequence[Parameter], rule: str, measured: dict[str, Moments]) -> Group:
    names = tuple(parameter.name for parameter in family)
    return Group(pattern, names, rule, family[0].values.shape, *_pooled(family, measured))


def _pooled(family: Sequence[Parameter], measured: dict[str, Moments]) -> tuple[float, float]:
    """The std of all entries, each about the mean of its own tensor, and its relative standard error if normal."""
    count = sum(parameter.count for parameter in family)
    squares = sum(parameter.count * measured[parameter.name].std ** 2 for parameter in family)
    return math.sqrt(squares / count), 1 / math.sqrt(2 * count)


def _rule(family: Sequence[Parameter], measured: dict[str, Moments], blocks: int) -> str | None:
    """The first candidate that every parameter of the family agrees with."""
    for text in _candidates(family, measured, blocks):
        if _agrees(family, text, measured):
            return text
    return None


def _candidates(family: Sequence[Parameter], measured: dict[str, Moments], blocks: int) -> Iterator[str]:
    """Rules from the simplest: constants, orthogonal matrices, named rules, round numbers."""
    first, own = family[0], measured[family[0].name]
    if own.low == own.high:
        yield {0.0: "zeros", 1.0: "ones"}.get(own.low, f"constant:value={own.low:.8g}")
        return
    gain = _orthogonal_gain(first)
    if gain is not None:
        yield "orthogonal" if abs(gain - 1) < _ORTHOGONAL else f"orthogonal:gain={gain:.6g}"
    shape = _shape(first, own)
    mean = f",mean={own.mean:.2g}" if abs(own.mean) > _NEAR * own.std / math.sqrt(first.count) else ""
    if not mean and first.fans is not None:
        yield from _NAMED
    if not mean and first.layer_fan_in:  # as PyTorch draws biases
        yield f"uniform:low=-1/sqrt({first.layer_fan_in}),high=1/sqrt({first.layer_fan_in})"
    pooled = _pooled(family, measured)
    cut = _CUT_STD if shape == "truncated_normal" else 1.0
    yield from (f"{shape}:std={std}{mean}" for std in _round_numbers(pooled[0] / cut, pooled[1], blocks))


def _shape(parameter: Parameter, own: Moments) -> str:
    flat = np.asarray(parameter.values, np.float64).reshape(-1)
    kurtosis = float(np.mean(((flat - own.mean) / own.std) ** 4))
    if kurtosis < _UNIFORM_BELOW:
        return "uniform"
    return "normal" if kurtosis >= _NORMAL_FROM else "truncated_normal"


def _orthogonal_gain(parameter: Parameter) -> float | None:
    if parameter.values.ndim < 2 or min(parameter.values.shape) < 2:
        return None
    matrix = np.asarray(parameter.values, np.float64).reshape(len(parameter.values), -1)
    rows = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    first = rows[:2] @ rows[:2].T  # two rows tell most matrices apart, without the whole product
    scale = math.sqrt(first[0, 0])
    return (
        scale
        if abs(first[0, 1]) < _ORTHOGONAL * first[0, 0] and abs(first[1, 1] / first[0, 0] - 1) < _ORTHOGONAL
        else None
    )


def _round_numbers(std: float, error: float, blocks: int) -> list[str]:
    """Numbers that people choose near a std, the likeliest first.

    Candidates have one digit, or one digit divided by `sqrt(2 blocks)`, by their likelihood times how often people
    choose them; then two digits, of which there are more.
    """
    scales = {"": 1.0, f"/sqrt({2 * blocks})": math.sqrt(2 * blocks)}
    texts = [f"{float(f'{std * scale:.0e}'):g}{suffix}" for suffix, scale in scales.items()]
    texts.append(f"{float(f'{std:.1e}'):g}")
    distances = {text: abs(parse_number(text) / std - 1) / error for text in texts}
    near = [text for text in texts if distances[text] <= _ROUND_NEAR]
    return sorted(near, key=lambda text: (text == texts[-1], distances[text] ** 2 / 2 + _RARE * ("sqrt" in text)))


# Std of a standard normal cut to +-2.
_CUT_STD = math.sqrt(truncated_moments(-2, 2)[1])


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


def _fallback(parameter: Parameter, measured: dict[str, Moments]) -> str:
    """What was measured, if the entries have a shape that is known."""
    own = measured[parameter.name]
    if not math.isfinite(own.std) or own.std == 0:
        return "any"
    shape = _shape(parameter, own)
    std = own.std / (_CUT_STD if shape == "truncated_normal" else 1.0)
    text = f"{MEASURED}{shape}:std={std:.6g},mean={own.mean:.6g}"
    return text if not judge([parameter], (Clause("*", read_rule(text)),)).faults else "any"


def _checked(groups: Sequence[Group], names: Sequence[str]) -> list[Group]:
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
