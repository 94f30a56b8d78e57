"""The types of the fields of `ProbeConfig`: what each takes, and its JSON Schema. Nothing is read or imported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.losses import LOSSES
from initprobe.activations.norms import NORMS
from initprobe.activations.own import own
from initprobe.activations.record import Activation
from initprobe.config.names import as_activation, as_initializer, as_spec, check_named, resolve
from initprobe.data.noise import DATASETS, INPUTS
from initprobe.data.tables import SUFFIXES
from initprobe.engine.number_formats import FORMATS, format_names
from initprobe.errors import ConfigError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.initializers.own import own_initializer
from initprobe.initializers.record import Initializer
from initprobe.registry import suggestion
from initprobe.spec import Spec, of_depth


def _initializer_spec(value: object) -> Spec | Initializer:
    if isinstance(value, Initializer):
        return value
    if callable(value):
        return own_initializer(value)
    return check_named(INITIALIZERS, as_initializer(value))


def _activation_spec(value: object) -> Spec | Activation:
    if isinstance(value, Activation):
        return value
    if callable(value):
        return own(value)
    return check_named(ACTIVATIONS, as_activation(value))


def as_input(value: object) -> Spec | Path:
    """The name of noise or of a data set that ships, or the path of a file of data.

    Raises:
        ConfigError: neither of them.
    """
    if isinstance(value, Path) or (isinstance(value, str) and _is_path(value)):
        return _writable_in_json(Path(value))
    spec = as_spec(value)
    resolve(INPUTS, spec)
    return spec


def _is_path(text: str) -> bool:
    """Whether text is a path: by its suffix or a slash, whatever lies in the directory."""
    return text.lower().endswith(SUFFIXES) or "/" in text.partition(":")[0]


def _labels(value: object) -> Spec | Path:
    """The name of a data set that ships, which has labels, or the path of a file of labels.

    Raises:
        ConfigError: neither of them.
    """
    if isinstance(value, Spec) or (isinstance(value, str) and not _is_path(value)):
        spec = as_spec(value)
        if spec.name not in DATASETS:
            raise ConfigError(f"{spec} is neither a file of labels nor one of {', '.join(DATASETS)}")
        resolve(DATASETS, spec)
        return spec
    if isinstance(value, str | Path):
        return _writable_in_json(Path(value))
    raise ConfigError(f"{value!r} is not a file of labels or one of {', '.join(DATASETS)}")


def _writable_in_json(path: Path) -> Path:
    """The path, if it can be written into a result.

    Raises:
        ConfigError: it holds bytes that are not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ConfigError("the name is not UTF-8, so no result can hold it; rename the file", file=path) from None
    return path


DataFile = Annotated[Path, AfterValidator(_writable_in_json)]


def _as_text(value: Spec | Initializer | Activation | Path) -> str:
    return value.name if isinstance(value, Initializer | Activation) else str(value)


_NORM_NAMES = ["none", *NORMS]


def _norm_name(value: str) -> str:
    """A norm by name, in any case; a ConfigError for an unknown name."""
    if value.lower() == "none" or value in NORMS:
        return NORMS[value].name if value in NORMS else "none"
    raise ConfigError(f"{value!r} is not one of {', '.join(_NORM_NAMES)}.{suggestion(value, _NORM_NAMES)}")


RANDOM = "random"
_LOSS_NAMES = [RANDOM, *LOSSES]


def _loss_name(value: str) -> str:
    """A loss by name, in any case; a ConfigError for an unknown name."""
    if value.lower() == RANDOM or value in LOSSES:
        return LOSSES[value].name if value in LOSSES else RANDOM
    raise ConfigError(f"{value!r} is not one of {', '.join(_LOSS_NAMES)}.{suggestion(value, _LOSS_NAMES)}")


def _branch_scale(value: object) -> float | str:
    """A number, or text with an L in it, which is evaluated once the number of layers is known.

    Raises:
        ConfigError: neither of them.
    """
    if isinstance(value, str):
        return value.strip() if "L" in value else of_depth(value, 1)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{value!r} is not a finite number or text like 1/sqrt(2L)")
    return float(value)


class _Named(BaseModel):
    """`{name: normal, std: 0.01}`: a name and its parameters, in the JSON Schema."""

    model_config = ConfigDict(extra="allow", title="Named")
    __pydantic_extra__: dict[str, float | bool | str]

    name: str


_AS_TEXT = PlainSerializer(_as_text, return_type=str)


def _read(read: Any, examples: Sequence[str]) -> Any:
    """The type of a field that `read` makes of text and mappings.

    Its own schema would say no more, and take half the time of making `ProbeConfig`. The JSON Schema lists names as
    examples, since a name may have parameters.
    """
    text = Annotated[str, Field(examples=list(examples))]
    return Annotated[Any, PlainValidator(read, json_schema_input_type=text | _Named), _AS_TEXT]


_INITIALIZERS = [*(record.example for record in INITIALIZERS.values()), "my.module:name"]
if TYPE_CHECKING:
    InitializerSpec = Spec | Initializer
    ActivationSpec = Spec | Activation
    InputSpec = Spec | Path
    LabelsSpec = Spec | Path
else:
    InitializerSpec = _read(_initializer_spec, _INITIALIZERS)
    ActivationSpec = _read(_activation_spec, [*ACTIVATIONS, "my.module:name"])
    InputSpec = _read(as_input, [*INPUTS, "data.npy"])
    LabelsSpec = _read(_labels, [*DATASETS, "labels.npy"])
NormName = Annotated[str, AfterValidator(_norm_name), WithJsonSchema({"enum": _NORM_NAMES, "type": "string"})]
_FormatName = Annotated[str, Field(json_schema_extra={"enum": list(FORMATS)})]
FormatNames = Annotated[
    tuple[str, ...],
    BeforeValidator(
        format_names,
        json_schema_input_type=list[_FormatName] | str,
    ),
]
BranchScale = Annotated[
    float | str,
    BeforeValidator(_branch_scale, json_schema_input_type=float | Annotated[str, Field(examples=["1/sqrt(2L)"])]),
]
LossName = Annotated[str, AfterValidator(_loss_name), WithJsonSchema({"enum": _LOSS_NAMES, "type": "string"})]
# Far more than any machine can measure; a larger number is a typing error.
MOST_LAYERS, MOST_UNITS, MOST_SAMPLES, MOST_REPEATS, MOST_CLASSES = 100_000, 10**7, 10**9, 10**6, 100_000
Units = Annotated[int, Field(ge=1, le=MOST_UNITS, strict=True)]
Repeats = Annotated[int, Field(ge=1, le=MOST_REPEATS, strict=True)]
