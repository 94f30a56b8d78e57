"""Theory of normalised and residual networks: closed forms, simulation, and their diagnosis."""

import math
from itertools import product

import numpy as np
import pytest
from infinite_width import predict_norm_and_skip

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.norms import EPSILON, NORMS
from initprobe.activations.skips import Wiring
from initprobe.config.probe_config import ProbeConfig
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.moments import moments
from initprobe.probe.run import measured, run

WIDTH, BATCH, DRAWS = 400, 300, 6
# What a layer of n units adds to the relative variance of a ReLU signal is 5/n (Hanin & Nica 2020, arXiv:1812.05994).
# First-order biases are as large. Infinite width is off by 5/n per layer, and a large batch by 5/B.
FIRST_ORDER = 5
# Standard errors of a mean over the draws, themselves estimated from six.
SURE = 6
SURROUNDINGS = {
    "layer": {"norm": "layer"},
    "batch": {"norm": "batch"},
    "skip": {"residual": True, "branch_scale": "1/sqrt(2L)"},
    "full skip": {"residual": True, "branch_scale": 0.5},
    "layer and skip": {"norm": "layer", "residual": True, "branch_scale": "1/sqrt(2L)"},
    "batch and skip": {"norm": "batch", "residual": True, "branch_scale": "1/sqrt(2L)"},
}
TENSORS = ("preactivation", "output", "output_gradient", "preactivation_gradient", "weight_gradient")


def close(stats, predicted, allowed):
    """The mean over draws is the prediction, to its own standard error and `allowed` in the log."""
    values = np.array(stats.variance_by_draw)
    error = values.std(ddof=1) / values.mean() / math.sqrt(len(values))
    return abs(math.log(values.mean() / predicted)) < SURE * error + allowed


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize(
    ("act", "init", "layers"),
    [
        ("relu", "he", 4),
        ("relu", "he", 12),
        ("gelu", "he", 4),
        pytest.param("gelu", "he", 12, marks=pytest.mark.slow),
        ("tanh", "xavier", 4),
        pytest.param("tanh", "xavier", 12, marks=pytest.mark.slow),
        ("softplus", "lecun", 4),
        ("softplus", "lecun", 12),
    ],
)
def test_every_variance_is_as_predicted(act, init, around, layers):
    fields = SURROUNDINGS[around]
    config = ProbeConfig(
        init=init, act=act, bias_init="normal:std=0.1", layers=layers, width=WIDTH, batch=BATCH, draws=DRAWS, **fields
    )
    inverse = 1 / WIDTH + (1 / BATCH if config.norm == "batch" else 0)
    for layer, tensor in product(measured(config).layers, TENSORS):
        predicted = getattr(layer.theory, f"{tensor}_variance")
        assert close(layer.tensor(tensor), predicted, FIRST_ORDER * layers * inverse), (layer.layer, tensor, predicted)


@pytest.mark.parametrize("around", SURROUNDINGS)
def test_correlated_inputs_of_many_lengths(around):
    """Layer 1 of Gaussian input of width 20: lengths spread by a third, and cosines of 0.5 by a fifth."""
    config = ProbeConfig(
        init="he", act="relu", input="gaussian:correlation=0.5", widths=(20, 400, 400), batch=400, draws=DRAWS,
        **SURROUNDINGS[around],
    )  # fmt: skip
    for layer in measured(config).layers:
        inverse = 1 / layer.fan_out + (1 / 400 + 1 / 20 if config.norm == "batch" else 0)
        for tensor in ("preactivation", "output"):
            assert close(layer.tensor(tensor), getattr(layer.theory, f"{tensor}_variance"), FIRST_ORDER * inverse)


# A width at which the radial mode, of order 1/width, is below the tolerances.
WIDE = 10**11


def theory(act, wiring, layers=2, batch=10**9, gain=2.0, inputs=None):
    rules = [Layer(WIDE, WIDE, weight_variance=gain / WIDE)] * layers
    return predict_norm_and_skip(ACTIVATIONS[act], rules, [wiring] * layers, inputs or InputMoments.noise(), batch)


@pytest.mark.parametrize("gain", [1e-2, 1.0, 50.0])
@pytest.mark.parametrize("act", ["tanh", "relu", "gelu"])
def test_layer_norm_in_closed_form(act, gain):
    """`q / (q + eps)`, and the gradient's `gain E[phi'^2] / (q + eps)` per layer."""
    first, second = theory(act, Wiring(NORMS["layer"]), gain=gain)
    assert first.preactivation_variance == pytest.approx(gain / (gain + EPSILON), rel=1e-12)
    below = moments(ACTIVATIONS[act], first.preactivation_variance)
    q = gain * float(below.square)
    assert second.preactivation_variance == pytest.approx(q / (q + EPSILON), rel=1e-9)
    two = moments(ACTIVATIONS[act], second.preactivation_variance)
    expected = gain * float(two.slope_square) / (q + EPSILON)
    assert first.output_gradient_variance == pytest.approx(expected, rel=1e-9)


def test_batch_norm_in_closed_form():
    """Yang et al. 2019, arXiv:1902.08129: pi / (pi - 1) per layer for ReLU, (B - 2) / (B - 3) for a linear network."""
    first, second = theory("relu", Wiring(NORMS["batch"]))
    ratio = first.output_gradient_variance / second.output_gradient_variance
    assert ratio == pytest.approx(math.pi / (math.pi - 1), rel=2 * EPSILON)
    batch = 100
    deep = theory("linear", Wiring(NORMS["batch"]), layers=4, batch=batch)
    factor = deep[0].output_gradient_variance / deep[1].output_gradient_variance
    assert factor == pytest.approx((batch - 2) / (batch - 3), abs=10 / batch**2)


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_a_skip_in_closed_form(scale):
    """ReLU: q = 2 S, E[phi] = sqrt(q / 2 pi), E[phi^2] = q / 2; and the gradient's `1 + s^2`."""
    square, mean = 1.0, 0.0
    measured = theory("relu", Wiring(skip=scale), layers=5)
    for layer in measured:
        q = 2 * square
        add = scale * math.sqrt(q / (2 * math.pi))
        square, mean = square + 2 * mean * add + scale**2 * q / 2, mean + add
        assert layer.preactivation_variance == pytest.approx(q, rel=1e-9)
        assert layer.output_variance == pytest.approx(square - mean**2, rel=1e-9)
    gradients = [layer.output_gradient_variance for layer in measured]
    assert gradients == pytest.approx([(1 + scale**2) ** power for power in range(4, -1, -1)], rel=1e-9)


def test_the_cosine_of_two_inputs_under_a_skip():
    """Measured at 10 layers, to 5 SDs of a mean cosine of 6 x 400 units and 1/width."""
    for fields in (SURROUNDINGS["skip"], SURROUNDINGS["layer and skip"]):
        config = ProbeConfig(init="he", act="relu", layers=10, width=WIDTH, batch=BATCH, draws=DRAWS, **fields)
        last = measured(config).layers[-1]
        assert last.theory.correlation > 0.2
        allowed = 5 / math.sqrt(WIDTH * DRAWS) + FIRST_ORDER * 10 / WIDTH * last.theory.correlation
        assert last.correlation == pytest.approx(last.theory.correlation, abs=allowed)


def test_branches_of_zero_are_predicted_exactly():
    """Up to chance. The squared mean of an input of 40 x 50 is 1/2000 on average. Five times that is rare."""
    config = ProbeConfig(
        init="he", act="tanh", layers=4, width=50, batch=40, draws=2, residual=True, zero_init_last=True
    )
    for layer in measured(config).layers:
        assert layer.output.variance == pytest.approx(layer.theory.output_variance, abs=5 / 2000)
        assert layer.theory.output_gradient_variance == pytest.approx(1, rel=1e-12)


def test_what_theory_does_not_derive_is_null_with_a_reason():
    plain = {"act": "tanh", "layers": 2, "width": 30, "batch": 20, "draws": 2}
    for fields in SURROUNDINGS.values():
        layer = measured(ProbeConfig(init="xavier", **plain, **fields)).layers[1]
        assert layer.theory.length_slope is None
        assert (layer.theory.output_shares is None) is bool(fields.get("residual"))
        result = measured(ProbeConfig(init="ones", **plain, **fields))
        assert result.layers[0].theory is None
        assert "no mean-field prediction" in result.theory_note


SMALL = {"width": 120, "batch": 150, "draws": 2}


def named(**fields):
    settings = {name: value for name, value in SMALL.items() if name != "width" or "widths" not in fields}
    return {f.rule for f in measured(ProbeConfig(**settings, **fields)).diagnosis if f.severity != "info"}


@pytest.mark.parametrize(
    ("fields", "truth"),
    [
        ({"init": "normal:std=0.01", "act": "relu", "layers": 20, "norm": "layer"}, set()),
        ({"init": "normal:std=1", "act": "relu", "layers": 20, "norm": "layer"}, set()),
        ({"init": "he:mode=fan_out", "act": "relu", "widths": (120, 30, 120, 30), "norm": "layer"}, set()),
        ({"init": "he", "act": "relu", "layers": 40, "norm": "batch"}, {"exploding-gradient"}),
        ({"init": "xavier", "act": "tanh", "layers": 60, "norm": "layer"}, {"exploding-gradient"}),
        # The mean of softplus makes all inputs alike, which the norm over units does not undo.
        (
            {"init": "lecun", "act": "softplus", "layers": 20, "norm": "layer"},
            {"vanishing-gradient", "rank-collapse"},
        ),
        ({"init": "xavier", "act": "tanh", "layers": 100, "norm": "layer", "residual": True}, set()),
        ({"init": "he", "act": "relu", "layers": 40, "residual": True}, {"exploding-output", "exploding-gradient"}),
        ({"init": "xavier", "act": "tanh", "layers": 50, "residual": True, "zero_init_last": True}, set()),
        ({"init": "he", "act": "relu", "layers": 9, "residual": True, "zero_init_last": True}, {"dead-layer"}),
        (
            {"init": "ones", "act": "tanh", "layers": 5, "norm": "layer"},
            {"symmetric", "dead-layer", "vanishing-gradient"},
        ),
        ({"init": "constant:value=0.3", "act": "relu", "layers": 5, "norm": "layer"}, {"symmetric", "dead-layer"}),
        # By hand, dL/dh is 0.01, 0.006, 0.003, 0.003, 1: no trend; and every dL/dW but the first is exactly 0.
        ({"init": "ones", "act": "tanh", "layers": 5, "norm": "batch"}, {"symmetric"}),
        # By hand dL/dh falls from 1 to between 0.006 and 0.008 in the one step there is.
        (
            {"init": "constant:value=0.2", "act": "tanh", "layers": 2, "norm": "batch"},
            {"symmetric", "vanishing-gradient"},
        ),
    ],
)
@pytest.mark.any_processor
def test_the_verdict_of_residual_nets_is_right(fields, truth):
    """Growth as a power of depth is no finding; what a norm does not repair is reported."""
    assert named(**fields) == truth


def test_the_verdict_names_the_norm_and_not_the_weights():
    """The fix keeps the norm: skips around it are what helps."""
    result = run(ProbeConfig(init="he", act="relu", layers=40, norm="batch", **SMALL))
    finding = result.diagnosis[0]
    assert finding.evidence.startswith("each layer multiplies the variance of dL/dh by 1.")
    assert "batch norm divides gradients" in finding.cause
    assert "--norm batch" in finding.fix and "--residual" in finding.fix


def test_orthogonal_weights_and_uniform_biases_have_a_theory_too():
    for init in ("orthogonal", "torch_linear"):
        assert INITIALIZERS[init].mean == 0
        for fields in SURROUNDINGS.values():
            config = ProbeConfig(init=init, act="tanh", layers=4, width=WIDTH, batch=BATCH, draws=DRAWS, **fields)
            inverse = 1 / WIDTH + 1 / BATCH
            last = measured(config).layers[-1]
            assert close(last.output, last.theory.output_variance, FIRST_ORDER * 4 * inverse)


@pytest.mark.parametrize("around", SURROUNDINGS)
def test_the_text_judges_by_chance(around):
    """Where there is a spread, the line of theory is in standard deviations; small nets are within three of them."""
    config = ProbeConfig(init="xavier", act="tanh", layers=3, width=60, batch=50, draws=2, **SURROUNDINGS[around])
    lines = [line for line in measured(config).table().splitlines() if line.startswith("theory")]
    forward, backward, *_ = lines
    assert "var h" in forward and "var dL/dh" in backward
    assert all(" SD of the prediction" in line for line in (forward, backward))
