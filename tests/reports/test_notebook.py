"""What a Jupyter notebook shows, by executing one; and results as text, wherever they are printed."""

import base64
import io
import math
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout

import pytest

import initprobe
from initprobe import ProbeConfig, run
from initprobe.reports.console import console
from initprobe.reports.figures.style import Picture
from initprobe.results.base import Record

CELLS = {
    "begin": (
        "import sys, initprobe\n"
        "r = initprobe.run(initprobe.ProbeConfig(init='normal:std=0.01', act='tanh', layers=3, width=30, batch=40))\n"
        "print('matplotlib' in sys.modules)"
    ),
    "result": "r",
    "table": "print(r.table())",
    "narrow": "print(r.table(width=80))",
    "figure": "r.figure('depth')",
    "words": "repr(r), str(r), r.layers[0], r.diagnosis",
    "pyplot": "print('matplotlib.pyplot' in sys.modules)",
    "inline": "%matplotlib inline\nr.figure('depth')",
    "progress": (
        "import time\nfrom initprobe.reports import notebook\n"
        "notebook._PATIENCE_S = 0\n"
        "c = initprobe.ProbeConfig(init='he', act='relu', layers=30, width=9, batch=9)\n"
        "len(initprobe.run(c).layers) == 30"
    ),
    "error": "r.figure('hist')",
}


@pytest.fixture(scope="module")
def shown():
    """The outputs of each cell, by name."""
    nbformat, client = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [nbformat.v4.new_code_cell(code) for code in CELLS.values()]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client.NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True).execute()
    return dict(zip(CELLS, (cell.outputs for cell in notebook.cells), strict=True))


def text_of(outputs):
    assert [output.output_type for output in outputs] == ["stream"]
    return outputs[0].text


def test_a_result_is_one_block(shown):
    (output,) = shown["result"]
    page = output.data["text/html"]
    (text,) = re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)
    heading = r'<span style="color: color-mix\([^"]*; font-weight: bold">error     VANISHING OUTPUT'
    assert re.match(heading, text) and "+-%" in text
    (picture,) = re.findall(r'<img [^>]*src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(picture).startswith(b"\x89PNG")


def words(text):
    """The words of a text, without the backslashes where a command is folded."""
    return [word for word in text.split() if word != "\\"]


def test_text_is_text(shown):
    text = text_of(shown["narrow"])
    assert words(text_of(shown["table"])) == words(text)
    assert "VANISHING OUTPUT" in text and "dL/dW" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("fix ")) <= 80


@pytest.mark.parametrize("name", ["figure", "inline"])
def test_a_figure_is_shown_as_the_last_value(shown, name):
    (output,) = [output for output in shown[name] if output.output_type == "execute_result"]
    assert base64.b64decode(output.data["image/png"]).startswith(b"\x89PNG")


def test_matplotlib_is_loaded_when_needed_and_pyplot_never(shown):
    assert text_of(shown["begin"]) == "False\n"
    assert text_of(shown["pyplot"]) == "False\n"


def test_a_bar_while_it_runs_that_leaves_nothing(shown):
    bars = [output for output in shown["progress"] if output.output_type == "display_data"]
    assert len(bars) == 1 and bars[0].data["text/html"] == ""
    assert shown["progress"][-1].data["text/plain"] == "True"


def test_no_other_output(shown):
    assert not [output for outputs in shown.values() for output in outputs if output.get("name") == "stderr"]


def test_an_unknown_figure_is_one_line(shown):
    (error,) = shown["error"]
    assert error.ename == "UnknownNameError" and "There are summary, output, gradient, depth." in error.evalue


@pytest.fixture(scope="module")
def result():
    return run(ProbeConfig(init="normal:std=0.01", act="tanh", layers=3, width=30, batch=40))


def parts(record):
    """A record and all records in it."""
    if isinstance(record, Record):
        yield record
        for _, value in record:
            yield from parts(value)
    elif isinstance(record, tuple):
        for entry in record:
            yield from parts(entry)


def test_every_record_has_a_repr_in_one_line(result):
    trained = run(ProbeConfig(init="he", act="relu", layers=2, width=9, batch=9, train_steps=2))
    for part in (*parts(result), *parts(trained)):
        for text in (repr(part), str(part)):
            assert text.startswith(f"<{type(part).__name__}: ") and "\n" not in text and len(text) < 160


def test_a_result_says_its_verdict_and_shape(result):
    assert repr(result) == (
        "<ProbeResult: vanishing output from layer 1; Normal (std 0.01) + tanh, 3 layers of 30; 30 -> 3 x 30>"
    )
    assert "signal survives" in repr(run(ProbeConfig(init="he", act="relu", layers=2, width=40, batch=40)))


def test_other_results_are_shown_in_a_notebook():
    from initprobe.probe.experiment import prepare
    from initprobe.studies.recommendation import recommend
    from initprobe.studies.spectrum import measure

    advice = recommend("tanh", layers=3, width=20)
    assert repr(advice) == f"<Recommendation: {advice.summary}>" and len(repr(advice)) < 200
    spectrum = measure(prepare(ProbeConfig(init="orthogonal", act="tanh", layers=2, width=9, batch=9)), 2)
    assert repr(spectrum).startswith("<Spectrum: ") and "\n" not in repr(spectrum)


@pytest.mark.parametrize("kind", ["hist", "histogram", "Depth", "", "training", "fitting"])
def test_figures_that_are_not_there(result, kind):
    with pytest.raises(KeyError) as refused:
        result.figure(kind)
    assert isinstance(refused.value, initprobe.ConfigError)
    assert "There are summary, output, gradient, depth." in str(refused.value) and "\n" not in str(refused.value)


def test_figures_draw_themselves_the_same_each_time(result):
    figure = result.figure("depth")
    assert isinstance(figure, Picture)
    assert figure._repr_png_() == figure._repr_png_() == result.figure("depth")._repr_png_()


@pytest.mark.parametrize("width", [72, 80, 120])
def test_the_table_folds_and_loses_no_word(result, width):
    text = result.table(width)
    assert max(len(line) for line in text.splitlines() if not line.startswith("fix ")) <= max(width, 80)
    assert words(result.table()) == words(text)
    there = io.StringIO()
    from initprobe.reports.run_table import print_result

    print_result(result, console(there, color=False))
    assert words(text) == words(there.getvalue())


@pytest.mark.parametrize("width", range(40, 60))
def test_a_folded_line_is_indented_alike(width):
    assert "\n   " not in initprobe.gain("tanh").table(width).partition("\nforward gain:")[2]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_the_table_can_be_printed_in_any_encoding(result, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with redirect_stdout(stream):
        text = result.table()
    assert text.encode(encoding).decode(encoding) == text and "?" not in text


def test_a_result_prints_without_a_notebook():
    code = (
        "import initprobe; r = initprobe.run(initprobe.ProbeConfig(init='he', act='relu', layers=2, width=9, batch=9));"
        "print(r.table()); print(r)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONIOENCODING": "cp1252"}
    )
    assert done.returncode == 0 and "layer" in done.stdout and not done.stderr
    assert math.isclose(done.stdout.count("?"), 0)
