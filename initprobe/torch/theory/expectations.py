"""Expectations of functions of Gaussian entries, by quadrature and Hermite polynomials."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array, normal_density
from initprobe.meanfield.quadrature import panel_nodes

Function = Callable[[Array], Array]

_ORDERS = 14  # of Hermite polynomials; what is above is taken as one more power of the correlation
_PANELS = np.array([-9, -6, -4, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 4, 6, 9], float)
_NODES = 12  # per panel
_FEW = 8  # correlations


class Expectations(NamedTuple):
    """Expectations of a function f of Gaussian entries.

    Attributes:
        mean: `E f`.
        square: `E f^2`.
        powers: mean product of f at two entries, as a polynomial in their correlation.
        slope_powers: the same of the slopes.
        along_powers: the same of the slopes times Z.
        square_powers: the same of the squares of f, about their mean.
        slope_square_powers: the same of the squares of the slopes, about their mean.
        growth: relative change of `E f^2` per relative change of the variance.
        level_growth: relative change of `E f^2` per relative change of the mean square of the argument.
        slope_growth: the same of the mean squared slope.
        together: relative covariance of the squares of f about its mean and of the slopes.
    """

    mean: float
    square: float
    powers: Array
    slope_powers: Array
    along_powers: Array
    square_powers: Array
    slope_square_powers: Array
    growth: float
    level_growth: float
    slope_growth: float
    together: float


@lru_cache(maxsize=4096)
def expectations(value: Function, slope: Function, kinks: tuple[float, ...], mean: float, std: float) -> Expectations:
    """Expectations of a function of `mean + std Z`, `Z ~ N(0, 1)`.

    Args:
        value: the function.
        slope: its slope.
        kinks: points where it bends.
        mean: of its argument.
        std: of its argument.
    """
    cuts = [(kink - mean) / std for kink in kinks] if std > 0 else []
    edges = np.unique([*_PANELS, *(cut for cut in cuts if abs(cut) < 9)])
    z, weights = (part.ravel() for part in panel_nodes(edges[:-1], edges[1:], _NODES))
    weights = weights * normal_density(z)
    with np.errstate(all="ignore"):
        f, slopes = value(mean + std * z), slope(mean + std * z)
    basis = _hermite(z)
    square = float(np.sum(f * f * weights))
    growth = float(np.sum(f * slopes * std * z * weights)) / square if square > 0 else 1.0
    functions = (f, slopes, slopes * z, f * f, slopes * slopes)
    own, first_slopes, along, squares, slope_squares = (_powers(basis, values, weights) for values in functions)
    squares[0] = slope_squares[0] = 0.0
    slope_square = float(np.sum(slopes * slopes * weights))
    with np.errstate(all="ignore"):
        x = z * (z + mean / std) if std > 0 else np.ones_like(z)
        rise = float(np.sum(slopes * slopes * (x - 1) * weights)) / 2  # by parts
        level_growth = float(np.sum(f * slopes * (mean + std * z) * weights)) / square if square > 0 else 1.0
    slope_growth = rise / slope_square if slope_square > 0 else 0.0
    mean = float(np.sum(f * weights))
    variance = max(square - mean**2, 1e-300)
    together = float(np.sum((f - mean) ** 2 * slopes * slopes * weights)) / max(variance * slope_square, 1e-300) - 1
    return Expectations(
        mean, square, own, first_slopes, along, squares, slope_squares, growth, level_growth, slope_growth, together
    )


def _hermite(z: Array) -> Array:
    """Hermite polynomials with mean square 1, `(orders, nodes)`."""
    rows = [np.ones_like(z), z]
    for order in range(1, _ORDERS - 1):
        rows.append((z * rows[order] - math.sqrt(order) * rows[order - 1]) / math.sqrt(order + 1))
    return np.array(rows)


def _powers(basis: Array, values: Array, weights: Array) -> Array:
    own = (basis @ (values * weights)) ** 2
    return np.append(own, max(float(np.sum(values * values * weights) - own.sum()), 0.0))


def dual(powers: Array, correlation: Array) -> Array:
    """The polynomial at some correlations.

    Args:
        powers: coefficients of the polynomial, the lowest first.
        correlation: in any shape.
    """
    if correlation.size <= _FEW:  # Python's floats are quicker than NumPy's calls, and give the same bits
        descending = powers.tolist()[::-1]
        values = [_at(descending, number) for number in correlation.ravel().tolist()]
        return np.array(values).reshape(correlation.shape)
    total = np.full_like(correlation, powers[-1])
    for power in powers[-2::-1]:
        total *= correlation
        total += power
    return total


def _at(descending: list[float], correlation: float) -> float:
    total = descending[0]
    for power in descending[1:]:
        total = total * correlation + power
    return total
