"""Expectations over two correlated pre-activations: by nested quadrature, or by a series in the correlation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.polynomial import hermite_e

from initprobe.activations.record import Activation
from initprobe.arrays import Array, normal_density
from initprobe.meanfield.moments import moments
from initprobe.meanfield.quadrature import REACH, Curve, bends, curve_of, distinct, panel_nodes

# Outer panels of the nested rule. The inner integral smears kinks over one standard deviation of the inner variable.
# The panels around them start at a quarter of it and grow.
_SMEARED = np.array([0, 0.25, 0.5, 1, 2, 4, 6, 9, 12])
_OUTER_ORDER = 24

# Terms of the series. He_k oscillates like cos(sqrt(k) z), so a panel of 1/4 in z holds at most 2.5 radians of it.
ORDER = 96
_SERIES_REACH = 8.0
_COARSE = 0.25
_PANEL_ORDER = 8
_DOUBLINGS = 7
# The tail of a series is summed in octaves of k. The last octave is open, and 1 - c is resolved down to 2e-6.
_OCTAVES = 12
_SMOOTH_TAIL, _KINKED_TAIL = 1.05, 3.0
_NEGLIGIBLE = 1e-12
# Terms of the series of many rows below this share of the largest mean square are left out.
_LEAST_TERM = 1e-9


def pair_moments(activation: Activation, q_a: float, q_b: float, c: float) -> tuple[float, float]:
    """`E[phi(u) phi(v)]` and `E[phi'(u) phi'(v)]` by nested quadrature, both integrals split at the kinks.

    The error is 1e-12 of the value at c = 1. Takes a few tenths of a second. Poole et al. 2016, arXiv:1606.05340.

    Args:
        activation: any record.
        q_a: variance of u, which is normal with mean 0.
        q_b: variance of v, which is normal with mean 0.
        c: correlation of u and v.
    """
    curve = curve_of(activation)
    low, high = _outer_panels(curve, math.sqrt(q_a), math.sqrt(q_b), c)
    z, weights = (nodes.ravel() for nodes in panel_nodes(low, high, _OUTER_ORDER))
    u = math.sqrt(q_a) * z
    h = curve.value(u)
    inner = moments(activation, q_b * (1 - c * c), math.sqrt(q_b) * c * z)
    mass = weights * normal_density(z)
    return float(np.sum(mass * h * inner.mean)), float(np.sum(mass * curve.slope(u, h) * inner.slope))


def _outer_panels(curve: Curve, scale_a: float, scale_b: float, c: float) -> tuple[Array, Array]:
    """Ends of the outer panels in z, where `u = scale_a z` and the inner variable has mean `scale_b c z`."""
    grid = np.arange(-REACH, REACH + 1)
    smear = math.sqrt(1 - c * c)
    edges = [grid, bends(curve) / scale_a]
    if c != 0:
        kinks = np.asarray(curve.kinks, float)[:, None] / scale_b
        edges += [bends(curve) / (scale_b * c), ((kinks + smear * np.concatenate([-_SMEARED, _SMEARED])) / c).ravel()]
    z = distinct(np.concatenate(edges))
    # Edges closer than 1e-9 resolve nothing more.
    z = z[(np.abs(z) <= REACH) & (np.diff(z, prepend=-math.inf) > 1e-9)]
    return z[:-1], z[1:]


class HermiteGrid(NamedTuple):
    """A quadrature grid in z that includes the normal density, and the Hermite polynomials on it.

    Attributes:
        z: nodes, symmetric about 0 and finest there, `(nodes,)`.
        weights: quadrature weights times the normal density, `(nodes,)`.
        analysis: `He_k(z) / sqrt(k!)` times `weights`, `(ORDER, nodes)`; `analysis @ f` are the coefficients of f.
    """

    z: Array
    weights: Array
    analysis: Array

    @property
    def fourth(self) -> Array:
        """`He_4(z)` times `weights`, `(nodes,)`: `f @ fourth` is `E[f(z) He_4(z)]`."""
        return np.asarray(self.analysis[4] * math.sqrt(math.factorial(4)))

    def mean(self, f: Array) -> Array:
        """`E[f(z)]` of functions `(..., nodes)`: `(...)`."""
        return np.asarray(np.vecdot(f, self.weights))

    def coefficients(self, f: Array, orders: int = ORDER) -> Array:
        """Hermite coefficients, `(..., orders)`, of functions `(..., nodes)`, in one matrix product.

        Args:
            f: values at the nodes, `(..., nodes)`.
            orders: number of coefficients.
        """
        flat = f.reshape(-1, f.shape[-1]) @ self.analysis[:orders].T
        return np.asarray(flat.reshape(*f.shape[:-1], orders))


@lru_cache
def hermite_grid() -> HermiteGrid:
    """The one grid of all series. A kink at 0 lies on a panel edge; a kink elsewhere costs an error of about 1e-5."""
    fine = _COARSE * 2.0 ** -np.arange(_DOUBLINGS, 0, -1)
    half = np.concatenate([[0], fine, np.arange(_COARSE, _SERIES_REACH + _COARSE, _COARSE)])
    edges = np.concatenate([-half[:0:-1], half])
    z, weights = (nodes.ravel() for nodes in panel_nodes(edges[:-1], edges[1:], _PANEL_ORDER))
    weights = weights * normal_density(z)
    scales = np.array([math.sqrt(math.factorial(k)) for k in range(ORDER)])
    return HermiteGrid(z, weights, (hermite_e.hermevander(z, ORDER - 1) / scales).T * weights)


class Series(NamedTuple):
    """`E[f(u) g(v)] = sum_k f_k g_k c^k` for standard normal u, v of correlation c (Mehler's formula).

    Terms beyond `ORDER` are replaced by a Pareto tail in k. Its sum is that of the missing terms; for f = g so is its
    slope at c = 1. A kink gives `k^(-5/2)`, exactly such a tail. It carries the `(1 - c)^(3/2)` that decides how fast
    inputs become alike in deep ReLU networks.

    Attributes:
        exponents: k, `(..., terms)`; not integers in the tail.
        coefficients: `f_k g_k`, `(..., terms)`.
    """

    exponents: Array
    coefficients: Array

    def at(self, c: float) -> float:
        """The expectation at correlation `c`, summed over all axes."""
        if c >= 0:
            return float(np.vdot(self.coefficients, c**self.exponents))
        # The parity of the tail is unknown. It is negligible unless -c is close to 1.
        return float(np.vdot(self.coefficients[..., :ORDER], c ** self.exponents[..., :ORDER]))

    def weighted(self, shares: Array) -> Iterator[Series]:
        """One series `(..., terms)` per layer, weighted by `shares` `(layers, ...)`."""
        return map(Series, self.exponents, self.coefficients * shares[..., None])


def series(f: Array, g: Array, f_slope: Array | None = None) -> Series:
    """The Mehler series of pairs of functions on the Hermite grid.

    Args:
        f: values at the grid's nodes, `(..., nodes)`.
        g: values at the grid's nodes, `(..., nodes)`.
        f_slope: `df/dz`, `(..., nodes)`, if g is f; the series then has the right slope at c = 1.
    """
    grid = hermite_grid()
    f_coefficients = grid.coefficients(f)
    products = f_coefficients * (f_coefficients if g is f else grid.coefficients(g))
    rest, size = grid.mean(f * g) - products.sum(axis=-1), grid.mean(np.abs(f * g))
    rest = np.where(np.abs(rest) <= _NEGLIGIBLE * size, 0.0, rest)
    stretch = np.full_like(rest, _KINKED_TAIL)
    if f_slope is not None:
        steepness = grid.mean(f_slope * f_slope) - products @ np.arange(ORDER)
        np.divide(steepness, rest * ORDER, out=stretch, where=rest != 0)
    exponents, shares = tail(stretch)
    whole = np.broadcast_to(np.arange(float(ORDER)), products.shape)
    return Series(np.concatenate([whole, exponents], -1), np.concatenate([products, rest[..., None] * shares], -1))


def tail(stretch: npt.ArrayLike) -> tuple[Array, Array]:
    """Mean exponent and share per octave of a Pareto distribution on `[ORDER, inf)` with mean `stretch * ORDER`.

    Args:
        stretch: mean over ORDER, of shape `(...)`; values below 1.05 count as 1.05.

    Returns:
        Exponents and shares, each `(..., octaves)`.
    """
    factor: Array = np.maximum(np.asarray(stretch, float), _SMOOTH_TAIL)[..., None]
    shape = factor / (factor - 1)
    start = 2.0 ** np.arange(_OCTAVES)
    end = np.append(start[1:], math.inf)
    mass = start**-shape - end**-shape
    first = (start ** (1 - shape) - end ** (1 - shape)) * factor
    return ORDER * first / mass, mass


@lru_cache
def _kinked_tail() -> tuple[Array, Array]:
    return tail(_KINKED_TAIL)


def pair_covariances(functions: Array, correlations: npt.ArrayLike) -> Array:
    """`Cov(f_i(u), f_j(v))` of standard normal u, v, averaged over correlations: `(..., functions, functions)`.

    Args:
        functions: values on the Hermite grid, `(..., functions, nodes)`.
        correlations: of u and v, `(..., correlations)`.
    """
    grid, c = hermite_grid(), np.asarray(correlations, float)[..., None]
    coefficients = grid.coefficients(functions)
    rest = (functions * grid.weights) @ functions.mT - coefficients @ coefficients.mT
    exponents, shares = _kinked_tail()
    powers = np.mean(np.cumprod(np.repeat(c, ORDER - 1, axis=-1), axis=-1), axis=-2)
    beyond = np.mean(np.where(c > 0, c, 0.0) ** exponents @ shares, axis=-1)
    kept = coefficients[..., 1:]
    return np.asarray((kept * powers[..., None, :]) @ kept.mT + rest * beyond[..., None, None])


def products_of_rows(coefficients: Array, squares: Array, correlations: Array) -> Array:
    """`E[f_a(u_a) f_b(u_b)]` of all pairs of rows, `(rows, rows)`, by Mehler's series; ignore the diagonal.

    Terms beyond `ORDER` count as one term of the order `3 (ORDER - 1)`.

    Args:
        coefficients: Hermite coefficients of each row's function, `(orders, rows)`.
        squares: `E[f^2]`, `(rows,)`.
        correlations: of u, `(rows, rows)`.
    """
    least = _LEAST_TERM * float(np.max(squares, initial=0.0))
    term = correlations.copy()
    np.fill_diagonal(term, 0.0)
    nearest = max(float(term.max()), -float(term.min()))
    sizes = np.max(coefficients**2, axis=1, initial=0.0) * nearest ** np.arange(ORDER)
    kernel, kept = np.zeros_like(correlations), ~(sizes <= least)  # NaN is kept
    for order in range(int(np.max(np.flatnonzero(kept), initial=0)), 0, -1):
        if kept[order]:
            kernel += np.multiply(coefficients[order], coefficients[order][:, None], out=term)
        kernel *= correlations
    kernel += np.multiply(coefficients[0], coefficients[0][:, None], out=term)
    rest, beyond = np.sqrt(np.maximum(squares - (coefficients**2).sum(axis=0), 0.0)), 3 * (ORDER - 1)
    if nearest**beyond > _LEAST_TERM:
        power = np.exp(beyond * np.log(np.maximum(correlations, _NEGLIGIBLE)))
        kernel += np.multiply(rest, rest[:, None], out=term) * power
    return kernel
