"""The spread of one network about the theory, against exact laws and networks made here with plain NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from layers import SAMPLERS, square_net, unit_weights

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.config.probe_config import ProbeConfig
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.initializers.fan_scaled import fan_in_heuristic
from initprobe.initializers.fixed import sparse
from initprobe.meanfield.finite_width import Spread, spread
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.predict import predict
from initprobe.probe.run import measured

FIELDS = ("preactivation", "output", "output_gradient", "preactivation_gradient")


def spreads_of(name, layers, inputs, batch):
    act = ACTIVATIONS[name]
    theory = predict(act, layers, inputs, batch)
    return spread(act, layers, [layer.state for layer in theory], batch)


@pytest.mark.parametrize("name, per_layer", [("linear", 2), ("relu", 5)])
def test_product_law_of_one_input(name, per_layer):
    """`E[M^2]/E[M]^2 = prod (1 + 5/n)` for ReLU with He and one input, 2 in place of 5 for linear. To first order the
    variance of log M is the sum of 5/n. z of layer L has passed L - 1 of them, and its own 2/n. The squared mean adds
    the 2/n^2 of a chi^2 of one degree.
    """
    width, depth = 400, 12
    layers = square_net(2.0 if name == "relu" else 1.0, width, depth)
    got = spreads_of(name, layers, InputMoments.noise(), 1)[-1]
    expected = (per_layer * (depth - 1) + 2) / width + 2 / width**2
    assert got.preactivation.sd**2 == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("batch", [1, 10, 1000])
def test_a_bigger_batch_of_equal_samples_averages_nothing(batch):
    layers = square_net(2.0, 300, 5)
    single = spreads_of("relu", layers, InputMoments.noise(cosine=1.0), 1)
    many = spreads_of("relu", layers, InputMoments.noise(cosine=1.0), batch)
    for a, b in zip(single, many, strict=True):
        assert b.output.sd == pytest.approx(a.output.sd, rel=1e-4)


def test_layers_together_are_as_alone(monkeypatch):
    """Whatever their weights and biases are, and however many are worked out at a time."""
    bias = {"bias_variance": 0.2, "bias_nodes": ((0.5, -1.0), (0.5, 1.0))}
    layers = [Layer(40, 40, 0.03, **more) for more in ({}, {"kurtosis": 5.0}, {"orthogonal": True}, bias, bias, {})]
    inputs = InputMoments.measure(np.random.default_rng(0).standard_normal((20, 4)))

    def numbers():
        spreads = spreads_of("gelu", layers, inputs, 20)
        return [(spread.sd, spread.bias) for layer in spreads for spread in (getattr(layer, field) for field in FIELDS)]

    together = numbers()
    monkeypatch.setattr("initprobe.meanfield.layer._BATCH_NUMBERS", 1)
    assert np.array(numbers()) == pytest.approx(np.array(together), rel=1e-9)


def test_spreads_are_known_up_to_where_a_signal_ends():
    """Where a signal ends, spreads do: of outputs from there on, and of gradients before it."""
    layers = square_net(1.5, 100, 6)
    layers[3] = Layer(100, 100, 0.0)
    spreads = spreads_of("tanh", layers, InputMoments.noise(), 10)
    short = spreads_of("tanh", layers[:3], InputMoments.noise(), 10)
    assert [layer.output.sd for layer in spreads[:3]] == [layer.output.sd for layer in short]
    assert all(math.isnan(layer.output.sd) for layer in spreads[3:])
    # dL/dh of the last layer is given: N(0, 1) for every unit and sample; the second order is 1/width.
    assert spreads[-1].output_gradient.sd == pytest.approx(math.sqrt(2 / (100 * 10)), rel=1 / 100)
    assert all(math.isnan(layer.output_gradient.sd) for layer in spreads[:3])


def test_spread_shrinks_with_width():
    narrow, wide = (spreads_of("tanh", square_net(1.5, n, 6), InputMoments.noise(cosine=0.3), 100) for n in (100, 400))
    for a, b in zip(narrow, wide, strict=True):
        for field in FIELDS:
            assert getattr(a, field).sd > 1.6 * getattr(b, field).sd


@pytest.mark.parametrize(
    "name, sigma_w_squared, percent", [("linear", 1.0, 2.2), ("tanh", 1.0, 1.4), ("relu", 2.0, 22.0)]
)
def test_published_spreads(name, sigma_w_squared, percent):
    """One draw, width 500, 1000 samples, layer 10: two digits."""
    inputs = InputMoments.noise(features=500)
    got = spreads_of(name, square_net(sigma_w_squared, 500, 10), inputs, 1000)[-1].output.sd
    assert 100 * got == pytest.approx(percent, rel=0.03)


def test_log_normal_shift():
    spread = Spread(sd=1.01, bias=0.0)
    assert spread.log_mean == pytest.approx(-0.51, abs=5e-3)
    # The mean of many is again what theory says; its variance is 1/draws of one's.
    many = spread.averaged(16)
    assert math.expm1(many.sd**2) == pytest.approx(math.expm1(spread.sd**2) / 16)


def test_a_signal_that_does_not_vary_has_a_spread_of_zero():
    """Up to rounding, which for three draws leaves a variance below 0."""
    for draws in range(1, 100):
        assert Spread(sd=0.0, bias=0.0).averaged(draws).sd == pytest.approx(0, abs=1e-7)


def test_orthogonal_weights_keep_lengths():
    """Linear and orthogonal: only the squared mean, q/n times chi^2 of one degree, and what units cut off leave."""
    square = spreads_of("linear", square_net(1.0, 100, 5, orthogonal=True), InputMoments.noise(cosine=1.0), 1)
    assert [layer.output.sd for layer in square] == pytest.approx([math.sqrt(2) / 100] * 5, rel=1e-3)
    half = [Layer(100, 50, 1 / 100, orthogonal=True)]
    assert spreads_of("linear", half, InputMoments.noise(), 1)[0].output.sd == pytest.approx(
        math.sqrt(2 / 50 / 2 + 2 / 50**2)
    )


def test_weights_with_a_mean_are_not_covered():
    layers = square_net(1.0, 50, 2, weight_mean=0.1)
    assert math.isnan(spreads_of("tanh", layers, InputMoments.noise(), 10)[0].output.sd)


def test_zero_weights_raise_no_warning():
    assert len(spreads_of("relu", square_net(0.0, 50, 3), InputMoments.noise(), 10)) == 3


def net_of(initializer, width, depth):
    """Layers with the fourth moments of an initializer's weights, and the initializer to sample them from."""
    kurtosis, cokurtosis = initializer.distribution.fourth(width)
    layer = Layer(width, width, initializer.variance(width, width), kurtosis=kurtosis, cokurtosis=cokurtosis)
    SAMPLERS[layer] = initializer
    return [layer] * depth


def logs_of(name, layers, x, draws):
    """log(measured/theory) of `FIELDS` in random networks, `(draws, layers, 4)`."""
    act, rng = ACTIVATIONS[name], np.random.default_rng(21)
    theory = predict(act, layers, InputMoments.measure(x), len(x))
    measured = np.empty((draws, len(layers), 4))
    for draw in range(draws):
        h, trace = x, []
        for layer in layers:
            weight = math.sqrt(layer.weight_variance) * unit_weights(layer, rng)
            z = h @ weight + math.sqrt(layer.bias_variance) * rng.standard_normal(layer.n_out)
            h = act.value(z)
            trace.append((weight, z, h))
        g = rng.standard_normal(h.shape)
        for index, (weight, z, h) in reversed(list(enumerate(trace))):
            delta = g * act.slope(z, h)
            measured[draw, index] = z.var(), h.var(), g.var(), delta.var()
            g = delta @ weight.T
    want = [[getattr(layer, f"{field}_variance") for field in FIELDS] for layer in theory]
    return np.log(measured / np.array(want))


NETS = {
    "linear": ("linear", square_net(1.0, 100, 6), 40),
    "tanh, ordered": ("tanh", square_net(1.0, 100, 6), 40),
    "tanh, chaotic": ("tanh", square_net(2.25, 100, 6), 40),
    "tanh with bias": ("tanh", square_net(1.7, 100, 6, bias_variance=0.05), 40),
    "relu": ("relu", square_net(2.0, 100, 6), 40),
    "selu": ("selu", square_net(1.0, 100, 6), 40),
    "big batch": ("tanh", square_net(1.0, 60, 6), 300),
    "one sample and its like": ("relu", square_net(2.0, 100, 6), 2),
    "sparse, tanh": ("tanh", net_of(sparse(0.8, std=0.05**0.5), 100, 6), 300),
    "sparse, relu": ("relu", net_of(sparse(0.8, std=0.1**0.5), 100, 4), 300),
    "uniform weights": ("tanh", net_of(fan_in_heuristic(3**0.5), 60, 6), 300),
    "uneven": ("tanh", [Layer(100, 150, 0.01), Layer(150, 60, 1 / 150), Layer(60, 120, 1 / 60)], 40),
}


def check(name, layers, batch, draws):
    """SDs and mean logs against theory, within 5 standard errors and what first order leaves out.

    A sample SD has relative error `1/sqrt(2 draws)`, a mean has `sd/sqrt(draws)`. Beyond first order stands
    depth/width: of the SD itself, and of the mean where bias is derived. For gradients it is that large itself.
    """
    x = np.random.default_rng(20).standard_normal((batch, layers[0].n_in))
    logs, own = logs_of(name, layers, x, draws), spreads_of(name, layers, InputMoments.measure(x), batch)
    order = len(layers) / min(layer.n_out for layer in layers)
    for index, layer in enumerate(own):
        for column, field in enumerate(FIELDS):
            expected, sample = getattr(layer, field), logs[:, index, column]
            ratio = math.log(np.std(sample, ddof=1) / expected.sd)
            assert abs(ratio) < 5 / math.sqrt(2 * draws) + order, (field, index)
            first_order = order if "gradient" in field else order * (expected.sd + abs(expected.bias))
            assert abs(np.mean(sample) - expected.log_mean) < 5 * expected.sd / math.sqrt(draws) + first_order, field


@pytest.mark.parametrize("name, layers, batch", NETS.values(), ids=list(NETS))
def test_against_random_networks(name, layers, batch):
    check(name, layers, batch, draws=100)


def test_bias_under_orthogonal_weights():
    """They leave so little to chance that the bias shows.

    It is 15 of its standard errors, and theory meets it within 5.
    """
    width, depth, draws = 100, 8, 60
    layers = square_net(1.5, width, depth, orthogonal=True)
    x = np.random.default_rng(20).standard_normal((50, width))
    sample = logs_of("tanh", layers, x, draws)[:, -1, FIELDS.index("output")]
    expected = spreads_of("tanh", layers, InputMoments.measure(x), 50)[-1].output
    error = np.std(sample) / math.sqrt(draws)
    assert np.mean(sample) > 10 * error
    assert abs(np.mean(sample) - expected.log_mean) < 5 * error + depth / width * abs(expected.bias)


@pytest.mark.slow
def test_weights_are_shared_by_signal_and_gradient():
    """Where inputs are many and uncorrelated, that takes a quarter off the gradient's spread: seen at 10 errors."""
    layers, draws = square_net(1.0, 100, 10), 600
    x = np.random.default_rng(20).standard_normal((400, 100))
    sample = logs_of("tanh", layers, x, draws)[:, 0, FIELDS.index("output_gradient")]
    expected = spreads_of("tanh", layers, InputMoments.measure(x), 400)[0].output_gradient
    assert abs(math.log(np.std(sample, ddof=1) / expected.sd)) < 5 / math.sqrt(2 * draws) + (10 / 100) ** 2


@pytest.mark.slow
@pytest.mark.parametrize("width", [150, 400])
@pytest.mark.parametrize("name, sigma_w_squared", [("tanh", 1.5), ("relu", 2.0), ("gelu", 2.3), ("linear", 1.0)])
def test_prediction_against_many_random_networks(name, sigma_w_squared, width):
    check(name, square_net(sigma_w_squared, width, 10), 60, draws=300)


INDEPENDENT = [
    name
    for name, record in INITIALIZERS.items()
    if record.distribution.gaussian_limit and not record.distribution.orthogonal
]


@pytest.mark.parametrize("name", INDEPENDENT)
def test_fourth_moments_of_the_weights(name):
    """Those of 40,000 units of 10 weights within 5 standard errors."""
    distribution = INITIALIZERS[name].distribution
    squares = distribution.sample(np.random.default_rng(3), (10, 40_000), np.float64) ** 2
    own = np.mean(squares**2, axis=0)
    pairs = (np.sum(squares, axis=0) ** 2 - 10 * own) / 90
    for sample, expected in zip((own, pairs), distribution.fourth(10), strict=True):
        assert abs(np.mean(sample) - expected) <= 5 * np.std(sample) / math.sqrt(sample.size)


@pytest.mark.parametrize("sparsity", [0.8, 0.9])
def test_length_of_a_unit_of_sparse_weights(sparsity):
    """Its mean square weight is chi^2 of the weights kept: relative variance `2/kept`."""
    [layer] = net_of(sparse(sparsity, std=1.0), 100, 1)
    assert layer.unit_noise + 2 / 100 == pytest.approx(2 / round(100 * (1 - sparsity)))


def test_very_sparse_weights_are_not_covered():
    for kept, predicted in ((20, True), (3, False)):
        layers = net_of(sparse(1 - kept / 100, std=kept**-0.5), 100, 3)
        got = spreads_of("tanh", layers, InputMoments.noise(), 10)
        assert [math.isfinite(layer.output.sd) for layer in got] == [predicted] * 3


def test_sparse_weights_by_measurement():
    """z is a deviate of SD 1 at each layer, and 1 more is left to the second order. Normal weights' theory gives 8."""
    config = ProbeConfig(init="sparse:std=0.14", act="tanh", layers=3, width=500, batch=500, draws=8)
    assert max(abs(layer.theory.z) for layer in measured(config, threads=1).layers) < 5 + 1


@pytest.mark.slow
def test_units_of_long_weights_serve_signal_and_gradient():
    """Where tanh shrinks what such a unit passes back, that takes a quarter off the gradient's spread."""
    layers, draws = net_of(sparse(0.8, std=0.05**0.5), 100, 6), 500
    x = np.random.default_rng(20).standard_normal((300, 100))
    sample = logs_of("tanh", layers, x, draws)[:, 0, FIELDS.index("output_gradient")]
    expected = spreads_of("tanh", layers, InputMoments.measure(x), 300)[0].output_gradient
    assert abs(math.log(np.std(sample, ddof=1) / expected.sd)) < 5 / math.sqrt(2 * draws) + 6 / 100


@pytest.mark.parametrize("residual", [False, True])
def test_saturated_units_of_inputs_that_are_alike(residual):
    """The mean square is fixed there, so the squared mean is all chance: without it the SD of z is 5 to 7."""
    config = {"init": "normal:std=1", "act": "hardtanh", "layers": 2, "width": 100, "input": "digits", "draws": 1}
    results = (measured(ProbeConfig(**config, residual=residual, seed=seed)) for seed in range(16))
    scores = np.array([[layer.theory.z for layer in result.layers] for result in results])
    assert (scores.std(axis=0) < 2).all() and (np.abs(scores) < 5).all()


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_draws_of_closed_branches(norm):
    """Their outputs are their inputs, whose mean squares differ: the mean log is below the log of the mean."""
    config = {"init": "he", "act": "relu", "layers": 3, "width": 60, "batch": 60, "residual": True, "norm": norm}
    result = measured(ProbeConfig(**config, branch_scale=1e-4, draws=4))
    assert all(abs(layer.theory.z) < 4 for layer in result.layers)
