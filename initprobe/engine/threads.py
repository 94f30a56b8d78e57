"""Threads that share blocks of rows, the unit of work; BLAS has one thread.

With another number of threads BLAS gives other last bits, and its threads compete with ours. Our blocks are fixed by
the shapes alone, so every number is the same at any number of threads.

There are two kinds of work:

- `map`: the next layer waits for it. All threads take blocks of it, and it is done when the call returns.
- `later`: nothing waits for it (statistics, weight gradients). Threads take it when they would otherwise wait, so even
  a layer of one block keeps two threads busy. `finish` must be called before the arrays that it reads change;
  `probe.buffers` lists them.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from numbers import Integral
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

import numpy as np

from initprobe.data.machine import processors
from initprobe.errors import ConfigError
from initprobe.formatting import shown
from initprobe.results.environment import thread_pools

Block = TypeVar("Block")
Result = TypeVar("Result")
Task = Callable[[], None]

MOST_THREADS = 1024

# Entries of a part whose statistics are taken at once. A pass over fewer entries ends before another thread has got
# Python's lock; more entries leave the caches.
_PART_ENTRIES = 1 << 19
# Blocks of narrow layers have more rows, up to so many entries. A tensor with no more entries is small.
SMALL = 1 << 17
# Waking a thread for a block takes as long as working on so many entries.
_WORTH_A_THREAD = 1 << 16
# Rows of a block. A product of fewer rows repacks its other factor too often; more rows leave threads without work.
_FEWEST_ROWS, _ENOUGH_ROWS, _MOST_ROWS = 64, 256, 512
# Tasks that may wait; each keeps the arrays that it reads in memory.
MOST_WAITING = 24
# Waiting tasks that are reserved for threads without other work.
_RESERVE = 8


def row_blocks(rows: int, columns: int) -> list[slice]:
    """Consecutive blocks of rows of a `(rows, columns)` matrix, each the work of one thread; the shape decides.

    Args:
        rows, columns: of the matrix.
    """
    return _slices(0, rows, block_rows(rows, columns))


def block_rows(rows: int, columns: int) -> int:
    """Rows of each of `row_blocks` but the last.

    Args:
        rows, columns: of the matrix.
    """
    half = max(math.ceil(rows / 2), _WORTH_A_THREAD // columns)
    return max(min(tallied_rows(columns), _MOST_ROWS, half), _FEWEST_ROWS)


def tallied_blocks(rows: int, columns: int) -> list[slice]:
    """The same for statistics, which need no limit to the rows: a small matrix is one block.

    Args:
        rows, columns: of the matrix.
    """
    return _slices(0, rows, tallied_rows(columns))


def tallied_rows(columns: int) -> int:
    """Rows of each of `tallied_blocks` but the last."""
    return max(SMALL // columns, _ENOUGH_ROWS)


def cached(block: slice, columns: int) -> list[slice]:
    """The parts of a block of rows that fit in cache while their statistics are taken.

    Args:
        block, columns: rows of a matrix, and the number of its columns.
    """
    return _slices(block.start, block.stop, max(_PART_ENTRIES // columns, 1))


def _slices(start: int, stop: int, step: int) -> list[slice]:
    return [slice(first, min(first + step, stop)) for first in range(start, stop, step)]


def available_threads() -> int:
    """Processors that this process may use."""
    return processors()


def checked_threads(threads: int | None) -> int:
    """The number of threads to use: `threads`, or the available processors for None.

    Raises:
        ConfigError: it is not a whole number, below 1 or above `MOST_THREADS`.
    """
    if threads is None:
        return available_threads()
    if not isinstance(threads, Integral):
        raise ConfigError(f"must be a whole number, not {shown(repr(threads))}", field="threads")
    if not 1 <= threads <= MOST_THREADS:
        bound = "at least 1" if threads < 1 else f"at most {MOST_THREADS:,}"
        raise ConfigError(f"must be {bound}, not {shown(threads)}", field="threads")
    return threads


class Workers:
    """Threads that share blocks of work: the calling thread and its helpers.

    Only the calling thread may call `map`, `later` and `finish`.
    """

    def __init__(self, helpers: int) -> None:
        """Start with no thread; `helpers` are the most that are started when there is work for them."""
        self._urgent: deque[Task] = deque()
        self._waiting: deque[Task] = deque()
        self._tokens: SimpleQueue[bool] = SimpleQueue()  # True for each task in these two; False ends a helper
        self._over: SimpleQueue[BaseException | None] = SimpleQueue()
        self._unfinished = 0
        self._most = helpers
        self._helpers: list[threading.Thread] = []  # started so far

    def map(self, work: Callable[[Block], Result], blocks: Sequence[Block]) -> list[Result]:
        """The results of `work` on every block, in order; done before any work that was put off.

        Args:
            work: done for each block, in threads.
            blocks: in order.
        """
        if not self._most or len(blocks) == 1:
            with _quiet():
                return [work(block) for block in blocks]
        results: SimpleQueue[tuple[int, Result | BaseException]] = SimpleQueue()
        queue = enumerate(blocks)  # shared: handing out the next block is atomic

        def drain() -> None:
            for number, block in queue:
                results.put((number, _outcome(work, block)))

        self._start(len(blocks) - 1)
        for _ in range(min(len(self._helpers), len(blocks) - 1)):
            self._urgent.append(drain)
            self._tokens.put(True)
        with _quiet():
            drain()
            while results.qsize() < len(blocks) and self._help():
                pass
        outcomes = dict(results.get() for _ in blocks)
        return [_value(outcomes[number]) for number in range(len(blocks))]

    def later(
        self, work: Callable[[Block], Result], blocks: Sequence[Block], then: Callable[[list[Result]], None]
    ) -> None:
        """Put off `work` on every block; `finish` waits for it.

        What `work` reads must not change until `finish` has returned.

        Args:
            work: on one block, in any thread.
            blocks: of the work.
            then: called with the results in the order of the blocks, in the thread that did the last block.
        """
        if not self._most:
            with _quiet():
                then([work(block) for block in blocks])
            return
        batch = _Batch(work, len(blocks), then)
        self._unfinished += len(blocks)
        self._start(len(self._waiting) + len(blocks))
        for number, block in enumerate(blocks):
            self._waiting.append(partial(self._do, batch, number, block))
            self._tokens.put(True)
        with _quiet():
            while len(self._waiting) > MOST_WAITING and self._help():
                pass

    def finish(self) -> None:
        """Do all work that was put off; raise the first error in it.

        Raises:
            Exception: the first error that work has raised.
        """
        with _quiet():
            while self._help():
                pass
        while self._unfinished:
            self._unfinished -= 1
            error = self._over.get()
            if error is not None:
                raise error

    def close(self) -> None:
        """End the helpers and drop the tasks that have not begun."""
        with suppress(Empty):
            while True:
                self._tokens.get_nowait()
        for _ in self._helpers:
            self._tokens.put(False)
        for helper in self._helpers:
            helper.join()

    def _start(self, tasks: int) -> None:
        """Start helpers, up to one for each of so many tasks and up to the most that were asked for."""
        while len(self._helpers) < min(self._most, tasks):
            helper = threading.Thread(target=self._serve, daemon=True)
            try:
                helper.start()
            except RuntimeError:  # the system starts no more threads; the others do the work
                self._most = len(self._helpers)
            else:
                self._helpers.append(helper)

    def _do(self, batch: _Batch[Block, Result], number: int, block: Block) -> None:
        self._over.put(batch.run(number, block))

    def _help(self) -> bool:
        """Do one task; False if there was none."""
        try:
            self._tokens.get_nowait()
        except Empty:
            return False
        self._next()()
        return True

    def _serve(self) -> None:
        with _quiet():
            while self._tokens.get():
                self._next()()

    def _next(self) -> Task:
        """The next task: of `map` first, unless more than the reserve of `later` is waiting."""
        first, second = self._urgent, self._waiting
        if len(self._waiting) > _RESERVE:
            first, second = second, first
        try:
            return first.popleft()
        except IndexError:
            return second.popleft()


class _Batch(Generic[Block, Result]):
    """The blocks of one piece of work that was put off; the thread that does the last one calls `then`."""

    def __init__(self, work: Callable[[Block], Result], size: int, then: Callable[[list[Result]], None]) -> None:
        self._work, self._then = work, then
        self._results: dict[int, Result] = {}
        self._left = iter(range(size - 1, -1, -1))  # shared: counting down is atomic

    def run(self, number: int, block: Block) -> BaseException | None:
        """Do a block; returns the error, or None."""
        return _outcome(partial(self._run, number), block)

    def _run(self, number: int, block: Block) -> None:
        self._results[number] = self._work(block)
        if next(self._left) == 0:
            self._then([self._results[number] for number in range(len(self._results))])


def _outcome(work: Callable[[Block], Result], block: Block) -> Result | BaseException:
    """The result of `work`, or the error that it raised, `SystemExit` included: it is raised in the calling thread."""
    try:
        return work(block)
    except KeyboardInterrupt:
        raise  # only the calling thread is interrupted
    except BaseException as error:
        return error


def _value(outcome: Result | BaseException) -> Result:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _quiet() -> np.errstate:
    """No warnings of overflow and NaN, which a probe counts. NumPy keeps this setting per thread."""
    return np.errstate(all="ignore")


@contextmanager
def workers(threads: int) -> Iterator[Workers]:
    """Threads for the length of a probe, with BLAS held to one thread.

    Args:
        threads: how many, the calling thread included.
    """
    with thread_pools().limit(limits=1, user_api="blas"), _quiet():  # for theory and diagnosis too
        pool = Workers(threads - 1)
        try:
            yield pool
        finally:
            pool.close()
