"""Fields of an experiment as a sweep's file writes them. Each value is read once, however many runs share it.

A file may also name `sigma_w` and `sigma_b`, which stand for `init` and `bias_init`. A dotted name such as `init.std`
sets one parameter of a field that is given elsewhere.
"""

from __future__ import annotations

import inspect
import math
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, GetJsonSchemaHandler, TypeAdapter, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.config.consistency import fault_error, unknown_field
from initprobe.config.fields import as_input
from initprobe.config.names import as_activation, as_initializer, as_spec, is_imported, scaled
from initprobe.config.probe_config import ProbeConfig
from initprobe.config.thresholds import Thresholds
from initprobe.data.documents import Place
from initprobe.data.noise import INPUTS
from initprobe.errors import ConfigError, UnknownNameError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.registry import Registry, suggestion
from initprobe.spec import Spec, Value, parse_number, parse_value
from initprobe.sweeps.runs import Scalar

SCALES = {"sigma_w": "init", "sigma_b": "bias_init"}
FIELDS = (*ProbeConfig.model_fields, *SCALES)
_INITS = dict.fromkeys(("init", "bias_init"), INITIALIZERS)
_SPECS: Mapping[str, Registry[Any]] = {**_INITS, "act": ACTIVATIONS, "input": INPUTS}
DOTTED = (*_SPECS, "thresholds")
# The fields that a field replaces where it overrides a lower level: they set the same thing in another way.
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


NOWHERE = Place()


@dataclass(frozen=True)
class Setting:
    """The value of one field.

    Attributes:
        name: the field, dotted for a parameter of a field.
        value: the value that `ProbeConfig` takes.
        text: the value as tables show it and as values are compared.
        place: where it was given.
    """

    name: str
    value: Any
    text: Scalar
    place: Place = NOWHERE


Settings = Mapping[str, Setting]


class FieldsSchema:
    """The JSON Schema of a mapping from fields to values: that of `ProbeConfig`, with nothing required."""

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema that pydantic asks for at the annotation."""
        whole = handler.resolve_ref_schema(handler(ProbeConfig.__pydantic_core_schema__))
        texts = _descriptions()
        fields = {name: {**schema, "description": texts[name]} for name, schema in whole["properties"].items()}
        fields |= {name: {"type": ["number", "string"], "description": _SCALE_TEXTS[name]} for name in SCALES}
        return {
            "type": "object",
            "properties": {name: self.value(schema, handler) for name, schema in fields.items()},
            "patternProperties": {
                rf"^({'|'.join(DOTTED)})\.\w+$": self.value({"type": ["number", "string", "boolean"]}, handler)
            },
            "additionalProperties": False,
        }

    def value(self, schema: JsonSchemaValue, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema of the value beside a field's name; arguments as in `__get_pydantic_json_schema__`."""
        return {key: part for key, part in schema.items() if key != "title" and not _is_unwritable_default(key, part)}


def _is_unwritable_default(key: str, value: object) -> bool:
    """Whether it is a default that a file cannot have: null, or a Python object."""
    return key == "default" and not isinstance(value, str | int | float)


_SCALE_TEXTS = {
    "sigma_w": "In place of init: normal weights of standard deviation sigma_w / sqrt(fan_in).",
    "sigma_b": "In place of bias_init: normal biases of standard deviation sigma_b.",
}


def _descriptions() -> dict[str, str]:
    """The text of each field in the docstring of `ProbeConfig`."""
    entries = re.findall(r"^    (\w+): (.+(?:\n {6,}.+)*)", inspect.getdoc(ProbeConfig) or "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def field_name(name: str) -> str:
    """The name itself, if it is a field or a parameter of one.

    Raises:
        UnknownNameError: there is no such field or parameter.
    """
    head, dot, key = name.partition(".")
    if head not in FIELDS:
        words = unknown_field(head, FIELDS).replace(f"{head!r}", f"{name!r}", 1)
        raise UnknownNameError(words.replace("'?", f"{dot}{key}'?"))
    if dot and (head not in DOTTED or not key):
        raise UnknownNameError(f"unknown field {name!r}: only {', '.join(DOTTED)} have parameters, as in init.std")
    if dot and head == "thresholds" and key not in Thresholds.model_fields:
        raise UnknownNameError(f"unknown limit {key!r}.{suggestion(key, list(Thresholds.model_fields))}")
    return name


Fields = Annotated[dict[Annotated[str, AfterValidator(field_name)], Any], FieldsSchema()]


def read_setting(name: str, value: object, place: Place = NOWHERE) -> Setting:
    """A field's value as a setting.

    Args:
        name: the field, or `field.parameter`.
        value: as the file holds it.
        place: where it was given.

    Raises:
        ConfigError: the value has another type than the field, or names something unknown.
    """
    return Setting(name, *_value_and_text(name, value), place)


def settings_of(config: Mapping[str, Any], names: Iterable[str]) -> dict[str, Setting]:
    """The fields of a result's config that `names` name, by field; a dotted name means its field.

    Args:
        config: of a result.
        names: of fields; `init.gain` stands for `init`.
    """
    fields = {name.partition(".")[0] for name in names}
    return {name: _setting_of_result(name, result_value(config, name)) for name in fields}


def result_value(config: Mapping[str, Any], name: str) -> Any:
    """The value of a field in a result's config, which leaves out newer fields at their defaults.

    Args:
        config, name: of a result, and the name of a field.
    """
    return config.get(name, ProbeConfig.model_fields[name].default)


def _setting_of_result(name: str, value: Any) -> Setting:
    # As text: the name of a user's own function is in no registry, and a result must not import it.
    if name not in _SPECS or value is None:
        return read_setting(name, value)
    return Setting(name, _spec(name, value) if isinstance(value, str) else value, str(value))


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
        scale = read_number(value)
        return scaled(**{name: scale})[SCALES[name]], scale
    if value is None:
        return None, "null"
    if head in _SPECS:
        spec = _named(head, value)
        return spec, str(spec)
    return _plain(name, value)


def read_number(value: object) -> int | float:
    """A number, from a number or from text such as `5/3` or `sqrt(2)`.

    Raises:
        ConfigError: the value is neither, or not finite.
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
    scalar = read_number(value)
    return float(scalar), scalar


def _named(field: str, value: object) -> Spec | Path:
    """A specification whose name is checked; its parameters are checked when all of them are known."""
    spec = as_input(value) if field == "input" else _spec(field, value)
    if isinstance(spec, Spec) and not is_imported(spec):
        _ = _SPECS[field][spec.name]
    return spec


def _plain(name: str, value: object) -> tuple[Any, Scalar]:
    try:
        valid = _type_of(name).validate_python(value)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join([name, *map(str, fault["loc"])])
        raise fault_error(fault, field, [f"{name}.{limit}" for limit in Thresholds.model_fields]) from None
    if isinstance(value, Mapping):
        return value, ",".join(f"{key}={limit}" for key, limit in value.items())
    if isinstance(valid, Path | Spec):
        return valid, str(valid)
    return valid, ",".join(map(str, valid)) if isinstance(valid, tuple) else valid


@cache
def _type_of(name: str) -> TypeAdapter[Any]:
    field = ProbeConfig.model_fields[name]
    annotated: Any = Annotated[field.annotation, field]
    return TypeAdapter(annotated)


def replaces(upper: str, lower: str) -> bool:
    """Whether the field `upper` replaces the field `lower` of a lower level.

    Args:
        upper, lower: of the level that counts more, and of the level that counts less.
    """
    head = lower.partition(".")[0]
    return upper in (lower, head) or head in _RIVALS.get(upper, ())


def override(lower: Settings, upper: Settings) -> dict[str, Setting]:
    """The settings of both levels; those of `upper` replace those of `lower` about the same thing.

    Args:
        lower, upper: settings of the level that counts less, and of the level that counts more.
    """
    kept = {name: setting for name, setting in lower.items() if not any(replaces(above, name) for above in upper)}
    return kept | dict(upper)


def assemble(settings: Settings) -> dict[str, Any]:
    """The fields of a `ProbeConfig`.

    Raises:
        ConfigError: two settings set the same thing, or a parameter lacks its field.
    """
    fields = {name: setting.value for name, setting in settings.items() if name not in SCALES and "." not in name}
    for name in SCALES.keys() & settings.keys():
        if fields.get(SCALES[name]) is not None:
            raise settings[SCALES[name]].place.error(f"give {SCALES[name]} or {name}, not both")
        fields[SCALES[name]] = settings[name].value
    for name in settings:
        field, dot, key = name.partition(".")
        if dot:
            with settings[name].place.blamed():
                fields[field] = _with_parameter(field, fields.get(field), key, settings[name].value)
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


def setting_text(settings: Settings, name: str) -> Scalar | None:
    """The value of a field or of a parameter, as tables show it; None where it is not set.

    Args:
        settings: of a run.
        name: of a field, or `field.parameter`.
    """
    if name in settings:
        return settings[name].text
    head, _, key = name.partition(".")
    whole = settings[head].value if head in settings else None
    params = whole.params if isinstance(whole, Spec) else whole
    value = params.get(key) if isinstance(params, Mapping) else None
    return value if isinstance(value, str | int | float) else None


def matches(settings: Settings, wanted: Iterable[Setting]) -> bool:
    """Whether every wanted value is the one that is set.

    Args:
        settings, wanted: of a run, and fields with their values.
    """
    return all(equal(setting_text(settings, setting.name), setting.text) for setting in wanted)


def equal(a: Scalar | None, b: Scalar | None) -> bool:
    """Whether two values are equal, numbers up to a relative difference of 1e-9. True is not 1.

    Args:
        a, b: the values.
    """
    if isinstance(a, bool | str | None) or isinstance(b, bool | str | None):
        return type(a) is type(b) and a == b
    return math.isclose(a, b, rel_tol=1e-9)
