"""The layout of a sweep's file: one pydantic model, from which its JSON Schema is made too.

`file_fields` reads the values of an experiment's fields; this module reads the keys around them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    FailFast,
    Field,
    GetJsonSchemaHandler,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue

from initprobe.config.consistency import fault_error
from initprobe.data.documents import Document
from initprobe.errors import ConfigError, UnknownNameError
from initprobe.registry import suggestion
from initprobe.results.named_numbers import check_name
from initprobe.sweeps.checks import Bound, Bounds
from initprobe.sweeps.file_fields import Fields, FieldsSchema, field_name, read_number
from initprobe.sweeps.file_figures import KINDS, FigureOrName, Part

MAX_RUNS = 100_000
MAX_EXCLUDES = 1000
_SIGNIFICANT = 12
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


Number = Annotated[int | float, BeforeValidator(read_number, json_schema_input_type=float | str)]


class Range(Part):
    """Values from one end to the other, both included."""

    from_: Number = Field(alias="from", description="The first value.")
    to: Number = Field(description="The last value.")
    num: int | None = Field(None, ge=2, le=MAX_RUNS, strict=True, description="How many values; this or step.")
    step: Number | None = Field(None, description="From one value to the next; the last may fall short of `to`.")
    scale: Literal["linear", "log"] = Field("linear", description="Equal differences, or equal ratios.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.num is None) == (self.step is None):
            raise ConfigError("a range takes num or step, as in {from: 0.5, to: 3, num: 20}")
        if self.scale == "log" and not (self.from_ > 0 and self.to > 0 and self.num):
            raise ConfigError("a range of scale log takes num, and from and to above 0")
        if self.step is not None and not (self.step and (self.to - self.from_) / self.step >= 0):
            raise ConfigError(f"step {self.step:g} does not lead from {self.from_:g} to {self.to:g}")
        return self

    def __len__(self) -> int:
        if self.num is not None or not self.step:
            return self.num or 0
        steps = (self.to - self.from_) / self.step
        # A ratio such as 0.3 / 0.1 falls short of a whole number by rounding.
        return math.floor(min(steps * (1 + 1e-9), 2.0**62)) + 1

    def values(self) -> Iterator[int | float]:
        """The values in order; integers where both ends and the value are integers.

        They are rounded to twelve digits: 0.3 is 0.3, and the logarithms of two machines give the same values.
        """
        whole = isinstance(self.from_, int) and isinstance(self.to, int)
        for index in range(len(self)):
            value = float(f"{self._at(index):.{_SIGNIFICANT}g}")
            yield int(value) if whole and value.is_integer() else value

    def _at(self, index: int) -> float:
        if self.step is not None:
            return self.from_ + index * self.step
        share = index / (len(self) - 1)
        if self.scale == "log":
            return math.exp(math.log(self.from_) * (1 - share) + math.log(self.to) * share)
        return self.from_ * (1 - share) + self.to * share


def _list_or_range(value: object) -> str | None:
    return "range" if isinstance(value, dict) else "list" if isinstance(value, list) else None


Axis = Annotated[
    Annotated[tuple[Any, ...], Field(min_length=1), Tag("list")] | Annotated[Range, Tag("range")],
    Discriminator(
        _list_or_range,
        custom_error_type="axis",
        custom_error_message="an axis is a list of values, or a range {from: 0.5, to: 3, num: 20}",
    ),
]


class AxesSchema(FieldsSchema):
    """The JSON Schema of a mapping from fields to axes: lists of values, or ranges."""

    def value(self, schema: JsonSchemaValue, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A list of the field's values, or a range.

        Args:
            schema: of pydantic.
            handler: of pydantic.
        """
        item = super().value(schema, handler)
        values = {"type": "array", "minItems": 1, "items": {k: v for k, v in item.items() if k != "default"}}
        description = {"description": item["description"]} if "description" in item else {}
        return description | {"anyOf": [values, handler(Range.__pydantic_core_schema__)]}


Axes = Annotated[dict[Annotated[str, AfterValidator(field_name)], Axis], AxesSchema(), Field(min_length=1)]


def _slug(name: str) -> str:
    """The name itself, if it is safe as the name of a directory."""
    if len(name) > 64 or not _NAME.fullmatch(name):
        raise ConfigError(f"{name[:64]!r}: a name holds letters, digits, -, _ and single dots, up to 64 of them")
    return name


Format = Literal["csv", "json", "markdown"]
Seed = Annotated[int, Field(ge=0, strict=True)]
Seeds = Annotated[
    Annotated[int, Field(ge=1, le=MAX_RUNS, strict=True), Tag("count")]
    | Annotated[tuple[Seed, ...], Field(min_length=1), Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list) else "count"),
]


class SweepFile(Part):
    """A sweep of initprobe: experiments, what to check of them and what to draw."""

    version: Literal[1] = Field(description="The version of this layout: 1.")
    name: Annotated[str, AfterValidator(_slug)] = Field(
        description="What the sweep is called; its results go to a directory of this name.",
        json_schema_extra={"pattern": f"^{_NAME.pattern}$", "maxLength": 64},
    )
    defaults: Fields = Field(
        default_factory=dict, description="What every run has, unless the keys below say otherwise: fields of `run`."
    )
    grid: Axes = Field(
        default_factory=dict,
        description="Fields with several values each; every combination is a run, the last axis varying fastest.",
    )
    zip: Axes = Field(
        default_factory=dict,
        description="Fields with equally many values, taken side by side; together they are one more axis.",
    )
    exclude: Annotated[tuple[Annotated[Fields, Field(min_length=1)], ...], FailFast()] = Field(
        (),
        max_length=MAX_EXCLUDES,
        description="Combinations to leave out: a run goes that has every value of one of these.",
    )
    include: Annotated[tuple[Fields, ...], FailFast()] = Field(
        (), description="More runs, each on top of the defaults; they are appended and change no other run."
    )
    seeds: Seeds | None = Field(
        None, description="A list of seeds, or how many to count up from the default seed; every run is made with each."
    )
    draws: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        None, description="Independent networks behind each run's averages."
    )
    checks: dict[Annotated[str, AfterValidator(check_name)], Bounds] = Field(
        default_factory=dict,
        description="Bounds by a result's own names: output.variance: [0.1, 10], output.dead_fraction: {max: 0.2}, "
        "output.variance_per_layer: [0.8, 1.25], healthy: true, verdict: [dead-units, vanishing-gradient].",
    )
    figures: tuple[FigureOrName, ...] | None = Field(
        None, description="The pictures to draw; chosen by the axes if not given."
    )
    export: tuple[Format, ...] = Field((), description="Files of all results: csv, json, markdown.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len({len(axis) for axis in self.zip.values()}) > 1:
            sizes = ", ".join(f"{name} {len(axis)}" for name, axis in self.zip.items())
            raise ConfigError(f"the axes need equally many values, but these have: {sizes}", field="zip")
        for key in ("export", "seeds"):
            listed = getattr(self, key)
            if isinstance(listed, tuple) and len(set(listed)) < len(listed):
                raise ConfigError("names one of them twice", field=key)
        return self


def read_layout(document: Document) -> SweepFile:
    """The file as a model.

    Raises:
        ConfigError: a key or value that the layout does not allow, with its place.
    """
    if empty := [key for key, value in document.values.items() if value is None and key in SweepFile.model_fields]:
        raise document.place((empty[0],)).error(_empty(empty[0]))
    try:
        return SweepFile.model_validate(document.values)
    except ValidationError as error:
        raise _fault(document, error) from None


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a sweep's file, for editors."""
    schema = SweepFile.model_json_schema()
    for key, entry in schema["properties"].items():
        # In Python, None stands for an absent key; a file cannot have it.
        kinds = [kind for kind in entry.pop("anyOf", []) if kind != {"type": "null"}]
        schema["properties"][key] = entry | ({"anyOf": kinds} if kinds else {})
        if entry.get("default", ...) is None:
            del schema["properties"][key]["default"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


# pydantic's words for types, and those of a YAML file.
_YAML_TYPES = {"a valid dictionary": "a mapping", "a valid tuple": "a list"}


def _fault(document: Document, error: ValidationError) -> ConfigError:
    """pydantic's first complaint, with its place in the file."""
    fault = error.errors()[0]
    loc, cause = fault["loc"], fault.get("ctx", {}).get("error")
    part = document.known_part(loc)
    if not loc and isinstance(cause, ConfigError):  # about a whole section
        part = document.known_part((cause.field,))
    field = ".".join(map(str, part or loc))
    place = document.place(part)
    if fault["type"] == "too_short":
        return place.error(_empty(field))
    if isinstance(cause, UnknownNameError):
        return cause.at(file=place.file, line=place.line)
    if fault["type"] == "extra_forbidden":
        hint = suggestion(str(loc[-1]), _keys_at(loc))
        return UnknownNameError(f"unknown key {loc[-1]!r}.{hint}", file=place.file, line=place.line)
    if fault["type"] == "missing":
        field = ".".join(map(str, (*part, loc[-1])))
    complaint = fault_error(fault, field, ())
    text = complaint.text
    for python_type, yaml_type in _YAML_TYPES.items():
        text = text.replace(python_type, yaml_type)
    return place.error(text, complaint.field)


def _empty(field: str) -> str:
    return f"{field} is empty; give it a value, or drop the key"


def _keys_at(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the mapping around the last part of `loc` may have."""
    if len(loc) == 1:
        return list(SweepFile.model_fields)
    part = Bound if loc[0] == "checks" else KINDS.get(str(loc[-2]), Range)
    return [field.alias or name for name, field in part.model_fields.items()]
