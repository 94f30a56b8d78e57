"""Runs on workers, results into the store. Any `concurrent.futures.Executor` will do.

What a run finds does not depend on the executor, the number of workers or the order. A worker that dies takes the pool
with it, as `concurrent.futures` has it: the pool is made anew and the runs that were in hand go through it one by one,
so that the one that kills its worker is found out and fails alone.
"""

from __future__ import annotations

import json
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from initprobe.errors import ConfigError, InitprobeError
from initprobe.sweep.runs import Run
from initprobe.sweep.store import Payload, Store

_WORKER_DIED = "the worker died: killed, or out of memory; run it alone with -j 1, or with a smaller --batch"


@dataclass(frozen=True)
class Event:
    """Something that happened, for a progress bar.

    Attributes:
        kind: what.
        run: to which run; None for `stopping`.
        done: runs done by now, those of earlier sweeps included.
        failed: runs failed by now.
        total: runs in all.
    """

    kind: Literal["started", "done", "failed", "stopping"]
    run: Run | None
    done: int
    failed: int
    total: int


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended.

    Attributes:
        done: runs done now.
        kept: runs done before.
        failed: runs failed.
        left: runs still queued.
        interrupted: somebody asked it to stop.
    """

    done: int
    kept: int
    failed: int
    left: int
    interrupted: bool


@dataclass(frozen=True)
class Workers:
    """Where runs are run.

    Attributes:
        make: makes an executor; called again when it breaks.
        jobs: runs that it works on at a time.
        threads: threads that each of them uses.
    """

    make: Callable[[], Executor]
    jobs: int
    threads: int


def local_workers(jobs: int | None = None) -> Workers:
    """Processes on this machine, no more of them with their threads than there are processors.

    Raises:
        ConfigError: fewer than one.
    """
    from initprobe.engine.workers import available_threads

    processors = available_threads()
    count = processors if jobs is None else jobs
    if count < 1:
        raise ConfigError(f"-j must be at least 1, not {count}")
    return Workers(lambda: _process_pool(count), count, max(processors // count, 1))


def _process_pool(jobs: int) -> Executor:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Forked workers would inherit the locks of our threads and of BLAS's.
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin_worker)


def _begin_worker() -> None:
    """Ctrl-C is for the parent to see, and a worker ends with its parent, however that ends."""
    import multiprocessing
    import os
    from multiprocessing.connection import wait as wait_for

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            wait_for([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def work(config: str, threads: int) -> Payload:
    """Run one experiment, given as JSON, in a worker."""
    from initprobe.config import ProbeConfig
    from initprobe.probe import run

    return Payload.of(run(ProbeConfig(**json.loads(config)), threads=threads))


def execute(
    runs: Sequence[Run],
    store: Store,
    workers: Workers,
    *,
    fail_fast: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Outcome:
    """Run what the store does not hold yet, and keep what comes out.

    Ctrl-C lets the runs in hand finish; a second one ends at once. Either way the store is whole.

    Args:
        runs: of a sweep, no two with one key.
        store: open to write.
        workers: from `local_workers` or `dask_workers`.
        fail_fast: stop at the first run that fails.
        on_event: told what happens, in this thread.
    """
    store.enqueue(runs)
    done = store.done()
    job = _Job(store, workers, [run for run in runs if run.key not in done], len(runs), fail_fast, on_event)
    with _interruptible(job):
        job.work()
    return Outcome(job.done, job.kept, job.failed, len(job.waiting), job.interrupted)


@contextmanager
def _interruptible(job: _Job) -> Iterator[None]:
    """The first Ctrl-C asks the job to stop, the next is an exception."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        job.interrupt()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Job:
    """The runs of one `execute`: waiting, in hand, over."""

    def __init__(
        self,
        store: Store,
        workers: Workers,
        runs: Sequence[Run],
        total: int,
        fail_fast: bool,
        on_event: Callable[[Event], None],
    ) -> None:
        self.store, self.workers, self.fail_fast, self.on_event = store, workers, fail_fast, on_event
        self.waiting, self.total, self.kept = deque(runs), total, total - len(runs)
        self.suspects: deque[Run] = deque()
        self.in_hand: dict[Future[Payload], Run] = {}
        self.done = self.failed = 0
        self.interrupted = self.stopping = False

    def interrupt(self) -> None:
        self.interrupted = self.stopping = True
        self._tell("stopping", None)

    def work(self) -> None:
        while (self.waiting or self.suspects) and not self.stopping:
            executor = self.workers.make()
            try:
                self._feed(executor)
                executor.shutdown()
            except BaseException:
                _abandon(executor)
                raise
            finally:
                self._put_back()

    def _feed(self, executor: Executor) -> None:
        """Keep the executor busy until nothing is left, it breaks, or somebody stops us."""
        while True:
            self._submit(executor)
            if not self.in_hand:
                return
            over, _ = wait(self.in_hand, return_when=FIRST_COMPLETED)
            died = [self.in_hand[future] for future in over if not self._settle(future)]
            if died:
                self._blame(died)
                return
            if self.stopping:
                self._recall()

    def _submit(self, executor: Executor) -> None:
        """Fill the window: a run for each worker, and one for it to go on with. A suspect goes alone."""
        window = 1 if self.suspects else 2 * self.workers.jobs
        queue = self.suspects or self.waiting
        started = []
        while queue and len(self.in_hand) < window and not self.stopping:
            started.append(queue.popleft())
            future = executor.submit(work, started[-1].config.model_dump_json(), self.workers.threads)
            self.in_hand[future] = started[-1]
        if started:
            with self.store.transaction():
                for run in started:
                    self.store.start(run.key)
            for run in started:
                self._tell("started", run)

    def _settle(self, future: Future[Payload]) -> bool:
        """Keep what a run came to; False if its worker died, which may be another run's doing."""
        run = self.in_hand[future]
        try:
            payload = future.result()
        except BrokenExecutor:
            return False
        except CancelledError:
            self._take_back(future)
        except Exception as error:
            del self.in_hand[future]
            self._fail(run, *_told(error))
        else:
            del self.in_hand[future]
            with self.store.transaction():
                self.store.finish(run.key, payload)
            self.done += 1
            self._tell("done", run)
        return True

    def _fail(self, run: Run, error: str, trace: str | None) -> None:
        with self.store.transaction():
            self.store.fail(run.key, error, trace)
        self.failed += 1
        self.stopping = self.stopping or self.fail_fast
        self._tell("failed", run)

    def _blame(self, died: Sequence[Run]) -> None:
        """The pool broke. A run that was alone in it did it; of several, each is tried alone."""
        for future in [future for future in self.in_hand if future.done() and future.exception() is None]:
            self._settle(future)
        lost = list(self.in_hand.values())
        self.in_hand.clear()
        if len(lost) == 1:
            self._fail(lost[0], _WORKER_DIED, None)
        else:
            self.suspects.extend(lost)

    def _recall(self) -> None:
        """Take back what no worker has begun."""
        for future in [future for future in self.in_hand if future.cancel()]:
            self._take_back(future)

    def _take_back(self, future: Future[Payload]) -> None:
        self.waiting.appendleft(self.in_hand.pop(future))

    def _put_back(self) -> None:
        """What was begun and did not end is queued again."""
        self.waiting.extendleft(reversed(self.in_hand.values()))
        self.in_hand.clear()
        if self.stopping or not self.suspects:
            self.waiting.extendleft(reversed(self.suspects))
            self.suspects.clear()
        with self.store.transaction():
            self.store.requeue(run.key for run in (*self.waiting, *self.suspects))

    def _tell(self, kind: Literal["started", "done", "failed", "stopping"], run: Run | None) -> None:
        self.on_event(Event(kind, run, self.kept + self.done, self.failed, self.total))


def _told(error: Exception) -> tuple[str, str | None]:
    """A failure in one line, and its traceback where it is no fault of the user's."""
    if isinstance(error, InitprobeError):
        return str(error), None
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return words, "".join(traceback.format_exception(error))


def _abandon(executor: Executor) -> None:
    """Leave without waiting: what runs is killed."""
    processes = list((getattr(executor, "_processes", None) or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()


def shard(runs: Sequence[Run], text: str) -> tuple[Run, ...]:
    """Part `I` of `N` of the runs, by their keys: what is added to a sweep moves no run to another part.

    Raises:
        ConfigError: not `I/N` with 1 <= I <= N.
    """
    part, slash, parts = text.partition("/")
    if not (slash and part.isascii() and part.isdigit() and parts.isascii() and parts.isdigit()):
        raise ConfigError(f"--shard: {text!r} is not a part like 3/16")
    index, count = int(part), int(parts)
    if not 1 <= index <= count:
        raise ConfigError(f"--shard: {text}: the part must lie between 1 and {count}")
    return tuple(run for run in runs if int(run.key, 16) % count == index - 1)
