"""`ProbeConfig`: one experiment, validated and frozen."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from initprobe.activations import ACTIVATIONS, Activation
from initprobe.errors import ConfigError
from initprobe.grammar import Spec, Value, build, parse_spec, parse_value
from initprobe.initializers import INITIALIZERS, Initializer
from initprobe.inputs import INPUTS, SUFFIXES, Noise
from initprobe.registry import Registry
from initprobe.thresholds import Thresholds

DEFAULT_LAYERS = 10
DEFAULT_WIDTH = 500
DEFAULT_BATCH = 1000


def resolve(registry: Registry[Any], spec: Spec) -> Any:
    """The record that `spec` names, made with its parameters.

    Raises:
        ConfigError: an unknown name or parameter, or one that the record refuses.
    """
    record = registry[spec.name]
    if record.make is None and not spec.params:
        return record
    if record.make is None:
        raise ConfigError(f"{spec.name} takes no parameters, but {', '.join(spec.params)} is given")
    return build(record.make, spec)


def _as_spec(value: object) -> Spec:
    """A specification from text, from a mapping with a `name`, or as it is."""
    if isinstance(value, Spec):
        return value
    if isinstance(value, str):
        return parse_spec(value)
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        named = parse_spec(value["name"])
        params = {key: _scalar(key, v) for key, v in value.items() if key != "name"}
        if twice := named.params.keys() & params.keys():
            raise ConfigError(f"{named.name}: {min(twice)} is given twice")
        return Spec(named.name, {**named.params, **params})
    raise ConfigError(f"{value!r} is not a name, name:key=value,... or a mapping with a name")


def _scalar(key: object, value: object) -> Value:
    """A parameter of a mapping: a number, true, false, or text as on the command line."""
    if isinstance(key, str) and isinstance(value, bool | int | float | str):
        return value if isinstance(value, bool) else parse_value(str(value))
    raise ConfigError(f"{key}: {value!r} is not a number, true, false or a word")


def _initializer_spec(value: object) -> Spec | Initializer:
    if isinstance(value, Initializer):
        return value
    spec = _as_spec(value)
    resolve(INITIALIZERS, spec)
    return spec


def _activation_spec(value: object) -> Spec | Activation:
    if isinstance(value, Activation):
        return value
    spec = _as_spec(value)
    resolve(ACTIVATIONS, spec)
    return spec


def _input_spec(value: object) -> Spec | Path:
    """Noise by name, or the path of a file of data."""
    if isinstance(value, Path):
        return value
    if isinstance(value, str) and _is_path(value):
        return Path(value)
    spec = _as_spec(value)
    resolve(INPUTS, spec)
    return spec


def _is_path(text: str) -> bool:
    return text.lower().endswith(SUFFIXES) or "/" in text.partition(":")[0] or Path(text).is_file()


def _in_words(value: Spec | Initializer | Activation | Path) -> str:
    return value.name if isinstance(value, Initializer | Activation) else str(value)


_WORDS = PlainSerializer(_in_words, return_type=str)
InitializerSpec = Annotated[Spec | Initializer, BeforeValidator(_initializer_spec), _WORDS]
ActivationSpec = Annotated[Spec | Activation, BeforeValidator(_activation_spec), _WORDS]
InputSpec = Annotated[Spec | Path, BeforeValidator(_input_spec), _WORDS]
Size = Annotated[int, Field(ge=1, strict=True)]


class ProbeConfig(BaseModel):
    """One experiment: a network, its input, and how often it is drawn.

    Args:
        init: weight initializer: a name, `name:key=value,...`, or an `Initializer` of your own.
        act: activation: the same, or an `Activation` of your own.
        bias_init: bias initializer; None means zeros, or the one that comes with `init`.
        layers: number of layers; None means the length of `widths`, or 10.
        width: units of every layer, where `widths` is not given.
        widths: units of each layer.
        input_width: input features; None means those of the data, or the first layer's width.
        input: `gaussian[:std=..,mean=..,correlation=..]`, `uniform[:low=..,high=..]` or a .npy, .npz or .csv file.
        standardize: shift and scale every feature of a file to mean 0 and variance 1.
        batch: samples in a batch; None means 1000, or all rows of a file.
        batches: batches sent through the same weights, merged as if they were one.
        draws: independent networks, each with its own synthetic input.
        seed: seed of everything random.
        dtype: precision of the network; statistics are taken in float64 either way.
        thresholds: limits of the verdict, by name: `{"saturated": 0.3}`.

    Raises:
        ConfigError: in one line, what is wrong and what to do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    init: InitializerSpec
    act: ActivationSpec
    bias_init: InitializerSpec | None = None
    layers: Size | None = None
    width: Size | None = None
    widths: tuple[Size, ...] | None = None
    input_width: Size | None = None
    input: InputSpec = Spec("gaussian", {})
    standardize: bool = False
    batch: Annotated[int, Field(ge=2, strict=True)] | None = None
    batches: Size = 1
    draws: Size = 4
    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    dtype: Literal["float32", "float64"] = "float32"
    thresholds: Thresholds = Thresholds()

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise ConfigError(_first_fault(error)) from None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.widths is not None:
            _check_widths(self.widths, self.layers, self.width)
        bias = self.bias_initializer
        if self.bias_init is not None and bias.needs_fan:
            raise ConfigError(
                f"bias_init: {bias.name} depends on the layer's size, which a bias does not have; "
                "use zeros, normal:std=0.1 or constant:value=0.1"
            )
        if self.standardize and not isinstance(self.input, Path):
            raise ConfigError("standardize is for data from a file; synthetic input takes std= and mean=")
        return self

    @cached_property
    def initializer(self) -> Initializer:
        """The weight initializer."""
        return self.init if isinstance(self.init, Initializer) else resolve(INITIALIZERS, self.init)

    @cached_property
    def bias_initializer(self) -> Initializer:
        """The bias initializer: the one asked for, the one that comes with the weights, or zeros."""
        if isinstance(self.bias_init, Spec):
            bias: Initializer = resolve(INITIALIZERS, self.bias_init)
            return bias
        return self.bias_init or self.initializer.bias or INITIALIZERS["zeros"]

    @cached_property
    def activation(self) -> Activation:
        """The activation."""
        return self.act if isinstance(self.act, Activation) else resolve(ACTIVATIONS, self.act)

    @cached_property
    def noise(self) -> Noise | None:
        """The synthetic input, or None where it comes from a file."""
        return None if isinstance(self.input, Path) else resolve(INPUTS, self.input)

    @property
    def layer_widths(self) -> tuple[int, ...]:
        """Units of each layer, first to last."""
        return self.widths or (self.width or DEFAULT_WIDTH,) * (self.layers or DEFAULT_LAYERS)


def _check_widths(widths: tuple[int, ...], layers: int | None, width: int | None) -> None:
    if not widths:
        raise ConfigError("widths is empty; give at least one layer, as in 500,400,300")
    if layers not in (None, len(widths)):
        raise ConfigError(f"layers is {layers}, but widths names {len(widths)}; drop one of the two")
    if width is not None:
        raise ConfigError("give width (every layer) or widths (each layer), not both")


def _first_fault(error: ValidationError) -> str:
    """pydantic's first complaint as one line that names the field and what it takes."""
    fault = error.errors()[0]
    cause = fault.get("ctx", {}).get("error")
    field = ".".join(str(part) for part in fault["loc"] if not str(part).startswith(("function", "is-instance")))
    if isinstance(cause, ConfigError):
        text = str(cause)
        return text if not field or text.startswith(field) else f"{field}: {text}"
    if fault["type"] == "extra_forbidden":
        from initprobe.registry import suggestion

        return f"unknown field {field!r}.{suggestion(field, list(ProbeConfig.model_fields))}"
    if fault["type"] == "missing":
        return f"{field} is missing"
    return f"{field}: {fault['msg'][0].lower()}{fault['msg'][1:]}, not {fault['input']!r}"
