"""Expectations of functions of Gaussian entries, by quadrature and Hermite polynomials."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array, normal_density
from initprobe.meanfield.quadrature import distinct, panel_nodes

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
    z, weights, basis = _rule(tuple(cut for cut in cuts if abs(cut) < _PANELS[-1]))
    x = mean + std * z
    with np.errstate(all="ignore"):
        f, slopes = value(x), np.broadcast_to(slope(x), x.shape)
        tilted, steep = slopes * z, slopes * slopes
        own, first_slopes, along, squares, slope_squares = _powers(
            basis, np.stack(np.broadcast_arrays(f, slopes, tilted, f * f, steep)), weights
        )
        square = float(f * f @ weights)
        growth = float(f * tilted @ weights) * std / square if square > 0 else 1.0
        level_growth = float(f * slopes * x @ weights) / square if square > 0 else 1.0
        slope_growth, together = _of_slopes(z, z * (mean / std) if std > 0 else 1 - z * z, f, steep, weights)
    squares[0] = slope_squares[0] = 0.0
    return Expectations(
        float(f @ weights), square, own, first_slopes, along, squares, slope_squares,
        growth, level_growth, slope_growth, together,
    )  # fmt: skip


def _of_slopes(z: Array, shift: Array, f: Array, steep: Array, weights: Array) -> tuple[float, float]:
    """`slope_growth`, by parts, and `together`; `shift` is `z mean / std`, and `steep` the squares of the slopes."""
    total = float(steep @ weights)
    if total <= 0:
        return 0.0, 0.0
    own = (f - float(f @ weights)) ** 2
    growth = float(steep * (z * z + shift - 1) @ weights) / 2 / total
    return growth, float(own * steep @ weights) / max(float(own @ weights) * total, 1e-300) - 1


@lru_cache(maxsize=16)
def _rule(cuts: tuple[float, ...]) -> tuple[Array, Array, Array]:
    """Nodes and weights of the Gaussian integral, and `_hermite` at these nodes, with panels that end at some cuts."""
    edges = distinct(np.append(_PANELS, cuts))
    z, weights = (part.ravel() for part in panel_nodes(edges[:-1], edges[1:], _NODES))
    return z, weights * normal_density(z), _hermite(z)


def _hermite(z: Array) -> Array:
    """Hermite polynomials with mean square 1, `(orders, nodes)`."""
    rows = [np.ones_like(z), z]
    for order in range(1, _ORDERS - 1):
        rows.append((z * rows[order] - math.sqrt(order) * rows[order - 1]) / math.sqrt(order + 1))
    return np.array(rows)


def _powers(basis: Array, functions: Array, weights: Array) -> Array:
    """The squared coefficients of functions, and the rest of their mean squares, `(functions, orders + 1)`."""
    weighted = functions * weights
    own = (weighted @ basis.T) ** 2
    rest = np.vecdot(functions, weighted) - own.sum(1)
    return np.column_stack([own, np.maximum(rest, 0.0)])


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
