"""The small floating-point formats: which magnitudes they round to 0, to a subnormal number, or beyond their range.

Rounding is to the nearest number, and to the even one of two, as in IEEE 754-2019. The 8-bit formats are those of
Micikevicius et al. 2022, arXiv:2209.05433. Their sizes come from `ml_dtypes`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np

from initprobe.errors import ConfigError
from initprobe.registry import Registry, suggestion

_INFINITY = "infinity"


class Limit(NamedTuple):
    """A magnitude at which the result of rounding changes: `mantissa 2^exponent`.

    Attributes:
        exponent: of two.
        mantissa: from 0.5 to below 1, as `math.frexp` gives it.
        is_exclusive: the magnitude itself still rounds as those below it.
    """

    exponent: int
    mantissa: float
    is_exclusive: bool

    @classmethod
    def at(cls, magnitude: float, is_exclusive: bool) -> Limit:
        """The limit at a magnitude.

        Args:
            magnitude: at least 0.
            is_exclusive: whether the magnitude itself lies outside.
        """
        mantissa, exponent = math.frexp(magnitude)
        return cls(exponent, mantissa, is_exclusive)


class Limits(NamedTuple):
    """The limits of a format, in ascending order.

    Attributes:
        nonzero: magnitudes below it round to 0.
        normal: magnitudes below it round to a subnormal number or to 0.
        overflow: magnitudes from it on round to a number beyond the range.
    """

    nonzero: Limit
    normal: Limit
    overflow: Limit


@dataclass(frozen=True)
class NumberFormat:
    """A small floating-point format.

    Attributes:
        name: as PyTorch and `ml_dtypes` have it.
        aliases: other names of it.
        beyond: what a number beyond its range becomes, in words.
        bits: of a number.
    """

    name: str
    aliases: tuple[str, ...]
    beyond: str
    bits: int

    @property
    def has_infinity(self) -> bool:
        """Whether a number beyond the range becomes infinite."""
        return self.beyond == _INFINITY

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The type of arrays in this format."""
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, self.name, self.name))

    @cached_property
    def largest(self) -> float:
        """The largest finite number."""
        return float(self._info.max)

    @cached_property
    def smallest_normal(self) -> float:
        """The smallest number with all bits of mantissa."""
        return float(self._info.smallest_normal)

    @cached_property
    def smallest(self) -> float:
        """The smallest number above 0."""
        return float(self._info.smallest_subnormal)

    @cached_property
    def limits(self) -> Limits:
        """Where rounding changes. Between two neighbours this is half way, and half way goes to the even one."""
        step = math.ldexp(1.0, math.frexp(self.largest)[1] - 1 - int(self._info.nmant))
        largest_is_even = round(self.largest / step) % 2 == 0
        return Limits(
            Limit.at(self.smallest / 2, is_exclusive=True),
            Limit.at(self.smallest_normal - self.smallest / 2, is_exclusive=False),
            Limit.at(self.largest + step / 2, is_exclusive=largest_is_even),
        )

    @cached_property
    def _info(self) -> Any:
        import ml_dtypes

        return ml_dtypes.finfo(self.dtype)  # type: ignore[no-untyped-call]


FORMATS: Registry[NumberFormat] = Registry(
    "format",
    [
        NumberFormat("float16", ("half", "fp16"), _INFINITY, 16),
        NumberFormat("bfloat16", ("bf16",), _INFINITY, 16),
        NumberFormat("float8_e4m3fn", ("e4m3fn", "e4m3", "fp8_e4m3"), "NaN in ml_dtypes, 448 in PyTorch", 8),
        NumberFormat("float8_e5m2", ("e5m2", "fp8_e5m2"), _INFINITY, 8),
    ],
)


@cache
def mantissas() -> tuple[tuple[float, bool], ...]:
    """The mantissas of all limits of all formats, and whether each is exclusive, in ascending order."""
    return tuple(sorted({(limit.mantissa, limit.is_exclusive) for form in FORMATS.values() for limit in form.limits}))


def format_names(given: object) -> tuple[str, ...]:
    """Small formats by name, in any case: a list, or text with commas. Each is kept once.

    Raises:
        ConfigError: there is no such format.
    """
    names = given.split(",") if isinstance(given, str) else given
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{given!r} is not a list of formats, such as float16,bfloat16")
    return tuple(dict.fromkeys(_format_name(name.strip()) for name in names))


def _format_name(name: str) -> str:
    if name in FORMATS:
        return FORMATS[name].name
    raise ConfigError(f"{name!r} is not one of {', '.join(FORMATS)}.{suggestion(name, list(FORMATS))}")
