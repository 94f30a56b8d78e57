"""Blocks of rows are the unit of work; threads share them, BLAS keeps to one thread.

BLAS gives other last bits with other thread counts, and its threads fight with ours. The blocks are fixed by the shapes
alone, so every number is the same at any thread count.

Work comes in two kinds. What the next layer waits for is mapped: all threads take blocks of it, and it is over when the
call returns. What nothing waits for (statistics, weight gradients) is put off: threads take it up whenever they would
stand still, so that a layer of one block keeps two of them busy too.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

import numpy as np

from initprobe.data.machine import processors
from initprobe.errors import ConfigError
from initprobe.formatting import shown

Block = TypeVar("Block")
Result = TypeVar("Result")
Task = Callable[[], None]

MOST_THREADS = 1024

# Of fewer entries a pass over them is over before the next has got Python's lock; of more, they leave the caches.
_PART_ENTRIES = 1 << 19
# Narrow layers have longer blocks, up to so many entries; a tensor of no more than that is small.
SMALL = 1 << 17
# Handing a block to a sleeping thread takes as long as a block of so many entries.
_WORTH_A_THREAD = 1 << 16
# A product of fewer rows repacks its other factor too often; of more, it leaves threads without work.
_FEWEST_ROWS, _ENOUGH_ROWS, _MOST_ROWS = 64, 256, 512
# Tasks that may be put off: each holds what it reads.
MOST_WAITING = 24
# Of them, those that are left for whoever would stand still.
_RESERVE = 8


def row_blocks(rows: int, columns: int) -> list[slice]:
    """Consecutive blocks of rows for a `(rows, columns)` matrix, the unit of work of a thread, fixed by the shape."""
    wanted = max(SMALL // columns, _ENOUGH_ROWS)
    half = max(math.ceil(rows / 2), _WORTH_A_THREAD // columns)
    step = max(min(wanted, _MOST_ROWS, half), _FEWEST_ROWS)
    return _slices(0, rows, step)


def tallied_blocks(rows: int, columns: int) -> list[slice]:
    """The same for statistics alone, which do not mind how many rows there are: of a small matrix, all."""
    return _slices(0, rows, max(SMALL // columns, _ENOUGH_ROWS))


def cached(block: slice, columns: int) -> list[slice]:
    """The parts of a block that stay in cache while statistics are taken."""
    return _slices(block.start, block.stop, max(_PART_ENTRIES // columns, 1))


def _slices(start: int, stop: int, step: int) -> list[slice]:
    return [slice(first, min(first + step, stop)) for first in range(start, stop, step)]


def available_threads() -> int:
    """Processors this process may use."""
    return processors()


def checked_threads(threads: int | None) -> int:
    """So many threads, or as many as there are processors for None.

    Raises:
        ConfigError: fewer than one, or more than any machine has use for.
    """
    if threads is None:
        return available_threads()
    if not 1 <= threads <= MOST_THREADS:
        bound = "at least 1" if threads < 1 else f"at most {MOST_THREADS:,}"
        raise ConfigError(f"threads must be {bound}, not {shown(threads)}")
    return threads


class Workers:
    """Threads that share the blocks of what is to be done; the calling thread is one of them.

    `map`, `later` and `finish` are for the calling thread alone.
    """

    def __init__(self, helpers: int) -> None:
        self._urgent: deque[Task] = deque()
        self._waiting: deque[Task] = deque()
        self._tokens: SimpleQueue[bool] = SimpleQueue()  # True for every task in the two; False ends a helper
        self._over: SimpleQueue[BaseException | None] = SimpleQueue()
        self._unfinished = 0
        self._most = helpers
        self._helpers: list[threading.Thread] = []  # no more than there has been work for at a time

    def map(self, work: Callable[[Block], Result], blocks: Sequence[Block]) -> list[Result]:
        """`work` of every block, in order, before anything that was put off."""
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
        found = dict(results.get() for _ in blocks)
        return [_value(found[number]) for number in range(len(blocks))]

    def later(
        self, work: Callable[[Block], Result], blocks: Sequence[Block], then: Callable[[list[Result]], None]
    ) -> None:
        """Put off `work` of every block, and `then` of the results in block order; `finish` waits for it.

        What `work` reads must not change until then.
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
        """Do all that was put off."""
        with _quiet():
            while self._help():
                pass
        while self._unfinished:
            self._unfinished -= 1
            error = self._over.get()
            if error is not None:
                raise error

    def close(self) -> None:
        """End the helpers, and drop what they have not begun."""
        with suppress(Empty):
            while True:
                self._tokens.get_nowait()
        for _ in self._helpers:
            self._tokens.put(False)
        for helper in self._helpers:
            helper.join()

    def _start(self, tasks: int) -> None:
        """Have a helper for each of so many tasks, as far as threads were asked for."""
        while len(self._helpers) < min(self._most, tasks):
            helper = threading.Thread(target=self._serve, daemon=True)
            try:
                helper.start()
            except RuntimeError:  # the system gives no more; those that there are do the work
                self._most = len(self._helpers)
            else:
                self._helpers.append(helper)

    def _do(self, batch: _Batch[Block, Result], number: int, block: Block) -> None:
        self._over.put(batch.run(number, block))

    def _help(self) -> bool:
        """Take up one task; whether there was one."""
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
        """What others wait for, unless much has been put off: all but a reserve for whoever would stand still."""
        first, second = self._urgent, self._waiting
        if len(self._waiting) > _RESERVE:
            first, second = second, first
        try:
            return first.popleft()
        except IndexError:
            return second.popleft()


class _Batch(Generic[Block, Result]):
    """Blocks that any thread may do; the one that does the last goes on with the results."""

    def __init__(self, work: Callable[[Block], Result], size: int, then: Callable[[list[Result]], None]) -> None:
        self._work, self._then = work, then
        self._results: dict[int, Result] = {}
        self._left = iter(range(size - 1, -1, -1))  # shared: counting down is atomic

    def run(self, number: int, block: Block) -> BaseException | None:
        """Do a block; what went wrong, if anything did."""
        return _outcome(partial(self._run, number), block)

    def _run(self, number: int, block: Block) -> None:
        self._results[number] = self._work(block)
        if next(self._left) == 0:
            self._then([self._results[number] for number in range(len(self._results))])


def _outcome(work: Callable[[Block], Result], block: Block) -> Result | BaseException:
    """What `work` gives, or raises: what ends a helper's work, be it `sys.exit`, is for the calling thread."""
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
    """Overflow and NaN are what a probe looks for; they are counted, not warned of. Error states are per thread."""
    return np.errstate(all="ignore")


@contextmanager
def workers(threads: int) -> Iterator[Workers]:
    """Threads for the length of a probe, with BLAS held to one thread.

    Args:
        threads: how many, the calling thread included.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), _quiet():  # for theory and the verdict, too
        pool = Workers(threads - 1)
        try:
            yield pool
        finally:
            pool.close()
