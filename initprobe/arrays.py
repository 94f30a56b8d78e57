"""Arrays: their type, the standard normal distribution (draws, density, distribution function), and a mean."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Pairs made at a time. With fewer, threads wait for Python's lock; with more, the pairs leave the cache.
_PAIRS = 1 << 16
_ANGLE = np.float32(math.pi / 2**31)
_UNIT = np.float32(2.0**-32)


@overload
def normal_density(z: float) -> float: ...
@overload
def normal_density(z: Array) -> Array: ...
def normal_density(z: float | Array) -> float | Array:
    """The standard normal density at `z`: a float, or an array of any shape in the dtype of `z`."""
    # At a float by `math`: NumPy's exp differs in the last bit at one in twenty, which would change drawn weights.
    peak = math.exp(-z * z / 2) if isinstance(z, float | int) else np.exp(-z * z / 2)
    return peak / math.sqrt(2 * math.pi)


def normal_cdf(z: Array) -> Array:
    """The standard normal distribution function at `z`, of any shape, in the dtype of `z`."""
    from scipy import special  # lazy: it costs more than the rest of a start-up

    return np.asarray(special.ndtr(z))


def standard_normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Independent N(0, 1) entries of a shape, float32 or float64.

    Float32 entries come from the transform of Box & Muller 1958, Annals of Mathematical Statistics 29:610. NumPy
    vectorises its logarithm, root, sine and cosine, which makes it three times as fast as NumPy's ziggurat.
    No entry lies beyond 6.8.
    """
    if np.dtype(dtype) != np.float32:
        return rng.standard_normal(shape)
    entries = np.empty(math.prod(shape) + 1 & ~1, np.float32)
    for start in range(0, len(entries), 2 * _PAIRS):
        _fill(rng, entries[start : start + 2 * _PAIRS])
    return entries[: math.prod(shape)].reshape(shape)


def _fill(rng: np.random.Generator, out: Array) -> None:
    """`(r cos a, r sin a)`, `r^2 = -2 log u`, of 32 random bits each for u in (0, 1] and a in [-pi, pi)."""
    pairs = len(out) // 2
    bits = rng.integers(0, 1 << 64, pairs, np.uint64).view(np.uint32)
    radius, angle = bits[:pairs].astype(np.float32), bits[pairs:].view(np.int32).astype(np.float32)
    radius *= _UNIT
    np.log(np.maximum(radius, _UNIT / 2, out=radius), out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    angle *= _ANGLE
    np.multiply(np.cos(angle, out=out[:pairs]), radius, out=out[:pairs])
    np.multiply(np.sin(angle, out=out[pairs:]), radius, out=out[pairs:])


def mean(values: Sequence[float]) -> float:
    """The mean, finite for finite values even where their sum is not; ten times as fast as `statistics.fmean`."""
    plain = sum(values) / len(values)
    if math.isfinite(plain) or not all(map(math.isfinite, values)):
        return plain
    unit = len(values).bit_length()  # a power of two is exact for numbers this large
    return _ldexp(sum(math.ldexp(value, -unit) for value in values) / len(values), unit)


def _ldexp(value: float, exponent: int) -> float:
    """`value 2^exponent`, at most the largest float, which rounding may have passed."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(sys.float_info.max, value)
