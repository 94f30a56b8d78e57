"""The rounding of another processor changes neither the diagnosis nor the drift."""

import re
from pathlib import Path

import numpy as np
import pytest
from rounding import rounded

from initprobe import ProbeConfig
from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.norms import NORMS
from initprobe.activations.skips import Wiring
from initprobe.engine.mlp import Gradients, Layer, Parameters, Passed, backward, forward
from initprobe.engine.threads import Workers
from initprobe.engine.weight_gradient import add_weight_gradient
from initprobe.probe.run import measured
from initprobe.results.named_numbers import FIGURES, VERDICT
from initprobe.sweeps.store_diff import Rule, broken
from initprobe.sweeps.store_rounding import allowance

SMALL = {"width": 60, "batch": 64, "draws": 2}
NETS = {
    "chaotic": {"init": "normal:std=1", "act": "tanh", "layers": 30},
    "chaotic, one draw": {"init": "normal:std=1", "act": "tanh", "layers": 30, "draws": 1},
    "chaotic at first": {"init": "normal:std=0.3", "act": "sin", "layers": 40},
    "chaotic, float64": {"init": "normal:std=1", "act": "hard_tanh", "layers": 30, "dtype": "float64"},
    "collapsed": {"init": "normal:std=0.01", "act": "tanh", "layers": 60},
    "exploding": {"init": "normal:std=100", "act": "relu", "layers": 60},
    "stable": {"init": "he", "act": "relu", "layers": 30},
    "layer norm": {"init": "xavier", "act": "tanh", "layers": 40, "norm": "layer"},
    "batch norm": {"init": "he", "act": "relu", "layers": 30, "norm": "batch"},
    "residual": {"init": "he", "act": "gelu", "layers": 20, "residual": True},
    "constant": {"init": "constant:value=0.1", "act": "tanh", "layers": 6},
    "equal units normalised": {"init": "ones", "act": "tanh", "layers": 6, "norm": "layer"},
    "zeros": {"init": "zeros", "act": "relu", "layers": 6},
    "trained": {"init": "xavier", "act": "tanh", "layers": 4, "train_steps": 20},
}


@pytest.mark.parametrize("name", NETS)
def test_rounding_is_no_drift_and_changes_no_verdict(name):
    config = ProbeConfig(**(SMALL | NETS[name]))
    here = measured(config)
    for seed in (1, 2):
        with rounded(seed):
            there = measured(config)
        assert not list(broken(name, Rule(FIGURES, 1e-3), here, there))
        assert not list(broken(name, Rule(VERDICT), here, there))
        assert [layer.status for layer in here.layers] == [layer.status for layer in there.layers]


@pytest.mark.parametrize("name", ["stable", "collapsed", "residual", "chaotic, float64"])
def test_a_drift_of_two_percent_is_seen_where_the_net_is_not_chaotic(name):
    here = measured(ProbeConfig(**(SMALL | NETS[name])))
    kept = [layer.layer for layer in here.layers if layer.output.status == "ok"]
    assert all(allowance(here).of("output.variance", layer) < 1e-3 for layer in kept)
    layer = here.layers[1]
    output = layer.output.model_copy(update={"variance": layer.output.variance * 1.02})
    layers = (here.layers[0], layer.model_copy(update={"output": output}), *here.layers[2:])
    (change,) = broken(name, Rule(FIGURES), here, here.model_copy(update={"layers": layers}))
    assert (change.name, change.layer) == ("output.variance", 2)


def test_another_initializer_is_drift_of_a_chaotic_net_too():
    """The first layers of that network are not chaotic yet."""
    here, there = (measured(ProbeConfig(**(SMALL | NETS["chaotic"] | {"init": f"normal:std={std}"}))) for std in (1, 2))
    assert "preactivation.variance" in {change.name for change in broken("net", Rule(FIGURES), here, there)}


@pytest.mark.parametrize("units", [5, 37, 129, 500])
@pytest.mark.parametrize("norm", [None, "layer", "batch"])
@pytest.mark.any_processor
def test_equal_units_stay_equal(units, norm):
    """Forward, backward and in the weight gradient, bit for bit, whatever the kernel does with the last columns."""
    rng = np.random.default_rng(units)
    weight = np.tile(rng.standard_normal((units, 1)).astype(np.float32), (1, units))
    x, g = (rng.standard_normal((40, units)).astype(np.float32) for _ in range(2))
    z, h = np.empty_like(x), np.empty_like(x)
    tanh = ACTIVATIONS["tanh"]
    forward(Layer(Parameters(weight, None), tanh, Wiring(norm and NORMS[norm])), x, (z, h), Workers(0))
    assert (h == h[:, :1]).all()
    delta, below = np.empty_like(x), np.empty_like(x)
    back = Layer(Parameters(weight.T.copy(), None), tanh)
    backward(back, Passed(z, h), Gradients(g, delta, below), Workers(0))
    assert (below == below[:, :1]).all()
    total = np.zeros((units, units), np.float32)
    add_weight_gradient(h, below, total, Workers(0))
    assert (total == total[0, 0]).all()


@pytest.mark.parametrize("units", [5, 37, 129, 500])
@pytest.mark.any_processor
def test_equal_samples_stay_equal_and_batch_norm_makes_them_zero(units):
    rng = np.random.default_rng(units)
    weight = rng.standard_normal((units, units)).astype(np.float32)
    x = np.tile(rng.standard_normal((1, units)).astype(np.float32), (70, 1))
    z, h = np.empty_like(x), np.empty_like(x)
    layer = Layer(Parameters(weight, None), ACTIVATIONS["tanh"])
    forward(layer, x, (z, h), Workers(0))
    assert (z == z[:1]).all()
    forward(layer._replace(wiring=Wiring(NORMS["batch"])), x, (z, h), Workers(0))
    assert not z.any()


def test_every_product_of_the_engine_can_be_rounded():
    """All products are `np.matmul`; sums of statistics are float64."""
    package = Path(forward.__code__.co_filename).parent
    for path in package.glob("*.py"):
        products = re.findall(r"^.*\w\)? @ [\w(].*$", re.sub(r"`[^`]*`", "", path.read_text()), re.MULTILINE)
        assert all("float64" in line for line in products if not line.lstrip().startswith("#")), (path, products)
