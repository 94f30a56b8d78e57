"""Where a result was made: versions and machine."""

from __future__ import annotations

import platform

import numpy as np

from initprobe.results.release import release
from initprobe.results.summary import Environment


def environment(threads: int, torch: str | None = None) -> Environment:
    """This machine and what is installed on it; `torch` is the version of PyTorch that had a part in it."""
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
