"""Order and chaos: the fixed point of a deep network at given scales, and how fast it is reached.

Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, arXiv:1611.01232; Hayou et al. 2019, arXiv:1902.06853.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.correlated_pairs import ORDER, hermite_grid, pair_moments, tail
from initprobe.meanfield.gain import NEUTRAL
from initprobe.meanfield.moments import Moments, lookup, segment_nodes, segment_table, segments
from initprobe.meanfield.phase_diagram import PhaseDiagram
from initprobe.meanfield.roots import root

Settling = Literal["converges", "vanishes", "diverges"]

# Variances q below the first count as 0, above the second as infinite.
_FLOOR, _CEILING = 1e-10, 1e10
# The search for a fixed point takes eight steps per factor of 4 in q: one segment of the table.
_STEPS = 8
_STEP = 4 ** (1 / _STEPS)
_ITERATIONS, _NEWTON_STEPS, _TOLERANCE = 80, 8, 1e-13
# The largest q of a critical point or of a gain's fixed point. At the smallest, phi is its tangent up to rounding.
_CRITICAL_CEILING = 1e4
_INFINITESIMAL = 1e-40
# A q at which the length map shows whether it is stable at a critical point at 0.
_SMALL = 1e-3


@dataclass(frozen=True)
class FixedPoint:
    """The fixed point that an infinitely deep network reaches from q = 1.

    Attributes:
        settling: `converges`; `vanishes` where q falls to 0; `diverges` where q grows without bound.
        q: variance of the pre-activation. Where it diverges, this and all attributes below are NaN.
        slope: slope of the length map there; below 1 if stable.
        chi_1: factor of the gradient's variance per layer; below 1 ordered, above 1 chaotic.
        correlation: fixed point of the correlation of two inputs.
        xi_q: depth, in layers, over which the distance of q from its fixed point shrinks by e.
        xi_c: depth, in layers, over which the distance of the correlation shrinks by e.
        xi_gradient: depth, in layers, over which the gradient's variance shrinks by e; negative where it grows.
    """

    settling: Settling
    q: float
    slope: float
    chi_1: float
    correlation: float
    xi_q: float
    xi_c: float
    xi_gradient: float


@dataclass(frozen=True)
class CriticalPoint:
    """The edge of chaos at one bias scale, `chi_1 = 1`.

    Attributes:
        sigma_w: weight scale, `sqrt(fan_in Var(W))`.
        q: variance of the pre-activation there; 0 in the limit; NaN where any q is critical (ReLU).
        slope: slope of the length map there.
        stable: small deviations of q do not grow.
    """

    sigma_w: float
    q: float
    slope: float
    stable: bool


def fixed_point(activation: Activation, sigma_w: float, sigma_b: float = 0.0) -> FixedPoint:
    """The fixed point at one weight and bias scale, with the correlation exact up to rounding.

    Args:
        activation: any record.
        sigma_w: weight scale, `sqrt(fan_in Var(W))`.
        sigma_b: standard deviation of the biases.
    """
    point = quick_fixed_point(activation, sigma_w, sigma_b)
    return _refined(activation, sigma_w**2, sigma_b**2, point) if point.correlation < 1 else point


def quick_fixed_point(activation: Activation, sigma_w: float, sigma_b: float = 0.0) -> FixedPoint:
    """The fixed point ten times faster than `fixed_point`, with the correlation to 1e-6.

    Args:
        activation: phi.
        sigma_w: `sqrt(fan_in Var(W))`.
        sigma_b: standard deviation of the biases.
    """
    cell = phase_diagram(activation, [sigma_w], [sigma_b])
    numbers = {f.name: float(getattr(cell, f.name)[0, 0]) for f in fields(FixedPoint) if f.name != "settling"}
    return FixedPoint(settling=cell.settling[0, 0], **numbers)


def _refined(activation: Activation, w: float, b: float, point: FixedPoint) -> FixedPoint:
    """`point` with its correlation recomputed by Newton's method on exact integrals.

    Near the edge of chaos the correlation map almost touches the diagonal. The 1e-6 of the series is not enough there.
    """
    c, factor = point.correlation, math.nan
    for _ in range(_NEWTON_STEPS):
        product, slopes = pair_moments(activation, point.q, point.q, c)
        factor, excess = w * slopes, (w * product + b) / point.q - c
        if abs(excess) <= _TOLERANCE or factor >= 1:
            break
        c = min(max(c + excess / (1 - factor), 0.0), 1.0)
    return replace(point, correlation=c, xi_c=float(_depth(np.asarray(factor))))


def phase_diagram(activation: Activation, sigma_w: npt.ArrayLike, sigma_b: npt.ArrayLike) -> PhaseDiagram:
    """The fixed points over a grid of weight scales and bias scales.

    Args:
        activation: phi.
        sigma_w: values of `sqrt(fan_in Var(W))`, `(columns,)`.
        sigma_b: standard deviations of the biases, `(rows,)`.
    """
    columns, rows = np.asarray(sigma_w, float), np.asarray(sigma_b, float)
    w, b = (grid.ravel() ** 2 for grid in np.meshgrid(columns, rows))
    with np.errstate(all="ignore"):
        q, settling = _lengths(activation, w, b)
        at = np.maximum(q, _FLOOR)
        at_q = lookup(activation, at)
        slope, chi_1 = w * at_q.growth / at, w * at_q.slope_square
        correlation, factor = _correlations(activation, w, b, at, at_q)
        values = (q, slope, chi_1, correlation, _depth(np.abs(slope)), _depth(factor), _depth(chi_1))
    shape = (len(rows), len(columns))
    cells = (value.reshape(shape) for value in (settling, *values))
    return PhaseDiagram(activation.name, columns, rows, *cells)


def _depth(factor: Array) -> Array:
    """`-1/log(factor)`; infinite where the factor is 1 up to rounding."""
    return np.where(np.abs(factor - 1) <= NEUTRAL, math.inf, -1 / np.log(factor))


def settled_lengths(activation: Activation, sigma_w: npt.ArrayLike, sigma_b: float = 0.0) -> Array:
    """The fixed point of q from q = 1, `(scales,)`. It is 0 where q vanishes, and NaN where q exceeds 1e4.

    Args:
        activation: phi.
        sigma_w: values of `sqrt(fan_in Var(W))`, `(scales,)`.
        sigma_b: standard deviation of the biases.
    """
    w = np.asarray(sigma_w, float) ** 2
    with np.errstate(all="ignore"):
        return _lengths(activation, w, np.full_like(w, sigma_b**2), _CRITICAL_CEILING)[0]


def _lengths(activation: Activation, w: Array, b: Array, ceiling: float = _CEILING) -> tuple[Array, Array]:
    """The fixed point of `w S(q) + b` that q reaches from 1, and how it settles, each `(cells,)`.

    Of all fixed points it is the one next to 1, on the side to which the map moves.
    """
    start = _excess(activation, w, b, np.ones_like(w))
    q = np.where(np.abs(start) <= NEUTRAL, 1.0, np.nan)
    settling = np.full(w.shape, "converges", dtype=object)
    for sign, word, end in ((1, "diverges", math.nan), (-1, "vanishes", 0.0)):
        cells = np.flatnonzero(np.isnan(q) & (np.sign(start) == sign))
        low, high = _bracket(activation, w[cells], b[cells], sign, ceiling)
        settled = ~np.isnan(high)
        inside = cells[settled]
        q[inside] = _root(activation, w[inside], b[inside], low[settled], high[settled])
        q[cells[~settled]], settling[cells[~settled]] = end, word
    return q, settling


def _excess(activation: Activation, w: Array, b: Array, q: Array) -> Array:
    """`w S(q) / q + b / q - 1`."""
    return np.asarray((w * lookup(activation, q).square + b) / q - 1)


def _bracket(activation: Activation, w: Array, b: Array, sign: int, ceiling: float) -> tuple[Array, Array]:
    """Ends of the interval in q where the excess changes sign; NaN where it never does.

    `sign` is the sign of the excess at q = 1, and gives the direction of the search.
    """
    low, high = np.full(w.shape, np.nan), np.full(w.shape, np.nan)
    active = np.arange(len(w))
    steps = math.ceil(abs(math.log(ceiling if sign > 0 else _FLOOR)) / math.log(_STEP))
    q = np.cumprod([1.0, *[_STEP**sign] * steps])
    for first in range(0, len(q), _STEPS):
        if not len(active):
            break
        lengths = q[first : first + _STEPS]
        square = lookup(activation, lengths).square
        changed = sign * (w[active, None] * square + b[active, None] - lengths) <= 0
        ended = changed.any(axis=1)
        at = first + changed[ended].argmax(axis=1)
        ends = np.sort([q[at - 1], q[at]], axis=0)
        low[active[ended]], high[active[ended]] = ends
        active = active[~ended]
    return low, high


def _root(activation: Activation, w: Array, b: Array, low: Array, high: Array) -> Array:
    """The fixed point between `low` and `high`, by Newton's method in log q within shrinking brackets.

    scipy.optimize.elementwise.find_root is as fast, but its import makes `initprobe run` take 1.3 times as long.
    """
    below, above = np.log(low), np.log(high)
    # The excess falls with q at a stable fixed point and rises at an unstable one.
    falls = _excess(activation, w, b, high) <= _excess(activation, w, b, low)
    t = (below + above) / 2
    active = np.arange(len(t))
    for _ in range(_ITERATIONS):
        q = np.exp(t[active])
        at_q = lookup(activation, q)
        value = w[active] * at_q.square + b[active] - q
        right = (value > 0) == falls[active]
        below[active[right]], above[active[~right]] = t[active[right]], t[active[~right]]
        step = value / (w[active] * at_q.growth - q)
        new = t[active] - step
        inside = (new >= below[active]) & (new <= above[active])
        new = np.where(inside, new, (below[active] + above[active]) / 2)
        moved = np.abs(new - t[active])
        t[active] = new
        active = active[moved > _TOLERANCE]
        if not len(active):
            break
    return np.asarray(np.exp(t))


def _correlations(activation: Activation, w: Array, b: Array, q: Array, at_q: Moments) -> tuple[Array, Array]:
    """The fixed point of the correlation map at variances q, and `w E[phi'(u) phi'(v)]` there, each `(cells,)`.

    `f(c) = (w sum_k a_k^2 c^k + b) / (w S + b)` is convex with `f(1) = 1`. So Newton's method from 0 increases to the
    lower fixed point, the stable one, and never passes it. `at_q` are the moments at q.
    """
    correlation, factor = np.full(q.shape, np.nan), np.full(q.shape, np.nan)
    for cells, powers in _power_series(activation, q):
        total = at_q.square[cells]
        powers *= np.minimum(total / powers.sum(axis=0), 1)
        rest = total - powers.sum(axis=0)
        steep = q[cells] * at_q.slope_square[cells] - np.arange(ORDER) @ powers
        exponents, shares = tail(np.where(rest > NEUTRAL * total, steep / (rest * ORDER), 0.0))
        beyond = (exponents, rest[:, None] * shares)
        size = w[cells] * total + b[cells]
        c = np.zeros(len(cells))
        for _ in range(_ITERATIONS):
            value, slope = _evaluate(powers, beyond, c)
            excess = (w[cells] * value + b[cells]) / size - c
            fall = 1 - w[cells] * slope / size
            new = np.where(fall > 0, np.minimum(c + np.maximum(excess, 0) / fall, 1.0), 1.0)
            moved, c = np.max(np.abs(new - c)), new
            if moved <= _TOLERANCE:
                break
        chi_1 = w[cells] * at_q.slope_square[cells]
        agrees = chi_1 * q[cells] <= size * (1 + NEUTRAL)
        correlation[cells] = np.where(agrees, 1.0, c)
        slope = _evaluate(powers, beyond, c)[1]
        factor[cells] = np.where(agrees, chi_1, w[cells] * slope / q[cells])
    return correlation, factor


def _power_series(activation: Activation, q: Array) -> Iterator[tuple[Array, Array]]:
    """Cells on one segment of q, and their squared Hermite coefficients `(ORDER, cells)`, interpolated in log q."""
    grid = hermite_grid()
    for cells, number, basis in segments(q):
        h = activation.value(np.sqrt(segment_nodes(number))[:, None] * grid.z)
        coefficients = basis @ segment_table(h @ grid.analysis.T)
        yield cells, np.ascontiguousarray(coefficients.T**2)


def _evaluate(powers: Array, beyond: tuple[Array, Array], c: Array) -> tuple[Array, Array]:
    """`sum_k a_k^2 c^k` with its tail, and the derivative in c, by Horner's rule, each `(cells,)`.

    Args:
        powers: `a_k^2`, `(ORDER, cells)`.
        beyond: exponents and weights of the tail, each `(cells, octaves)`.
        c: correlations, `(cells,)`.
    """
    value, slope = np.zeros_like(c), np.zeros_like(c)
    for row in powers[::-1]:
        slope = slope * c + value
        value = value * c + row
    exponents, weights = beyond
    falling = weights * c[:, None] ** (exponents - 1)
    return value + c * falling.sum(axis=1), slope + (falling * exponents).sum(axis=1)


def critical_line(activation: Activation, sigma_b: float) -> CriticalPoint | None:
    """The edge of chaos at a bias scale, to 1e-8; None where there is none.

    `sigma_w^2 = 1/E[phi'^2]` at the q that solves `q = E[phi^2]/E[phi'^2] + sigma_b^2`. Without bias and with
    `phi(0) = 0`, that is q = 0, where the network is linear.

    Args:
        activation: with value and slope.
        sigma_b: standard deviation of the biases.
    """
    passes_near_zero = lookup(activation, _INFINITESIMAL).slope_square > 0  # not `hardshrink`, which is flat there
    if sigma_b == 0 and passes_near_zero and not np.any(activation.value(np.zeros(1))):
        return _critical_at_zero(activation)
    q = np.exp(np.arange(math.log(_FLOOR), math.log(_CRITICAL_CEILING), math.log(_STEP)))
    gap = _gap(activation, q, sigma_b)
    crossings = np.flatnonzero(np.nan_to_num(np.diff(np.sign(gap))))  # beyond the float range there is none
    if not len(crossings):
        return None
    low, high = q[crossings[0]], q[crossings[0] + 1]
    place = root(lambda at: float(_gap(activation, np.array([at]), sigma_b)[0]), low, high, _FLOOR * _TOLERANCE)
    return _critical_at(activation, place)


def _gap(activation: Activation, q: Array, sigma_b: float) -> Array:
    """`1 - E[phi^2]/(q E[phi'^2]) - sigma_b^2/q`."""
    at_q = lookup(activation, q)
    with np.errstate(all="ignore"):
        return np.asarray(1 - (at_q.square / at_q.slope_square + sigma_b**2) / q)


def _critical_at(activation: Activation, q: float) -> CriticalPoint:
    at_q = lookup(activation, q)
    slope = float(at_q.growth / at_q.slope_square / q)
    return CriticalPoint(1 / math.sqrt(float(at_q.slope_square)), q, slope, slope <= 1 + NEUTRAL)


def _critical_at_zero(activation: Activation) -> CriticalPoint:
    limit = _critical_at(activation, _INFINITESIMAL)
    at_two = lookup(activation, [_SMALL, 1.0])
    growth = limit.sigma_w**2 * at_two.square / [_SMALL, 1.0]
    scale_free = bool(np.all(np.abs(growth - 1) <= NEUTRAL))
    return CriticalPoint(limit.sigma_w, math.nan if scale_free else 0.0, limit.slope, bool(growth[0] <= 1 + NEUTRAL))
