"""Which initprobe this is."""

from __future__ import annotations

UNKNOWN = "unknown"


def release() -> str:
    """The version of initprobe; `unknown` where it is only on the path of modules, and not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("initprobe")
    except PackageNotFoundError:
        return UNKNOWN
