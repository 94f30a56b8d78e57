"""Activations of the user's own: any vectorised function, or a `package.module:name` to be imported.

A function needs nothing but to map an array to one of its shape, entry by entry. It may carry two attributes:
`kinks`, the points where it or one of its first two derivatives jumps, and `slope`, its derivative as a function of z.
Without them the slope is a central difference and jumps of the slope are looked for, as are ends where it is exactly
constant (`flats`). An `Activation` record says everything else: saturation, bounds, a period.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from initprobe.activations.own_checks import EPS, Function, called
from initprobe.arrays import Array


@dataclass(frozen=True)
class Value:
    """A function in the dtype of its argument, and never a view of it."""

    label: str
    function: Function

    def __call__(self, z: Array) -> Array:
        h: Array = np.asarray(called(self.label, self.function, z)).astype(z.dtype, copy=False)
        return h.copy() if np.may_share_memory(h, z) else h


@dataclass(frozen=True)
class SlopeFunction:
    """A slope that is given as a function of z alone."""

    value: Value

    def __call__(self, z: Array, h: Array) -> Array:
        return self.value(z)


@dataclass(frozen=True)
class Difference:
    """`(phi(z + s) - phi(z - s)) / 2s` in float64.

    At a kink it is the slope on the left, and nearer to one than 2s that on its own side 2s away: an error of
    `2s phi''` there, where a difference across the kink would be wrong by its jump however small z is.
    """

    value: Value
    kinks: tuple[float, ...]

    def __call__(self, z: Array, h: Array) -> Array:
        with np.errstate(all="ignore"):
            x = self._beside_kinks(z.astype(np.float64))
            step = step_of(x)
            above, below = x + step, x - step
            # Their own distance, for x + s is not exactly s away from x.
            return np.asarray((self.value(above) - self.value(below)) / (above - below)).astype(z.dtype, copy=False)

    def _beside_kinks(self, x: Array) -> Array:
        for kink in self.kinks:
            room = 2 * step_of(kink)
            x = np.where(np.abs(x - kink) < room, np.where(x > kink, kink + room, kink - room), x)
        return x


def step_of(x: Any) -> Any:
    """The step `s` of a central difference at x.

    Of a phi that bends on the scale of 1 and grows no faster than x, truncation is `s^2/6` and rounding
    `eps max(1, |x|) / s`; their sum is smallest at `s^3 = 3 eps max(1, |x|)`, 4e-11 near 0. Far out the rounding of
    `x + s` itself asks for a share sqrt(eps) of x.
    """
    size = np.maximum(np.abs(x), 1.0)
    return np.maximum(np.cbrt(3 * EPS * size), math.sqrt(EPS) * size)
