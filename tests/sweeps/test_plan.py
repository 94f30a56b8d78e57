"""What a sweep's file means: its runs, in order, and what sets them apart."""

from __future__ import annotations

import math
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_files import HEAD, SMALL, loaded

from initprobe.config.probe_config import ProbeConfig
from initprobe.errors import ConfigError
from initprobe.sweeps.file_layout import Range
from initprobe.sweeps.plan import Plan, load
from initprobe.sweeps.runs import Run
from initprobe.sweeps.shipped_configs import shipped


def _axes(plan: Plan) -> list[dict[str, Any]]:
    return [dict(run.axes) for run in plan.runs]


def test_defaults_alone_are_one_run(tmp_path):
    plan = loaded(tmp_path, SMALL)
    assert [run.config for run in plan.runs] == [ProbeConfig(init="he", act="relu", layers=2, width=9, batch=9)]
    assert (plan.name, plan.path, plan.axes) == ("test", tmp_path / "a.yaml", ())
    assert (plan.checks, plan.figures, plan.export) == ((), None, ())


def test_grid_is_a_cross_product_in_the_order_of_the_file(tmp_path):
    plan = loaded(tmp_path, SMALL + "grid:\n  layers: [3, 1]\n  act: [tanh, relu]\n")
    assert plan.axes == ("layers", "act")
    assert _axes(plan) == [{"layers": n, "act": act} for n in (3, 1) for act in ("tanh", "relu")]
    assert [run.config.layers for run in plan.runs] == [3, 3, 1, 1]


def test_zip_is_one_more_axis(tmp_path):
    plan = loaded(tmp_path, SMALL + "zip:\n  act: [tanh, relu]\n  init: [xavier, he]\ngrid:\n  layers: [3, 1]\n")
    pairs = [{"act": "tanh", "init": "xavier"}, {"act": "relu", "init": "he"}]
    assert _axes(plan) == [{"layers": n} | pair for n in (3, 1) for pair in pairs]


def test_exclude_goes_before_include_which_only_appends(tmp_path):
    text = SMALL + "grid:\n  layers: [3, 1]\n  act: [tanh, relu]\nexclude:\n- {layers: 3, act: tanh}\n- {layers: 1}\n"
    assert _axes(loaded(tmp_path, text)) == [{}]
    included = loaded(tmp_path, text + "include:\n- {layers: 3, act: tanh}\n- {}\n")
    assert _axes(included) == [
        {"layers": 3, "act": "relu"},
        {"layers": 3, "act": "tanh"},
        {"layers": 2, "act": "relu"},
    ]


def test_exclude_knows_the_parameters_of_a_specification(tmp_path):
    text = SMALL + "grid: {init: ['normal:std=0.1', 'normal:std=0.2']}\nexclude: [{init.std: 1e-1}]\n"
    assert [str(run.config.init) for run in loaded(tmp_path, text).runs] == ["normal:std=0.2"]


def test_include_has_the_defaults_and_not_the_grid(tmp_path):
    plan = loaded(tmp_path, SMALL + "grid: {layers: [3]}\ninclude: [{act: tanh}]\n")
    assert _axes(plan) == [{"layers": 3, "act": "relu"}, {"layers": 2, "act": "tanh"}]


def test_axes_that_do_not_vary_set_nothing_apart(tmp_path):
    plan = loaded(tmp_path, SMALL + "grid: {layers: [3], act: [tanh, relu], dtype: [float64]}\n")
    assert plan.axes == ("act",)
    assert _axes(plan) == [{"act": "tanh"}, {"act": "relu"}]


def test_defaults_are_shown_with_the_value_used(tmp_path):
    text = (
        HEAD + "defaults: {init: he, act: relu}\ninclude: [{}, {layers: 3, width: 4, batch: 5, standardize: false}]\n"
    )
    plan = loaded(tmp_path, text)
    assert _axes(plan) == [{"layers": 10, "width": 500, "batch": 1000}, {"layers": 3, "width": 4, "batch": 5}]


def test_seeds_are_the_fastest_axis_of_every_run(tmp_path):
    plan = loaded(tmp_path, SMALL + "grid: {act: [tanh, relu]}\ninclude: [{act: selu}]\nseeds: [5, 3]\n")
    assert [(run.axes["act"], run.axes["seed"]) for run in plan.runs] == [
        (act, seed) for act in ("tanh", "relu", "selu") for seed in (5, 3)
    ]
    assert [run.config.seed for run in plan.runs] == [5, 3] * 3


def test_a_count_of_seeds_counts_up_from_the_default_one(tmp_path):
    assert [run.config.seed for run in loaded(tmp_path, SMALL + "seeds: 3\n").runs] == [0, 1, 2]
    assert [run.config.seed for run in loaded(tmp_path, SMALL + "seeds: 2\n", "seed=7").runs] == [7, 8]


def test_draws_go_into_the_config(tmp_path):
    assert loaded(tmp_path, SMALL + "draws: 7\n").runs[0].config.draws == 7


@pytest.mark.parametrize(
    "value", ["normal:std=0.01", '"normal:std=1e-2"', "{name: normal, std: 0.01}", "{name: normal, std: 1/100}"]
)
def test_a_specification_is_text_or_a_mapping(tmp_path, value):
    plan = loaded(tmp_path, SMALL + f"grid: {{init: [{value}, he]}}\n")
    assert plan.runs[0].config.init == ProbeConfig(init="normal:std=0.01", act="relu").init
    assert plan.runs[0].axes == {"init": "normal:std=0.01"}


def test_dotted_axes_set_parameters_of_what_is_named_elsewhere(tmp_path):
    text = HEAD + "defaults: {act: leaky_relu, layers: 2, width: 9}\ngrid:\n  init: [normal, truncated_normal]\n"
    plan = loaded(tmp_path, text + "  init.std: [0.1, 5/3]\n  act.slope: [0.2]\n  thresholds.saturated: [0.3]\n")
    assert _axes(plan) == [{"init": i, "init.std": s} for i in ("normal", "truncated_normal") for s in (0.1, 5 / 3)]
    config = plan.runs[1].config
    assert (str(config.init), str(config.act)) == (f"normal:std={5 / 3!r}", "leaky_relu:slope=0.2")
    assert config.thresholds.saturated == 0.3


def test_an_axis_wins_over_a_parameter_that_is_there(tmp_path):
    plan = loaded(tmp_path, SMALL + "grid: {init: ['he:gain=2,mode=fan_out'], init.gain: [3, 4]}\n")
    assert [str(run.config.init) for run in plan.runs] == [f"he:gain={g},mode=fan_out" for g in (3, 4)]


def test_the_input_can_be_an_axis_and_have_parameters(tmp_path):
    plan = loaded(tmp_path, SMALL + "grid: {input.correlation: [0, 0.5]}\n")
    assert [str(run.config.input) for run in plan.runs] == ["gaussian:correlation=0.0", "gaussian:correlation=0.5"]


def test_scales_of_the_papers_stand_for_initializers(tmp_path):
    plan = loaded(tmp_path, SMALL + "grid: {sigma_w: [1.5], sigma_b: [0, 0.2]}\n")
    expected = ProbeConfig(
        init="variance_scaling:scale=2.25", bias_init="normal:std=0.2", act="relu", layers=2, width=9, batch=9
    )
    assert plan.runs[1].config == expected
    assert _axes(plan) == [{"sigma_b": 0}, {"sigma_b": 0.2}]


def test_widths_are_an_axis_too(tmp_path):
    plan = loaded(tmp_path, SMALL + "grid: {widths: [[7, 6], [5]]}\n")
    assert [run.config.layer_widths for run in plan.runs] == [(7, 6), (5,)]
    assert _axes(plan) == [{"widths": "7,6"}, {"widths": "5"}]


RIVALS = [
    ("{widths: [5, 6, 7]}", {"widths": (5, 6, 7), "width": None, "layers": None}),
    ("{sigma_w: 1}", {"init": "variance_scaling:scale=1"}),
    ("{init: lecun}", {"init": "lecun"}),
]


@pytest.mark.parametrize(("entry", "fields"), RIVALS)
def test_a_higher_level_replaces_what_says_the_same_thing(tmp_path, entry, fields):
    config = loaded(tmp_path, SMALL + f"include: [{entry}]\n").runs[0].config
    assert config == ProbeConfig(**{"init": "he", "act": "relu", "layers": 2, "width": 9, "batch": 9} | fields)


RANGES = [
    ("{from: 1, to: 9, step: 4}", [1, 5, 9]),
    ("{from: 1, to: 8, step: 4}", [1, 5]),
    ("{from: 9, to: 1, step: -4}", [9, 5, 1]),
    ("{from: 10, to: 50, num: 5}", [10, 20, 30, 40, 50]),
    ("{from: 0.1, to: 0.3, step: 0.1}", [0.1, 0.2, 0.3]),
    ("{from: 0, to: 1, num: 3}", [0, 0.5, 1]),
    ("{from: 1e-3, to: 1e1, num: 5, scale: log}", [0.001, 0.01, 0.1, 1, 10]),
    ("{from: 16, to: 256, num: 5, scale: log}", [16, 32, 64, 128, 256]),
    ("{from: 3, to: 0.5, num: 2}", [3, 0.5]),
    ("{from: sqrt(4), to: 5/2, num: 2}", [2, 2.5]),
]


@pytest.mark.parametrize(("text", "values"), RANGES)
def test_ranges_are_read(tmp_path, text, values):
    plan = loaded(tmp_path, SMALL + f"grid: {{init.gain: {text}}}\n")
    assert [run.axes["init.gain"] for run in plan.runs] == values


def test_whole_ranges_serve_whole_fields(tmp_path):
    plan = loaded(tmp_path, SMALL + "grid: {width: {from: 16, to: 64, num: 3, scale: log}}\n")
    assert [run.config.width for run in plan.runs] == [16, 32, 64]


@settings(derandomize=True, database=None, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 50), st.sampled_from(["linear", "log"]))
def test_a_range_has_its_ends_its_length_and_its_order(low, high, num, scale):
    values = list(Range.model_validate({"from": low, "to": high, "num": num, "scale": scale}).values())
    assert len(values) == num
    # Twelve significant digits are kept.
    assert (values[0], values[-1]) == (pytest.approx(low, rel=1e-11), pytest.approx(high, rel=1e-11))
    assert values == sorted(values, reverse=high < low)


def test_keys_do_not_depend_on_how_a_run_is_asked_for(tmp_path):
    by_grid = loaded(tmp_path, SMALL + "grid: {act: [tanh], init: ['he:gain=2', xavier]}\n")
    by_hand = loaded(tmp_path, SMALL + "include: [{act: tanh, init: xavier}, {act: tanh, init: {name: he, gain: 2}}]\n")
    assert {run.key for run in by_grid.runs} == {run.key for run in by_hand.runs}


def test_a_run_travels_to_another_process(tmp_path):
    for run in _load_all(tmp_path):
        sent = pickle.loads(pickle.dumps(run))
        assert (sent, sent.key) == (run, run.key)
        assert sent.config.initializer.variance(9, 9) == run.config.initializer.variance(9, 9)


def _load_all(tmp_path: Path) -> list[Run]:
    text = "grid: {init: ['he:gain=2', flax_dense], bias_init: ['normal:std=0.1', null], widths: [[3, 4]]}\n"
    return list(loaded(tmp_path, SMALL + text).runs)


def test_anchors_may_be_used(tmp_path):
    assert len(loaded(tmp_path, SMALL + "grid:\n  act: &acts [tanh, relu]\nexclude: [{act: tanh}]\n").runs) == 1
    assert len(loaded(tmp_path, HEAD + "defaults: &d {init: he, act: relu}\ninclude: [*d]\n").runs) == 1


@pytest.mark.benchmark
def test_ten_thousand_runs_load_quickly(tmp_path):
    side = "{from: 0.5, to: 3, num: 100}"
    text = HEAD + f"defaults: {{act: tanh}}\ngrid: {{sigma_w: {side}, sigma_b: {side}}}\n"
    taken = math.inf
    for _ in range(5):
        started = time.perf_counter()
        assert len(loaded(tmp_path, text).runs) == 10_000
        taken = min(taken, time.perf_counter() - started)
    print(f"\n10,000 runs planned in {taken:.2f} s (aim: well under 1.5 s)")


@pytest.mark.parametrize("source", ["nowhere.yaml", "article_figure", "", ".", "a\x00b", "../etc/passwd"])
def test_a_file_that_is_not_there(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no such file|is a directory|NUL") as caught:
        load(source)
    assert source != "article_figure" or "Did you mean 'article_figures'?" in str(caught.value)


def test_a_shipped_config_comes_before_a_file_of_its_name(tmp_path, monkeypatch):
    """Else a file that happens to lie there would change what a command of the README does."""
    monkeypatch.chdir(tmp_path)
    Path("article_figures").write_text(SMALL)
    assert load("article_figures").path == shipped()["article_figures"]
    assert load("./article_figures").name == load(Path("article_figures")).name == "test"
