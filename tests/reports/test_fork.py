"""A copy of this process: it answers a request, and its failure is its own."""

import os
import signal
import sys
from pathlib import Path

import pytest

from initprobe.reports.figures.fork import Fork, can_fork

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no safe fork")


def _echo(request, answer):
    """Answer with the request and with what the copy has as streams."""
    answer.write(request.read() + bytes(Path("/proc/self/fd/1").readlink()))
    answer.flush()
    os._exit(0)


def _fail(request, answer):
    raise ZeroDivisionError


def test_the_copied_process_answers(capfd):
    with Fork(_echo) as fork:
        assert fork.communicate(b"x" * 200_000) == (b"x" * 200_000 + b"/dev/null", None)
    assert fork.returncode == 0


def test_an_error_ends_the_copy_alone(capfd):
    with Fork(_fail) as fork:
        assert fork.communicate(b"x" * 200_000) == (b"", None)
    assert fork.returncode == 1
    assert capfd.readouterr() == ("", "")


def test_it_ends_when_asked():
    with Fork(lambda request, answer: signal.pause()) as fork:
        fork.terminate()
    assert fork.returncode == -signal.SIGTERM
    fork.terminate()  # it has ended


def test_it_ends_with_its_caller():
    with Fork(_echo) as fork:  # its input ends, and nobody reads its answer
        pass
    assert fork.returncode == 1


def test_no_copy_of_a_process_that_may_run_threads():
    assert "numpy" in sys.modules
    assert not can_fork()
