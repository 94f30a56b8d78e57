"""`execute`: runs go to workers and results into the store. Any `concurrent.futures.Executor` can be the workers.

The results do not depend on the executor, the number of workers or the order. When a worker of a process pool dies,
the pool breaks and all its runs are lost. A new pool then executes these runs one by one. So the run that kills its
worker is identified, and only this run fails.
"""

from __future__ import annotations

import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Literal

from initprobe.errors import ConfigError
from initprobe.probe.memory import cost
from initprobe.sweeps.execution_pool import (
    Failure,
    SilentDeathWatch,
    Workers,
    end_idle,
    failure_of,
    kill,
    load_libraries,
    local_workers,
    responds,
    sigint_blocked,
    work,
)
from initprobe.sweeps.runs import Run
from initprobe.sweeps.store import Payload, Store

__all__ = ["Event", "Outcome", "Workers", "execute", "local_workers", "shard"]

_WORKER_DIED = "the worker died, twice: killed, or out of memory; lower batch, width or layers"
_NO_START = "the workers die before they have done anything; is there memory for them? Try a smaller -j"
_MAX_STARTS = 3
# A signal's handler cannot safely wake the main thread, so the main thread looks this often for what changed.
_POLL_S = 0.1
# Runs shorter than this are submitted ahead, so that workers need not wait for us. Longer runs are not: a submitted run
# cannot be taken back, and Ctrl-C would have to wait for it.
_SHORT_RUN_S = 0.2

EventKind = Literal["started", "done", "failed", "stopping"]


@dataclass(frozen=True)
class Event:
    """Something that happened, for a progress bar.

    Attributes:
        kind: what happened.
        run: the run that it happened to; None for `stopping`.
        done: runs done by now, those of earlier sweeps included.
        failed: runs failed by now.
        total: number of runs.
    """

    kind: EventKind
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
        interrupted: the user stopped it.
    """

    done: int
    kept: int
    failed: int
    left: int
    interrupted: bool


def execute(
    runs: Sequence[Run],
    store: Store,
    workers: Workers,
    *,
    fail_fast: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Outcome:
    """Execute the runs that the store does not hold yet, and store their results.

    After Ctrl-C the running runs finish; a second Ctrl-C ends at once. In both cases the store is complete.

    Args:
        runs: runs of a sweep, all with different keys.
        store: open for writing.
        workers: from `local_workers` or `dask_workers`.
        fail_fast: stop at the first run that fails.
        on_event: called with every event, in this thread.

    Returns:
        How the sweep ended.

    Raises:
        ConfigError: the workers die before they have done anything.
        OutputError: the store cannot be written.
    """
    job = _Job(runs, store, workers, fail_fast, on_event)
    with _interruptible(job):
        try:
            job.start_workers()  # first: to start workers takes longer than to queue runs
            store.enqueue(runs)
            job.work()
        finally:
            job.end()
    return Outcome(job.done, job.kept, job.failed, job.left, job.interrupted)


@contextmanager
def _interruptible(job: _Job) -> Iterator[None]:
    """Make the first Ctrl-C ask the job to stop, and the next one an exception."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        job.interrupt()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Job:
    """The state of one `execute`: which runs wait, which are suspected of killing workers, which are running."""

    def __init__(
        self,
        runs: Sequence[Run],
        store: Store,
        workers: Workers,
        fail_fast: bool,
        on_event: Callable[[Event], None],
    ) -> None:
        self.store, self.workers, self.fail_fast, self.on_event = store, workers, fail_fast, on_event
        stored = store.done()
        self.waiting = deque(run for run in runs if run.key not in stored)
        self.total, self.kept = len(runs), len(runs) - len(self.waiting)
        self.suspects: deque[Run] = deque()
        self.running: dict[Future[Payload | Failure], Run] = {}
        self.executor: Executor | None = None
        self.done = self.failed = 0
        self.tried_alone: set[str] = set()
        self.interrupted = self.stopping = self.broken = self.runs_are_short = self.stop_announced = False

    @property
    def left(self) -> int:
        """Number of runs that are still to be done."""
        return len(self.waiting) + len(self.suspects)

    def interrupt(self) -> None:
        """Ask the job to stop; safe in a signal's handler."""
        self.interrupted = self.stopping = True

    def start_workers(self) -> None:
        """Start the workers, if there are runs for them."""
        if not self.left:
            return
        self.executor = self.workers.make()
        with sigint_blocked(), suppress(*self.workers.deaths):
            for _ in range(min(self.workers.jobs(), self.left)):
                self.executor.submit(load_libraries)

    def work(self) -> None:
        """Execute runs until none is left or the job is stopped, with a new executor after each that broke."""
        while self.executor is not None:
            self._feed(self.executor)
            end_idle(self.executor)
            self.executor = None
            if self.left and not self.stopping:
                self.executor = self._responding_executor()

    def end(self) -> None:
        """Leave no run marked as running, however the job ended."""
        if self.executor is not None:
            kill(self.executor)
        with self.store.transaction():
            self.store.requeue()

    def _responding_executor(self) -> Executor:
        for _ in range(_MAX_STARTS):
            executor = self.workers.make()
            if responds(executor, self.workers.deaths):
                self.broken = False
                return executor
            kill(executor)
        raise ConfigError(_NO_START)

    def _feed(self, executor: Executor) -> None:
        """Keep the executor busy until no run is left, it breaks, or the job is stopped."""
        watch = SilentDeathWatch(executor)
        self._submit(executor)
        while self.running:
            finished, _ = wait(self.running, _POLL_S, FIRST_COMPLETED)
            for future in finished:
                self._settle(future)
            if finished:
                self._submit(executor)
            if self.interrupted and not self.stop_announced:
                self.stop_announced = True
                self._announce("stopping", None)
            if watch.is_overdue(bool(finished)):
                self._give_up(executor)

    def _submit(self, executor: Executor) -> None:
        """Submit as many runs as the workers need now. A suspect runs alone."""
        if self.stopping or self.broken:
            return
        alone = bool(self.suspects)
        queue = self.suspects or self.waiting
        window = 1 if alone else self.workers.jobs() * (2 if self.runs_are_short else 1)
        started = []
        while queue and len(self.running) < window:
            future = self._submitted(executor, queue[0])
            if future is None:
                break
            started.append(queue.popleft())
            self.running[future] = started[-1]
        if started:
            with self.store.transaction():
                for run in started:
                    self.store.start(run.key)
            for run in started:
                self._announce("started", run)

    def _submitted(self, executor: Executor, run: Run) -> Future[Payload | Failure] | None:
        """The future of a run; None where the executor turns out to be broken."""
        with suppress(*self.workers.deaths), sigint_blocked():
            return executor.submit(work, run.config.model_dump_json(), self.workers.threads, run.key)
        self.broken = True
        return None

    def _settle(self, future: Future[Payload | Failure]) -> None:
        """Store what came of a run."""
        run = self.running.pop(future)
        try:
            answer = future.result()
        except CancelledError:  # by a cluster that has gone; the next submission finds that out
            self.waiting.appendleft(run)
        except self.workers.deaths:
            self.broken = True
            self._suspect(run)
        except Exception as error:
            self._fail(run, failure_of(error))
        else:
            if isinstance(answer, Failure):
                self._fail(run, answer)
            else:
                self._finish(run, answer)

    def _finish(self, run: Run, payload: Payload) -> None:
        with self.store.transaction():
            self.store.finish(run.key, payload)
            self.store.drop(run.former_keys)  # its result of an earlier revision must not be counted beside it
        self.done += 1
        self.runs_are_short = payload.elapsed_s < _SHORT_RUN_S
        self._announce("done", run)

    def _fail(self, run: Run, failure: Failure) -> None:
        with self.store.transaction():
            self.store.fail(run.key, failure.error, failure.traceback)
        self.failed += 1
        self.stopping = self.stopping or self.fail_fast
        self._announce("failed", run)

    def _suspect(self, run: Run) -> None:
        """A worker died that had this run, or whose pool had it. The run is tried alone, to find the cause."""
        if run.key in self.tried_alone and not self.stopping:
            self._fail(run, Failure(_WORKER_DIED, None))
        else:
            self.tried_alone.add(run.key)
            self.suspects.append(run)

    def _give_up(self, executor: Executor) -> None:
        """Take all runs from an executor that no longer answers."""
        kill(executor)
        self.broken = True
        for future in list(self.running):
            self._suspect(self.running.pop(future))

    def _announce(self, kind: EventKind, run: Run | None) -> None:
        self.on_event(Event(kind, run, self.kept + self.done, self.failed, self.total))


def shard(runs: Sequence[Run], text: str) -> tuple[Run, ...]:
    """Part `I` of `N` of the runs, in the order of all runs. Parts differ by at most one run.

    Runs are dealt out by cost and then by key, so that parts take about equally long. The order of the file's axes does
    not matter. What is added to a sweep may move a run to another part. That does no harm where the run was done in its
    former part: `initprobe merge` keeps the first of two results.

    Args:
        runs: all runs of the sweep.
        text: `I/N`, the part and the number of parts.

    Returns:
        The runs of this part.

    Raises:
        ConfigError: `text` is not `I/N` with 1 <= I <= N.
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    if not match:
        raise ConfigError(f"{text!r} is not a part like 3/16", field="--shard")
    part, parts = map(int, match.groups())
    if not 1 <= part <= parts:
        raise ConfigError(f"part {part} of {parts} must lie between 1 and {parts}", field="--shard")
    dealt = sorted(runs, key=lambda run: (-cost(run.config).flops, run.key))
    keys = {run.key for run in dealt[part - 1 :: parts]}
    return tuple(run for run in runs if run.key in keys)
