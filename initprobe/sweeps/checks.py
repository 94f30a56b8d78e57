"""Checks: bounds on a result's own numbers, by the names of `vocabulary`, and what breaks them.

Every number of a layer can be bounded at every layer, others in the whole net. `theory.z` is bounded in size: |z|.
Bounds are inclusive. `healthy` and `verdict` are judged by the findings that are not ignored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from initprobe.diagnosis.diagnose import RULES
from initprobe.diagnosis.rule import SEVERITIES as _GRAVITY
from initprobe.errors import ConfigError, UnknownNameError
from initprobe.registry import suggestion
from initprobe.results.base import TENSORS, Severity, Status, worst
from initprobe.results.layers import LayerStats
from initprobe.results.named_numbers import (
    HEALTHY,
    LOSSES,
    RATES,
    RUN_NUMBERS,
    SURVIVES,
    VERDICT,
    WHOLE,
    counted,
    number_of,
    rate_of,
    survives,
    value_of,
    verdict_of,
)
from initprobe.results.run import ProbeResult
from initprobe.sweeps.file_fields import SCALES, Fields, Setting, at, matches, number, read, recorded

_ABSOLUTE = "theory.z"
SEVERITIES: Mapping[str, Severity] = {"info": "info", "note": "info", "warning": "warning"}

Number = Annotated[int | float, BeforeValidator(number, json_schema_input_type=float | str)]
Layer = Annotated[int, Field(ge=1, strict=True)]


def _verdict_name(value: object) -> bool | str:
    if isinstance(value, bool) or value == SURVIVES:
        return value
    if not isinstance(value, str):
        raise ConfigError("is true or false for healthy; for verdict, survives or the name of a rule")
    with suppress(UnknownNameError):
        return RULES[value].name
    raise UnknownNameError(f"unknown verdict {value!r}.{suggestion(value, (SURVIVES, *RULES)) or _SEE_RULES}")


def _rule_name(value: object) -> str:
    return RULES[str(value)].name


_SEE_RULES = " `initprobe list rules` shows them all."
Is = Annotated[bool | str, BeforeValidator(_verdict_name, json_schema_input_type=bool | Literal[(SURVIVES, *RULES)])]
Rule = Annotated[str, BeforeValidator(_rule_name, json_schema_input_type=Literal[tuple(RULES)])]
Rules = Annotated[tuple[Rule, ...], Field(min_length=1)]
Pair = tuple[Number | None, Number | None]


class Bound(BaseModel):
    """What one check asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: Number | None = Field(None, description="The smallest value that passes.")
    max: Number | None = Field(None, description="The largest value that passes. `theory.z` is judged by its size.")
    is_: Is | None = Field(
        None, alias="is", description="What `healthy` must be, true or false; or the verdict: survives, or a rule."
    )
    not_: Rules | None = Field(None, alias="not", description="For `verdict`: rules of which none may be broken.")
    max_severity: Literal["info", "note", "warning"] | None = Field(
        None, description="For `verdict`: the highest severity that passes; a note is info."
    )
    layers: Literal["all", "first", "last"] | Layer | tuple[Layer, ...] = Field(
        "all", description="The layers it speaks of: all, first, last, a number or a list of numbers from 1 on."
    )
    where: Fields = Field(
        default_factory=dict, description="The runs it speaks of, by fields of the experiment: {act: relu}."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [self.is_ is not None, self.not_ is not None, self.max_severity is not None]
        numeric = self.min is not None or self.max is not None
        if sum(given) + numeric > 1:
            raise ConfigError("give one of is, not, max_severity, or min and max")
        if not any(given) and not numeric:
            raise ConfigError("give min or max, as in {max: 0.2} or [0.1, 10]")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ConfigError(f"min {self.min:g} is above max {self.max:g}")
        return self

    def holds(self, number: float) -> bool:
        """Whether a number lies within."""
        low, high = -math.inf if self.min is None else self.min, math.inf if self.max is None else self.max
        return low <= number <= high

    def __str__(self) -> str:
        if self.is_ is not None:
            return str(self.is_).lower()
        if self.not_ or self.max_severity:
            return f"free of {', '.join(self.not_)}" if self.not_ else f"at most {self.max_severity}"
        if self.min is None or self.max is None:
            return f"at most {self.max:g}" if self.min is None else f"at least {self.min:g}"
        return f"between {self.min:g} and {self.max:g}"


def _as_bounds(value: object) -> object:
    """A list of mappings, from one, from `[low, high]`, from true and false, or from the names of rules."""
    if isinstance(value, bool) or _is_word(value):
        return [{"is": value}]
    if isinstance(value, list) and len(value) == 2 and not any(isinstance(part, dict | list) for part in value):
        return [_as_bound(part) for part in value] if all(map(_is_word, value)) else [_as_bound(value)]
    if not isinstance(value, dict | list):
        raise ConfigError(
            "a check is [low, high], {min: .., max: ..}, a list of these, true for healthy, or rules for verdict"
        )
    return [value] if isinstance(value, dict) else [_as_bound(part) for part in value]


def _as_bound(part: object) -> object:
    """A mapping from `[low, high]`, or from the name of a rule: each of these is a check of its own, with its line."""
    if isinstance(part, list) and len(part) == 2:
        return {"min": part[0], "max": part[1]}
    return {"not": [part]} if _is_word(part) else part


def _is_word(value: object) -> bool:
    return isinstance(value, str) and not _is_number(value)


def _is_number(text: str) -> bool:
    try:
        number(text)
    except ConfigError:
        return False
    return True


Bounds = Annotated[
    tuple[Bound, ...],
    Field(min_length=1),
    BeforeValidator(_as_bounds, json_schema_input_type=Is | Pair | Bound | list[Bound | Pair | Rule]),
]


@dataclass(frozen=True)
class Check:
    """One bound on one number of a result.

    Attributes:
        name: the number's dotted name, `healthy`, or `TENSOR.variance_per_layer`.
        bound: what it must be.
        where: the runs it speaks of; all, where this is empty.
        line: of the file, where it stands there and not in an option.
    """

    name: str
    bound: Bound
    where: tuple[Setting, ...] = ()
    line: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self._fits():
            raise ConfigError(f"{self.name}: takes {_TAKES.get(self.name, 'min and max')}")
        if self.bound.layers != "all" and self.name in WHOLE:
            raise ConfigError(f"{self.name}: speaks of all layers at once; drop `layers`")

    def _fits(self) -> bool:
        """What is asked is of the kind that the name stands for."""
        bound = self.bound
        if self.name == VERDICT:
            return isinstance(bound.is_, str) or bool(bound.not_ or bound.max_severity)
        return isinstance(bound.is_, bool) if self.name == HEALTHY else bound.min is not None or bound.max is not None

    def __str__(self) -> str:
        layers = self.bound.layers
        named = ", ".join(map(str, layers)) if isinstance(layers, tuple) else layers
        at = "" if layers == "all" else f" at layer {named}"
        where = ", ".join(f"{one.name}={one.text}" for one in self.where)
        return f"{self.name}{at}: {self.bound}{f' where {where}' if where else ''}"


_TAKES = {
    HEALTHY: "true or false",
    VERDICT: "survives, a rule, a list of rules that may not be broken, or {max_severity: info}",
}


def make_check(name: str, bound: Bound, place: str, line: int | None = None) -> Check:
    """A check from its name and bound; `place` is where the file has it.

    Raises:
        ConfigError: name and bound do not go together, or `where` wants what no field can be.
    """
    with at(place):
        return Check(name, bound, tuple(recordable(name, value) for name, value in bound.where.items()), line)


def recordable(field: str, value: object) -> Setting:
    """A field's value as a result has it, which knows the papers' scales by the initializers that they stand for."""
    wanted = read(field, value)
    return replace(wanted, name=SCALES[field], text=str(wanted.value)) if field in SCALES else wanted


@dataclass(frozen=True)
class Breach:
    """A check that does not hold.

    Attributes:
        name: the checked number.
        layer: the layer it was read at; None for what speaks of the whole net.
        value: what it is; None where it was lost.
        bound: what it had to be, in words.
        reason: why there is no value, in words; empty where there is one.
    """

    name: str
    layer: int | None
    value: float | bool | str | None
    bound: str
    reason: str = ""

    def __str__(self) -> str:
        at = f" at layer {self.layer}" if self.layer else ""
        return f"{self.name}{at} is {self.found}, not {self.bound}"

    @property
    def found(self) -> str:
        """The value in words, or why there is none."""
        return self.reason or (f"{self.value:.4g}" if isinstance(self.value, float) else str(self.value).lower())


def judge(checks: Sequence[Check], result: ProbeResult) -> tuple[Breach, ...]:
    """What breaks the checks, in their order and that of the layers.

    A number that was lost (null beside a status that is not ok) breaks its check; one that does not apply (the dead
    units of tanh) does not.
    """
    return tuple(seen for check in checks for seen in verdicts(check, result) if seen is not None)


def applied(checks: Sequence[Check], result: ProbeResult) -> frozenset[str]:
    """The checks, as text, that found something to judge; one that finds nothing in any run is worth a word."""
    return frozenset(str(check) for check in checks if any(True for _ in verdicts(check, result)))


def verdicts(check: Check, result: ProbeResult) -> Iterator[Breach | None]:
    """A breach, or None for what holds, for every number that the check applies to."""
    if not matches(recorded(result.config, [one.name for one in check.where]), check.where):
        return
    if check.name == HEALTHY:
        healthy = survives(result)
        yield None if healthy == check.bound.is_ else Breach(HEALTHY, None, healthy, str(check.bound))
    elif check.name == VERDICT:
        yield _wrong_finding(check.bound, result)
    elif check.name in RATES:
        yield from _rate_verdict(check, result)
    elif check.name in RUN_NUMBERS:
        yield from _run_verdict(check, result)
    else:
        yield from _layer_verdicts(check, result)


def _wrong_finding(bound: Bound, result: ProbeResult) -> Breach | None:
    """What the verdict should not say, the most severe of it first; ignored findings do not count."""
    findings, worst = counted(result), verdict_of(result)
    if bound.is_ is not None:
        if bound.is_ == (worst.rule if worst else SURVIVES):
            return None
        wrong = worst
    elif bound.not_:
        wrong = next((finding for finding in findings if finding.rule in bound.not_), None)
    else:
        most = _GRAVITY.index(SEVERITIES[str(bound.max_severity)])
        wrong = next((finding for finding in findings if _GRAVITY.index(finding.severity) > most), None)
    if wrong is None:
        return Breach(VERDICT, None, SURVIVES, str(bound)) if bound.is_ is not None else None
    severity = f" ({wrong.severity})" if bound.max_severity else ""
    return Breach(VERDICT, wrong.layer, f"{wrong.rule}{severity}", str(bound))


def _rate_verdict(check: Check, result: ProbeResult) -> Iterator[Breach | None]:
    if len(result.stream) < 2:
        return
    rate = rate_of(result, check.name)
    if rate is not None:
        yield None if check.bound.holds(rate) else Breach(check.name, None, rate, str(check.bound))
        return
    ends = [(layer, layer.tensor(check.name.partition(".")[0])) for layer in (result.stream[0], result.stream[-1])]
    layer, stats = next((layer, stats) for layer, stats in ends if stats.variance_log10 is None)
    why = "undefined, the variance is 0" if stats.variance == 0 else f"lost ({stats.status})"
    yield Breach(check.name, None, None, str(check.bound), f"{why} at layer {layer.layer}")


def _run_verdict(check: Check, result: ProbeResult) -> Iterator[Breach | None]:
    value = number_of(result, check.name)
    if value is not None:
        yield None if check.bound.holds(value) else Breach(check.name, None, value, str(check.bound))
    elif check.name in LOSSES and getattr(result, check.name.partition(".")[0]) is not None:
        step = result.training.diverged_at if result.training else None
        why = "beyond the float range" if step is None else f"lost (diverged after step {step})"
        yield Breach(check.name, None, None, str(check.bound), why)


def _layer_verdicts(check: Check, result: ProbeResult) -> Iterator[Breach | None]:
    # Null where nothing went wrong: the number is not defined for this net, here or at any layer.
    inapplicable = any(value_of(one, check.name) is None and _status(one, check.name) == "ok" for one in result.layers)
    for layer in _chosen(check.bound.layers, result.layers):
        value = value_of(layer, check.name)
        if value is not None:
            held = check.bound.holds(abs(value) if check.name == _ABSOLUTE else value)
            yield None if held else Breach(check.name, layer.layer, value, str(check.bound))
        elif not inapplicable:
            yield Breach(check.name, layer.layer, None, str(check.bound), f"lost ({_status(layer, check.name)})")


def _chosen(which: str | int | tuple[int, ...], layers: Sequence[LayerStats]) -> list[LayerStats]:
    if isinstance(which, str):
        return list({"all": layers, "first": layers[:1], "last": layers[-1:]}[which])
    wanted = (which,) if isinstance(which, int) else which
    return [layer for layer in layers if layer.layer in wanted]


def _status(layer: LayerStats, name: str) -> Status:
    """Whether the tensors that a number is taken from were lost."""
    head = name.partition(".")[0]
    if head in TENSORS:
        return layer.tensor(head).status
    if name == _ABSOLUTE and layer.theory:
        return layer.output.status
    sources = {"correlation": ("preactivation",), "gradient_to_weight_ratio": ("weight", "weight_gradient")}
    return worst(layer.tensor(tensor).status for tensor in sources.get(name, ()))
