"""`--set` and `--where`: a file as if it said something else, and some of its runs."""

from __future__ import annotations

import json

import pytest
from sweep_files import SMALL, loaded, refusal

from initprobe.config.probe_config import ProbeConfig
from initprobe.data.documents import read_file
from initprobe.sweeps.file_overrides import apply_override

OVERRIDDEN = [
    (["layers=5"], {"layers": 5}),
    (["defaults.layers=5"], {"layers": 5}),
    (["init=normal:std=0.1"], {"init": "normal:std=0.1"}),
    (["init={name: normal, std: 0.1}"], {"init": "normal:std=0.1"}),
    (["init.gain=2"], {"init": "he:gain=2"}),
    (["sigma_w=1"], {"init": "variance_scaling:scale=1"}),
    (["widths=[3, 4, 5]"], {"widths": (3, 4, 5), "width": None, "layers": None}),
    (["batch="], {"batch": None}),
    (["draws=7"], {"draws": 7}),
    (["defaults.draws=7"], {"draws": 7}),
    (["draws=7", "defaults.draws=8"], {"draws": 8}),
    (["layers = 3", "layers=4"], {"layers": 4}),
]


@pytest.mark.parametrize(("overrides", "fields"), OVERRIDDEN)
def test_overrides_set_keys_of_the_file(tmp_path, overrides, fields):
    base = {"init": "he", "act": "relu", "layers": 2, "width": 9, "batch": 9}
    assert [run.config for run in loaded(tmp_path, SMALL, *overrides).runs] == [ProbeConfig(**base | fields)]


def test_overrides_of_axes_and_other_keys(tmp_path):
    text = SMALL + "grid: {act: [tanh, relu], layers: [1, 2]}\nseeds: 2\nchecks: {healthy: true}\n"
    overrides = ["grid.layers=[3]", "grid.init.gain={from: 1, to: 2, num: 2}", "seeds=", "name=other", "export=[csv]"]
    plan = loaded(tmp_path, text, *overrides, "checks.output.variance=[0, 1]", "checks.healthy=")
    assert plan.axes == ("act", "init.gain")
    assert (plan.name, plan.export, len(plan.runs)) == ("other", ("csv",), 4)
    assert [str(check) for check in plan.checks] == ["output.variance: between 0 and 1"]


BAD_OVERRIDES = [
    ("layers", "--set: 'layers' is not KEY=VALUE"),
    ("=3", "--set: '=3' is not KEY=VALUE"),
    ("lyers=3", "--set lyers: there is no key 'lyers'. Did you mean 'layers'?"),
    ("grdi.act=[tanh]", "--set grdi.act: there is no key"),
    ("layers=two", "--set layers: layers: must be a whole number"),
    ("layers.x=1", "unknown field 'layers.x'"),
    ("init.gian=1", "--set init.gian: init: he has no parameter 'gian'"),
    ("grid.layers=3", "--set grid.layers: grid.layers: an axis is a list"),
    ("grid.layers=[1,", "--set grid.layers: is not YAML"),
    ("act=tanh", "--set act: act is an axis, which overrides it; use grid.act=[...]"),
    ("seeds=[a]", "--set seeds: seeds.0: must be a whole number"),
    ("name=..", "--set name: name: '..'"),
    ("include.act=tanh", "--set include.act: there is no key"),
]


@pytest.mark.parametrize(("override", "said"), BAD_OVERRIDES)
def test_bad_overrides_name_the_option(tmp_path, override, said):
    message = refusal(tmp_path, SMALL + "grid: {act: [tanh, relu]}\n", override)
    assert said in message
    assert "--set" in message or "unknown field" in message


def test_where_picks_runs(tmp_path):
    text = SMALL + "grid: {act: [tanh, relu], init: ['he:gain=2', xavier], layers: [1, 2]}\n"
    picked = loaded(tmp_path, text, where=("act=tanh", "layers=2"))
    assert picked.axes == ("init",)
    assert [run.config.init.name for run in picked.runs] == ["he", "xavier"]
    assert picked.runs[0].axes == {"act": "tanh", "init": "he:gain=2", "layers": 2}
    assert len(loaded(tmp_path, text, where=("init.gain=2",)).runs) == 4
    assert len(loaded(tmp_path, text, where=("width=9", "draws=4", "dtype=float32")).runs) == 8


def test_where_leaves_keys_and_axes_of_runs_alone(tmp_path):
    text = SMALL + "grid: {act: [tanh, relu], layers: [1, 2]}\n"
    whole = {run.key: run.axes for run in loaded(tmp_path, text).runs}
    assert all(whole[run.key] == run.axes for run in loaded(tmp_path, text, where=("act=relu",)).runs)


BAD_WHERE = [
    ("act", "--where: 'act' is not FIELD=VALUE"),
    ("atc=relu", "--where atc: unknown field 'atc'"),
    ("act=rleu", "--where act: unknown activation 'rleu'. Did you mean 'relu'?"),
    ("act=gelu", "--where: no run has act=gelu; act is tanh, relu"),
    ("layers=two", "--where layers: layers: must be a whole number"),
    ("sigma_w=1", "--where: no run has sigma_w=1; sigma_w is not set"),
    ("act=[", "--where act: is not YAML"),
]


@pytest.mark.parametrize(("where", "said"), BAD_WHERE)
def test_bad_where_names_the_option(tmp_path, where, said):
    assert refusal(tmp_path, SMALL + "grid: {act: [tanh, relu]}\n", where=(where,)).startswith(said)


def test_an_override_leaves_the_document_alone(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(SMALL)
    whole = read_file(file)
    before = json.dumps(whole.values)
    assert apply_override(whole, "layers=7").values["defaults"]["layers"] == 7
    assert json.dumps(whole.values) == before
