"""What `import initprobe` offers beside `run`: the same numbers as the commands."""

import copy
import doctest
import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

import initprobe
from initprobe import ProbeConfig, diff, load, phase
from initprobe.errors import ConfigError, InputError, UnknownNameError
from initprobe.spec import Spec

SMALL = {"act": "tanh", "layers": 3, "width": 20, "batch": 20, "draws": 1}
SWEEP = """version: 1
name: s
defaults: {layers: 3, width: 20, batch: 20, act: tanh}
grid: {init: [xavier, lecun]}
"""


def test_every_public_name_can_be_had():
    assert all(getattr(initprobe, name) is not None for name in initprobe.__all__)
    assert dir(initprobe) == sorted(initprobe.__all__)


def test_names_and_configs_are_short_at_a_prompt():
    config = ProbeConfig(init="he:gain=2", act="relu", layers=3, thresholds={"saturated": 0.3})
    assert repr(config) == "ProbeConfig(init='he:gain=2', act='relu', layers=3, thresholds={'saturated': 0.3})"
    assert eval(repr(config), {"ProbeConfig": ProbeConfig}) == config
    assert repr(initprobe.ACTIVATIONS).startswith("<20 activations: linear, sigmoid, ")
    assert repr(initprobe.ACTIVATIONS["relu"]) == "<Activation: relu: max(x, 0); Nair & Hinton 2010, ICML>"
    assert repr(initprobe.INITIALIZERS["he"]).startswith("<Initializer: he_normal: N(0, std^2)")


def test_compare_measures_what_run_measures():
    configs = [ProbeConfig(init=init, **SMALL) for init in ("xavier", "normal:std=0.01")]
    comparison = initprobe.compare(configs, threads=1)
    for config, result in zip(configs, comparison.results, strict=True):
        assert result.layers == initprobe.run(config, threads=1).layers
    assert "vanishing output" in comparison.table() and comparison.figure().axes


@pytest.mark.parametrize("wrong", ["xavier", {"init": "he"}, None])
def test_an_object_that_is_no_experiment_is_refused(wrong):
    for call in (initprobe.run, lambda config: initprobe.compare([config])):
        with pytest.raises(ConfigError, match="must be a ProbeConfig"):
            call(wrong)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda config: initprobe.compare(3), "configs: must be a list of experiments"),
        (lambda config: initprobe.compare("he"), "configs: must be a list of experiments"),
        (lambda config: initprobe.compare({"init": "he"}), "configs: must be a list of experiments"),
        (lambda config: initprobe.spectrum(config, "x"), "samples: must be a whole number, not 'x'"),
        (lambda config: initprobe.width(config, 8), "widths: must be at least two different whole numbers"),
        (lambda config: initprobe.width(config, [8, 2.5]), "widths: must be at least two different whole numbers"),
        (lambda config: initprobe.width(config, [8, 16], seeds="x"), "seeds: must be a whole number, not 'x'"),
        (lambda config: initprobe.gain("relu", "x"), "sigma_b: must be at least 0 and below 1, not 'x'"),
    ],
)
def test_an_argument_of_another_type_is_refused_in_a_line(call, said):
    with pytest.raises(ConfigError) as refused:
        call(ProbeConfig(init="he", **SMALL))
    assert str(refused.value).startswith(said) and "\n" not in str(refused.value)


def test_compare_without_an_experiment_is_refused():
    with pytest.raises(ConfigError, match="at least one experiment"):
        initprobe.compare([])


def test_gain_and_phase_are_those_of_theory():
    for act in ("relu", initprobe.ACTIVATIONS["relu"], lambda z: np.maximum(z, 0)):
        assert initprobe.gain(act).forward == pytest.approx(math.sqrt(2), rel=1e-9)
        assert initprobe.phase(act, 1.0).chi_1 == pytest.approx(0.5, rel=1e-6)
    diagram = initprobe.phase("tanh", [0.9, 1.1], [0.0, 0.1])
    assert diagram.q.shape == (2, 2) and diagram.settling[0, 0] == "vanishes"
    assert initprobe.phase("relu", math.sqrt(2)).chi_1 == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("scale", [-1, math.nan, [[1, 2]]])
def test_an_impossible_scale_is_refused(scale):
    with pytest.raises(ConfigError, match="sigma_w"):
        initprobe.phase("tanh", scale)


def test_recommend_and_spectrum():
    assert initprobe.recommend("relu", 3, 20, threads=1).gain == pytest.approx(math.sqrt(2), rel=0.01)
    spectrum = initprobe.spectrum(ProbeConfig(init="orthogonal", **(SMALL | {"act": "linear"})), threads=1)
    assert spectrum.isometric and spectrum.end_to_end[-1].largest == pytest.approx(1, abs=1e-5)


def test_sweep_and_load(tmp_path):
    (tmp_path / "s.yaml").write_text(SWEEP)
    swept = initprobe.sweep(tmp_path / "s.yaml", out=tmp_path / "out", jobs=1)
    assert [row.state for row in swept.rows] == ["done", "done"] and "2 runs: 2 survive" in swept.table()
    assert repr(swept) == f"<Sweep: 2 runs: 2 survive; {tmp_path / 'out' / 'sweep.db'}>"
    axes, result = next(swept.results())
    assert axes == {"init": "xavier"} and len(result.layers) == 3
    again = initprobe.load(tmp_path / "out")
    assert isinstance(again, initprobe.Sweep) and again.rows == swept.rows
    (tmp_path / "one.json").write_text(result.to_json())
    assert initprobe.load(tmp_path / "one.json") == result
    (tmp_path / "two.json").write_text(f"[{result.to_json()}, {result.to_json()}]")
    assert initprobe.load(tmp_path / "two.json") == initprobe.Comparison((result, result))
    with pytest.raises(UnknownNameError, match="Did you mean"):
        swept.table(columns=["output.varianc"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"where": ["atc=relu"]}, "where atc: unknown field 'atc'. Did you mean 'act'?"),
        ({"where": ["act"]}, "where: 'act' is not FIELD=VALUE, as in act=relu"),
        ({"where": ["act=gelu"]}, "where: no run has act=gelu; act is relu, tanh"),
        ({"overrides": ["lyers=3"]}, "overrides lyers: there is no key 'lyers'. Did you mean 'layers'?"),
        ({"overrides": ["act=relu"]}, "overrides act: act is an axis, which overrides it; use grid.act=[...]"),
        ({"overrides": ["layers=two"]}, "overrides layers: layers: must be a whole number, not 'two'"),
    ],
)
def test_errors_of_a_sweep_name_the_argument(arguments, said, tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("version: 1\nname: s\ndefaults: {init: he, layers: 1, width: 5}\ngrid: {act: [relu, tanh]}\n")
    with pytest.raises(ConfigError) as refused:
        initprobe.sweep(file, out=tmp_path, **arguments)
    assert str(refused.value) == said


def test_a_sweep_in_a_script_needs_no_guard(tmp_path):
    """Workers do not run the script again, with or without `if __name__ == "__main__"`."""
    (tmp_path / "s.yaml").write_text(SWEEP)
    script = tmp_path / "script.py"
    script.write_text("import initprobe\nprint('once', len(initprobe.sweep('s.yaml', jobs=1).rows))\n")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("once 2\n", "")


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("run --init he --no-figures", "ProbeResult"),
        ("compare --init he --init xavier", "Comparison"),
        ("spectrum --init he", "Spectrum"),
        ("recommend", "Recommendation"),
        ("width --init he --widths 8,16,32 --seeds 1 --steps 1", "CoordinateCheck"),
    ],
)
def test_load_reads_what_a_command_writes(initprobe, command, kind, tmp_path):
    layers = ["--act", "tanh", "--layers", "2"] + ([] if kind == "CoordinateCheck" else ["--width", "12"])
    initprobe(*command.split(), *layers, "--export-json", str(tmp_path / "it.json"))
    loaded = load(tmp_path / "it.json")
    assert type(loaded).__name__ == kind and loaded.table() and repr(loaded).startswith(f"<{kind}: ")


def test_load_reads_a_phase_diagram(initprobe, tmp_path):
    initprobe("phase", "--act", "relu", "--sigma-w", "1..2", "--size", "3", "--export-json", str(tmp_path / "p.json"))
    loaded, known = load(tmp_path / "p.json"), phase("relu", np.linspace(1, 2, 3), np.linspace(0, 1, 3))
    assert np.array_equal(loaded.phases, known.phases)
    for name in ("sigma_w", "sigma_b", "q", "slope", "chi_1", "correlation"):
        assert np.array_equal(getattr(loaded, name), getattr(known, name), equal_nan=True)
    damaged = json.loads((tmp_path / "p.json").read_text()) | {"q": [[1.0]]}
    (tmp_path / "p.json").write_text(json.dumps(damaged))
    with pytest.raises(InputError, match=r"p\.json: q must have 3 rows of 3 cells"):
        load(tmp_path / "p.json")


def test_load_reads_the_export_of_a_sweep(initprobe, tmp_path):
    (tmp_path / "s.yaml").write_text(SWEEP)
    out = ["-o", str(tmp_path), "-j", "1", "--no-figures"]
    initprobe("sweep", str(tmp_path / "s.yaml"), *out, "--export-json", str(tmp_path / "s.json"))
    kept, exported = load(tmp_path / "sweep.db"), load(tmp_path / "s.json")
    assert exported.table() == kept.table() and list(exported.results()) == list(kept.results())
    assert [row.digest for row in exported.rows] == [row.digest for row in kept.rows]
    assert not diff(kept, exported).changes and "2 runs in both: 2 agree" in repr(diff(kept, tmp_path / "s.json"))
    written = json.loads((tmp_path / "s.json").read_text())
    written["runs"][0] |= {"state": "failed", "error": "bang", "result": None}
    (tmp_path / "s.json").write_text(json.dumps(written))
    partly = load(tmp_path / "s.json")
    assert repr(diff(kept, partly)) == repr(diff(kept, tmp_path / "s.json"))
    assert "2 agree" in repr(diff(partly, partly)) and "failed: bang" in partly.table()
    written["runs"][0] |= {"state": "done", "error": None}
    (tmp_path / "s.json").write_text(json.dumps(written))
    with pytest.raises(InputError, match=r"s\.json, run 1: has no result"):
        load(tmp_path / "s.json")


def test_the_frame_of_equal_results_has_columns():
    pytest.importorskip("pandas", reason="pandas is not installed")
    he = initprobe.run(ProbeConfig(init="he", **SMALL), threads=1)
    frame = diff(he, he).to_dataframe()
    assert frame.empty and "size" in frame


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", '{"groups": []}', "layer,mean\n1,0.5\n"])
def test_load_of_another_file_names_the_fix(text, tmp_path):
    (tmp_path / "other").write_text(text)
    with pytest.raises(
        InputError, match=r"other:.*load reads result\.json, sweep\.db, and the results that --export-json writes$"
    ):
        load(tmp_path / "other")


def test_diff_compares_results():
    he, xavier = (initprobe.run(ProbeConfig(init=init, **SMALL), threads=1) for init in ("he", "xavier"))
    assert diff(he, [he], ["verdict", "output.variance"]).changes == ()
    differences = diff(he, xavier, ["output.variance:10%"])
    (change,) = differences.changes
    assert (change.name, change.layer) == ("output.variance", 3) and "init: he -> xavier" in differences.table()
    assert repr(differences).startswith("<Differences: 1 run in both: 0 agree, 1 differs; ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((3, "a.json"), "old: must be results or a path of results, not 3"),
        (("a.json", []), "new: must be results or a path of results, not []"),
        (("a.json", "a.json", "verdict"), "numbers: must be a list of texts, as in ['verdict']"),
        (("a.json", "a.json", ["verdict:1%"]), "numbers: verdict has no tolerance; write verdict alone"),
    ],
)
def test_errors_of_diff_name_the_argument(arguments, said):
    with pytest.raises(ConfigError) as refused:
        diff(*arguments)
    assert str(refused.value) == said


def test_load_of_a_directory_without_results_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"neither sweep\.db nor result\.json"):
        initprobe.load(tmp_path)


def test_frames_have_the_columns_of_the_csv():
    pytest.importorskip("pandas", reason="pandas is not installed")
    comparison = initprobe.compare([ProbeConfig(init=init, **SMALL) for init in ("he", "xavier")], threads=1)
    frame = comparison.results[0].to_dataframe()
    variances = [layer.output.variance for layer in comparison.results[0].layers]
    assert np.array_equal(frame["output.variance"], variances)
    assert len(comparison.to_dataframe()) == 6 and comparison.to_dataframe().columns[0] == "title"


def test_without_pandas_a_frame_is_refused(monkeypatch):
    monkeypatch.setattr("initprobe.reports.dataframe.find_spec", lambda name: None)
    with pytest.raises(initprobe.InitprobeError, match="pip install pandas"):
        initprobe.run(ProbeConfig(init="he", **SMALL), threads=1).to_dataframe()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("outputs",), "Did you mean 'output'"),
        (("output", "varianc"), "Did you mean 'variance'"),
        (("weight", "status"), "There are mean, "),
    ],
)
def test_a_misspelt_series_names_the_nearest(arguments, hint):
    result = initprobe.run(ProbeConfig(init="he", **SMALL), threads=1)
    with pytest.raises(UnknownNameError, match=hint):
        result.series(*arguments)
    with pytest.raises(KeyError, match="Did you mean"):
        result.layers[0].at("output.varianc")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: initprobe.compare(ProbeConfig(init="he", **SMALL)), "must be a list"),
        (lambda: initprobe.phase("tanh", "wide"), "sigma_w"),
        (lambda: initprobe.recommend("relu", "3"), "layers: must be a whole number"),
        (lambda: initprobe.recommend("relu", 3, 20, "balansed"), "goal: must be one of forward"),
        (lambda: initprobe.run(ProbeConfig(init="he", **SMALL), threads="two"), "threads: must be a whole number"),
        (lambda: initprobe.load(3), "path: must be a path"),
        (lambda: initprobe.sweep(3), "config: must be a path"),
    ],
)
def test_an_argument_of_another_kind_is_refused_in_words(call, words):
    with pytest.raises(ConfigError, match=words):
        call()


@pytest.mark.parametrize("name", ["compare", "phase", "gain", "spectrum"])
def test_the_example_of_a_public_function_is_true(name):
    names = {public: getattr(initprobe, public) for public in initprobe.__all__}
    (example,) = doctest.DocTestFinder(recurse=False).find(names[name], name, globs=names)
    outcome = doctest.DocTestRunner().run(example)
    assert outcome.attempted and not outcome.failed


@pytest.fixture(scope="module")
def shown_results(tmp_path_factory):
    """One result of each function of `initprobe`."""
    place = tmp_path_factory.mktemp("results")
    (place / "s.yaml").write_text(SWEEP)
    config = ProbeConfig(init="he", **SMALL)
    swept = initprobe.sweep(place / "s.yaml", out=place / "out", jobs=1)
    result = initprobe.run(config, threads=1)
    (place / "one.json").write_text(result.to_json())
    return {
        "run": result,
        "compare": initprobe.compare([config], threads=1),
        "recommend": initprobe.recommend("relu", 3, 20, threads=1),
        "spectrum": initprobe.spectrum(config, threads=1),
        "width": initprobe.width(config.model_copy(update={"width": None}), [8, 16], seeds=1, steps=1, threads=1),
        "gain": initprobe.gain("gelu"),  # two of its numbers are NaN
        "phase": initprobe.phase("relu", [0.9, 1.6], [0.0, 0.1]),
        "sweep": swept,
        "load": initprobe.load(place / "out"),
        "diff": diff(result, result),
        "diff of stores": diff(place / "out", swept),
        "diff of files": diff(place / "one.json", place / "one.json"),
    }


def test_every_result_is_pickled_and_copied_as_an_equal_one(shown_results):
    """NaN and arrays included; an answer of `==` is a plain truth value."""
    for name, result in shown_results.items():
        for copied in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result), copy.copy(result)):
            assert (copied == result) is True, name
        assert (result == 1) is False and (result != result) is False, name


def test_results_with_parts_have_a_length(shown_results):
    assert len(shown_results["sweep"]) == len(shown_results["load"]) == 2 and len(shown_results["compare"]) == 1
    assert len(shown_results["diff"]) == 0


def test_a_finished_sweep_leaves_no_journal(shown_results):
    assert {file.name for file in shown_results["sweep"].path.parent.iterdir()} == {"sweep.db", ".sweep.db.lock"}


def test_an_empty_file_is_not_called_wrong_json(tmp_path):
    (tmp_path / "x.db").touch()
    for call in (lambda: diff(tmp_path / "x.db", tmp_path / "x.db"), lambda: load(tmp_path / "x.db")):
        with pytest.raises(InputError, match=r"x\.db: is empty"):
            call()


def test_a_changed_result_is_not_equal(shown_results):
    gain, diagram = shown_results["gain"], shown_results["phase"]
    assert gain != initprobe.gain("gelu", 0.1) and gain != initprobe.gain("relu") and gain in {gain}
    assert diagram != initprobe.phase("relu", [0.9, 1.7], [0.0, 0.1]) and diagram != initprobe.phase("relu", 0.9)


def test_a_pickled_difference_still_reads_its_results(shown_results):
    for name in ("diff", "diff of stores", "diff of files"):
        pair = pickle.loads(pickle.dumps(shown_results[name])).pairs[0]
        assert pair.old.load() == pair.new.load() and len(pair.old.load().layers) == 3


NUMPY_FIELDS = {
    "layers": np.int64(3),
    "width": np.uint8(20),
    "widths": np.array([20, 30]),
    "input_width": np.int16(4),
    "batch": np.int32(7),
    "batches": np.int64(2),
    "draws": np.int64(2),
    "seed": np.uint64(3),
    "block": np.int64(1),
    "branch_scale": np.float32(0.5),
    "residual": np.bool_(True),
    "zero_init_last": np.bool_(True),
    "classes": np.int64(4),
    "train_steps": np.int64(2),
    "learning_rate": np.float32(0.5),
    "full_weight_gradient": np.bool_(True),
    "formats": np.array(["float16"]),
    "thresholds": {"dead": np.float32(0.5)},
    "init": {"name": "normal", "std": np.float64(0.5)},
    "bias_init": Spec("normal", {"std": np.float64(0.5)}),
    "input": {"name": "gaussian", "std": np.float64(0.5)},
    "act": {"name": "leaky_relu", "slope": np.float64(0.5)},
}


@pytest.mark.parametrize("field", NUMPY_FIELDS)
def test_numbers_of_numpy_are_those_of_python(field):
    needed = {"branch_scale": {"residual": True}, "zero_init_last": {"residual": True}, "classes": {"loss": "mse"}}
    base = {"init": "he", "act": "tanh", **needed.get(field, {})}
    value = NUMPY_FIELDS[field]
    of_python = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
    config = ProbeConfig(**(base | {field: value}))
    assert config == ProbeConfig(**(base | {field: of_python}))
    assert "np." not in repr(config) + config.model_dump_json()
    assert not isinstance(getattr(config, field), np.generic)


def test_functions_take_numbers_of_numpy():
    one = np.int64(1)
    config = ProbeConfig(init="he", **SMALL)
    assert initprobe.run(config, threads=one).figure(size=(np.float32(5), np.int64(4)), columns=one)
    assert initprobe.gain("tanh", np.float64(0.1)) == initprobe.gain("tanh", 0.1)
    assert initprobe.phase("tanh", np.float64(1.1), one) == initprobe.phase("tanh", 1.1, 1)
    advice = initprobe.recommend("relu", np.int64(3), np.int32(20), seed=one, threads=one)
    assert advice == initprobe.recommend("relu", 3, 20, seed=1, threads=1)
    assert str(Spec("leaky_relu", {"slope": np.float64(0.1)})) == "leaky_relu:slope=0.1"
