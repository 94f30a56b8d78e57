"""What executes the runs of a sweep in most tests: a thread, since a process takes a second to start."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from initprobe.sweeps import execution_pool
from initprobe.sweeps.execution_pool import Workers


def thread_workers(jobs: int | None = None, runs: int | None = None) -> Workers:
    """One thread in place of the local pool of processes; refuses what the pool refuses."""
    execution_pool.local_workers(jobs, runs)
    return Workers(lambda: ThreadPoolExecutor(1), lambda: 1, 1)
