"""The processes that execute runs on this machine, and the function that each of them calls.

The pool is the standard library's. loky was measured and not taken. Its workers go on computing after `kill -9` of the
sweep. It also waits forever for a worker that died while it wrote a result. 60 short runs with `-j 2` took 1.06 times
the CPU time, the start of two workers 1.11 times the time.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from initprobe.errors import ConfigError, InitprobeError
from initprobe.formatting import shown
from initprobe.sweeps.runs import run_key
from initprobe.sweeps.store import Payload

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from initprobe.probe.trials import Outcomes


# A pool reports the death of a worker well within this time.
_SILENT_AFTER_S = 5.0
_POLL_S = 0.005
# A result is ten thousand objects, and none of them is garbage: frequent collections would only take time.
_COLLECT_AT = 50_000
MAX_JOBS = 1024


@dataclass(frozen=True)
class Workers:
    """What executes the runs.

    Attributes:
        make: makes an executor; called again when an executor breaks.
        jobs: says how many runs are executed at a time; called often, because a cluster may grow.
        threads: threads that each run uses.
        deaths: exceptions that mean that a worker died.
    """

    make: Callable[[], Executor]
    jobs: Callable[[], int]
    threads: int
    deaths: tuple[type[Exception], ...] = (BrokenExecutor,)


@dataclass(frozen=True)
class Failure:
    """Why a run failed.

    Attributes:
        error: the cause, in one line.
        traceback: of a bug; None for a fault of the user.
    """

    error: str
    traceback: str | None


def local_workers(jobs: int | None = None, runs: int | None = None) -> Workers:
    """Processes on this machine. Processes times threads is at most the number of processors, where `jobs` allows it.

    Args:
        jobs: runs at a time; None for as many as there are processors.
        runs: number of runs, where it is known: more processes than runs are not started.

    Returns:
        The workers; no process is started yet.

    Raises:
        ConfigError: `jobs` is below 1 or above `MAX_JOBS`.
    """
    from initprobe.engine.threads import available_threads

    processors = available_threads()
    count = processors if jobs is None else jobs
    if not 1 <= count <= MAX_JOBS:
        bound = "at least 1" if count < 1 else f"at most {MAX_JOBS:,}"
        raise ConfigError(f"must be {bound}, not {shown(count)}", field="jobs")
    count = min(count, max(runs or count, 1))
    return Workers(lambda: _process_pool(count), lambda: count, max(processors // count, 1))


def _process_pool(jobs: int) -> Executor:
    from concurrent.futures import ProcessPoolExecutor

    from initprobe.sweeps.execution_process import WorkerContext

    return ProcessPoolExecutor(jobs, WorkerContext(), _begin_worker)


def _begin_worker() -> None:
    """Ignore Ctrl-C, which the parent handles, and end when the parent ends."""
    import multiprocessing
    from multiprocessing.connection import wait

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(_COLLECT_AT)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def load_libraries() -> None:
    """Import in a worker what `work` needs."""
    from initprobe.probe.run import measure  # noqa: F401


def work(config: str, threads: int, key: str) -> Payload | Failure:
    """Execute one run in a worker.

    Args:
        config: the `ProbeConfig`, as JSON.
        threads: threads to use.
        key: the run's key when the sweep began, which must still be its key.

    Returns:
        The packed result, or why there is none.
    """
    try:
        from initprobe.config.probe_config import ProbeConfig
        from initprobe.probe.experiment import prepare
        from initprobe.probe.run import measure

        _limit_blas()
        probe_config = ProbeConfig(**json.loads(config))
        if run_key(probe_config) != key:
            return Failure("a file that it reads is not what it was when the sweep began; start it again", None)
        return Payload.of(measure(prepare(probe_config), threads=threads, outcomes=_outcomes()))
    except (Exception, SystemExit) as error:  # sys.exit in a user's activation would end the worker
        # As text: not every exception can be sent to another process.
        return failure_of(error)


@cache
def _outcomes() -> Outcomes:
    """The outcomes of trials in this process. As in a store, an experiment of the same key is not run again."""
    from initprobe.probe.trials import Outcomes

    return Outcomes(run_key)


@cache
def _limit_blas() -> None:
    """Limit BLAS to one thread for the life of the worker; a limit within a run ends earlier."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")


def failure_of(error: BaseException) -> Failure:
    """An exception as text, with its traceback where it was not raised on purpose."""
    if isinstance(error, InitprobeError):
        return Failure(str(error), None)
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return Failure(line, "".join(traceback.format_exception(error)))


class SilentDeathWatch:
    """Notices that a worker died and its pool does not report it.

    That happens where the worker died while it wrote a result: the pool waits forever for the rest of it.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._silent_since: float | None = None

    def is_overdue(self, has_news: bool) -> bool:
        """Whether a worker has been dead for long and no result came since.

        Args:
            has_news: a result came since the last call.
        """
        if has_news or all(process.is_alive() for process in _processes(self._executor)):
            self._silent_since = None
            return False
        self._silent_since = self._silent_since or time.monotonic()
        return time.monotonic() - self._silent_since > _SILENT_AFTER_S


def responds(executor: Executor, deaths: tuple[type[Exception], ...]) -> bool:
    """Whether a worker can execute a trivial call.

    Args:
        executor: with its workers.
        deaths: errors that say that a worker is gone.
    """
    try:
        with sigint_blocked():
            future = executor.submit(os.getpid)
        future.result()
    except deaths:
        return False
    return True


@contextmanager
def sigint_blocked() -> Iterator[None]:
    """Start processes inside: they do not see Ctrl-C, even before `_begin_worker` is called in them."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_idle(executor: Executor) -> None:
    """End a pool that executes nothing.

    The others need a lock to learn of the end. A killed worker may have held it, so they are killed too.
    """
    processes = _processes(executor)
    executor.shutdown(wait=not processes)
    while alive := [process for process in processes if process.is_alive()]:
        if any(process.exitcode for process in processes):
            for process in alive:
                process.kill()
        time.sleep(_POLL_S)


def kill(executor: Executor) -> None:
    """End a pool without waiting for the runs that it executes."""
    processes = _processes(executor)
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()


def _processes(executor: Executor) -> list[BaseProcess]:
    """The worker processes; empty for other executors. `concurrent.futures` has no public way to ask for them."""
    return list((getattr(executor, "_processes", None) or {}).values())
