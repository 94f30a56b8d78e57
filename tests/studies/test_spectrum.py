"""Spectra of whole networks: closed forms, theory against simulation and lost ranges."""

import itertools
import math
from functools import cache

import numpy as np
import pytest

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.config.probe_config import ProbeConfig
from initprobe.engine.jacobian import Product
from initprobe.errors import ConfigError
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.jacobian_spectrum import layer_moments, product_moments
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.moments import moments
from initprobe.meanfield.propagate import propagate
from initprobe.probe.experiment import prepare
from initprobe.probe.networks import first_network
from initprobe.studies.spectrum import depths, measure, seconds_needed

EPS = np.finfo(float).eps


def spectrum(init, act, layers=4, width=128, samples=2, threads=2, **fields):
    fields = {"dtype": "float64", "draws": 1, "batch": max(samples, 2)} | fields
    if "widths" not in fields:
        fields |= {"layers": layers, "width": width}
    return measure(prepare(ProbeConfig(init=init, act=act, **fields)), samples, threads=threads, densities=False)


# Theory by itself


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize("act", ["tanh", "relu", "selu", "erf"])
def test_square_layers_at_one_q_follow_the_published_formula(act, orthogonal):
    depth, record = 12, ACTIVATIONS[act]
    at_one = moments(record, 1.0)
    # The bias makes q = 1 again at every layer.
    layer = Layer(100, 100, 0.9 / 100, bias_variance=1 - 0.9 * float(at_one.square), orthogonal=orthogonal)
    layers = [Layer(100, 100, 1 / 100, orthogonal=orthogonal), *[layer] * (depth - 1)]
    predicted = product_moments(layers, propagate(record, layers, InputMoments(np.ones(1), np.zeros(1))))[-1]
    chi, ratio, s_1 = 0.9 * float(at_one.slope_square), float(at_one.slope_kurtosis), 0 if orthogonal else -1
    assert predicted.spread == pytest.approx(depth * (ratio - 1 - s_1), rel=1e-9)
    assert predicted.mean_log10 == pytest.approx(depth * math.log10(chi) - math.log10(0.9), abs=1e-9)


@pytest.mark.parametrize("fans", [(60, 20), (20, 60), (40, 40)])
def test_one_gaussian_layer_is_marchenko_pastur(fans):
    layer = Layer(*fans, 1 / fans[0])
    (state,) = propagate(ACTIVATIONS["linear"], [layer], InputMoments(np.ones(1), np.zeros(1)))
    predicted = layer_moments(layer, state)
    # Eigenvalues of W'W beside its zeros, if any: mean max(1, n_out/n_in), and Var/mean^2 = min/max.
    assert predicted.mean_log10 == pytest.approx(math.log10(max(1, fans[1] / fans[0])), abs=1e-12)
    assert predicted.spread == pytest.approx(min(fans) / max(fans), rel=1e-12)


@pytest.mark.parametrize("sizes", [(50, 50, 50), (50, 30, 30), (30, 50, 70)])
def test_orthogonal_linear_layers_that_lose_nothing_have_no_spread(sizes):
    layers = [Layer(a, b, 1 / max(a, b), orthogonal=True) for a, b in itertools.pairwise(sizes)]
    states = propagate(ACTIVATIONS["linear"], layers, InputMoments(np.ones(1), np.zeros(1)))
    last = product_moments(layers, states)[-1]
    assert (last.mean_log10, last.spread) == (pytest.approx(0, abs=1e-12), 0)


def test_a_bottleneck_passes_on_a_random_projection():
    # P = U 60 -> 20 -> 60 with orthonormal columns, then rows: 20 singular values of 1 and 40 of 0.
    layers = [Layer(60, 20, 1 / 60, orthogonal=True), Layer(20, 60, 1 / 60, orthogonal=True)]
    states = propagate(ACTIVATIONS["linear"], layers, InputMoments(np.ones(1), np.zeros(1)))
    last = product_moments(layers, states)[-1]
    assert last.mean_log10 == pytest.approx(math.log10(1 / 3))
    assert last.spread == pytest.approx(2)


# Closed forms of whole networks


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.3])
def test_orthogonal_linear_networks_multiply_every_direction_alike(gain):
    result = spectrum(f"orthogonal:gain={gain}", "linear", layers=30, width=40)
    last, rounding = result.end_to_end[-1], 30 * 40 * EPS
    for value in (last.largest_log10, last.smallest_log10, last.mean_square_log10 / 2):
        assert value == pytest.approx(30 * math.log10(gain), abs=rounding)
    assert last.spread <= rounding**2
    assert (last.zero_fraction, last.lost_fraction) == (0, 0)
    assert result.isometric is (gain == 1)
    assert last.theory.mean_square_log10 == pytest.approx(2 * 30 * math.log10(gain), abs=1e-9)
    assert last.theory.spread == 0


def gaussian_linear(depth, n):
    """Exact `E tr(G^2)` and `E tr(G)^2` of a product of square Gaussian matrices of variance 1/n."""
    fourth, squared = 1.0, 1.0
    for _ in range(depth):
        fourth, squared = (1 + 1 / n) * fourth + squared, squared + 2 * fourth / n**2
    return fourth, squared


def decades(depth, n):
    """Five SDs of log10 of the mean of `s^2` of such a product, and how far its mean lies below: it is log-normal."""
    variance = math.log(gaussian_linear(depth, n)[1])
    return (5 * math.sqrt(variance) + variance / 2) / math.log(10)


def test_gaussian_linear_networks_have_their_exact_moments_at_any_width():
    n, depth, draws = 24, 6, 400
    rng = np.random.default_rng(3)
    moments = []
    for _ in range(draws):
        product = Product.identity(n)
        for _ in range(depth):
            product = product.times(rng.standard_normal((n, n)) / math.sqrt(n), np.ones(n))
        values = product.singular_values()
        mean = 10**values.mean_square_log10
        moments.append((mean, (values.spread + 1) * mean**2, mean**2))
    expected = (1, *gaussian_linear(depth, n))
    means, errors = np.mean(moments, axis=0), np.std(moments, axis=0) / math.sqrt(draws)
    assert np.all(np.abs(means - expected) < 5 * errors)
    # In the wide limit Var(s^2)/mean^2 = L, with corrections of the order of L^2/2n.
    fourth, squared = gaussian_linear(depth, 10**6)
    assert fourth / squared - 1 == pytest.approx(depth, abs=depth**2 / 10**6)


# Theory against simulation

NETS = [
    ("lecun", "linear", {}),
    ("orthogonal", "tanh", {}),
    ("lecun", "tanh", {"bias_init": "normal:std=0.3"}),
    ("he", "relu", {}),
    ("orthogonal:gain=1.4142135623730951", "relu", {}),
    ("variance_scaling:scale=2.5,distribution=uniform", "gelu", {}),
    ("orthogonal:gain=1.5", "hardtanh", {}),
    ("he", "leaky_relu:slope=0.3", {"widths": (200, 300, 150, 250), "input_width": 120}),
    ("orthogonal:gain=1.2", "tanh", {"widths": (200, 300, 150, 250), "input_width": 120}),
    ("orthogonal", "linear", {"widths": (200, 100, 300), "input_width": 250}),
]
SEEDS = 8


@cache
def seeds_of(number):
    init, act, fields = NETS[number]
    width = {} if "widths" in fields else {"width": 200}
    return [spectrum(init, act, seed=seed, **width, **fields) for seed in range(SEEDS)]


def drift(result):
    """Sum over layers of the relative variance of a layer's mean square, `(3 mu_2/mu_1^2 - 1)/n`, bounded by 3 spread.

    For a unit of z normal, `E[z^4 phi'^4]/E[..]^2 - 1`: 2/n for linear, 5/n for ReLU layers. The spread of one Gaussian
    layer alone is mu_2/mu_1^2 where it is square, of an orthogonal one 1 less.
    """
    return sum((3 * (layer.theory.spread + 1) - 1) / layer.count for layer in result.layers)


@pytest.mark.parametrize("number", range(len(NETS)), ids=[f"{init}-{act}" for init, act, _ in NETS])
@pytest.mark.parametrize("part", ["layers", "end_to_end"])
def test_theory_holds_within_chance_and_the_corrections_of_finite_width(number, part):
    results = seeds_of(number)
    # With a relative variance v of its scale, a ratio X/Y^2 is off by at most 3 v, a mean by v.
    v = drift(results[0])
    for rows in zip(*(getattr(result, part) for result in results), strict=True):
        theory = np.mean([[10**row.theory.mean_square_log10, row.theory.spread] for row in rows], axis=0)
        measured = np.array([[10**row.mean_square_log10, row.spread] for row in rows])
        error = 5 * measured.std(axis=0, ddof=1) / math.sqrt(SEEDS)
        assert abs(measured[:, 0].mean() - theory[0]) <= error[0] + v * theory[0]
        assert abs(measured[:, 1].mean() - theory[1]) <= error[1] + 3 * v * (1 + theory[1])


def test_gaussian_weights_spread_by_one_a_layer_more_than_orthogonal_ones():
    gaussian, orthogonal = (
        [result.end_to_end[-1].spread for result in seeds_of(number)] for number in (3, 4)
    )  # ReLU, 4 layers
    error = 5 * math.hypot(np.std(gaussian, ddof=1), np.std(orthogonal, ddof=1)) / math.sqrt(SEEDS)
    corrections = 3 * drift(seeds_of(3)[0])
    assert abs(np.mean(gaussian) - np.mean(orthogonal) - 4) < error + corrections
    assert np.mean(gaussian) - np.mean(orthogonal) > 2
    # Half of the units are off at every layer, so at least half of the singular values are exactly 0.
    for result in (*seeds_of(3), *seeds_of(4)):
        assert result.end_to_end[-1].zero_fraction >= max(layer.zero_fraction for layer in result.layers) > 0.3


def test_orthogonal_tanh_near_criticality_is_isometric_and_gaussian_is_not():
    # q <= 0.01: slopes are at least 1 - tanh(0.4)^2 = 0.86 for 4 SD of z, 0.99 on average. 10 layers keep 0.9.
    shared = {"layers": 10, "width": 100, "input": "gaussian:std=0.1"}
    orthogonal, gaussian = spectrum("orthogonal", "tanh", **shared), spectrum("lecun", "tanh", **shared)
    assert orthogonal.isometric is True and orthogonal.end_to_end[-1].isometric_fraction > 0.95
    assert orthogonal.verdict.startswith("isometric: ")
    assert gaussian.isometric is False and gaussian.end_to_end[-1].isometric_fraction < 0.2
    assert gaussian.verdict.startswith("not isometric: ") and "largest" in gaussian.verdict


# Where numbers or theory end


def test_far_below_the_float_range_of_squares_everything_is_measured():
    # z keeps a hundredth of its size a layer, so tanh is linear from the first layer on.
    last = spectrum("normal:std=0.001", "tanh", layers=100, width=100).end_to_end[-1]
    assert (last.status, last.mean_square, last.lost_fraction) == ("ok", None, 0)
    assert last.theory.mean_square_log10 == pytest.approx(-4 * 100, abs=0.01)
    assert last.mean_square_log10 == pytest.approx(-4 * 100, abs=decades(100, 100))
    assert last.smallest_log10 < last.largest_log10 < 0
    assert 0 < last.largest < 1e-190 and last.smallest is None


def test_collapse_of_small_weights_is_measured_at_sixty_layers():
    result = spectrum("normal:std=0.01", "tanh", layers=60, width=100)
    last = result.end_to_end[-1]
    assert last.mean_square_log10 == pytest.approx(last.theory.mean_square_log10, abs=decades(60, 100))
    assert last.mean_square_log10 == pytest.approx(-2 * 60, abs=decades(60, 100) + 0.1)
    assert 0 < last.smallest < last.largest and last.lost_fraction == 0


def test_a_square_beyond_the_float_range_is_null_and_its_log_is_not():
    # A layer makes s^2 100 x 10^6 = 10^8 times what it was; z stays below 10^163.
    last = spectrum("normal:std=1000", "linear", layers=40, width=100).end_to_end[-1]
    assert last.status == "ok" and last.mean_square is None
    assert last.mean_square_log10 == pytest.approx(8 * 40, abs=decades(40, 100))


@pytest.mark.parametrize(
    ("init", "act", "status"), [("normal:std=0.01", "tanh", "underflow"), ("normal:std=1000", "linear", "overflow")]
)
def test_nothing_is_claimed_beyond_the_range_of_float32(init, act, status):
    result = spectrum(init, act, layers=60, width=100, dtype="float32")
    statuses = [layer.status for layer in result.layers]
    lost = statuses.index(status)
    assert 5 < lost < 60 and set(statuses[:lost]) == {"ok"} and set(statuses[lost:]) == {status}
    last = result.end_to_end[-1]
    assert last.status == status and last.mean_square is last.largest_log10 is last.zero_fraction is None
    assert result.isometric is None and f"at layer {lost + 1} ({status})" in result.verdict
    assert result.layers[lost - 1].largest > 0


@pytest.mark.parametrize("init", ["constant:value=0.05", "identity", "zeros", "normal:std=0.1,mean=0.05"])
def test_without_theory_a_note_stands_for_the_prediction(init):
    result = spectrum(init, "relu", layers=3, width=30)
    assert result.theory_note
    assert all(stats.theory is None for stats in (*result.layers, *result.end_to_end))


@pytest.mark.parametrize(("std", "held"), [(0.1, True), (30, False)])
def test_a_predicted_spread_that_is_impossible_is_noted(std, held):
    result = spectrum(f"normal:std={std}", "tanh", layers=4, width=64)
    predicted = [stats.theory.spread for stats in result.end_to_end]
    assert all(stats.spread <= stats.count - 1 for stats in result.end_to_end)
    assert (max(predicted) <= 63) is held
    assert result.width_note is None if held else "cannot hold from layer 1 on" in result.width_note


def test_zero_weights_are_reported():
    result = spectrum("zeros", "tanh", layers=3, width=30)
    last = result.end_to_end[-1]
    assert (last.mean_square, last.mean_square_log10, last.largest, last.zero_fraction) == (0, None, None, 1)
    assert result.isometric is False and "every singular value is 0" in result.verdict


def test_values_below_rounding_are_lost_and_not_zero():
    last = spectrum("constant:value=0.05", "tanh", layers=3, width=30).end_to_end[-1]
    assert (last.zero_fraction, last.lost_fraction) == (0, pytest.approx(29 / 30))


# The measurement itself


def test_the_networks_are_those_that_run_measures():
    experiment = prepare(ProbeConfig(init="he", act="tanh", layers=3, width=20, batch=2, draws=1, seed=5))
    arrays = first_network(experiment)
    h, product = arrays["x"][:1], Product.identity(20)
    for layer in (1, 2, 3):
        h = np.tanh(h @ arrays[f"W{layer}"])
        product = product.times(arrays[f"W{layer}"], 1 - h[0].astype(float) ** 2)
    last = measure(experiment, 1).end_to_end[-1]
    # Slopes of float32 are off by its rounding, of values of the order of 1.
    assert last.largest_log10 == pytest.approx(product.singular_values().log10[0], abs=1e-5)


def test_spread_over_draws_is_that_of_each_draw_by_itself():
    # Draws are keyed by number, so that the first two of three are those of two.
    results = [spectrum("he", "tanh", width=20, draws=draws) for draws in (1, 2, 3)]
    one_draw, two_draws, three_draws = (result.end_to_end[-1] for result in results)
    first, second, third = (
        one_draw.mean_square,
        *(
            n * now.mean_square - (n - 1) * before.mean_square
            for n, before, now in ((2, one_draw, two_draws), (3, two_draws, three_draws))
        ),
    )
    assert one_draw.mean_square_sd is one_draw.spread_sd is None
    for stats, means in ((two_draws, [first, second]), (three_draws, [first, second, third])):
        assert stats.mean_square_sd == pytest.approx(np.std(means, ddof=1) / np.mean(means), rel=1e-9)
    assert two_draws.spread_sd == pytest.approx(math.sqrt(2) * abs(one_draw.spread - two_draws.spread), rel=1e-9)


@pytest.mark.parametrize("init", ["zeros", "orthogonal"])
def test_no_draw_differs_from_another_where_all_are_alike(init):
    last = spectrum(init, "linear", width=20, draws=3).end_to_end[-1]
    assert last.mean_square_sd == (None if init == "zeros" else pytest.approx(0, abs=4 * 20 * EPS))


def test_the_numbers_do_not_depend_on_the_threads():
    one_thread, two_threads = (
        spectrum("he", "relu", samples=3, width=50, draws=2, threads=threads) for threads in (1, 2)
    )
    assert one_thread.model_dump_json() == two_threads.model_dump_json()


def test_progress_counts_the_layers_of_all_draws():
    calls = []
    config = ProbeConfig(init="he", act="relu", layers=3, width=10, batch=2, draws=2)
    measure(prepare(config), 1, threads=1, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 6) for done in range(1, 7)]


def test_depths_double_up_to_the_last_layer():
    assert [depths(count) for count in (1, 2, 5, 8)] == [(1,), (1, 2), (1, 2, 4, 5), (1, 2, 4, 8)]


def test_time_grows_with_the_cube_of_the_width():
    short, long = (prepare(ProbeConfig(init="he", act="relu", layers=2, width=width, batch=2)) for width in (10, 100))
    assert seconds_needed(long, 2) == pytest.approx(1000 * seconds_needed(short, 2))


@pytest.mark.parametrize(("samples", "threads"), [(0, 1), (1, 0)])
def test_impossible_numbers_are_refused(samples, threads):
    experiment = prepare(ProbeConfig(init="he", act="relu", layers=2, width=5, batch=2))
    with pytest.raises(ConfigError, match="at least 1"):
        measure(experiment, samples, threads=threads)
