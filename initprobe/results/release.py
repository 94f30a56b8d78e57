"""The version of initprobe."""

from __future__ import annotations

UNKNOWN = "unknown"


def release() -> str:
    """The installed version; `unknown` where the package is only on `sys.path`."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("initprobe")
    except PackageNotFoundError:
        return UNKNOWN
