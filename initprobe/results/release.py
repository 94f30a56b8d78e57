"""The version of initprobe."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache

UNKNOWN = "unknown"


@lru_cache(maxsize=1)
def release() -> str:
    """The installed version; `unknown` where the package is only on `sys.path`."""
    from importlib.metadata import PackageNotFoundError, version

    with suppress(PackageNotFoundError):
        return version("initprobe")
    return UNKNOWN
