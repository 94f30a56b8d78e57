import dataclasses
import errno
import os
import sqlite3
import subprocess
import sys

import pytest
from sweep_runs import numbers, placed, small, states, swept

from initprobe import ProbeConfig
from initprobe.errors import ConfigError, InputError, OutputError
from initprobe.spec import Spec
from initprobe.sweeps.runs import run_key
from initprobe.sweeps.store import Payload, open_store, read_store
from initprobe.sweeps.store_packing import unpack


@pytest.fixture(scope="module")
def payload():
    from initprobe.probe.run import run

    return Payload.of(run(small(1)[0].config))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sweep.db"


def filled(path, runs, payload, done=None):
    """A store in which the first runs are done, all of them if not said otherwise."""
    with open_store(path) as store:
        store.enqueue(runs)
        with store.transaction():
            for run in runs[:done]:
                store.finish(run.key, payload)
    return path


def line(error):
    text = str(error.value)
    assert len(text.splitlines()) == 1
    return text


def test_runs_come_back_in_order_with_what_was_found(path, payload):
    runs = placed(small(3)[::-1])
    filled(path, runs, payload, done=2)
    with read_store(path) as store:
        rows = list(store.rows())
        assert [row.key for row in rows] == store.keys() == [run.key for run in runs]
        assert [row.state for row in rows] == ["done", "done", "queued"]
        assert [dict(row.axes) for row in rows] == [{"seed": 2}, {"seed": 1}, {"seed": 0}]
        assert [ProbeConfig.model_validate_json(row.config) for row in rows] == [run.config for run in runs]
        assert rows[0].elapsed_s == payload.elapsed_s and rows[2].elapsed_s is None
        assert rows[0].digest.model_dump_json() == payload.digest and rows[2].digest is None
        assert store.result(runs[0].key).to_json().encode() == unpack(payload.result)
        assert [row.key for row, _ in store.results()] == [run.key for run in runs[:2]]
        assert [row.key for row in store.rows([runs[2].key, "no such", runs[0].key])] == [runs[2].key, runs[0].key]
        with pytest.raises(InputError, match="not done"):
            store.result(runs[2].key)


def test_failures_keep_their_words_until_the_next_try(path):
    runs = small(1)
    with open_store(path) as store:
        store.enqueue(runs)
        with store.transaction():
            store.fail(runs[0].key, "no luck", "where")
        (row,) = store.rows()
        assert (row.state, row.error, store.traceback(row.key)) == ("failed", "no luck", "where")
        store.enqueue(runs)
        (row,) = store.rows()
        assert (row.state, row.error, store.traceback(row.key)) == ("queued", None, None)


def test_a_changed_sweep_keeps_what_is_done_and_moves_it(path, payload):
    runs = small(4)
    filled(path, runs[:2], payload)
    with open_store(path) as store:
        renamed = dataclasses.replace(runs[0], axes={"seed": 0, "act": "relu"})
        store.enqueue(placed([runs[3], renamed, runs[1]]))
        assert [dict(row.axes) for row in store.rows()] == [{"seed": 3}, {"seed": 0, "act": "relu"}, {"seed": 1}]
        assert store.done() == {runs[0].key, runs[1].key}


def test_a_transaction_is_all_or_nothing(path, payload):
    runs = small(2)
    filled(path, runs, payload, done=0)
    with open_store(path) as store:
        with pytest.raises(KeyboardInterrupt), store.transaction():
            store.finish(runs[0].key, payload)
            raise KeyboardInterrupt
        assert [row.state for row in store.rows()] == ["queued", "queued"]
        with store.transaction():  # and the next one is not in its way
            store.finish(runs[1].key, payload)
    assert list(states(path).values()) == ["queued", "done"]


def test_runs_of_a_killed_process_are_queued_again(path):
    runs = small(1)
    with open_store(path) as store:
        store.enqueue(runs)
        with store.transaction():
            store.start(runs[0].key)
        assert states(path) == {0: "running"}
    with open_store(path) as store:
        assert [row.state for row in store.rows()] == ["queued"]


# What another process does with the store, then waits to be killed.
HOLD = "import sys; from pathlib import Path; from initprobe.sweeps.store import open_store\n" + (
    "with open_store(Path(sys.argv[1])) as store:\n{}    print('open', flush=True); sys.stdin.read()"
)
HALFWAY = (
    "    store._connection.execute('PRAGMA cache_spill = 1'); store._connection.execute('PRAGMA cache_size = 1')\n"
    "    store._connection.execute('BEGIN IMMEDIATE')\n"
    "    store._connection.execute('UPDATE runs SET config = zeroblob(100000)')\n"
)


@pytest.fixture
def hold():
    """Another process that holds a store, until it is killed."""
    started = []

    def start(path, doing=""):
        command = [sys.executable, "-c", HOLD.format(doing), str(path)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "open\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_second_process_is_refused_and_the_first_is_named(path, hold, tmp_path):
    first = hold(path)
    link = tmp_path / "link.db"
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(ConfigError) as error, open_store(name):
            pass
        assert f"process {first.pid} on " in line(error)
    first.kill()
    first.wait()
    with open_store(path):  # a lock dies with its process
        pass


def test_reading_goes_on_while_another_writes(path, payload, hold):
    filled(path, small(3), payload)
    hold(path)
    assert set(states(path).values()) == {"done"}
    with read_store(path) as store:
        slow = store.results()
        next(slow)
        with pytest.raises(OutputError, match="readonly"), store.transaction():
            store.start(small(1)[0].key)


def test_a_slow_reader_does_not_keep_the_writer_waiting(path, payload):
    runs = small(3)
    filled(path, runs, payload, done=1)
    with open_store(path) as store, read_store(path) as other:
        reading = other.rows()
        next(reading)
        store._connection.execute("PRAGMA busy_timeout = 0")
        with store.transaction():
            store.finish(runs[2].key, payload)


def test_a_reader_undoes_what_a_killed_process_half_wrote(path, payload, hold):
    filled(path, small(3), payload)
    process = hold(path, HALFWAY)
    process.kill()
    process.wait()
    assert path.with_name("sweep.db-journal").stat().st_size > 0
    assert set(states(path).values()) == {"done"}


def test_files_that_are_no_store_are_not_changed(path):
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 50)
    before = path.read_bytes()
    for opened in (open_store, read_store):
        with pytest.raises(InputError, match="not a store") as error, opened(path):
            pass
        line(error)
    assert path.read_bytes() == before


def test_other_databases_are_not_changed(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE runs (mine)")
    connection.close()
    before = path.read_bytes()
    for opened in (open_store, read_store):
        with pytest.raises(InputError, match="not of initprobe's sweeps") as error, opened(path):
            pass
        line(error)
    assert path.read_bytes() == before


def test_stores_of_another_version_are_refused(path, payload):
    filled(path, small(1), payload)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    for opened in (open_store, read_store):
        with pytest.raises(InputError, match="another version"), opened(path):
            pass


def test_damage_is_reported_in_one_line(path, payload):
    filled(path, small(50), payload)
    pages = bytearray(path.read_bytes())
    pages[4096:] = os.urandom(len(pages) - 4096)
    path.write_bytes(pages)
    with pytest.raises(InputError, match="damaged") as error, read_store(path) as store:
        list(store.rows())
    line(error)
    with pytest.raises(InputError, match="damaged"), open_store(path):
        pass


def test_a_damaged_result_is_reported_in_one_line(path, payload):
    (run,) = small(1)
    filled(path, [run], dataclasses.replace(payload, result=payload.result[:100]))
    with pytest.raises(InputError, match="damaged") as error, read_store(path) as store:
        store.result(run.key)
    line(error)


def test_no_store_to_read(path):
    with pytest.raises(InputError, match="no such file"), read_store(path):
        pass
    assert not path.exists()


def test_directories_are_made_or_refused(tmp_path):
    with open_store(tmp_path / "a" / "b" / "sweep.db"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as error, open_store(tmp_path / "file" / "sweep.db"):
        pass
    assert "file" in line(error)
    with pytest.raises(OutputError) as error, open_store(tmp_path / "a"):
        pass
    line(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written(tmp_path, payload):
    home = tmp_path / "home"
    filled(home / "sweep.db", small(1), payload)
    home.chmod(0o555)
    try:
        with pytest.raises(OutputError) as error, open_store(home / "sweep.db"):
            pass
        line(error)
        assert states(home / "sweep.db") == {0: "done"}
    finally:
        home.chmod(0o755)


def test_a_full_disk_is_reported_in_one_line_and_costs_no_result(path, payload):
    runs = small(20)
    filled(path, runs, payload, done=1)
    with open_store(path) as store:
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        # The limit makes SQLite say what it says when the disk is full.
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OutputError, match="full") as error, store.transaction():
            for run in runs[1:]:
                store.finish(run.key, payload)
        line(error)
        with pytest.raises(OutputError, match="full"), store.transaction():
            for run in runs[1:]:
                store.finish(run.key, payload)
    assert list(states(path).values()) == ["done"] + ["queued"] * 19


def test_a_directory_that_cannot_be_made(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.mkdir", full)
    with pytest.raises(OutputError, match="No space left"), open_store(tmp_path / "a" / "sweep.db"):
        pass


FIELDS = {
    "init": ["he:mode=fan_out", "normal:std=1e-3", {"name": "uniform", "low": -0.1, "high": 0.3}, "normal:std=1/3"],
    "act": ["leaky_relu:slope=0.1", "tanh"],
    "bias_init": [None, "constant:value=-0.0", "normal:std=0.1"],
    "layers": [None, 3],
    "widths": [(5, 4, 3)],
    "input": ["gaussian:correlation=0.9", "uniform:low=-2,high=0.5", "data.npy"],
    "dtype": ["float64"],
    "thresholds": [{"saturated": 0.3, "tail": 1e3}],
    "batch": [None, 7],
    "seed": [2**62 + 1],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in FIELDS.items() for value in values])
def test_a_config_is_the_same_after_its_way_through_the_store(tmp_path, field, value, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.npy").write_bytes(b"numbers")
    config = ProbeConfig(**{"init": "he", "act": "relu", "standardize": value == "data.npy", field: value})
    again = ProbeConfig.model_validate_json(config.model_dump_json())
    assert again == config and run_key(again) == run_key(config)
    assert isinstance(again.init, Spec)
    assert repr(again) == repr(config)  # 0.0 == -0.0, but they do not read alike


def test_different_configs_and_data_have_different_keys(tmp_path):
    data = tmp_path / "data.npy"
    data.write_bytes(b"one")
    plain = {"init": "he", "act": "relu"}
    keys = {run_key(ProbeConfig(**(plain | {field: value}))) for field, values in FIELDS.items() for value in values
            if value is not None and value != "data.npy"}  # fmt: skip
    assert len(keys) == sum(value not in (None, "data.npy") for values in FIELDS.values() for value in values)
    before = run_key(ProbeConfig(**plain, input=data))
    data.write_bytes(b"two")
    assert run_key(ProbeConfig(**plain, input=data)) != before


def test_merging_takes_the_union(tmp_path, payload):
    runs = small(5)
    first, second = filled(tmp_path / "1.db", runs[:3], payload, 1), filled(tmp_path / "2.db", runs[1:], payload, 3)
    with open_store(first) as store, store.transaction():
        store.fail(runs[1].key, "bad luck", None)
        store.start(runs[2].key)
    with open_store(tmp_path / "all.db") as store:
        for part in (first, second):
            with read_store(part) as other:
                merged = store.absorb(other)
        assert (merged.taken, merged.kept, merged.differing) == (4, 0, 0)
        assert {row.axes["seed"]: row.state for row in store.rows()} == {
            0: "done", 1: "done", 2: "done", 3: "done", 4: "queued"
        }  # fmt: skip
        assert [row.error for row in store.rows()] == [None] * 5
        with read_store(first) as other:
            merged = store.absorb(other)
        assert (merged.taken, merged.kept, merged.differing) == (0, 3, 0)
        assert store.result(runs[1].key).layers == store.result(runs[0].key).layers


def test_merging_counts_results_that_differ(tmp_path, payload):
    from initprobe.probe.run import run

    runs = small(2)
    other = Payload.of(run(runs[1].config))
    first, second = filled(tmp_path / "1.db", runs, payload), filled(tmp_path / "2.db", runs, other)
    with open_store(first) as store, read_store(second) as more:
        merged = store.absorb(more)
        assert (merged.taken, merged.kept, merged.differing) == (0, 2, 2)
        assert store.result(runs[0].key).to_json().encode() == unpack(payload.result)


def test_merge_command(initprobe, tmp_path, payload):
    runs = small(6)
    (tmp_path / "part1").mkdir()
    filled(tmp_path / "part1" / "sweep.db", runs[:3], payload)
    filled(tmp_path / "part2.db", runs[2:], payload, 2)
    said = initprobe("merge", "part1", "part2.db", "-o", "whole.db")
    assert said.code == 0
    assert said.out == "whole.db: 6 runs: 4 done, 2 queued\n"
    assert said.err == "part1: 3 runs taken\npart2.db: 3 runs taken, 1 already there\n"
    again = initprobe("merge", "part2.db", "-o", "whole.db")
    assert again.out == said.out
    assert again.err == "part2.db: 0 runs taken, 4 already there\n"


@pytest.mark.parametrize("bad", ["missing.db", "text.db"])
def test_merge_refuses_before_it_writes(initprobe, tmp_path, payload, bad):
    filled(tmp_path / "good.db", small(1), payload)
    (tmp_path / "text.db").write_text("no database" * 100)
    said = initprobe("merge", "good.db", bad, "-o", "whole.db")
    assert said.code == 2
    assert len(said.err.splitlines()) == 1 and bad in said.err
    assert not (tmp_path / "whole.db").exists()


def test_a_real_sweep_merges_from_its_shards(tmp_path):
    from initprobe.sweeps.execution_runner import shard

    runs = small(6)
    swept(tmp_path / "all.db", runs)
    for part in (1, 2):
        swept(tmp_path / f"{part}.db", list(shard(runs, f"{part}/2")))
    with open_store(tmp_path / "merged.db") as store:
        for part in (1, 2):
            with read_store(tmp_path / f"{part}.db") as other:
                assert store.absorb(other).kept == 0
        store.enqueue(runs)  # as the sweep's own command does; the shards know only their own order
    assert numbers(tmp_path / "merged.db") == numbers(tmp_path / "all.db")
