"""The pictures of a sweep by what is plotted, with few runs and with hundreds, and where something is missing."""

import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from legible import assert_legible, texts

import initprobe as package
from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.reports.figures.critical_curve import critical_curve
from initprobe.reports.figures.heat_map_data import (
    DISAGREE,
    FAILED,
    NOT_RUN,
    ZERO,
    ZERO_OR_LOST,
    heat_map,
)
from initprobe.reports.figures.heat_maps import heat_map_figure
from initprobe.reports.figures.panel_grid import CYCLE, VERDICTS
from initprobe.reports.figures.result_data import BINS
from initprobe.reports.figures.style import blank_figure, render
from initprobe.reports.figures.sweep_data import MOST_NAMED, MOST_PANELS, depth_plot, histogram_plot
from initprobe.reports.figures.sweep_profiles import depth_figure, histogram_figure
from initprobe.reports.figures.sweep_series import is_log, series
from initprobe.reports.figures.titles import fit_title
from initprobe.reports.gaps import STATUS_WORDS
from initprobe.results.digest import Digest, digest
from initprobe.results.named_numbers import VERDICT
from initprobe.sweeps.figures import default_figures
from initprobe.sweeps.file_figures import Depth

LAYERS = 5
BLANK = Digest(
    healthy=True, rule=None, severity=None, layer=None, evidence=None, correlation=0.5, saturated=None, dead=None,
    z=0.1, output=(), output_theory=(), gradient=(), gradient_theory=(),
)  # fmt: skip


@dataclass(frozen=True)
class Fake:
    """A run as a store returns it."""

    axes: Mapping[str, object]
    digest: Digest | None
    state: str = "done"
    error: str | None = None
    elapsed_s: float | None = 1.0


def run(rate=-0.5, rule=None, **axes):
    """A run whose variance changes by `10**rate` per layer, and its gradient by the inverse."""
    output = tuple(None if rate is None else rate * layer for layer in range(LAYERS))
    numbers = {"output": output, "output_theory": output, "gradient": output[::-1], "gradient_theory": output[::-1]}
    kept = BLANK.model_copy(update=numbers | {"rule": rule, "healthy": rule is None})
    return Fake({name.replace("__", "."): value for name, value in axes.items()}, kept)


def undone(state, **axes):
    return Fake(axes, None, state)


def grid(across, upwards, names=("layers", "width")):
    return [run(rate=-x / 100 - y, **dict(zip(names, (x, y), strict=True))) for x, y in product(across, upwards)]


def unread(entry):
    raise AssertionError("the digest holds this; the whole result need not be read")


def tanh(entry):
    return ACTIVATIONS["tanh"]


def mapped(entries, x="layers", y="width", value="output.variance", layer="last", read=unread):
    return heat_map(entries, x, y, value, layer, read, tanh)


def drawn_rows(figure):
    """Colours of the cells of a heat map, by their corners."""
    cells = figure.axes[0].collections[0]
    return [path.vertices[:4] for path in cells.get_paths()], cells.get_facecolor()


@pytest.mark.parametrize(("across", "upwards"), [((10, 20), (1, 2)), (range(1, 21), range(1, 21))])
def test_heat_map_plots_every_run_at_its_place(across, upwards):
    entries = grid(across, upwards)
    plot = mapped(entries)
    assert {(cell.x, cell.y): cell.number for cell in plot.cells} == {
        (e.axes["layers"], e.axes["width"]): e.digest.output[-1] for e in entries
    }
    figure = heat_map_figure(plot, "name")
    corners, colors = drawn_rows(figure)
    assert len(corners) == len(entries)
    for cell, box in zip(plot.cells, corners, strict=True):
        (left, low), (right, high) = box.min(axis=0), box.max(axis=0)
        assert left < cell.x < right
        assert low < cell.y < high
    light = colors[:, :3].sum(axis=1)
    numbers = np.array([cell.number for cell in plot.cells])
    assert light[numbers.argmax()] > light[numbers.argmin()]
    assert_legible(figure)


def test_numbers_are_written_in_few_cells_only():
    few, many = heat_map_figure(mapped(grid((10, 20), (1, 2)))), heat_map_figure(mapped(grid(range(20), range(20))))
    assert len(few.axes[0].texts) == 4
    assert len(many.axes[0].texts) == 0


def test_gradient_is_read_at_the_first_layer():
    entries = grid((10, 20), (1, 2))
    plot = mapped(entries, value="output_gradient.variance", layer="first")
    assert [cell.number for cell in plot.cells] == [entry.digest.gradient[0] for entry in entries]
    assert plot.layer == "first layer"


def test_rate_is_the_step_from_layer_to_layer():
    plot = mapped(grid((10, 20), (1, 2)), value="output.variance_per_layer")
    assert [cell.number for cell in plot.cells] == pytest.approx([-1.1, -2.1, -1.2, -2.2])
    assert plot.log
    assert not plot.layer


def test_seeds_are_averaged_in_a_cell_and_words_get_a_panel_each():
    entries = [run(-r, layers=n, width=4, act=a, seed=r) for n in (2, 3) for a in ("tanh", "relu") for r in (1, 2)]
    plot = mapped(entries)
    assert [panel.title for panel in plot.panels] == ["tanh", "relu"]
    assert {cell.number for cell in plot.cells} == {-1.5 * (LAYERS - 1)}
    assert {cell.runs for cell in plot.cells} == {2}
    assert plot.notes == ("mean of the log10 of up to 2 runs per cell",)
    assert [axes.get_title() for axes in heat_map_figure(plot).axes[:2]] == ["tanh", "relu"]


def test_more_settings_than_panels_are_averaged_and_it_is_said():
    entries = [run(layers=n, width=w, act=f"act{a}") for n in (2, 3) for w in (4, 5) for a in range(13)]
    plot = mapped(entries)
    assert len(plot.panels) == 1
    assert plot.notes == ("mean of the log10 of up to 13 runs per cell, over act",)


def test_kinds_of_missing_runs_are_distinct():
    entries = [
        run(layers=1, width=1), run(None, layers=2, width=1), undone("failed", layers=1, width=2),
        undone("queued", layers=2, width=2), run(layers=3, width=1),
    ]  # fmt: skip
    plot = mapped(entries)
    assert {(cell.x, cell.y): cell.lacking for cell in plot.cells} == {
        (1, 1): "", (2, 1): ZERO_OR_LOST, (1, 2): FAILED, (2, 2): NOT_RUN, (3, 1): "",
    }  # fmt: skip
    assert plot.missing == 1
    figure = heat_map_figure(plot)
    words = " ".join(texts(figure))
    assert all(f"{word} (1)" in words for word in (ZERO_OR_LOST, FAILED, NOT_RUN, "not in the sweep"))
    hatches = [collection.get_hatch() for collection in figure.axes[0].collections if collection.get_hatch()]
    assert len(set(hatches)) == 3
    assert_legible(figure)


@pytest.mark.parametrize("value", ["output.variance", "verdict"])
def test_nothing_done_is_drawn_all_the_same(value):
    entries = [undone("failed", layers=1, width=w) for w in (1, 2)]
    plot = mapped(entries, value=value)
    assert [cell.empty for cell in plot.cells] == [True, True]
    assert_legible(heat_map_figure(plot))


def test_each_verdict_has_its_own_colour():
    entries = [
        run(layers=1, width=1, seed=0), run(rule="vanishing-output", layers=2, width=1, seed=0),
        run(rule="overflow", layers=1, width=2, seed=0), run(rule="overflow", layers=1, width=2, seed=1),
        run(layers=1, width=2, seed=2), run(layers=2, width=2, seed=0),
    ]  # fmt: skip
    plot = mapped(entries, value="verdict")
    words = {(cell.x, cell.y): (cell.word, cell.lacking) for cell in plot.cells}
    assert words[1, 2] == ("overflow", DISAGREE)
    assert words[2, 1] == ("vanishing-output", "")
    figure = heat_map_figure(plot)
    assert {"survives (2)", "vanishing output (1)", "overflow (1)", f"{DISAGREE} (1)"} <= set(texts(figure))
    assert len(figure.axes) == 1  # words have no colour bar
    assert len({tuple(color) for color in drawn_rows(figure)[1]}) == 3


# Machado, Oliveira & Fernandes 2009, doi:10.1109/TVCG.2009.113: linear RGB as seen without red and without green cones.
BLIND = {
    "none": np.eye(3),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
NOTICEABLE = 2.3  # CIE 1976 colour difference that half of all people see


def lab(color, color_seen):
    """CIE L*a*b* of an sRGB colour."""
    from matplotlib.colors import to_rgb

    rgb = np.array(to_rgb(color))
    linear = np.clip(color_seen @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 0, 1)
    white = XYZ.sum(axis=1)
    f = np.array([np.cbrt(t) if t > (6 / 29) ** 3 else t * (29 / 6) ** 2 / 3 + 4 / 29 for t in XYZ @ linear / white])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", BLIND)
def test_colours_are_distinct(vision):
    """All verdicts of the table, and all lines of the cycle: five times a just noticeable difference."""
    for colors in (set(VERDICTS.values()), CYCLE):
        perceived = [lab(color, BLIND[vision]) for color in colors]
        assert min(np.linalg.norm(first - second) for first, second in combinations(perceived, 2)) > 5 * NOTICEABLE


def test_critical_line_lies_where_theory_has_it():
    entries = grid(np.linspace(0.5, 3, 20).tolist(), np.linspace(0, 0.5, 20).tolist(), ("sigma_w", "sigma_b"))
    plot = mapped(entries, "sigma_w", "sigma_b")
    (line,) = [line for line in heat_map_figure(plot).axes[0].lines if len(line.get_xdata()) > 2]
    w, b = line.get_data()
    assert (w[0], b[0]) == pytest.approx((1, 0), abs=1e-3)  # tanh without biases: slope 1 at 0
    assert np.all(np.diff(w) > 0)
    for wide, high in list(zip(w, b, strict=True))[5::5]:
        chi = package.meanfield.phase.quick_fixed_point(ACTIVATIONS["tanh"], wide, high).chi_1
        assert chi == pytest.approx(1, abs=1e-3)
    swapped = heat_map_figure(mapped(entries, "sigma_b", "sigma_w")).axes[0].lines[-1].get_data()
    assert np.array_equal(swapped, (b, w))


def test_critical_line_only_where_it_is_one_line():
    assert all(panel.line is None for panel in mapped(grid((10, 20), (1, 2))).panels)
    entries = [run(sigma_w=w, sigma_b=b, act=f"act{a}") for w in (1, 2) for b in (0, 1) for a in range(13)]
    assert mapped(entries, "sigma_w", "sigma_b").panels[0].line is None  # averaged over activations
    entries = [run(sigma_w=w) for w in (1, 2)]
    assert mapped(entries, "sigma_w", "sigma_b").panels[0].line is None  # the runs do not say which sigma_b


def test_relu_is_critical_at_one_weight_scale():
    w, _ = critical_curve(ACTIVATIONS["relu"], 0.0, 1.0)
    assert w == pytest.approx(math.sqrt(2))


def test_axes_by_ratio_and_uneven_ones():
    logs = mapped(grid((1, 10, 100, 1000), (1, 2, 3, 7)))
    assert logs.x.log
    assert logs.x.edges == pytest.approx([10**power for power in (-0.5, 0.5, 1.5, 2.5, 3.5)])
    assert (logs.y.places, logs.y.log) == ((0, 1, 2, 3), False)
    figure = heat_map_figure(logs)
    assert figure.axes[0].get_xscale() == "log"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["1", "2", "3", "7"]
    assert_legible(figure)


@pytest.mark.parametrize("panels", [1, 2, 5, 12])
def test_ticks_do_not_run_together(panels):
    values = [0.5, 0.75, 1.0, 1.25, math.sqrt(2), 5 / 3, 2.0, 3.0]
    entries = [run(gain=g, width=w, act=f"act{a}") for g in values for w in (2, 3) for a in range(panels)]
    assert_legible(heat_map_figure(mapped(entries, "gain")))


def test_a_diagonal_of_runs_is_drawn_as_points():
    plot = mapped([run(layers=n, width=10 * n) for n in range(1, 41)])
    assert plot.sparse
    points = heat_map_figure(plot).axes[0].collections[0].get_offsets()
    assert np.array_equal(points, [(n, 10 * n) for n in range(1, 41)])


def test_one_cell_and_an_axis_that_does_not_vary():
    figure = heat_map_figure(mapped([run(layers=3)]))
    assert "width (the same in all runs)" in texts(figure)
    assert_legible(figure)


def test_runs_without_the_axes_are_counted():
    plot = mapped([run(layers=1, width=1), run(layers=2, width=1), run(init="he")])
    assert plot.notes == ("1 run has no layers or width",)
    assert_legible(heat_map_figure(mapped([run(layers=1), run(width=1)])))


def test_an_outlier_does_not_wash_out_the_others():
    entries = [*grid(range(1, 11), range(1, 11)), run(rate=300, layers=11, width=11)]
    figure = heat_map_figure(mapped(entries))
    bar = figure.axes[-1]
    assert bar.get_ylim()[1] < 300


def few(count=4):
    return [run(rate=-n, init="he" if n % 2 else "xavier", layers=n) for n in range(count)]


def test_depth_has_a_line_per_run():
    plot = depth_plot(few(), "output.variance", unread)
    assert [line.label for line in plot.lines] == [f"{'he' if n % 2 else 'xavier'}, layers={n}" for n in range(4)]
    figure = depth_figure(plot, "name")
    measured, predicted = figure.axes[0].collections
    assert len(measured.get_paths()) == len(predicted.get_paths()) == 4
    for number, path in enumerate(measured.get_paths()):
        assert np.allclose(path.vertices, [(layer + 1, -number * layer) for layer in range(LAYERS)])
    assert {line.label for line in plot.lines} | {"theory"} <= set(texts(figure))
    assert len({tuple(color) for color in measured.get_colors()}) == 4
    assert_legible(figure)


def test_four_hundred_lines_are_coloured_by_the_numeric_axis():
    entries = [run(rate=-gain, init__gain=gain, seed=seed) for gain in np.geomspace(0.5, 3, 20) for seed in range(20)]
    plot = depth_plot(entries, "output.variance", unread)
    assert (plot.color, len(plot.lines), plot.notes) == ("init.gain", 400, ())
    assert sum(line.predicted is not None for line in plot.lines) == 20  # one a setting
    figure = depth_figure(plot)
    colors = figure.axes[0].collections[0].get_colors()
    assert len({tuple(color) for color in colors}) == 20
    assert np.all(np.diff(colors[::20, :3].sum(axis=1)) > 0)  # dark to light
    assert figure.axes[-1].get_ylabel() == "init.gain"
    assert_legible(figure)


def test_four_hundred_lines_without_numbers_get_panels_and_verdicts():
    entries = [
        run(-i / 10, None if i % 2 else "vanishing-output", act=f"act{a}", init=f"init{i}", seed=seed)
        for a in range(5) for i in range(16) for seed in range(5)
    ]  # fmt: skip
    plot = depth_plot(entries, "output.variance", unread)
    assert len({entry.axes["init"] for entry in entries}) > MOST_NAMED
    assert (plot.color, len(plot.lines)) == (VERDICT, 400)
    assert [panel.title for panel in plot.panels] == [f"act{a}" for a in range(5)]
    figure = depth_figure(plot)
    assert {"survives (200 runs)", "vanishing output (200 runs)"} <= set(texts(figure))
    assert "lines also differ in init" in texts(figure)
    assert_legible(figure)


def test_lines_end_where_the_number_is_lost_and_that_is_marked():
    lost = run(init="a")
    lost = replace(lost, digest=lost.digest.model_copy(update={"output": (0.0, -1.0, None, None, None)}))
    plot = depth_plot([lost, run(init="b"), run(None, init="c"), undone("failed", init="d")], "output.variance", unread)
    assert plot.notes == ("1 failed", "1 without a value above 0")
    figure = depth_figure(plot)
    (marks,) = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert np.array_equal(marks.get_xydata(), [(2, -1.0)])
    assert "0 or lost beyond" in texts(figure)
    assert_legible(figure)


@pytest.mark.parametrize("entries", [[run()], [run(None)], [run(None, init="a"), run(None, init="b")]])
def test_depth_of_one_run_and_of_no_numbers(entries):
    assert_legible(depth_figure(depth_plot(entries, "output.variance", unread)))


@pytest.fixture(scope="module")
def results():
    """Real runs with all verdicts, by initializer, each with two activations."""
    inits = ("he", "xavier", "normal:std=1e-30", "normal:std=1e30", "zeros")
    small = {"layers": 4, "width": 30, "batch": 20, "draws": 2}
    return {
        (init, act): package.run(package.ProbeConfig(init=init, act=act, **small))
        for init in inits for act in ("tanh", "relu")
    }  # fmt: skip


@pytest.fixture
def entries(results):
    return [Fake({"init": i, "act": a}, digest(result)) for (i, a), result in results.items()]


@pytest.fixture
def read(results):
    return lambda entry: results[entry.axes["init"], entry.axes["act"]]


def test_digest_and_result_say_the_same(entries, read):
    """float64 logs of the same numbers: equal."""
    for entry in entries:
        bare = replace(entry, digest=None)
        for name in ("output.variance", "output_gradient.variance"):
            quick, slow = series(name, entry, read), series(name, bare, read)
            assert np.array_equal(quick.measured, slow.measured, equal_nan=True)
            assert np.array_equal(quick.predicted, slow.predicted, equal_nan=True)


def test_a_std_is_half_a_variance_in_the_log(entries, read):
    for entry in entries:
        std, variance = series("output.std", entry, read), series("output.variance", entry, read)
        assert std.measured == pytest.approx(variance.measured / 2, nan_ok=True)
    assert is_log("output.std")
    assert not is_log("correlation")


def test_histograms_of_every_value_of_the_axis(entries, read):
    plot = histogram_plot(entries, "act", "output", read)
    assert [panel.title for panel in plot.panels] == ["tanh", "relu"]
    assert plot.labels == ("he", "xavier", "normal:std=1e30", "zeros")
    assert all("1 underflow" in panel.note for panel in plot.panels)
    assert len(plot.edges) == BINS + 1
    assert any(math.isclose(low, -high) for low, high in pairwise(plot.edges))  # 0 amid a bin
    for panel in plot.panels:
        for curve in panel.curves:
            assert curve.shares.sum() + curve.outside == pytest.approx(1)
    he = {panel.title: panel.curves[0] for panel in plot.panels}
    half = plot.edges[:-1] < 0
    # Half of the outputs lie below 0, which is amid a bin. Five standard deviations of the signs of 60 units.
    below = he["tanh"].shares[half]
    assert below.sum() - below[-1] / 2 == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(60))
    assert he["relu"].shares[plot.edges[1:] < 0].sum() == 0
    figure = histogram_figure(plot, "name")
    assert [axes.get_title() for axes in figure.axes] == ["tanh", "relu"]
    assert set(plot.labels) <= set(texts(figure))
    heights = figure.axes[0].patches[0].get_data().values
    assert np.allclose(heights, np.minimum(plot.panels[0].curves[0].shares, plot.ceiling))
    assert_legible(figure)


def test_gradients_are_shown_at_the_first_layer(entries, read):
    plot = histogram_plot(entries, "init", "output_gradient", read)
    assert plot.layer == "first layer"
    assert_legible(histogram_figure(plot))


def test_lost_and_failed_panels_say_so(entries, read):
    lost = [entry for entry in entries if entry.axes["init"] == "normal:std=1e30" and entry.axes["act"] == "relu"]
    plot = histogram_plot([*lost, undone("failed", init="x"), undone("queued", init="y")], "init", "output", read)
    status = read(lost[0]).layers[-1].output.status
    assert [panel.note for panel in plot.panels] == [f"1 {STATUS_WORDS[status]}", "1 failed", "1 not run"]
    assert status != "ok"
    figure = histogram_figure(plot)
    assert {f"1 {STATUS_WORDS[status]}", "1 failed", "1 not run"} <= set(texts(figure))


def test_histograms_of_four_hundred_runs(results):
    result = results["he", "relu"]
    runs = [Fake({"init": f"i{i}", "act": f"a{a}"}, digest(result)) for i in range(40) for a in range(10)]
    plot = histogram_plot(runs, "init", "output", lambda entry: result)
    assert len(plot.panels) == MOST_PANELS
    assert plot.notes == ("mean of up to 10 runs per panel", f"{MOST_PANELS} of 40 values shown")
    assert all(len(panel.curves) == 1 for panel in plot.panels)
    assert_legible(histogram_figure(plot))


@pytest.mark.parametrize("fmt", ["png", "svg", "pdf"])
def test_same_bytes_twice_whatever_the_user_has_set(entries, read, fmt):
    import matplotlib as mpl

    def pictures():
        yield depth_figure(depth_plot(entries, "output.variance", read))
        yield histogram_figure(histogram_plot(entries, "init", "output", read))
        yield heat_map_figure(mapped([*grid(range(1, 9), (1, 2)), undone("failed", layers=9, width=1)]))

    first = [render(figure, fmt) for figure in pictures()]
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "image.cmap": "hot", "hatch.linewidth": 9}):
        assert [render(figure, fmt) for figure in pictures()] == first


def kinds(entries):
    return [
        (figure.kind, getattr(figure, "x", None), getattr(figure, "y", None)) for figure in default_figures(entries)
    ]


def test_defaults_from_the_axes():
    assert kinds(grid((1, 2), (3, 4))) == [("heatmap", "layers", "width")] * 3
    sigmas = [run(layers=n, sigma_b=b, sigma_w=w) for n in (1, 2) for b in (0, 1) for w in (1, 2)]
    assert kinds(sigmas) == [("heatmap", "sigma_w", "sigma_b")] * 3
    assert [figure.kind for figure in default_figures(few())] == ["depth", "depth", "histograms"]
    assert [figure.kind for figure in default_figures([run()])] == ["depth", "depth"]
    assert [figure.kind for figure in default_figures([run(seed=s, layers=s) for s in (1, 2)])] == ["depth", "depth"]
    assert isinstance(default_figures([run()])[0], Depth)


def test_widths_are_words():
    entries = [run(widths=",".join(["9"] * n), act=a) for n in (2, 3, 40) for a in ("tanh", "relu")]
    assert [figure.kind for figure in default_figures(entries)] == ["depth", "depth", "histograms"]
    assert_legible(depth_figure(depth_plot(entries, "output.variance", unread)))


def test_shipped_sweep_is_drawn_whole_and_again_the_same(initprobe, tmp_path):
    from article_figures import ROOT

    config = ROOT / "configs" / "phase_diagram.yaml"
    small = ["--set", "defaults.layers=2", "--set", "defaults.width=8", "--set", "defaults.batch=8", "-j", "1"]
    first = initprobe("sweep", config, *small, "--out", "a")
    assert first.code == 0, first.err
    names = [f"heatmap-{number}.png" for number in (1, 2, 3, 4)]
    before = {name: (tmp_path / "a" / name).read_bytes() for name in names}
    assert initprobe("sweep", config, *small, "--out", "a").code == 0
    assert {name: (tmp_path / "a" / name).read_bytes() for name in names} == before


def test_a_failed_run_costs_no_figure(initprobe, tmp_path):
    """A run that needs 10^7 x 10^7 weights is refused for its memory."""
    text = (
        "version: 1\nname: t\ndefaults: {act: relu, init: he, batch: 9, draws: 1, input_width: 9}\n"
        "grid: {layers: [2, 3], width: [9, 10000000]}\n"
    )
    (tmp_path / "t.yaml").write_text(text)
    outcome = initprobe("sweep", "t.yaml", "-j", "1", "--out", "o")
    assert outcome.code == 3, outcome.err
    assert {path.name for path in (tmp_path / "o").glob("*.png")} == {f"heatmap-{n}.png" for n in (1, 2, 3)}


def test_matplotlib_is_imported_only_to_draw():
    code = "import sys, initprobe.cli.commands.sweep, initprobe.cli.sweep_figures; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_variance_of_0_is_not_called_lost():
    zeros = run(layers=1, width=2, rate=None)
    exact = Fake(zeros.axes, zeros.digest.model_copy(update={"output_zeros": tuple(range(1, LAYERS + 1))}))
    plot = mapped([run(layers=1, width=1), run(layers=2, width=1), exact, run(layers=2, width=2, rate=None)])
    assert {(cell.x, cell.y): cell.lacking for cell in plot.cells} == {
        (1, 1): "", (2, 1): "", (1, 2): ZERO, (2, 2): ZERO_OR_LOST,
    }  # fmt: skip


def test_a_colour_bar_of_whole_numbers_has_whole_ticks():
    entries = [run(layers=layers, width=width, init=f"init{width}") for layers in range(4, 12) for width in range(3)]
    figure = depth_figure(depth_plot(entries, "output.variance", unread))
    labels = [label.get_text() for label in figure.axes[-1].get_yticklabels()]
    assert labels and all(label.lstrip("-").isdigit() for label in labels)


def test_headings_of_panels_do_not_touch():
    figure = blank_figure(4, 2)
    boxes = []
    for left in (0.1, 0.55):
        axes = figure.add_axes((left, 0.2, 0.4, 0.5))
        axes.set_title("truncated_normal:std=0.05679,low=-1.512,high=1.512,x^")
        fit_title(axes)
        boxes.append(axes.title.get_window_extent())
    assert not boxes[0].overlaps(boxes[1])
