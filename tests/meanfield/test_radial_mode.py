"""The radial mode of gradients round skips: an exact bound and simulation; widths are small, so the mode is large."""

import math

import numpy as np
import pytest
from infinite_width import predict_norm_and_skip

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.norms import NORMS
from initprobe.activations.skips import Wiring
from initprobe.config.probe_config import ProbeConfig
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.layer import Layer
from initprobe.probe.run import measured


def theory(act, width, depth, gain, scale, block=1, norm=None):
    rules = [Layer(width, width, gain / width)] * depth
    wirings = [
        Wiring(None if block > 1 and k % block == block - 1 else norm, scale if k % block == block - 1 else None,
               place=k % block, span=block)
        for k in range(depth)
    ]  # fmt: skip
    return predict_norm_and_skip(ACTIVATIONS[act], rules, wirings, InputMoments.noise(), 100)


def square(layer):
    """Mean square over units of h."""
    return layer.output_variance + layer.output_mean**2


@pytest.mark.parametrize("block", [1, 2, 3])
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("act", ["relu", "leaky_relu", "linear"])
def test_homogeneous_activations_keep_the_product_of_gradient_and_signal(act, scale, block):
    """`g . h` is the same at every layer, so `Var(dL/dh_l) >= S_L / (n S_l)`: here at the inputs of branches."""
    width, depth = 50, 60
    layers = theory(act, width, depth, 2.0, scale, block)
    stream = layers[block - 1 :: block]
    for layer in stream:
        bound = square(stream[-1]) / (width * square(layer))
        assert layer.output_gradient_variance >= bound * (1 - 1e-9)


def test_the_bound_decides_where_the_signal_grows():
    """He + ReLU, 50 layers of 100: infinite width gives 2^49, 10^5 below it; weights scatter a few times as much."""
    layers = theory("relu", 100, 50, 2.0, 1.0)
    bound = square(layers[-1]) / (100 * square(layers[0]))
    assert bound > 1e5 * 2**49
    assert bound < layers[0].output_gradient_variance < 5 * bound


def test_a_branch_behind_a_layer_norm_adds_no_radial_part():
    """Its gradient is across its input, so what is along h is kept by the skip alone.

    So 1/n of it stays of order 1/n.
    """
    wide, narrow = (theory("relu", n, 20, 2.0, 1.0, norm=NORMS["layer"])[0] for n in (10**9, 50))
    assert narrow.output_gradient_variance == pytest.approx(wide.output_gradient_variance, rel=2 * 20 / 50)


@pytest.mark.parametrize(
    ("act", "init", "layers", "fields"),
    [
        ("relu", "he", 30, {}),
        ("gelu", "he", 15, {}),
        ("softplus", "lecun", 15, {}),
        pytest.param("relu", "he", 20, {"block": 2}, marks=pytest.mark.slow),
        ("relu", "he", 20, {"bias_init": "normal:std=0.3"}),
        ("relu", "orthogonal:gain=1.4", 12, {}),
    ],
)
def test_gradients_of_residual_networks(act, init, layers, fields):
    """Within 5 standard errors of the mean over draws, plus `L / 2n` for what fluctuating lengths add."""
    config = ProbeConfig(
        init=init, act=act, layers=layers, width=100, batch=40, draws=30, residual=True, dtype="float64", **fields
    )
    for layer in measured(config).layers[::4]:
        values = np.array(layer.output_gradient.variance_by_draw)
        error = values.std(ddof=1) / values.mean() / math.sqrt(len(values))
        gap = math.log(values.mean() / layer.theory.output_gradient_variance)
        assert abs(gap) < 5 * error + layers / 100 / 2, layer.layer


def test_a_mean_over_units_that_grows_with_depth_carries_a_part_of_the_gradient():
    """Without a direction of its own for it, dL/dh was 1.22 times the prediction. 5 standard errors, and 2%."""
    settings = {"layers": 20, "width": 60, "batch": 10, "draws": 60, "residual": True, "branch_scale": 0.5}
    layer = measured(ProbeConfig(init="lecun", act="selu", **settings)).layers[0]
    variances = np.array(layer.output_gradient.variance_by_draw)
    gap = math.log(variances.mean() / layer.theory.output_gradient_variance)
    assert abs(gap) < 5 * variances.std() / variances.mean() / math.sqrt(len(variances)) + 0.02
