"""The figure of spectra, and the command `initprobe spectrum`: its tables, JSON and errors."""

import json
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from initprobe.config.probe_config import ProbeConfig
from initprobe.probe.experiment import prepare
from initprobe.reports.figures.spectrum import SpectrumLine, spectrum_figure
from initprobe.reports.figures.style import render
from initprobe.studies.spectrum import measure


def spectrum(init, act, width):
    config = ProbeConfig(init=init, act=act, layers=4, width=width, dtype="float64", draws=1, batch=2)
    return measure(prepare(config), 2, threads=2)


def test_the_figure_holds_every_line_and_is_the_same_twice():
    results = [spectrum(init, "tanh", width=30) for init in ("orthogonal", "lecun", "zeros")]

    def drawn():
        return spectrum_figure("title", "setting", [SpectrumLine(**_line(result)) for result in results])

    figure = drawn()
    assert isinstance(figure, Figure)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:4] == ["orthogonal", "lecun", "zeros: all at 0", "theory for infinite width"]
    assert labels[4:] == ["median by depth of those above 0", "5 to 95%", "smallest, largest"]
    values, by_depth = figure.axes
    heights = [patch.get_data().values for patch in values.patches[::2]]
    shown = [float(height.sum()) for height in heights]  # of a long tail the last 5% may lie outside
    assert shown[0] == pytest.approx(1) and 0.95 <= shown[1] <= 1 and shown[2] == 0
    assert len(by_depth.lines) == 3 * 4 + 1
    assert render(drawn(), "png") == render(figure, "png")


def _line(result):
    ends, last = result.end_to_end, result.end_to_end[-1]
    nothing = np.full(len(ends), np.nan)
    return {
        "label": result.config["init"],
        "values": last.histogram_log10,
        "missing": last.zero_fraction,
        "depths": np.array([stats.layer for stats in ends]),
        "percentiles": [stats.percentiles_log10 for stats in ends],
        "largest": np.array([stats.largest_log10 for stats in ends], float),
        "smallest": np.array([stats.smallest_log10 for stats in ends], float),
        "predicted": nothing,
        "density": last.theory.density if last.theory else None,
    }


# The command

SMALL = ("--act", "tanh", "--layers", "4", "--width", "20")


def test_command_prints_each_network_within_eighty_columns(initprobe):
    outcome = initprobe(
        "spectrum", "--init", "orthogonal", "--init", "normal:std=0.2", "--sigma-w", "1.5", *SMALL, "-v"
    )
    assert outcome.code == 0
    for name in ("orthogonal", "normal:std=0.2", "variance_scaling:scale=2.25"):
        assert f"\n{name}\n  " in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert outcome.out.count("single layers, dh_l/dh_l-1") == 3


def test_command_leaves_out_some_of_many_layers_but_not_the_last(initprobe):
    outcome = initprobe("spectrum", "--init", "lecun", "--act", "tanh", "--layers", "150", "--width", "4")
    rows = outcome.out.partition("single layers")[2].partition("end to end")[0].splitlines()[3:]
    numbers = [int(row.split()[0]) for row in rows if row.strip()]
    assert len(numbers) <= 100 and numbers == sorted(numbers) and numbers[-1] == 150


def test_command_shows_every_layer_of_one_network(initprobe):
    outcome = initprobe("spectrum", "--init", "lecun", *SMALL)
    assert "single layers, dh_l/dh_l-1" in outcome.out and "end to end, dh_l/dh_0" in outcome.out


def test_json_is_valid_and_holds_null_for_what_does_not_exist(initprobe):
    outcome = initprobe("spectrum", "--init", "zeros", "--init", "he", *SMALL, "--export-json", "-")
    zeros, he = json.loads(outcome.out, parse_constant=pytest.fail)
    assert zeros["layers"][0]["largest"] is None and zeros["layers"][0]["theory"] is None and zeros["theory_note"]
    assert zeros["schema"] == 1 and zeros["end_to_end"][-1]["mean_square"] == 0
    assert he["end_to_end"][-1]["theory"]["spread"] > 0 and he["theory_note"] is None
    assert "orthogonal" not in outcome.out and "end to end" in outcome.err


@pytest.mark.parametrize("fmt", ["png", "svg", "pdf"])
def test_command_draws_the_figure(initprobe, fmt, tmp_path):
    assert initprobe("spectrum", "--init", "he", *SMALL, "--figure", f"s.{fmt}").code == 0
    assert (tmp_path / f"s.{fmt}").stat().st_size > 1000


def test_real_data_is_taken_as_input(initprobe, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((9, 6)))
    outcome = initprobe("spectrum", "--init", "he", *SMALL, "--input", "x.npy", "--samples", "3")
    assert outcome.code == 0 and "6 -> 4 x 20" in outcome.out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "give --init NAME or --sigma-w S"),
        (("--init", "orthogonl"), "orthogonal"),
        (("--init", "he", "--samples", "0"), "--samples"),
        (("--init", "he", "--figure", "s.gif"), "must end in"),
        (("--init", "he", "--draws", "0"), "draws"),
        (("--sigma-w", "-1"), "--sigma-w"),
        (("--init", "he", "--threads", "0"), "threads"),
    ],
)
def test_bad_input_is_an_error_of_one_line_with_code_2(initprobe, args, words):
    outcome = initprobe("spectrum", *SMALL, *args)
    assert outcome.code == 2 and words in outcome.err and not outcome.out


def test_a_long_wait_is_announced(monkeypatch, initprobe):
    monkeypatch.setattr("initprobe.cli.commands.spectrum._PATIENCE_S", 0)
    outcome = initprobe("spectrum", "--init", "he", *SMALL)
    assert outcome.err.startswith("note: about 1 min of singular values")


def test_help_loads_no_numpy():
    code = "import sys, initprobe.cli.commands.spectrum; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
