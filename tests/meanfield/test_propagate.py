"""The maps against published numbers, exact laws and networks of finite width made here with plain NumPy."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal

import numpy as np
import pytest
from layers import UNIFORM_NODES, square_net

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.rectifiers import leaky_relu
from initprobe.meanfield.correlated_pairs import hermite_grid
from initprobe.meanfield.finite_width import spread
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.predict import predict
from initprobe.meanfield.propagate import propagate

FIELDS = ("preactivation", "output", "output_gradient", "preactivation_gradient")


def stack(widths, rule):
    return [Layer(a, b, rule(a, b)) for a, b in itertools.pairwise(widths)]


# Computed for samples of equal length; as many digits as were published.
PUBLISHED = {
    # CS231n 2017, lecture 6: ten layers of 500, tanh, 0.01 * randn.
    "cs231n tanh": (
        "tanh",
        square_net(500 * 1e-4, 500, 10),
        "0.213546 0.047642 0.010652 0.002382 0.000533 0.000119 0.000027 6.0e-6 1.3e-6 3.0e-7",
    ),
    "cs231n relu": ("relu", square_net(2.0, 500, 10), "0.825645 " * 10),
    # The same experiment on widths 800, 750, ..., 350.
    "narrowing, std 0.01": (
        "tanh",
        stack(range(800, 300, -50), lambda a, b: 1e-4),
        "0.26357 0.07181 0.018992 0.004842 0.001186 2.78e-4 6.22e-5 1.32e-5 2.64e-6",
    ),
    "narrowing, std 1": (
        "tanh",
        stack(range(800, 300, -50), lambda a, b: 1.0),
        "0.98580 0.98512 0.98458 0.98399 0.98332 0.98256 0.98169 0.98067 0.97947",
    ),
    "narrowing, Glorot": (
        "tanh",
        stack(range(800, 300, -50), lambda a, b: 2 / (a + b)),
        "0.63251 0.49378 0.41825 0.37003 0.33642 0.31172 0.29299 0.27858 0.26753",
    ),
}


@pytest.mark.parametrize("name, layers, published", PUBLISHED.values(), ids=list(PUBLISHED))
def test_published_layer_stds(name, layers, published):
    """To half a unit of the last digit published, or a little more where that was rounded twice."""
    theory = predict(ACTIVATIONS[name], layers, InputMoments.noise(), 1000)
    for layer, digits in zip(theory, map(Decimal, published.split()), strict=True):
        unit = 10.0 ** digits.as_tuple().exponent
        assert abs(math.sqrt(layer.output_variance) - float(digits)) <= 0.51 * unit


def test_relu_under_he():
    """Layer 1's mean is `1/sqrt(pi)`; lengths and gradients stay; the correlation climbs as published."""
    theory = predict(ACTIVATIONS["relu"], square_net(2.0, 500, 50), InputMoments.noise(), 10)
    assert theory[0].output_mean == pytest.approx(1 / math.sqrt(math.pi), rel=1e-12)
    assert [layer.preactivation_variance for layer in theory] == pytest.approx([2.0] * 50)
    assert [layer.output_gradient_variance for layer in theory] == pytest.approx([1.0] * 50)
    c = [layer.correlation for layer in theory]
    assert [c[i] for i in (0, 1, 2, 4, 9, 49)] == pytest.approx([0, 0.318, 0.494, 0.681, 0.855, 0.987], abs=2.5e-3)


def test_saturated_tanh_has_exploding_gradients():
    """Width 500, std 1: the slope's mean square is 0.0242, and 500 x 0.0242 = 12.1 is far above 1."""
    theory = predict(ACTIVATIONS["tanh"], square_net(500, 500, 10), InputMoments.noise(), 1000)
    grown = theory[0].output_gradient_variance / theory[-1].output_gradient_variance
    assert 1e9 < grown < 1e10


def test_linear_nets_are_exact():
    """Products of the layers' gains, forward and backward, whatever the widths."""
    widths, gain = (30, 70, 20, 50), 0.01
    layers = stack(widths, lambda a, b: gain)
    x = np.random.default_rng(0).standard_normal((20, 30)) * np.linspace(0.5, 3, 20)[:, None]
    theory = predict(ACTIVATIONS["linear"], layers, InputMoments.measure(x), 20)
    power, lengths = float(np.mean(x * x)), []
    for layer in layers:
        power *= layer.n_in * gain
        lengths.append(power)
    assert [layer.output_variance for layer in theory] == pytest.approx(lengths)
    back = [50 * gain * 20 * gain, 50 * gain, 1.0]
    assert [layer.output_gradient_variance for layer in theory] == pytest.approx(back)
    # Less the mean over all weights: the mean of x times that of dL/dz over 70 units.
    squares = np.mean(x * x) - np.mean(x) ** 2 / 70
    assert theory[0].weight_gradient_variance == pytest.approx(20 * squares * back[0])


def test_relu_is_homogeneous_sample_by_sample():
    """Samples of different length: output variance is `E[S_a] - E[m_a]^2`, not that of one pooled length."""
    lengths = np.array([0.2, 1.0, 9.0])
    theory = predict(ACTIVATIONS["relu"], [Layer(100, 100, 0.02)], InputMoments(lengths, np.zeros(3)), 3)
    q = 2 * lengths
    mean = np.mean(np.sqrt(q / (2 * math.pi)))
    assert theory[0].output_variance == pytest.approx(np.mean(q / 2) - mean**2, rel=1e-9)


def test_lengths_are_averaged_over_not_pooled():
    """All the samples' own moments, averaged, to 1e-4; one pooled length is several percent off."""
    rng = np.random.default_rng(2)
    act, x = ACTIVATIONS["tanh"], rng.standard_normal((2000, 4))
    layer = Layer(4, 400, 1.5**2 / 4)
    inputs = InputMoments.measure(x)
    got = predict(act, [layer], inputs, 2000)[0].output_variance
    z, weights = np.polynomial.hermite_e.hermegauss(80)
    h = np.tanh(1.5 * np.sqrt(inputs.mean_squares)[:, None] * z)
    exact = np.mean(h * h @ weights) / weights.sum()
    pooled = np.tanh(1.5 * math.sqrt(np.mean(x * x)) * z) ** 2 @ weights / weights.sum()
    assert got == pytest.approx(exact, rel=1e-4)
    assert abs(pooled / exact - 1) > 0.05


@pytest.mark.parametrize("name", ["relu", "hardtanh", "tanh", "selu"])
def test_correlation_one_stays_one(name):
    """In the ordered phase, where rounding does not grow; hard tanh has kinks off the grid's edges."""
    layers = square_net(0.4, 10**9, 20, bias_variance=0.1)
    theory = predict(ACTIVATIONS[name], layers, InputMoments.noise(cosine=1.0), 2)
    assert [layer.correlation for layer in theory] == pytest.approx([1.0] * 20, abs=1e-12)


def test_correlation_of_relu_follows_its_kernel():
    """Against the arc-cosine kernel iterated (Cho & Saul 2009), at infinite width: 1e-3 of `1 - c` a layer."""
    c = 0.3
    theory = predict(ACTIVATIONS["relu"], square_net(2.0, 10**9, 40), InputMoments.noise(cosine=c), 2)
    for layer in theory:
        assert 1 - layer.correlation == pytest.approx(1 - c, rel=5e-3)
        c = (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi


def test_correlation_counts_the_means():
    """A shared bias of 0.5 makes uncorrelated inputs agree: cosine `mean^2/(mean^2 + variance)`."""
    theory = predict(ACTIVATIONS["linear"], [Layer(50, 50, 1 / 50, bias_mean=0.5)], InputMoments.noise(), 2)
    assert theory[0].correlation == pytest.approx(0.25 / 1.25)
    assert theory[0].preactivation_mean == 0.5
    assert theory[0].preactivation_variance == pytest.approx(1.0)


def test_input_moments_are_those_of_the_batch():
    x = np.random.default_rng(4).standard_normal((60, 12)) + 0.4
    got = InputMoments.measure(x)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = (units @ units.T)[np.triu_indices(60, 1)]
    assert got.mean_squares == pytest.approx(np.mean(x * x, axis=1))
    assert got.means == pytest.approx(x.mean(axis=1))
    assert (got.cosine, got.cosine_variance) == pytest.approx((np.mean(cosines), np.var(cosines)))


@pytest.mark.parametrize("x", [np.zeros((5, 3)), np.eye(3)[:1]], ids=["zeros", "one sample"])
def test_input_without_pairs_of_directions(x):
    got = InputMoments.measure(x)
    assert math.isnan(got.cosine)
    theory = predict(ACTIVATIONS["tanh"], square_net(1.0, 3, 3), got, len(x))
    assert math.isnan(theory[0].correlation)
    assert theory[0].output_variance == pytest.approx(0.0 if not x.any() else theory[0].state.moments.square[0])


@pytest.mark.parametrize("gain", [1e-4, 1e4])
@pytest.mark.parametrize("name", ["linear", "relu", "gelu"])
def test_beyond_the_float_range_nothing_warns(name, gain):
    theory = predict(ACTIVATIONS[name], square_net(gain, 100, 200), InputMoments.noise(), 10)
    assert theory[-1].output_variance == 0 or not math.isfinite(theory[-1].output_variance)


def test_zero_weights_are_predicted():
    theory = predict(ACTIVATIONS["sigmoid"], square_net(0.0, 10, 3), InputMoments.noise(), 10)
    assert [layer.preactivation_variance for layer in theory] == [0, 0, 0]
    assert theory[-1].output_mean == 0.5
    assert theory[0].output_gradient_variance == 0


def test_long_nets_read_a_table():
    """Near a fixed point a hundred layers evaluate the activation once per layer on the pair grid, and a few tables."""
    calls = []
    plain = ACTIVATIONS["tanh"]

    def counted(z):
        calls.append(z.size)
        return np.tanh(z)

    act = type(plain)(name="counted", value=counted, slope=plain.slope, formula="", reference="")
    propagate(act, square_net(2.0, 500, 100), InputMoments.noise())
    first = len(calls)
    propagate(act, square_net(2.0, 500, 100), InputMoments.noise())
    assert sum(calls[first:]) == 99 * len(hermite_grid().z)
    assert first < 99 + 200


def measured(act, layers, x, draws, seed=0):
    """Variances of `FIELDS`, the mean cosine and the mean square weight gradient, `(draws, layers, 6)`."""
    rng = np.random.default_rng(seed)
    values = np.empty((draws, len(layers), 6))
    for draw in range(draws):
        h, trace = x, []
        for layer in layers:
            weight = rng.standard_normal((layer.n_in, layer.n_out))
            if layer.orthogonal:
                most = max(layer.n_in, layer.n_out)
                q, r = np.linalg.qr(rng.standard_normal((most, most)))
                weight = math.sqrt(most) * (q * np.sign(np.diag(r)))[: layer.n_in, : layer.n_out]
            weight = weight * math.sqrt(layer.weight_variance) + layer.weight_mean
            unit = rng.uniform(-(3**0.5), 3**0.5, layer.n_out) if layer.bias_nodes else rng.standard_normal(layer.n_out)
            bias = math.sqrt(layer.bias_variance) * unit + layer.bias_mean
            z = h @ weight + bias
            trace.append((h, weight, z))
            h = act.value(z)
        g = rng.standard_normal(h.shape)
        for index in reversed(range(len(layers))):
            below, weight, z = trace[index]
            h = act.value(z)
            delta = g * act.slope(z, h)
            units = z / np.linalg.norm(z, axis=1, keepdims=True)
            total = units.sum(axis=0)
            cosine = (total @ total - len(z)) / (len(z) * (len(z) - 1))
            values[draw, index] = z.var(), h.var(), g.var(), delta.var(), cosine, np.mean((below.T @ delta) ** 2)
            g = delta @ weight.T
    return values


NETS = {
    "tanh": ("tanh", square_net(1.5**2, 200, 6)),
    "tanh, wide uniform bias": ("tanh", square_net(1.0, 200, 5, bias_variance=3.0, bias_nodes=UNIFORM_NODES)),
    "relu, uniform bias": ("relu", square_net(1 / 3, 200, 6, bias_variance=1 / 600, bias_nodes=UNIFORM_NODES)),
    "gelu, uniform bias off 0": (
        "gelu",
        square_net(1.5, 200, 4, bias_variance=0.5, bias_mean=-0.4, bias_nodes=UNIFORM_NODES),
    ),
    "tanh with bias": ("tanh", square_net(1.5, 200, 6, bias_variance=0.2)),
    "relu": ("relu", square_net(2.0, 200, 6)),
    "selu": ("selu", square_net(1.0, 200, 6)),
    "sigmoid, shared bias": ("sigmoid", square_net(4.0, 200, 5, bias_mean=0.7)),
    "softplus": ("softplus", square_net(0.8, 200, 5)),
    "uneven": ("tanh", [Layer(200, 300, 1 / 200), Layer(300, 80, 1 / 300), Layer(80, 250, 1 / 80)]),
    "orthogonal": ("tanh", [Layer(200, 200, 1.5 / 200, orthogonal=True)] * 5),
}


@pytest.mark.parametrize("name, layers", NETS.values(), ids=list(NETS))
def test_against_random_networks(name, layers):
    """Averages over networks lie within 5 standard deviations of theory, which the spread theory supplies.

    Beside them stands depth/width for the bias that first-order theory leaves in gradients and correlations.
    """
    rng = np.random.default_rng(11)
    x = rng.standard_normal((50, layers[0].n_in)) * rng.uniform(0.3, 1.7, (50, 1)) + 0.2
    draws, act = 24, ACTIVATIONS[name]
    theory = predict(act, layers, InputMoments.measure(x), len(x))
    spreads = spread(act, layers, [layer.state for layer in theory], len(x))
    draws_of = measured(act, layers, x, draws)
    means, errors = draws_of.mean(axis=0), draws_of.std(axis=0) / math.sqrt(draws)
    rest = len(layers) / min(layer.n_out for layer in layers)
    for values, error, layer, own in zip(means, errors, theory, spreads, strict=True):
        for value, field in zip(values[:4], FIELDS, strict=True):
            expected = getattr(own, field).averaged(draws)
            gap = math.log(value / getattr(layer, f"{field}_variance")) - expected.log_mean
            assert abs(gap) < 5 * expected.sd + rest, field
        assert abs(values[4] - layer.correlation) < 5 * error[4] + rest
        assert abs(values[5] - layer.weight_gradient_variance) < 5 * error[5] + rest * values[5]


def test_weights_with_a_mean():
    """Lengths and means of every sample are kept apart; the sums of the inputs differ, and with them the means."""
    rng = np.random.default_rng(12)
    x = rng.standard_normal((100, 300)) + 0.3
    layers, draws = [Layer(300, 300, 1 / 300, weight_mean=-0.002)] * 4, 24
    act = ACTIVATIONS["softplus"]
    theory = predict(act, layers, InputMoments.measure(x), 100)
    samples = measured(act, layers, x, draws)
    for index, layer in enumerate(theory):
        for value, field in enumerate(FIELDS):
            sample = samples[:, index, value]
            error = np.std(sample) / math.sqrt(draws)
            want = getattr(layer, f"{field}_variance")
            assert abs(sample.mean() - want) < 5 * error + 4 / 300 * want, field


def test_leaky_relu_takes_its_own_slope():
    theory = predict(leaky_relu(0.2), square_net(2 / 1.04, 100, 5), InputMoments.noise(), 2)
    assert [layer.output_gradient_variance for layer in theory] == pytest.approx([1.0] * 5)
