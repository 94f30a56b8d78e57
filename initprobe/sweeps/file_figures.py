"""The figures that a sweep's file may name: their keys, as pydantic models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from initprobe.errors import ConfigError, UnknownNameError
from initprobe.registry import suggestion
from initprobe.reports.figures import sweep_kinds
from initprobe.results.base import TENSORS
from initprobe.results.named_numbers import HEALTHY, LAYER_NUMBERS, LOSSES, RATES, VERDICT

if TYPE_CHECKING:
    PaperKind = str
else:
    PaperKind = Literal[tuple(sweep_kinds.KINDS)]


class Part(BaseModel):
    """A mapping in the file that allows no other keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Summary(Part):
    """One picture per run: outputs, gradients and their variance over the depth."""

    kind: Literal["summary"]


class Depth(Part):
    """A profile over the layers, one line per run."""

    kind: Literal["depth"]
    value: str = Field("output.variance", description="A number of a layer, as in output.variance.")


class Heatmap(Part):
    """Colour over two numeric axes."""

    kind: Literal["heatmap"]
    x: str | None = Field(None, description="The axis across; the first numeric one if not given.")
    y: str | None = Field(None, description="The axis upwards; the next numeric one if not given.")
    value: str = Field(
        "output.variance",
        description="verdict, a number of a layer, TENSOR.variance_per_layer or training.final_loss of the whole net.",
    )
    layer: Literal["first", "last"] | Annotated[int, Field(ge=1, strict=True)] = Field(
        "last", description="The layer that the value is taken from: first, last or a number from 1 on."
    )


class Histograms(Part):
    """Small multiples of histograms, one for each value of an axis."""

    kind: Literal["histograms"]
    over: str | None = Field(None, description="The axis; the first that is not numeric if not given.")
    tensor: str = Field("output", description=f"One of {', '.join(TENSORS)}.")


class Paper(Part):
    """A figure of a published paper, of all runs."""

    kind: PaperKind = Field(description=" ".join(f"{kind}: {text}" for kind, text in sweep_kinds.KINDS.items()))


KINDS: Mapping[str, type[Part]] = {
    "summary": Summary,
    "depth": Depth,
    "heatmap": Heatmap,
    "histograms": Histograms,
    **dict.fromkeys(sweep_kinds.KINDS, Paper),
}
_VALUES = {
    ("depth", "value"): LAYER_NUMBERS,
    ("heatmap", "value"): (VERDICT, HEALTHY, *RATES, *LOSSES, *LAYER_NUMBERS),
    ("histograms", "tensor"): TENSORS,
}


def _figure(value: object) -> object:
    """A mapping with a `kind`, from such a mapping or from the kind alone."""
    whole = {"kind": value} if isinstance(value, str) else value
    if not isinstance(whole, dict) or not isinstance(whole.get("kind"), str):
        raise ConfigError(f"a figure is {', '.join(KINDS)}, or a mapping with a kind")
    kind = whole["kind"]
    if kind not in KINDS:
        hint = suggestion(kind, list(KINDS)) or f" There are {', '.join(KINDS)}."
        raise UnknownNameError(f"unknown figure {kind!r}.{hint}")
    for key in whole.keys() & {key for owner, key in _VALUES if owner == kind}:
        _check_name(str(whole[key]), _VALUES[kind, key])
    return whole


def _check_name(name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise UnknownNameError(f"unknown value {name!r}.{suggestion(name, names)}")


Figure = Summary | Depth | Heatmap | Histograms | Paper
if TYPE_CHECKING:
    _Name = str
else:
    _Name = Literal[tuple(KINDS)]
FigureOrName = Annotated[
    Annotated[Figure, Field(discriminator="kind")],
    BeforeValidator(_figure, json_schema_input_type=_Name | Figure),
]
