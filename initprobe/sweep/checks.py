"""Checks: bounds on a result's own numbers, by their dotted names, and what breaks them.

Every number of `LayerStats` can be bounded at every layer, as `output.dead_fraction`. `TENSOR.variance_per_layer` is
the geometric rate at which a tensor's variance changes from one layer to the next, first layer to last (for gradients
too, although they travel the other way), from end to end of branches where a residual net has several layers in each.
`theory.z` is bounded in size: |z|. Bounds are inclusive. `RUN_NUMBERS` are of the whole net, and so is `healthy`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from initprobe.errors import ConfigError, UnknownNameError
from initprobe.registry import suggestion
from initprobe.results import TENSORS, LayerStats, ProbeResult, Record, Status, worst
from initprobe.sweep.fields import SCALES, Fields, Setting, at, matches, number, read, recorded

HEALTHY = "healthy"
RATE = "variance_per_layer"
_ABSOLUTE = "theory.z"


def _numbers_of(record: type[Record], prefix: str = "") -> Iterator[str]:
    """The dotted names of a record's numbers."""
    for name, info in record.model_fields.items():
        kinds = {part for kind in (info.annotation, *get_args(info.annotation)) for part in (kind, *get_args(kind))}
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Record)), None)
        if inner is not None:
            yield from _numbers_of(inner, f"{prefix}{name}.")
        elif kinds & {int, float} and not any(getattr(kind, "__origin__", kind) is tuple for kind in kinds):
            yield f"{prefix}{name}"


LAYER_NUMBERS = tuple(name for name in _numbers_of(LayerStats) if name != "layer")
RATES = tuple(f"{tensor}.{RATE}" for tensor in TENSORS)
# What speaks of the whole net.
RUN_NUMBERS = ("loss.start", "loss.chance", "training.final_loss")
CHECKED = (HEALTHY, *RATES, *RUN_NUMBERS, *LAYER_NUMBERS)


def check_name(name: str) -> str:
    """The name of something that can be checked, as it is.

    Raises:
        UnknownNameError: there is no such number in a result.
    """
    if name not in CHECKED:
        hint = suggestion(name, CHECKED) or " The names are those of the JSON, as in output.variance."
        raise UnknownNameError(f"unknown result {name!r}.{hint}")
    return name


Number = Annotated[int | float, BeforeValidator(number, json_schema_input_type=float | str)]
Layer = Annotated[int, Field(ge=1, strict=True)]


class Bound(BaseModel):
    """What one check asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: Number | None = Field(None, description="The smallest value that passes.")
    max: Number | None = Field(None, description="The largest value that passes. `theory.z` is judged by its size.")
    is_: bool | None = Field(None, alias="is", strict=True, description="For `healthy` alone: what it must be.")
    layers: Literal["all", "first", "last"] | Layer | tuple[Layer, ...] = Field(
        "all", description="The layers it speaks of: all, first, last, a number or a list of numbers from 1 on."
    )
    where: Fields = Field(
        default_factory=dict, description="The runs it speaks of, by fields of the experiment: {act: relu}."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.is_ is None and self.min is None and self.max is None:
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
        if self.min is None or self.max is None:
            return f"at most {self.max:g}" if self.min is None else f"at least {self.min:g}"
        return f"between {self.min:g} and {self.max:g}"


def _as_bounds(value: object) -> object:
    """A list of mappings, from one, from `[low, high]` or from true and false."""
    if isinstance(value, bool):
        return [{"is": value}]
    if isinstance(value, list) and len(value) == 2 and not any(isinstance(part, dict) for part in value):
        return [{"min": value[0], "max": value[1]}]
    if not isinstance(value, dict | list):
        raise ConfigError("a check is [low, high], {min: .., max: ..}, a list of these mappings, or true for healthy")
    return [value] if isinstance(value, dict) else value


Bounds = Annotated[
    tuple[Bound, ...],
    Field(min_length=1),
    BeforeValidator(
        _as_bounds, json_schema_input_type=bool | tuple[Number | None, Number | None] | Bound | list[Bound]
    ),
]


@dataclass(frozen=True)
class Check:
    """One bound on one number of a result.

    Attributes:
        name: the number's dotted name, `healthy`, or `TENSOR.variance_per_layer`.
        bound: what it must be.
        where: the runs it speaks of; all, where this is empty.
    """

    name: str
    bound: Bound
    where: tuple[Setting, ...] = ()

    def __post_init__(self) -> None:
        if (self.name == HEALTHY) != (self.bound.is_ is not None):
            raise ConfigError(f"{self.name}: {'takes true or false' if self.name == HEALTHY else 'takes min and max'}")
        if self.bound.layers != "all" and self.name in (HEALTHY, *RATES, *RUN_NUMBERS):
            raise ConfigError(f"{self.name}: speaks of all layers at once; drop `layers`")

    def __str__(self) -> str:
        layers = self.bound.layers
        named = ", ".join(map(str, layers)) if isinstance(layers, tuple) else layers
        at = "" if layers == "all" else f" at layer {named}"
        where = ", ".join(f"{one.name}={one.text}" for one in self.where)
        return f"{self.name}{at}: {self.bound}{f' where {where}' if where else ''}"


def make_check(name: str, bound: Bound, place: str) -> Check:
    """A check from its name and bound; `place` is where the file has it.

    Raises:
        ConfigError: name and bound do not go together, or `where` wants what no field can be.
    """
    with at(place):
        return Check(name, bound, tuple(_recordable(field, value) for field, value in bound.where.items()))


def _recordable(field: str, value: object) -> Setting:
    """A result knows the papers' scales by the initializers that they stand for."""
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
    value: float | bool | None
    bound: str
    reason: str = ""

    def __str__(self) -> str:
        at = f" at layer {self.layer}" if self.layer else ""
        value = self.reason or (f"{self.value:.4g}" if isinstance(self.value, float) else str(self.value).lower())
        return f"{self.name}{at} is {value}, not {self.bound}"


def judge(checks: Sequence[Check], result: ProbeResult) -> tuple[Breach, ...]:
    """What breaks the checks, in their order and that of the layers.

    A number that was lost (null beside a status that is not ok) breaks its check; one that does not apply (the dead
    units of tanh) does not.
    """
    return tuple(seen for check in checks for seen in _verdicts(check, result) if seen is not None)


def applied(checks: Sequence[Check], result: ProbeResult) -> frozenset[str]:
    """The checks, as text, that found something to judge; one that finds nothing in any run is worth a word."""
    return frozenset(str(check) for check in checks if any(True for _ in _verdicts(check, result)))


def _verdicts(check: Check, result: ProbeResult) -> Iterator[Breach | None]:
    """A breach, or None for what holds, for every number that the check applies to."""
    if not matches(recorded(result.config, [one.name for one in check.where]), check.where):
        return
    if check.name == HEALTHY:
        held = result.healthy == check.bound.is_
        yield None if held else Breach(HEALTHY, None, result.healthy, str(check.bound))
    elif check.name in RATES:
        yield from _rate_verdict(check, result)
    elif check.name in RUN_NUMBERS:
        yield from _run_verdict(check, result)
    else:
        yield from _layer_verdicts(check, result)


def _rate_verdict(check: Check, result: ProbeResult) -> Iterator[Breach | None]:
    ends = (result.stream[0], result.stream[-1])
    if ends[0] is ends[1]:
        return
    tensors = [layer.tensor(check.name.partition(".")[0]) for layer in ends]
    first, last = (stats.variance_log10 for stats in tensors)
    if first is not None and last is not None:
        rate = _power((last - first) / (ends[1].layer - ends[0].layer))
        yield None if check.bound.holds(rate) else Breach(check.name, None, rate, str(check.bound))
        return
    known = [first is not None, last is not None]
    layer, stats = ends[known.index(False)], tensors[known.index(False)]
    why = "undefined, the variance is 0" if stats.variance == 0 else f"lost ({stats.status})"
    yield Breach(check.name, None, None, str(check.bound), f"{why} at layer {layer.layer}")


def _run_verdict(check: Check, result: ProbeResult) -> Iterator[Breach | None]:
    value = number_of(result, check.name)
    if value is not None:
        yield None if check.bound.holds(value) else Breach(check.name, None, value, str(check.bound))
    elif getattr(result, check.name.partition(".")[0]) is not None:
        step = result.training.diverged_at if result.training else None
        why = "beyond the float range" if step is None else f"lost (diverged after step {step})"
        yield Breach(check.name, None, None, str(check.bound), why)


def number_of(result: ProbeResult, name: str) -> float | None:
    """One of `RUN_NUMBERS`; None where it, or what it belongs to, is null."""
    return _at(result, name)


def _power(log10: float) -> float:
    return 10**log10 if log10 < sys.float_info.max_10_exp else math.inf


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


def value_of(layer: LayerStats, name: str) -> float | None:
    """The number of that dotted name, None where it or what it belongs to is null."""
    return _at(layer, name)


def _at(record: Record, name: str) -> float | None:
    found: Any = record
    for part in name.split("."):
        found = None if found is None else getattr(found, part)
    return None if found is None else float(found)


def _status(layer: LayerStats, name: str) -> Status:
    """Whether the tensors that a number is taken from were lost."""
    head = name.partition(".")[0]
    if head in TENSORS:
        return layer.tensor(head).status
    if name == _ABSOLUTE and layer.theory:
        return layer.output.status
    sources = {"correlation": ("preactivation",), "gradient_to_weight_ratio": ("weight", "weight_gradient")}
    return worst(layer.tensor(tensor).status for tensor in sources.get(name, ()))
