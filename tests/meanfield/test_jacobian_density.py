"""The density of singular values: the Fuss-Catalan law in closed form, moments and atoms that are known, simulation."""

import math

import numpy as np
import pytest

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.config.probe_config import ProbeConfig
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.jacobian_density import density
from initprobe.meanfield.jacobian_spectrum import product_moments
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.propagate import propagate
from initprobe.probe.experiment import prepare
from initprobe.studies.spectrum import measure

WIDTH = 100


def law(act, depth, sigma_w, orthogonal, sigma_b=0.0, q=1.0, sizes=(WIDTH, WIDTH)):
    """The density of `depth` equal layers, and the moments of the same Jacobian."""
    first = Layer(*sizes, sigma_w**2 / sizes[0], bias_variance=sigma_b**2, orthogonal=orthogonal)
    layer = Layer(sizes[1], sizes[1], sigma_w**2 / sizes[1], bias_variance=sigma_b**2, orthogonal=orthogonal)
    layers = [first, *[layer] * (depth - 1)]
    states = propagate(ACTIVATIONS[act], layers, InputMoments(np.array([q]), np.zeros(1)))
    moments = product_moments(layers, states)[-1]
    return density(ACTIVATIONS[act], layers, states, moments), moments


@pytest.mark.parametrize("depth", [1, 8, 64])
def test_a_linear_net_with_independent_weights_is_fuss_catalan(depth):
    """In closed form over an angle; Penson & Zyczkowski 2011, arXiv:1103.3453."""
    angle = np.linspace(0, math.pi / (depth + 1), 20001)[1:-1]
    log_square = (depth + 1) * np.log(np.sin((depth + 1) * angle)) - np.log(np.sin(angle))
    log_square -= depth * np.log(np.sin(depth * angle))
    heights = np.sin((depth + 1) * angle) * np.sin(angle) / np.sin(depth * angle) / math.pi
    above = np.concatenate(([0.0], np.cumsum(-np.diff(log_square) * (heights[1:] + heights[:-1]) / 2)))
    density, _ = law("linear", depth, 1.0, orthogonal=False)
    inside = log_square > density.log10_s[0] * 2 * math.log(10)
    shown = np.interp(log_square, density.log10_s * 2 * math.log(10), density.below)
    # The blur that is left, of second order in 0.025 of the width, and the trapezoids over the edge.
    assert np.max(np.abs(1 - above - shown)[inside]) < 3e-3


@pytest.mark.parametrize(
    ("act", "depth", "sigma_w", "orthogonal", "sigma_b"),
    [
        ("relu", 8, math.sqrt(2), True, 0.0),
        ("relu", 32, math.sqrt(2), False, 0.0),
        ("hard_tanh", 8, 1.0796, True, math.sqrt(0.05)),
        ("tanh", 6, 1.327, True, math.sqrt(0.05)),
        ("sigmoid", 3, 2.0, False, 0.0),
    ],
)
def test_its_moments_and_zeros_are_those_of_the_jacobian(act, depth, sigma_w, orthogonal, sigma_b):
    density, moments = law(act, depth, sigma_w, orthogonal, sigma_b, q=0.46)
    shares, square = np.diff(density.below), 10 ** (density.log10_s[1:] + density.log10_s[:-1])
    mean, second = float(shares @ square), float(shares @ square**2)
    # The root is read at an angle of 0.025 in log s^2 above the axis. Places are 0.05 apart in log s^2. Both blur
    # moments to second order, by a few times 0.025^2 = 0.0006. Measured were 0.0015 at most, and 0.0053 for the spread.
    assert mean == pytest.approx(10**moments.mean_log10, rel=0.003)
    assert second / mean**2 - 1 == pytest.approx(moments.spread, rel=0.008)
    zeros = {"relu": 0.5}.get(act, 0.0)
    if act != "hard_tanh":
        # What lies below the lowest place and is not 0: measured 0.0028 at most, of sigmoid.
        assert density.below[0] == pytest.approx(zeros, abs=0.004)


def test_orthogonal_weights_keep_the_directions_that_no_layer_cuts():
    """Two projections onto shares p and r of the units meet in a share p + r - 1 of directions."""
    density, _ = law("hard_tanh", 2, 1.0, True, q=0.25)
    passed = [2 * 0.5 * (1 + math.erf(1 / math.sqrt(2 * q))) - 1 for q in _two_lengths()]
    largest = np.flatnonzero(density.below > 1 - 1e-6)[0]
    step = density.below[largest] - density.below[largest - 1]
    # Places are 0.0032 decades apart here, and the step lies on the nearest. Its height is exact up to rounding.
    assert density.log10_s[largest] == pytest.approx(0, abs=0.0032)
    assert step == pytest.approx(sum(passed) - 1, abs=1e-9)


def _two_lengths():
    layer = Layer(WIDTH, WIDTH, 1 / WIDTH, orthogonal=True)
    states = propagate(ACTIVATIONS["hard_tanh"], [layer] * 2, InputMoments(np.array([0.25]), np.zeros(1)))
    return [float(state.variance[0]) for state in states]


@pytest.mark.parametrize(
    ("act", "orthogonal", "sizes"),
    [("linear", True, (WIDTH, WIDTH)), ("tanh", False, (WIDTH, 2 * WIDTH))],
)
def test_equal_values_and_layers_that_are_not_square_have_none(act, orthogonal, sizes):
    density, _ = law(act, 3, 1.0, orthogonal, sizes=sizes)
    assert density is None


@pytest.mark.parametrize(("init", "act"), [("lecun", "tanh"), ("orthogonal:gain=sqrt(2)", "relu")])
def test_a_network_has_these_singular_values(init, act):
    """The levels of one wide matrix repel each other, so their number below a place strays by about log(width)."""
    depth, width = 4, 150
    config = ProbeConfig(init=init, act=act, layers=depth, width=width, batch=2, draws=2, dtype="float64")
    last = measure(prepare(config), 2, threads=2).end_to_end[-1]
    law_of_it, values = last.theory.density, last.histogram_log10
    counts = np.cumsum(values.counts) / sum(values.counts) * (1 - last.zero_fraction) + last.zero_fraction
    places = np.linspace(values.low, values.high, len(values.counts) + 1)[1:]
    edges = np.linspace(law_of_it.low, law_of_it.high, len(law_of_it.shares) + 1)
    below = 1 - sum(law_of_it.shares) + np.concatenate(([0], np.cumsum(law_of_it.shares)))
    inside = places > law_of_it.low
    allowed = math.log(width) / width + depth / width
    assert np.max(np.abs(np.interp(places, edges, below) - counts)[inside]) < allowed
