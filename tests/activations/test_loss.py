"""Losses against finite differences, closed forms and torch; the loss before training against chance."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initprobe.activations.losses import LOSSES
from initprobe.config.probe_config import ProbeConfig
from initprobe.errors import ConfigError, InputError
from initprobe.probe.run import run

SMALL = {"layers": 3, "width": 40, "batch": 60, "draws": 2}


def batch(seed, samples=7, classes=4, scale=1.0):
    rng = np.random.default_rng(seed)
    return scale * rng.standard_normal((samples, classes)), rng.integers(0, classes, samples)


@pytest.mark.parametrize("name", LOSSES)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.0, 1.0, 20.0]))
@settings(max_examples=25, deadline=None)
def test_gradient_is_the_slope_of_the_value(name, seed, scale):
    """Central differences: the error is h^2/6 times the third derivative, below 10, plus rounding over h."""
    logits, labels = batch(seed, scale=scale)
    _, gradient = LOSSES[name].value_and_gradient(logits, labels)
    h = 1e-5
    for place in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[place] = h
        up, down = (LOSSES[name].value_and_gradient(logits + s, labels)[0] for s in (step, -step))
        rounding = np.finfo(float).eps * max(up, down, 1) / h
        assert (up - down) / (2 * h) == pytest.approx(gradient[place], abs=10 * h**2 + 10 * rounding)


def test_cross_entropy_of_what_it_does_not_know_is_ln_k():
    _, labels = batch(0, samples=50, classes=10)
    value, _ = LOSSES["cross-entropy"].value_and_gradient(np.full((50, 10), 3.0), labels)
    assert value == pytest.approx(math.log(10), rel=1e-12)
    assert LOSSES["cross-entropy"].chance(labels, 10) == math.log(10)


def test_chance_of_squared_error_is_the_best_constant():
    """No constant answer has a lower loss, and the shares themselves have the same."""
    _, labels = batch(1, samples=90, classes=3)
    loss = LOSSES["mse"]
    chance = loss.chance(labels, 3)
    shares = np.bincount(labels, minlength=3) / 90
    assert loss.value_and_gradient(np.tile(shares, (90, 1)), labels)[0] == pytest.approx(chance, rel=1e-12)
    for other in np.random.default_rng(2).random((20, 3)):
        assert loss.value_and_gradient(np.tile(other, (90, 1)), labels)[0] > chance


def test_huge_logits_neither_overflow_nor_lose_the_loss():
    logits = np.array([[1e4, 0.0], [0.0, 1e4]])
    value, gradient = LOSSES["cross-entropy"].value_and_gradient(logits, np.array([1, 1]))
    assert value == 5e3  # one sample is right, the other wrong by 1e4
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("name", "theirs"), [("cross-entropy", "cross_entropy"), ("mse", "mse_loss")], ids=["cross-entropy", "mse"]
)
def test_same_as_torch(name, theirs, torch):
    logits, labels = batch(3, samples=20, classes=5)
    value, gradient = LOSSES[name].value_and_gradient(logits, labels)
    x = torch.tensor(logits, requires_grad=True)
    target = torch.tensor(labels)
    if name == "mse":
        target = torch.nn.functional.one_hot(target, 5).to(x.dtype)
    loss = getattr(torch.nn.functional, theirs)(x, target)
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-10, atol=1e-15)


def test_a_collapsed_net_starts_at_chance_and_sends_back_what_the_labels_do():
    """Its logits are 0, so dL/dlogits is (1/K - one-hot)/B, of variance (1 - 1/K)/(K B^2), through V ~ N(0, 1/n)."""
    classes, samples, width = 8, 500, 200
    result = run(
        ProbeConfig(
            init="normal:std=1e-4",
            act="tanh",
            layers=4,
            width=width,
            batch=samples,
            loss="ce",
            classes=classes,
            draws=4,
        )
    )
    assert result.loss.start == pytest.approx(math.log(classes), rel=1e-6)
    assert result.loss.chance_words == "ln 8"
    last = result.layers[-1].loss_output_gradient_variance
    # A row of g is a mean of rows of V less the row of the sample's class. So E g^2 = (1 - 1/K) / (n B^2).
    expected = (1 - 1 / classes) / (width * samples**2)
    # K n entries of V in each of 4 draws, each squared: sd of their mean sqrt(2 / (K n draws)). Five of these.
    assert last == pytest.approx(expected, rel=5 * math.sqrt(2 / (classes * width * 4)))


def test_random_logits_start_above_chance_by_half_their_variance():
    """E[CE] of logits N(0, q), labels independent: ln K + q (1 - 1/K) / 2 + O(q^2)."""
    config = ProbeConfig(init="orthogonal:gain=0.3", act="linear", layers=1, width=300, batch=2000, loss="ce", draws=8)
    result = run(config)
    q = 0.09
    excess = [start - math.log(10) for start in result.loss.start_by_draw]
    standard_error = np.std(excess, ddof=1) / math.sqrt(len(excess))
    assert np.mean(excess) == pytest.approx(q * 0.9 / 2, abs=5 * standard_error + q**2)


def test_the_random_start_is_untouched_by_a_loss():
    plain, lossy = (run(ProbeConfig(init="he", act="relu", **SMALL, loss=loss)) for loss in ("random", "mse"))
    for before, after in zip(plain.layers, lossy.layers, strict=True):
        assert before.output_gradient == after.output_gradient
        assert before.loss_output_gradient_variance is None
        assert after.loss_output_gradient_variance > 0


def test_a_loss_beyond_the_float_range_is_null_and_json_has_no_nan():
    result = run(ProbeConfig(init="normal:std=1e12", act="relu", **SMALL, loss="ce"))
    assert result.loss.start is None
    json.loads(result.to_json(), parse_constant=lambda text: pytest.fail(text))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"classes": 3}, "for a loss"),
        ({"loss": "ce", "labels": "y.csv"}, "a random linear teacher labels"),
        ({"loss": "mes"}, "Did you mean 'mse'"),
        ({"loss": "ce", "classes": 1}, "classes"),
        ({"train_steps": -1}, "train_steps"),
        ({"learning_rate": 0}, "learning_rate"),
    ],
)
def test_impossible_settings_are_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        ProbeConfig(init="he", act="relu", **fields)


@pytest.fixture
def data(tmp_path):
    """A table of 30 samples, two features, as x.csv."""
    np.savetxt(tmp_path / "x.csv", np.random.default_rng(0).standard_normal((30, 2)), delimiter=",")
    return tmp_path


def labelled(folder, labels, **fields):
    np.savetxt(folder / "y.csv", labels, fmt="%g")
    usual = {"init": "he", "act": "relu", "layers": 2, "width": 10, "loss": "ce"}
    return ProbeConfig(**usual | fields, input=folder / "x.csv", labels=folder / "y.csv")


@pytest.mark.parametrize(
    ("labels", "fields", "words"),
    [
        (np.arange(29) % 3, {}, "29 labels, but the input has 30 rows"),
        (np.arange(30) - 1, {}, "row 1: -1"),
        (np.full(30, 1.5), {}, "row 1: 1.5"),
        (np.zeros(30), {}, "a single class"),
        (np.arange(30) % 5, {"classes": 3}, "has a class 4"),
    ],
)
def test_labels_that_do_not_fit(data, labels, fields, words):
    with pytest.raises((ConfigError, InputError), match=words):
        run(labelled(data, labels, **fields))


def test_labels_decide_the_classes_and_follow_the_rows_that_are_chosen(data):
    """A linear network on x = label: a random half of the rows still has its own labels."""
    labels = np.arange(30) % 3
    np.savetxt(data / "x.csv", np.eye(3)[labels], delimiter=",")
    config = labelled(data, labels, act="linear", batch=15, train_steps=300, learning_rate=0.5, draws=1)
    result = run(config)
    assert (result.loss.classes, result.loss.chance_words) == (3, "ln 3")
    assert result.training.final_loss < 0.05


def test_labels_beside_the_inputs_in_one_archive(data):
    x = np.random.default_rng(0).standard_normal((30, 2))
    np.savez(data / "d.npz", x=x, y=np.arange(30) % 4)
    config = ProbeConfig(
        init="he", act="relu", layers=2, width=10, input=data / "d.npz", labels=data / "d.npz", loss="ce"
    )
    assert run(config).loss.classes == 4


def test_the_command_sets_the_loss_beside_chance(initprobe):
    outcome = initprobe(
        "run", "--init", "xavier", "--act", "tanh", "--layers", 3, "--width", 30, "--loss", "cross-entropy",
        "--classes", 4, "--no-figures",
    )  # fmt: skip
    assert outcome.code == 0
    assert "chance ln 4 = 1.386" in outcome.out
    assert "dloss/dh dloss/dW" in outcome.out
    assert "at the start (mean of 4 draws), chance" in outcome.out
    assert max(map(len, outcome.out.split("\n\n")[1].splitlines())) <= 80


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--classes", 3), "--classes"),
        (("--loss", "crossentrop"), "cross-entropy"),
        (("--learning-rate", "nan", "--optimizer", "sgd"), "--learning-rate: must be a finite number"),
        (("--lr", "0.1"), "--learning-rate: is for a step; give --optimizer or --train-steps too"),
        (("--loss", "mse", "--labels", "nowhere.npy"), "--labels"),
    ],
)
def test_the_command_names_the_option(initprobe, options, words):
    outcome = initprobe("run", "--init", "he", "--act", "relu", *options)
    assert outcome.code == 2
    assert words in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
