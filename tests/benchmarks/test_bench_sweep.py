"""What a sweep costs beyond its runs, and what a second worker brings.

`python -m pytest -m benchmark -s tests/benchmarks/test_bench_sweep.py` prints the table. It never fails on an absolute
time: on a busy machine the targets mean nothing.
"""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest

from initprobe import ProbeConfig
from initprobe.probe.run import run as probe
from initprobe.sweeps.execution_runner import execute, local_workers
from initprobe.sweeps.runs import Run
from initprobe.sweeps.store import Payload, open_store, read_store

RUNS, QUEUED, ROUNDS = 200, 10_000, 3
# Steady state: from the first result past this one to the last but this many.
EDGE = 10
LAYERS, WIDTH, BATCH = 10, 100, 200
SWEEP = f"""version: 1
name: many
defaults: {{act: tanh, layers: {LAYERS}, width: {WIDTH}, batch: {BATCH}, draws: 2}}
grid:
  sigma_w: {{from: 0.5, to: 3, num: 100}}
  sigma_b: {{from: 0, to: 2, num: 100}}
"""


def runs(count):
    return [
        Run(ProbeConfig(init="he", act="tanh", layers=LAYERS, width=WIDTH, batch=BATCH, draws=2, seed=s), {"seed": s})
        for s in range(count)
    ]


def steady(path, jobs):
    """Seconds a run in the middle of a sweep, and what the probe itself says that it took."""
    ends = []
    with open_store(path) as store:
        workers = replace(local_workers(jobs), threads=1)
        execute(runs(RUNS), store, workers, on_event=lambda event: event.kind == "done" and ends.append(clock()))
        elapsed = [row.elapsed_s for row in store.rows()]
    return (ends[-EDGE] - ends[EDGE]) / (len(ends) - 2 * EDGE), mean(elapsed[EDGE:-EDGE])


def bare(jobs):
    """Seconds per run of the probe alone, in as many independent processes. This is what can be reached."""
    code = (
        f"import sys, time; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_bench_sweep import EDGE, RUNS, probe, runs\n"
        "for number, one in enumerate(runs(RUNS // 2)):\n"
        "    if number == EDGE: started = time.perf_counter()\n"
        "    probe(one.config, threads=1)\n"
        "print((time.perf_counter() - started) / (RUNS // 2 - EDGE))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(jobs)]
    return 1 / sum(1 / float(process.communicate()[0]) for process in processes)


def clock():
    return time.perf_counter()


def timed(work):
    started = clock()
    work()
    return clock() - started


@pytest.mark.benchmark
def test_overhead_and_throughput(tmp_path):
    print(f"\n{RUNS} runs of {LAYERS} x {WIDTH}, batch {BATCH}, one thread each; bare: the probe alone, no sweep")
    heads = ("-j 1 ms", "probe ms", "beyond", "bare ms", "-j 2 ms", "bare ms", "speed-up", "bare")
    print(" " * 8 + "".join(f"{head:>10}" for head in heads))
    for number in range(ROUNDS):
        (one_job, inside), (two_jobs, _) = (steady(tmp_path / f"{jobs}-{number}.db", jobs) for jobs in (1, 2))
        alone, pair = bare(1), bare(2)
        seconds = (one_job, inside, one_job - inside, alone, two_jobs, pair)
        shown = [*(f"{1e3 * value:10.1f}" for value in seconds), f"{one_job / two_jobs:10.2f}", f"{alone / pair:10.2f}"]
        print(f"round {number} " + "".join(shown), flush=True)
    print("to reach: beyond < 5 ms, speed-up >= 1.8 on two idle cores")


@pytest.mark.benchmark
def test_ten_thousand(tmp_path):
    many, path = runs(QUEUED), tmp_path / "sweep.db"
    payload = Payload.of(probe(many[0].config))
    with open_store(path) as store:
        seconds = {"queue them": timed(lambda: store.enqueue(many))}
        seconds["queue them again"] = timed(lambda: store.enqueue(many))
        with store.transaction():
            for run in many:
                store.finish(run.key, payload)
        seconds["queue them, all done"] = timed(lambda: store.enqueue(many))
    with read_store(path) as store:
        seconds["list them, all done"] = timed(lambda: list(store.rows()))
    seconds["to the first result of them"] = first_result(tmp_path, many)
    seconds["`initprobe results`, all done"] = timed(lambda: said("results", path))
    print(f"\n{QUEUED:,} runs; {path.stat().st_size / QUEUED / 1e3:.0f} kB a run; to reach: 2 s to start, 2 s to show")
    for what, elapsed in seconds.items():
        print(f"{what:32}{elapsed:8.2f} s")


@pytest.mark.benchmark
def test_ten_thousand_from_a_file(tmp_path):
    file, out = tmp_path / "many.yaml", tmp_path / "out"
    file.write_text(SWEEP)
    started = clock()
    command = [sys.executable, "-m", "initprobe", "sweep", str(file), "--no-figures", "-o", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not done_in(out / "sweep.db"):
            time.sleep(0.05)
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    print(f"\n{'`initprobe sweep`, 10,000 runs, to the first result':52}{clock() - started:8.2f} s; to reach: 2")


def done_in(path):
    if not path.exists() or not path.stat().st_size:
        return 0
    with read_store(path) as store:
        return len(store.done())


def said(*words):
    subprocess.run([sys.executable, "-m", "initprobe", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


class Enough(Exception):
    """The first result has come."""


def first_result(tmp_path, many):
    started, delays = clock(), []

    def watch(event):
        if event.kind == "done":
            delays.append(clock() - started)
            raise Enough

    with pytest.raises(Enough), open_store(tmp_path / "first.db") as store:
        execute(many, store, local_workers(), on_event=watch)
    return delays[0]
