"""Initializers fitted to data: gradients, convergence, determinism; and those that theory tunes to the activation."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.config.probe_config import ProbeConfig
from initprobe.engine.autoencoder import Coder, _Steepest
from initprobe.engine.data_fit import FitContext, fit_layer
from initprobe.engine.fitted import outputs
from initprobe.engine.mlp import Layer, Parameters
from initprobe.engine.streams import Purpose, Streams
from initprobe.engine.threads import workers
from initprobe.errors import ConfigError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.initializers.data_driven import autoencoder, lsuv
from initprobe.initializers.size_rules import RULES
from initprobe.meanfield.gain import gain_row
from initprobe.meanfield.phase import critical_line
from initprobe.probe.experiment import prepare
from initprobe.probe.networks import first_network
from initprobe.probe.run import run
from initprobe.reports.figures.run import draw, kinds
from initprobe.reports.figures.style import render

DIGITS = {"layers": 5, "width": 64, "draws": 2}


@pytest.fixture
def pool():
    with workers(2) as threads:
        yield threads


def coder(pool, fit, act="tanh", samples=8, features=5, units=4, seed=0):
    rng = np.random.default_rng(seed)
    weight, x = rng.standard_normal((features, units)), rng.standard_normal((samples, features))
    bias = 0.1 * rng.standard_normal(units)
    return Coder(fit, Layer(Parameters(weight, bias), ACTIVATIONS[act]), x, np.random.default_rng(seed), pool)


def squared_error(coder, x):
    """The loss of a step: summed over features, averaged over samples."""
    code = coder.activation.value(x @ coder.weight + coder.bias) - coder.code_mean
    return float(np.sum((code @ coder.decoder + coder.offset - x) ** 2)) / len(x)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("act", ["tanh", "sigmoid", "gelu", "linear"])
def test_a_step_goes_down_the_gradient(pool, act, tied):
    """Every parameter moves by -rate times the slope of the loss, to h^2 and rounding / h of central differences."""
    fit = autoencoder(epochs=1, batch=8, tied=tied).fit
    h = 1e-6
    names = ["weight", "bias", "offset"] + ([] if tied else ["decoder"])
    stepped = coder(pool, fit, act)
    rates, rates_of = [], stepped.rates
    stepped.rates = lambda *arguments: rates.append(rates_of(*arguments)) or rates[-1]
    assert stepped.step(stepped.x)
    rate = {"weight": rates[0].weight, "decoder": rates[0].weight, "bias": rates[0].bias, "offset": rates[0].offset}
    for name in names:
        still = coder(pool, fit, act)
        parameter = getattr(still, name)
        for place in np.ndindex(parameter.shape):
            kept, ends = parameter[place], []
            for shifted in (kept + h, kept - h):
                parameter[place] = shifted
                ends.append(squared_error(still, still.x))
            parameter[place] = kept
            slope = (ends[0] - ends[1]) / (2 * h)
            moved = (getattr(stepped, name)[place] - kept) / -rate[name]
            assert moved == pytest.approx(slope, rel=1e-6, abs=1e-6), (name, place)


def test_the_loss_is_that_of_the_formula(pool):
    fitted = coder(pool, autoencoder().fit)
    assert fitted.loss() == pytest.approx(squared_error(fitted, fitted.x) / fitted.x.shape[1], rel=1e-12)


def test_about_the_means_is_the_same_layer(pool):
    """The centred network has the outputs of the drawn layer, and reconstructs the mean from the start."""
    rng = np.random.default_rng(0)
    drawn, x = Parameters(rng.standard_normal((5, 4)), rng.standard_normal(4)), rng.standard_normal((8, 5)) + 3
    layer = Layer(drawn, ACTIVATIONS["sigmoid"])
    started = Coder(autoencoder().fit, layer, x, rng, pool)
    np.testing.assert_allclose(started._coded(started.x)[1], outputs(layer, x, pool), rtol=1e-12)
    np.testing.assert_allclose(started.layer().bias, drawn.bias, rtol=1e-12)
    code = started._coded(started.x)[1] - started.code_mean
    np.testing.assert_allclose((code @ started.decoder + started.offset - started.x).mean(axis=0), 0, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 30), columns=st.integers(1, 10))
@settings(max_examples=30, deadline=None)
def test_the_largest_eigenvalue_from_below(seed, rows, columns):
    matrix = np.random.default_rng(seed).standard_normal((rows, columns))
    exact = float(np.linalg.eigvalsh(matrix.T @ matrix / rows)[-1])
    steepest = _Steepest()
    first = steepest.of(matrix)
    assert 0.5 * exact < first <= exact * (1 + 1e-9)
    assert first * (1 - 1e-9) <= steepest.of(matrix) <= exact * (1 + 1e-9)


def test_a_linear_autoencoder_finds_the_principal_subspace():
    """Untied, linear, narrow: the best loss is the variance outside the leading components (Baldi & Hornik 1989)."""
    rng = np.random.default_rng(0)
    stds = np.array([3.0, 2.0, 0.3, 0.2, 0.1])
    x = (rng.standard_normal((400, 5)) * stds).astype(np.float64)
    x -= x.mean(axis=0)
    best = float(np.linalg.eigvalsh(np.cov(x.T, bias=True))[:3].sum()) / 5
    with workers(1) as pool:
        weight = rng.standard_normal((5, 2)) * 0.5
        fit = autoencoder(epochs=3000, batch=400, tied=False, learning_rate=1).fit
        layer = Layer(Parameters(weight, None), ACTIVATIONS["linear"])
        _, report = fit_layer(fit, layer, x, FitContext(1, Streams(0, 0), pool, lambda: None))
    assert best <= report.after == pytest.approx(best, rel=1e-3)
    assert report.baseline == pytest.approx(float(np.var(x, axis=0).mean()))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    sklearn = pytest.importorskip("sklearn.datasets")
    path = tmp_path_factory.mktemp("data") / "digits.npy"
    np.save(path, sklearn.load_digits().data)
    return path


@pytest.mark.parametrize(
    ("act", "options"),
    [
        ("tanh", ""),
        ("relu", ""),
        ("sigmoid", ":tied=false"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("sigmoid", ""), ("tanh", ":tied=false"))),
        pytest.param("relu", ":tied=false", marks=pytest.mark.slow),
        pytest.param("tanh", ":noise=0.3", marks=pytest.mark.slow),
        ("relu", ":noise=0.3"),  # not sigmoid: next to its outputs of about 1/2 a masked entry is far off the scale
    ],
)
def test_on_digits_the_loss_falls_clearly_at_every_layer(digits, act, options):
    result = run(ProbeConfig(init=f"autoencoder{options}", act=act, input=digits, standardize=True, **DIGITS))
    for layer in result.layers:
        assert layer.fitting.after < 0.5 * layer.fitting.before, layer.layer
    assert result.layers[0].fitting.after < 0.5 * result.layers[0].fitting.baseline
    assert result.layers[0].fitting.iterations == 10 * (1797 // 100)
    assert result.theory_note == "no mean-field prediction: autoencoder weights depend on the data"


def test_the_loss_falls_on_noise_of_any_scale():
    """The rate is in units of the curvature. So a linear network learns input of a thousand times the size as well."""
    small, large = (
        run(ProbeConfig(init="autoencoder", act="linear", layers=2, width=50, draws=1, input=f"gaussian:std={std}"))
        for std in (1, 1000)
    )
    ratios = [r.layers[0].fitting.after / r.layers[0].fitting.baseline for r in (small, large)]
    assert ratios[1] < 0.5 and ratios[0] < 0.5


@pytest.mark.parametrize("init", ["autoencoder:noise=0.2", "autoencoder:tied=false", "lsuv:tol=0.001,center=true"])
def test_same_bits_at_any_thread_count_and_again(init):
    config = ProbeConfig(init=init, act="tanh", layers=3, width=150, batch=300, draws=2)
    one_thread, two_threads, again = (run(config, threads=threads).layers for threads in (1, 2, 2))
    assert one_thread == two_threads == again


def test_fitted_draws_differ():
    result = run(ProbeConfig(init="autoencoder", act="tanh", layers=2, width=30, batch=100, draws=2))
    assert len(set(result.layers[1].output.variance_by_draw)) == 2


def test_divergence_names_layer_and_step(initprobe):
    outcome = initprobe(
        "run", "--init", "autoencoder:learning_rate=1e4", "--act", "relu", "--layers", 3, "--width", 30, "--no-figures"
    )
    assert outcome.code == 2
    assert "layer 1 diverged at step " in outcome.err and "learning_rate" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert "nan" not in (outcome.out + outcome.err).lower()


@pytest.mark.parametrize("act", ["tanh", "relu", "gelu", "sigmoid"])
def test_lsuv_brings_z_to_variance_1(act):
    result = run(ProbeConfig(init="lsuv:tol=1e-4", act=act, layers=8, width=60, batch=200, draws=2))
    for layer in result.layers:
        assert layer.fitting.converged
        assert layer.fitting.after == pytest.approx(1, abs=1e-4)
        # What was fitted is what is measured: the same batch, summed in another order in float32.
        assert layer.preactivation.variance == pytest.approx(layer.fitting.after, rel=1e-4)
        assert layer.fitting.iterations <= 2  # z is linear in W


@pytest.mark.parametrize(
    "fields",
    [
        {"init": "autoencoder:learning_rate=30", "act": "linear", "layers": 30, "bias_init": "constant:value=-5"},
        {"init": "autoencoder:base=zeros", "act": "relu6", "train_steps": 3, "learning_rate": 10},
        {"init": "lsuv:of=output,center=true", "act": "relu6", "layers": 5, "input": "gaussian:std=1e-30"},
    ],
)
def test_odd_nets_are_reported_or_refused_and_drawn(fields):
    """Constant and tiny input, where warnings were once raised and plots were empty."""
    try:
        result = run(ProbeConfig(**{"layers": 1, "width": 3, "batch": 3, "input": "gaussian:std=0"} | fields))
    except ConfigError as error:
        assert "diverged at step" in str(error)
        return
    for kind in kinds(result):
        render(draw(result, kind), "png")


def test_lsuv_keeps_rows_orthogonal():
    """Only the scale moves: W'W stays a multiple of I."""
    arrays = first_network(prepare(ProbeConfig(init="lsuv", act="relu", layers=3, width=40, batch=100, draws=1)))
    for number in (1, 2, 3):
        weight = arrays[f"W{number}"].astype(float)
        gram = weight.T @ weight
        np.testing.assert_allclose(gram, gram[0, 0] * np.eye(40), atol=1e-5 * gram[0, 0])


def test_lsuv_of_output_with_centring_where_it_can():
    config = ProbeConfig(init="lsuv:tol=0.01,of=output,center=true,max_iterations=50", act="linear", layers=3, width=60)
    for layer in run(config).layers:
        assert layer.fitting.converged
        assert layer.output.variance == pytest.approx(1, abs=0.01)
        assert layer.output.mean == pytest.approx(0, abs=0.01)


def test_failure_to_converge_is_reported(initprobe):
    """tanh never has variance 1."""
    outcome = initprobe(
        "run", "--init", "lsuv:of=output,tol=0.01", "--act", "tanh", "--layers", 3, "--width", 30, "--no-figures",
        "--export-json", "r.json",
    )  # fmt: skip
    assert "NOT converged in 3 layers" in outcome.out
    fitting = [layer["fitting"] for layer in json.load(open_json("r.json"))["layers"]]
    assert [record["converged"] for record in fitting] == [False] * 3
    assert all(record["iterations"] == 10 and record["after"] < 1 for record in fitting)


def open_json(name):
    from io import StringIO
    from pathlib import Path

    return StringIO(Path(name).read_text())


def test_a_dead_layer_is_not_scaled(pool):
    """Input of zeros has no variance to bring to 1, and nothing is divided by it."""
    weight = np.eye(3, dtype="f4")
    layer, context = Layer(Parameters(weight, None), ACTIVATIONS["relu"]), FitContext(1, Streams(0, 0), pool, lambda: 0)
    _, report = fit_layer(lsuv().fit, layer, np.zeros((4, 3), "f4"), context)
    assert (report.before, report.after, report.iterations, report.converged) == (0, 0, 0, False)
    np.testing.assert_array_equal(weight, np.eye(3))


def test_the_saved_weights_are_the_fitted_ones():
    config = ProbeConfig(init="autoencoder", act="tanh", layers=2, width=30, batch=100, draws=1)
    arrays, result = first_network(prepare(config)), run(config)
    h = np.tanh(np.tanh(arrays["x"] @ arrays["W1"] + arrays["b1"]) @ arrays["W2"] + arrays["b2"])
    assert float(h.var(dtype=float)) == pytest.approx(result.layers[1].output.variance, rel=1e-5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"init": "autoencoder:batch=100", "batch": 50}, "autoencoder:batch=50"),
        ({"init": "autoencoder:epochs=0"}, "epochs must be a whole number"),
        ({"init": "autoencoder:epochs=1.5"}, "epochs must be a whole number"),
        ({"init": "autoencoder:noise=1"}, "noise"),
        ({"init": "autoencoder:learning_rate=0"}, "learning_rate"),
        ({"init": "autoencoder:base=zavier"}, "base: unknown initializer"),
        ({"init": "autoencoder:base=lsuv"}, "base: unknown initializer"),
        ({"init": "autoencoder:base=3"}, "base=3 is not a name"),
        ({"init": "autoencoder", "norm": "layer"}, "drop `norm` and `residual`"),
        ({"init": "lsuv", "residual": True}, "drop `norm` and `residual`"),
        ({"init": "lsuv:tol=0"}, "tol"),
        ({"init": "lsuv:of=z"}, "of=z"),
        ({"init": "he", "bias_init": "lsuv"}, "bias_init"),
        ({"init": "he", "bias_init": "forward"}, "bias_init"),
    ],
)
def test_impossible_settings_are_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        ProbeConfig(act="tanh", **fields)


def test_too_few_rows_of_data_are_refused_before_anything_runs(tmp_path):
    np.save(tmp_path / "few.npy", np.ones((20, 4)))
    with pytest.raises(ConfigError, match="20 samples, and one step takes 100"):
        prepare(ProbeConfig(init="autoencoder:batch=100", act="tanh", input=tmp_path / "few.npy"))
    assert prepare(ProbeConfig(init="autoencoder", act="tanh", input=tmp_path / "few.npy")).batch == 20


def test_fitted_weights_train_sweep_and_are_checked(initprobe, tmp_path):
    (tmp_path / "f.yaml").write_text(
        "version: 1\nname: fit\n"
        "defaults: {act: tanh, layers: 3, width: 30, batch: 100, draws: 1}\n"
        "grid:\n  init: [{name: autoencoder, base: he}, lsuv]\n"
        "include:\n  - {init: {name: autoencoder}, init.epochs: 2}\n"
        "checks: {fitting.after: {max: 1.1}, fitting.iterations: {min: 0, max: 100}}\n"
    )
    outcome = initprobe("check", "f.yaml", "--no-figures")
    assert (outcome.code, outcome.err.count("Error")) == (0, 0), outcome.err
    trained = run(ProbeConfig(init="autoencoder", act="tanh", layers=2, width=30, batch=100, draws=1, train_steps=20))
    assert trained.training.losses[-1] < trained.training.losses[0]


@pytest.mark.parametrize("act", ["tanh", "relu", "gelu", "selu", "sigmoid"])
def test_forward_and_backward_are_the_gains_of_theory(act):
    row = gain_row(ACTIVATIONS[act])
    forward, backward = (ProbeConfig(init=name, act=act).initializer for name in ("forward", "backward"))
    assert forward.variance(300, 200) == pytest.approx(row.forward**2 / 300)
    assert backward.variance(300, 200) == pytest.approx(row.backward**2 / 200)


def test_forward_keeps_the_signal_of_gaussian_input():
    """The fixed point is q = 1, so E[h^2] becomes that of z ~ N(0, 1); the measurement agrees with theory."""
    result = run(ProbeConfig(init="forward", act="tanh", layers=20, width=300, draws=4))
    assert all(abs(layer.theory.z) < 5 for layer in result.layers)
    kept = 1 / gain_row(ACTIVATIONS["tanh"]).forward ** 2
    assert result.layers[-1].theory.output_variance == pytest.approx(kept, rel=1e-3)


@pytest.mark.parametrize(("act", "sigma_b"), [("tanh", 0), ("tanh", 0.5), ("relu", 0), ("gelu", 0.5), ("sigmoid", 0)])
def test_critical_is_on_the_edge_of_chaos(act, sigma_b):
    config = ProbeConfig(init=f"critical:sigma_b={sigma_b}", act=act)
    point = critical_line(ACTIVATIONS[act], sigma_b)
    assert config.initializer.variance(100, 7) == pytest.approx(point.sigma_w**2 / 100)
    assert config.bias_initializer.variance(100, 7) == pytest.approx(sigma_b**2)


@pytest.mark.parametrize(
    ("act", "init", "words"),
    [
        ("gelu", "critical", "is unstable.*critical:sigma_b=0.5 is stable"),
        ("softplus", "critical", "there is no edge of chaos of softplus.*norm layer"),
        ("relu", "critical:sigma_b=0.5", "no edge of chaos.*critical:sigma_b=0 is stable"),
    ],
)
def test_no_edge_or_an_unstable_one_is_refused_with_the_reason(act, init, words):
    with pytest.raises(ConfigError, match=words):
        prepare(ProbeConfig(init=init, act=act))


def test_a_bias_of_ones_own_beats_that_of_critical():
    config = ProbeConfig(init="critical:sigma_b=0.5", act="tanh", bias_init="zeros")
    assert config.bias_initializer.variance(10, 10) == 0


def test_records_of_fits_are_drawn_by_their_base():
    assert set(INITIALIZERS) - set(RULES) == {"critical", "forward", "backward", "lsuv", "autoencoder"}
    he = autoencoder(base="he")
    assert he.variance(50, 20) == INITIALIZERS["he"].variance(50, 20)
    assert autoencoder(base="torch_linear").bias is not None


def test_outputs_are_those_of_the_layer(pool):
    rng = np.random.default_rng(0)
    layer = Layer(Parameters(rng.standard_normal((20, 10)), rng.standard_normal(10)), ACTIVATIONS["tanh"])
    x = rng.standard_normal((700, 20))
    expected = np.tanh(x @ layer.weight + layer.bias)
    np.testing.assert_allclose(outputs(layer, x, pool), expected, rtol=1e-12)
    unbiased = layer._replace(parameters=Parameters(layer.weight, None))
    np.testing.assert_allclose(outputs(unbiased, x, pool), np.tanh(x @ layer.weight), rtol=1e-12)


def test_the_stream_of_a_fit_is_its_own():
    assert Purpose.FIT not in {purpose for purpose in Purpose if purpose.name != "FIT"}
    assert math.isfinite(Streams(0, 0).generator(Purpose.FIT, 1).random())
