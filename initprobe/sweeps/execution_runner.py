"""Runs on workers, results into the store. Any `concurrent.futures.Executor` will do.

What a run finds does not depend on the executor, the number of workers or the order. A worker that dies takes others'
runs with it, all that were in hand where it is one of a process pool: the pool is made anew and they go through it one
by one, so that the one that kills its worker is found out and fails alone.
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
from typing import Any, Literal

from initprobe.errors import ConfigError
from initprobe.probe.memory import cost
from initprobe.sweeps.execution_pool import (
    Deaf,
    Failure,
    Workers,
    abandon,
    end,
    failure_of,
    get_ready,
    lives,
    local_workers,
    sheltered,
    work,
)
from initprobe.sweeps.runs import Run
from initprobe.sweeps.store.store import Payload, Store

__all__ = ["Event", "Outcome", "Workers", "execute", "local_workers", "shard"]

_WORKER_DIED = "the worker died, twice: killed, or out of memory; lower batch, width or layers"
_NO_START = "the workers die before they have done anything; is there memory for them? Try a smaller -j"
_MOST_STARTS = 3
# A look at what was asked of us meanwhile: a signal's handler cannot safely wake whoever waits for a future.
_LOOK_EVERY_S = 0.1
# Runs shorter than this are handed out ahead of time, or workers would wait for us; longer ones are not: what a worker
# holds cannot be taken back, and Ctrl-C would have to wait for it.
_BRISK_S = 0.2


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
    done = store.done()
    job = _Job(store, workers, [run for run in runs if run.key not in done], len(runs), fail_fast, on_event)
    with _interruptible(job):
        try:
            job.begin()  # first: workers take longer to start than runs to be queued
            store.enqueue(runs)
            job.work()
        finally:
            job.end()
    return Outcome(job.done, job.kept, job.failed, job.left, job.interrupted)


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
    """The runs of one `execute`: waiting, suspected of killing workers, in hand, over."""

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
        self.in_hand: dict[Future[Payload | Failure], Run] = {}
        self.executor: Executor | None = None
        self.done = self.failed = 0
        self.tried_alone: set[str] = set()
        self.interrupted = self.stopping = self.broken = self.brisk = self.told = False

    @property
    def left(self) -> int:
        """Runs that are still to be done."""
        return len(self.waiting) + len(self.suspects)

    def interrupt(self) -> None:
        """Ask it to stop; safe in a signal's handler."""
        self.interrupted = self.stopping = True

    def begin(self) -> None:
        """Start the workers, if there is work for them."""
        if not self.left:
            return
        self.executor = self.workers.make()
        with sheltered(), suppress(*self.workers.deaths):
            for _ in range(min(self.workers.jobs(), self.left)):
                self.executor.submit(get_ready)

    def work(self) -> None:
        """Feed executors until nothing is left, or somebody stops us."""
        while self.executor is not None:
            self._feed(self.executor)
            end(self.executor)
            self.executor = None
            if self.left and not self.stopping:
                self.executor = self._opened()

    def end(self) -> None:
        """Leave nothing behind that is in hand, however it ended."""
        if self.executor is not None:
            abandon(self.executor)
        with self.store.transaction():
            self.store.requeue()

    def _opened(self) -> Executor:
        """An executor in place of the one that broke, whose workers live."""
        for _ in range(_MOST_STARTS):
            executor = self.workers.make()
            if lives(executor, self.workers.deaths):
                self.broken = False
                return executor
            abandon(executor)
        raise ConfigError(_NO_START)

    def _feed(self, executor: Executor) -> None:
        """Keep the executor busy until nothing is left, it breaks, or somebody stops us."""
        deaf = Deaf(executor)
        self._submit(executor)
        while self.in_hand:
            over, _ = wait(self.in_hand, _LOOK_EVERY_S, FIRST_COMPLETED)
            for future in over:
                self._settle(future)
            if over:
                self._submit(executor)
            if self.interrupted and not self.told:
                self.told = True
                self._tell("stopping", None)
            if deaf.to(over):
                self._give_up(executor)

    def _submit(self, executor: Executor) -> None:
        """Fill the window. A suspect goes alone."""
        if self.stopping or self.broken:
            return
        alone = bool(self.suspects)
        queue = self.suspects or self.waiting
        window = 1 if alone else self.workers.jobs() * (2 if self.brisk else 1)
        started = []
        while queue and len(self.in_hand) < window:
            future = self._handed(executor, queue[0])
            if future is None:
                break
            started.append(queue.popleft())
            self.in_hand[future] = started[-1]
        if started:
            with self.store.transaction():
                for run in started:
                    self.store.start(run.key)
            for run in started:
                self._tell("started", run)

    def _handed(self, executor: Executor, run: Run) -> Future[Payload | Failure] | None:
        """A run in the executor's hands; None where it turns out to be broken."""
        try:
            with sheltered():
                return executor.submit(work, run.config.model_dump_json(), self.workers.threads, run.key)
        except self.workers.deaths:
            self.broken = True
            return None

    def _settle(self, future: Future[Payload | Failure]) -> None:
        """Keep what a run came to."""
        run = self.in_hand.pop(future)
        try:
            found = future.result()
        except CancelledError:  # by a cluster that has gone; the next submission will find out
            self.waiting.appendleft(run)
        except self.workers.deaths:
            self.broken = True
            self._suspect(run)
        except Exception as error:
            self._fail(run, failure_of(error))
        else:
            if isinstance(found, Failure):
                self._fail(run, found)
            else:
                self._finish(run, found)

    def _finish(self, run: Run, payload: Payload) -> None:
        with self.store.transaction():
            self.store.finish(run.key, payload)
            self.store.drop(run.former_keys)  # what it was in an earlier revision must not be counted beside it
        self.done += 1
        self.brisk = payload.elapsed_s < _BRISK_S
        self._tell("done", run)

    def _fail(self, run: Run, failure: Failure) -> None:
        with self.store.transaction():
            self.store.fail(run.key, failure.error, failure.traceback)
        self.failed += 1
        self.stopping = self.stopping or self.fail_fast
        self._tell("failed", run)

    def _suspect(self, run: Run) -> None:
        """A worker died that had this run, or shared a pool with one that had: it is tried alone, to find out."""
        if run.key in self.tried_alone and not self.stopping:
            self._fail(run, Failure(_WORKER_DIED, None))
        else:
            self.tried_alone.add(run.key)
            self.suspects.append(run)

    def _give_up(self, executor: Executor) -> None:
        """Take everything from an executor that no longer answers."""
        abandon(executor)
        self.broken = True
        for future in list(self.in_hand):
            self._suspect(self.in_hand.pop(future))

    def _tell(self, kind: Literal["started", "done", "failed", "stopping"], run: Run | None) -> None:
        self.on_event(Event(kind, run, self.kept + self.done, self.failed, self.total))


def shard(runs: Sequence[Run], text: str) -> tuple[Run, ...]:
    """Part `I` of `N` of the runs, in the order of all: as many in each part as in another, or one more.

    They are dealt out by what they cost and then by their keys, so that parts take about as long as each other; the
    order of the file's axes does not matter. What is added to a sweep may move a run to another part: a part that has
    done it already does no harm, as `initprobe merge` keeps the first of two results.

    Raises:
        ConfigError: not `I/N` with 1 <= I <= N.
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    if not found:
        raise ConfigError(f"--shard: {text!r} is not a part like 3/16")
    index, count = map(int, found.groups())
    if not 1 <= index <= count:
        raise ConfigError(f"--shard: {text}: the part must lie between 1 and {count}")
    dealt = sorted(runs, key=lambda run: (-cost(run.config).flops, run.key))
    mine = {run.key for run in dealt[index - 1 :: count]}
    return tuple(run for run in runs if run.key in mine)
