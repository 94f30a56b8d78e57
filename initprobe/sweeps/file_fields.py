"""Fields of an experiment as a sweep's file writes them: each value read once, however many runs share it.

Besides the fields of `ProbeConfig` there are `sigma_w` and `sigma_b`, which stand for `init` and `bias_init`, and
dotted names such as `init.std`, which set one parameter of a field that is given elsewhere.
"""

from __future__ import annotations

import inspect
import math
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, GetJsonSchemaHandler, TypeAdapter, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.config.consistency import fault_text
from initprobe.config.fields import as_input
from initprobe.config.names import as_activation, as_initializer, as_spec, is_imported, scaled
from initprobe.config.probe_config import ProbeConfig
from initprobe.config.thresholds import Thresholds
from initprobe.data.noise import INPUTS
from initprobe.errors import ConfigError, UnknownNameError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.registry import Registry, suggestion
from initprobe.spec import Spec, Value, parse_number, parse_value
from initprobe.sweeps.runs import Scalar

SCALES = {"sigma_w": "init", "sigma_b": "bias_init"}
FIELDS = (*ProbeConfig.model_fields, *SCALES)
_SPECS: Mapping[str, Registry[Any]] = {
    "init": INITIALIZERS,
    "bias_init": INITIALIZERS,
    "act": ACTIVATIONS,
    "input": INPUTS,
}
DOTTED = (*_SPECS, "thresholds")
# What a field does away with, where it overrides a lower level: they say the same thing in another way.
_RIVALS = {
    "init": ("sigma_w", "weights"),
    "sigma_w": ("init", "weights"),
    "weights": ("init", "sigma_w", "bias_init", "sigma_b", "layers", "width", "widths", "input_width"),
    "bias_init": ("sigma_b",),
    "sigma_b": ("bias_init",),
    "width": ("widths",),
    "layers": ("widths",),
    "widths": ("width", "layers"),
}


@dataclass(frozen=True)
class Setting:
    """One field's value.

    Attributes:
        name: the field, dotted where it is a parameter of one.
        value: what `ProbeConfig` takes for it.
        text: the value as a table shows it and as it is compared.
        place: file and line, or the option, that it comes from.
    """

    name: str
    value: Any
    text: Scalar
    place: str


Settings = Mapping[str, Setting]


class FieldsSchema:
    """The JSON Schema of a mapping from fields to values: that of `ProbeConfig`, with nothing required."""

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """What pydantic asks for where the annotation stands."""
        whole = handler.resolve_ref_schema(handler(ProbeConfig.__pydantic_core_schema__))
        about = _descriptions()
        fields = {name: {**schema, "description": about[name]} for name, schema in whole["properties"].items()}
        fields |= {name: {"type": ["number", "string"], "description": _SCALE_WORDS[name]} for name in SCALES}
        return {
            "type": "object",
            "properties": {name: self.value(schema, handler) for name, schema in fields.items()},
            "patternProperties": {
                rf"^({'|'.join(DOTTED)})\.\w+$": self.value({"type": ["number", "string", "boolean"]}, handler)
            },
            "additionalProperties": False,
        }

    def value(self, schema: JsonSchemaValue, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema of what stands beside a field's name, from that of the field itself."""
        return {key: part for key, part in schema.items() if key != "title" and not _is_no_default(key, part)}


def _is_no_default(key: str, value: object) -> bool:
    """A default that no one would write: null, or a record as Python holds it."""
    return key == "default" and not isinstance(value, str | int | float)


_SCALE_WORDS = {
    "sigma_w": "In place of init: normal weights of standard deviation sigma_w / sqrt(fan_in).",
    "sigma_b": "In place of bias_init: normal biases of standard deviation sigma_b.",
}


def _descriptions() -> dict[str, str]:
    """What the docstring of `ProbeConfig` says of each field."""
    entries = re.findall(r"^    (\w+): (.+(?:\n {6,}.+)*)", inspect.getdoc(ProbeConfig) or "", re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in entries}


@contextmanager
def at(place: str) -> Iterator[None]:
    """Complaints begin with the place."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None


def field_name(name: str) -> str:
    """The name of a field, dotted or not, as it is.

    Raises:
        UnknownNameError: there is no such field.
    """
    head, dot, key = name.partition(".")
    if head not in FIELDS:
        near = suggestion(head, FIELDS).replace("'?", f"{dot}{key}'?")
        raise UnknownNameError(f"unknown field {name!r}.{near}")
    if dot and (head not in DOTTED or not key):
        raise UnknownNameError(f"unknown field {name!r}: only {', '.join(DOTTED)} have parameters, as in init.std")
    if dot and head == "thresholds" and key not in Thresholds.model_fields:
        raise UnknownNameError(f"unknown limit {key!r}.{suggestion(key, list(Thresholds.model_fields))}")
    return name


Fields = Annotated[dict[Annotated[str, AfterValidator(field_name)], Any], FieldsSchema()]


def read(name: str, value: object, place: str = "") -> Setting:
    """A field's value from what a file holds at some place.

    Raises:
        ConfigError: of another type than the field's, or an unknown name.
    """
    return Setting(name, *_value_and_text(name, value), place)


def recorded(config: Mapping[str, Any], names: Iterable[str]) -> dict[str, Setting]:
    """The fields that `names` are of, dotted or not, from the config of a result."""
    heads = {name.partition(".")[0] for name in names}
    return {name: _recorded(name, kept_value(config, name)) for name in heads}


def kept_value(config: Mapping[str, Any], name: str) -> Any:
    """A field of an experiment from the config of a result; a later one is in no config at its default."""
    return config.get(name, ProbeConfig.model_fields[name].default)  # see `ProbeConfig._without_absent`


def _recorded(name: str, value: Any) -> Setting:
    # As text: a record of the user's own has a name that no registry knows, and a result must not import it.
    if name not in _SPECS or value is None:
        return read(name, value)
    return Setting(name, _spec(name, value) if isinstance(value, str) else value, str(value), "")


def _spec(field: str, value: object) -> Spec:
    return _AS_SPECS.get(field, as_spec)(value)


_AS_SPECS: Mapping[str, Callable[[object], Spec]] = {
    "act": as_activation,
    "init": as_initializer,
    "bias_init": as_initializer,
}


def _value_and_text(name: str, value: object) -> tuple[Any, Scalar]:
    head, dot, _ = name.partition(".")
    if dot:
        return _parameter(value)
    if name in SCALES:
        scale = number(value)
        return scaled(**{name: scale})[SCALES[name]], scale
    if value is None:
        return None, "null"
    if head in _SPECS:
        spec = _named(head, value)
        return spec, str(spec)
    return _plain(name, value)


def number(value: object) -> int | float:
    """A number, or text that the grammar reads as one: `5/3`, `sqrt(2)`.

    Raises:
        ConfigError: anything else.
    """
    if isinstance(value, str):
        return parse_number(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{reprlib.repr(value)} is not a finite number")
    return value


def _parameter(value: object) -> tuple[Value, Scalar]:
    if isinstance(value, str):
        text = parse_value(value)
        return text, text
    if isinstance(value, bool):
        return value, value
    found = number(value)
    return float(found), found


def _named(field: str, value: object) -> Spec | Path:
    """A specification whose name is known; whether its parameters fit is seen when all of them are there."""
    found = as_input(value) if field == "input" else _spec(field, value)
    if isinstance(found, Spec) and not is_imported(found):
        _ = _SPECS[field][found.name]
    return found


def _plain(name: str, value: object) -> tuple[Any, Scalar]:
    try:
        found = _type_of(name).validate_python(value)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join([name, *map(str, fault["loc"])])
        raise ConfigError(fault_text(fault, field, [f"{name}.{limit}" for limit in Thresholds.model_fields])) from None
    if isinstance(value, Mapping):
        return value, ",".join(f"{key}={limit}" for key, limit in value.items())
    if isinstance(found, Path | Spec):
        return found, str(found)
    return found, ",".join(map(str, found)) if isinstance(found, tuple) else found


@cache
def _type_of(name: str) -> TypeAdapter[Any]:
    field = ProbeConfig.model_fields[name]
    annotated: Any = Annotated[field.annotation, field]
    return TypeAdapter(annotated)


def replaces(upper: str, lower: str) -> bool:
    """Whether setting `upper` does away with what a lower level says under `lower`."""
    head = lower.partition(".")[0]
    return upper in (lower, head) or head in _RIVALS.get(upper, ())


def override(lower: Settings, upper: Settings) -> dict[str, Setting]:
    """`lower` and `upper` together; what `upper` says does away with what `lower` says about the same thing."""
    kept = {name: one for name, one in lower.items() if not any(replaces(above, name) for above in upper)}
    return kept | dict(upper)


def assemble(settings: Settings) -> dict[str, Any]:
    """The fields of a `ProbeConfig`.

    Raises:
        ConfigError: two settings say the same thing, or a parameter has nothing to belong to.
    """
    fields = {name: setting.value for name, setting in settings.items() if name not in SCALES and "." not in name}
    for name in SCALES.keys() & settings.keys():
        if fields.get(SCALES[name]) is not None:
            raise ConfigError(f"give {SCALES[name]} or {name}, not both")
        fields[SCALES[name]] = settings[name].value
    for name in settings:
        head, dot, key = name.partition(".")
        if dot:
            fields[head] = _with_parameter(head, fields.get(head), key, settings[name].value)
    return fields


def _with_parameter(field: str, whole: Any, key: str, value: Value) -> Any:
    if whole is None:
        whole = {} if field == "thresholds" else ProbeConfig.model_fields[field].default
    if isinstance(whole, Spec):
        return Spec(whole.name, {**whole.params, key: value})
    if isinstance(whole, Mapping):
        return {**whole, key: value}
    raise ConfigError(f"{field}.{key} needs {_article(field)} to belong to; name one in defaults or as an axis")


def _article(field: str) -> str:
    return f"{'an' if field[0] in 'aeiou' else 'a'} {field}{' that is no file' if field == 'input' else ''}"


def look(settings: Settings, name: str) -> Scalar | None:
    """The value of a field or of a parameter as text or number; None where it is not set."""
    if name in settings:
        return settings[name].text
    head, _, key = name.partition(".")
    whole = settings[head].value if head in settings else None
    params = whole.params if isinstance(whole, Spec) else whole
    found = params.get(key) if isinstance(params, Mapping) else None
    return found if isinstance(found, str | int | float) else None


def matches(settings: Settings, wanted: Iterable[Setting]) -> bool:
    """Whether every wanted value is the one that is set."""
    return all(same(look(settings, one.name), one.text) for one in wanted)


def same(a: Scalar | None, b: Scalar | None) -> bool:
    """Equal; numbers but for rounding, and true is not 1."""
    if isinstance(a, bool | str | None) or isinstance(b, bool | str | None):
        return type(a) is type(b) and a == b
    return math.isclose(a, b, rel_tol=1e-9)
