"""The figures of papers: each config small and, marked slow, as it ships, beside the numbers of the paper's theory."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from legible import assert_legible, texts
from paper_figures import NUMBERS, SHOWN, Entry, finished, numbers, swept

import initprobe
from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.meanfield.correlated_pairs import pair_moments
from initprobe.meanfield.moments import lookup
from initprobe.meanfield.phase import critical_line, fixed_point
from initprobe.probe.run import measured
from initprobe.reports.figures.heat_map_data import heat_map
from initprobe.reports.figures.heat_maps import heat_map_figure
from initprobe.reports.figures.length_spread_data import expected_spread, spread_lines
from initprobe.reports.figures.maps_data import maps_of
from initprobe.reports.figures.sweep_kinds import KINDS, SweepRun, draw
from initprobe.results.digest import digest
from initprobe.sweeps.plan import load

FULL = pytest.param((), marks=pytest.mark.slow, id="full")
SDS = 5


def small(*overrides):
    return pytest.param(overrides, id="small")


def run_of(**fields):
    """A run without axes, and its result."""
    config = initprobe.ProbeConfig(**fields)
    result = measured(config)
    return SweepRun(Entry({"layers": config.depth}, digest(result)), config, lambda: result, lambda: None)


def test_histograms_of_runs_of_different_depth():
    runs = [run_of(init="he", act="relu", layers=layers, width=4, batch=4, draws=1) for layers in (2, 3)]
    assert {"layer 1", "layer 2", "layer 3"} <= set(texts(draw("layer_histograms", "t", runs)))


def test_losses_of_a_run_that_diverged_at_once():
    fields = {"init": "normal:std=1e30", "act": "relu", "width": 4, "batch": 4, "draws": 1, "train_steps": 2}
    runs = [run_of(**fields, layers=2), run_of(**fields | {"init": "he"}, layers=2)]
    assert [len(run.read().training.losses) for run in runs] == [0, 3]
    assert "no finite loss: the run" in texts(draw("loss_curves", "t", runs[:1]))
    draw("loss_curves", "t", runs)


def test_losses_above_the_axis_are_named_and_chance_is_drawn_once():
    """A huge gain starts far above chance, and is not left out in silence."""
    fields = {"act": "relu", "width": 4, "batch": 4, "draws": 1, "train_steps": 2, "learning_rate": 1e-9}
    runs = [run_of(**fields, init=init, layers=layers) for init in ("he", "he:gain=1e3") for layers in (2, 3, 4)]
    axes = [{"layers": run.config.depth, "init": str(run.config.init)} for run in runs]
    named = [replace(run, entry=Entry(each, run.entry.digest)) for run, each in zip(runs, axes, strict=True)]
    figure = draw("loss_curves", "t", named)
    assert_legible(figure)
    assert texts(figure).count("above the axis: he:gain=1000") == 3
    assert [sum(line.get_linestyle() == ":" for line in axes.lines) for axes in figure.axes] == [1, 1, 1]


def test_more_maps_than_colours_are_told_apart_or_refused():
    runs = [
        run_of(act="tanh", init=f"lecun:gain={1 + number / 8}", layers=2, width=5, batch=4, draws=1)
        for number in range(15)
    ]
    figure = draw("maps", "t", runs[:10])
    assert_legible(figure)
    lengths = figure.axes[0].lines
    looks = {(line.get_color(), line.get_linestyle()) for line in lengths if len(line.get_xdata()) > 10}
    assert len(looks) == 10
    assert not any(text.startswith(";") or text.endswith("...") for text in texts(figure))
    with pytest.raises(initprobe.ConfigError, match="at most 14"):
        draw("maps", "t", runs)


ONE_INPUT = {
    "init": "he", "act": "relu", "layers": 2, "width": 4, "batch": 2, "draws": 20, "input": "gaussian:correlation=1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "lacking"),
    [
        ({"init": "he_uniform"}, "normal weights of mean 0"),
        ({"init": "normal:std=0.1,mean=0.1"}, "normal weights of mean 0"),
        ({"init": "orthogonal"}, "normal weights of mean 0"),
        ({"init": "lsuv"}, "normal weights of mean 0"),
        ({"init": "zeros"}, "normal weights of mean 0"),
        ({"init": "normal:std=0"}, "not 0 or beyond the float range"),
        ({"bias_init": "normal:std=0.1"}, "biases of zero"),
        ({"input": "gaussian"}, "one input"),
        ({"input": "gaussian:correlation=1,mean=1"}, "gaussian input of mean 0"),
        ({"input": "digits"}, "gaussian input of mean 0"),
        ({"width": 1}, "at least 2 units"),
        ({"draws": 19}, "at least 20 draws"),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_spreads_that_the_formula_does_not_cover_are_refused(fields, lacking):
    with pytest.raises(initprobe.ConfigError, match=lacking) as refused:
        spread_lines([run_of(**ONE_INPUT | fields)])
    assert "\n" not in str(refused.value)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_spreads_are_those_of_any_scale():
    """ReLU keeps a factor, here one of 64 in E[z^2] per layer."""
    _, (line,) = spread_lines([run_of(**ONE_INPUT | {"draws": 100, "width": 8, "init": "normal:std=4"})])
    assert np.all(np.abs(line.measured - line.predicted) < SDS * _error(_exact(8, [8, 8]).T, 100))


def _exact(features, widths):
    return np.array([_relative_moments(features, widths[:depth]) for depth in range(1, len(widths) + 1)])


def test_every_kind_is_drawn_by_a_config_and_refuses_what_it_cannot_draw():
    names = ("poole_2016", "pennington_2017", "hanin_rolnick_2018", "glorot_bengio_2010", "he_2015")
    assert {figure.kind for name in names for figure in load(name).figures} == set(KINDS)
    config = initprobe.ProbeConfig(init="he", act="tanh", layers=2, widths=[4, 5], batch=4, draws=1, input_width=4)
    result = measured(config)
    run = SweepRun(Entry({}, digest(result)), config, lambda: result, lambda: None)
    for kind, runs in (
        ("maps", [run]),
        ("length_spread", [run]),
        ("loss_curves", [run]),
        *((kind, [run] * 20) for kind in ("singular_values", "layer_histograms", "loss_curves")),
    ):
        with pytest.raises(initprobe.ConfigError):
            draw(kind, "t", runs)


@pytest.mark.parametrize("overrides", [small("width=150", "draws=1", "grid.input.correlation=[0.3, 0.9]"), FULL])
def test_poole_2016(overrides):
    """Measured points lie on the maps, within what units that are independent given the layer before allow."""
    runs = swept("poole_2016", overrides)
    units = runs[0].config.width * runs[0].config.draws
    tanh = ACTIVATIONS["tanh"]
    figure = draw("maps", "poole_2016", runs)
    assert_legible(figure)
    for maps in maps_of(runs):
        w, b, point = maps.scales.sigma_w**2, maps.scales.sigma_b**2, maps.point
        # Linear between 100 places: wrong by (1/99)^2/8 = 1.3e-5 times the second derivative, which is below 1 there.
        assert point.correlation == pytest.approx(np.interp(point.correlation, *_curve(maps.correlations)), abs=1.3e-5)
        assert w * float(lookup(tanh, point.q).square) + b == pytest.approx(point.q, rel=1e-9)
        for q, after in maps.lengths.measured:
            predicted = w * float(lookup(tanh, q).square) + b
            # z is normal given h (2/n), and E[tanh^4]/E[tanh^2]^2 is 3 at most. The last term is the bend of the map
            # over inputs whose length differs by 2/n.
            assert abs(after / predicted - 1) < SDS * math.sqrt(4 / units) + SDS / runs[0].config.width
        assert len(maps.correlations.measured)
        for c, after in maps.correlations.measured:
            predicted = np.interp(c, *_curve(maps.correlations))
            assert abs(after - predicted) < SDS * _correlation_sd(after, w / point.q) / math.sqrt(units) + 0.15 * 0.15
    words = " ".join(texts(figure))
    assert all(f"q* {number}" in words for number in ("0.607", "4.08", "12.6"))


def _curve(curve):
    return curve.before, curve.after


def test_the_correlation_map_is_the_integral():
    """At one place of one curve, by quadrature in two dimensions."""
    (maps, *_) = maps_of(swept("poole_2016", ("width=20", "draws=1", "grid.input.correlation=[0.3]")))
    c, after = maps.correlations.before[40], maps.correlations.after[40]
    product, _ = pair_moments(ACTIVATIONS["tanh"], maps.point.q, maps.point.q, c)
    # Both converge to rounding: measured 6e-15.
    assert after == pytest.approx((maps.scales.sigma_w**2 * product + maps.scales.sigma_b**2) / maps.point.q, abs=1e-12)


def _correlation_sd(c, share):
    """SD over units of a unit's share of the correlation.

    It is for z given h, and for h itself, each at most as normal z has it.
    """
    return (1 - c * c) + math.sqrt(2) * min(share, 1.0)


def test_the_edge_of_chaos_of_the_papers():
    """Poole et al. and Schoenholz et al.: tanh at sigma_b^2 = 0.05; hard tanh as in Pennington et al."""
    edge, hard = (critical_line(ACTIVATIONS[act], math.sqrt(0.05)) for act in ("tanh", "hard_tanh"))
    digits = 1e-9  # the numbers here and in the config have nine decimals
    assert (edge.sigma_w, edge.q) == pytest.approx((1.327009661, 0.570047882), abs=digits)
    assert (hard.sigma_w, hard.q) == pytest.approx((1.079603950, 0.463863969), abs=digits)
    config = load("pennington_2017").runs[2].config
    assert str(config.act) == "hard_tanh"
    assert float(config.init.params["gain"]) == pytest.approx(hard.sigma_w, abs=digits)


TRAINED = ("width=50", "train_steps=100", "grid.sigma_w=[0.5, 1.25]", "grid.layers=[10, 20]")


@pytest.mark.parametrize("overrides", [small(*TRAINED), FULL])
def test_schoenholz_2017(overrides):
    """The line is 6 xi_c of theory; far below it networks learn, and far above it they do not. Training is ours."""
    runs = swept("schoenholz_2017", overrides)
    losses = {(run.entry.axes["sigma_w"], run.entry.axes["layers"]): run.entry.digest.final_loss for run in runs}
    plot = heat_map(
        [run.entry for run in runs], "sigma_w", "layers", "training.final_loss", "last",
        lambda entry: entry.result, lambda entry: ACTIVATIONS["tanh"], lambda entry: math.sqrt(0.05),
    )  # fmt: skip
    (panel,) = plot.panels
    for at in (20, 60, 150):
        sigma_w, depth = (float(panel.line[name][at]) for name in ("sigma_w", "layers"))
        assert depth == pytest.approx(6 * fixed_point(ACTIVATIONS["tanh"], sigma_w, math.sqrt(0.05)).xi_c, rel=1e-9)
    chance, learned = math.log(10), losses[1.25, 10]
    assert learned < 0.9 * chance
    for (sigma_w, layers), loss in losses.items():
        scale = fixed_point(ACTIVATIONS["tanh"], sigma_w, math.sqrt(0.05)).xi_c
        if layers > 12 * scale:
            # In the ordered phase e^-12 of the inputs' distance is left, a few units of float32: nothing is learned.
            # In the chaotic phase inputs are far apart, and some learn by heart: not half of what the line reaches. No
            # theory says how much they may learn. The half is chosen.
            least = 0.9 * chance if sigma_w < 1.327 else (chance + learned) / 2
            assert loss > least, (sigma_w, layers)
    figure = heat_map_figure(plot, "schoenholz_2017")
    assert "6 xi_c by theory" in texts(figure)
    assert any("trained by initprobe" in text for text in texts(figure))
    assert_legible(figure)


@pytest.mark.parametrize("overrides", [small("width=80", "layers=8", "draws=1"), FULL])
def test_pennington_2017(overrides):
    """Mean 1 and spread L (mu_2/mu_1^2 - 1 - s_1), as published; the largest s of Fuss-Catalan in closed form."""
    runs = swept("pennington_2017", overrides)
    assert_legible(draw("singular_values", "pennington_2017", runs))
    linear, relu, hard_tanh = (run.spectrum().end_to_end[-1] for run in runs)
    depth, width = linear.layer, linear.count
    kurtosis = 1 / (2 * 0.5 * (1 + math.erf(1 / math.sqrt(2 * 0.463863969))) - 1)
    # Slopes of hard tanh depend on the length of the two inputs, whose mean has the relative SD sqrt(2/(2 width)). Per
    # relative change of q, p(|z| < 1) = 0.86 changes by -0.23 of itself. In each layer after it, it changes by 0.54 of
    # that. That is 0.5 in all for the mean. The spread, which is depth times (1 - p)/p, changes by 1.63/(1 -
    # 0.54)/depth.
    strays = SDS * math.sqrt(1 / width)
    for last, spread, response in (
        (linear, depth, (0, 0)),
        (relu, depth, (0, 0)),
        (hard_tanh, depth * (kurtosis - 1), (0.5, 3.5 / depth)),
    ):
        assert last.theory.mean_square == pytest.approx(1, abs=response[0] * strays + 1e-9)
        assert last.theory.spread == pytest.approx(spread, rel=response[1] * strays + 1e-9)
    largest = ((depth + 1) * math.log(depth + 1) - depth * math.log(depth)) / 2 / math.log(10)
    # The density is blurred over 0.011 decades and cut where a ten-thousandth is left. 0.03 holds from 4 to 128 layers.
    assert linear.theory.density.high == pytest.approx(largest, abs=0.03)
    # The edge strays by width^(-2/3) (Tracy & Widom), and by depth/width; the density by one bin of its histogram.
    assert linear.largest_log10 == pytest.approx(largest, abs=width ** (-2 / 3) + depth / width)
    for last in (linear, relu, hard_tanh):
        assert _distance(last) < math.log(width) / width + 2 * depth / width


def _distance(last):
    """Largest difference of the measured and the predicted share of singular values below a place."""
    law, values = last.theory.density, last.histogram_log10
    counts = np.cumsum(values.counts) / sum(values.counts) * (1 - last.zero_fraction) + last.zero_fraction
    places = np.linspace(values.low, values.high, len(values.counts) + 1)[1:]
    edges = np.linspace(law.low, law.high, len(law.shares) + 1)
    below = 1 - sum(law.shares) + np.concatenate(([0], np.cumsum(law.shares)))
    return np.max(np.abs(np.interp(places, edges, below) - counts)[places > law.low])


@pytest.mark.parametrize("overrides", [small("draws=60"), FULL])
def test_hanin_rolnick_2018(overrides):
    """The variance over draws is the product of 1 + 5/width, within what so many draws allow."""
    runs = swept("hanin_rolnick_2018", overrides)
    assert_legible(draw("length_spread", "hanin_rolnick_2018", runs))
    act, lines = spread_lines(runs)
    assert act == "relu"
    for line, run in zip(lines, runs, strict=True):
        widths = [layer.fan_out for layer in run.read().layers]
        exact = _exact(500, widths)
        assert line.predicted == pytest.approx(exact[:, 2] - 1, rel=1e-9)
        assert np.all(np.abs(line.measured - line.predicted) < SDS * _error(exact.T, run.config.draws))
        beyond = (1 + line.predicted) / np.exp(5 * line.reciprocals)
        assert np.all(
            np.abs(np.log(beyond)) < 25 / 2 * np.cumsum(1 / np.square(widths)) + 2 / 500 + 2.2 / np.array(widths)
        )


def _relative_moments(features, widths):
    """`E[Q^k]` for k = 0 to 4 of the mean square Q of the last z, where E[Q] is 1."""
    gamma = lambda n, k: math.prod((n + 2 * i) / n for i in range(k))  # noqa: E731 (of a chi-square over n)
    passed = [gamma(features, k) for k in range(5)]
    for width in widths[:-1]:
        # 2 relu(z)^2 of a normal z has the moments 1, 6, 60, 840; their mean over a layer has these.
        total = np.polynomial.Polynomial([1, 1, 6 / 2, 60 / 6, 840 / 24]) ** width
        passed = [passed[k] * total.coef[k] * math.factorial(k) / width**k for k in range(5)]
    return [passed[k] * gamma(widths[-1] - 1, k) for k in range(5)]


def _error(moments, draws):
    """SD of `mean(Q^2) / mean(Q)^2` of so many draws, to first order."""
    _, _, second, third, fourth = moments
    return np.sqrt((fourth - second**2 + 4 * second**2 * (second - 1) - 4 * second * (third - second)) / draws)


def test_the_spread_of_lengths_of_one_layer_is_that_of_a_chi_square():
    assert expected_spread(500, np.array([40.0]), 6.0) == pytest.approx((1 + 2 / 500) * (1 + 2 / 39) - 1)


@pytest.mark.parametrize("overrides", [small("width=200", "batch=200", "draws=1"), FULL])
def test_glorot_bengio_2010(overrides):
    """n Var(W) is 1/3 and 1. The variance of dL/dh falls at least so per layer, and as mean-field theory has it."""
    runs = swept("glorot_bengio_2010", overrides)
    figure = draw("layer_histograms", "glorot_bengio_2010", runs)
    assert_legible(figure)
    assert sum("\ntheory " in text for text in texts(figure)) == 4
    for run, factor in zip(runs, (1 / 3, 1.0), strict=True):
        layers = run.read().layers
        for below, above in itertools.pairwise(layers):
            kept = below.theory.output_gradient_variance / above.theory.output_gradient_variance
            slope = float(lookup(ACTIVATIONS["tanh"], above.theory.preactivation_variance).slope_square)
            assert kept <= factor * (1 + 1e-4)
            # Digits differ in length: E[z^2] has the relative variance 0.10 in layer 2, and less above. Half of
            # the second derivative of E[phi'^2] is 0.08, so the mean is off by 0.008. As dL/dh depends on the length
            # too, twice that is allowed.
            assert kept == pytest.approx(factor * slope, rel=0.016)
        assert all(abs(layer.theory.gradient_z) < SDS for layer in layers[:-1])


@pytest.mark.parametrize("overrides", [small("width=60", "train_steps=60", "learning_rate=0.02"), FULL])
def test_he_2015(overrides):
    """Xavier halves the variance per layer and He keeps it, exactly at infinite width. Training is ours."""
    runs = swept("he_2015", overrides)
    figure = draw("loss_curves", "he_2015", runs)
    assert_legible(figure)
    words = texts(figure)
    assert any("trained by initprobe" in text for text in words)
    assert {"xavier; theory: Var(z) x0.500 per layer", "he; theory: Var(z) x1.00 per layer"} <= set(words)
    for run in runs:
        layers, factor = run.read().layers, 0.5 if run.entry.axes["init"] == "xavier" else 1.0
        predicted = [layer.theory.preactivation_variance for layer in layers]
        assert predicted[-1] / predicted[0] == pytest.approx(factor ** (len(layers) - 1), rel=1e-9)
        measured = layers[-1].output.variance_log10 - layers[0].output.variance_log10
        # The log of a mean square has at most the variance 6/width per layer. Its mean is lower by half of that.
        sd = math.sqrt(6 * len(layers) / run.config.width)
        expected = (len(layers) - 1) * math.log(factor) - 3 * len(layers) / run.config.width
        assert abs(measured * math.log(10) - expected) < SDS * sd
    end = {(run.entry.axes["layers"], run.entry.axes["init"]): run.entry.digest.final_loss for run in runs}
    assert end[30, "xavier"] > 0.9 * math.log(10) > end[10, "he"]


@pytest.mark.parametrize(
    ("name", "places"),
    [("poole_2016", slice(13, 14)), *(pytest.param(name, slice(None), marks=pytest.mark.slow) for name in SHOWN)],
)
def test_the_pictures_of_the_readme_have_not_drifted(name, places):
    """To 1e-5: float32 has 1e-7 per entry, and another kernel of OpenBLAS moves lengths by 3e-8 and s by 1e-14."""
    kept = json.loads(NUMBERS.read_text())[name]
    runs = load(name).runs
    assert len(kept) == len(runs)
    for before, run in zip(kept[places], runs[places], strict=True):
        assert np.allclose(numbers(name, finished(run)), before, rtol=1e-5, atol=1e-5)
