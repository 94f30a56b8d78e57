import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sweep_runs import DEADLY_SEED, deadly, numbers, small, states, swept
from waiting import wait_until

from initprobe.errors import ConfigError
from initprobe.sweeps import execution_pool
from initprobe.sweeps.execution_runner import local_workers
from initprobe.sweeps.store import read_store

distributed = pytest.importorskip("distributed")


from initprobe.sweeps import execution_dask  # noqa: E402

RUNS = 12
SUPPORT = Path(__file__).parents[1] / "support"
# One death is enough to give a run up, or tests would wait for three more. Dask needs no other home than this.
SETTINGS = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0", "PYTHONPATH": str(SUPPORT)}


@contextmanager
def started(*words):
    """A program of Dask's, until the end of the test."""
    command = [sys.executable, "-m", *map(str, words)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=os.environ | SETTINGS, **quiet)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def scheduling(directory):
    """A scheduler on the loopback address: its process and address."""
    file = directory / "scheduler.json"
    words = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--no-show", "--scheduler-file", file)
    with started("distributed.cli.dask_scheduler", *words) as process:
        patience = time.monotonic() + 30
        while not file.exists() or not file.read_text():
            assert time.monotonic() < patience and process.poll() is None
            time.sleep(0.05)
        yield process, json.loads(file.read_text())["address"]


def working(address, directory, *more):
    words = ("--nthreads", 1, "--host", "127.0.0.1", "--no-dashboard", "--local-directory", directory)
    return started("distributed.cli.dask_worker", address, *words, *more)


@contextmanager
def asking(address):
    with distributed.Client(address, set_as_default=False) as client:
        yield client


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a scheduler with two workers; who dies is replaced, as is Dask's way."""
    home = tmp_path_factory.mktemp("cluster")
    with scheduling(home) as (_, address), working(address, home, "--nworkers", 2):
        with asking(address) as client:
            client.wait_for_workers(2, timeout=60)
        yield address


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sweep.db"


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """What the same sweep finds on this machine."""
    path = tmp_path_factory.mktemp("local") / "sweep.db"
    swept(path, small(RUNS), local_workers(1))
    return numbers(path)


def test_a_worker_killed_in_the_middle_costs_nothing(cluster, path, local):
    with asking(cluster) as client:
        pids = list(client.run(os.getpid).values())
    assert len(pids) == 2
    counts = Counter()

    def watch(event):
        counts[event.kind] += 1
        if event.kind == "done" and counts["done"] == 3:
            os.kill(pids[0], signal.SIGKILL)

    outcome = swept(path, small(RUNS), execution_dask.dask_workers(cluster), on_event=watch)
    assert (outcome.done, outcome.failed, outcome.left) == (RUNS, 0, 0)
    assert set(states(path).values()) == {"done"}
    assert numbers(path) == local


def test_it_works_on_as_many_runs_as_the_cluster_has_threads(cluster):
    workers = execution_dask.dask_workers(cluster)
    with asking(cluster) as client:
        client.wait_for_workers(2, timeout=60)
    with workers.make():
        assert workers.jobs() == 2
    assert workers.threads == 1


@pytest.mark.slow
def test_a_run_that_kills_its_workers_fails_alone(cluster, path, local):
    workers = execution_dask.dask_workers(cluster)

    class Deadly(execution_dask._DaskExecutor):
        def submit(self, fn, /, *args, **kwargs):
            return super().submit(deadly if fn is execution_pool.work else fn, *args, **kwargs)

    def make():
        executor = workers.make()
        executor.__class__ = Deadly
        return executor

    outcome = swept(path, small(RUNS), replace(workers, make=make))
    assert (outcome.done, outcome.failed) == (RUNS - 1, 1)
    assert states(path) == {seed: "failed" if seed == DEADLY_SEED else "done" for seed in range(RUNS)}
    with read_store(path) as store:
        (error,) = [row.error for row in store.rows() if row.error]
    assert error.startswith("the worker died") and len(error.splitlines()) == 1


def test_failures_on_workers_read_like_local_ones(cluster, path):
    assert swept(path, small(1, width=10**7), execution_dask.dask_workers(cluster)).failed == 1
    with read_store(path) as store:
        (row,) = store.rows()
        assert re.search("needs .* GB", row.error)
        assert store.traceback(row.key) is None


def test_the_sweep_command_takes_an_address(cluster, initprobe, tmp_path):
    (tmp_path / "a.yaml").write_text(
        "version: 1\nname: a\ndefaults: {init: he, act: relu, layers: 2, width: 8, batch: 16}\nseeds: 3\n"
    )
    said = initprobe("sweep", "a.yaml", "--scheduler", cluster, "--no-figures", "-o", "out")
    assert said.code == 0, said.err
    assert set(states(tmp_path / "out" / "sweep.db").values()) == {"done"}


def line(error):
    text = str(error.value)
    assert len(text.splitlines()) == 1 and "--scheduler" in text
    return text


def test_no_service_at_the_address(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(execution_dask, "_CONNECT_WITHIN_S", 0.5)
        before = time.monotonic()
        with pytest.raises(ConfigError) as error:
            execution_dask.dask_workers(address)
    assert address in line(error) and time.monotonic() - before < 5


def test_another_service_at_the_address(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setattr(execution_dask, "_CONNECT_WITHIN_S", 0.5)
        with pytest.raises(ConfigError) as error:
            execution_dask.dask_workers(f"tcp://127.0.0.1:{mute.getsockname()[1]}")
    line(error)


def test_a_web_server_at_the_address_is_refused(monkeypatch):
    """As on the port of the scheduler's own dashboard, which it prints beside its address."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:

        def answer():
            with server.accept()[0] as caller:
                caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread.submit(answer)
        with pytest.raises(ConfigError, match="no Dask scheduler answers there") as error:
            execution_dask.dask_workers(f"tcp://127.0.0.1:{server.getsockname()[1]}")
    line(error)


@pytest.mark.parametrize("address", ["", "host", "bla://host:1", "tcp://127.0.0.1:port", "tcp://[::1"])
def test_impossible_addresses_are_refused(address):
    with pytest.raises(ConfigError) as error:
        execution_dask.dask_workers(address)
    line(error)


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'initprobe[dask]'")) as error:
        execution_dask.dask_workers("tcp://127.0.0.1:1")
    line(error)


def test_dask_is_imported_only_when_asked_for():
    code = "import sys, initprobe.sweeps.execution_dask; print('distributed' in sys.modules or 'dask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize(("answer", "words"), [("0.0.1", "has initprobe 0.0.1"), (ImportError(), "has no initprobe")])
def test_workers_with_another_initprobe_are_refused(answer, words):
    class Client:
        def run(self, *args, **kwargs):
            return {"tcp://127.0.0.1:1": answer}

    with pytest.raises(ConfigError, match=words) as error:
        execution_dask._check_versions(Client(), "tcp://127.0.0.1:2")
    line(error)


def test_the_first_worker_is_waited_for_and_the_scheduler_missed_when_it_goes(tmp_path, path):
    said = []
    with scheduling(tmp_path) as (scheduler, address):
        workers_there = working(address, tmp_path, "--no-nanny")

        def say(words):
            said.append(words)
            if "no workers yet" in words:
                workers_there.__enter__()

        workers = execution_dask.dask_workers(address, say)
        assert ["no TLS" in words for words in said] == [True, False] and "no workers yet" in said[1]

        def watch(event):
            if event.kind == "done" and event.done == 3:
                scheduler.kill()

        try:
            with pytest.raises(ConfigError, match="is lost; the same command continues") as error:
                swept(path, small(RUNS), workers, on_event=watch)
        finally:
            workers_there.__exit__(None, None, None)
    line(error)
    counts = Counter(states(path).values())
    assert counts["done"] >= 3 and counts["done"] + counts["queued"] == RUNS


# Where Python looks first, an initprobe of another version: what is older knows nothing of what we send.
OTHER = """Metadata-Version: 2.1
Name: initprobe
Version: {}
"""


@contextmanager
def working_with(version, address, directory):
    """A worker that has this version of initprobe, or none that could be used."""
    home = directory / f"site-{version}"
    (home / f"initprobe-{version}.dist-info").mkdir(parents=True)
    (home / f"initprobe-{version}.dist-info" / "METADATA").write_text(OTHER.format(version))
    (home / "initprobe").mkdir()
    (home / "initprobe" / "__init__.py").write_text("")
    before = SETTINGS["PYTHONPATH"]
    SETTINGS["PYTHONPATH"] = f"{home}{os.pathsep}{before}"
    try:
        with working(address, directory, "--no-nanny"):
            SETTINGS["PYTHONPATH"] = before
            yield
    finally:
        SETTINGS["PYTHONPATH"] = before


def test_a_worker_of_another_version_that_joins_midway_gets_no_runs(tmp_path, path, local):
    """Where all others have left, its runs fail, and say why."""
    said, alone = [], tmp_path / "alone.db"
    with scheduling(tmp_path) as (_, address), ExitStack() as until_the_end:
        with working(address, tmp_path, "--no-nanny"):
            workers = execution_dask.dask_workers(address, said.append)
            until_the_end.enter_context(working_with("0.0.1", address, tmp_path))
            with asking(address) as client:
                client.wait_for_workers(2, timeout=60)
            outcome = swept(path, small(RUNS), workers)
        assert (outcome.done, outcome.failed, outcome.left) == (RUNS, 0, 0)
        assert numbers(path) == local
        refusals = [words for words in said if "it gets no runs" in words]
        assert len(refusals) == 1 and "has initprobe 0.0.1, here it is" in refusals[0], said
        with asking(address) as client:
            wait_until(lambda: len(client.nthreads()) == 1)
        assert swept(alone, small(2), workers).failed == 2
    with read_store(alone) as store:
        for row in store.rows():
            assert "has initprobe 0.0.1, here it is" in row.error and len(row.error.splitlines()) == 1
            assert store.traceback(row.key) is None


def test_a_worker_with_results_of_another_revision_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "get_worker", lambda: type("Here", (), {"address": "tcp://here:1"}))
    own, revision = execution_dask._release()
    guarded = execution_dask._guard(own, revision + 1)
    refusal, worker, theirs = guarded("no", "os", "getpid")
    assert (refusal, worker) == ("no", "tcp://here:1")
    assert theirs == f"{own} with results of revision {revision}, not {revision + 1}"
    assert execution_dask._guard(own, revision)("no", "os", "getpid") == os.getpid()


@pytest.mark.parametrize(("address", "warned"), [("tls://h:1", 0), ("TLS://h:1", 0), ("tcp://h:1", 1), ("h:1", 1)])
def test_a_cluster_without_tls_is_warned_of_once(monkeypatch, address, warned):
    class Client:
        def nthreads(self):
            return {"tcp://w:1": 1}

        def run(self, *args, **kwargs):
            return {}

        def close(self):
            pass

    monkeypatch.setattr(execution_dask, "_connected", lambda address: Client())
    said = []
    execution_dask.dask_workers(address, said.append)
    assert len(said) == warned and all("can run code" in words and len(words) < 200 for words in said)
