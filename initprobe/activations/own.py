"""Activations of the user's own: any vectorised function, or a `package.module:name` to be imported.

A function must map an array to one of the same shape, entry by entry. It may have two attributes. `kinks` are the
points where it or one of its first two derivatives jumps. `slope` is its derivative as a function of z. Without them
the slope is a central difference, and the jumps of the slope are searched for. Ends where the function is exactly
constant are always searched for (`flat_ends`). An `Activation` record can say more: saturation, bounds, a period.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.errors import ConfigError
from initprobe.importing import import_name
from initprobe.spec import Spec, parse_spec

if TYPE_CHECKING:
    from initprobe.activations.own_checks import Function, Slope
    from initprobe.activations.own_slopes import Value

_OWN_NAME = re.compile(r"\s*([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*:\s*([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*(?::(.*))?")


def reference(text: str, *registries: Container[str]) -> Spec | None:
    """The specification of a `package.module:name`; None for other text.

    `name:key=value` is other text, since it has an `=`. So is a name that ships with something behind it.

    Args:
        text: as the user typed it.
        registries: of the names that ship; by default the activations.
    """
    match = _OWN_NAME.fullmatch(text)
    if match is None or any(match[1] in registry for registry in registries or (ACTIVATIONS,)):
        return None
    params = parse_spec(f"{match[2]}:{match[3]}").params if match[3] is not None else {}
    return Spec(f"{match[1]}:{match[2]}", params)


def imported(spec: Spec) -> Activation:
    """The activation that `package.module:name` names: a vectorised function, or an `Activation` record.

    Raises:
        ConfigError: no such module, no such name in it, or nothing that serves as an activation.
    """
    if spec.params:
        raise ConfigError(f"{spec.name} takes no parameters, but {', '.join(spec.params)} is given")
    return _record(Same(import_name(spec.name)), spec.name)


def unread_activation(name: str) -> Activation:
    """A record that stands for a `package.module:name` which is not imported; its name alone is right."""
    return replace(ACTIVATIONS["linear"], name=name, value=_unread)


def _unread(z: Array) -> Array:
    raise ConfigError("a function that was not imported cannot be called")


def activation(
    function: Function,
    *,
    name: str | None = None,
    slope: Function | None = None,
    kinks: tuple[float, ...] | None = None,
) -> Activation:
    """The record of a vectorised function; `dataclasses.replace` adds saturation, bounds or a period.

    Args:
        function: maps an array of any shape to one of the same shape, entry by entry.
        name: in titles and file names; None means its own.
        slope: its derivative, a function of z; None means its attribute `slope`, or else a central difference.
        kinks: points where it or its first two derivatives jump. None means its attribute `kinks`, or jumps of the
            slope that are found between -8 and 8.

    Returns:
        The record, for `ProbeConfig(act=...)`.

    Raises:
        ConfigError: the function cannot serve as an activation.
    """
    from initprobe.activations.kinks import find_kinks
    from initprobe.activations.own_checks import EPS, declared_kinks, require_signal, try_out
    from initprobe.activations.own_slopes import Value, step_of

    label = name or (_name(function) if callable(function) else repr(function))
    if not callable(function):
        raise ConfigError(f"{label}: is {type(function).__name__}, not a function of an array")
    value = Value(label, function)
    try_out(label, function)
    declared = declared_kinks(label, function, kinks)
    points = find_kinks(value) if declared is None else declared
    slope = slope or getattr(function, "slope", None)
    derivative = _derivative(label, value, points, slope)
    require_signal(label, value, derivative)
    noise = EPS / step_of(0.0) if slope is None else 0.0
    return _own_record(label, value, derivative, points, noise)


def _own_record(label: str, value: Value, slope: Slope, kinks: tuple[float, ...], slope_noise: float) -> Activation:
    from initprobe.activations.flat_ends import flat_ends

    ends = flat_ends(value, slope)
    return Activation(
        name=label,
        value=value,
        slope=slope,
        formula=f"{label.rpartition(':')[2]}(x)",
        reference=f"your own {label}",
        kinks=kinks,
        saturation=ends.saturation,
        dead_below=ends.dead_below,
        bounds=ends.bounds,
        slope_noise=slope_noise,
        uses_scipy=True,  # which may be
    )


def _derivative(label: str, value: Value, kinks: tuple[float, ...], slope: Function | None) -> Slope:
    """The slope as given, once tried out; else a central difference."""
    from initprobe.activations.own_checks import require_precision, try_out
    from initprobe.activations.own_slopes import Difference, SlopeFunction, Value

    if slope is None:
        require_precision(label, value.function)
        return Difference(value, kinks)
    try_out(f"{label}: its slope", slope)
    return SlopeFunction(Value(label, slope))


def is_probed(record: Activation) -> bool:
    """Whether the record comes from a function, so that saturation, dead units and range may be unknown."""
    from initprobe.activations.own_slopes import Value

    return isinstance(record.value, Value)


def own(function: Function) -> Activation:
    """The record of a function given from Python; the same function gives the same record.

    Raises:
        ConfigError: it cannot serve as an activation.
    """
    return _record(Same(function), _name(function))


@dataclass(frozen=True, eq=False)
class Same:
    """A key for a cache, equal only to a key of the same object; the object need not be hashable."""

    held: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.held is other.held

    def __hash__(self) -> int:
        return id(self.held)


# Cached: a sweep makes tens of thousands of configs of a few functions, and theory keeps its tables per record.
@lru_cache(maxsize=256)
def _record(key: Same, name: str) -> Activation:
    from initprobe.activations.own_checks import try_out

    given = key.held
    if not isinstance(given, Activation):
        return activation(given, name=name)
    try_out(name, given.value)
    try_out(f"{name}: its slope", lambda z: given.slope(z, given.value(z)))
    return given


def _name(function: object) -> str:
    """A readable name that no activation which ships has."""
    own = getattr(function, "__name__", None) or type(function).__name__
    word = re.sub(r"\W+", "", own) or "function"
    if word not in ACTIVATIONS:
        return word
    module = getattr(function, "__module__", None) or ("numpy" if isinstance(function, np.ufunc) else "own")
    return f"{module}:{word}"
