"""Order and chaos: where lengths and correlations settle at given weight and bias scales, and how fast.

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

Settling = Literal["converges", "vanishes", "diverges"]

# Lengths beyond these count as 0 and as infinite.
_FLOOR, _CEILING = 1e-10, 1e10
# Steps of the search for a fixed point: eight to a factor of 4 in q, a segment of the table of moments.
_STEPS = 8
_STEP = 4 ** (1 / _STEPS)
_ITERATIONS = 80
_POLISHES = 8
_TOLERANCE = 1e-13
# Lengths below which a critical point or a gain's fixed point is looked for, and one so small that phi is its tangent
# to rounding.
_CRITICAL_CEILING = 1e4
_INFINITESIMAL = 1e-40
# A length at which the length map shows whether it bends down or up from a critical point at 0.
_SMALL = 1e-3


@dataclass(frozen=True)
class FixedPoint:
    """Where an infinitely deep network settles.

    Attributes:
        settling: `converges`; `vanishes` where q falls to 0; `diverges` where it grows without bound.
        q: variance of the pre-activation, starting from 1; NaN where it diverges, as are all below.
        slope: of the length map there; below 1 if stable.
        chi_1: factor of the gradient's variance a layer; below 1 ordered, above 1 chaotic.
        correlation: where the correlation of two inputs settles.
        xi_q: depth, in layers, over which q forgets where it started.
        xi_c: depth over which the correlation does.
        xi_gradient: depth over which the gradient shrinks by e; negative where it grows.
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
class PhaseDiagram:
    """`FixedPoint` over a grid: `sigma_w` `(columns,)`, `sigma_b` `(rows,)`, every other array `(rows, columns)`."""

    sigma_w: Array
    sigma_b: Array
    settling: Array
    q: Array
    slope: Array
    chi_1: Array
    correlation: Array
    xi_q: Array
    xi_c: Array
    xi_gradient: Array


@dataclass(frozen=True)
class CriticalPoint:
    """The edge of chaos at one bias scale: `chi_1 = 1`.

    Attributes:
        sigma_w: weight scale, `sqrt(fan_in Var(W))`.
        q: variance of the pre-activation there; 0 in the limit, NaN where any will do (ReLU).
        slope: of the length map there.
        stable: small deviations of q do not grow.
    """

    sigma_w: float
    q: float
    slope: float
    stable: bool


def fixed_point(activation: Activation, sigma_w: float, sigma_b: float = 0.0) -> FixedPoint:
    """Where a deep network settles, at one weight and bias scale; the correlation to rounding."""
    point = settling(activation, sigma_w, sigma_b)
    return _polished(activation, sigma_w**2, sigma_b**2, point) if point.correlation < 1 else point


def settling(activation: Activation, sigma_w: float, sigma_b: float = 0.0) -> FixedPoint:
    """The same ten times faster, the correlation to 1e-6."""
    cell = phase_diagram(activation, [sigma_w], [sigma_b])
    numbers = {f.name: float(getattr(cell, f.name)[0, 0]) for f in fields(FixedPoint) if f.name != "settling"}
    return FixedPoint(settling=cell.settling[0, 0], **numbers)


def _polished(activation: Activation, w: float, b: float, point: FixedPoint) -> FixedPoint:
    """The point with its correlation found again by Newton's method on exact integrals.

    Near the edge of chaos the correlation map all but touches the diagonal, and the series' 1e-6 is not enough.
    """
    c, passed = point.correlation, math.nan
    for _ in range(_POLISHES):
        product, slopes = pair_moments(activation, point.q, point.q, c)
        passed, excess = w * slopes, (w * product + b) / point.q - c
        if abs(excess) <= _TOLERANCE or passed >= 1:
            break
        c = min(max(c + excess / (1 - passed), 0.0), 1.0)
    return replace(point, correlation=c, xi_c=float(_depth(np.asarray(passed))))


def phase_diagram(activation: Activation, sigma_w: npt.ArrayLike, sigma_b: npt.ArrayLike) -> PhaseDiagram:
    """Where deep networks settle, over a grid of weight scales `(columns,)` and bias scales `(rows,)`."""
    columns, rows = np.asarray(sigma_w, float), np.asarray(sigma_b, float)
    w, b = (grid.ravel() ** 2 for grid in np.meshgrid(columns, rows))
    with np.errstate(all="ignore"):
        q, settling = _lengths(activation, w, b)
        at = np.maximum(q, _FLOOR)
        found = lookup(activation, at)
        slope, chi_1 = w * found.growth / at, w * found.slope_square
        correlation, passed = _correlations(activation, w, b, at, found)
        values = (q, slope, chi_1, correlation, _depth(np.abs(slope)), _depth(passed), _depth(chi_1))
    shape = (len(rows), len(columns))
    return PhaseDiagram(columns, rows, settling.reshape(shape), *(value.reshape(shape) for value in values))


def _depth(factor: Array) -> Array:
    """`-1/log factor`; infinite where the factor is 1 to rounding."""
    return np.where(np.abs(factor - 1) <= NEUTRAL, math.inf, -1 / np.log(factor))


def settled_lengths(activation: Activation, sigma_w: npt.ArrayLike, sigma_b: float = 0.0) -> Array:
    """Where q settles, starting from 1, at weight scales `(scales,)`: 0 where it vanishes, NaN where it passes 1e4."""
    w = np.asarray(sigma_w, float) ** 2
    with np.errstate(all="ignore"):
        return _lengths(activation, w, np.full_like(w, sigma_b**2), _CRITICAL_CEILING)[0]


def _lengths(activation: Activation, w: Array, b: Array, ceiling: float = _CEILING) -> tuple[Array, Array]:
    """The fixed point of `w S(q) + b` next to q = 1 on the side the map moves to, and how that ended."""
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
    """Where the excess, of that sign at q = 1, changes it: the ends of the interval in q; NaN for never."""
    low, high = np.full(w.shape, np.nan), np.full(w.shape, np.nan)
    active = np.arange(len(w))
    steps = math.ceil(abs(math.log(ceiling if sign > 0 else _FLOOR)) / math.log(_STEP))
    q = np.cumprod([1.0, *[_STEP**sign] * steps])
    for first in range(0, len(q), _STEPS):
        if not len(active):
            break
        some = q[first : first + _STEPS]
        square = lookup(activation, some).square
        changed = sign * (w[active, None] * square + b[active, None] - some) <= 0
        found = changed.any(axis=1)
        at = first + changed[found].argmax(axis=1)
        ends = np.sort([q[at - 1], q[at]], axis=0)
        low[active[found]], high[active[found]] = ends
        active = active[~found]
    return low, high


def _root(activation: Activation, w: Array, b: Array, low: Array, high: Array) -> Array:
    """The fixed point between `low` and `high`, by Newton's method in log q, held in by bisection.

    scipy.optimize.elementwise.find_root is as fast, but its import makes `initprobe run` take 1.3 times as long.
    """
    below, above = np.log(low), np.log(high)
    # The excess falls through the root of a stable fixed point and rises through an unstable one.
    falls = _excess(activation, w, b, high) <= _excess(activation, w, b, low)
    t = (below + above) / 2
    active = np.arange(len(t))
    for _ in range(_ITERATIONS):
        q = np.exp(t[active])
        found = lookup(activation, q)
        value = w[active] * found.square + b[active] - q
        right = (value > 0) == falls[active]
        below[active[right]], above[active[~right]] = t[active[right]], t[active[~right]]
        step = value / (w[active] * found.growth - q)
        new = t[active] - step
        inside = (new >= below[active]) & (new <= above[active])
        new = np.where(inside, new, (below[active] + above[active]) / 2)
        moved = np.abs(new - t[active])
        t[active] = new
        active = active[moved > _TOLERANCE]
        if not len(active):
            break
    return np.asarray(np.exp(t))


def _correlations(activation: Activation, w: Array, b: Array, q: Array, found: Moments) -> tuple[Array, Array]:
    """The fixed point of the correlation map at lengths q, and `w E[phi'(u) phi'(v)]` there.

    `f(c) = (w sum_k a_k^2 c^k + b) / (w S + b)` is convex with `f(1) = 1`, so Newton from 0 climbs to the lower fixed
    point, which is the stable one, and never passes it.
    """
    correlation, passed = np.full(q.shape, np.nan), np.full(q.shape, np.nan)
    for cells, powers in _power_series(activation, q):
        total = found.square[cells]
        powers *= np.minimum(total / powers.sum(axis=0), 1)
        rest = total - powers.sum(axis=0)
        steep = q[cells] * found.slope_square[cells] - np.arange(ORDER) @ powers
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
        chi_1 = w[cells] * found.slope_square[cells]
        agrees = chi_1 * q[cells] <= size * (1 + NEUTRAL)
        correlation[cells] = np.where(agrees, 1.0, c)
        slope = _evaluate(powers, beyond, c)[1]
        passed[cells] = np.where(agrees, chi_1, w[cells] * slope / q[cells])
    return correlation, passed


def _power_series(activation: Activation, q: Array) -> Iterator[tuple[Array, Array]]:
    """Cells of like q and their squared Hermite coefficients `(ORDER, cells)`, interpolated in log q like moments."""
    grid = hermite_grid()
    for cells, number, basis in segments(q):
        h = activation.value(np.sqrt(segment_nodes(number))[:, None] * grid.z)
        coefficients = basis @ segment_table(h @ grid.analysis.T)
        yield cells, np.ascontiguousarray(coefficients.T**2)


def _evaluate(powers: Array, beyond: tuple[Array, Array], c: Array) -> tuple[Array, Array]:
    """`sum_k a_k^2 c^k`, with the exponents and weights of its tail, and its derivative, by Horner's rule."""
    value, slope = np.zeros_like(c), np.zeros_like(c)
    for row in powers[::-1]:
        slope = slope * c + value
        value = value * c + row
    exponents, weights = beyond
    falling = weights * c[:, None] ** (exponents - 1)
    return value + c * falling.sum(axis=1), slope + (falling * exponents).sum(axis=1)


def critical_line(activation: Activation, sigma_b: float) -> CriticalPoint | None:
    """The weight scale with `chi_1 = 1`, to 1e-8, or None where there is none.

    `sigma_w^2 = 1/E[phi'^2]` at the q that solves `q = E[phi^2]/E[phi'^2] + sigma_b^2`. Without bias and with
    `phi(0) = 0`, that is q = 0, where the network is linear.
    """
    if sigma_b == 0 and not np.any(activation.value(np.zeros(1))):
        return _critical_at_zero(activation)
    q = np.exp(np.arange(math.log(_FLOOR), math.log(_CRITICAL_CEILING), math.log(_STEP)))
    gap = _gap(activation, q, sigma_b)
    crossings = np.flatnonzero(np.nan_to_num(np.diff(np.sign(gap))))  # beyond the float range there is none
    if not len(crossings):
        return None
    low, high = q[crossings[0]], q[crossings[0] + 1]
    # Imported where it is used: it takes 0.3 s, and most calls end above.
    from scipy import optimize

    tolerance = _FLOOR * _TOLERANCE
    root = optimize.brentq(lambda at: float(_gap(activation, np.array([at]), sigma_b)[0]), low, high, xtol=tolerance)
    return _critical_at(activation, root)


def _gap(activation: Activation, q: Array, sigma_b: float) -> Array:
    """`1 - E[phi^2]/(q E[phi'^2]) - sigma_b^2/q`."""
    found = lookup(activation, q)
    with np.errstate(all="ignore"):
        return np.asarray(1 - (found.square / found.slope_square + sigma_b**2) / q)


def _critical_at(activation: Activation, q: float) -> CriticalPoint:
    found = lookup(activation, q)
    slope = float(found.growth / found.slope_square / q)
    return CriticalPoint(1 / math.sqrt(float(found.slope_square)), q, slope, slope <= 1 + NEUTRAL)


def _critical_at_zero(activation: Activation) -> CriticalPoint:
    limit = _critical_at(activation, _INFINITESIMAL)
    found = lookup(activation, [_SMALL, 1.0])
    growth = limit.sigma_w**2 * found.square / [_SMALL, 1.0]
    scale_free = bool(np.all(np.abs(growth - 1) <= NEUTRAL))
    return CriticalPoint(limit.sigma_w, math.nan if scale_free else 0.0, limit.slope, bool(growth[0] <= 1 + NEUTRAL))
