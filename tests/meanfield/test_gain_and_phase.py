"""Gains, fixed points and the edge of chaos against published values and laws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.rectifiers import leaky_relu
from initprobe.meanfield.correlated_pairs import pair_moments
from initprobe.meanfield.gain import gain_row, torch_gain
from initprobe.meanfield.moments import moments
from initprobe.meanfield.phase import critical_line, fixed_point, phase_diagram

TANH, RELU, SELU, GELU = (ACTIVATIONS[name] for name in ("tanh", "relu", "selu", "gelu"))

# Forward gain, backward gain, gain with the mean removed, chi_1 at the forward gain, E[phi'^4]/E[phi'^2]^2: 40 digits
# in mpmath.
GAINS = {
    "linear": (1.0, 1.0, 1.0, 1.0, 1.0),
    "sigmoid": (1.846228545338605, 4.722646085937974, 4.801313372039962, 0.1528270117155937, 1.136976728964225),
    "tanh": (1.592537419722831, 1.467413591630795, 1.592537419722831, 1.17780723230418, 1.583479941367464),
    "relu": (1.414213562373095, 1.414213562373095, 1.712858550449663, 1.0, 2.0),
    "elu": (1.245198300700707, 1.223428557552621, 1.270843417850196, 1.035904718604347, 1.331683535829153),
    "selu": (1.0, 0.9660257769739012, 1.0, 1.071574992455799, 1.316196539646502),
    "gelu": (1.533530441195535, 1.481114412708348, 1.700926243363333, 1.072031598436292, 2.088334044250501),
    "mish": (1.486847581273208, 1.44475523254732, 1.592025381099446, 1.059118000595146, 1.837461177433451),
    "softplus": (1.041866835535302, 1.846228545338605, 1.919125980107656, 0.3184589836836931, 1.528899601132386),
}

# timm's and DeepMind's NFNets: 1/std(phi), estimated from random numbers, and so good to about 1e-3.
NFNETS = {
    "linear": 1.0,
    "celu": 1.270926833152771,
    "elu": 1.2716004848480225,
    "gelu": 1.7015043497085571,
    "leaky_relu": 1.70590341091156,
    "relu": 1.7139588594436646,
    "relu6": 1.7131484746932983,
    "selu": 1.0008515119552612,
    "sigmoid": 4.803835391998291,
    "silu": 1.7881293296813965,
    "softsign": 2.338853120803833,
    "softplus": 1.9203323125839233,
    "tanh": 1.5939117670059204,
}


@pytest.mark.parametrize("name", GAINS)
def test_gains_are_those_of_forty_digits(name):
    row = gain_row(ACTIVATIONS[name])
    got = (row.forward, row.backward, row.mean_removed, row.chi_1, row.spectrum)
    assert got == pytest.approx(GAINS[name], rel=1e-12)


@pytest.mark.parametrize("name", NFNETS)
def test_mean_removed_gain_is_that_of_nfnets(name):
    assert gain_row(ACTIVATIONS[name]).mean_removed == pytest.approx(NFNETS[name], rel=2e-3)


def test_gains_of_torch_are_listed():
    gains = {name: torch_gain(ACTIVATIONS[name]) for name in ("linear", "sigmoid", "tanh", "relu", "selu", "gelu")}
    assert gains == {
        "linear": 1, "sigmoid": 1, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75, "gelu": None,
    }  # fmt: skip
    assert torch_gain(leaky_relu(0.3)) == pytest.approx(math.sqrt(2 / 1.09))


def test_which_forward_gains_hold_the_scale():
    slopes = {name: gain_row(ACTIVATIONS[name]).slope for name in ("gelu", "silu", "mish", "tanh", "relu")}
    assert slopes["gelu"] == pytest.approx(1.144, abs=5e-4)
    assert slopes["silu"] == pytest.approx(1.173, abs=5e-4)
    assert slopes["mish"] == pytest.approx(1.076, abs=5e-4)
    assert [gain_row(ACTIVATIONS[name]).stable for name in slopes] == [False, False, False, True, True]


@pytest.mark.parametrize(
    "act, sigma_w, q, chi_1",
    [(TANH, 5 / 3, 1.178, 1.21), (SELU, 0.75, 0.0230, 1.0036), (SELU, 1.0, 1.0, 1.0716)],
    ids=["tanh 5/3", "selu 3/4", "selu 1"],
)
def test_published_fixed_points(act, sigma_w, q, chi_1):
    point = fixed_point(act, sigma_w)
    assert point.settling == "converges"
    assert point.q == pytest.approx(q, rel=2e-3)
    assert point.chi_1 == pytest.approx(chi_1, rel=5e-4)


SCALES = [(0.8, 0.3), (1.5, 0.0), (2.5, 0.7), (1.2, 0.05)]
BOUNDED = ["tanh", "erf", "hardtanh", "sigmoid", "sin", "softsign"]
# SELU close to its edge of chaos, where the correlation map all but touches the diagonal.
CLOSE = [("selu", 0.75, 0.0), ("relu6", 1.43, 0.2)]


@pytest.mark.parametrize("name, sigma_w, sigma_b", [*((n, *s) for n in BOUNDED for s in SCALES), *CLOSE])
def test_fixed_points_satisfy_their_equations(name, sigma_w, sigma_b):
    """By independent quadrature: `q = w S + b`, `q c = w E[phi phi] + b`, and the depths from the slopes there."""
    act, w, b = ACTIVATIONS[name], sigma_w**2, sigma_b**2
    point = fixed_point(act, sigma_w, sigma_b)
    expected = moments(act, point.q)
    assert w * float(expected.square) + b == pytest.approx(point.q, rel=1e-11)
    assert point.chi_1 == pytest.approx(w * float(expected.slope_square), rel=1e-11)
    assert point.xi_q == pytest.approx(-1 / math.log(abs(w * float(expected.growth) / point.q)), rel=1e-9)
    if point.correlation == 1:
        assert point.chi_1 <= 1 + 1e-9
        assert point.xi_c == pytest.approx(point.xi_gradient, rel=1e-4)
        return
    assert point.chi_1 > 1
    product, slopes = pair_moments(act, point.q, point.q, point.correlation)
    assert (w * product + b) / point.q == pytest.approx(point.correlation, abs=1e-12)
    assert point.xi_c == pytest.approx(-1 / math.log(w * slopes), rel=1e-9)


def test_lengths_that_vanish_or_diverge():
    assert fixed_point(TANH, 0.8).settling == "vanishes"
    assert fixed_point(TANH, 0.8).q == 0
    assert fixed_point(TANH, 0.8).chi_1 == pytest.approx(0.64)
    assert fixed_point(RELU, 1.5).settling == "diverges"
    assert math.isnan(fixed_point(RELU, math.sqrt(2), 0.1).q)


def test_he_keeps_any_length():
    point = fixed_point(RELU, math.sqrt(2))
    assert (point.q, point.chi_1, point.correlation) == pytest.approx((1, 1, 1))
    assert point.xi_q == point.xi_c == point.xi_gradient == math.inf


def test_unstable_lengths_are_left_both_ways():
    """GELU's length map at 1.533 keeps q = 1 but is unstable there.

    With a little less q vanishes, with more it grows.
    """
    assert fixed_point(GELU, 1.50).settling == "vanishes"
    assert fixed_point(GELU, 1.56).settling == "diverges"


# sigma_w and q* at sigma_b^2 = 0.05.
EDGE = {
    "tanh": (1.327009661, 0.570047882),
    "hardtanh": (1.079603950, 0.463863969),
    "erf": (1.172961639, 0.517176838),
}


@pytest.mark.parametrize("name", EDGE)
def test_edge_of_chaos_with_bias(name):
    """To the nine digits published."""
    point = critical_line(ACTIVATIONS[name], math.sqrt(0.05))
    assert point is not None
    assert (point.sigma_w, point.q) == pytest.approx(EDGE[name], abs=6e-10)
    assert point.stable


@pytest.mark.parametrize("name", ["gelu", "silu", "mish"])
def test_edge_of_chaos_may_be_unstable(name):
    """On the edge by independent quadrature, but with a length map that leaves it."""
    act = ACTIVATIONS[name]
    point = critical_line(act, math.sqrt(0.05))
    assert point is not None and not point.stable and point.slope > 1
    expected = moments(act, point.q)
    assert point.sigma_w**2 * float(expected.slope_square) == pytest.approx(1, abs=1e-10)
    assert point.sigma_w**2 * float(expected.square) + 0.05 == pytest.approx(point.q, rel=1e-10)


@pytest.mark.parametrize(
    "name, sigma_w, stable",
    [("tanh", 1, True), ("hardtanh", 1, True), ("erf", math.sqrt(math.pi) / 2, True), ("gelu", 2, False)],
)
def test_edge_of_chaos_without_bias_is_at_zero(name, sigma_w, stable):
    point = critical_line(ACTIVATIONS[name], 0.0)
    assert point is not None
    assert (point.sigma_w, point.q, point.stable) == (pytest.approx(sigma_w, rel=1e-12), 0, stable)


@pytest.mark.parametrize("a", [0.0, 0.01, 0.4])
def test_relu_family_is_critical_at_any_length_or_not_at_all(a):
    act = leaky_relu(a)
    point = critical_line(act, 0.0)
    assert point is not None and math.isnan(point.q) and point.stable
    assert point.sigma_w == pytest.approx(math.sqrt(2 / (1 + a * a)), rel=1e-12)
    assert critical_line(act, 0.2) is None


@pytest.mark.parametrize("sigma_b", [0.0, 0.3])
def test_softplus_has_no_edge(sigma_b):
    assert critical_line(ACTIVATIONS["softplus"], sigma_b) is None


def test_phase_diagram_is_made_of_fixed_points():
    sigma_w, sigma_b = np.array([0.7, 1.3, 2.6]), np.array([0.0, 0.4])
    diagram = phase_diagram(TANH, sigma_w, sigma_b)
    for row, b in enumerate(sigma_b):
        for column, w in enumerate(sigma_w):
            point = fixed_point(TANH, float(w), float(b))
            assert diagram.settling[row, column] == point.settling
            assert diagram.q[row, column] == pytest.approx(point.q, rel=1e-12)
            assert diagram.xi_c[row, column] == pytest.approx(point.xi_c, rel=1e-9)


@pytest.mark.parametrize("name, sigma_w", [("selu", 0.8), ("elu", 1.2), ("softsign", 2.0), ("tanh", 3.0)])
def test_phase_diagram_is_close_near_the_edge_too(name, sigma_w):
    """Kinks at 0 leave 1e-4 of `1 - c` to the tail of the series. The distance to the diagonal amplifies it tenfold."""
    act = ACTIVATIONS[name]
    diagram, point = phase_diagram(act, [sigma_w], [0.0]), fixed_point(act, sigma_w)
    assert 1 - diagram.correlation[0, 0] == pytest.approx(1 - point.correlation, rel=1e-3)
    assert diagram.xi_c[0, 0] == pytest.approx(point.xi_c, rel=1e-3)


def test_phase_diagram_changes_colour_on_the_critical_line():
    sigma_w = np.linspace(0.5, 3, 101)
    diagram = phase_diagram(TANH, sigma_w, [0.1, 0.5])
    for chi, correlation, sigma_b in zip(diagram.chi_1, diagram.correlation, diagram.sigma_b, strict=True):
        edge = critical_line(TANH, float(sigma_b))
        assert edge is not None
        assert np.array_equal(chi > 1, sigma_w > edge.sigma_w)
        assert np.array_equal(correlation < 1, sigma_w > edge.sigma_w)


def test_a_fine_phase_diagram_leaves_no_cell_unsettled():
    diagram = phase_diagram(RELU, np.linspace(0.1, 4, 60), np.linspace(0, 1, 60))
    diverges = diagram.settling == "diverges"
    assert np.array_equal(np.isnan(diagram.q), diverges)
    assert np.array_equal(diverges, np.broadcast_to(diagram.sigma_w**2 > 2, diverges.shape))


def test_an_activation_that_is_flat_around_zero_has_no_edge_of_chaos_there():
    """As PyTorch's Hardshrink, which passes nothing of a small signal."""
    shrink = replace(
        ACTIVATIONS["linear"],
        value=lambda z: np.where(np.abs(z) > 0.5, z, 0.0),
        slope=lambda z, h: (np.abs(z) > 0.5) * 1.0,
        kinks=(-0.5, 0.5),
    )
    assert critical_line(shrink, 0.0) is None
    diagram = phase_diagram(shrink, [0.5, 2.0], [0.0, 0.3])
    assert diagram.settling[0].tolist() == ["vanishes", "diverges"]
