"""What a specification names: one of our records, made with its parameters, or a function of the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.own import imported, reference
from initprobe.activations.record import Activation
from initprobe.errors import ConfigError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.initializers.own import imported_initializer
from initprobe.initializers.record import Initializer
from initprobe.registry import Registry
from initprobe.spec import Spec, Value, build, parse_spec, parse_value


def resolve(registry: Registry[Any], spec: Spec) -> Any:
    """The record that `spec` names, made with its parameters.

    Args:
        registry, spec: of all records of this kind, and a name with parameters.

    Raises:
        ConfigError: an unknown name or parameter, or one that the record refuses.
    """
    record = registry[spec.name]
    if record.make is None and not spec.params:
        return record
    if record.make is None:
        raise ConfigError(f"{spec.name} takes no parameters, but {', '.join(spec.params)} is given")
    return build(record.make, spec)


def is_imported(value: object) -> bool:
    """Whether `value` is the specification of a `package.module:name`, whose module must be imported."""
    return isinstance(value, Spec) and ":" in value.name


def check_named(registry: Registry[Any], spec: Spec) -> Spec:
    """The specification, if a registry knows its name and parameters; of a `package.module:name` only the form counts.

    Args:
        registry, spec: of all records of this kind, and a name with parameters.

    Raises:
        ConfigError: it does not, or there are parameters behind a `package.module:name`.
    """
    if not is_imported(spec):
        resolve(registry, spec)
    elif spec.params:
        raise ConfigError(f"{spec.name} takes no parameters, but {', '.join(spec.params)} is given")
    return spec


def scaled(sigma_w: float | None = None, sigma_b: float | None = None) -> dict[str, Spec]:
    """`init` and `bias_init` from the scales of the mean-field papers: `sigma_w^2 = fan_in Var(W)`, `sigma_b = std(b)`.

    Args:
        sigma_w, sigma_b: None where not given.

    Returns:
        By the name of the field; only what is given.

    Raises:
        ConfigError: a scale is below 0, or its square beyond the float range.
    """
    for name, scale in (("sigma_w", sigma_w), ("sigma_b", sigma_b)):
        if scale is not None and not (scale >= 0 and scale * scale < math.inf):
            most = "" if scale < 0 else " and below 1e154"
            raise ConfigError(f"{scale:g} must be at least 0{most}", field=name)
    specs = {}
    if sigma_w is not None:
        specs["init"] = Spec("variance_scaling", {"scale": float(sigma_w * sigma_w)})
    if sigma_b is not None:
        specs["bias_init"] = Spec("normal", {"std": float(sigma_b)})
    return specs


def as_spec(value: object, parse: Callable[[str], Spec] = parse_spec) -> Spec:
    """A specification: read from text or from a mapping with a `name`, or returned if it is one.

    Args:
        value: what the user gave.
        parse: reads text.

    Raises:
        ConfigError: anything else, or text that is not of the grammar.
    """
    if isinstance(value, Spec):
        return value
    if isinstance(value, str):
        return parse(value)
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        named = parse(value["name"])
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


def as_activation(value: object) -> Spec:
    """As `as_spec`, but it also reads a `package.module:name`."""
    return as_spec(value, lambda text: reference(text) or parse_spec(text))


def activation_of(spec: Spec) -> Activation:
    """The activation that `spec` names; a `package.module:name` is imported.

    Raises:
        ConfigError: there is no such activation, or it cannot serve as one.
    """
    if is_imported(spec):
        return imported(spec)
    activation: Activation = resolve(ACTIVATIONS, spec)
    return activation


def as_initializer(value: object) -> Spec:
    """As `as_spec`, but it also reads a `package.module:name`."""
    return as_spec(value, lambda text: reference(text, INITIALIZERS) or parse_spec(text))


def initializer_of(spec: Spec) -> Initializer:
    """The initializer that `spec` names; a `package.module:name` is imported.

    Raises:
        ConfigError: there is no such initializer, or it cannot serve as one.
    """
    if is_imported(spec):
        return imported_initializer(spec)
    initializer: Initializer = resolve(INITIALIZERS, spec)
    return initializer
