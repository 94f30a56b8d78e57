"""What a reader must be able to see in a figure."""

import itertools

import numpy as np
import pytest
from legible import assert_legible
from matplotlib.contour import ContourSet
from matplotlib.text import Text
from PIL import Image

from initprobe import ProbeConfig, compare, phase, run, spectrum
from initprobe.config.names import activation_of, as_activation
from initprobe.errors import ConfigError
from initprobe.meanfield.phase import phase_diagram
from initprobe.reports.figures.comparison import draw_comparison
from initprobe.reports.figures.result_data import gradient_histograms, output_histograms
from initprobe.reports.figures.run import draw
from initprobe.reports.figures.style import loss_limits, render
from initprobe.reports.figures.theory import phase_figure
from initprobe.reports.gaps import Gap, gap_words
from initprobe.reports.log_axis import log_ticks
from initprobe.reports.people_names import people_name
from initprobe.results.base import TENSORS
from initprobe.results.named_numbers import LAYER_NUMBERS, RATES, RUN_NUMBERS

SHAPE = {"layers": 6, "width": 60, "batch": 100, "draws": 2}


def _measured(init, act, **changes):
    return run(ProbeConfig(init=init, act=act, **(SHAPE | changes)), threads=1)


def _words(figure):
    return [text.get_text() for text in figure.findobj(Text)]


def test_the_zeros_of_relu_do_not_flatten_the_rest():
    result = _measured("he", "relu")
    row = output_histograms(result)
    assert row.ceiling < 0.1 and all(panel.shares.max() > 0.4 for panel in row.panels)
    zeros = [panel.at_zero for panel in row.panels]
    assert zeros == [layer.output.zero_fraction for layer in result.layers]
    assert sum("exactly 0" in words for words in _words(draw(result, "output"))) == len(result.layers)


def test_a_gradient_that_leaves_a_linear_axis_has_a_log_axis():
    row = gradient_histograms(_measured("normal:std=1", "tanh", layers=10))
    assert row.bend is not None and max(panel.outside for panel in row.panels) < 0.02
    assert gradient_histograms(_measured("xavier", "tanh")).bend is None


def test_many_layers_have_a_colour_bar_and_whole_numbers():
    figure = draw(_measured("he", "relu", layers=16, width=20), "output")
    axes, bar = figure.axes
    assert bar.get_ylabel() == "share per bin"
    assert all(float(place).is_integer() for place in axes.get_xticks())


def test_bands_and_lines_that_end_are_in_the_legend():
    words = _words(draw(_measured("zeros", "tanh"), "depth"))
    assert "+-1 SD over draws" in words and "Var(h) = 0 in all layers" in words
    assert "Var(dL/dh) = 0 to layer 5" in words
    assert "theory +-2 SD" in _words(draw(_measured("he", "relu"), "depth"))


def test_equal_curves_of_a_comparison_are_seen():
    result = _measured("he", "relu")
    figure = draw_comparison([result, result])
    first, _, second, *_ = figure.axes[0].lines
    assert first.get_marker() != second.get_marker() and first.get_markevery() != second.get_markevery()
    assert "Variance by layer" in _words(figure)
    ends = [text for text in figure.axes[0].texts if text.get_text() == "he + relu"]
    low, high = sorted(text.xy[1] for text in ends)  # both curves are named at their end, below each other
    assert np.ptp(figure.axes[0].transData.transform([(1, low), (1, high)])[:, 1]) > 12


def test_a_line_that_ends_says_why():
    overflow = _measured("normal:std=100", "relu", layers=16, width=20, draws=1)
    words = _words(draw_comparison([overflow, _measured("zeros", "relu", layers=16, width=20, draws=1)]))
    ending = next(number for number, layer in enumerate(overflow.layers, 1) if layer.output.variance is None)
    assert {f"normal:std=100 (overflow from layer {ending})", "zeros (0 in all layers)"} <= set(words)
    assert "Var(dL/dW): NaN in all layers" in _words(draw(overflow, "depth"))


def test_columns_of_colour_have_a_scale_where_nearly_all_is_0():
    """With 99.9% of a layer exactly 0, the rest is no scale for the other layers."""
    row = output_histograms(_measured("normal:std=0.01", "tanh", layers=45, width=40, draws=1))
    assert max(panel.at_zero for panel in row.panels) > 0.9 and row.ceiling > 0.05


def test_every_number_of_a_sweep_has_a_name_for_people():
    names = [*LAYER_NUMBERS, *RATES, *RUN_NUMBERS, *TENSORS, "healthy", "verdict"]
    for name in names:
        shown = people_name(name)
        assert "." not in shown and ("_" not in shown or name in ("fan_in", "fan_out")), name
    assert people_name("output_gradient.variance") == "Var(dL/dh)"
    assert people_name("training.final_loss") == "loss at the end of training"


@pytest.mark.parametrize(("low", "high"), [(-0.35, -0.03), (-0.08, 0.09), (0, 0.9), (-9, 3)])
def test_an_axis_has_at_least_three_ticks(low, high):
    assert len(log_ticks(low, high)) >= 3


def test_the_phases_are_named_and_labels_do_not_overlap():
    scales, biases = np.linspace(0.2, 3, 60), np.linspace(0, 1, 40)
    diagram = phase_diagram(activation_of(as_activation("tanh")), scales, biases)
    marks = [("normal:std=0.01", 0.22, 0.0), ("torch_linear", 0.58, 0.02), ("xavier", 1.0, 0.0), ("lecun", 1.0, 0.0)]
    figure = phase_figure("tanh", scales, biases, diagram.chi_1, diagram.xi_c, 10, marks)
    assert {"order", "chaos", "edge of chaos"} <= set(_words(figure))
    figure.draw_without_rendering()
    names = {"normal:std=0.01", "torch_linear", "xavier\nlecun", "order", "chaos", "edge of chaos"}
    boxes = [Text.get_window_extent(text) for text in figure.findobj(Text) if text.get_text() in names]
    assert len(boxes) == 6
    dots = [line.get_window_extent() for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(dots) == 3
    assert not any(a.overlaps(b) for a, b in itertools.combinations([*boxes, *dots], 2))


def test_a_line_of_one_point_has_its_marker():
    results = [_measured(init, "relu", layers=4, width=10) for init in ("he", "normal:std=1e30")]
    lines = draw_comparison(results).axes[0].lines
    (alone,) = (line for line in lines if np.isfinite(line.get_ydata()).sum() == 1 and line.get_marker() != "None")
    assert alone.get_markevery() is None


def test_the_text_of_an_svg_stays_text(tmp_path):
    figure = draw(_measured("he", "relu"), "depth")
    assert b">He normal + relu" in render(figure, "svg")
    figure.savefig(tmp_path / "depth.svg")
    assert b">He normal + relu" in (tmp_path / "depth.svg").read_bytes()


def test_the_letters_of_a_pdf_are_truetype(tmp_path):
    """Publishers refuse letters of Type 3."""
    figure = draw(_measured("he", "relu", layers=2), "depth")
    figure.savefig(tmp_path / "depth.pdf")
    for data in (render(figure, "pdf"), (tmp_path / "depth.pdf").read_bytes()):
        assert b"/FontFile2" in data and b"/Type3" not in data


COLUMN = {"size": (3.3, 2.5), "style": "paper"}


@pytest.mark.parametrize("layers", [3, 12, 30])
@pytest.mark.parametrize("kind", ["summary", "output", "gradient", "depth", "training"])
def test_in_a_small_column_nothing_is_cut_and_no_text_covers_another(layers, kind):
    result = _measured("xavier", "tanh", layers=layers, width=20, batch=20, train_steps=5)
    assert_legible(result.figure(kind, **COLUMN))


def test_figures_of_several_results_fit_a_small_column():
    nets = [(init, act) for init in ("he", "xavier", "orthogonal:gain=1.41421356") for act in ("relu", "tanh")]
    configs = [ProbeConfig(init=init, act=act, layers=8, width=20, batch=20, draws=1) for init, act in nets]
    assert_legible(compare(configs, threads=1).figure(**COLUMN))
    assert_legible(spectrum(configs[0], threads=1).figure(**COLUMN))
    for act, last in (("tanh", 3), ("selu", 2), ("gelu", 2.2), ("gelu", 1.7)):
        figure = phase(act, np.linspace(0.3, last, 40), np.linspace(0, 1, 20)).figure(**COLUMN)
        assert_legible(figure)
        assert act == "tanh" or any("q grows" in text for text in _words(figure))


def test_columns_of_colour_show_mean_and_spread_on_the_axis_of_the_data():
    """A sigmoid is centred at a half; a log axis of ReLU has no empty half below 0; shares are written in full."""
    result = _measured("normal:std=0.001", "sigmoid", layers=14)
    axes, bar = draw(result, "output").axes
    low, high = sorted(float(np.nanmean(line.get_ydata())) for line in axes.lines)
    assert 0.49 < low < high < 0.51 and "mean +-1 std" in axes.get_xlabel()
    assert "100%" in [label.get_text() for label in bar.get_yticklabels()]
    axes, _ = draw(_measured("normal:std=100", "relu", layers=14, width=20, draws=1), "output").axes
    assert min(axes.get_yticks()) >= 0 and axes.get_ylim()[0] > -0.1 * axes.get_ylim()[1]
    assert len(axes.get_yticks()) > 2
    residual = _measured("he", "relu", layers=14, residual=True, norm="layer")
    low, high = draw(residual, "output").axes[0].get_ylim()
    assert -low < 0.6 * high


def test_bands_of_theory_are_told_apart_where_they_cross():
    axes = draw(_measured("he", "relu"), "depth").axes[0]
    bands = [band for band in axes.collections if band.get_alpha() == 0.12]
    assert len({tuple(band.get_facecolor()[0]) for band in bands}) == 3  # of h, dL/dh and dL/dW


def test_the_prediction_for_a_single_layer_is_seen():
    axes = draw(_measured("he", "relu", layers=1), "depth").axes[0]
    theory = [line for line in axes.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    assert all(np.ptp(line.get_xdata()) > 0 for line in theory) and len(theory) == 3


def test_what_all_nets_of_a_comparison_share_stands_once():
    nets = [_measured(init, "leaky_relu:slope=0.234567") for init in ("xavier:gain=5/3", "he")]
    words = _words(draw_comparison(nets))
    assert {"xavier:gain=1.667", "he"} <= set(words) and not any("he + " in text for text in words)
    assert any(text.startswith("leaky_relu:slope=0.2346; ") for text in words)


def test_a_slow_decline_of_the_loss_is_seen():
    """Chance and the start stay in sight; noise is not blown up to a slope."""
    result = _measured("xavier", "tanh", layers=3, width=20, batch=20, train_steps=5, learning_rate=1e-3)
    axes = draw(result, "training").axes[0]
    low, high = axes.get_ylim()
    losses = [*result.training.losses, result.loss.chance]
    assert low < min(losses) < max(losses) < high and high - low < 1.2 * max(np.ptp(losses), 0.02 * max(losses))
    assert loss_limits([2.3, 2.3]) == pytest.approx((2.3 - 0.55 * 0.046, 2.3 + 0.55 * 0.046))
    assert loss_limits([np.nan, 0.0, 4.0]) == (0.0, 4.2)


def test_a_region_without_bound_is_named():
    scales, biases = np.linspace(0.5, 3, 40), np.linspace(0, 1, 20)
    diagram = phase_diagram(activation_of(as_activation("relu")), scales, biases)
    figure = phase_figure("relu", scales, biases, diagram.chi_1, diagram.xi_c, 10, [])
    assert {"order", "q grows without bound", "edge of chaos"} <= set(_words(figure))
    (edge,) = (each for each in figure.axes[0].collections if isinstance(each, ContourSet) and list(each.levels) == [0])
    # log chi_1 is interpolated in sigma_w. So the line lies off by at most an eighth of the squared cell's curvature.
    curvature = 2 / scales[0] ** 2
    assert np.abs(edge.get_paths()[0].vertices[:, 0] - 2**0.5).max() < curvature * (scales[1] - scales[0]) ** 2 / 8


def test_each_reason_for_a_gap_stands_once():
    gaps = [Gap("0", 1, 1, False), Gap("0", 3, 3, False), Gap("NaN", 4, 6, False), Gap("0", 7, 8, False)]
    assert gap_words(gaps) == "0 in layers 1, 3 and 7 to 8; NaN in layers 4 to 6"
    assert gap_words(gaps[1:2]) == "0 in layer 3" and gap_words([]) == ""


def test_a_layer_that_is_spread_wide_does_not_saturate_the_colours_of_others():
    row = gradient_histograms(_measured("normal:std=1", "tanh", layers=16, width=40, draws=1))
    assert row.bend is not None
    peaks = [panel.peak(row.edges) for panel in row.panels]
    assert row.ceiling <= row.brightest <= 1.15 * max(peaks)
    assert row.brightest >= 1.15 * min(max(peaks), (3 * min(peaks) * max(peaks)) ** 0.5) * 0.999


def test_an_animation_has_a_frame_per_layer(initprobe, tmp_path):
    shape = ("--init", "he", "--act", "relu", "--layers", "4", "--width", "30", "--batch", "30", "--draws", "1")
    assert initprobe("run", *shape, "--no-figures", "--animate", "a.gif").code == 0
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 4 and film.size == (720, 360) and film.info["loop"] == 0
    assert initprobe("run", *shape, "--no-figures", "--animate", "a.png").code == 2


def test_a_figure_has_the_size_title_and_columns_asked_for():
    result = _measured("he", "relu")
    figure = result.figure("output", size=(8, 4), title="Three in a row", columns=3)
    assert tuple(figure.get_size_inches()) == (8, 4) and len(figure.axes) == 2
    assert "Three in a row" in _words(figure) and result.description.title not in _words(figure)


@pytest.mark.parametrize(
    ("init", "layers", "kind"),
    [
        *(("he", 10, kind) for kind in ("summary", "output", "gradient", "depth")),
        ("zeros", 5, "summary"),
        ("normal:std=100", 30, "summary"),
    ],
)
def test_on_paper_a_figure_fits_a_column_and_can_be_read(init, layers, kind):
    result = _measured(init, "relu", layers=layers, width=20)
    figure = result.figure(kind, style="paper")
    figure.draw_without_rendering()
    assert figure.get_figwidth() == pytest.approx(3.3) and result.description.title not in _words(figure)
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    assert min(text.get_fontsize() for text in shown) > 6
    for axes in figure.axes:
        for artist in (axes.get_legend(), axes.xaxis.label, axes.yaxis.label, *axes.texts):
            if artist is not None and getattr(artist, "get_text", lambda: "a legend")():
                box = artist.get_window_extent()
                assert box.x0 > -1 and box.x1 < figure.bbox.x1 + 1 and box.y0 > -1, artist
                assert box.y1 < figure.bbox.y1 + 1, artist


@pytest.mark.parametrize(
    "wrong", [{"size": (0, 3)}, {"size": 3}, {"columns": 0}, {"columns": "2"}, {"title": 3}, {"style": "poster"}]
)
def test_a_figure_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        _measured("he", "relu").figure("depth", **wrong)
