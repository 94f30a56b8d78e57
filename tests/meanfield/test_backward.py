"""Gradients at finite width: the direction of the signal, weights with a mean, lengths that fluctuate."""

import math

import numpy as np
import pytest
from layers import square_net, unit_weights
from single_inputs import expected_squares, gradient_squares

from initprobe import ProbeConfig
from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.own import activation as own_activation
from initprobe.meanfield.finite_width import spread, with_biases
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.moments import moments
from initprobe.meanfield.predict import predict
from initprobe.probe.run import measured


@pytest.mark.parametrize("name, gain", [("relu", 2.0), ("linear", 1.0), ("leaky_relu", 1.9)])
@pytest.mark.parametrize("orthogonal", [False, True])
def test_a_homogeneous_activation_keeps_the_product_with_the_signal(name, gain, orthogonal):
    """Without biases `g . h` is the same at every layer, so the signal's direction adds nothing to mean field."""
    activation = ACTIVATIONS[name]
    layers = square_net(gain, 20, 50, orthogonal=orthogonal)
    theory = predict(activation, layers, InputMoments.noise(mean_square=3.0), 1)
    slope = gain * float(moments(activation, 1.0).slope_square)
    expected = [slope ** (49 - number) for number in range(50)]
    assert [layer.output_gradient_variance for layer in theory] == pytest.approx(expected, rel=1e-11)


def test_the_last_gradient_is_given():
    [*_, last] = predict(ACTIVATIONS["softplus"], square_net(2.0, 7, 5), InputMoments.noise(), 10)
    assert last.output_gradient_variance == pytest.approx(1, rel=1e-14)


def first_gradients(name, layers, batch, draws):
    """Mean square of dL/dh at layer 1 of random networks over its prediction, `(draws,)`, and the predicted spread."""
    activation, rng = ACTIVATIONS[name], np.random.default_rng(4)
    x = rng.standard_normal((batch, layers[0].n_in))
    theory = predict(activation, layers, InputMoments.measure(x), batch)
    spreads = spread(activation, layers, [layer.state for layer in theory], batch)
    theory, spreads = with_biases(theory, spreads)
    ratios = np.empty(draws)
    for draw in range(draws):
        h, trace = x, []
        for layer in layers:
            weight = layer.weight_mean + math.sqrt(layer.weight_variance) * unit_weights(layer, rng)
            z = h @ weight + math.sqrt(layer.bias_variance) * rng.standard_normal(layer.n_out)
            h = activation.value(z)
            trace.append((weight, z, h))
        g = rng.standard_normal(h.shape)
        for weight, z, h in trace[:0:-1]:
            g = (g * activation.slope(z, h)) @ weight.T
        ratios[draw] = np.mean(g * g) / theory[0].output_gradient_variance
    return ratios, spreads[0].output_gradient


# Mean field alone is off by a factor of 4.7 (softplus, 20 layers) and 8 (weights with a mean).
NETS = {
    "relu": ("relu", square_net(2.0, 100, 10)),
    "softplus": ("softplus", square_net(2.0, 200, 10)),
    "selu": ("selu", square_net(1.0, 100, 10)),
    "elu": ("elu", square_net(2.0, 100, 10)),
    "tanh, gain 5/3": ("tanh", square_net(25 / 9, 100, 10)),
    "sin": ("sin", square_net(2.25, 100, 10)),
    "sigmoid": ("sigmoid", square_net(1.0, 100, 10)),
    "biases": ("tanh", square_net(1.7, 100, 10, bias_variance=0.05)),
    "orthogonal": ("tanh", square_net(1.5, 100, 10, orthogonal=True)),
    "weights with a mean": ("relu", [Layer(200, 200, 1 / 200, weight_mean=0.0075)] * 8),
}


@pytest.mark.parametrize("name, layers", NETS.values(), ids=list(NETS))
def test_bias_below_three_percent(name, layers):
    """Where depth/width is 0.1: within 3% and 5 standard errors of the mean over networks."""
    draws = 100
    ratios, _ = first_gradients(name, layers, 20, draws)
    assert abs(np.mean(ratios) - 1) < 0.03 + 5 * np.std(ratios) / math.sqrt(draws)


@pytest.mark.parametrize(
    "act, init",
    [
        ("linear", "normal:std=0.1,mean=0.06"),
        pytest.param("gelu", "normal:std=0.15,mean=0.06", marks=pytest.mark.slow),
    ],
)
def test_weight_gradients_where_all_units_share_most_of_theirs(act, init):
    """Their variance is about a mean over all weights, which is most of the mean square. So 5 standard errors and 15%
    are allowed.

    Without it dL/dW was a factor of 20 below its prediction.
    """
    result = measured(ProbeConfig(init=init, act=act, layers=5, width=60, batch=40, draws=20), threads=1)
    for layer in result.layers:
        values = np.array(layer.weight_gradient.variance_by_draw)
        error = values.std(ddof=1) / values.mean() / math.sqrt(len(values))
        assert abs(math.log(values.mean() / layer.theory.weight_gradient_variance)) < 5 * error + 0.15, layer.layer


@pytest.mark.parametrize("bias_variance, batch", [(0.09, 40), (0.09, 2), (0.0, 40)])
@pytest.mark.parametrize("name", ["linear", "tanh"])
def test_spread_under_orthogonal_weights_with_biases(name, bias_variance, batch):
    """The weights keep lengths, and the biases do not: within 5 errors of an SD, and the second order, depth/width."""
    layers, draws = square_net(1.2, 60, 8, orthogonal=True, bias_variance=bias_variance), 100
    ratios, expected = first_gradients(name, layers, batch, draws)
    gap = math.log(np.std(np.log(ratios), ddof=1) / expected.sd)
    assert abs(gap) < 5 / math.sqrt(2 * draws) + 8 / 60


def test_an_exponential_is_right_or_refused():
    """`E[e^(2x)] = e^(2q)`; from where the quadrature cuts off a part, there is no number."""
    exponential = own_activation(np.exp, slope=np.exp, name="exp")
    for q in (0.1, 1.0, 5.0, 7.0, 9.0, 15.0, 30.0, 300.0):
        square = float(moments(exponential, q).square)
        assert math.isnan(square) if q > 8 else square == pytest.approx(math.exp(2 * q), rel=1e-9)


def test_the_gradient_is_judged_like_the_output():
    """Both z of every layer: 5 SDs, and 1 for the second order."""
    config = ProbeConfig(init="lecun", act="selu", layers=10, width=100, batch=100, draws=4)
    result = measured(config, threads=1)
    assert all(abs(layer.theory.z) < 6 and abs(layer.theory.gradient_z) < 6 for layer in result.layers)


@pytest.mark.parametrize("name, gain", [("relu", 2.0), ("tanh", 25 / 9), ("selu", 1.0), ("softplus", 2.0)])
def test_a_stable_length_map_leaves_no_uncertainty(name, gain):
    theory = predict(ACTIVATIONS[name], square_net(gain, 50, 20), InputMoments.noise(), 10)
    spreads = spread(ACTIVATIONS[name], square_net(gain, 50, 20), [layer.state for layer in theory], 10)
    assert [layer.gradient_uncertainty for layer in spreads] == [0.0] * 20


@pytest.mark.parametrize("name, width, depth", [("silu", 100, 20), ("hardswish", 100, 10), ("gelu", 100, 20)])
def test_an_unstable_length_map_says_by_how_much_it_may_be_off(name, width, depth):
    """The typical gradient is within that factor, and within 5 standard errors."""
    ratios, expected = first_gradients(name, square_net(2.0, width, depth), 20, 40)
    result = measured(ProbeConfig(init="he", act=name, layers=depth, width=width, batch=20, draws=2), threads=1)
    theory = result.layers[0].theory
    assert theory.gradient_z is None and theory.gradient_uncertainty > 1
    logs = np.log(ratios)
    off = abs(np.mean(logs) + expected.sd**2 / 2)
    assert off < math.log(theory.gradient_uncertainty) + 5 * np.std(logs) / math.sqrt(len(logs))


def gap_of_means(name, gain, bias_variance, width, depth, draws):
    """Mean dL/dh at layer 1 over its prediction, less 1; its standard error; and the uncertainty that theory states."""
    activation, layers = ACTIVATIONS[name], square_net(gain, width, depth, bias_variance=bias_variance)
    theory = predict(activation, layers, InputMoments.noise(), 1)
    spreads = spread(activation, layers, [layer.state for layer in theory], 1)
    [first, *_], _ = with_biases(theory, spreads)
    squares = np.concatenate([
        expected_squares(activation, gain, bias_variance, width, depth, 500, seed) for seed in range(draws // 500)
    ])  # fmt: skip
    error = np.std(squares) / np.mean(squares) / math.sqrt(draws)
    return np.mean(squares) / first.output_gradient_variance - 1, error, spreads[0].gradient_uncertainty


def test_one_input_by_its_exact_law():
    """The same mean and spread of dL/dh as networks whose weights are drawn: 5 standard errors of each."""
    layers = square_net(1.7, 40, 5, bias_variance=0.1)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(1500):
        h, trace = np.ones(40), []
        for layer in layers:
            weight = math.sqrt(layer.weight_variance) * rng.standard_normal((40, 40))
            z = h @ weight + math.sqrt(0.1) * rng.standard_normal(40)
            h = np.tanh(z)
            trace.append((weight, h))
        g = rng.standard_normal(40)
        for weight, h in trace[:0:-1]:
            g = weight @ (g * (1 - h * h))
        drawn.append(np.mean(g * g))
    logs = np.log(drawn), np.log(gradient_squares(ACTIVATIONS["tanh"], 1.7, 0.1, 40, 5, 1500))
    (first, second), sds = map(np.mean, logs), [np.std(each) for each in logs]
    assert abs(first - second) < 5 * math.hypot(*sds) / math.sqrt(1500)
    assert abs(math.log(sds[0] / sds[1])) < 5 / math.sqrt(1500)


def test_the_average_over_all_but_the_signal():
    """It has the mean of the networks that it averages over: 5 standard errors."""
    both = [squares(ACTIVATIONS["softplus"], 1.7, 0.1, 40, 5, 4000) for squares in (gradient_squares, expected_squares)]
    (first, second), errors = map(np.mean, both), [np.std(each) / math.sqrt(4000) for each in both]
    assert abs(first - second) < 5 * math.hypot(*errors)


@pytest.mark.parametrize("name", ["relu", "relu6", "softplus", "gelu"])
@pytest.mark.parametrize("gain, bias_variance, width, depth", [(1.5, 0.1, 200, 20), (2.0, 1.0, 100, 10)])
def test_bias_below_three_percent_with_biases(name, gain, bias_variance, width, depth):
    """Softplus was 6% off, where the gradient runs along h, and GELU 3%: within 3% and 5 standard errors."""
    gap, error, uncertain = gap_of_means(name, gain, bias_variance, width, depth, 500)
    assert uncertain == 0
    assert abs(gap) < 0.03 + 5 * error


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ACTIVATIONS))
@pytest.mark.parametrize(
    "gain, bias_variance, width, depth",
    [(2, 0, 200, 20), (1, 0, 200, 20), (1.5, 0.1, 200, 20), (2, 1, 200, 20), (1, 0.3, 300, 30), (2, 0, 60, 6)],
)
def test_bias_of_every_activation(name, gain, bias_variance, width, depth):
    """Where depth/width is 0.1 and the length map is stable: 3%, with three standard errors of about 0.3%."""
    gap, error, uncertain = gap_of_means(name, gain, bias_variance, width, depth, 10000)
    if uncertain == 0:
        assert abs(gap) < 0.03 + 3 * error
    else:
        assert name in {"gelu", "gelu_tanh", "silu", "mish", "hardswish"}


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_a_jump_of_the_slope_is_in_every_layer(name):
    """At infinite width a gradient grows by `sigma_w^2 E[phi'^2]`, which no grid may miss: hard tanh lost 2.8%."""
    layers = square_net(3.0, 10**9, 12)
    theory = predict(ACTIVATIONS[name], layers, InputMoments.noise(), 1)
    logs = [math.log(3 * float(layer.state.average(layer.state.moments.slope_square))) for layer in theory[1:]]
    if name != "softplus":  # its gradient runs along h at any width
        assert math.log(theory[0].output_gradient_variance) == pytest.approx(sum(logs), rel=1e-5, abs=1e-5)
