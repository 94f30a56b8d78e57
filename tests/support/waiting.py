"""Waiting for other processes and threads, for so long and no longer."""

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], object], limit_s: float = 60.0) -> None:
    """Look again and again until it holds; fail after `limit_s` seconds, so that no test waits for ever."""
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, f"waited {limit_s:g} s in vain"
        time.sleep(0.05)
