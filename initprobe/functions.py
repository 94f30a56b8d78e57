"""Activations of the user's own: any vectorised function, or a `package.module:name` to be imported.

A function needs nothing but to map an array to one of its shape, entry by entry. It may carry two attributes:
`kinks`, the points where it or one of its first two derivatives jumps, and `slope`, its derivative as a function of z.
Without them the slope is a central difference and jumps of the slope are looked for, as are ends where it is exactly
constant (`flats`). An `Activation` record says everything else: saturation, bounds, a period.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from initprobe.activations import ACTIVATIONS, Activation
from initprobe.errors import ConfigError
from initprobe.flats import flats
from initprobe.grammar import Spec, parse_spec
from initprobe.importing import found_at, in_words, passed_over

Array = npt.NDArray[Any]
Function = Callable[[Array], Any]
Slope = Callable[[Array, Array], Array]

_WRITTEN = re.compile(r"\s*([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*:\s*([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*(?::(.*))?")
_EPS = float(np.finfo(float).eps)
# A function is tried where the pre-activations of any sound net lie. The shape shows one that flattens its argument.
_TRIED = (np.arange(-160, 161) / 16).reshape(3, 107)
_ULPS = 64
# It is tried again on a row, on each half of the rows, and on single entries.
_PARTS = (np.s_[:1], np.s_[:, :53], np.s_[:, 53:], np.s_[:1, :1], np.s_[1:2, 60:61], np.s_[2:, 106:])
# Kinks are looked for cell by cell; no cell's edge is a round number, as kinks are.
_REACH, _CELLS, _BISECTIONS = 8.0, 512, 34
_PLACES = 9
# A slope that jumps by this share of its largest value over this distance does not bend there, it breaks.
_BREAK, _NEAR = 1e-2, 1e-5
# A rise over that distance, so many times as steep as over any cell, is a leap of phi itself.
_LEAP = 10
_MOST_KINKS = 32


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

    Inside `without_importing`, a record that has the name alone.

    Raises:
        ConfigError: no such module, no such name in it, or nothing that serves as an activation.
    """
    if spec.params:
        raise ConfigError(f"{spec.name} takes no parameters, but {', '.join(spec.params)} is given")
    if passed_over(spec.name):
        return replace(ACTIVATIONS["linear"], name=spec.name, value=_unseen)
    return _made(Same(found_at(spec.name)), spec.name)


def _unseen(z: Array) -> Array:
    raise ConfigError("a function that was not looked at cannot be called")


def is_unseen(record: Activation) -> bool:
    """The record only stands for one that may not be imported here; its name alone is known."""
    return record.value is _unseen


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
    value = _Value(label, function)
    _try(label, function)
    given = slope or getattr(function, "slope", None)
    bends = _declared(label, function, kinks)
    if bends is None:
        bends = _found_kinks(value)
    if given is None:
        _require_precision(label, function)
    else:
        _try(f"{label}: its slope", given)
    taken: Slope = _Difference(value, bends) if given is None else _Slope(_Value(label, given))
    _require_signal(label, value, taken)
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
        slope_noise=_EPS / _step(0.0) if given is None else 0.0,
    )


def is_probed(record: Activation) -> bool:
    """What the record does not hold of saturation, dead units and range is not known, rather than not there."""
    return isinstance(record.value, _Value)


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
    _try(name, found.held.value)
    _try(f"{name}: its slope", lambda z: found.held.slope(z, found.held.value(z)))
    return found.held


def _name(function: object) -> str:
    """A readable name that is no registered activation's."""
    own = getattr(function, "__name__", None) or type(function).__name__
    word = re.sub(r"\W+", "", own) or "function"
    if word not in ACTIVATIONS:
        return word
    module = getattr(function, "__module__", None) or ("numpy" if isinstance(function, np.ufunc) else "own")
    return f"{module}:{word}"


def _try(label: str, function: Function) -> None:
    """Make sure that a function can be given what a network gives it.

    Raises:
        ConfigError: it cannot.
    """
    for dtype in (np.float64, np.float32):
        z = _TRIED.astype(dtype)
        h = _called(label, function, z.copy())
        _require_array(label, h)
        if not np.isfinite(h).all():
            at = np.flatnonzero(~np.isfinite(h))[0]
            raise ConfigError(f"{label}: gives {h.flat[at]} at z = {z.flat[at]:g}; make it finite for every finite z")
        given = z.copy()
        _called(label, function, given)
        if not np.array_equal(given, z):
            raise ConfigError(f"{label}: changes the array it is given; begin with z = z.copy()")
        for part in _PARTS:
            _require_entrywise(label, h, h[part], _called(label, function, z[part].copy()))
        _require_entrywise(label, h, h.ravel(), _called(label, function, z.ravel()))


def _called(label: str, function: Function, z: Array) -> Any:
    try:
        with np.errstate(all="ignore"):
            return function(z)
    except (Exception, SystemExit) as error:  # sys.exit in there is theirs, and would end us without a word
        raise ConfigError(
            f"{label}: fails on an array ({in_words(error)}); write it with NumPy functions and np.where, "
            "or wrap a function of one number in numpy.vectorize"
        ) from None


def _require_array(label: str, h: Any) -> None:
    if not isinstance(h, np.ndarray) or h.shape != _TRIED.shape:
        what = f"shape {h.shape}" if isinstance(h, np.ndarray) else type(h).__name__
        raise ConfigError(f"{label}: gives {what} for an array of shape {_TRIED.shape}; give one number for each entry")
    if h.dtype.kind not in "fiub":
        raise ConfigError(f"{label}: gives {h.dtype} entries; give real numbers")


def _require_entrywise(label: str, whole: Array, expected: Array, found: Any) -> None:
    """A norm, a softmax or a dropout is no activation: theory and backward pass take phi'(z) entry by entry."""
    room = _ULPS * np.finfo(whole.dtype).eps * np.abs(whole).max() if whole.dtype.kind == "f" else 0
    if np.shape(found) != expected.shape or np.any(np.abs(found - expected.astype(float)) > room):
        raise ConfigError(f"{label}: is not entry by entry: its value at one z depends on the others, or on chance")


def _require_precision(label: str, function: Function) -> None:
    """A difference of two float32 numbers has two digits at the step that is right for float64."""
    given = _called(label, function, _TRIED.copy()).dtype
    if given.kind == "f" and np.finfo(given).eps > _EPS:
        raise ConfigError(
            f"{label}: gives {given} for float64, too coarse to be differentiated; keep the dtype, or give it a slope"
        )


def _require_signal(label: str, value: Function, slope: Slope) -> None:
    with np.errstate(all="ignore"):
        h = value(_TRIED)
        flat = not np.any(slope(_TRIED, h))
    if np.ptp(h) == 0:
        raise ConfigError(f"{label}: gives {h.flat[0]:g} whatever z is; no signal passes")
    if flat:
        raise ConfigError(f"{label}: has slope 0 everywhere, so no gradient passes; give it a slope of its own")


def _declared(label: str, function: Function, kinks: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """The kinks as given, or as the function's attribute has them; None for neither."""
    given = getattr(function, "kinks", None) if kinks is None else kinks
    if given is None:
        return None
    try:
        found = tuple(sorted({float(kink) for kink in given}))
    except (TypeError, ValueError):
        found = (math.nan,)
    if not all(map(math.isfinite, found)):
        raise ConfigError(f"{label}: its kinks are {given!r}, not finite numbers as in (0,) or (-1, 1)")
    return found


@dataclass(frozen=True)
class _Value:
    """A function in the dtype of its argument, and never a view of it."""

    label: str
    function: Function

    def __call__(self, z: Array) -> Array:
        h: Array = np.asarray(_called(self.label, self.function, z)).astype(z.dtype, copy=False)
        return h.copy() if np.may_share_memory(h, z) else h


@dataclass(frozen=True)
class _Slope:
    """A slope that is given as a function of z alone."""

    value: _Value

    def __call__(self, z: Array, h: Array) -> Array:
        return self.value(z)


@dataclass(frozen=True)
class _Difference:
    """`(phi(z + s) - phi(z - s)) / 2s` in float64.

    At a kink it is the slope on the left, and nearer to one than 2s that on its own side 2s away: an error of
    `2s phi''` there, where a difference across the kink would be wrong by its jump however small z is.
    """

    value: _Value
    kinks: tuple[float, ...]

    def __call__(self, z: Array, h: Array) -> Array:
        with np.errstate(all="ignore"):
            x = self._beside_kinks(z.astype(np.float64))
            step = _step(x)
            above, below = x + step, x - step
            # Their own distance, for x + s is not exactly s away from x.
            return np.asarray((self.value(above) - self.value(below)) / (above - below)).astype(z.dtype, copy=False)

    def _beside_kinks(self, x: Array) -> Array:
        for kink in self.kinks:
            room = 2 * _step(kink)
            x = np.where(np.abs(x - kink) < room, np.where(x > kink, kink + room, kink - room), x)
        return x


def _step(x: Any) -> Any:
    """The step `s` of a central difference at x.

    Of a phi that bends on the scale of 1 and grows no faster than x, truncation is `s^2/6` and rounding
    `eps max(1, |x|) / s`; their sum is smallest at `s^3 = 3 eps max(1, |x|)`, 4e-11 near 0. Far out the rounding of
    `x + s` itself asks for a share sqrt(eps) of x.
    """
    size = np.maximum(np.abs(x), 1.0)
    return np.maximum(np.cbrt(3 * _EPS * size), math.sqrt(_EPS) * size)


def _found_kinks(value: _Value) -> tuple[float, ...]:
    """Where phi or its slope jumps between -8 and 8: every cell is halved towards the half that bends more.

    None where there are more than a few, as in a function read from a table.
    """
    edges = np.linspace(-_REACH - math.sqrt(2) / 100, _REACH + math.sqrt(3) / 100, _CELLS + 1)
    low, high = edges[:-1].copy(), edges[1:].copy()
    for _ in range(_BISECTIONS):
        middle = low + (high - low) * 0.49  # off the middle, so that a kink is never on an edge
        left = _bend(value, low, middle) > _bend(value, middle, high)
        low, high = np.where(left, low, middle), np.where(left, middle, high)
    places = np.unique(np.round((low + high) / 2, _PLACES)) + 0.0
    before, after = value(places - _NEAR), value(places + _NEAR)
    here, scale = value(places), np.abs(np.gradient(value(edges), edges)).max()
    jumps = np.abs(before - 2 * here + after) / _NEAR
    leaps = np.abs(after - before) / (2 * _NEAR)
    found = places[(jumps > _BREAK * scale) | (leaps > _LEAP * scale)]
    return tuple(found.tolist()) if len(found) <= _MOST_KINKS else ()


def _bend(value: _Value, low: Array, high: Array) -> Array:
    """How far phi is from straight over an interval, for its length: a kink counts the more the shorter that is."""
    middle = low + (high - low) * 0.47
    chord = value(low) + (value(high) - value(low)) * ((middle - low) / (high - low))
    return np.asarray(np.abs(value(middle) - chord) / (high - low))
