import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from sweep_runs import DEADLY_SEED, DeadlyPool, numbers, placed, small, states, swept

from initprobe.engine.threads import available_threads
from initprobe.errors import ConfigError, OutputError
from initprobe.probe.memory import cost
from initprobe.sweeps import execution_pool, execution_runner
from initprobe.sweeps.execution_pool import Workers
from initprobe.sweeps.execution_runner import execute, local_workers, shard
from initprobe.sweeps.store import open_store, read_store

SUPPORT = Path(__file__).parents[1] / "support"

RUNS = 12
# A sweep of as many runs as asked for, in a process and a session of its own.
SWEEP = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sweep_runs import small, swept
from initprobe.sweeps.execution_runner import local_workers

if __name__ == "__main__":
    path, count, jobs, fields = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), json.loads(sys.argv[5])
    show = lambda event: print(event.kind, event.done, flush=True)
    outcome = swept(path, small(count, **fields), local_workers(jobs), on_event=show)
    print("left", outcome.left, outcome.interrupted, flush=True)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sweep.db"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a sweep of `RUNS` finds when nothing happens to it."""
    path = tmp_path_factory.mktemp("undisturbed") / "sweep.db"
    outcome = swept(path, small(RUNS))
    assert (outcome.done, outcome.kept, outcome.failed, outcome.left, outcome.interrupted) == (RUNS, 0, 0, 0, False)
    return numbers(path)


@pytest.fixture
def sweeping(tmp_path, monkeypatch):
    """Start a sweep in a process of its own."""
    script = tmp_path / "sweeping.py"
    script.write_text(SWEEP)
    started = []

    def start(path, count=RUNS, jobs=2, **fields):
        command = [sys.executable, script, SUPPORT, path, count, jobs, json.dumps(fields)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        started.append(subprocess.Popen([str(word) for word in command], **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def spawned_by(process):
    """The living worker processes of a process; None means this one."""
    return [child for child in psutil.Process(process).children() if "spawn_main" in command_of(child)]


def command_of(process):
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # over, or a zombie
        return ""


def members(session):
    """The living processes of a session."""
    children = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                children.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass
    return children


def assert_no_process_left(session):
    patience = time.monotonic() + 10
    while (left := members(session)) and time.monotonic() < patience:
        time.sleep(0.05)
    assert not left


def until(process, words, count=1):
    """Read what a sweep prints, up to the n-th line with these words."""
    for line in process.stdout:
        count -= words in line
        if count == 0:
            return
    raise AssertionError(process.stderr.read())


def assert_whole(path, undisturbed):
    assert Counter(states(path).values()) == {"done": RUNS}
    assert numbers(path) == undisturbed


@pytest.mark.parametrize("jobs", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_the_numbers_do_not_depend_on_the_number_of_workers(path, undisturbed, jobs):
    swept(path, small(RUNS), local_workers(jobs))
    assert numbers(path) == undisturbed


def test_the_numbers_do_not_depend_on_the_order_or_the_executor(path, undisturbed):
    with open_store(path) as store:
        execute(small(RUNS)[::-1], store, Workers(lambda: ThreadPoolExecutor(3), lambda: 3, 1))
        store.enqueue(small(RUNS))
    assert numbers(path) == undisturbed


def test_workers_share_the_processors():
    processors = available_threads()
    for jobs in (1, 2, 5):
        workers = local_workers(jobs)
        assert workers.jobs() == jobs
        assert workers.threads == max(processors // jobs, 1)
    assert local_workers().jobs() == processors
    with pytest.raises(ConfigError, match=r"^jobs: must be at least 1, not 0"):
        local_workers(0)


def killed_at_random(path, sweeping, times, rng, longest):
    """Start and kill -9, again and again; how many runs were done at each death."""
    reached = []
    for _ in range(times):
        process = sweeping(path)
        time.sleep(rng.uniform(0, longest))
        process.kill()
        process.wait()
        assert_no_process_left(process.pid)
        reached.append(Counter(states(path).values())["done"] if path.exists() and path.stat().st_size else 0)
    return reached


def measured(sweeping, path):
    """Seconds that a sweep takes here and now, start to end."""
    started = time.monotonic()
    process = sweeping(path)
    until(process, "left 0 False")
    return time.monotonic() - started


# Runs that take long enough for a kill to land in the middle of one.
STEADY = {"layers": 8, "width": 150, "batch": 300, "draws": 8}


def killed_while_it_works(path, sweeping, rng, jobs=1):
    """Start, wait until a run is done and the next is being worked on, kill -9. Whether that left a run in hand."""
    process = sweeping(path, RUNS, jobs, **STEADY)
    until(process, "done")
    time.sleep(rng.uniform(0, 0.05))
    process.kill()
    process.wait()
    assert_no_process_left(process.pid)
    return "running" in states(path).values()


def table_of(initprobe, path):
    """What a user sees of a store: the table, and every number as CSV."""
    return initprobe("results", path, "--rows", "all").out, initprobe("results", path, "--export-csv", "-").out


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """A store that nothing happened to, of `STEADY` runs."""
    path = tmp_path_factory.mktemp("steady") / "sweep.db"
    swept(path, small(RUNS, **STEADY), Workers(lambda: ThreadPoolExecutor(1), lambda: 1, 1))
    return path


def resumed(initprobe, path, steady):
    """Finish what is left; the same bytes come out as if nothing had happened."""
    before = Counter(states(path).values())["done"]
    outcome = swept(path, small(RUNS, **STEADY), Workers(lambda: ThreadPoolExecutor(1), lambda: 1, 1))
    assert outcome.kept == before and outcome.kept + outcome.done == RUNS
    assert numbers(path) == numbers(steady)
    assert table_of(initprobe, path) == table_of(initprobe, steady)


def test_killed_twice_while_it_works_it_goes_on(path, sweeping, initprobe, steady):
    """On a loaded machine a kill may land between two runs, so there are more kills than two."""
    rng, landed, deaths = random.Random(1), 0, 0
    while landed < 2 and deaths < RUNS // 2 - 1:
        landed, deaths = landed + killed_while_it_works(path, sweeping, rng), deaths + 1
    assert landed and deaths <= Counter(states(path).values())["done"] < RUNS
    resumed(initprobe, path, steady)


@pytest.mark.slow
def test_killed_fifty_times_while_it_works_it_goes_on(tmp_path, sweeping, initprobe, steady):
    rng, landed, deaths = random.Random(2), 0, 0
    while landed < 50:
        assert deaths < 1000, "hardly any kill lands while a run is in hand"
        path = tmp_path / f"killed{deaths}.db"
        for _ in range(4):
            landed, deaths = landed + killed_while_it_works(path, sweeping, rng, jobs=rng.choice((1, 2))), deaths + 1
        resumed(initprobe, path, steady)
    print(f"{landed} of {deaths} kills landed while a run was in hand")


@pytest.mark.slow
def test_killed_fifty_times_it_goes_on(tmp_path, sweeping, undisturbed):
    longest = 1.2 * measured(sweeping, tmp_path / "whole.db")
    rng, deaths, number = random.Random(2), 0, 0
    while deaths < 50:
        path = tmp_path / f"{number}.db"
        reached = killed_at_random(path, sweeping, 4, rng, longest)
        assert reached == sorted(reached)
        deaths, number = deaths + len(reached), number + 1
        swept(path, small(RUNS), local_workers(2))
        assert_whole(path, undisturbed)


def kill_one(process):
    """Kill a worker of a process, as the kernel does when memory runs out."""
    workers = spawned_by(process)
    workers[0].kill()


@pytest.mark.parametrize("at", [1, RUNS - 1])
def test_a_killed_worker_costs_only_a_retry(path, undisturbed, at):
    counts = Counter()
    killed = []

    def watch(event):
        counts[event.kind] += 1
        if event.kind == "done" and event.done >= at and not killed:
            killed.append(kill_one(os.getpid()))

    outcome = swept(path, small(RUNS), local_workers(2), on_event=watch)
    assert killed and (outcome.done, outcome.failed) == (RUNS, 0)
    assert counts["done"] == RUNS
    assert_whole(path, undisturbed)


def test_the_only_run_left_is_tried_again_too(path):
    def kill(event):
        if event.kind == "started" and not killed:
            killed.append(kill_one(os.getpid()))

    killed = []
    assert swept(path, small(1), local_workers(1), on_event=kill).done == 1


@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_run_that_kills_its_worker_fails_alone(path, undisturbed, jobs):
    outcome = swept(path, small(RUNS), Workers(lambda: DeadlyPool(jobs), lambda: jobs, 1))
    assert (outcome.done, outcome.failed, outcome.left) == (RUNS - 1, 1, 0)
    assert states(path) == {seed: "failed" if seed == DEADLY_SEED else "done" for seed in range(RUNS)}
    with read_store(path) as store:
        (error,) = [row.error for row in store.rows() if row.error]
    assert error.startswith("the worker died") and len(error.splitlines()) == 1
    assert swept(path, small(RUNS)).done == 1  # with workers that live, the same store comes to the same
    assert_whole(path, undisturbed)


class Stillborn(DeadlyPool):
    """A pool whose workers die at every call."""

    def submit(self, fn, /, *args, **kwargs):
        return super(DeadlyPool, self).submit(os.abort)


def test_workers_that_never_live_end_the_sweep(path):
    with pytest.raises(ConfigError, match="before they have done anything"):
        swept(path, small(3), Workers(lambda: Stillborn(1), lambda: 1, 1))
    assert set(states(path).values()) == {"queued"}


class Broken(ThreadPoolExecutor):
    """An executor that breaks when it is given the third run."""

    given = 0

    def submit(self, fn, /, *args, **kwargs):
        if fn is execution_pool.work:
            Broken.given += 1
            if Broken.given == 3:
                raise execution_pool.BrokenExecutor
        return super().submit(fn, *args, **kwargs)


def test_an_executor_that_breaks_while_it_is_given_runs_loses_none(path, undisturbed):
    Broken.given = 0
    assert swept(path, small(RUNS), Workers(lambda: Broken(2), lambda: 2, 1)).done == RUNS
    assert_whole(path, undisturbed)


class SilentPool(DeadlyPool):
    """A pool that never reports on a run, because its worker died while it wrote the result."""

    def submit(self, fn, /, *args, **kwargs):
        future = super().submit(fn, *args, **kwargs)
        return Future() if fn is execution_pool.work and json.loads(args[0])["seed"] == DEADLY_SEED else future


def test_a_pool_that_does_not_answer_is_given_up(path, monkeypatch):
    monkeypatch.setattr(execution_pool, "_SILENT_AFTER_S", 0.3)
    outcome = swept(path, small(3), Workers(lambda: SilentPool(1), lambda: 1, 1))
    assert (outcome.done, outcome.failed) == (2, 1)
    assert states(path)[DEADLY_SEED] == "failed"


def test_a_failed_run_is_recorded_and_the_rest_goes_on(path, tmp_path):
    data = tmp_path / "data.npy"
    np.save(data, np.random.default_rng(0).standard_normal((40, 8)))
    gone, fine = small(1, input=data, batch=None), small(3)
    runs = [fine[0], gone[0], *fine[1:]]
    assert gone[0].key  # planned while it was there
    data.unlink()
    counts = Counter()
    outcome = swept(path, runs, local_workers(2), on_event=lambda event: counts.update([event.kind]))
    assert (outcome.done, outcome.failed, outcome.left) == (3, 1, 0)
    assert counts == {"started": 4, "done": 3, "failed": 1}
    with read_store(path) as store:
        (row,) = [row for row in store.rows() if row.state == "failed"]
        assert row.key == gone[0].key and "data.npy" in row.error and len(row.error.splitlines()) == 1
        assert store.traceback(row.key) is None  # no fault of ours


def test_data_that_changed_since_it_was_planned_is_not_taken_for_what_it_was(path, tmp_path):
    data = tmp_path / "data.npy"
    np.save(data, np.zeros((40, 8)))
    runs = small(1, input=data, batch=None)
    assert runs[0].key
    np.save(data, np.ones((40, 9)))
    assert swept(path, runs).failed == 1
    with read_store(path) as store:
        assert "not what it was" in next(store.rows()).error


def test_a_run_beyond_memory_fails_alone(path):
    large = small(2, width=10**7)
    outcome = swept(path, placed([large[1], *small(1)]))
    assert (outcome.done, outcome.failed) == (1, 1)
    with read_store(path) as store:
        assert re.search("needs .* GB", next(store.rows()).error)


def test_a_bug_is_recorded_with_its_traceback(path, monkeypatch):
    monkeypatch.setattr("initprobe.probe.run.measure", lambda *args, **kwargs: 1 // 0)
    swept(path, small(1), Workers(lambda: ThreadPoolExecutor(1), lambda: 1, 1))
    with read_store(path) as store:
        (row,) = store.rows()
        assert row.error == "ZeroDivisionError: integer division or modulo by zero"
        assert "lambda" in store.traceback(row.key)


def test_fail_fast_stops_and_leaves_the_rest_queued(path):
    bad = small(1, width=10**7)
    outcome = swept(path, [*bad, *small(RUNS)], fail_fast=True)
    assert outcome.failed == 1 and not outcome.interrupted
    assert outcome.left == RUNS + 1 - outcome.done - 1 > 0
    with read_store(path) as store:
        counts = Counter(row.state for row in store.rows())
    assert (counts["failed"], counts["done"], counts["queued"]) == (1, outcome.done, outcome.left)


def test_a_changed_sweep_runs_only_what_is_new(path):
    swept(path, small(3))
    events = []
    outcome = swept(
        path, placed(small(5)[::-1]), on_event=lambda event: events.append((event.kind, event.run.axes["seed"]))
    )
    assert (outcome.done, outcome.kept) == (2, 3)
    assert sorted(seed for kind, seed in events if kind == "started") == [3, 4]
    assert list(states(path)) == [4, 3, 2, 1, 0]


def test_events_count_what_earlier_sweeps_did(path):
    swept(path, small(3))
    events = []
    swept(path, small(5), on_event=events.append)
    done = [event.done for event in events if event.kind == "done"]
    assert done == [4, 5] and {event.total for event in events} == {5}


# Long enough that a signal comes in the middle.
LONG = {"layers": 30, "width": 200, "batch": 500}


def test_ctrl_c_finishes_what_is_in_hand_and_the_rest_another_time(path, sweeping, undisturbed):
    process = sweeping(path)
    until(process, "done", 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    out, err = process.communicate(timeout=60)
    match = re.search(r"left (\d+) True", out)
    assert match and process.returncode == 0 and err == ""
    left = int(match[1])
    assert Counter(states(path).values()) == Counter(done=RUNS - left, queued=left)
    assert_no_process_left(process.pid)
    assert swept(path, small(RUNS)).kept == RUNS - left
    assert_whole(path, undisturbed)


def test_ctrl_c_while_workers_start_is_no_death(path, sweeping):
    process = sweeping(path)
    until(process, "started")
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "stopping" in out and err == ""
    assert "failed" not in states(path).values()
    assert_no_process_left(process.pid)


def test_a_second_ctrl_c_ends_at_once(path, sweeping):
    process = sweeping(path, 4, 2, **LONG, draws=50)
    until(process, "started", 2)
    time.sleep(2)
    os.kill(process.pid, signal.SIGINT)
    until(process, "stopping")
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert time.monotonic() - began < 5  # the runs take longer
    assert process.returncode != 0
    assert set(states(path).values()) == {"queued"}
    assert_no_process_left(process.pid)


@pytest.mark.parametrize(("short_run_s", "most"), [(0.0, 1), (float("inf"), 2)])
def test_only_short_runs_are_handed_out_ahead(path, monkeypatch, short_run_s, most):
    """Else Ctrl-C would wait for runs that have not begun. The limit is set here, so that the load does not matter."""
    in_hand, settle = [], execution_runner._Job._settle

    def counted(job, future):
        in_hand.append(len(job.running))
        settle(job, future)

    monkeypatch.setattr(execution_runner._Job, "_settle", counted)
    monkeypatch.setattr(execution_runner, "_SHORT_RUN_S", short_run_s)
    swept(path, small(6), Workers(lambda: ThreadPoolExecutor(1), lambda: 1, 1))
    assert max(in_hand) == most


def test_the_window_is_bounded(path):
    """Memory stays flat: no more runs, or results, are on their way than workers need."""
    pending = []

    class Watched(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            future = super().submit(fn, *args, **kwargs)
            pending.append(future)
            alive.append(sum(not future.done() for future in pending))
            return future

    alive = []
    swept(path, small(30), Workers(lambda: Watched(2), lambda: 2, 1))
    assert max(alive) <= 4


def test_a_store_that_cannot_be_written_ends_the_sweep_in_a_line(path):
    before = spawned_by(None)  # as the process that draws
    with open_store(path) as store:
        store.enqueue(small(RUNS))
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OutputError, match="full"):
            execute(small(RUNS), store, local_workers(1))
    assert set(spawned_by(None)) <= set(before)
    assert swept(path, small(RUNS)).left == 0


def test_shards_part_the_runs():
    runs = small(40)
    parts = [shard(runs, f"{part}/3") for part in (1, 2, 3)]
    assert sorted(run.key for part in parts for run in part) == sorted(run.key for run in runs)
    assert [[run.position for run in part] for part in parts] == [
        sorted(run.position for run in part) for part in parts
    ]


@pytest.mark.parametrize(("count", "parts"), [(10, 2), (10, 4), (10, 3), (7, 7), (3, 5), (1, 1), (40, 16)])
def test_shards_are_even_whatever_the_order(count, parts):
    """Whole runs cannot be dealt out more evenly than to within one."""
    runs = small(count)
    dealt = [shard(runs, f"{part}/{parts}") for part in range(1, parts + 1)]
    assert sum(map(len, dealt)) == len({run.key for part in dealt for run in part}) == count
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    turned = [shard(runs[::-1], f"{part}/{parts}") for part in range(1, parts + 1)]
    assert [{run.key for run in part} for part in turned] == [{run.key for run in part} for part in dealt]


def test_shards_cost_about_the_same():
    """Dealt by cost, two parts differ by no more than the dearest run."""
    runs = [*small(9), *small(9, layers=20), *small(9, layers=200)]
    costs = [sum(cost(run.config).flops for run in shard(runs, f"{part}/2")) for part in (1, 2)]
    assert abs(costs[0] - costs[1]) <= max(cost(run.config).flops for run in runs)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/²", "1/" + "9" * 5000, "1/3\n"])
def test_impossible_shards_are_refused(text):
    with pytest.raises(ConfigError, match="--shard"):
        shard(small(1), text)


def test_any_executor_will_do(path):
    class Here(Executor):
        """Runs at once, in the caller."""

        def submit(self, fn, /, *args, **kwargs):
            future = Future()
            future.set_result(fn(*args, **kwargs))
            return future

    assert swept(path, small(2), Workers(Here, lambda: 1, 1)).done == 2
