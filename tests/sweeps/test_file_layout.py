"""A fault in a sweep's file is one line with its place, and the JSON Schema agrees with the loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from sweep_files import HEAD, SMALL, loaded, refusal

from initprobe.config.probe_config import ProbeConfig
from initprobe.sweeps.file_fields import FIELDS, SCALES
from initprobe.sweeps.file_layout import SweepFile, json_schema
from initprobe.sweeps.plan import shipped

FAULTS = [
    # after HEAD + defaults, so that the text begins at line 4; the line; what is said
    ("grid:\n  lr: [1]\n", 5, "unknown field 'lr'. Did you mean 'learning_rate'?"),
    ("grid:\n  optimizer: [adm]\n", 5, "must be 'sgd', 'adam' or 'adamw', not 'adm'. Did you mean 'adam'?"),
    ("grdi: {}\n", 4, "unknown key 'grdi'. Did you mean 'grid'?"),
    ("grid:\n  act: [relu,\n    tahn]\n", 6, "unknown activation 'tahn'. Did you mean 'tanh'?"),
    ("grid:\n  lyers: [1]\n", 5, "unknown field 'lyers'. Did you mean 'layers'?"),
    ("grid:\n  inti.gain: [1]\n", 5, "unknown field 'inti.gain'. Did you mean 'init.gain'?"),
    ("grid:\n  init.gian: [1]\n", 5, "he has no parameter 'gian'. Did you mean 'gain'?"),
    ("grid:\n  layers.x: [1]\n", 5, "only init, bias_init, act, input, thresholds have parameters"),
    ("grid:\n  thresholds.satu: [.1]\n", 5, "unknown limit 'satu'. Did you mean 'saturated'?"),
    ("grid:\n  layers: [1, 2]\n  layers: [3]\n", 6, "duplicate key 'layers'"),
    ("grid:\n  layers: []\n", 5, "grid.layers is empty"),
    ("grid: {}\n", 4, "grid is empty"),
    ("grid:\n", 4, "grid is empty"),
    (
        "grid:\n  layers: 5\n",
        5,
        "grid.layers: an axis is a list of values, or a range {from: 0.5, to: 3, num: 20}, not 5",
    ),
    ("grid:\n  layers:\n  - 1\n  - two\n", 7, "layers: must be a whole number, not 'two'"),
    ("grid:\n  layers: [1, 2.5]\n", 5, "layers: must be a whole number"),
    ("grid:\n  layers: {from: 1, to: 2, num: 3}\n", 5, "layers: must be a whole number"),
    ("grid:\n  layers: {from: 1, to: 2, nmu: 3}\n", 5, "unknown key 'nmu'. Did you mean 'num'?"),
    ("grid:\n  layers: {to: 2, num: 3}\n", 5, "grid.layers.from: is missing"),
    ("grid:\n  layers: {from: 1, to: 2}\n", 5, "num or step"),
    ("grid:\n  layers: {from: 1, to: 2, num: 2, step: 1}\n", 5, "num or step"),
    ("grid:\n  layers: {from: 1, to: 2, step: -1}\n", 5, "step -1 does not lead from 1 to 2"),
    ("grid:\n  layers: {from: 1, to: 2, step: 0}\n", 5, "step 0 does not lead"),
    ("grid:\n  sigma_w: {from: 0, to: 2, num: 5, scale: log}\n", 5, "above 0"),
    ("grid:\n  sigma_w: {from: a, to: 2, num: 5}\n", 5, "grid.sigma_w.from: 'a' is not a finite number"),
    ("grid:\n  sigma_w: [-1]\n", 5, "sigma_w: -1 must be at least 0"),
    ("grid:\n  sigma_w: [1e300]\n", 5, "sigma_w: 1e+300 must be at least 0 and below 1e154"),
    ("grid:\n  sigma_w: [.nan]\n", 5, "nan is not a finite number"),
    ("grid:\n  sigma_w: [1]\n  init: [he]\n", 6, "give init or sigma_w, not both"),
    ("grid:\n  bias_init.std: [1]\n", 5, "bias_init.std needs a bias_init"),
    ("grid:\n  bias_init: [he]\n", 5, "bias_init: he_normal depends on the layer's size"),
    ("grid:\n  standardize: [true]\n", 5, "standardize: is for data from a file"),
    ("grid:\n  input: [nowhere.npy]\n", 5, "nowhere.npy: no such file"),
    ("grid:\n  width: [3]\n  widths: [[4, 5]]\n", 5, "width: is for every layer, and `widths` for each of them"),
    ("grid:\n  act: [normal:std=1,mean=2]\n", 5, 'quote it: "normal:std=1,mean=2"'),
    ("include:\n- {init: normal:std=1,mean=2, act: tanh}\n", 5, 'quote it: "normal:std=1,mean=2"'),
    ("zip:\n  layers: [1, 2]\n  width: [1, 2, 3]\n", 4, "equally many values, but these have: layers 2, width 3"),
    ("grid: {act: [tanh]}\nzip:\n  act: [relu]\n", 6, "act is an axis of the grid too"),
    ("grid: {act: [tanh]}\nexclude:\n- {act: tanh}\n", 5, "no run is left"),
    ("grid: {act: [tanh, relu]}\nexclude:\n- {act: tanh}\n- {act: gelu}\n", 7, "no run of the grid has act=gelu"),
    ("grid: {act: [tanh, relu]}\nexclude:\n- {}\n", 6, "exclude.0 is empty"),
    ("grid: {act: [tanh, tanh]}\n", 4, "the same run twice: act=tanh"),
    ("grid: {act: [tanh]}\ninclude:\n- {layers: 3}\n- {act: tanh}\n", 7, "the same run twice: act=tanh"),
    ("include: {act: tanh}\n", 4, "include: must be a list"),
    ("include:\n- {act: tanh, alyers: 3}\n", 5, "unknown field 'alyers'. Did you mean 'layers'?"),
    ("seeds: [1, 1]\n", 4, "seeds: names one of them twice"),
    ("seeds: []\n", 4, "seeds is empty"),
    ("seeds: 0\n", 4, "seeds: must be at least 1"),
    ("seeds: [-1]\n", 4, "at least 0"),
    ("seeds: true\n", 4, "seeds: must be a whole number"),
    ("seeds: 2\ngrid: {seed: [1]}\n", 4, "seed is set elsewhere too"),
    ("draws: 0\n", 4, "draws: must be at least 1"),
    ("checks:\n  output.varaince: [0, 1]\n", 5, "unknown result 'output.varaince'. Did you mean 'output.variance'?"),
    ("checks:\n  output.variance: 3\n", 5, "a check is [low, high]"),
    ("checks:\n  output.variance: {mx: 3}\n", 5, "unknown key 'mx'. Did you mean 'max'?"),
    ("checks:\n  output.variance: {}\n", 5, "give min or max"),
    ("checks:\n  output.variance: [2, 1]\n", 5, "min 2 is above max 1"),
    ("checks:\n  output.variance: {max: x}\n", 5, "'x' is not a finite number"),
    ("checks:\n  output.variance: true\n", 5, "output.variance: takes min and max"),
    ("checks:\n  healthy: {max: 1}\n", 5, "healthy: takes true or false"),
    ("checks:\n  output.variance: {max: 1, layers: frist}\n", 5, "'all', 'first' or 'last', not 'frist'"),
    ("checks:\n  output.variance_per_layer: {max: 1, layers: last}\n", 5, "speaks of all layers at once"),
    (
        "checks:\n  output.mean:\n    max: 1\n    where: {lyers: 1}\n",
        7,
        "unknown field 'lyers'. Did you mean 'layers'?",
    ),
    ("checks:\n  output.mean: {max: 1, where: {act: rleu}}\n", 5, "unknown activation 'rleu'. Did you mean 'relu'?"),
    ("figures: [sumary]\n", 4, "unknown figure 'sumary'. Did you mean 'summary'?"),
    ("figures:\n- summary\n- {kind: depth, value: output.varance}\n", 6, "Did you mean 'output.variance'?"),
    ("figures:\n- {kind: depth, vlaue: output.variance}\n", 5, "unknown key 'vlaue'. Did you mean 'value'?"),
    ("figures: [heatmap]\n", 4, "a heatmap needs two numeric axes; this sweep varies nothing"),
    ("figures: [histograms]\n", 4, "no axis to draw over"),
    ("grid: {act: [tanh, relu], layers: [1, 2]}\nfigures:\n- {kind: heatmap, x: act}\n", 6, "act is not"),
    ("grid: {layers: [1, 2]}\nfigures:\n- {kind: histograms, over: layer}\n", 6, "Did you mean 'layers'?"),
    ("export: [cvs]\n", 4, "'csv', 'json' or 'markdown', not 'cvs'"),
    ("export: [csv, csv]\n", 4, "export: names one of them twice"),
    ("<<: {}\n", 4, "unknown key '<<'"),
]


@pytest.mark.parametrize(("text", "line", "said"), FAULTS, ids=[text.replace("\n", " ") for text, _, _ in FAULTS])
def test_a_fault_is_one_line_with_its_place(tmp_path, text, line, said):
    message = refusal(tmp_path, SMALL + text)
    assert message.startswith(f"a.yaml:{line}: ")
    assert said in message


WHOLE_FILES = [
    ("", "a.yaml: holds no mapping"),
    ("- version: 1\n", "a.yaml: holds no mapping"),
    ("name: a\ndefaults: {init: he, act: relu}\n", "a.yaml:1: version: is missing"),
    ("version: 1\ndefaults: {init: he, act: relu}\n", "a.yaml:1: name: is missing"),
    ("version: 2\nname: a\n", "a.yaml:1: version: must be 1, not 2"),
    (HEAD, "a.yaml:1: act: is missing; give it in defaults or as an axis"),
    (HEAD + "defaults: {act: relu}\n", "a.yaml:3: init: is missing; give it in defaults or as an axis"),
    (HEAD + "defaults: {init: he, sigma_w: 1, act: relu}\n", "a.yaml:3: give init or sigma_w, not both"),
    (HEAD + "defaults: {init: normal, act: relu}\n", "a.yaml:3: init: normal needs std= or var="),
    (
        HEAD + "defaults:\n  init: {name: normal, sdt: 1}\n  act: relu\n",
        "a.yaml:4: init: normal has no parameter 'sdt'",
    ),
    (
        HEAD + "defaults:\n  widths: [3, 4]\n  width: 5\n  init: he\n  act: relu\n",
        "a.yaml:5: width: is for every layer",
    ),
    (HEAD + "defaults:\n  draws: 3\ndraws: 4\n", "a.yaml:5: draws is in defaults too"),
]


@pytest.mark.parametrize(("text", "said"), WHOLE_FILES)
def test_a_file_that_lacks_or_doubles_something(tmp_path, text, said):
    assert refusal(tmp_path, text).startswith(said)


NAMES = ["../a", "a/b", "/a", "a\\b", "..", ".", ".a", "a..b", "a b", "", "a" * 65, "é", "a\nb", "-"[:0]]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_safe_as_a_directory(tmp_path, name):
    text = f"version: 1\nname: {json.dumps(name)}\ndefaults: {{init: he, act: relu}}\n"
    assert refusal(tmp_path, text).startswith("a.yaml:2: name: ")


@pytest.mark.parametrize("name", ["a", "A-1_b.c", "a" * 64])
def test_safe_names_are_accepted(tmp_path, name):
    assert loaded(tmp_path, f"version: 1\nname: {name}\ndefaults: {{init: he, act: relu}}\n").name == name


def _properties(node: Any, way: str = "") -> list[tuple[str, Any]]:
    properties = []
    if isinstance(node, dict):
        for name, about in node.get("properties", {}).items():
            properties += [(f"{way}.{name}", about)]
        for key, inner in node.items():
            properties += _properties(inner, f"{way}.{key}")
    elif isinstance(node, list):
        for index, inner in enumerate(node):
            properties += _properties(inner, f"{way}.{index}")
    return properties


def test_the_schema_is_one_and_describes_every_key():
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) == set(SweepFile.model_fields)
    assert set(schema["properties"]["defaults"]["properties"]) == set(FIELDS) == {*ProbeConfig.model_fields, *SCALES}
    named = {"kind", "name"}  # a constant and a word that need no explanation
    assert not [
        way for way, about in _properties(schema) if not about.get("description") and way.split(".")[-1] not in named
    ]


def test_the_schema_gives_known_names_as_examples():
    act = json_schema()["properties"]["defaults"]["properties"]["act"]
    assert "leaky_relu" in act["anyOf"][0]["examples"]
    assert "enum" not in act["anyOf"][0]


SCHEMA_AGREES = [
    ({}, True),
    ({"grid": {"layers": [1, 2], "init.std": {"from": 1, "to": "5/3", "num": 3}}}, True),
    ({"grid": {"widths": [[1, 2], [3]]}, "seeds": [1, 2], "draws": 3}, True),
    ({"checks": {"healthy": True, "output.variance": [None, 2], "theory.z": [{"max": 5, "layers": [1, 2]}]}}, True),
    ({"grid": {"layers": [1, 2]}, "figures": ["summary", {"kind": "depth"}], "export": ["csv"]}, True),
    ({"include": [{"init": {"name": "normal", "std": 0.1}, "thresholds": {"saturated": 0.3}, "act": "gelu"}]}, True),
    ({"grid": {"layers": 3}}, False),
    ({"grid": {"layers": []}}, False),
    ({"grid": {"lyers": [1]}}, False),
    ({"grid": None}, False),
    ({"seeds": 0}, False),
    ({"seeds": None}, False),
    ({"export": ["xls"]}, False),
    ({"figures": [{"kind": "pie"}]}, False),
    ({"checks": {"output.variance": {"mx": 2}}}, False),
    ({"name": "a/b"}, False),
    ({"version": 2}, False),
    ({"more": 1}, False),
]


@pytest.mark.parametrize(("more", "valid"), SCHEMA_AGREES)
def test_the_schema_says_what_the_loader_says(tmp_path, more, valid):
    whole = {"version": 1, "name": "a", "defaults": {"init": "normal:std=0.1", "act": "relu"}} | more
    assert Draft202012Validator(json_schema()).is_valid(whole) is valid
    if valid:
        assert loaded(tmp_path, json.dumps(whole)).runs
    else:
        refusal(tmp_path, json.dumps(whole))


def test_validate_gives_a_line_a_file_and_checks_all(initprobe):
    Path("good.yaml").write_text(SMALL + "seeds: 3\n")
    Path("bad.yaml").write_text(SMALL + "grdi: 3\n")
    fine = initprobe("validate", "good.yaml", "article_figures")
    assert (fine.code, fine.err) == (0, "")
    assert fine.out.splitlines()[0] == "good.yaml: ok: 3 runs"
    mixed = initprobe("validate", "bad.yaml", "good.yaml", "nowhere.yaml")
    assert mixed.code == 2
    lines = mixed.out.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["bad.yaml:4:", "good.yaml:", "nowhere.yaml:"]


def test_schema_prints_the_schema(initprobe):
    outcome = initprobe("schema")
    assert (outcome.code, json.loads(outcome.out)) == (0, json_schema())


def test_list_configs(initprobe):
    outcome = initprobe("list", "configs")
    assert outcome.code == 0
    assert all(name in outcome.out for name in shipped())
