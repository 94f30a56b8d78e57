"""What is read as data, perhaps of an unknown author, imports no module and calls no function that it names."""

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sweep_checks import breaches_of
from sweep_runs import placed, small

from initprobe import ProbeConfig
from initprobe.config.resolved import check_resolved, own_names
from initprobe.errors import ConfigError
from initprobe.importing import source_file
from initprobe.sweeps.plan import load
from initprobe.sweeps.runs import run_key
from initprobe.sweeps.store import Payload, open_store, read_store

# Says that it was imported, and that it was called.
EVIL = """
from pathlib import Path
Path("IMPORTED").touch()
def f(z):
    Path("CALLED").touch()
    return z.clip(-1, 1)
"""
FILE = """version: 1
name: theirs
defaults: {layers: 2, width: 9, batch: 9, draws: 1}
grid:
  act: [tanh, 'evil:f', {name: 'box.inner:f'}]
  init: [he, forward, critical]
checks:
  output.variance: {min: 0, where: {act: 'evil:f'}}
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A directory with modules that nothing may import, which Python would find."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "box").mkdir()
    for name in ("evil.py", "box/__init__.py", "box/inner.py"):
        (tmp_path / name).write_text(EVIL)
    (tmp_path / "theirs.yaml").write_text(FILE)
    yield tmp_path
    assert not (tmp_path / "CALLED").exists() and not (tmp_path / "IMPORTED").exists()
    assert not {"evil", "box", "box.inner"} & set(sys.modules)


@pytest.fixture(scope="module")
def result():
    from initprobe.probe.run import run

    return run(small(1)[0].config)


NAMED = {
    "act": ["evil:f", "box.inner:f", {"name": "evil:f"}, ["evil:f"], 3],
    "init": ["evil:f", {"name": "evil:f"}],
    "bias_init": ["evil:f"],
    "input": ["evil:f", "evil.py", "/dev/zero"],
    "weights": ["evil:f", "/dev/zero"],
    "labels": ["/dev/zero"],
}
CASES = [(field, value) for field, values in NAMED.items() for value in values]


@pytest.mark.parametrize(("field", "value"), CASES, ids=str)
def test_diff_and_show_of_json(home, initprobe, result, field, value):
    whole = json.loads(result.to_json())
    Path("plain.json").write_text(json.dumps(whole))
    whole["config"][field] = value
    Path("odd.json").write_text(json.dumps(whole))
    Path("runs.json").write_text(json.dumps({"runs": [{"axes": {field: "x"}, "state": "done", "result": whole}]}))
    for pair in (("odd.json", "odd.json"), ("plain.json", "odd.json"), ("odd.json", "runs.json")):
        said = initprobe("diff", *pair, "--fail-on", "verdict")
        assert (said.code, "1 run in both: 1 agree" in said.out) == (0, True), said.err
    assert f"{field}: " in initprobe("diff", "plain.json", "odd.json").out
    assert initprobe("show", "odd.json", "-o", "drawn").code == 0


@pytest.mark.parametrize(("field", "value"), CASES, ids=str)
def test_every_reader_of_stores(home, initprobe, result, field, value):
    with open_store(home / "theirs.db") as store:
        runs = placed(small(2))
        store.enqueue(runs)
        with store.transaction():
            for run in runs:
                store.finish(run.key, Payload.of(result))
    with closing(sqlite3.connect("theirs.db")) as connection:
        config = json.loads(connection.execute("SELECT config FROM runs").fetchone()[0]) | {field: value}
        axes = json.dumps({field: str(value)})
        connection.execute("UPDATE runs SET config = ?, axes = ? WHERE position = 0", (json.dumps(config), axes))
        connection.commit()
    for args in (
        ("results", "theirs.db", "--export-json", "a.json"),
        ("diff", "theirs.db", "theirs.db"),
        ("merge", "theirs.db", "-o", "new.db"),
        ("diff", "theirs.db", "new.db", "--fail-on", "missing"),
    ):
        said = initprobe(*args)
        assert said.code == 0, (args, said.err)
    outcome = initprobe("results", "theirs.db", "--where", f"{field}={value}")
    assert "Traceback" not in outcome.err and outcome.code in (0, 2)


def test_checks_compare_what_a_result_says_as_text(home, result):
    checks = load("theirs.yaml", importing=False).checks
    for act in ("evil:f", {"name": "evil:f"}, ["evil:f"], None):
        breaches_of(checks, result.model_copy(update={"config": result.config | {"act": act}}))


def test_validate_and_dry_run_look_at_no_function(home, initprobe):
    said = initprobe("validate", "theirs.yaml")
    assert (said.code, said.err) == (0, "")
    assert said.out == "theirs.yaml: ok: 9 runs; not imported, so that no code runs: evil:f, box.inner:f\n"
    said = initprobe("sweep", "theirs.yaml", "--dry-run", "--where", "act=evil:f")
    assert said.code == 0 and said.out.startswith("3 runs, ")
    assert said.err == "note: not imported, so that no code runs: evil:f, box.inner:f\n"
    assert initprobe("schema").code == initprobe("list", "configs").code == 0


@pytest.mark.parametrize(
    ("act", "words"),
    [
        ("nosuch:f", "there is no module nosuch"),
        ("evil.inner:f", "there is no module evil.inner"),
        ("box.none:f", "there is no module box.none"),
        ("evil:f:beta=1", "evil:f takes no parameters"),
        ("1evil:f", "is not key=value"),
        ("evil:", "is not key=value"),
    ],
)
def test_errors_in_the_text_are_still_reported(home, initprobe, act, words):
    Path("bad.yaml").write_text(FILE.replace("[tanh, 'evil:f', {name: 'box.inner:f'}]", f"['{act}']"))
    for args in (("validate", "bad.yaml"), ("sweep", "bad.yaml", "--dry-run")):
        said = initprobe(*args)
        assert said.code == 2 and words in said.out + said.err


def test_a_check_that_needs_the_function_is_left_open(home):
    config = check_resolved(ProbeConfig(init="critical", act="evil:f"), importing=False)
    assert config.initializer.name == "critical" and own_names(config) == ("evil:f",)
    with pytest.raises(ConfigError, match="not imported"):
        config.activation.value(np.zeros(1))


def test_a_config_is_checked_without_a_file_or_a_module(home):
    """`ProbeConfig(...)` reads nothing and imports nothing: neither is here."""
    ProbeConfig(init="nosuch:draw", act="nosuch:f", bias_init="nosuch:b")
    ProbeConfig(act="tanh", weights="nosuch.npz", input="nosuch.npy", loss="mse", labels="nosuch.csv")


def test_a_module_is_found_where_an_import_would_find_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "found" / "deep").mkdir(parents=True)
    for name in ("found/__init__.py", "found/deep/__init__.py", "found/deep/last.py"):
        (tmp_path / name).write_text("def f(z):\n    return z\n")
    for name in ("found", "found.deep", "found.deep.last", "json.decoder", "os", "os.path", "math", "numpy.linalg"):
        without = source_file(f"{name}:f")
        module = __import__(name, fromlist=["x"])
        assert str(without) == str(getattr(module, "__file__", None)), name


def test_the_key_of_a_run_does_not_depend_on_imports(tmp_path, monkeypatch):
    """Else a part of a sweep that is rehearsed would not be the part that is run."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "keyed.py").write_text("import numpy as np\n\ndef f(z):\n    return np.tanh(z)\n")
    fields = {"init": "he", "act": "keyed:f", "layers": 2, "width": 9}
    unseen = run_key(ProbeConfig(**fields))
    assert "keyed" not in sys.modules
    assert run_key(check_resolved(ProbeConfig(**fields))) == unseen
    assert "keyed" in sys.modules
    (tmp_path / "keyed.py").write_text("import numpy as np\n\ndef f(z):\n    return np.sin(z)\n")
    assert run_key(ProbeConfig(**fields)) != unseen
    sys.modules.pop("keyed", None)


def test_a_row_of_the_store_is_not_what_figures_call(home, initprobe, tmp_path):
    """The heat map's theory takes the activation from the file of the sweep, whatever the store says."""
    text = "version: 1\nname: map\ndefaults: {layers: 2, width: 9, batch: 9, draws: 1, act: tanh}\n"
    Path("map.yaml").write_text(text + "grid: {sigma_w: [1, 2], sigma_b: [0, 0.1]}\n")
    assert initprobe("sweep", "map.yaml", "-j", 1, "--no-figures").code == 0
    with closing(sqlite3.connect("initprobe-out/map/sweep.db")) as connection:
        connection.execute("""UPDATE runs SET config = replace(config, '"tanh"', '"evil:f"')""")
        connection.commit()
    said = initprobe("sweep", "map.yaml", "-j", 1)
    assert said.code == 0 and "4 of them done" in said.err
    assert (tmp_path / "initprobe-out" / "map" / "heatmap-1.png").exists()
    with read_store(Path("initprobe-out/map/sweep.db")) as store:
        assert all("evil:f" in row.config for row in store.rows())
