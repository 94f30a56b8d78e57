"""Where runs are run: a pool of processes on this machine, and what is done inside of one."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from initprobe.errors import ConfigError, InitprobeError
from initprobe.formatting import shown
from initprobe.sweeps.runs import run_key
from initprobe.sweeps.store.store import Payload

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


# Long after a worker's death, in which its pool reports it.
_DEAF_AFTER_S = 5.0
_LOOK_EVERY_S = 0.005
# Results are objects by the ten thousand, none of them garbage: to look through them all again and again takes time.
_COLLECT_AT = 50_000
MOST_JOBS = 1024


@dataclass(frozen=True)
class Workers:
    """Where runs are run.

    Attributes:
        make: makes an executor; called again when it breaks.
        jobs: tells on how many runs it works at a time; asked again and again, as clusters grow.
        threads: threads that each of them uses.
        deaths: exceptions that say that a worker died.
    """

    make: Callable[[], Executor]
    jobs: Callable[[], int]
    threads: int
    deaths: tuple[type[Exception], ...] = (BrokenExecutor,)


@dataclass(frozen=True)
class Failure:
    """What went wrong in a worker, in a line; with its traceback where it is no fault of the user's."""

    error: str
    traceback: str | None


def local_workers(jobs: int | None = None, runs: int | None = None) -> Workers:
    """Processes on this machine, no more of them with their threads than there are processors.

    Args:
        jobs: runs at a time; None for as many as there are processors.
        runs: that there are, where this is known: no more processes are of use.

    Raises:
        ConfigError: fewer than one, or more than any machine has use for.
    """
    from initprobe.engine.threads import available_threads

    processors = available_threads()
    count = processors if jobs is None else jobs
    if not 1 <= count <= MOST_JOBS:
        bound = "at least 1" if count < 1 else f"at most {MOST_JOBS:,}"
        raise ConfigError(f"-j must be {bound}, not {shown(count)}")
    count = min(count, max(runs or count, 1))
    return Workers(lambda: _process_pool(count), lambda: count, max(processors // count, 1))


def _process_pool(jobs: int) -> Executor:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Forked workers would inherit the locks of our threads and of BLAS's.
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin_worker)


def _begin_worker() -> None:
    """Ctrl-C is for the parent to see, and a worker ends with its parent, however that ends."""
    import multiprocessing
    from multiprocessing.connection import wait as wait_for

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(_COLLECT_AT)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            wait_for([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def get_ready() -> None:
    """Load what `work` needs, in a worker."""
    from initprobe.probe.run import run  # noqa: F401


def work(config: str, threads: int, key: str) -> Payload | Failure:
    """Run one experiment, given as JSON, in a worker."""
    try:
        from initprobe.config.probe_config import ProbeConfig
        from initprobe.probe.run import run

        _hold_blas()
        asked = ProbeConfig(**json.loads(config))
        if run_key(asked) != key:
            return Failure("a file that it reads is not what it was when the sweep began; start it again", None)
        return Payload.of(run(asked, threads=threads))
    except (Exception, SystemExit) as error:  # sys.exit in an activation of one's own would end the worker
        # As text: an exception of any other kind may not survive the way to another process.
        return failure_of(error)


@cache
def _hold_blas() -> None:
    """BLAS keeps to one thread for good: `engine.workers` gives back what it found, under the feet of other threads."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")


def failure_of(error: BaseException) -> Failure:
    """An exception as text, with its traceback where it was not raised on purpose."""
    if isinstance(error, InitprobeError):
        return Failure(str(error), None)
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return Failure(words, "".join(traceback.format_exception(error)))


class Deaf:
    """A pool that never tells of a worker's death: it died in the middle of handing over a result."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._since: float | None = None

    def to(self, over: Collection[object]) -> bool:
        """A worker has been dead for long, and nothing has come since; `over` is what has come now."""
        if over or all(process.is_alive() for process in _processes(self._executor)):
            self._since = None
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since > _DEAF_AFTER_S


def lives(executor: Executor, deaths: tuple[type[Exception], ...]) -> bool:
    """A worker does the least that it can."""
    try:
        with sheltered():
            first = executor.submit(os.getpid)
        first.result()
    except deaths:
        return False
    return True


@contextmanager
def sheltered() -> Iterator[None]:
    """Processes that are begun inside do not see Ctrl-C, not even before they have come to `_begin_worker`."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end(executor: Executor) -> None:
    """End a pool that has nothing in hand.

    A worker that was killed may have held the lock by which the others would learn that it is over: they are killed,
    too.
    """
    processes = _processes(executor)
    executor.shutdown(wait=not processes)
    while alive := [process for process in processes if process.is_alive()]:
        if any(process.exitcode for process in processes):
            for process in alive:
                process.kill()
        time.sleep(_LOOK_EVERY_S)


def abandon(executor: Executor) -> None:
    """Leave without waiting: what runs is killed."""
    processes = _processes(executor)
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()


def _processes(executor: Executor) -> list[BaseProcess]:
    """The workers, where the executor is a pool of processes; nothing public tells."""
    return list((getattr(executor, "_processes", None) or {}).values())
