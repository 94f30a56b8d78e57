"""Predictions with biases that are not normal, with rows of zeros, and where nothing is left of a signal."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from layers import UNIFORM_NODES, square_net

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.config.probe_config import ProbeConfig
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.initializers.distributions import NORMAL, SHAPES
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.predict import predict
from initprobe.meanfield.propagate import propagate
from initprobe.prediction.rules import bias_nodes, rule
from initprobe.probe.run import measured, run


@pytest.mark.parametrize("name", ["tanh", "hardtanh", "relu"])
def test_uniform_biases_are_averaged_over(name):
    """Against 2000 x 4000 points of z itself. 16 nodes on either side of a kink leave 1e-4 of the second moments."""
    act, nodes = ACTIVATIONS[name], bias_nodes(SHAPES["uniform"], math.sqrt(3))
    theory = predict(act, [Layer(100, 100, 0.01, bias_variance=3, bias_nodes=nodes)], InputMoments.noise(), 1)[0]
    places = (np.arange(2000) + 0.5) / 2000
    z = 6 * places[:, None] - 3 + np.linspace(-8, 8, 4001)
    weights = np.exp(-(np.linspace(-8, 8, 4001) ** 2) / 2)
    weights /= weights.sum() * len(places)
    h = act.value(z)
    slope = act.slope(z, h)
    assert theory.preactivation_variance == pytest.approx(1 + 3, rel=1e-9)
    assert theory.output_variance == pytest.approx(np.sum(h * h @ weights) - np.sum(h @ weights) ** 2, rel=1e-3)
    assert theory.preactivation_gradient_variance == pytest.approx(np.sum(slope**2 @ weights), rel=1e-3)


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "normal"])
@pytest.mark.parametrize("std", [0.02, 1.0, 30.0])
def test_bias_nodes_have_the_moments_of_the_biases(shape, std):
    """Of a Gauss rule of the two halves; 2000 quantiles leave 1e-3 of the fourth moment."""
    shares, places = np.array(bias_nodes(SHAPES[shape], std)).T
    moments = [shares @ places**k for k in range(5)]
    assert moments == pytest.approx([1, 0, 1, 0, SHAPES[shape].fourth(1)[0]], rel=1e-3, abs=1e-9)


def test_only_biases_that_are_neither_normal_nor_constant_have_nodes():
    assert bias_nodes(NORMAL, 1.0) == ()
    assert bias_nodes(SHAPES["uniform"], 0.0) == ()
    assert rule(ProbeConfig(init="xavier", act="tanh"), (10, 10)).bias_nodes == ()
    assert rule(ProbeConfig(init="xavier", bias_init="normal:std=1", act="tanh"), (10, 10)).bias_nodes == ()
    assert rule(ProbeConfig(init="torch_linear", act="tanh"), (10, 10)).bias_nodes
    assert INITIALIZERS["zeros"].distribution.cdf is None


def test_equal_inputs_stay_equal_under_uniform_biases():
    layers = square_net(0.4, 10**9, 10, bias_variance=0.1, bias_nodes=UNIFORM_NODES)
    theory = predict(ACTIVATIONS["hardtanh"], layers, InputMoments.noise(cosine=1.0), 2)
    assert [layer.correlation for layer in theory] == pytest.approx([1.0] * 10, abs=1e-12)


def test_uniform_biases_make_inputs_agree():
    """Layer 1: cosine `bias variance / variance`, whatever the distribution of the bias."""
    layers = square_net(1.0, 100, 1, bias_variance=3.0, bias_nodes=UNIFORM_NODES)
    assert predict(ACTIVATIONS["tanh"], layers, InputMoments.noise(), 2)[0].correlation == pytest.approx(3 / 4)


@pytest.mark.parametrize("weight_mean", [0.0, 1e-9])
def test_zero_rows_meet_the_slope_at_zero(weight_mean):
    """ReLU's slope at 0 is 0, so those rows pass nothing back, and the others do not change."""
    x = np.random.default_rng(5).standard_normal((40, 100))
    padded = np.concatenate([x, np.zeros((30, 100))])
    layers = square_net(2.0, 100, 4, weight_mean=weight_mean)
    with_zeros, alone = (predict(ACTIVATIONS["relu"], layers, InputMoments.measure(rows), 70) for rows in (padded, x))
    for a, b in zip(with_zeros, alone, strict=True):
        last, share = b is alone[-1], 40 / 70
        assert a.output_gradient_variance == pytest.approx(
            b.output_gradient_variance * (1 if last else share), rel=1e-9
        )
        assert a.preactivation_variance == pytest.approx(b.preactivation_variance * share, rel=1e-9)
        assert a.correlation == pytest.approx(b.correlation, rel=1e-9)


def test_zero_rows_agree_where_there_is_a_bias():
    """Two of them wholly; one and another as far as the bias's share goes."""
    layer = Layer(100, 100, 3 / 100, bias_variance=1.0)
    inputs = InputMoments(np.array([0.0, 1.0]), np.zeros(2))
    got = predict(ACTIVATIONS["tanh"], [layer], inputs, 2)[0].correlation
    assert got == pytest.approx((1 + 2 * math.sqrt(1 / 4) + 1 / 4) / 4)


def test_zero_rows_become_equal_and_not_zero():
    """Sigmoid(0) = 1/2 in every unit: at layer 2 all rows are."""
    theory = predict(ACTIVATIONS["sigmoid"], square_net(2.0, 100, 3), InputMoments.measure(np.zeros((5, 100))), 5)
    assert [layer.correlation for layer in theory[1:]] == pytest.approx([1.0, 1.0])
    assert [layer.preactivation_variance for layer in theory[:2]] == pytest.approx([0, 2 / 4])


SLOPES = {"uniform bias": {"bias_variance": 0.5, "bias_nodes": UNIFORM_NODES}, "bias off 0": {"bias_mean": 0.6}}


@pytest.mark.parametrize("bias", SLOPES.values(), ids=list(SLOPES))
def test_length_slope_is_that_of_the_map(bias):
    """Against a central difference: the first layer's weights 1e-4 wider and narrower, error of order 1e-8."""
    step = 1e-4
    below, here = (Layer(100, 100, 0.02, **bias) for _ in range(2))
    logs = []
    for factor in (1 - step, 1 + step):
        moved = [Layer(100, 100, 0.02 * factor, **bias), here]
        states = propagate(ACTIVATIONS["tanh"], moved, InputMoments.noise())
        logs.append([math.log(state.sample_shares @ state.lengths) for state in states])
    change = np.subtract(*logs)
    theory = predict(ACTIVATIONS["tanh"], [below, here], InputMoments.noise(), 1)
    assert theory[1].length_slope == pytest.approx(change[1] / change[0], rel=1e-6)


NOTHING = {
    "no weights": {"init": "xavier:gain=0", "act": "tanh"},
    "no weights, sigmoid": {"init": "xavier:gain=0", "act": "sigmoid"},
    "no weights but a uniform bias": {"init": "xavier:gain=0", "bias_init": "uniform:limit=1", "act": "relu"},
    "zero input": {"init": "he", "act": "relu"},
    "zero input, weights with a mean": {"init": "normal:std=0.1,mean=0.1", "act": "tanh"},
    "branches of 0 behind batch norm": {
        **{"init": "he", "act": "relu", "norm": "batch", "residual": True, "block": 2},
        **{"layers": 4, "branch_scale": 0},
    },
    "lost on the way": {"init": "normal:std=0.01", "act": "gelu", "layers": 120},
    "tiny": {"init": "normal:std=1e-300", "act": "tanh", "dtype": "float64"},
    "all connections cut": {"init": "sparse:std=0.1,sparsity=1", "act": "tanh"},
}


@pytest.mark.parametrize("name", NOTHING)
def test_runs_without_a_signal_finish(name, tmp_path):
    """And the slope of a length that is 0 is not known rather than an error."""
    extra = {}
    if name.startswith("zero input"):
        np.save(tmp_path / "zeros.npy", np.zeros((20, 30)))
        extra["input"] = str(tmp_path / "zeros.npy")
    config = {"layers": 3, "width": 30, "batch": 20} | NOTHING[name] | extra
    result = run(ProbeConfig(**config), threads=1)
    assert json.loads(result.to_json())["layers"][-1]["theory"]["length_slope"] is None


@pytest.mark.parametrize("scale", [1e-100, 1e-7, 1e100])
def test_predictions_scale_with_the_input(scale):
    """A linear network scales every sample, also where weights with a mean make the means of samples count."""
    rng, layers = np.random.default_rng(0), [Layer(100, 100, 0.01, weight_mean=0.01)] * 3
    x = rng.standard_normal((50, 100)) + rng.standard_normal((50, 1))
    unit, scaled = (predict(ACTIVATIONS["linear"], layers, InputMoments.measure(rows), 50) for rows in (x, scale * x))
    for first, second in zip(unit, scaled, strict=True):
        assert second.output_variance / scale**2 == pytest.approx(first.output_variance, rel=1e-6)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_short_rows_beside_long_ones_of_one_sign(norm, tmp_path):
    """The mean of a short row is as short, though the mean over the batch exceeds its length.

    A variance of 4 networks has an error of 3% at the last layer, and 5 of them are allowed.
    """
    x = np.random.default_rng(0).standard_normal((100, 50)) - 3
    x[:30] *= 0.01
    np.save(tmp_path / "x.npy", x)
    fields = {"init": "xavier", "act": "sigmoid", "layers": 6, "width": 50, "residual": True, "draws": 4}
    for layer in measured(ProbeConfig(**fields, norm=norm, input=str(tmp_path / "x.npy")), threads=1).layers:
        assert layer.theory.output_variance == pytest.approx(layer.output.variance, rel=5 * 0.03)


def test_a_residual_net_of_one_unit_has_no_negative_square():
    fields = {"init": "he", "act": "sigmoid", "layers": 5, "width": 1, "residual": True}
    result = measured(ProbeConfig(**fields, bias_init="uniform:limit=1", batch=30, draws=1), threads=1)
    assert all(layer.theory.output_variance > 0 for layer in result.layers)


def test_uniform_biases_by_measurement():
    """z is a deviate of SD 1 at each layer. So 5 are allowed, and 1 more for what first order leaves out."""
    config = ProbeConfig(init="lecun", bias_init="uniform:limit=3", act="tanh", layers=4, width=300, batch=200, draws=8)
    for layer in measured(config, threads=1).layers:
        assert abs(layer.theory.z) < 5 + 1
        gradient = layer.output_gradient.variance / layer.theory.output_gradient_variance
        assert abs(math.log(gradient)) < 5 * layer.theory.output_gradient_spread + 4 / 300
