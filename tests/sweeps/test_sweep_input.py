"""What a sweep's options and file may be given as text: values of --where, own activations, names beside files."""

from pathlib import Path

import numpy as np
import pytest

from initprobe.config.fields import as_input
from initprobe.errors import ConfigError
from initprobe.spec import Spec

MINE = """
import numpy as np

def bump(z):
    return z * np.exp(-z * z / 8)"""
FILE = """version: 1
name: map
defaults: {layers: 3, width: 20, batch: 20, draws: 1, act: 'OWN'}
grid: {sigma_w: [1, 6/5, 1.5], sigma_b: [0, 0.1]}
"""


@pytest.fixture
def sweep(initprobe, tmp_path, monkeypatch):
    """Sweep a file in this process."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "textmine.py").write_text(MINE)

    def call(text, *args, command="sweep"):
        (tmp_path / "a.yaml").write_text(text)
        return initprobe(command, "a.yaml", *args)

    return call


@pytest.mark.parametrize("command", ["sweep", "check"])
@pytest.mark.parametrize("extra", ["", "figures: [heatmap, depth, {kind: histograms, over: sigma_w}, summary]\n"])
def test_figures_over_the_scales_take_an_activation_of_ones_own(sweep, tmp_path, command, extra):
    text = FILE.replace("OWN", "textmine:bump") + extra + "checks: {output.variance: {min: 0}}\n"
    said = sweep(text, command=command)
    assert said.code == 0, said.err
    drawn = {path.name for path in (tmp_path / "initprobe-out" / "map").glob("*.png")}
    assert {"heatmap-1.png", "heatmap-2.png"} <= drawn or {"heatmap.png", "depth.png", "histograms.png"} <= drawn


def test_figures_take_everything_that_is_given_by_text(sweep, tmp_path):
    text = (
        "version: 1\nname: map\ndefaults: {layers: 2, width: 9, batch: 9, draws: 1}\n"
        "grid:\n  act: ['textmine:bump', {name: leaky_relu, slope: 1/5}]\n"
        "  sigma_w: [1, 2]\n  sigma_b: [0, 'sqrt(2)/10']\n"
    )
    said = sweep(text)
    assert said.code == 0, said.err
    text = text.replace("sigma_w: [1, 2]", "init: ['normal:std=1/9', {name: he, mode: fan_out}]").replace("map", "two")
    said = sweep(text)
    assert said.code == 0, said.err


def test_a_picture_that_cannot_be_drawn_costs_no_results_and_no_other(sweep, initprobe, tmp_path, monkeypatch):
    def refuse(*args):
        raise ConfigError("too far out")

    monkeypatch.setattr("initprobe.reports.figures.heat_map_data.critical_curve", refuse)
    said = sweep(FILE.replace("OWN", "textmine:bump") + "figures: [heatmap, depth]\n")
    assert said.code == 2, said.err
    last = said.err.splitlines()[-1]
    assert "heatmap is not drawn, and the results are kept in initprobe-out/map/sweep.db" in last
    assert "too far out" in last
    home = tmp_path / "initprobe-out" / "map"
    assert (home / "depth.png").exists() and not (home / "heatmap.png").exists()
    assert initprobe("results", home).out.startswith("6 runs: ")


@pytest.mark.parametrize("written", ["1.2", "6/5", "1.20", "12e-1", " 6/5 ", "sqrt(1.44)"])
def test_results_finds_a_number_however_it_is_written(sweep, initprobe, written):
    sweep(FILE.replace("OWN", "tanh"), "--no-figures")
    for command in (("results", "initprobe-out/map"), ("sweep", "a.yaml", "--no-figures")):
        said = initprobe(*command, "--where", f"sigma_w={written}", "--where", "sigma_b=0.1")
        assert said.code == 0 and said.out.startswith("1 run: "), said.err


@pytest.mark.parametrize("name", ["init=normal:std=0.01", "init=normal:std=1e-2", "init=normal:std=1/100"])
def test_results_finds_a_specification_however_it_is_written(sweep, initprobe, name):
    text = "version: 1\nname: map\ndefaults: {act: tanh, layers: 2, width: 9, batch: 9, draws: 1}\nfigures: []\n"
    sweep(text + "grid: {init: [he, 'normal:std=0.01'], residual: [true, false], layers: [2, 3]}\n")
    assert initprobe("results", "initprobe-out/map", "--where", name).out.startswith("4 runs: ")
    assert initprobe("results", "initprobe-out/map", "--where", "residual=true").out.startswith("4 runs: ")
    assert initprobe("results", "initprobe-out/map", "--where", "layers=3").out.startswith("4 runs: ")


def test_a_name_without_a_match_gets_the_names_there_are(sweep, initprobe):
    sweep(FILE.replace("OWN", "tanh"), "--no-figures")
    said = initprobe("results", "initprobe-out/map", "--where", "sigma_w=7/5", "--export-csv", "a.csv")
    assert (said.code, said.out) == (2, "")
    assert said.err == "Error: --where: no run has sigma_w=7/5; sigma_w is 1, 1.2, 1.5\n"
    assert not Path("a.csv").exists()
    for text in ("sigma_w=x", "sigma_w=", "sigma_w", "=1", "act=tanh", "sigma=1", "sigma_w=[1]", "sigma_w={", "x"):
        said = initprobe("results", "initprobe-out/map", "--where", text)
        assert (said.code, len(said.err.splitlines())) == (2, 1), (text, said.err)


@pytest.mark.parametrize(
    "name", ["gaussian", "uniform", "normal", "gaussian:std=2", "Gaussian", "uniform:low=0,high=1"]
)
def test_an_input_by_name_is_no_file_of_that_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("1,2\n3,4\n")
    Path(name.partition(":")[0]).write_text("1,2\n3,4\n")
    assert isinstance(as_input(name), Spec)
    assert as_input(f"./{name}") == Path(name)
    assert as_input(f"{name}.npy") == Path(f"{name}.npy")


def test_a_file_of_another_name_is_still_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mydata").write_text("1,2\n")
    assert as_input("./mydata") == Path("mydata")
    with pytest.raises(ConfigError, match="unknown input"):
        as_input("otherdata")


def test_run_takes_the_name_too(initprobe, tmp_path):
    np.save(tmp_path / "gaussian.npy", np.ones((4, 3)))
    (tmp_path / "gaussian.npy").rename(tmp_path / "gaussian")
    args = ("run", "--init", "he", "--act", "relu", "--layers", 2, "--width", 9, "--batch", 9, "--no-figures")
    plain, named = initprobe(*args), initprobe(*args, "--input", "gaussian")
    assert (plain.code, plain.out) == (0, named.out)
