"""The command line: every option, every refusal, exit codes, pipes and interruptions."""

import csv
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import psutil
import pytest
from click.types import StringParamType
from directories import files_below
from waiting import wait_until

import initprobe as package
from initprobe.cli.app import COMMANDS, cli
from initprobe.cli.option_hints import unknown_option
from initprobe.cli.progress import progress_bar
from initprobe.reports.console import console
from initprobe.reports.verdict import print_verdict

TINY = ("--layers", 2, "--width", 20, "--batch", 30, "--draws", 2)
RUN = ("run", "--init", "xavier", "--act", "tanh", *TINY)
PICTURES = {f"{kind}.png" for kind in ("summary", "output", "gradient", "depth")}


def exported(outcome):
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_default_files_and_table(initprobe, tmp_path):
    outcome = initprobe(*RUN)
    assert outcome.code == 0, outcome.err
    assert "Xavier normal + tanh, 2 layers of 20" in outcome.out
    assert "20 -> 2 x 20" in outcome.out
    home = "initprobe-out/xavier-tanh-2x20-batch30-draws2"
    assert files_below(tmp_path) == {f"{home}/{name}" for name in PICTURES | {"result.json"}}
    assert f"wrote     {home}/summary.png (+4)" in outcome.out


def test_table_fits_80_columns(initprobe):
    for args in (("--init", "he", "--act", "relu"), ("--init", "normal:std=5", "--act", "tanh")):
        table = initprobe("run", *args, "--layers", 30, "--width", 20, "--batch", 30, "--no-figures").out
        rows = table.splitlines()[4:36]
        assert max(map(len, rows)) <= 80


def test_same_command_same_bytes(initprobe, tmp_path):
    initprobe(*RUN, "-o", "one", "--format", "png,svg,pdf")
    initprobe(*RUN, "-o", "two", "--format", "png,svg,pdf")
    for name in files_below(tmp_path / "one") - {"result.json"}:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_running_again_replaces_only_our_own_files(initprobe, tmp_path):
    home = tmp_path / "here"
    initprobe(*RUN, "-o", home, "--format", "svg")
    (home / "notes.txt").write_text("mine")
    initprobe(*RUN, "-o", home)
    assert files_below(home) == PICTURES | {"result.json", "notes.txt"}


def test_no_figures_writes_no_file_without_a_path(initprobe, tmp_path):
    assert initprobe(*RUN, "--no-figures").code == 0
    assert files_below(tmp_path) == set()
    initprobe(*RUN, "--no-figures", "-o", "kept")
    assert files_below(tmp_path) == {"kept/result.json"}


def test_json_to_standard_output_moves_the_table(initprobe):
    outcome = initprobe(*RUN, "--no-figures", "--export-json", "-")
    assert len(exported(outcome)["layers"]) == 2
    assert "layer" in outcome.err


def test_csv_to_standard_output_and_json_to_a_file(initprobe, tmp_path):
    outcome = initprobe(*RUN, "--no-figures", "--export-csv", "-", "--export-json", "r.json")
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    saved = json.loads((tmp_path / "r.json").read_text())
    assert float(rows[1]["output.variance"]) == saved["layers"][1]["output"]["variance"]


@pytest.mark.parametrize(
    ("args", "field", "value"),
    [
        (("--seed", 7), "seed", 7),
        (("--dtype", "float64"), "dtype", "float64"),
        (("--batches", 3), "batches", 3),
        (("--bias-init", "normal:std=0.1"), "bias_init", "normal:std=0.1"),
        (("--input", "uniform:low=0"), "input", "uniform:low=0.0"),
        (("--input-width", 7), "input_width", 7),
        (("--threads", 1), "draws", 2),
    ],
)
def test_options_reach_the_experiment(initprobe, args, field, value):
    data = exported(initprobe(*RUN, *args, "--no-figures", "--export-json", "-"))
    assert data["config"][field] == value


def test_widths_are_given_layer_by_layer(initprobe):
    args = ("run", "--init", "he", "--act", "relu", "--input-width", 9, "--widths", "8,7,6", "--batch", 20)
    outcome = initprobe(*args, "--no-figures")
    assert "9 -> 8 -> 7 -> 6" in outcome.out


def test_quiet_prints_less_and_verbose_prints_more(initprobe):
    assert initprobe(*RUN, "--no-figures", "-q").out.startswith("SIGNAL SURVIVES")
    assert len(initprobe(*RUN, "--no-figures", "-q").out.splitlines()) == 1
    verbose = initprobe(*RUN, "--no-figures", "-v").out
    for heading in ("weight W", "pre-activation z", "weight gradient dL/dW", "p99"):
        assert heading in verbose
    assert max(map(len, verbose.splitlines()[20:])) <= 80


def test_saved_weights_redo_the_run(initprobe, tmp_path):
    data = exported(initprobe(*RUN, "--no-figures", "--save-weights", "w.npz", "--export-json", "-"))
    with np.load(tmp_path / "w.npz") as saved:
        h = np.tanh(saved["x"] @ saved["W1"] + saved["b1"])
        assert saved["g"].shape == (30, 20)
    assert data["layers"][0]["output"]["variance_by_draw"][0] == pytest.approx(float(h.var()), rel=1e-5)


@pytest.mark.parametrize("suffix", ["npy", "csv", "npz"])
def test_real_data_in_every_format(initprobe, tmp_path, suffix):
    digits = pytest.importorskip("sklearn.datasets").load_digits().data
    path = tmp_path / f"digits.{suffix}"
    if suffix == "csv":
        np.savetxt(path, digits, delimiter=",", fmt="%g")
    else:
        (np.save if suffix == "npy" else np.savez)(path, digits)
    network = ("--init", "xavier", "--act", "tanh", "--width", 30, "--layers", 2)
    data = exported(initprobe("run", *network, "--input", path, "--standardize", "--no-figures", "--export-json", "-"))
    assert data["layers"][0]["fan_in"] == 64
    assert data["layers"][0]["output"]["variance"] == pytest.approx(0.37, abs=0.1)


REFUSED = {
    "unknown initializer": (("--init", "xaver"), "Did you mean 'xavier'?"),
    "unknown activation": (("--act", "tahn"), "Did you mean 'tanh'?"),
    "unknown input": (("--input", "gausian"), "Did you mean 'gaussian'?"),
    "unknown key": (("--init", "xavier:gian=2"), "Did you mean 'gain'?"),
    "bad value": (("--init", "xavier:gain=big"), "not a number"),
    "bad choice": (("--init", "he:mode=fan_inn"), "Did you mean 'fan_in'?"),
    "bare normal": (("--init", "normal"), "needs std= or var="),
    "std and var": (("--init", "normal:std=1,var=1"), "not both"),
    "negative std": (("--init", "normal:std=-1"), "at least 0"),
    "key twice": (("--init", "normal:std=1,std=2"), "given twice"),
    "no layers": (("--layers", "0"), "--layers"),
    "no width": (("--width", "0"), "--width"),
    "not an integer": (("--layers", "ten"), "integer"),
    "batch of one": (("--batch", "1"), "--batch"),
    "no draws": (("--draws", "0"), "--draws"),
    "no threads": (("--threads", "0"), "threads"),
    "negative seed": (("--seed", "-1"), "--seed"),
    "widths and layers": (("--widths", "3,4,5"), "drop one"),
    "widths of words": (("--widths", "3,x"), "whole numbers"),
    "a layer of no units": (("--widths", "3,0"), "--widths: must be at least 1, not 0"),
    "limit": (("--threshold", "saturated=2"), "--threshold saturated: must be at most 1, not 2.0"),
    "identity on a rectangle": (("--init", "identity", "--input-width", "7"), "square"),
    "fan rule for a bias": (("--bias-init", "he"), "layer's size"),
    "dtype": (("--dtype", "float16"), "float32"),
    "no such file": (("--input", "none.npy"), "no such file"),
    "standardized noise": (("--standardize",), "file"),
    "format": (("--format", "gif"), "png"),
    "page": (("--report", "page.png"), "ends in .html"),
    "two dashes": (("--export-json", "-", "--export-csv", "-"), "standard output"),
    "one file twice": (("--export-json", "a", "--export-csv", "a"), "same file"),
    "no directory for a file": (("--export-json", "no/where.json"), "no directory"),
    "directory as a file": (("--export-json", "."), "is a directory"),
    "file as a directory": (("-o", "taken"), "is a file"),
    "weights not npz": (("--save-weights", "w.bin"), ".npz"),
    "memory": (("--width", "1000000"), "GB"),
    "unknown option": (("--layer", "3"), "--layers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line_with_nothing_written(initprobe, tmp_path, case):
    args, expected = REFUSED[case]
    (tmp_path / "taken").write_text("")
    outcome = initprobe(*RUN, *args)
    last = outcome.err.strip().splitlines()[-1]
    assert outcome.code == 2
    assert outcome.out == ""
    assert last.startswith("Error: ")
    assert expected in last
    assert "Traceback" not in outcome.err
    assert files_below(tmp_path) == {"taken"}


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/version").exists(), reason="root may write everywhere")
def test_unwritable_directory_is_refused_before_the_work(initprobe):
    outcome = initprobe(*RUN, "-o", "/proc/initprobe")
    assert outcome.code == 2
    assert "cannot be written" in outcome.err


def test_show_repeats_the_table_and_redraws(initprobe, tmp_path):
    first = initprobe(*RUN, "-o", "a")
    again = initprobe("show", "a/result.json", "-o", "b")
    assert again.out.split("wrote")[0] == first.out.split("wrote")[0]
    for name in PICTURES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert initprobe("show", "a/result.json", "--export-csv", "-").out.startswith("layer,")
    assert initprobe("show", "a").out == initprobe("show", "a/result.json").out
    assert initprobe("show", "a", "--quiet").out == "SIGNAL SURVIVES initialization (training is another matter)\n"
    (tmp_path / "bad.json").write_text("{}")
    for missing in ("bad.json", "none.json"):
        outcome = initprobe("show", missing)
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)


@pytest.mark.parametrize("kind", ["initializers", "activations", "inputs"])
def test_list_prints_the_name_of_every_record(initprobe, kind):
    registry = {"initializers": package.INITIALIZERS, "activations": package.ACTIVATIONS}.get(kind, {"gaussian": None})
    text = initprobe("list", kind).out
    assert all(name in text for name in registry)
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", [record.example for record in package.INITIALIZERS.values()])
def test_explain_every_initializer(initprobe, name):
    outcome = initprobe("explain", name, "--fan-in", 784, "--fan-out", 256)
    assert outcome.code == 0, outcome.err
    for word in ("formula", "784 -> 256", "variance", "truncated", "source"):
        assert word in outcome.out


@pytest.mark.parametrize("name", package.ACTIVATIONS)
def test_explain_every_activation_with_its_figure(initprobe, tmp_path, name):
    outcome = initprobe("explain", name, "--figure", "curve.png")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_explain_says_what_frameworks_mean(initprobe):
    assert "0.3333" in initprobe("explain", "torch_linear").out
    assert "cut at 2 std" in initprobe("explain", "GlorotNormal").out
    assert "yes" in initprobe("explain", "flax_dense").out
    assert "unknown name" in initprobe("explain", "nothing-of-ours").err


def test_without_a_command_the_help_is_printed_once(initprobe):
    bare = initprobe()
    assert (bare.code, bare.out, bare.err) == (2, initprobe("--help").out, "")
    assert initprobe("list").err.endswith(
        "Missing argument 'KIND'. Choose from: initializers, activations, inputs, rules, thresholds, configs\n"
    )


def test_an_interrupt_while_modules_are_loaded_is_no_bug(initprobe, monkeypatch):
    """Python 3.11 makes a RuntimeError of a KeyboardInterrupt that comes while a class is created."""

    def interrupted(*args, **settings):
        raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()

    monkeypatch.setattr("initprobe.cli.app.cli.main", interrupted)
    outcome = initprobe("list", "rules")
    assert (outcome.code, outcome.err) == (130, "Interrupted; no file is half-written.\n")


def test_help_has_an_example_for_every_command(initprobe):
    assert all(name in initprobe("--help").out for name in COMMANDS)
    for name in COMMANDS:
        assert f"initprobe {name} " in initprobe(name, "--help").out
    assert initprobe("--version").out.startswith("initprobe ")


def test_a_bug_keeps_its_traceback_and_exits_70(initprobe, monkeypatch):
    monkeypatch.setattr("initprobe.probe.run.measure", lambda *a, **k: 1 / 0)
    outcome = initprobe(*RUN)
    assert outcome.code == 70
    assert "ZeroDivisionError" in outcome.err


def program(*args, **settings):
    """The program as a process of its own; a background job would have it ignore Ctrl-C."""
    return subprocess.Popen(
        [sys.executable, "-m", "initprobe", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **settings,
    )


def test_a_closed_pipe_ends_quietly(tmp_path):
    process = program(*RUN, "--layers", 100, "--no-figures", "-v", cwd=tmp_path, pipesize=4096)  # less than the table
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0


def test_without_standard_error_there_is_no_progress_to_show(monkeypatch):
    """As for a program that is started with it closed."""
    monkeypatch.setattr(sys, "stderr", None)
    with progress_bar("probing") as progress:
        assert progress is None


def test_ctrl_c_exits_130_and_leaves_no_files(tmp_path):
    process = program("run", "--init", "xavier", "--act", "tanh", "--width", 2000, "--draws", 100, cwd=tmp_path)
    # NumPy and what it is used for take as much, and are loaded by the command itself.
    wait_until(lambda: psutil.Process(process.pid).memory_info().rss > 60_000_000)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert files_below(tmp_path) == set()


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_fits_80_columns_and_breaks_no_word(name):
    from click.testing import CliRunner

    from initprobe.cli.app import cli

    args = [*([name] if name else []), "--help"]
    narrow, wide = (CliRunner().invoke(cli, args, terminal_width=width).output for width in (80, 2000))
    assert [line for line in narrow.splitlines() if len(line) > 80] == []
    assert narrow.split() == wide.split()


def test_help_starts_without_numpy(tmp_path):
    code = "import sys; from initprobe.cli.app import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass\n"
    code += "print({'numpy', 'pydantic', 'matplotlib', 'rich'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "set()"


def test_table_only_runs_draw_nothing_and_start_no_threads_of_blas(tmp_path):
    code = "import sys; from initprobe.cli.app import main\n"
    code += "try: main(['run','--init','he','--act','relu','--width','20','--batch','20','--no-figures'])\n"
    code += "except SystemExit: pass\nfrom threadpoolctl import threadpool_info\n"
    code += "pools = [pool['num_threads'] for pool in threadpool_info() if pool['internal_api'] == 'openblas']\n"
    code += "print('matplotlib' in sys.modules, 'scipy' in sys.modules, sum(pools) > len(pools))"
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment).stdout
    assert out.splitlines()[-1] == "False False False"  # other threads of OpenBLAS would spin beside the imports


def test_gain_of_every_activation(initprobe):
    text = initprobe("gain", "--all").out
    assert all(name in text for name in package.ACTIVATIONS)
    assert max(map(len, text.splitlines()[: len(package.ACTIVATIONS) + 2])) <= 80
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()[2 : len(package.ACTIVATIONS) + 2]}
    assert rows["relu"][:3] == ["1.4142", "1", "1.4142"]  # sqrt(2): He et al. 2015
    assert rows["linear"][:3] == ["1.0000", "1", "1.0000"]
    assert rows["tanh"][0] == "1.5925"
    assert rows["tanh"][6:8] == ["1.6667", "1.18"]  # torch's 5/3 settles at 1.178, not at 1
    assert rows["selu"][6:8] == ["0.7500", "0.023"]
    assert rows["gelu"][1] == "none"
    assert "gelu" in text.splitlines()[-1]


def test_gain_with_biases(initprobe):
    """sigma_w^2 / 2 + sigma_b^2 = 1 for ReLU."""
    row = initprobe("gain", "relu", "--sigma-b", "0.6").out.splitlines()[2].split()
    assert float(row[1]) == pytest.approx((2 * (1 - 0.36)) ** 0.5, abs=5e-5)
    for refused in (("gain",), ("gain", "relu", "--all"), ("gain", "rleu"), ("gain", "relu", "--sigma-b", "2")):
        outcome = initprobe(*refused)
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)


COMPARE = ("compare", "--act", "tanh", "--act", "relu", *TINY)


def test_compare_is_a_cross_product_worst_first(initprobe, tmp_path):
    outcome = initprobe(*COMPARE, "--init", "he", "--init", "zeros", "--layers", 5, "--figure", "c.png")
    assert outcome.code == 0, outcome.err
    rows = [line for line in outcome.out.splitlines() if " + " in line and "init + act" not in line]
    assert len(rows) == 4
    assert [row.split()[0] for row in rows] == ["zeros", "zeros", "he", "he"]
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_compare_gives_what_run_gives(initprobe):
    both = json.loads(initprobe(*COMPARE, "--init", "he", "--export-json", "-").out)
    alone = exported(initprobe("run", "--init", "he", "--act", "relu", *TINY, "--no-figures", "--export-json", "-"))
    assert [result["layers"] for result in both if result["config"]["act"] == "relu"] == [alone["layers"]]


@pytest.mark.parametrize("args", [("--init", "hee"), ("--init", "he", "--figure", "c.gif"), ()])
def test_compare_refuses_in_one_line(initprobe, tmp_path, args):
    outcome = initprobe(*COMPARE, *args)
    assert outcome.code == 2
    assert outcome.err.strip().splitlines()[-1].startswith("Error: ")
    assert files_below(tmp_path) == set()


def test_scales_of_the_papers_stand_for_initializers(initprobe):
    quiet = (*TINY, "--act", "tanh", "--no-figures", "--export-json", "-")
    papers = exported(initprobe("run", "--sigma-w", "3/2", "--sigma-b", "0.2", *quiet))
    names = ("--init", "variance_scaling:scale=2.25", "--bias-init", "normal:std=0.2")
    assert papers["layers"] == exported(initprobe("run", *names, *quiet))["layers"]
    both = ("--sigma-b", 1, "--bias-init", "zeros")
    for refused in (("--sigma-w", 1, "--init", "he"), (), ("--sigma-w", "-1"), ("--init", "he", *both)):
        outcome = initprobe("run", "--act", "tanh", *refused)
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert "Error: --sigma-w: 'x' is not" in initprobe("run", "--act", "tanh", "--sigma-w", "x").err


def test_phase_finds_the_edge_and_places_initializers(initprobe, tmp_path):
    marks = ("--mark", "xavier", "--mark", "normal:std=0.01", "--mark", "he")
    outcome = initprobe("phase", "--act", "tanh", "--size", 30, *marks, "--figure", "p.png", "--export-json", "p.json")
    assert outcome.code == 0, outcome.err
    assert "sigma_b = 0: sigma_w = 1, q* = 0" in outcome.out
    placed = {line.split()[0]: line for line in outcome.out.splitlines()[4:]}
    assert "edge of chaos" in placed["xavier"]
    assert "ordered" in placed["normal:std=0.01"]
    assert "chaotic" in placed["he"]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    data = json.loads((tmp_path / "p.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert np.shape(data["chi_1"]) == (30, 30)


def test_phase_marks_cells_that_grow_without_bound(initprobe):
    data = json.loads(initprobe("phase", "--act", "relu", "--size", 5, "--export-json", "-").out)
    beyond = [w**2 / 2 > 1 for w in data["sigma_w"]]
    assert [cell == "diverges" for cell in data["settling"][-1]] == beyond
    assert [q is None for q in data["q"][-1]] == beyond
    for refused in (("--sigma-w", "3"), ("--sigma-b", "2..1"), ("--act", "tahn"), ("--mark", "xaver")):
        outcome = initprobe("phase", "--act", "relu", *refused)
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
        assert refused[0] == "--act" or outcome.err.startswith(f"Error: {refused[0]}")


@pytest.mark.parametrize(
    "args",
    [
        ("--init", "normal:std=0.02", "--act", "relu", "--width", 32, "--layers", 40),
        pytest.param(
            ("--init", "he", "--act", "relu", "--width", 16, "--layers", 160, "--batch", 64, "--draws", 2),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_no_number_is_cropped_and_the_table_still_fits(initprobe, args):
    """The widest numbers there are."""
    rows = [line for line in initprobe("run", *args, "--no-figures").out.splitlines() if re.match(r" +\d+ ", line)]
    assert len(rows) >= 40
    assert any(re.search(r"\de-1\d ", row) for row in rows)
    assert not any("…" in row for row in rows)
    assert max(map(len, rows)) <= 82  # a terminal of 80 columns leaves a column out


def test_no_name_is_cropped_in_a_comparison(initprobe):
    spec = "truncated_normal:std=0.012345,corrected=true"
    assert spec in initprobe(*COMPARE, "--init", spec).out


def test_a_link_is_followed_and_a_pipe_written_to(initprobe, tmp_path):
    real, link, pipe = tmp_path / "real.json", tmp_path / "link.json", tmp_path / "pipe"
    real.write_text("old")
    link.symlink_to(real)
    initprobe("run", "--init", "he", "--act", "relu", *TINY, "--no-figures", "--export-json", link)
    assert link.is_symlink()
    assert json.loads(real.read_text())["schema"] == 1
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        initprobe("run", "--init", "he", "--act", "relu", *TINY, "--no-figures", "--export-csv", pipe)
        assert reader.communicate(timeout=20)[0].startswith("layer,")
    assert pipe.is_fifo()


def test_export_into_the_directory_that_the_run_makes(initprobe, tmp_path):
    outcome = initprobe("run", "--init", "he", "--act", "relu", *TINY, "-o", "new", "--export-csv", "new/a.csv")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "new" / "a.csv").is_file()
    assert initprobe("run", "--init", "he", "--act", "relu", *TINY, "-o", "").code == 2


def test_an_ascii_terminal_gets_the_table_too(tmp_path):
    process = program(*RUN, "--no-figures", cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    out, err = process.communicate()
    assert (process.returncode, b"SIGNAL" in out) == (0, True), err


def test_the_backend_of_a_notebook_changes_nothing(tmp_path):
    process = program(*RUN, "-o", "out", cwd=tmp_path, env=os.environ | {"MPLBACKEND": "module://not_installed_here"})
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert (tmp_path / "out" / "summary.png").is_file()


def test_explain_shows_what_needs_parameters(initprobe):
    text = initprobe("explain", "normal").out
    assert "normal, initializer" in text
    assert "std 0.01" in text


class Terminal(io.StringIO):
    """A terminal of 80 columns that draws no colours."""

    def isatty(self):
        return True


def test_a_small_format_as_a_dtype_names_the_option_that_takes_it(initprobe):
    outcome = initprobe("run", "--init", "he", "--act", "relu", "--dtype", "float16")
    assert outcome.code == 2 and "`--formats float16` counts what it would lose" in outcome.err


def test_a_mark_says_for_which_width_it_holds(initprobe):
    outcome = initprobe("phase", "--act", "tanh", "--mark", "normal:std=0.01", "--width", 100, "--size", 3)
    assert outcome.code == 0 and "here with fan_in 100 (--width)" in outcome.out and "0.1000" in outcome.out


@pytest.mark.parametrize("init", ["normal:std=0.01", "xavier"])
def test_sentences_fill_a_terminal_before_they_fold(init, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    result = package.run(package.ProbeConfig(init=init, act="tanh", layers=4, width=40, batch=40))
    there = Terminal()
    print_verdict(result, console(there, color=False))
    lines = there.getvalue().splitlines()
    plain = io.StringIO()
    print_verdict(result, console(plain, color=False))
    assert " ".join(" ".join(lines).replace(" \\ ", " ").split()) == " ".join(plain.getvalue().split())
    sentences = list(itertools.takewhile(lambda line: not line.startswith("fix "), lines))
    assert all(line.strip() for line in sentences) and max(map(len, sentences)) <= 80
    # No line ends where the next one's first word would still have had room.
    for line, after in itertools.pairwise(sentences):
        assert not after.startswith(" ") or len(line.rstrip()) + 1 + len(after.split()[0]) > 80


def _empty_texts(name):
    """A command line for each option and argument that takes a text: it is empty, and the others are there."""
    parameters = cli.get_command(click.Context(cli), name).params
    for parameter in parameters:
        if isinstance(parameter.type, StringParamType):
            others = [(*_flag(other), "x") for other in parameters if other.required and other is not parameter]
            yield [name, *itertools.chain(*others), *_flag(parameter), ""]


def _flag(parameter):
    return parameter.opts[:1] if isinstance(parameter, click.Option) else []


@pytest.mark.parametrize("name", COMMANDS)
def test_an_empty_text_is_refused_before_anything_runs(initprobe, name):
    """`--export-csv "$FILE"` with an unset FILE would otherwise write nothing, in silence."""
    for words in _empty_texts(name):
        done = initprobe(*words)
        assert done.code == 2 and done.out == "", words
        option = r"--\S+: is empty; give a value(, or leave it out)?"
        argument = rf"an argument of `initprobe {name}` is empty; its --help says what to give"
        assert re.fullmatch(rf"Error: ({option}|{argument})\n", done.err), words


def _spellings(command):
    return {text for each in command.params if isinstance(each, click.Option) for text in each.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_of_another_command_is_named_with_the_commands_that_have_it(name):
    """Or with the option of this command that does the same."""
    commands = {each: cli.get_command(click.Context(cli), each) for each in COMMANDS}
    homes = {each: _spellings(command) for each, command in commands.items()}
    for option in set().union(*homes.values()) - homes[name]:
        text = unknown_option(option, click.Context(commands[name], info_name=name), commands)
        start, _, rest = text.partition("'. ")
        assert start == f"`{name}` has no option '{option}"
        owners = {each for each, spellings in homes.items() if option in spellings}
        assert re.findall("`(.*?)`", rest) == [each for each in COMMANDS if each in owners] or (
            (use := re.fullmatch("Use '(.*)'.", rest)) and use[1] in homes[name]
        ), text


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("recommend", "--report", "x.html"), "`recommend` has no option '--report'. `run`, `torch`, "),
        (("recommend", "--reprot", "x.html"), "'--reprot'. Did you mean '--report'? `run`, "),
        (("run", "--activation", "relu"), "'--activation'. Use '--act'."),
        (("run", "--depht", "3"), "'--depht'. Did you mean '--layers'?"),
        (("run", "--bias_init", "zeros"), "'--bias_init'. Use '--bias-init'."),
        (("run", "--device", "cuda"), "'--device'. `initprobe run --help` shows all."),
        (("--init", "he"), "`initprobe` has no option '--init'. `run`, `compare`, "),
    ],
)
def test_an_unknown_option_gets_a_hint_that_helps(initprobe, words, hint):
    done = initprobe(*words)
    assert done.code == 2 and hint in done.err and done.err.splitlines()[-1].startswith("Error: ")


def test_of_an_option_that_is_given_twice_the_last_value_counts_and_a_note_says_so(initprobe):
    thresholds = ("--threshold", "saturated=0.3", "--threshold", "saturated=0.5")
    done = initprobe(*RUN, "--act", "relu", "-q", "-q", "--no-figures", *thresholds)
    assert done.code == 0 and done.err == (
        "note: --act is given 2 times; the last value, relu, counted\n"
        "note: --threshold saturated is given 2 times; the last value, 0.5, counted\n"
    )
    refused = initprobe(*RUN, "--act", "rel")
    assert refused.code == 2 and refused.err.count("\n") == 1
