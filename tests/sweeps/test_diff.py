"""`initprobe diff`: two sets of results, run by run."""

import json
import xml.etree.ElementTree as xml

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from initprobe import ProbeConfig, ProbeResult, run
from initprobe.errors import ConfigError, InputError
from initprobe.results.base import TENSORS, Histogram
from initprobe.results.named_numbers import COMPARED
from initprobe.sweeps.histogram_distance import histogram_change
from initprobe.sweeps.store_diff import (
    DEFAULT_RULES,
    PLOTTED,
    STEPPED,
    Comparison,
    paired,
    parse_rule,
    size_of,
)
from initprobe.sweeps.store_kept_runs import KeptRun, kept_runs

SMALL = {"layers": 3, "width": 30, "batch": 40, "draws": 2}
MINE = """
version: 1
name: mine
defaults: {layers: 3, width: 30, batch: 40, draws: 2}
grid: {act: [tanh, relu], init: [xavier, he]}
"""


@pytest.fixture
def result():
    return run(ProbeConfig(init="xavier", act="tanh", **SMALL))


def kept(result, name="it", state="done"):
    return KeptRun(name, state, json.dumps(result.config), lambda: result)


def changed(result, layer, tensor, **values):
    """The result with other statistics of one tensor of one layer."""
    layers = list(result.layers)
    stats = layers[layer - 1].tensor(tensor).model_copy(update=values)
    layers[layer - 1] = layers[layer - 1].model_copy(update={tensor: stats})
    return result.model_copy(update={"layers": tuple(layers)})


def differences(old, new, *rules):
    (pair,) = paired([kept(old)], [kept(new)])
    return Comparison([parse_rule(rule) for rule in rules]).add(pair)


def test_a_result_does_not_differ_from_itself(result):
    assert differences(result, result, *COMPARED) == ()
    again = ProbeResult.from_json(result.to_json())
    assert differences(result, again, *(f"{name}:0%" for name in PLOTTED)) == ()


@pytest.mark.parametrize("rule", ["output.variance", "output.variance:9.9%", "figures:5%", "output.variance:0.001"])
def test_a_change_beyond_the_tolerance_is_found_where_it_is(result, rule):
    new = changed(result, 2, "output", variance=result.layers[1].output.variance * 1.1)
    (change,) = differences(result, new, rule)
    assert (change.name, change.layer) == ("output.variance", 2)
    assert f"{result.layers[1].output.variance:.6g}" == change.old


def test_a_change_within_the_tolerance_passes(result):
    new = changed(result, 2, "output", variance=result.layers[1].output.variance * 1.1)
    assert not differences(result, new, "output.variance:10.1%", "verdict", "missing", "output.mean:0")


def test_of_all_layers_the_worst_is_named(result):
    new = changed(result, 1, "output", variance=result.layers[0].output.variance * 1.1)
    new = changed(new, 3, "output", variance=result.layers[2].output.variance * 1.5)
    assert [change.layer for change in differences(result, new, "output.variance:1%")] == [3]


def by_default(old, new):
    (pair,) = paired([kept(old)], [kept(new)])
    return Comparison(DEFAULT_RULES).add(pair)


def test_a_step_and_formats_are_compared_where_they_are():
    settings = {"init": "he", "act": "relu", "layers": 3, "width": 20, "batch": 20, "draws": 1, "loss": "mse"}
    slow, fast = (
        run(ProbeConfig(**settings, optimizer="sgd", learning_rate=rate, formats="float16")) for rate in (0.1, 0.2)
    )
    assert {change.name for change in by_default(slow, fast)} == set(STEPPED)
    form = fast.formats[0]
    wider = form.tensors[2].model_copy(update={"subnormal": 0.5})
    formats = (form.model_copy(update={"tensors": (*form.tensors[:2], wider, *form.tensors[3:])}),)
    (change,) = by_default(fast, fast.model_copy(update={"formats": formats}))
    assert (change.name, change.layer, change.new) == ("formats.float16.output", 1, "0.5")
    plain = run(ProbeConfig(**settings))
    gone = {change.name for change in by_default(fast, plain)}
    assert set(STEPPED) < gone and "formats.float16.weight" in gone
    comparison = Comparison(DEFAULT_RULES)
    comparison.add(*paired([kept(plain)], [kept(plain)]))
    assert not comparison.idle()
    with pytest.raises(ConfigError, match="compares shares"):
        parse_rule("formats:1%")


def test_a_lost_number_is_a_change(result):
    new = changed(result, 3, "output", variance=None)
    (change,) = differences(result, new, "output.variance:1e300%")
    assert (change.old != "none", change.new) == (True, "none")


def test_verdicts_are_compared():
    collapsed = run(ProbeConfig(init="normal:std=0.01", act="tanh", **SMALL))
    fine = run(ProbeConfig(init="xavier", act="tanh", **SMALL))
    (change,) = differences(fine, collapsed, "verdict")
    assert (change.old, change.new) == ("survives", "vanishing output")


def test_a_run_that_is_gone_or_failed_is_missing_and_a_new_one_is_not(result):
    missing = [parse_rule("missing")]
    other = run(ProbeConfig(init="he", act="tanh", **SMALL))
    pairs = paired([kept(result), kept(other)], [kept(other)])
    assert [len(Comparison(missing).add(pair)) for pair in pairs] == [0, 1]
    assert not any(Comparison(missing).add(pair) for pair in paired([], [kept(other)]))
    (pair,) = paired([kept(result)], [kept(result, state="failed: no memory")])
    assert Comparison(missing).add(pair)[0].new == "failed: no memory"
    assert not Comparison([parse_rule("verdict")]).add(pair)


def histogram(low, high, counts):
    return Histogram(low=low, high=high, counts=counts)


def test_histograms_are_compared_by_how_far_entries_moved(result):
    """A shift of every entry is the distance itself, less a bin at most, within which entries may lie anywhere."""
    stats = result.layers[0].output
    bin_width = (stats.histogram.high - stats.histogram.low) / len(stats.histogram.counts)
    for shift in (1e-9, 0.01, 3.0):
        h = stats.histogram
        new = stats.model_copy(update={"histogram": histogram(h.low + shift, h.high + shift, h.counts)})
        assert max(shift - bin_width, 0) <= histogram_change(stats, new)[1] * stats.rms <= shift


def test_bins_that_split_a_spike_otherwise_have_not_moved_it(result):
    """A heavy tail widens the bins: nearly all entries lie in one of them, whose edges a single outlier decides."""
    stats = result.layers[0].output
    first, second = (
        stats.model_copy(update={"histogram": histogram(-10.0, high, counts), "rms": 0.1})
        for high, counts in ((10.0, (1, 10**6, 1)), (12.0, (1, 10**6, 1)))
    )
    assert histogram_change(first, second)[1] <= 1e-4


def test_a_spike_that_moves_in_the_last_bit_has_hardly_moved(result):
    stats = result.layers[0].output
    first, second = (
        stats.model_copy(update={"histogram": histogram(at, at, (5,)), "rms": 0.7}) for at in (0.7, 0.7000001)
    )
    assert histogram_change(first, second)[1] == pytest.approx(1e-7 / 0.7, rel=1e-4)
    assert histogram_change(first, first) == (0.0, 0.0)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=6),
    st.lists(st.integers(1, 50), min_size=1, max_size=6),
    st.floats(-3, 3),
    st.floats(0.01, 5),
)
def test_the_distance_of_histograms_is_that_of_the_cheapest_transport(first, second, low, width):
    """Checked with a linear program for the cost to move the entries of each bin to the other side's."""
    stats = _STATS.model_copy(update={"rms": 1.0})
    sides = [
        stats.model_copy(update={"histogram": histogram(0.0, 1.0, tuple(first))}),
        stats.model_copy(update={"histogram": histogram(low, low + width, tuple(second))}),
    ]
    (a, from_bins), (b, to_bins) = (
        (np.array(h.counts) / sum(h.counts), np.linspace(h.low, h.high, len(h.counts) + 1))
        for h in (side.histogram for side in sides)
    )
    gaps = np.maximum(from_bins[:-1, None] - to_bins[None, 1:], to_bins[None, :-1] - from_bins[1:, None])
    leaving = np.kron(np.eye(len(a)), np.ones(len(b)))
    arriving = np.kron(np.ones(len(a)), np.eye(len(b)))
    plan = linprog(np.maximum(gaps, 0).ravel(), A_eq=np.vstack([leaving, arriving]), b_eq=np.concatenate([a, b]))
    assert histogram_change(*sides)[1] == pytest.approx(plan.fun, abs=1e-7)


_STATS = run(ProbeConfig(init="xavier", act="tanh", layers=1, width=2, batch=2, draws=1)).layers[0].output


@pytest.mark.parametrize(
    "text, words",
    [
        ("output.varianc", "Did you mean 'output.variance'?"),
        ("nothing", "Names are verdict, missing, figures"),
        ("output.variance:", "tolerance of at least 0"),
        ("output.variance:-1%", "tolerance of at least 0"),
        ("output.variance:nan", "tolerance of at least 0"),
        ("output.variance:x", "tolerance of at least 0"),
        ("verdict:1%", "has no tolerance"),
        ("figures:0.1", "write a percentage"),
        ("output.histogram:0.1", "write a percentage"),
    ],
)
def test_bad_rules_are_refused_in_words(text, words):
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
        parse_rule(text)


def test_differences_have_sizes():
    assert size_of("output.variance", 2.0, 3.0, relative=True) == 0.5
    assert size_of("output.variance", 2.0, 3.0, relative=False) == 1.0
    assert size_of("output.variance", 0.0, 3.0, relative=True) == np.inf
    assert size_of("output.variance", None, None, relative=True) == 0
    assert size_of("output.variance", None, 0.0, relative=False) == np.inf
    assert {f"{tensor}.variance" for tensor in TENSORS} < set(PLOTTED) < set(COMPARED)


@pytest.fixture
def swept(initprobe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(MINE)
    for out in ("old", "new"):
        done = initprobe("sweep", "mine.yaml", "-j", "1", "--no-figures", "-o", out, "--export-json", f"{out}.json")
        assert done.code == 0, done.out
    return tmp_path


def test_stores_directories_and_exports_say_the_same(initprobe, swept):
    for old in ("old", "old/sweep.db", "old.json"):
        done = initprobe("diff", old, "new.json", "--fail-on", "figures:0%", "--fail-on", "verdict")
        assert done.code == 0, done.out
        assert "4 runs in both: 4 agree, 0 differ" in done.out


def test_a_gate_exits_with_1_and_names_the_run(initprobe, swept):
    done = initprobe("sweep", "mine.yaml", "-j", "1", "--no-figures", "-o", "less", "--where", "act=tanh")
    assert done.code == 0
    gone = initprobe("diff", "old", "less", "--fail-on", "missing")
    assert gone.code == 1
    assert "2 only in OLD" in gone.out and "act=relu init=he" in gone.out
    assert initprobe("diff", "less", "old", "--fail-on", "missing").code == 0


def test_no_baseline_yet_is_no_error(initprobe, swept):
    done = initprobe("diff", "nowhere", "new", "--fail-on", "missing")
    assert done.code == 0 and done.err.startswith("warning: nowhere: no baseline yet, nothing to compare")
    wrong = initprobe("diff", "olt", "new", "--fail-on", "missing", "--require-baseline", "--junit", "j.xml")
    assert wrong.code == 2 and wrong.err == "Error: olt: no such file or directory. Did you mean 'old'?\n"
    assert initprobe("diff", "olt", "new", "--fail-on", "missing", "--junit", "j.xml").code == 0
    assert xml.parse("j.xml").find(".//skipped") is not None
    assert initprobe("diff", "old", "nowhere").code == 2


def test_single_results_are_compared_whatever_they_are(initprobe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for init in ("xavier", "normal:std=0.01"):
        args = ["--act", "tanh", "--layers", "3", "--width", "30", "--batch", "40", "--no-figures", "-o", init[:6]]
        assert initprobe("run", "--init", init, *args).code == 0
    done = initprobe("diff", "xavier", "normal", "--fail-on", "verdict", "--markdown", "summary.md")
    assert done.code == 1
    assert "not the same experiment: init: xavier -> normal:std=0.01" in done.out
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("**1 run in both: 0 agree, 1 differs**")
    assert "| verdict |  | survives | vanishing output |" in summary


def test_unrelated_runs_are_not_compared(initprobe, swept):
    done = initprobe("sweep", "mine.yaml", "-j", "1", "--no-figures", "-o", "wide", "--set", "width=31")
    assert done.code == 0
    assert "the first two differ in: width: 30 -> 31" in initprobe("diff", "old", "wide").out


def test_a_gate_that_compared_nothing_fails(initprobe, swept):
    assert initprobe("sweep", "mine.yaml", "-j", "1", "--no-figures", "-o", "wide", "--set", "width=31").code == 0
    for rule in ("verdict", "missing", "figures", "output.variance:10%", "output.variance_per_layer"):
        done = initprobe("diff", "old", "wide", "--fail-on", rule, "--junit", "x.xml")
        assert (done.code, len(done.err.splitlines())) == (1, 1), rule
        assert xml.parse(swept / "x.xml").find("testsuite").get("failures") != "0"
    assert "nothing was compared" in initprobe("diff", "old", "wide", "--fail-on", "verdict").err
    assert initprobe("diff", "old", "wide").code == 0  # no gate
    (swept / "none.json").write_text('{"schema": 1, "runs": []}')
    assert initprobe("diff", "none.json", "new", "--fail-on", "verdict").code == 1


def test_a_number_that_no_run_has_is_no_gate(initprobe, swept):
    done = initprobe("diff", "old", "new", "--fail-on", "verdict", "--fail-on", "training.final_loss")
    assert (done.code, done.err) == (
        1, "Error: --fail-on training.final_loss: no run has this number, so nothing was compared\n"
    )  # fmt: skip
    assert initprobe("diff", "old", "new", "--fail-on", "output.dead_fraction").code == 0  # half of the runs have it
    assert initprobe("sweep", "mine.yaml", "-j", "1", "--no-figures", "-o", "t", "--where", "act=tanh").code == 0
    assert initprobe("diff", "t", "t", "--fail-on", "output.dead_fraction").code == 1


def test_rates_are_compared(initprobe, swept):
    assert initprobe("diff", "old", "new", "--fail-on", "output.variance_per_layer:0%").code == 0
    result, rates = run(ProbeConfig(init="he", act="relu", **SMALL)), [0.0, 0.2]
    sides = [changed(result, 3, "output", variance_log10=result.layers[0].output.variance_log10 + r) for r in rates]
    (change,) = differences(*sides, "output.variance_per_layer:20%")
    # Over two steps: 10^0.1 is 1.2589.
    assert (change.old, change.new, change.layer) == ("1", "1.25893", None)


def test_junit_of_a_gate(initprobe, swept):
    assert initprobe("sweep", "mine.yaml", "-j", "1", "--no-figures", "-o", "less", "--where", "act=tanh").code == 0
    done = initprobe("diff", "old", "less", "--fail-on", "missing", "--junit", "-")
    assert done.code == 1
    suite = xml.fromstring(done.out).find("testsuite")
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4", "failures": "2", "errors": "0", "skipped": "0"
    }  # fmt: skip
    assert "missing" in suite.find("testcase/failure").get("message")
    assert initprobe("diff", "old", "less", "--junit", "x.xml").code == 2
    assert initprobe("diff", "nowhere", "less", "--fail-on", "missing", "--junit", "x.xml").code == 0
    assert xml.parse(swept / "x.xml").find("testsuite").get("tests") == "1"


def test_files_of_other_kinds_are_refused_in_one_line(tmp_path):
    for name, content in {"a.json": "{", "b.json": "{}", "c.json": "[1]", "d.db": "x", "e.json": "[" * 10**5}.items():
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(InputError), kept_runs([path]):
            pass


def test_a_field_that_came_later_does_not_set_an_old_result_apart(result, tmp_path):
    old = json.loads(result.to_json())
    del old["config"]["thresholds"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    (tmp_path / "new.json").write_text(result.to_json())
    with kept_runs([tmp_path / "old.json"]) as before, kept_runs([tmp_path / "new.json"]) as now:
        assert before[0].config == now[0].config


def test_exported_failures_have_no_result(initprobe, tmp_path):
    entry = {"key": "k", "axes": {"act": "tanh"}, "state": "failed", "error": "no memory", "result": None}
    (tmp_path / "x.json").write_text(json.dumps({"schema": 1, "runs": [entry]}))
    with kept_runs([tmp_path / "x.json"]) as runs:
        assert (runs[0].name, runs[0].state) == ("act=tanh", "failed: no memory")
        with pytest.raises(InputError, match="has no result"):
            runs[0].load()
    assert initprobe("diff", str(tmp_path / "x.json"), str(tmp_path / "x.json")).code == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "weird", None, [1], 3])
def test_every_dtype_that_a_result_names_is_compared(initprobe, result, tmp_path, dtype):
    """Those of PyTorch among them."""
    whole = json.loads(result.to_json())
    (tmp_path / "old.json").write_text(json.dumps(whole | {"config": whole["config"] | {"dtype": dtype}}))
    done = initprobe("diff", tmp_path / "old.json", tmp_path / "old.json")
    assert (done.code, "1 agree" in done.out) == (0, True), done.err


def test_results_without_layers_are_none(initprobe, result, tmp_path):
    (tmp_path / "old.json").write_text(json.dumps(json.loads(result.to_json()) | {"layers": []}))
    for args in (("diff", tmp_path / "old.json", tmp_path / "old.json"), ("show", tmp_path / "old.json")):
        done = initprobe(*args)
        assert (done.code, len(done.err.splitlines())) == (2, 1)
