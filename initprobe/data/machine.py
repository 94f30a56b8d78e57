"""The processors and the memory that this process may use, within the limits of its container.

Containers and batch systems limit a process by control groups of Linux. In version 2 these are `cpu.max` and
`memory.max`, in version 1 `cpu.cfs_quota_us` and `memory.limit_in_bytes`. Groups are nested, and the lowest limit
holds. A limit that cannot be read is ignored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/")
# The files of a control group of version 2, then of version 1.
_LIMITS, _USAGES = ("memory.max", "memory.limit_in_bytes"), ("memory.current", "memory.usage_in_bytes")
# File caches of a group, which are freed when it needs memory. Version 1 includes its subgroups.
_CACHES = ("active_file", "inactive_file"), ("total_active_file", "total_inactive_file")


def processors(root: Path = _ROOT) -> int:
    """Whole processors that this process may use, at least 1, by its affinity and the quotas of its groups.

    Args:
        root: the directory that holds `proc` and `sys`.
    """
    quotas = [quota for group in _groups(root, "cpu") if (quota := _quota(group)) is not None]
    return max(int(min([_affinity(), *quotas])), 1)


def memory_left(root: Path = _ROOT) -> int | None:
    """Bytes that this process may still allocate within the limits of its groups, at least 0; None without limits."""
    left = [bytes_left for group in _groups(root, "memory") if (bytes_left := _left(group)) is not None]
    return max(min(left), 0) if left else None


def available_bytes(root: Path = _ROOT) -> int:
    """Bytes that are free or used by caches only, within the limits of the groups of this process.

    Args:
        root: the directory that holds `proc` and `sys`.
    """
    free, left = _free(root), memory_left(root)
    return free if left is None else min(free, left)


def _free(root: Path) -> int:
    """Bytes that are free or used by caches only on the whole machine.

    On Linux the system's own estimate, as psutil reads it: to load psutil takes 5 ms.
    """
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, size = line.partition(":")
        if name == "MemAvailable":
            return 1024 * int(size.split()[0])
    import psutil

    return int(psutil.virtual_memory().available)


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Directories of the groups of this process, of both versions, innermost first."""
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, place = rest.partition(":")
        if number == "0" and not names:
            tops = [mount, mount / "unified"]
        elif controller in names.split(","):
            tops = [mount / name for name in dict.fromkeys((names, *names.split(",")))]
        else:
            continue
        for top in tops:
            yield from _upwards(top, place)


def _upwards(top: Path, place: str) -> Iterator[Path]:
    """A group and the groups around it. In a container the path may be the host's; its own group is then `top`."""
    parts = [part for part in place.split("/") if part not in ("", ".", "..")]
    for length in range(len(parts), -1, -1):
        yield top.joinpath(*parts[:length])


def _quota(group: Path) -> float | None:
    """Processors that a group may use; None without a limit."""
    quota, _, period = (_text(group / "cpu.max") or _first_version_quota(group)).partition(" ")
    with suppress(ValueError):
        if int(quota) > 0 and int(period) > 0:
            return int(quota) / int(period)
    return None


def _first_version_quota(group: Path) -> str:
    return f"{_text(group / 'cpu.cfs_quota_us')} {_text(group / 'cpu.cfs_period_us')}"


def _left(group: Path) -> int | None:
    """Bytes between the usage of a group and its limit; file caches do not count as used."""
    for limit, usage, caches in zip(_LIMITS, _USAGES, _CACHES, strict=True):
        with suppress(ValueError):
            return int(_text(group / limit)) - int(_text(group / usage)) + _cached(group, caches)
    return None


def _cached(group: Path, names: tuple[str, ...]) -> int:
    lines = [line.split() for line in _text(group / "memory.stat").splitlines()]
    return sum(int(line[1]) for line in lines if len(line) == 2 and line[0] in names and line[1].isdecimal())


def _text(path: Path) -> str:
    """The text of a small file, stripped; empty where it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
