"""Gradients by every parameter against finite differences and torch; SGD in closed form; what training reports."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from sweep_checks import breaches_of

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.losses import LOSSES
from initprobe.activations.norms import EPSILON, NORMS
from initprobe.activations.skips import PLAIN, Wiring
from initprobe.config.probe_config import ProbeConfig
from initprobe.engine.mlp import Layer, Parameters
from initprobe.engine.threads import workers
from initprobe.engine.training import Learner, gradients, step
from initprobe.probe.objective import train
from initprobe.probe.run import run
from initprobe.sweeps.checks import Bound, Check

SURROUNDINGS = {
    "plain": PLAIN,
    "layer norm": Wiring(NORMS["layer"]),
    "batch norm": Wiring(NORMS["batch"]),
    "residual": Wiring(None, skip=0.5),
    "both": Wiring(NORMS["layer"], skip=0.7),
}
SAMPLES, UNITS, CLASSES, DEPTH = 6, 5, 3, 3


@pytest.fixture
def pool():
    with workers(2) as threads:
        yield threads


def learner(pool, wiring=PLAIN, act="tanh", loss="cross-entropy", seed=0):
    rng = np.random.default_rng(seed)
    drawn = [
        Parameters(rng.standard_normal((UNITS, UNITS)) / math.sqrt(UNITS), 0.1 * rng.standard_normal(UNITS))
        for _ in range(DEPTH)
    ]
    readout = rng.standard_normal((UNITS, CLASSES))
    layers = [Layer(weights, ACTIVATIONS[act], wiring) for weights in drawn]
    net = Learner(layers, readout, LOSSES[loss], pool)
    return net, rng.standard_normal((SAMPLES, UNITS)), rng.integers(0, CLASSES, SAMPLES)


def tensors(net, computed):
    """Pairs of a parameter and its gradient."""
    yield net.readout, computed.readout
    for layer, gradient in zip(net.layers, computed.layers, strict=True):
        yield layer.weight, gradient.weight
        yield layer.bias, gradient.bias


def slope(net, x, labels, parameter, place):
    """Richardson's central difference, of order 4: a batch norm of few samples is smooth enough for it."""
    kept, h, slopes = parameter[place], 1e-4, []
    for width in (h, h / 2):
        ends = []
        for shifted in (kept + width, kept - width):
            parameter[place] = shifted
            ends.append(gradients(net, x, labels).loss)
        slopes.append((ends[0] - ends[1]) / (2 * width))
    parameter[place] = kept
    return (4 * slopes[1] - slopes[0]) / 3


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("act", ["tanh", "gelu", "softplus"])
@pytest.mark.parametrize("around", SURROUNDINGS)
def test_every_gradient_is_the_slope_of_the_loss(pool, around, act, loss):
    """The error is h^4 times a fifth derivative, below 1e6 for these sizes, plus rounding over h: 1e-10 each."""
    net, x, labels = learner(pool, SURROUNDINGS[around], act, loss)
    computed = gradients(net, x, labels)
    for parameter, gradient in tensors(net, computed):
        for place in np.ndindex(parameter.shape):
            assert gradient[place] == pytest.approx(slope(net, x, labels, parameter, place), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("around", SURROUNDINGS)
def test_same_gradients_as_autograd(pool, around, torch):
    wiring = SURROUNDINGS[around]
    net, x, labels = learner(pool, wiring)
    computed = gradients(net, x, labels)
    leaves = [
        (torch.tensor(layer.weight, requires_grad=True), torch.tensor(layer.bias, requires_grad=True))
        for layer in net.layers
    ]
    h = torch.tensor(x)
    for weight, bias in leaves:
        z = h @ weight + bias
        if wiring.norm is not None:
            axis = wiring.norm.axis
            z = (z - z.mean(axis, keepdim=True)) / torch.sqrt(z.var(axis, keepdim=True, unbiased=False) + EPSILON)
        h = torch.tanh(z) if wiring.skip is None else h + wiring.skip * torch.tanh(z)
    readout = torch.tensor(net.readout, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(h @ readout, torch.tensor(labels))
    loss.backward()
    assert computed.loss == pytest.approx(loss.item(), rel=1e-12)
    theirs = [readout.grad, *(leaf.grad for pair in leaves for leaf in pair)]
    for (_, ours), grad in zip(tensors(net, computed), theirs, strict=True):
        np.testing.assert_allclose(ours, grad.numpy(), rtol=1e-9, atol=1e-14)


def test_a_step_is_minus_rate_times_gradient(pool):
    net, x, labels = learner(pool)
    before = [parameter.copy() for parameter, _ in tensors(net, gradients(net, x, labels))]
    kept = [gradient.copy() for _, gradient in tensors(net, gradients(net, x, labels))]
    computed = gradients(net, x, labels)
    step(net, computed, 0.3)  # which uses them up
    for old, gradient, (new, _) in zip(before, kept, tensors(net, computed), strict=True):
        np.testing.assert_allclose(new, old - 0.3 * gradient, rtol=1e-12, atol=1e-15)


def test_least_squares_converges_at_the_rate_of_its_hessian(pool):
    """A frozen network under `mse` is linear in the read-out: each residual shrinks by 1 - rate lambda.

    Weights of 0 in the layers would not be frozen, nor would biases that do not reach the loss. So only the read-out is
    stepped here.
    """
    net, x, labels = learner(pool, loss="mse")
    hidden = np.tanh(np.tanh(np.tanh(x @ net.layers[0].weight + net.layers[0].bias) @ net.layers[1].weight
                             + net.layers[1].bias) @ net.layers[2].weight + net.layers[2].bias)  # fmt: skip
    hessian = 2 * hidden.T @ hidden / (SAMPLES * CLASSES)
    best = np.linalg.solve(hessian, 2 * hidden.T @ np.eye(CLASSES)[labels] / (SAMPLES * CLASSES))
    start, rate, steps = net.readout.copy(), 0.5, 20
    for _ in range(steps):
        net.readout[...] -= rate * gradients(net, x, labels).readout
    expected = best + np.linalg.matrix_power(np.eye(UNITS) - rate * hessian, steps) @ (start - best)
    np.testing.assert_allclose(net.readout, expected, rtol=1e-9)


def test_training_stops_at_the_step_where_it_breaks(pool):
    net, x, labels = learner(pool, act="relu")
    course = train(net._replace(), lambda number: (x, labels), 50, 1e200, lambda: None)
    assert course.diverged_at == len(course.losses) > 0
    assert course.final is None
    assert 1 <= course.diverged_layer <= DEPTH + 1


SMALL = {"layers": 4, "width": 60, "batch": 100, "draws": 2}


@pytest.fixture(scope="module")
def trained():
    return run(ProbeConfig(init="he", act="relu", classes=2, train_steps=150, **SMALL))


def test_a_healthy_net_learns(trained):
    training = trained.training
    assert trained.healthy
    assert len(training.losses) == 151
    assert training.final_loss == pytest.approx(np.mean(training.losses[-15:]))
    assert training.final_loss < 0.7 * trained.loss.chance
    assert trained.loss.start_by_draw[0] == training.losses[0]


def test_a_collapsed_net_does_not():
    result = run(ProbeConfig(init="normal:std=0.01", act="tanh", layers=10, width=60, batch=100, train_steps=150))
    assert not result.healthy
    assert result.training.final_loss > 0.95 * result.loss.chance


def test_statistics_after_training_are_those_of_the_trained_net():
    """A rate too small to change a weight gives the same statistics after training as before."""
    result = run(ProbeConfig(init="xavier", act="tanh", train_steps=1, learning_rate=1e-30, **SMALL | {"draws": 1}))
    for before, after in zip(result.layers, result.training.layers, strict=True):
        for tensor in ("weight", "preactivation", "output", "output_gradient", "weight_gradient"):
            assert before.tensor(tensor) == after.tensor(tensor), tensor


def test_statistics_after_training_differ_where_it_learned(trained):
    moved = [
        after.weight.variance / before.weight.variance
        for before, after in zip(trained.layers, trained.training.layers, strict=True)
    ]
    assert all(ratio != 1 for ratio in moved)


def test_losses_do_not_depend_on_the_threads():
    config = ProbeConfig(init="he", act="gelu", layers=3, width=200, batch=300, draws=1, train_steps=10)
    one_thread, two_threads = (run(config, threads=threads).training for threads in (1, 2))
    assert one_thread == two_threads


@pytest.mark.parametrize(
    "fields", [{"norm": "layer"}, {"norm": "batch"}, {"residual": True, "branch_scale": "1/sqrt(2L)"}]
)
def test_norms_and_skips_learn(fields):
    result = run(
        ProbeConfig(init="he", act="gelu", layers=6, width=60, batch=100, draws=1, classes=2, train_steps=200, **fields)
    )
    assert result.training.final_loss < 0.8 * result.loss.chance


def test_divergence_is_reported_with_its_step_and_layer_and_never_as_nan(initprobe):
    outcome = initprobe(
        "run", "--init", "he", "--act", "relu", "--layers", 4, "--width", 40, "--train-steps", 50,
        "--learning-rate", 1e6, "--export-json", "r.json", "-o", "out",
    )  # fmt: skip
    assert outcome.code == 0
    data = json.loads(Path("r.json").read_text(), parse_constant=lambda text: pytest.fail(text))
    training = data["training"]
    assert training["diverged_at"] == len(training["losses"])
    assert (training["final_loss"], training["layers"]) == (None, None)
    assert f"diverged after {training['diverged_at']} step" in outcome.out
    assert "nan" not in outcome.out.lower()


def test_a_check_of_the_final_loss(trained):
    def broken(result, name, **bound):
        return [str(breach) for breach in breaches_of([Check(name, Bound(**bound))], result)]

    assert broken(trained, "training.final_loss", max=2) == []
    assert broken(trained, "loss.start", max=0.1)[0].startswith("loss.start is ")
    wild = run(ProbeConfig(init="he", act="relu", train_steps=50, learning_rate=1e6, **SMALL))
    assert "diverged after step" in broken(wild, "training.final_loss", max=2)[0]
    assert broken(run(ProbeConfig(init="he", act="relu", **SMALL)), "training.final_loss", max=2) == []


def test_a_sweep_trains_checks_and_shows_it(initprobe, tmp_path):
    (tmp_path / "t.yaml").write_text(
        "version: 1\nname: learn\n"
        "defaults: {act: tanh, layers: 10, width: 40, batch: 60, draws: 1, train_steps: 100}\n"
        "grid: {init: [xavier, 'normal:std=0.01']}\n"
        "checks: {training.final_loss: {max: 2.0}}\n"
    )
    outcome = initprobe("check", "t.yaml", "--no-figures")
    assert outcome.code == 1
    assert "training.final_loss" in outcome.err
    table = initprobe("results", "initprobe-out/learn/sweep.db").out
    assert "end" in table.splitlines()[3]
    assert initprobe("results", "initprobe-out/learn/sweep.db", "--columns", "training.final_loss").code == 0
