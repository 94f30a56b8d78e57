"""The configs that ship: each is valid, says what it is, and runs; what their comments claim holds."""

from __future__ import annotations

import pytest
from article_figures import ROOT
from jsonschema import Draft202012Validator
from sweep_checks import applicable, breaches_of

from initprobe.data.documents import read_file
from initprobe.probe.run import measured
from initprobe.results.run import ProbeResult
from initprobe.sweeps.file_layout import json_schema
from initprobe.sweeps.plan import Plan, load, shipped

# A few small nets stand for each file where its own would take half a minute.
TINY = ["width=10", "batch=10"]
SMALLER = {
    "article_figures": TINY,
    "does_it_train": [*TINY, "layers=2", "draws=1", "train_steps=2"],
    "framework_defaults": [*TINY, "layers=3", "draws=1"],
    "glorot_bengio_2010": [*TINY, "layers=2", "draws=1", "input=gaussian", "standardize=false"],
    "hanin_rolnick_2018": ["draws=2"],
    "he_2015": ["width=4", "train_steps=1", "batch=9", "grid.layers=[2, 30]"],
    "pennington_2017": [*TINY, "layers=3", "draws=1"],
    "poole_2016": [*TINY, "draws=1", "grid.input.correlation=[0.3]"],
    "schoenholz_2017": [*TINY, "train_steps=1", "grid.sigma_w=[0.5, 1.25, 2.5]", "grid.layers=[20, 40]"],
    "gain_study": [*TINY, "grid.layers=[2, 3]", "grid.act=[selu, relu]", "grid.init.gain=[sqrt(2), 3]", "seeds=1"],
    "pretraining": ["width=30", "batch=100", "layers=2", "draws=1", "input=gaussian:correlation=0.9"],
    "phase_diagram": [*TINY, "layers=3", "draws=1", "grid.sigma_w=[1, 2]", "grid.sigma_b=[0, 0.5]"],
}


def _results(plan: Plan) -> list[ProbeResult]:
    return [measured(run.config) for run in plan.runs]


def test_every_config_is_here():
    assert set(SMALLER) == set(shipped()) == {path.stem for path in (ROOT / "configs").iterdir()}


@pytest.mark.parametrize("name", SMALLER)
def test_a_config_is_valid_and_explains_itself(name):
    path = shipped()[name]
    Draft202012Validator(json_schema()).validate(read_file(path).values)
    plan = load(name)
    assert plan.name == name and plan.figures
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ") and lines[0].endswith(".")
    assert f"initprobe sweep {name}" in path.read_text()
    assert sum("#" in line for line in lines) >= 10


@pytest.mark.parametrize("name", SMALLER)
def test_a_config_runs(name):
    plan = load(name, SMALLER[name])
    results = _results(plan)
    # Twice the same: the run of a plan is that of its config by hand.
    assert results[-1].layers == measured(plan.runs[-1].config).layers
    for result in results:
        breaches_of(plan.checks, result)
    used = frozenset().union(*(applicable(plan.checks, result) for result in results))
    assert used == set(map(str, plan.checks))


def test_the_article_has_every_net_it_shows_or_warns_of():
    axes = [dict(run.axes) for run in load("article_figures").runs]
    for wanted in (
        {"init": "zeros"},
        {"init": "constant:value=0.01"},
        {"init": "normal:std=0.01", "act": "tanh"},
        {"init": "normal:std=1", "act": "tanh"},
        {"act": "sigmoid"},
        {"init": "xavier", "act": "tanh"},
        {"init": "xavier", "act": "relu"},
        {"init": "he", "act": "relu"},
        {"bias_init": "constant:value=-0.5", "act": "relu"},
        {"input_width": 800, "widths": "750,700,650,600,550,500,450,400,350"},
    ):
        assert any(wanted.items() <= run.items() for run in axes), wanted


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLER)
def test_a_config_holds_what_it_checks(name):
    plan = load(name)
    broken = [str(breach) for result in _results(plan) for breach in breaches_of(plan.checks, result)]
    assert broken == []
