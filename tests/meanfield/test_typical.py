"""The typical draw of a deep narrow network: theory against networks that are drawn."""

import itertools
import math

import numpy as np
import pytest

from initprobe.config.probe_config import ProbeConfig
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.typical import _chi_square_logs, _log_factor, length_logs
from initprobe.prediction.predict import predict_network
from initprobe.prediction.rules import rules_of
from initprobe.prediction.typical import loss_probability

NETWORKS = 200


def predicted(config, sizes):
    """The log10 of the mean square at infinite width, and the predicted logs of draws about it."""
    inputs = InputMoments.noise()
    prediction = predict_network(config, sizes, inputs, 1)
    squares = [1.0, *(float(layer.state.average(layer.state.moments.square)) for layer in prediction.layers)]
    spreads = [noise.output for noise in prediction.spreads]
    return squares[-1], length_logs(config.activation, rules_of(config, sizes), squares, spreads, 0)


def drawn_log10s(config, sizes):
    """log10 of the mean square of the last h, for an input of mean square 1 in many networks."""
    logs = []
    for seed in range(NETWORKS):
        rng = np.random.default_rng((1, seed))
        h = rng.standard_normal(sizes[0])
        h /= np.sqrt(np.mean(h * h))
        for fan_in, fan_out in itertools.pairwise(sizes):
            weight = config.initializer.sample(rng, (fan_in, fan_out), (fan_in, fan_out), np.dtype(float))
            bias = config.bias_initializer.sample(rng, (1, fan_out), (fan_in, fan_out), np.dtype(float))[0]
            h = config.activation.value(h @ weight + bias)
        logs.append(np.log10(np.mean(h * h)) if h.any() else -math.inf)
    return np.array(logs)


@pytest.mark.parametrize(
    ("fields", "layers", "width"),
    [
        ({"init": "he", "act": "relu"}, 100, 16),
        ({"init": "he", "act": "relu"}, 50, 8),
        ({"init": "he", "act": "relu"}, 200, 50),
        ({"init": "xavier", "act": "tanh"}, 60, 4),
        ({"init": "lecun", "act": "linear"}, 100, 16),
        ({"init": "he:slope=0.2", "act": "leaky_relu:slope=0.2"}, 60, 10),
        ({"init": "xavier", "act": "tanh", "bias_init": "normal:std=0.01"}, 60, 4),
        ({"init": "orthogonal:gain=1.41421356", "act": "relu"}, 100, 16),
        ({"init": "he", "act": "gelu"}, 40, 100),
    ],
    ids=str,
)
def test_the_median_of_200_draws_is_the_typical_one(fields, layers, width):
    """The SD of a median is 1.25 SD / sqrt(draws). The mean log is another SD / sqrt(400) off where it is simulated."""
    config, sizes = ProbeConfig(**fields, layers=layers, width=width), (width,) * (layers + 1)
    infinite, logs = predicted(config, sizes)
    measured = drawn_log10s(config, sizes) - math.log10(infinite)
    alive = measured[np.isfinite(measured)]
    mean, sd = logs.mean[-1] / math.log(10), logs.sd[-1] / math.log(10)
    error = sd * math.hypot(1.25 / math.sqrt(len(alive)), 1 / math.sqrt(400))
    # A skewed log has its median off the mean: the skewness over 6 in SDs, at most 0.15 here.
    assert abs(np.median(alive) - mean) < 4 * error + 0.15 * sd
    share, lost = np.mean(measured < -2), logs.lost[-1]
    assert abs(share - lost) < 5 * math.sqrt(max(lost * (1 - lost), 0.01) * (1 / NETWORKS + 1 / 400))


def test_published_figures_of_he_and_relu():
    """He + ReLU, 100 layers of 16: mean log10 -7.7, SD 2.8; the formula -SD^2/2 gives -5.9 with 5/n per layer."""
    for layers, width, mean in ((100, 16, -7.7), (50, 8, -8.7), (200, 50, -4.5)):
        _, logs = predicted(ProbeConfig(init="he", act="relu", layers=layers, width=width), (width,) * (layers + 1))
        assert logs.mean[-1] / math.log(10) == pytest.approx(mean, abs=0.06)


def test_logs_of_chi_square_are_digamma_and_trigamma():
    from scipy.special import digamma, polygamma

    counts = np.arange(1, 40)
    mean, variance = _chi_square_logs(39)
    np.testing.assert_allclose(mean, digamma(counts / 2) + math.log(2), rtol=0, atol=1e-13)
    np.testing.assert_allclose(variance, polygamma(1, counts / 2), rtol=1e-13)


def test_a_wide_layer_of_relu_has_a_log_of_minus_half_its_variance():
    """5/n, to first order in 1/n."""
    mean, variance, none = _log_factor(1000, 0.5)
    assert variance == pytest.approx(5 / 1000, rel=0.02)
    assert none < 1e-300
    assert mean == pytest.approx(-variance / 2, rel=0.02)


def test_weights_with_a_mean_have_no_typical_draw():
    config = ProbeConfig(init="normal:std=0.1,mean=0.1", act="relu", layers=5, width=10)
    inputs, sizes = InputMoments.noise(), (10,) * 6
    prediction = predict_network(config, sizes, inputs, 1)
    spreads = [noise.output for noise in prediction.spreads]
    assert length_logs(config.activation, rules_of(config, sizes), [1.0] * 6, spreads, 0) is None


@pytest.mark.parametrize(
    ("init", "act", "widths"),
    [
        ("lecun", "linear", (24,) * 60),  # orthogonal inputs are lost one by one, the batch seldom
        ("he", "mish", (12,) * 30),
        ("orthogonal:gain=1.4142", "relu", (16, 8, 4, 2)),
        ("lecun:gain=1.5", "tanh", (2,) * 15),  # first order in 1/width fails here
    ],
    ids=str,
)
def test_the_stated_probability_is_that_of_drawn_batches(init, act, widths):
    config = ProbeConfig(init=init, act=act, widths=widths, batch=16)
    sizes = config.nominal_sizes
    stated = loss_probability(config, sizes, InputMoments.noise())
    prediction = predict_network(config, sizes, InputMoments.noise(), 1)
    state, rng, lost = prediction.layers[-1].state, np.random.default_rng(3), 0
    for _ in range(NETWORKS):
        h = rng.standard_normal((16, sizes[0]))
        for fans in itertools.pairwise(sizes):
            h = config.activation.value(h @ config.initializer.sample(rng, fans, fans, np.dtype(float)))
        lost += bool(np.mean(h * h) < 0.01 * state.average(state.moments.square))
    # Both are shares of 200 draws.
    sd = math.sqrt(2 * max(stated * (1 - stated), 1 / NETWORKS) / NETWORKS)
    assert abs(lost / NETWORKS - stated) < 4 * sd


def test_a_branch_bridges_only_its_own_layer():
    """The pyramid loses as many draws with a skip around its first layer as without."""
    shape = {"init": "he", "act": "relu", "widths": (32, 16, 8, 4, 2, 1), "batch": 30}
    plain, residual = (ProbeConfig(**shape, residual=residual) for residual in (False, True))
    first, second = (loss_probability(each, each.nominal_sizes, InputMoments.noise()) for each in (plain, residual))
    assert first > 0.3
    assert second == pytest.approx(first, abs=0.2)
