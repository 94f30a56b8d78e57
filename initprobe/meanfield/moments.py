"""Gaussian moments of an activation: by quadrature, or from a table in log q that is filled as needed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.quadrature import REACH, Curve, Rule, curve_of, rules

# A moment is analytic in log q for |Im log q| < pi/2, whatever the activation, because the normal density is. On a
# segment of length log 4 the Bernstein ellipse that touches pi/2 has rho = 4.75, so 24 Chebyshev nodes leave 1e-16.
_SEGMENT = math.log(4)
_CHEBYSHEV = 24
_PLACES = chebyshev.chebpts1(_CHEBYSHEV)
# What grows more than that over a segment is no power law up to the fourth degree, 4^4: of an exponential,
# E[phi^2] = e^2q, a polynomial in log q keeps ever fewer digits and in the end none.
_STEEPEST = 320
# Beyond these q even the variance is near the ends of the float range.
_SMALLEST, _LARGEST = 1e-300, 1e300
# The predicted histograms' grid, fine where the normal density bends: linear in its cells, a distribution function is
# `width^2 / 8 max |density'|` off, 1e-6.
_FINE_CELLS, _FINE_REACH, _COARSE_CELLS = 1500, 4.5, 75
# Distributions on that grid at a time.
_ROWS = 32


@dataclass(frozen=True)
class Moments:
    """Moments of `h = phi(x)`, `x = mean + sqrt(q) Z`, `Z ~ N(0, 1)`; arrays of the shape of `q`.

    Attributes:
        mean: `E[phi]`.
        square: `E[phi^2]`.
        variance: `E[phi^2] - E[phi]^2`, taken about the mean so that nothing cancels.
        slope: `E[phi']`.
        slope_square: `E[phi'^2]`.
        growth: `E[phi phi' sqrt(q) Z]`, which is `q dE[phi^2]/dq` (Stein).
        kurtosis: `E[phi^4] / E[phi^2]^2`.
        slope_kurtosis: `E[phi'^4] / E[phi'^2]^2`.
    """

    mean: Array
    square: Array
    variance: Array
    slope: Array
    slope_square: Array
    growth: Array
    kurtosis: Array
    slope_kurtosis: Array


_NAMES = [field.name for field in fields(Moments)]
_COUNT = len(_NAMES)
_SQUARES = [_NAMES.index("square"), _NAMES.index("slope_square")]


def moments(activation: Activation, q: npt.ArrayLike, mean: npt.ArrayLike = 0.0) -> Moments:
    """Moments under `N(mean, q)` by quadrature: 1e-12 relative for q from 1e-6 to 1e6.

    Args:
        activation: any record; its kinks and period are all that is asked of it.
        q: variances of the pre-activation, of any shape.
        mean: means of the pre-activation, broadcast against `q`.
    """
    variances, means = np.broadcast_arrays(np.asarray(q, float), np.asarray(mean, float))
    return _unpacked(_integrate(curve_of(activation), variances.ravel(), means.ravel()), variances.shape)


def lookup(activation: Activation, q: npt.ArrayLike, mean: float = 0.0) -> Moments:
    """Moments under `N(mean, q)` as `moments` gives them to 1e-12, from a table that grows where it is read."""
    curve, variances = curve_of(activation), np.asarray(q, float)
    flat = variances.ravel()
    result = np.full((flat.size, _COUNT), np.nan)
    with np.errstate(all="ignore"):  # moments beyond the float range are infinite, and what is made of those NaN
        for rows, number, basis in segments(flat):
            table = _table(curve, mean, number)
            few = flat[rows]
            result[rows] = _integrate(curve, few, np.full_like(few, mean)) if table is None else basis @ table
    tiny = (flat >= 0) & (flat < _SMALLEST)
    if tiny.any():
        result[tiny] = _at_zero(curve, mean)
    return _unpacked(result, variances.shape)


def _unpacked(matrix: Array, shape: tuple[int, ...]) -> Moments:
    return Moments(*(column.reshape(shape) for column in matrix.T))


def segments(q: Array) -> Iterator[tuple[Array, int, Array]]:
    """Split `q` `(rows,)` by segment: the rows, the segment's number, the Chebyshev polynomials at their log q."""
    usable = np.flatnonzero((q >= _SMALLEST) & (q <= _LARGEST))
    position = np.log(q[usable]) / _SEGMENT
    numbers = np.floor(position)
    for number in sorted(set(numbers.tolist())):
        chosen = numbers == number
        yield usable[chosen], int(number), chebyshev.chebvander(2 * (position[chosen] - number) - 1, _CHEBYSHEV - 1)


def segment_nodes(number: int) -> Array:
    """The q at which a segment is tabulated, `(nodes,)`."""
    return np.asarray(np.exp((number + (_PLACES + 1) / 2) * _SEGMENT))


def segment_table(values: Array) -> Array:
    """Chebyshev coefficients in log q of values `(nodes, functions)` at `segment_nodes`."""
    transform = chebyshev.chebvander(_PLACES, _CHEBYSHEV - 1).T * (2 / _CHEBYSHEV)
    transform[0] /= 2
    with np.errstate(all="ignore"):
        return np.asarray(transform @ values)


@lru_cache(maxsize=4096)
def _table(curve: Curve, mean: float, segment: int) -> Array | None:
    """The moments' Chebyshev coefficients `(order, moments)` on one segment; None where they are too steep."""
    q = segment_nodes(segment)
    found = _integrate(curve, q, np.full_like(q, mean))
    squares = found[:, _SQUARES]
    steep = np.any(squares.max(axis=0) > _STEEPEST * squares.min(axis=0))
    return None if steep or not np.isfinite(squares).all() else segment_table(found)


@lru_cache(maxsize=256)
def _at_zero(curve: Curve, mean: float) -> Array:
    """The moments of a constant, exactly: every variance is 0."""
    x = np.full(1, mean)
    with np.errstate(all="ignore"):
        h = curve.value(x)
        value, slope = float(h[0]), float(curve.slope(x, h)[0])
    return np.array([value, value * value, 0.0, slope, slope * slope, 0.0, 1.0, 1.0])


def _integrate(curve: Curve, q: Array, mean: Array) -> Array:
    """The moments of each `N(mean, q)`, `(rows, moments)`."""
    result: Array = np.empty((len(q), _COUNT))
    with np.errstate(all="ignore"):
        for rule in rules(curve, q, mean):
            result[rule.rows] = _row_moments(curve, rule, np.sqrt(q[rule.rows])).T
    return result


def _row_moments(curve: Curve, rule: Rule, scale: Array) -> Array:
    """All moments `(moments, rows)`, of phi in units of its largest value so that nothing overflows."""
    h = curve.value(rule.x)
    d = curve.slope(rule.x, h)
    unit = np.maximum.reduceat(np.abs(h), rule.starts)
    unit[unit == 0] = 1
    r = h / rule.spread(unit)
    mean = rule.expect(r)
    squares, slopes = r * r, d * d
    square, slope_square = rule.expect(squares), rule.expect(slopes)
    return np.stack(
        [
            mean * unit,
            square * unit**2,
            rule.expect((r - rule.spread(mean)) ** 2) * unit**2,
            rule.expect(d),
            slope_square,
            rule.expect(r * d * rule.z) * scale * unit,
            rule.expect(squares * squares) / square**2,
            rule.expect(slopes * slopes) / slope_square**2,
        ]
    )


def histogram(
    activation: Activation,
    q: npt.ArrayLike,
    edges: npt.ArrayLike,
    mean: npt.ArrayLike = 0.0,
    weights: npt.ArrayLike | None = None,
) -> Array:
    """Predicted share of outputs `h = phi(mean + sqrt(q) Z)` in each bin, `(bins,)`.

    Bins are closed on the left, the last one on both sides, as numpy's are; atoms (ReLU at 0, hard tanh at its bounds)
    fall where those rules put them.

    Args:
        activation: any record, monotone or not.
        q: variances of the pre-activation over which to average, `(nodes,)` or a number.
        edges: increasing bin edges, `(bins + 1,)`.
        mean: means of the pre-activation, broadcast to the shape of `q`.
        weights: of the nodes; None means equal.
    """
    variances = np.atleast_1d(np.asarray(q, float))
    means = np.broadcast_to(np.asarray(mean, float), variances.shape)
    shares = np.full(variances.shape, 1 / variances.size) if weights is None else np.asarray(weights, float)
    alone = (each[None] for each in (variances, np.asarray(edges, float), means, shares))
    return np.asarray(histograms(activation, *alone)[0])


def histograms(activation: Activation, q: Array, edges: Array, mean: Array, weights: Array) -> Array:
    """The same of several outputs, `(outputs, bins)`: `q`, `mean` and `weights` are `(outputs, nodes)`."""
    below, owner = edges.copy(), np.repeat(np.arange(len(q)), q.shape[1]).tolist()
    # "Below the edge" rather than "at or below": only so does an atom on an edge belong to the bin that it opens.
    below[:, :-1] = np.nextafter(below[:, :-1], -math.inf)
    cumulative = np.zeros(below.shape)
    means, shares = mean.ravel(), weights.ravel().tolist()
    scales = np.sqrt(np.maximum(q.ravel(), 0.0))  # a difference of squares may come out below 0 by rounding
    for kinks, rows in _alike(activation.kinks, means, scales):
        z, mass = _cells(kinks)
        with np.errstate(all="ignore"):
            h = activation.value(means[rows, None] + scales[rows, None] * z)
            rises = np.all(h[:, 1:] >= h[:, :-1], axis=1).tolist()
        for row, values, rising in zip(rows, h, rises, strict=True):
            share_below = _piece_below if rising else _pieces_below
            cumulative[owner[row]] += shares[row] * share_below(values, mass, below[owner[row]])
    return np.diff(cumulative)


def _alike(kinks: Sequence[float], means: Array, scales: Array) -> Iterator[tuple[tuple[float, ...], list[int]]]:
    """Rows whose kinks lie alike in units of the standard normal, and where; nowhere for a constant."""
    found: dict[tuple[float, ...], list[int]] = defaultdict(list)
    for row, (mean, scale) in enumerate(zip(means.tolist(), scales.tolist(), strict=True)):
        found[tuple((kink - mean) / scale for kink in kinks) if scale else ()].append(row)
    for places, rows in found.items():
        for start in range(0, len(rows), _ROWS):
            yield places, rows[start : start + _ROWS]


def _pieces_below(h: Array, mass: Array, edges: Array) -> Array:
    """Share of outputs at or below each edge: the sum over the monotone pieces of phi."""
    direction = np.sign(np.diff(h))
    # A flat piece goes on in the direction before it: it is an atom at one end of a piece, not a piece.
    known = np.maximum.accumulate(np.where(direction != 0, np.arange(len(direction)), 0))
    turns = np.flatnonzero(np.diff(direction[known])) + 1
    total = np.zeros(len(edges))
    for first, last in zip([0, *turns], [*turns, len(h) - 1], strict=True):
        total += _piece_below(h[first : last + 1], mass[first : last + 1], edges)
    return total


def _piece_below(h: Array, mass: Array, edges: Array) -> Array:
    """Share of one monotone piece at or below each edge."""
    if h[-1] >= h[0]:
        return np.asarray(np.interp(edges, h, mass - mass[0], left=0.0))
    return np.asarray(np.interp(edges, h[::-1], mass[-1] - mass[::-1], left=0.0))


@lru_cache
def _normal_cdf_grid() -> tuple[Array, Array]:
    tail = np.linspace(_FINE_REACH, REACH, _COARSE_CELLS + 1)[1:]
    z = np.concatenate([-tail[::-1], np.linspace(-_FINE_REACH, _FINE_REACH, _FINE_CELLS + 1), tail])
    return z, _normal_cdf(z)


def _normal_cdf(z: Array) -> Array:
    # math.erfc rather than scipy.special, whose import costs more than a whole prediction.
    return np.array([math.erfc(-x / math.sqrt(2)) / 2 for x in z])


@lru_cache(maxsize=16)
def _cells(kinks: tuple[float, ...]) -> tuple[Array, Array]:
    """Standard normal grid that holds the kinks, and the distribution function on it."""
    z, cdf = _normal_cdf_grid()
    extra = np.array([k for k in kinks if abs(k) < REACH])
    if not len(extra):
        return z, cdf
    place = np.searchsorted(z, extra)
    return np.insert(z, place, extra), np.insert(cdf, place, _normal_cdf(extra))
