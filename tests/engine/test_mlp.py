"""The backward pass against finite differences and autograd."""

import itertools
import math

import numpy as np
import pytest
from autograd import assert_like_autograd

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.config.probe_config import ProbeConfig
from initprobe.engine import layer_record, mlp, weight_gradient
from initprobe.engine.mlp import Gradients, Layer, Parameters
from initprobe.engine.threads import row_blocks, workers
from initprobe.probe.experiment import prepare
from initprobe.probe.networks import first_network
from initprobe.probe.run import run

SIZES = (4, 5, 3, 6)
BATCH = 7


def network(rng):
    return [Parameters(rng.standard_normal((a, b)), rng.standard_normal(b)) for a, b in itertools.pairwise(SIZES)]


def outputs(layers, activation, x):
    h = x
    for layer in layers:
        h = activation.value(h @ layer.weight + layer.bias)
    return h


def engine_gradients(layers, activation, x, g):
    """dL/dW of every layer, as the engine computes it."""
    with workers(2) as pool:
        trace, h = [], x
        for layer in layers:
            h_in, z = h, np.empty((len(h), layer.weight.shape[1]))
            trace.append((h_in, mlp.forward(Layer(layer, activation), h_in, (z, np.empty_like(z)), pool)))
            h = trace[-1][1].h
        gradients = []
        for index in reversed(range(len(layers))):
            h_in, passed = trace[index]
            below = np.empty_like(h_in) if index else None
            delta = mlp.backward(Layer(layers[index], activation), passed, Gradients(g, passed.z, below), pool)
            total = np.zeros_like(layers[index].weight)
            weight_gradient.add_weight_gradient(h_in, delta, total, pool)
            pool.finish()
            gradients.append(total)
            g = below
    return gradients[::-1]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_weight_gradient_against_finite_differences(name):
    """Central differences of L = sum(g h_L): error below eps^2 |L'''| / 6 + rounding / eps, with eps = 1e-5."""
    activation, rng = ACTIVATIONS[name], np.random.default_rng(7)
    layers, x = network(rng), rng.standard_normal((BATCH, SIZES[0]))
    g = rng.standard_normal((BATCH, SIZES[-1]))
    gradients = engine_gradients(layers, activation, x, g)
    eps = 1e-5
    for layer, gradient in zip(layers, gradients, strict=True):
        for index in np.ndindex(layer.weight.shape):
            kept = layer.weight[index]
            layer.weight[index] = kept + eps
            above = np.sum(g * outputs(layers, activation, x))
            layer.weight[index] = kept - eps
            below = np.sum(g * outputs(layers, activation, x))
            layer.weight[index] = kept
            assert gradient[index] == pytest.approx((above - below) / (2 * eps), rel=1e-6, abs=1e-6)


TORCH_NAMES = {
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "relu": "relu",
    "gelu": "gelu",
    "silu": "silu",
    "selu": "selu",
    "mish": "mish",
    "softplus": "softplus",
}


@pytest.mark.parametrize("name", TORCH_NAMES)
def test_statistics_against_autograd(name, torch):
    """The saved network repeated in torch: every variance to 1e-6 relative in float64."""
    config = ProbeConfig(
        init="he", act=name, bias_init="normal:std=0.1", layers=4, width=60, batch=90, draws=1, dtype="float64"
    )
    result, arrays = run(config), first_network(prepare(config))
    phi = getattr(torch.nn.functional, name)
    weights = [torch.tensor(arrays[f"W{n}"], requires_grad=True) for n in range(1, 5)]
    h, zs, hs = torch.tensor(arrays["x"]), [], []
    for number, weight in enumerate(weights, start=1):
        zs.append(h @ weight + torch.tensor(arrays[f"b{number}"]))
        h = phi(zs[-1])
        hs.append(h)
        zs[-1].retain_grad()
        h.retain_grad()
    h.backward(torch.tensor(arrays["g"]))
    assert_like_autograd(result.layers, weights, zs, hs)


def test_mean_cosine_is_that_of_all_pairs():
    rng = np.random.default_rng(3)
    z = rng.standard_normal((40, 6)) + 0.5
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    pairs = (unit @ unit.T)[~np.eye(40, dtype=bool)]
    config = ProbeConfig(init="identity", act="linear", layers=1, width=6, batch=40, draws=1, dtype="float64")
    directions = layer_record.Directions()
    for rows in (slice(0, 13), slice(13, 40)):
        directions.add(layer_record.directions(z[rows]))
    assert directions.mean_cosine() == pytest.approx(pairs.mean(), rel=1e-12)
    assert run(config).layers[0].correlation is not None
    assert layer_record.Directions().mean_cosine() is None


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1000, 500), (4096, 4096), (513, 3), (64, 100_000)])
def test_row_blocks_cover_every_row_once(rows, columns):
    covered = [row for block in row_blocks(rows, columns) for row in range(block.start, block.stop)]
    assert covered == list(range(rows))
    assert all(block.stop - block.start <= 512 for block in row_blocks(rows, columns))


def test_dead_units_and_saturation_are_counted():
    """A bias far below 0 makes every ReLU dead; a bias far above 0 saturates every tanh."""
    config = ProbeConfig(
        init="zeros", act="relu", bias_init="constant:value=-1000", layers=1, width=8, batch=4, draws=2
    )
    assert run(config).layers[0].output.dead_fraction == 1
    saturated = ProbeConfig(init="zeros", act="tanh", bias_init="constant:value=9", layers=1, width=8, batch=4)
    output = run(saturated).layers[0].output
    assert (output.saturated_fraction, output.dead_fraction) == (1, None)
    assert output.mean == pytest.approx(math.tanh(9), rel=1e-6)
