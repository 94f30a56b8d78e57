"""Records whose last fields wait until they are read: several threads, and work that fails."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from initprobe.results.base import Histogram
from initprobe.results.pending import Pending, pending

COMPLETE = Histogram(low=0.0, high=1.0, counts=(1, 2))


class PendingHistogram(Pending, Histogram):
    """Ends without counts yet."""


def waiting(work):
    return pending(PendingHistogram, work, {"low": 0.0, "high": 1.0})


@pytest.mark.parametrize("read", [lambda record: record.counts, dict], ids=["field", "fields"])
def test_threads_complete_a_record_once(read):
    """While one works, the others wait for it."""
    started, calls = threading.Event(), []

    def work():
        calls.append(started.set())
        threading.Event().wait(0.05)
        return {"counts": (1, 2)}

    record = waiting(work)

    def read_later():
        assert started.wait(10)
        return read(record)

    with ThreadPoolExecutor(3) as threads:
        reads = [threads.submit(read, record), threads.submit(read_later), threads.submit(read_later)]
        assert [each.result() for each in reads] == [read(COMPLETE)] * 3
    assert len(calls) == 1 and type(record) is Histogram


def test_a_record_is_read_again_after_its_work_failed():
    """As when Ctrl-C stops it."""
    outcomes = iter([KeyboardInterrupt, None])

    def work():
        if fault := next(outcomes):
            raise fault
        return {"counts": (1, 2)}

    record = waiting(work)
    with pytest.raises(KeyboardInterrupt):
        record.counts  # noqa: B018
    assert record == COMPLETE and type(record) is Histogram
