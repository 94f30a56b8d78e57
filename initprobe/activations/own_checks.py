"""Activations of the user's own: any vectorised function, or a `package.module:name` to be imported.

A function needs nothing but to map an array to one of its shape, entry by entry. It may carry two attributes:
`kinks`, the points where it or one of its first two derivatives jumps, and `slope`, its derivative as a function of z.
Without them the slope is a central difference and jumps of the slope are looked for, as are ends where it is exactly
constant (`flats`). An `Activation` record says everything else: saturation, bounds, a period.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from initprobe.arrays import Array
from initprobe.errors import ConfigError
from initprobe.importing import in_words

Function = Callable[[Array], Any]
Slope = Callable[[Array, Array], Array]
EPS = float(np.finfo(float).eps)
# A function is tried where the pre-activations of any sound net lie. The shape shows one that flattens its argument.
TRIED = (np.arange(-160, 161) / 16).reshape(3, 107)
_ULPS = 64
# It is tried again on a row, on each half of the rows, and on single entries.
_PARTS = (np.s_[:1], np.s_[:, :53], np.s_[:, 53:], np.s_[:1, :1], np.s_[1:2, 60:61], np.s_[2:, 106:])


def try_out(label: str, function: Function) -> None:
    """Make sure that a function can be given what a network gives it.

    Raises:
        ConfigError: it cannot.
    """
    for dtype in (np.float64, np.float32):
        z = TRIED.astype(dtype)
        h = called(label, function, z.copy())
        _require_array(label, h)
        if not np.isfinite(h).all():
            at = np.flatnonzero(~np.isfinite(h))[0]
            raise ConfigError(f"{label}: gives {h.flat[at]} at z = {z.flat[at]:g}; make it finite for every finite z")
        given = z.copy()
        called(label, function, given)
        if not np.array_equal(given, z):
            raise ConfigError(f"{label}: changes the array it is given; begin with z = z.copy()")
        for part in _PARTS:
            _require_entrywise(label, h, h[part], called(label, function, z[part].copy()))
        _require_entrywise(label, h, h.ravel(), called(label, function, z.ravel()))


def called(label: str, function: Function, z: Array) -> Any:
    try:
        with np.errstate(all="ignore"):
            return function(z)
    except (Exception, SystemExit) as error:  # sys.exit in there is theirs, and would end us without a word
        raise ConfigError(
            f"{label}: fails on an array ({in_words(error)}); write it with NumPy functions and np.where, "
            "or wrap a function of one number in numpy.vectorize"
        ) from None


def _require_array(label: str, h: Any) -> None:
    if not isinstance(h, np.ndarray) or h.shape != TRIED.shape:
        what = f"shape {h.shape}" if isinstance(h, np.ndarray) else type(h).__name__
        raise ConfigError(f"{label}: gives {what} for an array of shape {TRIED.shape}; give one number for each entry")
    if h.dtype.kind not in "fiub":
        raise ConfigError(f"{label}: gives {h.dtype} entries; give real numbers")


def _require_entrywise(label: str, whole: Array, expected: Array, found: Any) -> None:
    """A norm, a softmax or a dropout is no activation: theory and backward pass take phi'(z) entry by entry."""
    room = _ULPS * np.finfo(whole.dtype).eps * np.abs(whole).max() if whole.dtype.kind == "f" else 0
    if np.shape(found) != expected.shape or np.any(np.abs(found - expected.astype(float)) > room):
        raise ConfigError(f"{label}: is not entry by entry: its value at one z depends on the others, or on chance")


def require_precision(label: str, function: Function) -> None:
    """A difference of two float32 numbers has two digits at the step that is right for float64."""
    given = called(label, function, TRIED.copy()).dtype
    if given.kind == "f" and np.finfo(given).eps > EPS:
        raise ConfigError(
            f"{label}: gives {given} for float64, too coarse to be differentiated; keep the dtype, or give it a slope"
        )


def require_signal(label: str, value: Function, slope: Slope) -> None:
    with np.errstate(all="ignore"):
        h = value(TRIED)
        flat = not np.any(slope(TRIED, h))
    if np.ptp(h) == 0:
        raise ConfigError(f"{label}: gives {h.flat[0]:g} whatever z is; no signal passes")
    if flat:
        raise ConfigError(f"{label}: has slope 0 everywhere, so no gradient passes; give it a slope of its own")


def declared(label: str, function: Function, kinks: tuple[float, ...] | None) -> tuple[float, ...] | None:
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
