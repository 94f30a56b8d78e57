"""Checks: bounds on the numbers of a result, by the names of `results.named_numbers`; `breaches` says what breaks them.

Numbers per layer can be bounded at every layer, other numbers for the whole net. Bounds are inclusive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from initprobe.data.documents import Place
from initprobe.errors import ConfigError, UnknownNameError
from initprobe.registry import suggestion
from initprobe.results.base import Severity
from initprobe.results.named_numbers import HEALTHY, VERDICT, WHOLE
from initprobe.results.outcome import SURVIVES
from initprobe.sweeps.file_fields import NOWHERE, SCALES, Fields, Setting, read_number, read_setting
from initprobe.torch.verdict.rulebook import RULEBOOK

# Severities as a file may name them.
SEVERITIES: Mapping[str, Severity] = {"info": "info", "note": "info", "warning": "warning"}

Number = Annotated[int | float, BeforeValidator(read_number, json_schema_input_type=float | str)]
Layer = Annotated[int, Field(ge=1, strict=True)]


def _verdict_name(value: object) -> bool | str:
    if isinstance(value, bool) or value == SURVIVES:
        return value
    if not isinstance(value, str):
        raise ConfigError("is true or false for healthy; for verdict, survives or the name of a rule")
    with suppress(UnknownNameError):
        return RULEBOOK[value].name
    raise UnknownNameError(f"unknown verdict {value!r}.{suggestion(value, (SURVIVES, *RULEBOOK)) or _SEE_RULES}")


def _rule_name(value: object) -> str:
    return RULEBOOK[str(value)].name


_SEE_RULES = " `initprobe list rules` shows them all."
Is = Annotated[bool | str, BeforeValidator(_verdict_name, json_schema_input_type=bool | Literal[(SURVIVES, *RULEBOOK)])]
Rule = Annotated[str, BeforeValidator(_rule_name, json_schema_input_type=Literal[tuple(RULEBOOK)])]
Rules = Annotated[tuple[Rule, ...], Field(min_length=1)]
Pair = tuple[Number | None, Number | None]


class Bound(BaseModel):
    """The bound of one check; exactly one of `is`, `not`, `max_severity`, or `min` and `max`, is given."""

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
    """A list of mappings, from one mapping, from `[low, high]`, from true or false, or from names of rules."""
    if isinstance(value, bool) or _is_name(value):
        return [{"is": value}]
    if isinstance(value, list) and len(value) == 2 and not any(isinstance(part, dict | list) for part in value):
        return [_as_bound(part) for part in value] if all(map(_is_name, value)) else [_as_bound(value)]
    if not isinstance(value, dict | list):
        raise ConfigError(
            "a check is [low, high], {min: .., max: ..}, a list of these, true for healthy, or rules for verdict"
        )
    return [value] if isinstance(value, dict) else [_as_bound(part) for part in value]


def _as_bound(part: object) -> object:
    """A mapping, from `[low, high]` or from the name of a rule. Each rule is a check of its own, with its line."""
    if isinstance(part, list) and len(part) == 2:
        return {"min": part[0], "max": part[1]}
    return {"not": [part]} if _is_name(part) else part


def _is_name(value: object) -> bool:
    return isinstance(value, str) and not _is_number(value)


def _is_number(text: str) -> bool:
    try:
        read_number(text)
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
        name: the number's dotted name, as `output.variance`; or `healthy`, or `verdict`.
        bound: the bound.
        where: the values that a run must have for the check to apply; empty for all runs.
        line: the line in the file; None for a check from an option.
    """

    name: str
    bound: Bound
    where: tuple[Setting, ...] = ()
    line: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self._fits():
            raise ConfigError(f"takes {_TAKES.get(self.name, 'min and max')}", field=self.name)
        if self.bound.layers != "all" and self.name in WHOLE:
            raise ConfigError("speaks of all layers at once; drop `layers`", field=self.name)

    def _fits(self) -> bool:
        """Whether the bound is of the kind that the number needs."""
        bound = self.bound
        if self.name == VERDICT:
            return isinstance(bound.is_, str) or bool(bound.not_ or bound.max_severity)
        return isinstance(bound.is_, bool) if self.name == HEALTHY else bound.min is not None or bound.max is not None

    def __str__(self) -> str:
        layers = self.bound.layers
        listed = ", ".join(map(str, layers)) if isinstance(layers, tuple) else layers
        at = "" if layers == "all" else f" at layer {listed}"
        where = ", ".join(f"{setting.name}={setting.text}" for setting in self.where)
        return f"{self.name}{at}: {self.bound}{f' where {where}' if where else ''}"


_TAKES = {
    HEALTHY: "true or false",
    VERDICT: "survives, a rule, a list of rules that may not be broken, or {max_severity: info}",
}


def make_check(name: str, bound: Bound, place: Place = NOWHERE) -> Check:
    """A check from the name of a number and a bound.

    Args:
        name: of the number.
        bound: the bound.
        place: where the check was given.

    Raises:
        ConfigError: the bound does not fit the number, or `where` has a value of a wrong type.
    """
    with place.blamed():
        where = tuple(result_setting(field, value) for field, value in bound.where.items())
        return Check(name, bound, where, place.line)


def result_setting(field: str, value: object) -> Setting:
    """A field's value as results hold it: `sigma_w` and `sigma_b` as the initializers that they stand for.

    Args:
        field: of a config.
        value: as the user wrote it.
    """
    wanted = read_setting(field, value)
    return replace(wanted, name=SCALES[field], text=str(wanted.value)) if field in SCALES else wanted
