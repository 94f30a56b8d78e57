"""Where a result was made: versions and machine."""

from __future__ import annotations

import platform

import numpy as np

from initprobe.results.release import release
from initprobe.results.summary import Environment


def environment(threads: int, torch: str | None = None) -> Environment:
    """Describe this machine and the installed versions.

    Args:
        threads: that the probe used.
        torch: the version of PyTorch, if it was used.
    """
    from threadpoolctl import threadpool_info

    blas = [f"{lib['internal_api']} {lib['version']}" for lib in threadpool_info() if lib["user_api"] == "blas"]
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
