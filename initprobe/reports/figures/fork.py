"""A copy of this process that does one piece of work; it is used like `subprocess.Popen`."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import IO, NoReturn

Work = Callable[[IO[bytes], IO[bytes]], None]  # reads a request, writes the answer


def can_fork() -> bool:
    """Whether a copy of this process is safe: no library has started a thread yet.

    Other systems than Linux lack a fork that their libraries support.
    """
    return sys.platform == "linux" and "numpy" not in sys.modules and threading.active_count() == 1


class Fork:
    """A running copy of this process.

    Attributes:
        pid: its number.
        returncode: its exit code; negative for the number of a signal; None while it runs.
    """

    def __init__(self, work: Work) -> None:
        """Start the copy.

        Args:
            work: what the copy does before it ends.

        Raises:
            OSError: the system has no room for it.
        """
        request, self._request = os.pipe()
        self._answer, answer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about threads: those of the BLAS end before a fork
            self.pid = os.fork()
        if self.pid == 0:
            _work_and_end(work, (request, answer), (self._request, self._answer))
        self.returncode: int | None = None
        os.close(request)
        os.close(answer)
        self.stdin, self.stdout = os.fdopen(self._request, "wb"), os.fdopen(self._answer, "rb")

    def communicate(self, request: bytes) -> tuple[bytes, None]:
        """Send a request, and wait for the answer and the end."""
        with suppress(BrokenPipeError), self.stdin:
            self.stdin.write(request)
        with self.stdout:
            answer = self.stdout.read()
        self.wait()
        return answer, None

    def terminate(self) -> None:
        """Ask it to end."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> None:
        """Wait for its end."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def __enter__(self) -> Fork:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        with suppress(BrokenPipeError):
            self.stdin.close()
        self.wait()


def _work_and_end(work: Work, pipes: tuple[int, int], others: tuple[int, int]) -> NoReturn:
    """Work in the copy: it does not use the caller's stack, streams or exit functions."""
    try:
        atexit._clear()
        for number in others:
            os.close(number)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)
        work(os.fdopen(pipes[0], "rb"), os.fdopen(pipes[1], "wb"))
    finally:
        os._exit(1)  # the work has ended the process with its own exit code, if it succeeded
