"""Where a result was made: versions and machine."""

from __future__ import annotations

import platform
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from initprobe.results.release import release
from initprobe.results.summary import Environment

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


def environment(threads: int, torch: str | None = None) -> Environment:
    """Describe this machine and the installed versions.

    Args:
        threads: that the probe used.
        torch: the version of PyTorch, if it was used.
    """
    blas = [f"{lib['internal_api']} {lib['version']}" for lib in thread_pools().info() if lib["user_api"] == "blas"]
    return Environment(
        initprobe=release(),
        python=platform.python_version(),
        numpy=np.__version__,
        blas=", ".join(blas) or "unknown",
        # `platform.processor()` and `platform.platform()` would start a process.
        processor=platform.machine(),
        platform=f"{platform.system()}-{platform.release()}-{platform.machine()}",
        threads=threads,
        torch=torch,
    )


def thread_pools() -> ThreadpoolController:
    """The thread pools of the libraries that are loaded. They are searched for again once a module was imported."""
    return _searched(len(sys.modules))


@lru_cache(maxsize=1)
def _searched(modules: int) -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
