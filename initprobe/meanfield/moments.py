"""Gaussian moments of an activation: by quadrature, or from a table in log q that grows on demand."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from initprobe.activations.record import Activation
from initprobe.arrays import Array, normal_cdf, normal_density
from initprobe.meanfield.quadrature import REACH, Curve, Rule, curve_of, rules

# A moment is analytic in log q for |Im log q| < pi/2, for any activation, because the normal density is. On a segment
# of length log 4 the Bernstein ellipse that touches pi/2 has rho = 4.75. So 24 Chebyshev nodes leave an error of 1e-16.
_SEGMENT = math.log(4)
_CHEBYSHEV = 24
_PLACES = chebyshev.chebpts1(_CHEBYSHEV)
# Fewer places are cheaper one by one: one takes 2 us, where `chebvander` takes 25 us for up to 64.
_FEW = 8
# Largest growth over a segment. A power law up to the fourth degree grows by 4^4 = 256. Steeper moments, such as the
# E[phi^2] = e^2q of an exponential, lose digits in a polynomial in log q.
_STEEPEST = 320
# Moments are NaN where the integral is cut off. That is where the integrand with its density exceeds this share of it
# at the ends of the quadrature. An exponential phi has the peak of phi^2 at 2 sqrt(q) SDs, and the quadrature ends at
# 12.
_CUT_OFF = 1e-10
_END_DENSITY = normal_density(REACH)
# Beyond these q even the variance is close to the ends of the float range.
_SMALLEST, _LARGEST = 1e-300, 1e300
# Grid of the predicted histograms, fine where the normal density bends. The distribution function is linear in a cell,
# so its error is `width^2 / 8 max |density'|`, 1e-6.
_FINE_CELLS, _FINE_REACH, _COARSE_CELLS = 1500, 4.5, 75
# Distributions evaluated on that grid at once.
_ROWS = 32


class Moments(NamedTuple):
    """Moments of `h = phi(x)`, `x = mean + sqrt(q) Z`, `Z ~ N(0, 1)`; every array has the shape of `q`.

    Attributes:
        mean: `E[phi]`.
        square: `E[phi^2]`.
        variance: `E[phi^2] - E[phi]^2`, computed about the mean so that nothing cancels.
        slope: `E[phi']`.
        slope_square: `E[phi'^2]`.
        growth: `E[phi phi' sqrt(q) Z]`, which is `q dE[phi^2]/dq` (Stein's lemma).
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


def stacked_moments(moments_by_layer: Sequence[Moments]) -> Moments:
    """Moments of equal shapes as one record, whose arrays gain a first axis."""
    return Moments(*(np.array([getattr(entry, name) for entry in moments_by_layer]) for name in _NAMES))


_NAMES = list(Moments._fields)
_COUNT = len(_NAMES)
_SQUARES = [_NAMES.index("square"), _NAMES.index("slope_square")]


def moments(activation: Activation, q: npt.ArrayLike, mean: npt.ArrayLike = 0.0) -> Moments:
    """Moments under `N(mean, q)` by quadrature: 1e-12 relative for q from 1e-6 to 1e6.

    NaN where phi grows so fast that the quadrature, which ends at 12 SDs, cuts off a part. An exponential phi is NaN
    from q = 7 on.

    Args:
        activation: any record; only its values, slopes, kinks and period are used.
        q: variances of the pre-activation, of any shape.
        mean: means of the pre-activation, broadcast against `q`.
    """
    variances, means = np.broadcast_arrays(np.asarray(q, float), np.asarray(mean, float))
    return _unpacked(_integrate(curve_of(activation), variances.ravel(), means.ravel()), variances.shape)


def lookup(activation: Activation, q: npt.ArrayLike, mean: float = 0.0) -> Moments:
    """Moments under `N(mean, q)`, within 1e-12 of `moments`, from a table that grows on demand.

    Args:
        activation: any record.
        q: variances of the pre-activation, of any shape. Where q is negative or not finite the moments are NaN.
        mean: mean of the pre-activation.
    """
    curve, variances = curve_of(activation), np.asarray(q, float)
    flat = variances.ravel()
    result = np.full((flat.size, _COUNT), np.nan)
    with np.errstate(all="ignore"):  # moments beyond the float range are infinite, and what follows from them NaN
        for rows, number, basis in segments(flat):
            table = _table(curve, mean, number)
            q_here = flat[rows]
            direct = table is None
            result[rows] = _integrate(curve, q_here, np.full_like(q_here, mean)) if direct else basis @ table
    tiny = (flat >= 0) & (flat < _SMALLEST)
    if tiny.any():
        result[tiny] = _at_zero(curve, mean)
    return _unpacked(result, variances.shape)


def _unpacked(matrix: Array, shape: tuple[int, ...]) -> Moments:
    return Moments(*(column.reshape(shape) for column in matrix.T))


def segments(q: Array) -> Iterator[tuple[Array, int, Array]]:
    """Split `q`, `(rows,)`, by segment: the rows, the segment's number, the Chebyshev polynomials at their log q."""
    usable = np.flatnonzero((q >= _SMALLEST) & (q <= _LARGEST))
    position = np.log(q[usable]) / _SEGMENT
    numbers = np.floor(position)
    for number in sorted(set(numbers.tolist())):
        chosen = numbers == number
        yield usable[chosen], int(number), _polynomials(2 * (position[chosen] - number) - 1)


def _polynomials(places: Array) -> Array:
    """The Chebyshev polynomials at some places, `(places, polynomials)`: the bits of `chebvander`."""
    if len(places) > _FEW:
        return np.asarray(chebyshev.chebvander(places, _CHEBYSHEV - 1))
    return np.array([_polynomials_at(place) for place in places.tolist()]).copy("F")


def _polynomials_at(place: float) -> list[float]:
    """The Chebyshev polynomials at one place, by their recurrence."""
    below, here, twice = 1.0, place, 2 * place
    values = [below, here]
    for _ in range(_CHEBYSHEV - 2):
        below, here = here, twice * here - below
        values.append(here)
    return values


def segment_nodes(number: int) -> Array:
    """The q at which a segment is tabulated, `(Chebyshev nodes,)`."""
    return np.asarray(np.exp((number + (_PLACES + 1) / 2) * _SEGMENT))


def segment_table(values: Array) -> Array:
    """Chebyshev coefficients in log q of values at `segment_nodes`, both `(Chebyshev nodes, functions)`."""
    transform = chebyshev.chebvander(_PLACES, _CHEBYSHEV - 1).T * (2 / _CHEBYSHEV)
    transform[0] /= 2
    with np.errstate(all="ignore"):
        return np.asarray(transform @ values)


@lru_cache(maxsize=4096)
def _table(curve: Curve, mean: float, segment: int) -> Array | None:
    """Chebyshev coefficients of the moments on one segment, `(orders, moments)`; None where a moment is too steep."""
    q = segment_nodes(segment)
    values = _integrate(curve, q, np.full_like(q, mean))
    squares = values[:, _SQUARES]
    steep = np.any(squares.max(axis=0) > _STEEPEST * squares.min(axis=0))
    return None if steep or not np.isfinite(squares).all() else segment_table(values)


@lru_cache(maxsize=256)
def _at_zero(curve: Curve, mean: float) -> Array:
    """The moments at q = 0, where z is constant, exactly."""
    x = np.full(1, mean)
    with np.errstate(all="ignore"):
        h = curve.value(x)
        value, slope = float(h[0]), float(curve.slope(x, h)[0])
    return np.array([value, value * value, 0.0, slope, slope * slope, 0.0, 1.0, 1.0])


def _integrate(curve: Curve, q: Array, mean: Array) -> Array:
    """The moments of each `N(mean, q)` by quadrature, `(rows, moments)`."""
    result: Array = np.empty((len(q), _COUNT))
    with np.errstate(all="ignore"):
        for rule in rules(curve, q, mean):
            result[rule.rows] = _row_moments(curve, rule, np.sqrt(q[rule.rows])).T
    return result


def _row_moments(curve: Curve, rule: Rule, scale: Array) -> Array:
    """All moments, `(moments, rows)`; phi is scaled by its largest value so that no power of it overflows."""
    h = curve.value(rule.x)
    d = curve.slope(rule.x, h)
    unit = np.maximum.reduceat(np.abs(h), rule.starts)
    unit[unit == 0] = 1
    r = h / rule.spread(unit)
    mean = rule.expect(r)
    squares, slopes = r * r, d * d
    square, slope_square = rule.expect(squares), rule.expect(slopes)
    square[_is_cut_off(rule, squares, square) | _is_cut_off(rule, slopes, slope_square)] = np.nan
    result = np.stack(
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
    result[:, np.isnan(square)] = np.nan
    return result


def _is_cut_off(rule: Rule, integrand: Array, integral: Array) -> Array:
    """Whether an integrand is still large where the quadrature ends, for each Gaussian, `(gaussians,)`.

    False far from 0. There a ReLU is on only at the end of the quadrature, and its moments are near 0.
    """
    first, last = rule.starts, np.append(rule.starts[1:], len(rule.z)) - 1
    middle, reach = (rule.x[first] + rule.x[last]) / 2, (rule.x[last] - rule.x[first]) / 2
    ends = np.maximum(integrand[first], integrand[last])
    return np.asarray((ends * _END_DENSITY > _CUT_OFF * integral) & (np.abs(middle) < reach / 2))


def histogram(
    activation: Activation,
    q: npt.ArrayLike,
    edges: npt.ArrayLike,
    mean: npt.ArrayLike = 0.0,
    weights: npt.ArrayLike | None = None,
) -> Array:
    """Predicted share of outputs `h = phi(mean + sqrt(q) Z)` in each bin, `(bins,)`.

    Bins are closed on the left, the last one on both sides, as in `numpy.histogram`. Atoms (ReLU at 0, hard tanh at its
    bounds) are counted by these rules.

    Args:
        activation: any record, monotone or not.
        q: variances of the pre-activation to average over, `(nodes,)` or a number.
        edges: increasing bin edges, `(bins + 1,)`.
        mean: means of the pre-activation, broadcast to the shape of `q`.
        weights: of the nodes, `(nodes,)`; None means equal weights.
    """
    variances = np.atleast_1d(np.asarray(q, float))
    means = np.broadcast_to(np.asarray(mean, float), variances.shape)
    shares = np.full(variances.shape, 1 / variances.size) if weights is None else np.asarray(weights, float)
    single = (values[None] for values in (variances, np.asarray(edges, float), means, shares))
    return np.asarray(histograms(activation, *single)[0])


def histograms(activation: Activation, q: Array, edges: Array, mean: Array, weights: Array) -> Array:
    """Predicted shares of several outputs, `(outputs, bins)`, as `histogram` gives them for one.

    Args:
        activation: any record.
        q: variances of the pre-activation, `(outputs, nodes)`.
        edges: increasing bin edges, `(outputs, bins + 1)`.
        mean: means of the pre-activation, `(outputs, nodes)`.
        weights: of the nodes, `(outputs, nodes)`.
    """
    below, owner = edges.copy(), np.repeat(np.arange(len(q)), q.shape[1]).tolist()
    # Below the edge, not at or below it. So an atom on an edge belongs to the bin that starts there.
    below[:, :-1] = np.nextafter(below[:, :-1], -math.inf)
    cumulative = np.zeros(below.shape)
    means, shares = mean.ravel(), weights.ravel().tolist()
    scales = np.sqrt(np.maximum(q.ravel(), 0.0))  # a difference of squares may come out below 0 by rounding
    for kinks, rows in _equal_kinks(activation.kinks, means, scales):
        z, mass = _cells(kinks)
        with np.errstate(all="ignore"):
            h = activation.value(means[rows, None] + scales[rows, None] * z)
            rises = np.all(h[:, 1:] >= h[:, :-1], axis=1).tolist()
        for row, values, rising in zip(rows, h, rises, strict=True):
            share_below = _piece_below if rising else _pieces_below
            cumulative[owner[row]] += shares[row] * share_below(values, mass, below[owner[row]])
    return np.diff(cumulative)


def _equal_kinks(kinks: Sequence[float], means: Array, scales: Array) -> Iterator[tuple[tuple[float, ...], list[int]]]:
    """Groups of rows whose kinks lie at the same z: these z (none for a constant) and the rows."""
    rows_by_kinks: dict[tuple[float, ...], list[int]] = defaultdict(list)
    for row, (mean, scale) in enumerate(zip(means.tolist(), scales.tolist(), strict=True)):
        rows_by_kinks[tuple((kink - mean) / scale for kink in kinks) if scale else ()].append(row)
    for places, rows in rows_by_kinks.items():
        for start in range(0, len(rows), _ROWS):
            yield places, rows[start : start + _ROWS]


def _pieces_below(h: Array, mass: Array, edges: Array) -> Array:
    """Share of outputs at or below each edge, summed over the monotone pieces of phi."""
    direction = np.sign(np.diff(h))
    # A flat piece continues the direction before it. It is an atom at the end of a piece, not a piece of its own.
    last_sloped = np.maximum.accumulate(np.where(direction != 0, np.arange(len(direction)), 0))
    turns = np.flatnonzero(np.diff(direction[last_sloped])) + 1
    total = np.zeros(len(edges))
    for first, last in zip([0, *turns], [*turns, len(h) - 1], strict=True):
        total += _piece_below(h[first : last + 1], mass[first : last + 1], edges)
    return total


def _piece_below(h: Array, mass: Array, edges: Array) -> Array:
    """Share of one monotone piece at or below each edge, `(edges,)`."""
    if h[-1] >= h[0]:
        return np.asarray(np.interp(edges, h, mass - mass[0], left=0.0))
    return np.asarray(np.interp(edges, h[::-1], mass[-1] - mass[::-1], left=0.0))


@lru_cache
def _normal_cdf_grid() -> tuple[Array, Array]:
    tail = np.linspace(_FINE_REACH, REACH, _COARSE_CELLS + 1)[1:]
    z = np.concatenate([-tail[::-1], np.linspace(-_FINE_REACH, _FINE_REACH, _FINE_CELLS + 1), tail])
    return z, _cdf(z)


def _cdf(z: Array) -> Array:
    return np.array([normal_cdf(float(x)) for x in z])  # one by one: for arrays it imports scipy.special


@lru_cache(maxsize=16)
def _cells(kinks: tuple[float, ...]) -> tuple[Array, Array]:
    """Standard normal grid that holds the kinks, and the distribution function on it."""
    z, cdf = _normal_cdf_grid()
    extra = np.array([k for k in kinks if abs(k) < REACH])
    if not len(extra):
        return z, cdf
    place = np.searchsorted(z, extra)
    return np.insert(z, place, extra), np.insert(cdf, place, _cdf(extra))
