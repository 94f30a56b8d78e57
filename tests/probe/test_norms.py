"""Normalised and residual networks: gradients against finite differences and autograd, and the options."""

import itertools

import numpy as np
import pytest
from autograd import assert_like_autograd

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.norms import EPSILON, NORMS
from initprobe.activations.skips import Wiring, wirings
from initprobe.config.probe_config import ProbeConfig
from initprobe.engine import mlp, weight_gradient
from initprobe.engine.mlp import Gradients, Layer, Parameters
from initprobe.engine.threads import workers
from initprobe.errors import ConfigError
from initprobe.meanfield.drawn_batches import Plan
from initprobe.meanfield.input_moments import PAIRED_ROWS
from initprobe.probe.experiment import prepare
from initprobe.probe.memory import cost
from initprobe.probe.memory_threads import scratch_bytes
from initprobe.probe.networks import first_network
from initprobe.probe.run import measured
from initprobe.studies.spectrum import measure

# The second and the fourth layer have a skip.
SIZES = (4, 5, 5, 3, 3)
BATCH = 7
SKIPS = [None, 0.7]
NAMES = [None, *NORMS]


def network(rng):
    return [Parameters(rng.standard_normal((a, b)), rng.standard_normal(b)) for a, b in itertools.pairwise(SIZES)]


def around(name, skip):
    norm = None if name is None else NORMS[name]
    return [Wiring(norm, skip if a == b else None) for a, b in itertools.pairwise(SIZES)]


def outputs(layers, activation, wired, x):
    """The definition in NumPy."""
    h = x
    for layer, wiring in zip(layers, wired, strict=True):
        y = h @ layer.weight + layer.bias
        if wiring.norm is not None:
            axis = wiring.norm.axis
            y = (y - y.mean(axis, keepdims=True)) / np.sqrt(y.var(axis, keepdims=True) + EPSILON)
        h = activation.value(y) if wiring.skip is None else h + wiring.skip * activation.value(y)
    return h


def engine_gradients(layers, activation, wired, x, g, threads=2):
    """dL/dW of every layer and h_L, as the engine computes them."""
    with workers(threads) as pool:
        trace, h = [], x
        for layer, wiring in zip(layers, wired, strict=True):
            h_in, z, whole = h, np.empty((len(h), layer.weight.shape[1])), Layer(layer, activation, wiring)
            trace.append((h_in, whole, mlp.forward(whole, h_in, (z, np.empty_like(z)), pool)))
            h = trace[-1][2].h
        last, gradients = h.copy(), []
        for index in reversed(range(len(layers))):
            h_in, layer, passed = trace[index]
            below = np.empty_like(h_in) if index else None
            delta = mlp.backward(layer, passed, Gradients(g, np.empty_like(passed.z), below), pool)
            total = np.zeros_like(layers[index].weight)
            weight_gradient.add_weight_gradient(h_in, delta, total, pool)
            pool.finish()
            gradients.append(total)
            g = below
    return gradients[::-1], last


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("act", ["tanh", "gelu", "relu", "softplus"])
def test_weight_gradient_against_finite_differences(act, name, skip):
    """Central differences of L = sum(g h_L): error below eps^2 |L'''| / 6 + rounding / eps, with eps = 1e-5."""
    activation, rng, wired = ACTIVATIONS[act], np.random.default_rng(11), around(name, skip)
    layers, x = network(rng), rng.standard_normal((BATCH, SIZES[0]))
    g = rng.standard_normal((BATCH, SIZES[-1]))
    gradients, last = engine_gradients(layers, activation, wired, x, g)
    np.testing.assert_allclose(last, outputs(layers, activation, wired, x), rtol=1e-12, atol=1e-12)
    eps = 1e-5
    for layer, gradient in zip(layers, gradients, strict=True):
        for index in np.ndindex(layer.weight.shape):
            kept = layer.weight[index]
            layer.weight[index] = kept + eps
            above = np.sum(g * outputs(layers, activation, wired, x))
            layer.weight[index] = kept - eps
            below = np.sum(g * outputs(layers, activation, wired, x))
            layer.weight[index] = kept
            assert gradient[index] == pytest.approx((above - below) / (2 * eps), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", ["none", *NORMS])
def test_statistics_against_autograd(norm, residual, torch):
    """The saved network repeated in torch, with its norms: every variance to 1e-6 relative in float64."""
    fields = {"residual": residual, "branch_scale": "1/sqrt(2L)"} if residual else {}
    config = ProbeConfig(
        init="he", act="gelu", bias_init="normal:std=0.1", widths=(50, 50, 60, 60), batch=90, draws=1, norm=norm,
        dtype="float64", **fields,
    )  # fmt: skip
    result, arrays = measured(config), first_network(prepare(config))
    weights = [torch.tensor(arrays[f"W{n}"], requires_grad=True) for n in range(1, 5)]
    h, zs, hs = torch.tensor(arrays["x"]), [], []
    for number, weight in enumerate(weights, start=1):
        y = h @ weight + torch.tensor(arrays[f"b{number}"])
        if norm == "layer":
            y = torch.nn.functional.layer_norm(y, y.shape[1:])
        if norm == "batch":
            y = torch.nn.functional.batch_norm(y, None, None, training=True)
        zs.append(y)
        value = torch.nn.functional.gelu(y)
        h = h + value / 8**0.5 if residual and h.shape == value.shape else value
        hs.append(h)
        y.retain_grad()
        h.retain_grad()
    h.backward(torch.tensor(arrays["g"]))
    assert_like_autograd(result.layers, weights, zs, hs)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", ["none", *NORMS])
def test_numbers_do_not_depend_on_threads(norm, residual):
    """Bit for bit: 700 rows of 300 are several blocks of rows and of columns."""
    config = ProbeConfig(
        init="he", act="relu", layers=3, width=300, batch=700, batches=2, draws=1, norm=norm, residual=residual
    )
    one_thread, three_threads = (measured(config, threads=threads) for threads in (1, 3))
    assert one_thread.layers == three_threads.layers


def test_each_batch_has_its_own_statistics():
    """Two batches of 60 are not one of 120. Every unit's z has mean 0 and variance 1 in each, and so together."""
    config = ProbeConfig(
        init="he", act="relu", layers=2, width=40, batch=60, batches=2, draws=1, norm="batch", dtype="float64"
    )
    apart, together = (measured(config.model_copy(update=kind)) for kind in ({}, {"batch": 120, "batches": 1}))
    for result in (apart, together):
        assert result.layers[1].preactivation.variance == pytest.approx(1, abs=1e-4)  # but for epsilon
    assert apart.layers[1].output.variance != pytest.approx(together.layers[1].output.variance, rel=1e-9)


def test_a_norm_of_equal_entries_is_zero_and_no_underflow():
    """Constant weights give every unit the same z, so z is 0 once the mean over units is subtracted."""
    config = ProbeConfig(init="ones", act="tanh", layers=2, width=64, batch=20, draws=1, norm="layer", dtype="float64")
    layer = measured(config).layers[0]
    assert (layer.preactivation.status, layer.output.status) == ("ok", "ok")


def test_branches_that_start_at_zero_hand_on_signal_and_gradient():
    """And dL/dW = h' g phi'(0) is not 0 where phi has a slope there."""
    config = ProbeConfig(
        init="he", act="tanh", layers=4, width=50, batch=40, draws=1, residual=True, zero_init_last=True
    )
    layers = measured(config).layers
    assert {layer.weight.rms for layer in layers} == {0}
    assert len({layer.output.variance for layer in layers}) == 1
    assert len({layer.output_gradient.variance for layer in layers}) == 1
    assert all(layer.weight_gradient.rms > 0 for layer in layers)
    assert not first_network(prepare(config))["W2"].any()


@pytest.mark.parametrize("skip", [{}, {"residual": True, "branch_scale": 0.7}])
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_jacobians_against_finite_differences(norm, skip):
    """The mean square of all entries, end to end. Central differences with a step of 1e-5 have an error of 1e-9."""
    config = ProbeConfig(init="he", act="gelu", layers=3, width=9, batch=2, draws=1, norm=norm, dtype="float64", **skip)
    experiment = prepare(config)
    computed = measure(experiment, 1).end_to_end[-1]
    arrays, wired = first_network(experiment), wirings(config, experiment.sizes)
    layers = [Parameters(arrays[f"W{n}"], arrays[f"b{n}"]) for n in (1, 2, 3)]
    steps = 1e-5 * np.eye(9)
    above, below = (outputs(layers, config.activation, wired, arrays["x"][:1] + sign * steps) for sign in (1, -1))
    squares = np.linalg.svd((above - below) / 2e-5, compute_uv=False) ** 2
    assert computed.mean_square == pytest.approx(squares.mean(), rel=1e-6)
    assert computed.largest**2 == pytest.approx(squares.max(), rel=1e-6)
    assert (computed.theory is None) is not config.is_plain


def test_batch_norm_has_no_jacobian_of_one_sample():
    config = ProbeConfig(init="he", act="gelu", layers=2, width=9, batch=5, draws=1, norm="batch")
    with pytest.raises(ConfigError, match="batch norm mixes the samples"):
        measure(prepare(config), 1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"norm": "bath"}, "norm: 'bath' is not one of none, layer, batch. Did you mean 'batch'?"),
        ({"branch_scale": 0.5}, "branch_scale: is for the branches of a residual net"),
        ({"zero_init_last": True}, "zero_init_last: is for the branches of a residual net"),
        ({"residual": True, "branch_scale": "1/M"}, "branch_scale: '1/M' is not a finite number"),
        ({"residual": True, "branch_scale": "1/(L-10)"}, "branch_scale: '1/(L-10)' is not a finite number"),
        ({"residual": True, "branch_scale": float("inf")}, "branch_scale"),
        ({"residual": True, "branch_scale": True}, "branch_scale"),
    ],
)
def test_bad_values_are_an_error_of_one_line(fields, words):
    with pytest.raises(ConfigError) as caught:
        ProbeConfig(init="he", act="relu", **fields)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_skip_needs_two_equal_widths():
    config = ProbeConfig(init="he", act="relu", widths=(5, 6, 7), input_width=4, residual=True)
    with pytest.raises(ConfigError, match="no layer is as wide as its input"):
        prepare(config)
    config = ProbeConfig(init="he", act="relu", widths=(5, 5, 7), input_width=4, residual=True, branch_scale="1/2L")
    # As written: (1/2) L.
    assert [wiring.skip for wiring in wirings(config, (4, 5, 5, 7))] == [None, 1.5, None]
    assert (
        "in 1 of 3 layers, where widths agree" in measured(config.model_copy(update={"batch": 9})).description.weights
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [("1/sqrt(2L)", 200**-0.5), ("1/sqrt(2*L)", 200**-0.5), ("L", 100), ("2 L", 200), ("0.25", 0.25), (3, 3)],
)
def test_branch_scale_with_the_number_of_layers(text, value):
    config = ProbeConfig(init="he", act="relu", layers=100, residual=True, branch_scale=text)
    assert config.branch_factor == pytest.approx(value, rel=1e-15)


def test_a_result_names_its_norm(initprobe):
    outcome = initprobe(
        "run", "--init", "he", "--act", "relu", "--width", 20, "--batch", 30, "--layers", 8, "--norm", "Layer",
        "--residual", "--branch-scale", "1/sqrt(2L)", "--no-figures",
    )  # fmt: skip
    assert outcome.code == 0
    assert "He normal + relu + layer norm + residual, 8 layers of 20" in outcome.out
    assert "h + 0.25 phi(z)" in outcome.out


def test_norms_count_in_the_memory():
    """With one thread these are dL/dz and dL/dy, a copy by columns, and room to normalise in float64."""
    given = {"layers": 20, "width": 100, "batch": 20_000, "init": "he", "act": "relu"}
    configs = {name: ProbeConfig(norm=name, **given) for name in ("none", *NORMS)}
    costs = {name: cost(config, 1).peak_bytes for name, config in configs.items()}
    rooms = {name: scratch_bytes(config, (100,) * 21, 20_000, 1) for name, config in configs.items()}
    tensor, kernels = 4 * 20_000 * 100, 20 * 3 * 8 * 254**2  # of theory of batch norm: of 254 evenly spaced rows
    for name, copies in (("layer", 2), ("batch", 3)):
        plan = Plan.of([(100, 100)] * 20, PAIRED_ROWS, 20_000, by_batch=name == "batch")
        theory = 4 * plan.held + (name == "batch") * kernels
        more = costs[name] - costs["none"] - (rooms[name] - rooms["none"]) - theory
        assert copies * tensor <= more <= 1.2 * copies * tensor


def test_a_sweep_takes_them_as_fields(tmp_path, initprobe):
    text = "version: 1\nname: s\ndefaults: {init: he, act: relu, width: 20, batch: 20, draws: 1, residual: true}\n"
    axes = "grid: {norm: [none, layer], branch_scale: [0.5, 1/sqrt(2L)]}\n"
    (tmp_path / "s.yaml").write_text(text + axes)
    outcome = initprobe("sweep", tmp_path / "s.yaml", "-o", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "1/sqrt(2L)" in outcome.out
    (tmp_path / "t.yaml").write_text(text + axes.replace("layer", "lair"))
    refused = initprobe("sweep", tmp_path / "t.yaml", "-o", tmp_path / "out")
    assert refused.code == 2
    assert "t.yaml:4: norm: 'lair' is not one of none, layer, batch. Did you mean 'layer'?" in refused.err
