"""Whole experiments: published numbers, determinism, batches, real data, and the limits of a dtype."""

import itertools
import math

import numpy as np
import pytest

import initprobe
from initprobe import ProbeConfig
from initprobe.errors import ConfigError, MemoryLimitError
from initprobe.probe.experiment import prepare
from initprobe.probe.memory_parts import memory_needed
from initprobe.probe.networks import first_network
from initprobe.probe.run import run


def small(**changes):
    settings = {"init": "xavier", "act": "tanh", "layers": 3, "width": 40, "batch": 60, "draws": 2}
    return ProbeConfig(**(settings | changes))


# CS231n 2017, lecture 6: input 1000 x 500 N(0,1), ten layers of 500, no bias. Std over all units and samples, one draw.
COLLAPSE = [0.213081, 0.047551, 0.010630, 0.002378, 0.000532, 0.000119, 0.000026, 0.000006, 0.000001, 0.000000]
STABLE = [0.825232, 0.827835, 0.813855, 0.826902, 0.834092, 0.860035, 0.870610, 0.889348, 0.845357, 0.844523]


def test_published_collapse_of_tanh_with_std_0_01():
    """Two draws of the same law differ by sqrt(2) of one draw's SD, about 1% at layer 10.

    The spread grows evenly from 0.2% at layer 1; the published figures are rounded at 6 decimals.
    """
    measured = run(ProbeConfig(init="normal:std=0.01", act="tanh", draws=1)).series("output", "std")
    for layer, (ours, published) in enumerate(zip(measured, COLLAPSE, strict=True), start=1):
        sd = 0.01 * math.sqrt(layer / 10)
        assert abs(ours - published) < 5 * math.sqrt(2) * sd * published + 0.5e-6


def test_published_stability_of_relu_with_he():
    """One draw's relative SD of the mean square grows as sqrt(5 layer / width): exact for ReLU + He."""
    measured = run(ProbeConfig(init="he", act="relu", draws=1)).series("output", "std")
    for layer, (ours, published) in enumerate(zip(measured, STABLE, strict=True), start=1):
        sd_of_log_std = math.sqrt(5 * layer / 500) / 2
        assert abs(math.log(ours / published)) < 5 * math.sqrt(2) * sd_of_log_std


# Theory for tanh, input 800, widths 750, 700, ..., 350: the shape the article's own figures were likely made with.
ARTICLE_SHAPE = {"act": "tanh", "input_width": 800, "widths": tuple(range(750, 300, -50)), "batch": 2000, "draws": 2}
ARTICLE = {
    "normal:std=0.01": [0.26357, 0.07181, 0.018992, 0.004842, 0.001186, 2.78e-4, 6.22e-5, 1.32e-5, 2.64e-6],
    "normal:std=1": [0.98580, 0.98512, 0.98458, 0.98399, 0.98332, 0.98256, 0.98169, 0.98067, 0.97947],
    "xavier": [0.63251, 0.49378, 0.41825, 0.37003, 0.33642, 0.31172, 0.29299, 0.27858, 0.26753],
}


@pytest.mark.parametrize("init", ARTICLE)
def test_shape_of_the_article(init):
    """Theory to within 5 SD of two draws (1.5% in variance after nine layers of about 500), plus the rounding."""
    measured = run(ProbeConfig(init=init, **ARTICLE_SHAPE)).series("output", "std")
    for ours, theory in zip(measured, ARTICLE[init], strict=True):
        assert ours == pytest.approx(theory, rel=5 * 0.015 / 2 / math.sqrt(2) + 0.005)


def test_collapsed_tanh_starves_every_layer_alike():
    """Glorot & Bengio 2010, equation 14: dL/dh shrinks twentyfold per layer, dL/dW has one tiny variance everywhere."""
    result = run(ProbeConfig(init="normal:std=0.01", act="tanh", draws=1))
    gradient = result.series("output_gradient")
    assert all(19 < after / before < 21 for before, after in itertools.pairwise(gradient))
    weights = result.series("weight_gradient")
    assert max(weights) / min(weights) < 1.15
    assert max(weights) < 1e-8


def test_large_std_saturates_forward_and_explodes_backward():
    result = run(ProbeConfig(init="normal:std=1", act="tanh", draws=1))
    assert all(layer.output.saturated_fraction > 0.88 for layer in result.layers)
    gradient = result.series("output_gradient")
    assert 1e9 < gradient[0] / gradient[-1] < 1e11
    stats = result.layers[0].preactivation_gradient
    assert max(-stats.percentiles.p25, stats.percentiles.p75) < 1e-3 * stats.rms


@pytest.mark.parametrize("init", ["xavier", "orthogonal", "torch_linear", "sparse:std=0.3"])
def test_same_numbers_at_any_number_of_threads(init):
    config = small(init=init, width=300, batch=700, layers=2)
    one_thread, three_threads = (run(config, threads=threads) for threads in (1, 3))
    assert one_thread.layers == three_threads.layers


def test_adding_a_layer_or_a_draw_changes_no_other():
    longer, shorter = run(small(layers=4)), run(small(layers=3))
    assert longer.layers[:3] != shorter.layers[:3]  # gradients know what follows
    for a, b in zip(longer.layers, shorter.layers, strict=False):
        assert (a.weight, a.output, a.correlation) == (b.weight, b.output, b.correlation)
    two, four = run(small()), run(small(draws=4))
    assert two.layers[2].output.variance_by_draw == four.layers[2].output.variance_by_draw[:2]


def test_seeds_differ_and_repeat():
    assert run(small()).layers == run(small()).layers
    assert run(small(seed=1)).layers[0].output != run(small()).layers[0].output


@pytest.mark.parametrize("act", ["tanh", "relu"])
def test_batches_are_one_batch_in_pieces(act):
    """Counts exactly; moments to 1e-12 (float64: only the order of summation differs)."""
    whole = run(small(act=act, init="he", batch=600, dtype="float64", bias_init="normal:std=0.1"))
    pieces = run(small(act=act, init="he", batch=150, batches=4, dtype="float64", bias_init="normal:std=0.1"))
    for a, b in zip(whole.layers, pieces.layers, strict=True):
        for name in initprobe.results.base.TENSORS:
            summary, expected = a.tensor(name), b.tensor(name)
            assert summary.histogram.counts == expected.histogram.counts
            assert summary.variance == pytest.approx(expected.variance, rel=1e-12)
            assert summary.mean == pytest.approx(expected.mean, abs=1e-12 * summary.rms)
            assert summary.zero_fraction == expected.zero_fraction
        assert a.correlation == pytest.approx(b.correlation, abs=1e-12)
        assert (a.output.dead_fraction, a.output.saturated_fraction) == (
            b.output.dead_fraction,
            b.output.saturated_fraction,
        )


def test_spread_over_draws_is_the_sample_standard_deviation():
    stats = run(small(draws=5)).layers[1].output
    assert stats.variance == pytest.approx(np.mean(stats.variance_by_draw), rel=1e-12)
    assert stats.variance_sd == pytest.approx(np.std(stats.variance_by_draw, ddof=1), rel=1e-12)
    assert run(small(draws=1)).layers[1].output.variance_sd is None


def test_dead_fraction_needs_every_batch():
    """A unit that is active in one batch is not dead, so more batches can only lower the share."""
    few = run(small(act="relu", init="he", layers=12, width=30, batch=4))
    many = run(small(act="relu", init="he", layers=12, width=30, batch=4, batches=30))
    dead = [layer.output.dead_fraction for layer in few.layers]
    assert max(dead) > 0
    assert all(m.output.dead_fraction <= d for m, d in zip(many.layers, dead, strict=True))


def test_underflow_begins_at_a_layer_and_is_never_a_zero():
    result = run(small(init="normal:std=0.001", layers=30, draws=1))
    statuses = [layer.output.status for layer in result.layers]
    first = statuses.index("underflow")
    assert set(statuses[:first]) == {"ok"}
    assert set(statuses[first:]) == {"underflow"}
    assert 10 ** (result.layers[first - 1].output.variance_log10 / 2) > 1e-38
    assert all(layer.output.variance != 0 for layer in result.layers)
    assert result.layers[-1].output.variance is None
    gradient = [layer.output_gradient.status for layer in result.layers]
    assert gradient[0] == "underflow"
    assert gradient[-1] == "ok"


def test_overflow_begins_at_a_layer_and_what_follows_is_void():
    result = run(small(init="normal:std=1000", act="relu", layers=20, draws=1))
    statuses = [layer.preactivation.status for layer in result.layers]
    first = statuses.index("overflow")
    assert set(statuses[:first]) == {"ok"}
    assert set(statuses[first + 1 :]) <= {"overflow", "nonfinite"}
    broken = result.layers[first].preactivation
    assert broken.variance is None
    assert broken.histogram is None
    assert broken.nonfinite_count > 0
    # ReLU's slope hides NaN behind a comparison; the gradient must not pass as a zero.
    assert result.layers[-1].preactivation_gradient.variance is None


def test_true_zeros_are_zeros():
    result = run(small(init="zeros"))
    assert {layer.status for layer in result.layers} == {"ok"}
    assert all(layer.output.variance == 0 and layer.output.variance_log10 is None for layer in result.layers)
    assert all(layer.gradient_to_weight_ratio is None and layer.correlation is None for layer in result.layers)


def test_constant_weights_make_identical_units():
    """z_{l+1} = n c phi(z_l), the same in every unit: the spread over units within a sample is 0."""
    result = run(small(init="constant:value=0.1", act="linear", draws=1, dtype="float64"))
    first, second = result.layers[0].output, result.layers[1].output
    assert second.variance == pytest.approx((40 * 0.1) ** 2 * first.variance, rel=1e-12)


def test_wide_range_of_float64():
    result = run(small(init="normal:std=1e60", act="linear", layers=5, dtype="float64", draws=1))
    logs = result.series("output", "variance_log10")
    steps = np.diff(logs)
    assert np.allclose(steps, 120 + math.log10(40), atol=0.5)
    assert result.layers[-1].output.variance is None
    assert result.layers[-1].output.variance_log10 > 600


def test_real_data(tmp_path):
    digits = pytest.importorskip("sklearn.datasets").load_digits().data
    path = tmp_path / "digits.npy"
    np.save(path, digits)
    experiment = prepare(ProbeConfig(init="xavier", act="tanh", widths=(50, 40), input=str(path), standardize=True))
    assert experiment.sizes == (64, 50, 40)
    assert experiment.batch == len(digits) == 1797
    with_data = run(experiment.config)
    assert with_data.layers[0].fan_in == 64
    assert with_data.layers[0].correlation == pytest.approx(0, abs=0.1)
    raw = run(ProbeConfig(init="xavier", act="tanh", widths=(50, 40), input=path))
    assert raw.layers[0].correlation > 0.5  # pixels are positive: any two digits point the same way
    experiment = prepare(ProbeConfig(init="xavier", act="tanh", layers=2, input=path, batch=100, batches=3))
    assert experiment.table.shape == (300, 64)
    rows = {row.tobytes() for row in digits.astype(np.float32)}
    assert all(row.tobytes() in rows for row in experiment.table)


@pytest.mark.parametrize("changes", [{"batch": 5000}, {"batch": 100, "batches": 100}, {"input_width": 9}])
def test_data_that_does_not_fit_the_shape(tmp_path, changes):
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).random((200, 8)))
    with pytest.raises(ConfigError, match=r"200 rows|8 features"):
        prepare(ProbeConfig(init="xavier", act="tanh", input=path, **changes))


def test_correlated_input_is_correlated():
    """Mean cosine of pairs with correlation 0.6; relative error below about 5 sqrt(2 / features)."""
    result = run(small(input="gaussian:correlation=0.6", width=2000, layers=1, init="orthogonal", batch=200))
    assert result.layers[0].correlation == pytest.approx(0.6, abs=5 * math.sqrt(2 / 2000))


def test_first_network_is_the_one_that_was_measured():
    config = small(bias_init="normal:std=0.3", draws=1)
    arrays = first_network(prepare(config))
    assert sorted(arrays) == sorted(["x", "g", "W1", "W2", "W3", "b1", "b2", "b3"])
    layer = run(config).layers[0]
    z = arrays["x"].astype(np.float64) @ arrays["W1"] + arrays["b1"]
    # float32 products of 40 terms: relative rounding of a variance is far below 1e-5.
    assert layer.preactivation.variance == pytest.approx(z.var(), rel=1e-5)


def test_a_run_that_would_not_fit_is_refused():
    with pytest.raises(MemoryLimitError, match=r"weights .* GB.*lower `width` or `layers`"):
        prepare(ProbeConfig(init="xavier", act="tanh", layers=1000, width=100_000))
    with pytest.raises(MemoryLimitError, match="lower `batch`"):
        prepare(ProbeConfig(init="xavier", act="tanh", layers=10, width=100, batch=1_000_000_000))


def test_memory_estimate_covers_what_a_run_takes():
    """tracemalloc sees NumPy's buffers: the peak stays below the estimate and is not a small part of it."""
    import tracemalloc

    config = ProbeConfig(init="xavier", act="tanh", layers=6, width=700, batch=2000, draws=1)
    run(config)
    tracemalloc.start()
    run(config)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    weights, activations = memory_needed(config, (700,) * 7, 2000)
    scratch = 40_000_000  # blocks in float64, tables of counts
    assert 0.6 * (weights + activations) < peak < weights + activations + scratch


@pytest.mark.parametrize("init", ["identity", "orthogonal"])
def test_identity_needs_squares(init):
    config = ProbeConfig(init=init, act="tanh", input_width=30, widths=(20, 20))
    if init == "identity":
        with pytest.raises(ConfigError, match="square"):
            run(config)
    else:
        assert run(config).layers[0].fan_in == 30


def test_every_initializer_and_activation_runs():
    for name, record in initprobe.INITIALIZERS.items():
        assert run(small(init=record.example, layers=2)).layers[0].weight.status == "ok", name
    for name in initprobe.ACTIVATIONS:
        layers = run(small(act=name, init="lecun", layers=2)).layers
        assert all(math.isfinite(layer.weight_gradient.variance) for layer in layers), name


def test_own_activation_from_python():
    own = initprobe.Activation(
        name="cube", value=lambda z: z**3, slope=lambda z, h: 3 * z**2, formula="x^3", reference="mine"
    )
    result = run(small(act=own, init="lecun"))
    assert result.config["act"] == "cube"
    assert result.layers[0].output.variance > 0


@pytest.mark.parametrize(
    "fields", [{"batches": 2}, {"train_steps": 3}, {"init": "lsuv:max_iterations=2"}, {"init": "autoencoder:epochs=2"}]
)
def test_progress_counts_to_its_total(fields):
    calls = []
    run(small(**fields), progress=lambda done, total: calls.append((done, total)))
    done, totals = zip(*calls, strict=True)
    assert list(done) == sorted(set(done))
    assert set(totals) == {done[-1]}
