"""What the tests of a sweep's store and runner share: small runs, their numbers, executors that misbehave."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from thread_workers import thread_workers

from initprobe import ProbeConfig
from initprobe.sweeps import execution_pool
from initprobe.sweeps.execution_pool import Workers
from initprobe.sweeps.execution_runner import Outcome, execute
from initprobe.sweeps.runs import Run
from initprobe.sweeps.store import open_store, read_store

DEADLY_SEED = 1


def small(count: int, **fields: object) -> list[Run]:
    """Runs of a few milliseconds, apart by their seeds."""
    shape = {"init": "he", "act": "relu", "layers": 2, "width": 8, "batch": 16, "draws": 2} | fields
    return [Run(ProbeConfig(**shape, seed=seed), {"seed": seed}, seed) for seed in range(count)]


def placed(runs: list[Run]) -> list[Run]:
    """The same runs as a sweep that has them in this order."""
    return [replace(run, position=position) for position, run in enumerate(runs)]


def swept(path: Path, runs: list[Run], workers: Workers | None = None, **options: object) -> Outcome:
    """Run them into a store, in a thread unless workers are given."""
    with open_store(path) as store:
        return execute(runs, store, workers or thread_workers(), **options)


def states(path: Path) -> dict[object, str]:
    """State by seed."""
    with read_store(path) as store:
        return {row.axes["seed"]: row.state for row in store.rows()}


def numbers(path: Path) -> list[object]:
    """All that a sweep found, in order: axes and layers, without the times."""
    with read_store(path) as store:
        return [(dict(row.axes), row.digest, result.layers) for row, result in store.results()]


def deadly(config: str, threads: int, key: str) -> object:
    """Work that kills its worker where the seed says so."""
    if ProbeConfig.model_validate_json(config).seed == DEADLY_SEED:
        os.kill(os.getpid(), signal.SIGKILL)
    return execution_pool.work(config, threads, key)


class DeadlyPool(ProcessPoolExecutor):
    """A pool whose workers do `deadly` work."""

    def __init__(self, jobs: int) -> None:
        super().__init__(jobs, get_context("spawn"))

    def submit(self, fn, /, *args, **kwargs):
        return super().submit(deadly if fn is execution_pool.work else fn, *args, **kwargs)
