"""Expectations over two correlated pre-activations, against closed forms and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.meanfield.correlated_pairs import ORDER, hermite_grid, pair_covariances, pair_moments, series

TOLERANCE = 1e-12

every = pytest.mark.parametrize("act", list(ACTIVATIONS.values()), ids=lambda act: act.name)

CORRELATIONS = [-0.9, 0.0, 0.5, 0.99, 0.9999]


def _relu_kernel(q: float, c: float) -> tuple[float, float]:
    angle = math.pi - math.acos(c)
    return q / (2 * math.pi) * (math.sqrt(1 - c * c) + c * angle), angle / (2 * math.pi)


def _erf_kernel(q: float, c: float) -> tuple[float, float]:
    x = 2 * q / (1 + 2 * q)
    return 2 / math.pi * math.asin(x * c), 4 / math.pi / math.sqrt((1 + 2 * q) ** 2 - (2 * q * c) ** 2)


def _sin_kernel(q: float, c: float) -> tuple[float, float]:
    return math.exp(-q) * math.sinh(q * c), math.exp(-q) * math.cosh(q * c)


KERNELS = {"relu": _relu_kernel, "erf": _erf_kernel, "sin": _sin_kernel}


@pytest.mark.parametrize("c", CORRELATIONS)
@pytest.mark.parametrize("name", KERNELS)
def test_pair_moments_against_closed_forms(name, c):
    q = 1.7
    got, want = pair_moments(ACTIVATIONS[name], q, q, c), KERNELS[name](q, c)
    sizes = KERNELS[name](q, 1.0)
    for value, exact, size in zip(got, want, sizes, strict=True):
        assert value == pytest.approx(exact, rel=0, abs=TOLERANCE * size)


def test_pair_moments_of_different_lengths():
    """ReLU is homogeneous, so lengths only scale its kernel."""
    got = pair_moments(ACTIVATIONS["relu"], 0.2, 9.0, 0.6)
    want = _relu_kernel(math.sqrt(0.2 * 9.0), 0.6)
    assert got == (pytest.approx(want[0], rel=TOLERANCE), pytest.approx(want[1], rel=TOLERANCE))


@pytest.mark.parametrize("c", [0.3, 0.95])
@every
def test_series_agrees_with_nested_quadrature(act, c):
    """Up to what a kink off the grid's panel edges costs: gap^2/8 of the jump in slope, times the density."""
    q, grid = 1.3, hermite_grid()
    h = act.value(math.sqrt(q) * grid.z)
    slope = math.sqrt(q) * act.slope(math.sqrt(q) * grid.z, h)
    mehler = series(h, h, slope)
    exact, _ = pair_moments(act, q, q, c)
    gap, jump = np.max(np.diff(grid.z)), 2 * q
    assert mehler.at(c) == pytest.approx(exact, abs=gap**2 / 8 * jump * 0.4)


@pytest.mark.parametrize("gap", [1e-2, 1e-3, 1e-4, 1e-5])
def test_tail_of_the_series_carries_deep_relu_networks(gap):
    """`1 - c` shrinks like `1 - c - (2 sqrt 2/(3 pi)) (1 - c)^(3/2)`; 96 terms alone would stop at 1e-2."""
    z = hermite_grid().z
    h = np.maximum(z, 0)
    mehler = series(h, h, (z > 0).astype(float))
    lost = 0.5 - _relu_kernel(1.0, 1 - gap)[0]
    assert mehler.at(1.0) - mehler.at(1 - gap) == pytest.approx(lost, rel=1e-3)


def test_hermite_polynomials_are_orthonormal():
    grid = hermite_grid()
    analysis = grid.analysis / grid.weights
    gram = analysis @ grid.analysis.T
    # Beyond 8 standard deviations, where the grid ends, lies less than 8^12/6! times the density there.
    assert gram[:7, :7] == pytest.approx(np.eye(7), abs=1e-6)
    assert len(gram) == ORDER


def test_pair_covariances_of_squares():
    """`Cov(u^2, v^2) = 2 c^2`, `Cov(u, u^2) = 0`, and nothing left of squares whose sum is known."""
    z = hermite_grid().z
    functions = np.stack([z, z * z])
    got = pair_covariances(functions, (0.2, 0.6))
    assert got == pytest.approx(np.array([[0.4, 0], [0, 2 * (0.04 + 0.36) / 2]]), abs=1e-9)
