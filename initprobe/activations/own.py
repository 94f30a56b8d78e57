"""Activations of the user's own: any vectorised function, or a `package.module:name` to be imported.

A function needs nothing but to map an array to one of its shape, entry by entry. It may carry two attributes:
`kinks`, the points where it or one of its first two derivatives jumps, and `slope`, its derivative as a function of z.
Without them the slope is a central difference and jumps of the slope are looked for, as are ends where it is exactly
constant (`flats`). An `Activation` record says everything else: saturation, bounds, a period.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.flat_ends import flats
from initprobe.activations.kinks import found_kinks
from initprobe.activations.own_checks import EPS, Function, Slope, declared, require_precision, require_signal, try_out
from initprobe.activations.own_slopes import Difference, SlopeFunction, Value, step_of
from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.errors import ConfigError
from initprobe.importing import found_at
from initprobe.spec import Spec, parse_spec

_WRITTEN = re.compile(r"\s*([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*:\s*([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*(?::(.*))?")


def reference(text: str, *registries: Container[str]) -> Spec | None:
    """`package.module:name` as a specification of that name; None for what is no such thing.

    `name:key=value` is none, since it has an `=`, nor is a name of `registries` (by default that of the activations)
    with something behind it.
    """
    found = _WRITTEN.fullmatch(text)
    if found is None or any(found[1] in registry for registry in registries or (ACTIVATIONS,)):
        return None
    params = parse_spec(f"{found[2]}:{found[3]}").params if found[3] is not None else {}
    return Spec(f"{found[1]}:{found[2]}", params)


def imported(spec: Spec) -> Activation:
    """The activation that `package.module:name` names: a vectorised function, or an `Activation` record.

    Raises:
        ConfigError: no such module, no such name in it, or nothing that serves as an activation.
    """
    if spec.params:
        raise ConfigError(f"{spec.name} takes no parameters, but {', '.join(spec.params)} is given")
    return _made(Same(found_at(spec.name)), spec.name)


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
        kinks: points where it or one of its first two derivatives jumps; None means its attribute `kinks`, or else
            those that are found between -8 and 8, where the slope itself jumps.

    Raises:
        ConfigError: the function cannot serve as an activation; in one line, why and what to do.
    """
    label = name or _name(function)
    if not callable(function):
        raise ConfigError(f"{label}: is {type(function).__name__}, not a function of an array")
    value = Value(label, function)
    try_out(label, function)
    given = slope or getattr(function, "slope", None)
    bends = declared(label, function, kinks)
    if bends is None:
        bends = found_kinks(value)
    if given is None:
        require_precision(label, function)
    else:
        try_out(f"{label}: its slope", given)
    taken: Slope = Difference(value, bends) if given is None else SlopeFunction(Value(label, given))
    require_signal(label, value, taken)
    ends = flats(value, taken)
    return Activation(
        name=label,
        value=value,
        slope=taken,
        formula=f"{label.rpartition(':')[2]}(x)",
        reference=f"your own {label}",
        kinks=bends,
        saturation=ends.saturation,
        dead_below=ends.dead_below,
        bounds=ends.bounds,
        slope_noise=EPS / step_of(0.0) if given is None else 0.0,
    )


def is_probed(record: Activation) -> bool:
    """What the record does not hold of saturation, dead units and range is not known, rather than not there."""
    return isinstance(record.value, Value)


def own(function: Function) -> Activation:
    """The record of a function given from Python, the same record each time it is given.

    Raises:
        ConfigError: it cannot serve as an activation.
    """
    return _made(Same(function), _name(function))


@dataclass(frozen=True, eq=False)
class Same:
    """Equal to what holds the very same object: a reloaded function is another, and one need not be hashable."""

    held: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.held is other.held

    def __hash__(self) -> int:
        return id(self.held)


# A sweep makes tens of thousands of configs with a handful of functions, and theory keeps its tables by the record.
@lru_cache(maxsize=256)
def _made(found: Same, name: str) -> Activation:
    if not isinstance(found.held, Activation):
        return activation(found.held, name=name)
    try_out(name, found.held.value)
    try_out(f"{name}: its slope", lambda z: found.held.slope(z, found.held.value(z)))
    return found.held


def _name(function: object) -> str:
    """A readable name that is no registered activation's."""
    own = getattr(function, "__name__", None) or type(function).__name__
    word = re.sub(r"\W+", "", own) or "function"
    if word not in ACTIVATIONS:
        return word
    module = getattr(function, "__module__", None) or ("numpy" if isinstance(function, np.ufunc) else "own")
    return f"{module}:{word}"
