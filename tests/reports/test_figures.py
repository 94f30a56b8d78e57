"""The pictures by what they show, not by their pixels; and the same result gives the same bytes."""

import math
import re

import numpy as np
import pytest

from initprobe import ProbeConfig, run
from initprobe.formatting import role
from initprobe.probe.run import measured
from initprobe.reports.figures.comparison import draw_comparison
from initprobe.reports.figures.histograms import MOST_PANELS
from initprobe.reports.figures.result_data import BINS, gradient_histograms, output_histograms, profiles
from initprobe.reports.figures.run import KINDS, draw, kinds
from initprobe.reports.figures.style import render
from initprobe.reports.layer_blocks import short_name

CASES = {
    "healthy": {"init": "xavier", "act": "tanh"},
    "collapsed": {"init": "normal:std=0.001", "act": "tanh"},
    "exploding": {"init": "normal:std=50", "act": "relu"},
    "overflow": {"init": "normal:std=1000", "act": "relu", "layers": 20},
    "all zero": {"init": "zeros", "act": "relu"},
    "constant": {"init": "constant:value=0.1", "act": "sigmoid"},
    "one layer": {"init": "he", "act": "relu", "layers": 1},
    "many layers": {"init": "he", "act": "gelu", "layers": 60},
    "one draw": {"init": "he", "act": "relu", "draws": 1},
    "trained": {"init": "he", "act": "relu", "train_steps": 30},
    "fitted": {"init": "autoencoder", "act": "relu", "train_steps": 30},
    "diverged": {"init": "he", "act": "relu", "train_steps": 30, "learning_rate": 1e6},
}


@pytest.fixture(scope="module")
def results():
    return {
        name: measured(ProbeConfig(**({"layers": 5, "width": 40, "batch": 50, "draws": 2} | case)))
        for name, case in CASES.items()
    }


@pytest.mark.parametrize("case", CASES)
def test_every_figure_of_every_case(results, case):
    shown = kinds(results[case])
    assert ("training" in shown) == (case in ("trained", "fitted", "diverged"))
    assert ("fitting" in shown) == (case == "fitted")
    for kind in shown:
        data = render(draw(results[case], kind), "png")
        assert data.startswith(b"\x89PNG")
        assert len(data) > 5_000


def _runs_over(figure):
    """The texts of a figure that its edges cut off."""
    keys = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    shown = [*figure.texts, *figure.legends, *keys]
    boxes = [(artist, artist.get_window_extent()) for artist in shown]
    return [artist for artist, box in boxes if box.x0 < 0 or box.x1 > figure.bbox.x1]


LONG = {"init": "autoencoder:tied=false,noise=0.25", "act": "leaky_relu:slope=0.013579", "standardize": True}


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / f"${'a name as long as some are ' * 7}.npy"
    np.save(path, np.random.default_rng(3).normal(size=(90, 12)))
    shape = {"layers": 3, "width": 12, "batch": 90, "draws": 2, "input": str(path)}
    return run(ProbeConfig(**shape, **LONG, train_steps=20, classes=3))


def test_no_text_and_no_legend_leaves_its_figure(results, long):
    for result in (*results.values(), long):
        for kind in kinds(result):
            assert _runs_over(draw(result, kind)) == [], kind
    assert _runs_over(draw_comparison([long, long])) == []
    sizes = {kind: draw(long, kind).texts[1].get_fontsize() for kind in ("depth", "summary")}
    assert 7 == sizes["depth"] <= sizes["summary"] < 10
    assert draw(long, "depth").texts[1].get_text().endswith("...")  # which 7 points could not hold
    assert draw(results["healthy"], "depth").texts[1].get_fontsize() == 10  # what fits stays


@pytest.mark.parametrize(
    ("case", "drawn"), [("healthy", True), ("fitted", False), ("constant", False), ("many layers", False)]
)
def test_a_line_of_theory_is_named_where_there_is_one(results, case, drawn):
    axes = draw(results[case], "output").axes[0]
    assert ("line: theory" in axes.get_xlabel() + axes.get_ylabel()) == drawn


def test_training_shows_the_loss_chance_and_where_it_diverged(results):
    axes, _ = draw(results["trained"], "training").axes
    curve, chance = axes.lines
    assert list(curve.get_ydata()) == list(results["trained"].training.losses)
    assert chance.get_ydata()[0] == results["trained"].loss.chance
    assert [line.get_label() for line in draw(results["diverged"], "training").axes[0].lines][-1] == "diverged"
    with pytest.raises(KeyError, match="training"):
        draw(results["healthy"], "training")


@pytest.mark.parametrize("fmt", ["png", "svg", "pdf"])
def test_same_result_same_bytes_whatever_the_user_has_set(results, fmt):
    import matplotlib as mpl

    first = render(draw(results["healthy"], "summary"), fmt)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 20}):
        assert render(draw(results["healthy"], "summary"), fmt) == first


@pytest.mark.parametrize("case", ["healthy", "collapsed", "exploding", "one layer"])
def test_panels_hold_every_entry_or_say_how_many_are_outside(results, case):
    for row in (output_histograms(results[case]), gradient_histograms(results[case])):
        assert len(row.edges) == BINS + 1
        for panel in row.panels:
            assert panel.shares.sum() + panel.outside == pytest.approx(1)


def test_axis_is_shared_and_a_collapsed_layer_is_a_labelled_spike(results):
    row = output_histograms(results["collapsed"])
    assert row.ends == (-1, 1)
    assert row.panels[-1].shares.max() == pytest.approx(1)
    assert np.argmax(row.panels[-1].shares) == BINS // 2
    assert row.panels[-1].std.startswith("std ")
    assert row.ceiling <= 1.15
    texts = [text.get_text() for text in draw(results["collapsed"], "output").axes[0].texts]
    assert any("peak" in text for text in texts) or row.ceiling >= 1


def test_lost_numbers_are_named(results):
    row = output_histograms(results["overflow"])
    lost = [panel for panel in row.panels if panel.shares is None]
    assert lost
    assert {panel.std for panel in lost} <= {"overflow", "NaN"}
    labels = [line.get_label() for line in draw(results["overflow"], "depth").axes[0].lines]
    assert any("overflow from layer" in str(label) for label in labels)


def test_profiles_are_the_result_in_logarithms(results):
    result = results["healthy"]
    measured = {profile.label: profile for profile in profiles(result)}
    for layer, value, predicted in zip(result.layers, measured["h"].log10, measured["h"].predicted, strict=True):
        assert value == layer.output.variance_log10
        assert predicted == math.log10(layer.theory.output_variance)
    assert np.isnan(profiles(results["constant"])[0].predicted).all()


def test_predicted_density_lies_on_the_measured_one(results):
    """At width 40 this is 5 standard errors of a share over 80 units, and one bin."""
    row = output_histograms(results["healthy"])
    for panel in row.panels:
        error = np.sqrt(panel.predicted * (1 - panel.predicted) / (40 * 2))
        assert np.all(np.abs(panel.shares - panel.predicted) < 5 * error + 0.01)
        # What lies beyond the extremes of n independent outputs has a mean of 2/n, and each end an exponential law.
        assert 0 <= 1 - panel.predicted.sum() < 2 * 5 / (40 * 2)


def test_panels_for_few_layers_and_a_density_for_many(results):
    few = draw(results["healthy"], "output").axes[0]
    many = draw(results["many layers"], "output").axes[0]
    assert len(results["many layers"].layers) > MOST_PANELS
    assert (len(few.images), len(many.images)) == (0, 1)
    assert sum("layer" in text.get_text() for text in few.texts) == 5


def test_a_log_axis_where_layers_of_a_model_dwarf_the_rest():
    """On a linear axis the small layers would be one bin."""
    torch = pytest.importorskip("torch")
    from initprobe.torch import probe

    torch.manual_seed(0)
    plain = [part for _ in range(MOST_PANELS) for part in (torch.nn.Linear(50, 50), torch.nn.LayerNorm(50))]
    for layers in (6, len(plain)):
        model = torch.nn.Sequential(*plain[-layers:], torch.nn.Linear(50, 10, bias=False))
        even = output_histograms(probe(model, torch.randn(40, 50), threads=1, try_fixes=False))
        torch.nn.init.normal_(model[-1].weight, std=20)
        result = probe(model, torch.randn(40, 50), threads=1, try_fixes=False)
        row = output_histograms(result)
        assert even.bend is None and row.bend is not None
        assert np.ptp(np.diff(row.stretched(row.edges))) < 1e-9
        for panel in row.panels:
            assert panel.shares.sum() > 0.97 and panel.shares.max() < 0.35, panel.name
        axes = draw(result, "output").axes[0]
        assert "log axis" in axes.get_xlabel()
        assert layers == 6 or {"0", "10", "-10"} <= {text.get_text() for text in axes.get_yticklabels()}


def test_the_number_of_a_block_is_never_cut():
    names = {
        "decoder.layers.11.feed_forward.experts.12.down_projection": "…11…12.down_projection",
        "layers.3.mlp.experts.12.down_projection_x": "…3….down_projection_x",
        "transformer.h.11.attn.c_attn": "transfo…11.attn.c_attn",
    }
    assert {name: short_name(name) for name in names} == names
    for blocks in range(120):
        for longest in (12, 22, 40):
            name = short_name(f"model.transformer.h.{blocks}.self_attn.in_proj_weight", longest)
            assert len(name) <= longest and str(blocks) in re.findall(r"\d+", name)


def test_a_role_is_the_place_in_a_block():
    names = {"h.3.mlp.0": "h.*.mlp.0", "h.3.mlp.2#2": "h.*.mlp.2", "h.3.fc": "h.*.fc", "4": "*", "net.4": "net.*"}
    assert {name: role(name) for name in names} == names


@pytest.mark.parametrize("kind", KINDS)
def test_title_and_axes_are_labelled(results, kind):
    figure = draw(results["fitted"], kind)
    assert figure.texts[0].get_text() == results["fitted"].description.title
    for axes in figure.axes:
        assert axes.get_xlabel()
        assert axes.get_ylabel()


def test_notebook_shows_table_and_figure(results):
    html = results["healthy"]._repr_html_()
    assert "<pre " in html
    assert 'src="data:image/png;base64,' in html
