"""Threads that share blocks: every block is done once, in order, whatever fails. No work that was put off is lost."""

import threading
import time
from functools import partial

import numpy as np
import pytest

from initprobe.engine.threads import MOST_WAITING, workers

THREADS = [1, 2, 5]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_map_gives_results_in_order(threads, count):
    with workers(threads) as pool:
        assert pool.map(lambda block: block * block, range(count)) == [block * block for block in range(count)]


@pytest.mark.parametrize("threads", THREADS)
def test_deferred_work_is_done_by_the_end_with_its_results_in_order(threads):
    outcomes = {}
    with workers(threads) as pool:
        for task in range(3 * MOST_WAITING):
            blocks = range(task % 5 + 1)
            pool.later(lambda block, task=task: (task, block), blocks, partial(outcomes.__setitem__, task))
            pool.map(lambda block: block, range(4))
        pool.finish()
        assert outcomes == {task: [(task, block) for block in range(task % 5 + 1)] for task in range(3 * MOST_WAITING)}


def test_no_more_work_waits_than_the_limit():
    """Each waiting task keeps what it reads in memory, so the caller does some before it puts off more."""
    held, gate, begun = threading.Event(), threading.Event(), []
    with workers(2) as pool:
        pool.later(lambda _: (held.set(), gate.wait(10)), [0], lambda _: None)  # holds up the helper
        assert held.wait(10)
        for task in range(4 * MOST_WAITING):
            pool.later(begun.append, [task], lambda _: None)
        assert len(begun) >= 3 * MOST_WAITING - 1
        gate.set()
        pool.finish()
        assert sorted(begun) == [*range(4 * MOST_WAITING)]


@pytest.mark.parametrize("there_are", [0, 2])
def test_work_is_done_where_the_system_gives_no_more_threads(monkeypatch, there_are):
    start, started = threading.Thread.start, []

    def grudging(thread):
        if len(started) == there_are:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    with monkeypatch.context() as patch, workers(50) as pool:
        patch.setattr(threading.Thread, "start", grudging)
        outcomes = {}
        pool.later(lambda block: block, range(9), partial(outcomes.__setitem__, 0))
        assert pool.map(lambda block: block + 1, range(20)) == [*range(1, 21)]
        pool.finish()
        assert outcomes == {0: [*range(9)]}


class OneFaultError(Exception):
    pass


def fails(block):
    if block == 3:
        raise OneFaultError(block)
    return block


@pytest.mark.parametrize("threads", THREADS)
def test_a_fault_in_a_block_reaches_the_caller(threads):
    with pytest.raises(OneFaultError), workers(threads) as pool:
        pool.map(fails, range(9))


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("where", ["work", "then"])
def test_a_fault_in_deferred_work_reaches_the_caller(threads, where):
    def then(results):
        if where == "then":
            raise OneFaultError

    with pytest.raises(OneFaultError), workers(threads) as pool:
        pool.later(fails if where == "work" else abs, range(9), then)
        pool.finish()


@pytest.mark.parametrize("threads", THREADS)
def test_leaving_early_ends_the_helpers(threads):
    """Tasks that have not begun are dropped, as after Ctrl-C."""
    before, begun = threading.active_count(), []
    with pytest.raises(KeyboardInterrupt), workers(threads) as pool:
        for task in range(MOST_WAITING):
            pool.later(lambda task: (time.sleep(0.01), begun.append(task)), [task], lambda _: None)
        raise KeyboardInterrupt
    assert threading.active_count() == before
    assert len(begun) == MOST_WAITING or threads > 1


@pytest.mark.parametrize("threads", THREADS)
def test_overflow_is_no_warning_in_any_thread(threads):
    huge = np.float32(3e38)
    with workers(threads) as pool:
        pool.later(lambda _: huge * huge, range(8), lambda _: None)
        assert pool.map(lambda _: bool(np.isinf(huge * huge)), range(8)) == [True] * 8
        pool.finish()


@pytest.mark.parametrize("threads", THREADS)
def test_even_an_exit_reaches_the_caller(threads):
    def leave(block):
        raise SystemExit(4)

    with pytest.raises(SystemExit), workers(threads) as pool:
        pool.map(leave, range(9))
    with pytest.raises(SystemExit), workers(threads) as pool:
        pool.later(leave, range(9), lambda _: None)
        pool.finish()
