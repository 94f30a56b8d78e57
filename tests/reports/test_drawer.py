"""The process that draws while another measures: the same pictures, and nothing is lost with it."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import initprobe.reports.figures.run  # noqa: F401, loaded as in a process that has drawn
from initprobe import ProbeConfig, run
from initprobe.reports.figures import drawer
from initprobe.reports.figures.style import DPI, render, style
from initprobe.results.run import ProbeResult

CASES = {
    "plain": {"init": "xavier", "act": "tanh", "layers": 3},
    "lost": {"init": "normal:std=100", "act": "relu", "layers": 25},
    "trained": {"init": "lsuv", "act": "relu", "layers": 3, "train_steps": 5},
}


@pytest.fixture
def helpful(monkeypatch):
    """A process that has drawn nothing yet, with more than one processor."""
    monkeypatch.setattr(drawer, "_helps", lambda: True)


def here(result, formats):
    """The figures that this process draws."""
    return list(drawer.pictures(result, formats))


@pytest.mark.parametrize("case", ["plain", "lost", pytest.param("trained", marks=pytest.mark.slow)])
def test_pictures_are_those_that_this_process_draws(case, helpful):
    result = run(ProbeConfig(width=30, batch=40, draws=2, **CASES[case]))
    with drawer.drawer(["png", "svg"]) as process:
        there = drawer.pictures(result, ["png", "svg"], process)
    assert process.returncode == 0
    assert there == here(result, ["png", "svg"])


def test_no_process_for_no_pictures(helpful):
    with drawer.drawer([]) as process:
        assert process is None


def test_no_process_once_matplotlib_is_loaded():
    with drawer.drawer(["png"]) as process:
        assert process is None


def test_it_ends_with_what_it_was_started_for(helpful):
    with pytest.raises(ZeroDivisionError), drawer.drawer(["png"]) as process:
        _ = 1 / 0
    assert process.returncode is not None
    assert process.stdin.closed and process.stdout.closed


def test_an_error_of_that_process_is_raised_here(helpful):
    result = run(ProbeConfig(init="xavier", act="tanh", width=20, batch=20))
    with drawer.drawer(["tiff"]) as process, pytest.raises(KeyError, match="tiff"):
        list(drawer.pictures(result, ["tiff"], process))


def test_what_draws_loads_no_pydantic():
    """The process that draws starts before pydantic is loaded, and would load it for itself."""
    code = "import sys, initprobe.reports.figures.run; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_png_has_the_pixels_that_matplotlib_writes():
    figure = run(ProbeConfig(init="xavier", act="tanh", width=20, batch=20, layers=2)).figure("depth")
    theirs = io.BytesIO()
    with style():
        figure.savefig(theirs, format="png", dpi=DPI)
    ours, theirs = (Image.open(file) for file in (io.BytesIO(render(figure, "png")), theirs))
    assert np.array_equal(np.asarray(ours), np.asarray(theirs.convert("RGB")))
    assert ours.info["dpi"] == theirs.info["dpi"]


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The directory of a temporary cache, which matplotlib makes if it cannot write to the user's."""
    (tmp_path / "file").touch()
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "file" / "none"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a process is ended without a word")
@pytest.mark.parametrize("wanted", [True, False])
def test_no_temporary_file_is_left(wanted, helpful, scratch):
    result = run(ProbeConfig(init="xavier", act="tanh", width=20, batch=20))
    with drawer.drawer(["png"]) as process:
        for _ in range(3000):
            # Python itself first tries whether it may write there, by a file that is soon gone.
            if made := [path for path in scratch.iterdir() if path.is_dir()]:
                break
            time.sleep(0.01)
        if wanted:
            assert len(drawer.pictures(result, ["png"], process)) == 4
    assert made
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("program", [None, ""])
def test_no_process_without_a_program_to_run(program, monkeypatch):
    """As if Python were embedded in another program."""
    monkeypatch.setattr(sys, "executable", program)
    monkeypatch.delitem(sys.modules, "matplotlib")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    with drawer.drawer(["png"]) as process:
        assert process is None


def test_places_that_imports_skip_are_skipped(helpful, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, Path("nowhere")])
    result = run(ProbeConfig(init="xavier", act="tanh", width=20, batch=20))
    with drawer.drawer(["png"]) as process:
        assert len(drawer.pictures(result, ["png"], process)) == 4
    assert process.returncode == 0


PROGRAM = """
import sys
from initprobe.cli.app import main
from initprobe.reports.figures import drawer
drawer._helps = lambda: True
python = sys.argv.pop(1)
if python != "copy":
    drawer.can_fork = lambda: False
    sys.executable = python
try:
    main()
finally:
    print('here' if 'matplotlib' in sys.modules else 'elsewhere')
"""


@pytest.mark.skipif(os.name != "posix", reason="needs programs that fail and talk")
@pytest.mark.parametrize(
    ("python", "place"),
    [
        (sys.executable, "elsewhere"),
        pytest.param("copy", "elsewhere", marks=pytest.mark.skipif(sys.platform != "linux", reason="no safe fork")),
        ("false", "here"),
        pytest.param("/nowhere", "here", marks=pytest.mark.slow),
        pytest.param("echo", "here", marks=pytest.mark.slow),
    ],
)
def test_without_that_process_this_one_draws(python, place, tmp_path):
    words = ["run", "--init", "xavier", "--act", "tanh", "--width", "30", "--batch", "40", "-o", "out", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, python, *words], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == place
    text = (tmp_path / "out" / "result.json").read_text()
    pictures = here(ProbeResult.from_json(text), ["png"])
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")} == {
        f"{kind}.{fmt}": data for kind, fmt, data in pictures
    }
    assert len(pictures) == 4
