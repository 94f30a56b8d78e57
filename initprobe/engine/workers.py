"""Blocks of rows are the unit of work; threads share them, BLAS keeps to one thread.

BLAS gives other last bits with other thread counts, and its threads fight with ours. The blocks are fixed by the shapes
alone, so every number is the same at any thread count.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

Result = TypeVar("Result")

# About the number of entries that stays in a core's cache beside its float64 copy.
_CACHED_ENTRIES = 1 << 17
# Waking a thread takes as long as a block of so many entries.
_WORTH_A_THREAD = 1 << 16
# A product of fewer rows repacks its other factor too often; of more, it leaves threads without work.
_FEWEST_ROWS, _ENOUGH_ROWS, _MOST_ROWS = 64, 256, 512


def row_blocks(rows: int, columns: int) -> list[slice]:
    """Consecutive blocks of rows for a `(rows, columns)` matrix, the unit of work of a thread, fixed by the shape."""
    wanted = max(_CACHED_ENTRIES // columns, _ENOUGH_ROWS)
    half = max(math.ceil(rows / 2), _WORTH_A_THREAD // columns)
    step = max(min(wanted, _MOST_ROWS, half), _FEWEST_ROWS)
    return _slices(0, rows, step)


def cached(block: slice, columns: int) -> list[slice]:
    """The parts of a block that stay in cache while statistics are taken."""
    return _slices(block.start, block.stop, max(_CACHED_ENTRIES // columns, 1))


def _slices(start: int, stop: int, step: int) -> list[slice]:
    return [slice(first, min(first + step, stop)) for first in range(start, stop, step)]


def available_threads() -> int:
    """Processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


class Workers:
    """Runs a function over blocks and gives the results in block order."""

    def __init__(self, pool: ThreadPoolExecutor | None, helpers: int) -> None:
        self._pool, self._helpers = pool, helpers

    def map(self, work: Callable[[slice], Result], blocks: Sequence[slice]) -> list[Result]:
        """`work` of every block, in order.

        The calling thread takes blocks like the others: waking a sleeping thread costs as much as a small block.
        """
        results: dict[int, Result] = {}
        queue = enumerate(blocks)  # shared: handing out the next block is atomic

        def drain() -> None:
            # Overflow and NaN are what a probe looks for; they are counted, not warned of. Error states are per thread.
            with np.errstate(all="ignore"):
                for number, block in queue:
                    results[number] = work(block)

        helpers = min(self._helpers, len(blocks) - 1)
        waiting = [self._pool.submit(drain) for _ in range(helpers)] if self._pool else []
        drain()
        for helper in waiting:
            helper.result()
        return [results[number] for number in range(len(blocks))]


@contextmanager
def workers(threads: int) -> Iterator[Workers]:
    """Threads for the length of a probe, the calling one among them, with BLAS held to one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        if threads == 1:
            yield Workers(None, 0)
            return
        with ThreadPoolExecutor(threads - 1) as pool:
            yield Workers(pool, threads - 1)
