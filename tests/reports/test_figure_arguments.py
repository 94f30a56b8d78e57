"""Every result has a line, a table, a frame and a block of HTML, and the same method `figure`, also for a paper."""

import inspect
import re
from html import unescape

import numpy as np
import pytest
from matplotlib.lines import Line2D

import initprobe
from initprobe.errors import ConfigError, UnknownNameError
from initprobe.reports.figures.look import Look
from initprobe.reports.figures.panel_grid import PanelSizes, make_grid
from initprobe.reports.figures.style import style
from initprobe.results.coordinate_check import CoordinateCheck
from initprobe.results.display import HasFigures
from initprobe.results.run import ProbeResult
from initprobe.results.spectrum import Spectrum

_COLUMN = Look(size=(3.3, 2.5), style="paper")
_FILE = """
version: 1
name: small
defaults: {layers: 3, width: 10, batch: 20, draws: 1}
grid: {sigma_w: [1.0, 2.0], sigma_b: [0.1, 0.5], act: [tanh, relu]}
"""


def _config(**changes):
    return initprobe.ProbeConfig(**{"init": "he", "act": "relu", "layers": 3, "width": 12, "draws": 1} | changes)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    home = tmp_path_factory.mktemp("sweep")
    (home / "small.yaml").write_text(_FILE)
    return initprobe.sweep(home / "small.yaml", out=home / "out", jobs=1)


@pytest.fixture(scope="module")
def drawable(swept):
    """An object of each kind."""
    return {
        "run": initprobe.run(_config()),
        "compare": initprobe.compare([_config(), _config(layers=4)]),
        "spectrum": initprobe.spectrum(_config()),
        "phase": initprobe.phase("tanh", np.linspace(0.5, 3, 8), np.linspace(0, 1, 8)),
        "width": initprobe.width(_config(), widths=[8, 16, 32], seeds=2, steps=1),
        "sweep": swept,
    }


def test_every_figure_has_the_same_arguments(drawable):
    assert {type(each).figure for each in drawable.values()} == {HasFigures.figure}
    assert all(issubclass(kind, HasFigures) for kind in (ProbeResult, Spectrum, CoordinateCheck, initprobe.Comparison))
    names = list(inspect.signature(HasFigures.figure).parameters)
    assert names == ["self", "kind", "size", "title", "columns", "style"]


@pytest.mark.parametrize("name", ["run", "compare", "spectrum", "phase", "width", "sweep"])
def test_a_figure_takes_size_title_and_style(drawable, name):
    figure = drawable[name].figure(size=(6, 5), title="my title")
    assert tuple(figure.get_size_inches()) == (6, 5)
    assert "my title" in [text.get_text() for text in figure.texts]
    paper = drawable[name].figure(style="paper")
    assert paper.get_figwidth() == pytest.approx(3.3)
    assert 0.5 < paper.get_figheight() < 9
    with pytest.raises(UnknownNameError, match="unknown figure 'sumary'"):
        drawable[name].figure("sumary")
    with pytest.raises(ConfigError, match="style"):
        drawable[name].figure(style="poster")


FRAMES = {
    "run": (3, "output.variance"),
    "compare": (7, "title"),
    "spectrum": (6, "percentiles_log10.p50"),
    "phase": (64, "xi_gradient"),
    "width": (96, "rms"),
    "sweep": (24, "sigma_w"),
    "gain": (1, "torch_q"),
    "recommend": (6, "predicted"),
}


@pytest.fixture(scope="module")
def results(drawable):
    return drawable | {"gain": initprobe.gain("tanh", 0.2), "recommend": initprobe.recommend("relu", 3, 20)}


@pytest.mark.parametrize("name", FRAMES)
def test_a_result_shows_itself(results, name):
    result = results[name]
    line, html = repr(result), result._repr_html_()
    assert line == str(result) and re.fullmatch(rf"<{type(result).__name__}: [^\n]{{10,130}}>", line)
    text = re.sub("<[^>]*>", "", re.search("<pre [^>]*>(.*)</pre>", html, re.DOTALL)[1])
    assert unescape(text).rstrip() == result.table(100).rstrip() and len(text.splitlines()) > 4
    assert html.count('<img alt="') == isinstance(result, HasFigures) and "monospace" in html


@pytest.mark.parametrize("name", FRAMES)
def test_a_result_is_a_frame(results, name):
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = results[name].to_dataframe()
    rows, column = FRAMES[name]
    assert len(frame) == rows and column in frame


def _texts(figure):
    return [text.get_text() for axes in figure.axes for text in (axes.xaxis.label, axes.yaxis.label)]


def test_a_sweep_draws_its_figures_by_name_and_by_keys(swept):
    assert "sigma_w" in _texts(swept.figure())
    assert "small: verdict" in [text.get_text() for text in swept.figure("heatmap-3").texts]
    figure = swept.figure({"kind": "heatmap", "x": "sigma_b", "y": "sigma_w", "layer": 2})
    assert "sigma_b" in _texts(figure)
    for kind in ("depth", "histograms", "layer_histograms"):
        if kind == "layer_histograms":
            with pytest.raises(ConfigError, match="at most 6 runs"):
                swept.figure(kind)
        else:
            assert swept.figure(kind, style="paper").axes


def test_wrong_keys_of_a_figure_are_named(swept):
    with pytest.raises(ConfigError, match="kind: unknown axis 'gain'"):
        swept.figure({"kind": "heatmap", "x": "gain", "y": "sigma_b"})
    with pytest.raises(ConfigError, match="summary shows one run"):
        swept.figure({"kind": "summary"})
    with pytest.raises(ConfigError, match="kind: colour"):
        swept.figure({"kind": "depth", "colour": "red"})


def test_a_loaded_sweep_draws_what_needs_no_code(swept):
    loaded = initprobe.load(swept.path)
    lines = [len(axes.lines) for axes in loaded.figure("heatmap-1").axes]
    assert lines == [len(axes.lines) for axes in swept.figure("heatmap-1").axes]  # the edge of chaos is drawn too
    with pytest.raises(ConfigError, match=r"call initprobe.sweep\(FILE\)"):
        loaded.figure("maps")


def test_a_legend_on_paper_has_as_many_columns_as_fit():
    labels = [f"layers={layers}, width={width} (2 runs)" for layers in (4, 8, 12) for width in (10, 20, 30)]
    handles = [(Line2D([], []), label) for label in labels]
    with style(_COLUMN.settings):
        figure = make_grid("", [], PanelSizes(2, 2, 3.6, 2.6), handles, look=_COLUMN).figure
        figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert figure.legends[0]._ncols == 2
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.width
    assert figure.axes[0].bbox.height > 0.4 * figure.bbox.height


def test_a_phase_diagram_of_one_row_has_no_figure():
    with pytest.raises(ConfigError, match="at least two values of sigma_w"):
        initprobe.phase("tanh", [1, 2], 0.1).figure()
    html = initprobe.phase("tanh", [1, 2], 0.1)._repr_html_()
    assert html.endswith("<p>no figure: a figure needs at least two values of sigma_w and two of sigma_b</p>")


def test_a_comparison_names_what_differs(drawable):
    labels = [text.get_text() for text in drawable["compare"].figure().legends[0].get_texts()]
    assert labels == ["he + relu, layers=3", "he + relu, layers=4", "theory"]
    assert "layers=4" in drawable["compare"].table()
