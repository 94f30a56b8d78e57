"""What all records of results share: how they are frozen, written as JSON and shown in a line."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from initprobe.errors import InputError, UnknownNameError
from initprobe.registry import suggestion

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SCHEMA_VERSION: Literal[1] = 1

Status = Literal["ok", "underflow", "overflow", "nonfinite"]
Severity = Literal["info", "warning", "error"]
ModuleKind = Literal[
    "linear", "convolution", "activation", "normalisation", "attention", "embedding", "recurrence", "other"
]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_LONGEST_LINE = 120  # characters of a record in a notebook
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
_BY_SEVERITY: tuple[Status, ...] = ("ok", "underflow", "overflow", "nonfinite")
FORWARD_TENSORS = ("weight", "preactivation", "output")
# In the order of the backward pass.
BACKWARD_TENSORS = ("output_gradient", "preactivation_gradient", "weight_gradient")
TENSORS = (*FORWARD_TENSORS, "preactivation_gradient", "output_gradient", "weight_gradient")
# What stands for each tensor in formulas and sentences.
TENSOR_SYMBOLS = {
    "weight": "W",
    "preactivation": "z",
    "output": "h",
    "output_gradient": "dL/dh",
    "preactivation_gradient": "dL/dz",
    "weight_gradient": "dL/dW",
}


def worst(statuses: Iterator[Status]) -> Status:
    """The most severe of some statuses; `ok` for none."""
    return max(statuses, key=_BY_SEVERITY.index, default="ok")


class InALine:
    """Shows itself in a line at a Python prompt."""

    def __repr__(self) -> str:
        line = self.in_a_line()
        return f"<{type(self).__name__}: {line if len(line) <= _LONGEST_LINE else f'{line[:_LONGEST_LINE]} ...'}>"

    def __str__(self) -> str:
        return repr(self)

    def in_a_line(self) -> str:
        """What it says, in a line."""
        raise NotImplementedError


class Record(InALine, BaseModel):
    """A frozen part of a result. `null` in JSON stands for what does not apply or was lost; `status` says which."""

    # Schemas are built when they are first used: a run uses half of the records.
    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_inf_nan="null", serialize_by_alias=True, defer_build=True
    )

    def in_a_line(self) -> str:
        """Its numbers and words in a line, without lists and inner records."""
        plain = ((name, value) for name, value in self if isinstance(value, bool | int | float | str))
        return ", ".join(f"{name} {f'{value:.4g}' if isinstance(value, float) else value}" for name, value in plain)

    def at(self, name: str) -> Any:
        """The value of a dotted name, as `output.variance`; None where a part of the name is null.

        Raises:
            UnknownNameError: there is no such value; a `KeyError` too.
        """
        value: Any = self
        for part in name.split("."):
            fields = type(value).model_fields if isinstance(value, Record) else {}
            if value is not None and part not in fields:
                hint = suggestion(part, list(fields)) or f" There are {', '.join(fields)}."
                raise UnknownNameError(f"unknown name {part!r} in {name!r}.{hint if fields else ''}")
            value = None if value is None else getattr(value, part)
        return value


def dotted_names(record: type[Record], without: Container[str] = (), prefix: str = "") -> Iterator[str]:
    """The names of all fields of a record and of the records inside it, as `at` takes them.

    Args:
        record: its type.
        without: names of fields to leave out, at any depth.
        prefix: of every name.
    """
    for name, info in record.model_fields.items():
        parts = (info.annotation, *get_args(info.annotation))
        inner = next((part for part in parts if isinstance(part, type) and issubclass(part, Record)), None)
        if name in without:
            continue
        if inner is None:
            yield f"{prefix}{name}"
        else:
            yield from dotted_names(inner, without, f"{prefix}{name}.")


Kind = TypeVar("Kind", bound=Record)


def read_record(kind: type[Kind], text: str | bytes, source: str) -> Kind:
    """Read a record from JSON text.

    Args:
        kind: of the record.
        text: of the file.
        source: the name of the text in errors, such as its file.

    Raises:
        InputError: not JSON, or not such a record of this schema version; names `source` and the field.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        if fault["type"] == "json_invalid":
            from initprobe.results.json_text import parse_json

            parse_json(text, source)  # raises the same error as for all other JSON files
        raise InputError(_fault_in_words(fault), file=source) from None


def _fault_in_words(fault: ErrorDetails) -> str:
    if fault["type"] == "json_invalid":
        return fault["msg"].replace("Invalid JSON", "is not JSON")  # a number or a text that only Python accepts
    where = ".".join(str(part) for part in fault["loc"]) or "file"
    words = "is missing" if fault["type"] == "missing" else fault["msg"]
    return f"not a result of initprobe (schema {SCHEMA_VERSION}): {where}: {words}"


class Histogram(Record):
    """Counts in equal bins from `low` to `high`, all draws and batches pooled."""

    low: Finite
    high: Finite
    counts: Annotated[tuple[Count, ...], Field(min_length=1)]


class Percentiles(Record):
    """Percentiles of all entries, draws and batches pooled."""

    p1: Finite
    p5: Finite
    p25: Finite
    p50: Finite
    p75: Finite
    p95: Finite
    p99: Finite
