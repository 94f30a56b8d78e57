"""Damaged runs of a store are named, the others are shown, and a sweep does them again."""

import json
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from initprobe import ProbeConfig, run
from initprobe.errors import ConfigError
from initprobe.sweeps import runs
from initprobe.sweeps.runs import Run
from initprobe.sweeps.store import Payload, open_store, read_store

SHAPE = {"layers": 2, "width": 8, "batch": 16, "draws": 1, "act": "relu"}
FILE = """version: 1
name: mine
defaults: {layers: 2, width: 8, batch: 16, draws: 1, act: relu}
grid: {init: [he, xavier, lecun]}
figures: []
checks: {output.variance: {min: 0}}
"""
NAMES = ("he", "xavier", "lecun")
# The second run, by what its row says in place of the truth.
DAMAGE = {
    "axes broken": ("axes", "{"),
    "axes a list": ("axes", "[1]"),
    "axes nested": ("axes", '{"init": [1]}'),
    "axes infinite": ("axes", '{"init": 1e999}'),
    "axes a large number": ("axes", '{"init": 1' + "0" * 400 + "}"),
    "axes half a letter": ("axes", '{"init": "\\ud800"}'),
    "axes deep": ("axes", "[" * 100_000),
    "axes a blob": ("axes", b"\x00\xff"),
    "axes null": ("axes", None),
    "axes not UTF-8": ("axes", "CAST(x'7b22e9227d' AS TEXT)"),
    "config broken": ("config", "{"),
    "config empty": ("config", "{}"),
    "config a number": ("config", 7),
    "config a blob": ("config", b"{}"),
    "config null": ("config", None),
    "state unknown": ("state", "finished"),
    "state null": ("state", None),
    "digest empty": ("digest", "{}"),
    "digest null": ("digest", None),
    "digest without layers": ("digest", "no layers"),
    "digest a blob": ("digest", b"\xff"),
    "elapsed_s text": ("elapsed_s", "long"),
    "elapsed_s null": ("elapsed_s", None),
    "error a blob": ("error", b"\xff"),
    "key a blob": ("key", b"\x01\x02"),
    "key null": ("key", None),
    "key escape": ("key", "\x1b[31mred"),
}
# Seen only when the whole result is read.
HIDDEN = {
    "result gone": None,
    "result text": "no blob",
    "result no zlib": b"no zlib",
    "result cut": "cut",
    "result of another kind": zlib.compress(b"{}"),
    "result no JSON": zlib.compress(b"\xff"),
    "result empty": b"",
    "result a bomb": zlib.compress(b" " * (1 << 20)),
}


@pytest.fixture(scope="module")
def payloads():
    configs = [ProbeConfig(init=name, **SHAPE) for name in NAMES]
    return [(Run(config, {"init": name}, at), Payload.of(run(config)))
            for at, (name, config) in enumerate(zip(NAMES, configs, strict=True))]  # fmt: skip


def filled(path, payloads):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_store(path) as store:
        store.enqueue(run for run, _ in payloads)
        with store.transaction():
            for run, payload in payloads:
                store.finish(run.key, payload)
    return path


def damaged(path, key, column, value, payloads):
    """Write what no program of ours would."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE loose AS SELECT * FROM runs")
        connection.execute("DROP TABLE runs")
        connection.execute("ALTER TABLE loose RENAME TO runs")
        connection.execute("CREATE UNIQUE INDEX one ON runs (key)")
        if value == "no layers":
            value = json.dumps(json.loads(payloads[1][1].digest) | {"output": []})
        raw = isinstance(value, str) and value.startswith("CAST(")
        connection.execute(f"UPDATE runs SET {column} = {value if raw else '?'} WHERE key = ?",
                           (key,) if raw else (value, key))  # fmt: skip
        connection.commit()
    return path


def spoilt(path, key, value, payloads):
    with closing(sqlite3.connect(path)) as connection:
        if value is None:
            connection.execute("DELETE FROM results WHERE key = ?", (key,))
        else:
            value = payloads[1][1].result[:200] if value == "cut" else value
            connection.execute("UPDATE results SET result = ? WHERE key = ?", (value, key))
        connection.commit()
    return path


@pytest.fixture(params=[*DAMAGE, *HIDDEN])
def store(request, tmp_path, payloads):
    """A store that is damaged at the second of three runs."""
    path, key = filled(tmp_path / "initprobe-out" / "mine" / "sweep.db", payloads), payloads[1][0].key
    if request.param in DAMAGE:
        return damaged(path, key, *DAMAGE[request.param], payloads)
    return spoilt(path, key, HIDDEN[request.param], payloads)


def whole(path, payloads):
    with read_store(path) as opened:
        rows = list(opened.rows([run.key for run, _ in payloads]))
        results = {row.key: result.layers for row, result in opened.results([run.key for run, _ in payloads])}
    return [row.state for row in rows] == ["done"] * 3 and len(results) == 3


def one_line_each(said):
    assert said.code == 3, said.err
    lines = [line for line in said.err.splitlines() if "store damaged at " in line]
    assert len(lines) == 1 and "\x1b" not in said.err and "Traceback" not in said.err
    assert "damaged" in said.err.splitlines()[-1]
    return lines[0]


def test_every_command_goes_on_with_the_others(store, initprobe, tmp_path, payloads):
    good = filled(tmp_path / "good.db", payloads)
    (tmp_path / "mine.yaml").write_text(FILE)
    out = initprobe("results", store, "--export-csv", "a.csv", "--export-json", "a.json")
    line = one_line_each(out)
    assert payloads[1][0].key in line or "row 2" in line
    assert {row.split(",")[0] for row in Path("a.csv").read_text().splitlines()[1:]} == {
        payloads[0][0].key, payloads[2][0].key
    }  # fmt: skip
    exported = json.loads(Path("a.json").read_text())["runs"]
    assert [entry["key"] for entry in exported if entry["result"]] == [payloads[0][0].key, payloads[2][0].key]
    for pair in ((store, good), (good, store)):
        out = initprobe("diff", *pair)
        one_line_each(out)
        assert "2 runs in both: 2 agree, 0 differ" in out.out
    out = initprobe("merge", store, "-o", "merged.db")
    one_line_each(out)
    assert "merged.db: 2 runs: 2 done" in out.out
    assert initprobe("merge", store, good, "-o", "healed.db").code == 3
    assert whole(tmp_path / "healed.db", payloads)
    again = initprobe("merge", good, "-o", store)  # what is damaged gives way
    assert again.code == 0 or "row 2" in again.err
    assert whole(store, payloads)


def test_a_sweep_does_damaged_runs_again(store, initprobe, tmp_path, payloads):
    (tmp_path / "mine.yaml").write_text(FILE)
    out = initprobe("check", "mine.yaml", "--no-figures", "--export-csv", "a.csv")
    assert out.code == 0, out.err
    # A row without a key cannot be recognised as a run of this sweep, and is useless to others.
    assert out.err.count("it is run again") + out.err.count("row 2: its key is no key; dropped") == 1
    assert initprobe("results", store).code == 0
    assert "mine: 3 runs, 2 of them done" in out.err
    assert whole(store, payloads)
    assert len({row.split(",")[0] for row in Path("a.csv").read_text().splitlines()[1:]}) == 3
    assert "3 of them done" in initprobe("check", "mine.yaml", "--no-figures").err


def test_a_result_that_unpacks_without_end_is_not_taken_in(monkeypatch, tmp_path, payloads):
    path = spoilt(filled(tmp_path / "a.db", payloads), payloads[1][0].key, zlib.compress(b" " * 10**6), payloads)
    monkeypatch.setattr("initprobe.sweeps.store_rows.MAX_RESULT_BYTES", 10**5)
    with read_store(path) as opened:
        assert len(list(opened.results())) == 2
        assert "cannot be unpacked" in opened.damage[payloads[1][0].key]


def bad_file(path, payloads, kind):
    filled(path, payloads)
    with closing(sqlite3.connect(path)) as connection:
        statement = {
            "later": "PRAGMA user_version = 9001",
            "another": "PRAGMA application_id = 7",
            "no table": "DROP TABLE results",
            "a view": "CREATE VIEW odd AS SELECT 1",
            "a trigger": "CREATE TRIGGER odd AFTER UPDATE ON runs BEGIN DELETE FROM runs; END",
        }.get(kind, "SELECT 1")
        connection.execute(statement)
        connection.commit()
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    if kind == "no database":
        path.write_text("no database at all\n" * 300)
    return path


@pytest.mark.parametrize("kind", ["later", "another", "no table", "a view", "a trigger", "truncated", "no database"])
def test_files_that_are_no_store_are_refused_in_a_line_by_every_command(initprobe, tmp_path, payloads, kind):
    home = tmp_path / "initprobe-out" / "mine"
    home.mkdir(parents=True)
    path = bad_file(home / "sweep.db", payloads, kind)
    before, names = path.read_bytes(), set(home.iterdir())
    good = filled(tmp_path / "good.db", payloads)
    (tmp_path / "mine.yaml").write_text(FILE)
    for args in (
        ("results", path), ("diff", path, good), ("diff", good, path), ("merge", good, path, "-o", "new.db"),
        ("merge", good, "-o", path), ("sweep", "mine.yaml"), ("check", "mine.yaml"),
    ):  # fmt: skip
        out = initprobe(*args)
        assert (out.code, len(out.err.splitlines())) == (2, 1), (args, out.err)
    assert "later version" in out.err or kind != "later"
    assert path.read_bytes() == before
    assert {name for name in set(home.iterdir()) - names if "lock" in name.name} == set()  # nothing is left behind
    assert not (tmp_path / "new.db").exists()


def test_a_merge_that_is_refused_leaves_nothing_behind(initprobe, tmp_path, payloads):
    good = filled(tmp_path / "good.db", payloads)
    (tmp_path / "text.db").write_text("no database" * 100)
    (tmp_path / "dir" / "inner").mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    for args in ((good, "-o", "text.db"), (good, "text.db", "-o", "new.db"), (good, "-o", "dir")):
        assert initprobe("merge", *args).code in (0, 2)
    made = {path.name for path in set(tmp_path.rglob("*")) - before}
    assert made <= {"sweep.db", ".sweep.db.lock", "sweep.db-journal"}  # of the merge into the directory alone


HOLD = (
    "import sys; from pathlib import Path; from initprobe.sweeps.store import open_store\n"
    "with open_store(Path(sys.argv[1])): print('open', flush=True); sys.stdin.read()"
)


def test_a_second_sweep_is_refused_by_whatever_name_it_comes(initprobe, tmp_path, payloads):
    path = filled(tmp_path / "a" / "sweep.db", payloads)
    (tmp_path / "b").mkdir()
    hard, copy = tmp_path / "b" / "other.db", tmp_path / "b" / "copy.db"
    hard.hardlink_to(path)
    words = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "open\n"
        copy.write_bytes(path.read_bytes())
        out = initprobe("merge", path, "-o", hard)
        assert out.code == 2 and f"process {first.pid} on " in out.err and len(out.err.splitlines()) == 1
        assert initprobe("merge", path, "-o", copy).code == 0  # a copy is another store
        first.kill()
    assert initprobe("merge", path, "-o", hard).code == 0  # the lock died with its process
    assert initprobe("merge", hard, "-o", path).code == 0


def test_results_of_an_earlier_revision_are_run_again_with_a_message(initprobe, tmp_path, payloads, monkeypatch):
    (tmp_path / "mine.yaml").write_text(FILE)
    args = ("sweep", "mine.yaml", "--no-figures")
    path = filled(tmp_path / "initprobe-out" / "mine" / "sweep.db", payloads)
    assert "3 of them done" in initprobe(*args).err
    monkeypatch.setattr(runs, "REVISION", runs.REVISION + 1)
    assert "3 runs: 3 survive" in initprobe("results", path).out  # old stores stay readable
    out = initprobe(*args)
    assert out.code == 0, out.err
    assert "3 runs are of an earlier initprobe" in out.err and "give another -o" in out.err
    assert "of them done" not in out.err
    assert out.out.startswith("3 runs: ") and initprobe("results", path).out == out.out  # not counted twice
    assert "3 of them done" in initprobe(*args).err


def test_a_store_whose_name_is_not_utf8_has_its_lock_too(tmp_path):
    path = tmp_path / "\udcff.db"
    with open_store(path) as store:
        assert list(store.rows()) == []
        (tmp_path / "again.db").hardlink_to(path)
        with pytest.raises(ConfigError, match="writes to it"), open_store(tmp_path / "again.db"):
            pass
