"""Roots of functions of one number, by Brent's method as SciPy compiled it, without an import of `scipy.optimize`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from initprobe.importing import loaded_alone

# The defaults of `scipy.optimize.brentq`.
_TOLERANCE, _RELATIVE, _ITERATIONS = 2e-12, 4 * float(np.finfo(float).eps), 100


def root(f: Callable[[float], float], low: float, high: float, tolerance: float = _TOLERANCE) -> float:
    """The root of `f` between `low` and `high`, where `f` has different signs: the bits of `scipy.optimize.brentq`.

    Args:
        f: a continuous function.
        low: one end of the interval.
        high: the other end.
        tolerance: of the root, absolute.
    """
    compiled = _compiled()
    if compiled is None:
        from scipy import optimize  # which takes 0.1 to 0.3 s

        return float(optimize.brentq(f, low, high, xtol=tolerance))
    return float(compiled(f, low, high, tolerance, _RELATIVE, _ITERATIONS, (), False, True))


@lru_cache
def _compiled() -> Callable[..., Any] | None:
    """The function behind `scipy.optimize.brentq`; None where SciPy has moved it."""
    return getattr(loaded_alone("scipy.optimize._zeros"), "_brentq", None)
