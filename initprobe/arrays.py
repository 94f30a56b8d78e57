"""The array type, the standard normal distribution, places at equal distances, plain numbers and their means.

Imports nothing else of this package.
"""

from __future__ import annotations

import math
import statistics
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Pairs of normal numbers made at a time. Smaller chunks would pass Python's lock between threads more often; larger
# ones would leave the cache.
_PAIRS = 1 << 16
_ANGLE = np.float32(math.pi / 2**31)
_UNIT = np.float32(2.0**-32)


class Scratch(threading.local):
    """Memory that each thread uses again and again: new pages from the system cost more than the arithmetic."""

    def __init__(self) -> None:
        """Start with no memory."""
        self._held: dict[npt.DTypeLike, Array] = {}

    def array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """The one array of this thread with that dtype, in the given shape; its old content is lost.

        Args:
            shape, dtype: of the array.
        """
        size = math.prod(shape)
        if dtype not in self._held or self._held[dtype].size < size:
            self._held[dtype] = np.empty(size, dtype)
        return self._held[dtype][:size].reshape(shape)


_polar = Scratch()  # radius and angle of each pair


@overload
def normal_density(z: float) -> float: ...
@overload
def normal_density(z: Array) -> Array: ...
def normal_density(z: float | Array) -> float | Array:
    """The standard normal density at `z`: a float, or an array of any shape in the dtype of `z`."""
    # At a float by `math`. NumPy's exp differs in the last bit at one in twenty, which would change drawn weights.
    peak = math.exp(-z * z / 2) if isinstance(z, float | int) else np.exp(-z * z / 2)
    return peak / math.sqrt(2 * math.pi)


@overload
def normal_cdf(z: float) -> float: ...
@overload
def normal_cdf(z: Array) -> Array: ...
def normal_cdf(z: float | Array) -> float | Array:
    """The standard normal distribution function at `z`: a float, or an array of any shape in the dtype of `z`."""
    if isinstance(z, float | int):
        return math.erfc(-z / math.sqrt(2)) / 2
    from scipy import special  # lazy: it costs more than a whole prediction

    return np.asarray(special.ndtr(z))


def plain(value: Any) -> Any:
    """The value with Python's numbers in place of NumPy's, also inside lists and mappings; an array as a list.

    Args:
        value: of any type.
    """
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if hasattr(value, "_fields"):  # a named tuple
        return type(value)(*map(plain, value))
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value


def evenly(count: int, most: int) -> list[int]:
    """Places at equal distances, the first and the last included.

    Args:
        count, most: number of places, and how many may be returned.
    """
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(count, most)).round())]


def standard_normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Independent `N(0, 1)` numbers.

    In float32 by the transform of Box & Muller 1958, Annals of Mathematical Statistics 29:610. NumPy vectorises its
    logarithm, root, sine and cosine, so it is three times as fast as NumPy's own ziggurat. No float32 entry lies
    beyond 6.8.

    Args:
        rng: the random stream.
        shape: of the answer.
        dtype: float32 or float64.

    Returns:
        The numbers, of the given shape and dtype.
    """
    if np.dtype(dtype) != np.float32:
        return rng.standard_normal(shape)
    entries = np.empty(math.prod(shape) + 1 & ~1, np.float32)
    for start in range(0, len(entries), 2 * _PAIRS):
        _fill(rng, entries[start : start + 2 * _PAIRS])
    return entries[: math.prod(shape)].reshape(shape)


def _fill(rng: np.random.Generator, out: Array) -> None:
    """Write `(r cos a, r sin a)`, `r^2 = -2 log u`, from 32 random bits each for u in (0, 1] and a in [-pi, pi)."""
    pairs = len(out) // 2
    bits = rng.integers(0, 1 << 64, pairs, np.uint64).view(np.uint32)
    radius, angle = _polar.array((2, pairs), np.float32)
    radius[:], angle[:] = bits[:pairs], bits[pairs:].view(np.int32)
    radius *= _UNIT
    np.log(np.maximum(radius, _UNIT / 2, out=radius), out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    angle *= _ANGLE
    np.multiply(np.cos(angle, out=out[:pairs]), radius, out=out[:pairs])
    np.multiply(np.sin(angle, out=out[pairs:]), radius, out=out[pairs:])


def finite(value: float) -> float | None:
    """The value as a Python float; None where it is infinite or NaN."""
    return float(value) if math.isfinite(value) else None


def mean(values: Sequence[float]) -> float:
    """The mean of at least one number; finite for finite numbers, also where their sum leaves the float range.

    Ten times as fast as `statistics.fmean`.
    """
    plain = sum(values) / len(values)
    if math.isfinite(plain) or not all(map(math.isfinite, values)):
        return plain
    unit = len(values).bit_length()  # so near the end of the range, a division by a power of two loses no digits
    return _ldexp(sum(math.ldexp(value, -unit) for value in values) / len(values), unit)


def _ldexp(value: float, exponent: int) -> float:
    """`value 2^exponent`, at most the largest float: rounding may carry a mean past it."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(sys.float_info.max, value)


def complete_mean(values: Sequence[float | None]) -> float | None:
    """The mean, or None where any value is missing: a mean of the rest would look better than the truth."""
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present and len(present) == len(values) else None


def log10_mean(logs: Sequence[float]) -> float:
    """log10 of the mean of numbers that are given by their log10.

    Args:
        logs: log10 of each number; -inf stands for 0.

    Returns:
        The log10, also where no float holds the mean; -inf where every number is 0, NaN without numbers.
    """
    largest = max(logs, default=math.nan)
    if not math.isfinite(largest):
        return largest
    return largest + math.log10(mean([10 ** (log - largest) for log in logs]))
