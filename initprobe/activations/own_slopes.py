"""Values and slopes of a function of the user's own, in the dtype of their argument."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from initprobe.activations.own_checks import EPS, Function, called
from initprobe.arrays import Array


@dataclass(frozen=True)
class Value:
    """A function whose result has the dtype of its argument and shares no memory with it."""

    label: str
    function: Function

    def __call__(self, z: Array) -> Array:
        h: Array = np.asarray(called(self.label, self.function, z)).astype(z.dtype, copy=False)
        return h.copy() if np.may_share_memory(h, z) else h


@dataclass(frozen=True)
class SlopeFunction:
    """A slope given as a function of z alone, in the form that `Activation` needs."""

    value: Value

    def __call__(self, z: Array, h: Array) -> Array:
        return self.value(z)


@dataclass(frozen=True)
class Difference:
    """The central difference `(phi(z + s) - phi(z - s)) / 2s`, in float64.

    A difference across a kink would be wrong by the jump of the slope. So within 2s of a kink, the slope is taken 2s
    away on the same side. At the kink itself it is taken on the left. The error is `2s phi''`.
    """

    value: Value
    kinks: tuple[float, ...]

    def __call__(self, z: Array, h: Array) -> Array:
        with np.errstate(all="ignore"):
            x = self._beside_kinks(z.astype(np.float64))
            step = step_of(x)
            above, below = x + step, x - step
            # Not 2s: in floats, x + s is not exactly s away from x.
            return np.asarray((self.value(above) - self.value(below)) / (above - below)).astype(z.dtype, copy=False)

    def _beside_kinks(self, x: Array) -> Array:
        for kink in self.kinks:
            room = 2 * step_of(kink)
            x = np.where(np.abs(x - kink) < room, np.where(x > kink, kink + room, kink - room), x)
        return x


def step_of(x: Any) -> Any:
    """The step `s` of a central difference at `x`, a number or an array.

    If phi bends on the scale of 1 and grows no faster than x, truncation is `s^2/6` and rounding `eps max(1, |x|) / s`.
    Their sum is smallest at `s^3 = 3 eps max(1, |x|)`; it is 4e-11 near 0. For large x the rounding of `x + s` needs `s
    >= sqrt(eps) x`.
    """
    size = np.maximum(np.abs(x), 1.0)
    return np.maximum(np.cbrt(3 * EPS * size), math.sqrt(EPS) * size)
