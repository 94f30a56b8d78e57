"""Residual branches of several layers: gradients, theory against simulation, refusals, and training."""

import itertools
import json
import math

import numpy as np
import pytest
from autograd import assert_like_autograd
from infinite_width import predict_norm_and_skip

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.losses import LOSSES
from initprobe.activations.norms import EPSILON, NORMS
from initprobe.activations.skips import wirings
from initprobe.config.probe_config import ProbeConfig
from initprobe.engine import training
from initprobe.engine.mlp import Parameters
from initprobe.engine.threads import workers
from initprobe.engine.training import Learner
from initprobe.errors import ConfigError
from initprobe.formatting import short
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.moments import moments
from initprobe.probe.experiment import prepare
from initprobe.probe.memory_parts import segments
from initprobe.probe.networks import first_network, layers_of
from initprobe.probe.run import measured, run
from initprobe.results.run import ProbeResult
from initprobe.studies.spectrum import measure

TENSORS = ("preactivation", "output", "output_gradient", "preactivation_gradient", "weight_gradient")


def config_of(**fields):
    settings = {"init": "he", "act": "relu", "residual": True, "block": 2, "batch": 60, "draws": 2}
    return ProbeConfig(**settings | fields)


def normalised(y, name):
    axis = NORMS[name].axis
    return (y - y.mean(axis, keepdims=True)) / np.sqrt(y.var(axis, keepdims=True) + EPSILON)


def outputs(arrays, x, act, sizes, block, scale, norm):
    """The definition in NumPy: branches of `block` layers where they end as wide as they begin."""
    h, phi = x, ACTIVATIONS[act].value
    for first in range(0, len(sizes) - 1, block):
        skipped, given = sizes[first] == sizes[first + block], h
        for number in range(first + 1, first + block + 1):
            y = h @ arrays[f"W{number}"] + arrays[f"b{number}"]
            bare = skipped and block > 1 and number == first + block
            h = y if bare else phi(y if norm == "none" else normalised(y, norm))
        h = given + scale * h if skipped else h
    return h


NETS = [
    {"widths": (6, 7, 7, 7), "block": 2},  # 6 -> 6 -> 7 is no branch
    {"widths": (9, 6, 4, 6), "block": 2},
    {"widths": (5, 4, 6, 6, 6, 6), "block": 3, "norm": "layer"},
    {"widths": (6, 6, 6, 6), "block": 2, "norm": "batch"},
    {"widths": (6, 6, 6, 6), "block": 4},
]


@pytest.mark.parametrize("act", ["tanh", "softplus"])
@pytest.mark.parametrize("fields", NETS, ids=str)
def test_gradients_against_finite_differences(fields, act):
    """Gradients of the loss by every weight and bias: central differences of step 1e-5 have an error of 1e-8."""
    config = config_of(
        act=act, input_width=6, batch=8, dtype="float64", branch_scale=0.7, bias_init="normal:std=0.3", **fields
    )
    experiment = prepare(config)
    arrays, count = first_network(experiment), len(config.layer_widths)
    rng = np.random.default_rng(3)
    readout, labels = rng.standard_normal((experiment.sizes[-1], 3)), rng.integers(0, 3, 8)
    loss = LOSSES["cross-entropy"]

    def value():
        args = act, experiment.sizes, config.block, 0.7, config.norm
        return loss.value_and_gradient(outputs(arrays, arrays["x"], *args) @ readout, labels)[0]

    layers = [Parameters(arrays[f"W{n}"], arrays[f"b{n}"]) for n in range(1, count + 1)]
    with workers(2) as pool:
        learner = Learner(layers_of(experiment, layers), readout, loss, pool)
        computed = training.gradients(learner, arrays["x"], labels)
    assert computed.loss == pytest.approx(value(), rel=1e-12)
    for layer, gradient in zip(layers, computed.layers, strict=True):
        for tensor, slopes in ((layer.weight, gradient.weight), (layer.bias, gradient.bias)):
            for index in itertools.islice(np.ndindex(tensor.shape), 0, None, 5):
                kept, ends = tensor[index], []
                for step in (1e-5, -1e-5):
                    tensor[index] = kept + step
                    ends.append(value())
                tensor[index] = kept
                assert slopes[index] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("norm", ["none", *NORMS])
@pytest.mark.parametrize("widths", [(50, 50, 50, 50), (50, 30, 50, 20, 60, 20), (40, 50, 30, 50)])
def test_statistics_against_autograd(torch, widths, norm, zero):
    """The saved network repeated in torch, with its norms: every variance to 1e-6 relative in float64."""
    config = config_of(
        act="gelu", bias_init="normal:std=0.1", widths=widths, batch=90, draws=1, norm=norm, dtype="float64",
        branch_scale=0.4, zero_init_last=zero, input_width=50,
    )  # fmt: skip
    result, arrays = measured(config), first_network(prepare(config))
    sizes, count = (50, *widths), len(widths)
    weights = [torch.tensor(arrays[f"W{n}"], requires_grad=True) for n in range(1, count + 1)]
    h, zs, hs = torch.tensor(arrays["x"]), [], []
    for number, weight in enumerate(weights, start=1):
        first, skipped = (number - 1) // 2 * 2, sizes[(number - 1) // 2 * 2] == sizes[(number - 1) // 2 * 2 + 2]
        stream, ends = (h, False) if number - 1 == first else (stream, skipped)  # noqa: F821
        y = h @ weight + torch.tensor(arrays[f"b{number}"])
        if norm == "layer" and not ends:
            y = torch.nn.functional.layer_norm(y, y.shape[1:])
        if norm == "batch" and not ends:
            y = torch.nn.functional.batch_norm(y, None, None, training=True)
        h = stream + 0.4 * y if ends else torch.nn.functional.gelu(y)
        zs.append(y)
        hs.append(h)
        y.retain_grad()
        h.retain_grad()
    h.backward(torch.tensor(arrays["g"]))
    assert_like_autograd(result.layers, weights, zs, hs)


WIDTH, BATCH, DRAWS, LAYERS = 300, 200, 20, 6
# As in test_residual: first-order biases of 5/n a layer, and standard errors of a mean over the draws.
FIRST_ORDER, SURE = 5, 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"block": 3, "branch_scale": "1/sqrt(2L)"},
        {"bias_init": "normal:std=0.2", "branch_scale": 0.5},
        {"bias_init": "uniform:low=0,high=0.3", "branch_scale": 0.5},
        {"norm": "layer"},
        {"norm": "batch"},
        {"norm": "batch", "block": 3, "branch_scale": 0.5},
        {"widths": (300, 300, 200, 300, 300, 200)},
        {"init": "orthogonal"},
    ],
    ids=str,
)
@pytest.mark.parametrize("act", ["relu", "tanh", "softplus"])
def test_every_variance_is_as_predicted(act, fields):
    shape = {} if "widths" in fields else {"layers": LAYERS, "width": WIDTH}
    init = {"relu": "he", "tanh": "xavier", "softplus": "lecun"}[act]
    result = measured(config_of(**{"init": init, "act": act, "batch": BATCH, "draws": DRAWS, **shape, **fields}))
    inverse = 1 / 200 + (1 / BATCH if "norm" in fields else 0)
    for layer, tensor in itertools.product(result.layers, TENSORS):
        values = np.array(layer.tensor(tensor).variance_by_draw)
        predicted = getattr(layer.theory, f"{tensor}_variance")
        error = values.std(ddof=1) / values.mean() / math.sqrt(DRAWS)
        gap = abs(math.log(values.mean() / predicted))
        assert gap < SURE * error + FIRST_ORDER * LAYERS * inverse, (layer.layer, tensor, gap)


def test_the_stream_in_closed_form():
    """ReLU, He: every branch adds `s^2 q`, q = 2 E[phi^2] = 2 S; a gradient is multiplied by `1 + s^2`."""
    scale, blocks = 0.6, 4
    config = config_of(width=500, layers=2 * blocks, branch_scale=scale)
    sizes = (500,) * (2 * blocks + 1)
    rules = [Layer(500, 500, weight_variance=2 / 500)] * (2 * blocks)
    computed = predict_norm_and_skip(config.activation, rules, wirings(config, sizes), InputMoments.noise(), 10**9)
    square = 1.0
    for inner, last in zip(computed[::2], computed[1::2], strict=True):
        q = 2 * square
        assert inner.preactivation_variance == pytest.approx(q, rel=1e-9)
        assert inner.output_variance == pytest.approx(float(moments(config.activation, q).variance), rel=1e-9)
        assert last.preactivation_variance == pytest.approx(2 * q / 2, rel=1e-9)
        square += scale**2 * q
        assert last.output_variance == pytest.approx(square, rel=1e-9)
    stream = [last.output_gradient_variance for last in computed[1::2]]
    assert stream == pytest.approx([(1 + 2 * scale**2 * 1.0) ** power for power in range(blocks - 1, -1, -1)], rel=1e-9)


@pytest.mark.parametrize("act", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_zero_initialised_branches_pass_all_on_and_then_open(act, norm):
    """Fixup, arXiv:1901.09321: an identity, also for phi(0) != 0; the last layer learns first, then the others."""
    fields = {"act": act, "norm": norm, "layers": 8, "width": 40, "zero_init_last": True, "classes": 3}
    result = measured(config_of(train_steps=60, **fields))
    assert result.healthy
    inside, ends = result.layers[::2], result.layers[1::2]
    assert result.stream == ends
    assert len({layer.output.variance for layer in ends}) == 1
    assert {layer.output_gradient.variance for layer in ends} == {ends[-1].output_gradient.variance}
    assert {(layer.weight_gradient.rms, layer.output_gradient.rms) for layer in inside} == {(0, 0)}
    assert {layer.status for layer in result.layers} == {"ok"}
    assert all(layer.weight.rms == 0 and layer.weight_gradient.rms > 0 for layer in ends)
    after = result.training.layers
    assert all(layer.weight.rms > 0 for layer in after)
    assert all(new.weight_gradient.rms > 0 for new in after)
    assert result.training.final_loss < 0.9 * result.loss.chance


@pytest.mark.parametrize("fields", [{"block": 1}, {"block": 2}, {"block": 2, "norm": "layer"}, {"block": 3}], ids=str)
def test_scales_of_zero_are_learned(fields):
    """ReZero, arXiv:2003.04887: an identity at the start; the scales learn first, then all other parameters."""
    config = config_of(layers=6, width=40, branch_scale=0, draws=1, train_steps=80, classes=3, **fields)
    result = measured(config)
    assert result.healthy and "its scale learned in training" in result.description.weights
    assert len({layer.output.variance for layer in result.stream}) == 1
    assert len({layer.output_gradient.variance for layer in result.stream}) == 1
    assert all(layer.weight_gradient.rms == 0 for layer in result.layers)
    after = result.training.layers
    assert all(layer.weight_gradient.rms > 0 for layer in after)
    stream = [layer.output.variance for layer in after if not layer.inside_branch]
    assert len(set(stream)) == len(stream)
    assert result.training.final_loss < 0.9 * result.loss.chance


def test_the_gradient_of_a_scale_against_finite_differences():
    rng = np.random.default_rng(5)
    config = config_of(act="tanh", layers=4, width=6, batch=8, dtype="float64", branch_scale=0)
    experiment = prepare(config)
    arrays = first_network(experiment)
    layers = [Parameters(arrays[f"W{n}"], arrays[f"b{n}"]) for n in range(1, 5)]
    readout, labels, loss = rng.standard_normal((6, 3)), rng.integers(0, 3, 8), LOSSES["cross-entropy"]

    def computed(*scales):
        around = layers_of(experiment, layers)
        for index, scale in zip((1, 3), scales, strict=True):
            around[index] = around[index]._replace(wiring=around[index].wiring._replace(skip=scale))
        with workers(1) as pool:
            learner = Learner(around, readout, loss, pool, frozenset({1, 3}))
            return training.gradients(learner, arrays["x"], labels)

    for scales in ((0.0, 0.0), (0.3, -0.2)):
        (_, first, _, second), step = computed(*scales).layers, 1e-6
        for slope, ends in ((first.scale, (step, 0)), (second.scale, (0, step))):
            above, below = (
                computed(*(s + sign * e for s, e in zip(scales, ends, strict=True))).loss for sign in (1, -1)
            )
            assert slope == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=1e-8)


def test_two_ways_to_shut_a_branch_are_one_too_many():
    with pytest.raises(ConfigError, match="neither would ever learn; give one of the two"):
        config_of(branch_scale=0, zero_init_last=True, layers=2)


def test_branches_of_one_layer_and_relu_stay_shut_and_get_the_fix():
    result = run(config_of(block=1, layers=6, width=40, zero_init_last=True, train_steps=20, classes=3))
    finding = next(finding for finding in result.diagnosis if finding.rule == "dead-layer")
    assert "--zero-init-last" in finding.fix and "--block 2" in finding.fix
    assert {layer.weight.rms for layer in result.training.layers} == {0}


def test_the_scale_of_fixup_for_the_other_layers_is_a_gain():
    """L^(-1/(2m-2)), L branches of m layers: for m = 2 `he:gain=1/sqrt(L)`; std of the first layers by chance 1%."""
    result = measured(config_of(init="he:gain=1/sqrt(8)", layers=16, width=100, zero_init_last=True))
    for layer in result.layers[::2]:
        assert layer.weight.std == pytest.approx(math.sqrt(2 / 100) * 8**-0.5, rel=5 / math.sqrt(2 * 2 * 10**4))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"block": 2, "residual": False}, "block: is for the branches of a residual net; give `residual` too"),
        ({"block": 2, "layers": 7}, "block: 7 layers cannot be cut into blocks of 2; give a multiple of 2 layers"),
        ({"block": 4, "widths": (5, 5, 5)}, "block: 3 layers cannot be cut into blocks of 4"),
        ({"block": 0}, "block: must be at least 1"),
        ({"block": 2.5}, "block: "),
        ({"block": True}, "block: "),
    ],
)
def test_bad_values_are_an_error_of_one_line(fields, words):
    with pytest.raises(ConfigError) as caught:
        config_of(**fields)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_branch_ends_as_wide_as_it_begins():
    config = config_of(widths=(5, 6, 5, 7), input_width=4)
    with pytest.raises(ConfigError, match="no block of 2 layers is as wide as its input"):
        prepare(config)
    config = config_of(widths=(9, 4, 5, 7), input_width=4)
    assert [(wiring.skip, wiring.place, wiring.span) for wiring in wirings(config, (4, 9, 4, 5, 7))] == [
        (None, 0, 2), (1.0, 1, 2), (None, 0, 1), (None, 0, 1),
    ]  # fmt: skip
    result = measured(config)
    assert "h + z2, z2 = phi(h W1) W2 in 1 of 2 blocks, where widths agree" in result.description.weights
    assert [layer.inside_branch for layer in result.layers] == [True, False, False, False]


def test_spectrum_refuses_them_in_one_line():
    with pytest.raises(ConfigError, match="block: Jacobians are measured per layer"):
        measure(prepare(config_of(layers=2, width=9)), 1)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_segments_give_the_same_bits(monkeypatch, norm):
    """Layers are computed again on the backward pass; a branch lies in one segment, whatever length is best."""
    config = config_of(layers=18, width=20, block=3, branch_scale=0.5, norm=norm)
    whole = measured(config)
    monkeypatch.setattr("initprobe.probe.memory_parts.KEPT_BYTES", 1000)
    for batch in (60, 4):
        experiment = prepare(config.model_copy(update={"batch": batch}))
        assert all(len(segment) % 3 == 0 for segment in segments(config, experiment.sizes, batch))
    again = measured(config)
    assert len(segments(config, experiment.sizes, prepare(config).batch)) > 1
    assert again.layers == whole.layers


@pytest.mark.parametrize("batches", [1, 2])
def test_a_gradient_is_carried_in_one_unit_round_a_branch(tmp_path, batches):
    """The variance grows 160-fold per branch, to 1e66, which is beyond float32 but not float64."""
    config = config_of(layers=60, width=50, batch=30, draws=1, init="normal:std=0.6")
    np.savez(tmp_path / "w.npz", **first_network(prepare(config)))
    given = {"init": None, "weights": tmp_path / "w.npz", "draws": 1, "batch": 30 // batches, "batches": batches}
    single, double = (measured(config_of(dtype=dtype, **given)) for dtype in ("float32", "float64"))
    assert double.layers[1].output_gradient.variance_log10 > 60
    for single_layer, double_layer in zip(single.layers, double.layers, strict=True):
        for tensor in ("output_gradient", "weight_gradient"):
            computed, true = (layer.tensor(tensor).variance_log10 for layer in (single_layer, double_layer))
            assert computed == pytest.approx(true, abs=1e-4)


def test_table_and_json_of_a_shut_branch(initprobe, tmp_path):
    words = "run --init he --act relu --layers 4 --width 20 --batch 30 --residual --block 2 --zero-init-last"
    outcome = initprobe(*words.split(), "--no-figures", "--export-json", tmp_path / "r.json")
    assert outcome.code == 0
    assert outcome.out.startswith("SIGNAL SURVIVES")
    assert "He normal + relu + residual blocks of 2, 4 layers of 20" in outcome.out
    assert "h + z2, z2 = phi(h W1) W2 from W2 = 0" in outcome.out
    numbers = [row.split()[0] for row in outcome.out.split("\n\n")[1].splitlines()]
    assert numbers == ["(branch)", "layer", "(1)", "2", "(3)", "4"]
    assert "from layer 2 to 4: x1.00" in outcome.out
    result = ProbeResult.from_json((tmp_path / "r.json").read_text())
    assert result.config["block"] == 2
    assert "block" not in measured(config_of(block=1, layers=1, width=5)).config
    shown = initprobe("show", tmp_path / "r.json")
    assert "(branch)" in shown.out
    figure = result.figure("depth")
    assert list(figure.axes[0].lines[0].get_xdata()) == [2, 4]


def test_a_sweep_takes_it_as_a_field(initprobe, tmp_path):
    (tmp_path / "s.yaml").write_text(
        "version: 1\nname: s\n"
        "defaults: {init: he, act: relu, width: 20, batch: 20, draws: 1, layers: 6, residual: true}\n"
        "grid: {block: [1, 2, 3], branch_scale: [0.5]}\n"
        "checks: {output.variance_per_layer: [{max: 1.1, where: {block: 1}}, {max: 2, where: {block: 2}}]}\n"
    )
    outcome = initprobe("sweep", tmp_path / "s.yaml", "-o", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    checked = initprobe("check", tmp_path / "s.yaml", "-o", tmp_path / "out", "--no-figures")
    assert checked.code == 1, checked.err
    assert "1 of 2 checks do not hold; the first: block=1: output.variance_per_layer is" in checked.err
    (tmp_path / "t.yaml").write_text((tmp_path / "s.yaml").read_text().replace("[1, 2, 3]", "[1, 4]"))
    refused = initprobe("sweep", tmp_path / "t.yaml", "-o", tmp_path / "out")
    assert refused.code == 2
    assert "block: 6 layers cannot be cut into blocks of 4" in refused.err


def test_every_column_of_a_table_is_of_the_stream(initprobe, tmp_path):
    (tmp_path / "s.yaml").write_text(
        "version: 1\nname: s\n"
        "defaults: {init: he, act: relu, width: 20, batch: 20, draws: 1, layers: 4, residual: true, block: 2}\n"
        "grid: {branch_scale: [0.01]}\n"
    )
    where = "-o", tmp_path / "out", "--no-figures", "--export-json", tmp_path / "r.json"
    initprobe("sweep", tmp_path / "s.yaml", *where)
    stream = json.loads((tmp_path / "r.json").read_text())["runs"][0]["result"]["layers"][1::2]
    names = "output_gradient.variance", "output_gradient.std", "output.std"
    row = initprobe("results", tmp_path / "out", "--columns", ",".join(names)).out.splitlines()[-1].split()
    first, last = stream[0], stream[-1]
    variance, stds = first["output_gradient"]["variance"], (first["output_gradient"]["std"], last["output"]["std"])
    assert row == [short(variance), *(f"{std:.4g}" for std in stds)]


def test_weights_saved_measure_the_same(initprobe, tmp_path):
    words = "run --act gelu --residual --block 2 --norm layer --draws 1 --no-figures --export-json -"
    made = "--init he --layers 4 --width 20 --batch 30 --save-weights"
    first = initprobe(*words.split(), *made.split(), tmp_path / "w.npz")
    again = initprobe(*words.split(), "--weights", tmp_path / "w.npz")
    ours, theirs = (json.loads(outcome.out)["layers"] for outcome in (first, again))
    for a, b in zip(ours, theirs, strict=True):
        assert all(a[tensor]["variance"] == b[tensor]["variance"] for tensor in TENSORS)
