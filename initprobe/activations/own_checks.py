"""Checks that a function of the user's own can serve as an activation; each error says what to change."""

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
# Functions are tried on pre-activations from -10 to 10. Two dimensions show whether one flattens its argument.
TRIED = (np.arange(-160, 161) / 16).reshape(3, 107)
_ULPS = 64
# They are tried again on a row, on each half of the columns, and on single entries.
_PARTS = (np.s_[:1], np.s_[:, :53], np.s_[:, 53:], np.s_[:1, :1], np.s_[1:2, 60:61], np.s_[2:, 106:])


def try_out(label: str, function: Function) -> None:
    """Make sure that a function maps float32 and float64 arrays of any shape entry by entry.

    Args:
        label: name of the function, for errors.
        function: maps an array to one of the same shape.

    Raises:
        ConfigError: it fails, gives another shape or dtype, is not finite, or changes its argument.
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
    """`function(z)`, without NumPy's warnings.

    Args:
        label: the function's name in an error.
        function: of an array of any shape.
        z: points, in any shape.

    Returns:
        What the function gives, unchecked.

    Raises:
        ConfigError: the function raises.
    """
    try:
        with np.errstate(all="ignore"):
            return function(z)
    except (Exception, SystemExit) as error:  # sys.exit in the user's function must not end this program
        raise ConfigError(
            f"{label}: fails on an array ({in_words(error)}); "
            "write it with NumPy functions and np.where, or wrap it in numpy.vectorize"
        ) from None


def _require_array(label: str, h: Any) -> None:
    if not isinstance(h, np.ndarray) or h.shape != TRIED.shape:
        what = f"shape {h.shape}" if isinstance(h, np.ndarray) else type(h).__name__
        raise ConfigError(f"{label}: gives {what} for an array of shape {TRIED.shape}; give one number for each entry")
    if h.dtype.kind not in "fiub":
        raise ConfigError(f"{label}: gives {h.dtype} entries; give real numbers")


def _require_entrywise(label: str, whole: Array, expected: Array, given: Any) -> None:
    """Refuses a norm, a softmax or a dropout: theory and the backward pass need phi'(z) entry by entry."""
    room = _ULPS * np.finfo(whole.dtype).eps * np.abs(whole).max() if whole.dtype.kind == "f" else 0
    if np.shape(given) != expected.shape or np.any(np.abs(given - expected.astype(float)) > room):
        raise ConfigError(f"{label}: is not entry by entry: its value at one z depends on the others, or is random")


def require_precision(label: str, function: Function) -> None:
    """Make sure that a function keeps float64, which a central difference needs.

    Args:
        label: the function's name in an error.
        function: of an array of any shape.

    Raises:
        ConfigError: it gives a coarser dtype.
    """
    dtype = called(label, function, TRIED.copy()).dtype
    if dtype.kind == "f" and np.finfo(dtype).eps > EPS:
        raise ConfigError(
            f"{label}: gives {dtype} for float64, too coarse to be differentiated; keep the dtype, or give it a slope"
        )


def require_signal(label: str, value: Function, slope: Slope) -> None:
    """Make sure that a signal and a gradient can pass.

    Args:
        label: the function's name in an error.
        value: `phi(z)`.
        slope: `phi'(z)`, a function of `z` and `phi(z)`.

    Raises:
        ConfigError: the function is constant, or its slope is 0 everywhere.
    """
    with np.errstate(all="ignore"):
        h = value(TRIED)
        flat = not np.any(slope(TRIED, h))
    if np.ptp(h) == 0:
        raise ConfigError(f"{label}: gives {h.flat[0] + 0.0:g} for every z, so no signal passes")
    if flat:
        raise ConfigError(f"{label}: has slope 0 everywhere, so no gradient passes; give it a slope")


def declared_kinks(label: str, function: Function, kinks: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """The kinks as given, or from the function's attribute `kinks`; None if there are neither.

    Args:
        label: the function's name in an error.
        function: may have an attribute `kinks`.
        kinks: given by the caller; None to read the attribute.

    Returns:
        Finite numbers in ascending order, each once.

    Raises:
        ConfigError: they are not finite numbers.
    """
    given = getattr(function, "kinks", None) if kinks is None else kinks
    if given is None:
        return None
    try:
        points = tuple(sorted({float(kink) for kink in given}))
    except (TypeError, ValueError):
        points = (math.nan,)
    if not all(map(math.isfinite, points)):
        raise ConfigError(f"{label}: its kinks are {given!r}, not finite numbers as in (0,) or (-1, 1)")
    return points
