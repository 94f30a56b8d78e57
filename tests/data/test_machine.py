"""The processors and the memory that a process may use, in containers of both versions of control groups."""

import importlib.metadata
import os

import pytest

from initprobe.data import machine
from initprobe.data.machine import memory_left, processors
from initprobe.engine.threads import available_threads
from initprobe.reports.figures import drawer
from initprobe.results.environment import environment
from initprobe.results.release import release
from initprobe.sweeps.execution_pool import local_workers

NO_LIMIT_V1 = str((1 << 63) - 4096)


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def tree(root, cgroup, files):
    """A `/proc/self/cgroup` and a `/sys/fs/cgroup` below a root."""
    for name, text in ({"proc/self/cgroup": cgroup} | {f"sys/fs/cgroup/{name}": files[name] for name in files}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


QUOTAS = {
    "none": ("0::/", {"cpu.max": "max 100000"}, 8),
    "nothing there": ("", {}, 8),
    "version 2, two": ("0::/", {"cpu.max": "200000 100000"}, 2),
    "more than there are": ("0::/", {"cpu.max": "1600000 100000"}, 8),
    "two and a half": ("0::/", {"cpu.max": "250000 100000"}, 2),
    "half a processor": ("0::/", {"cpu.max": "50000 100000"}, 1),
    "another period": ("0::/", {"cpu.max": "150000 50000"}, 3),
    "nested, outer tighter": ("0::/a/b", {"a/b/cpu.max": "500000 100000", "a/cpu.max": "300000 100000"}, 3),
    "nested, inner tighter": ("0::/a/b", {"a/b/cpu.max": "300000 100000", "a/cpu.max": "max 100000"}, 3),
    "the host's path in a container": ("0::/docker/1f", {"cpu.max": "400000 100000"}, 4),
    "version 1": (
        "4:cpu,cpuacct:/a",
        {"cpu,cpuacct/a/cpu.cfs_quota_us": "300000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"},
        3,
    ),
    "version 1 by its short name": (
        "4:cpu,cpuacct:/",
        {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"},
        3,
    ),
    "version 1 without a quota": ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    "both versions": (
        "4:cpu:/\n0::/",
        {"cpu/cpu.cfs_quota_us": "500000", "cpu/cpu.cfs_period_us": "100000", "unified/cpu.max": "300000 100000"},
        3,
    ),
    "of another controller": ("4:cpuacct:/", {"cpuacct/cpu.cfs_quota_us": "1", "cpuacct/cpu.cfs_period_us": "1"}, 8),
    "no numbers": ("0::/", {"cpu.max": "many"}, 8),
    "a period of 0": ("0::/", {"cpu.max": "100000 0"}, 8),
}


@pytest.mark.parametrize("case", QUOTAS)
def test_processors_are_counted(case, tmp_path):
    cgroup, files, expected = QUOTAS[case]
    assert processors(tree(tmp_path, cgroup, files)) == expected


def test_affinity_counts_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert processors(tree(tmp_path, "0::/", {"cpu.max": "400000 100000"})) == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processors(tmp_path) == 1


LIMITS = {
    "none": ("0::/", {"memory.max": "max", "memory.current": "5000"}, None),
    "nothing there": ("", {}, None),
    "version 2": ("0::/", {"memory.max": "8000", "memory.current": "5000"}, 3000),
    "caches give way": (
        "0::/",
        {
            "memory.max": "8000",
            "memory.current": "5000",
            "memory.stat": "anon 1\nactive_file 100\ninactive_file 900\nfile 4000",
        },
        4000,
    ),
    "beyond its limit": ("0::/", {"memory.max": "5000", "memory.current": "8000"}, 0),
    "nested, outer tighter": (
        "0::/a/b",
        {"a/b/memory.max": "9000", "a/b/memory.current": "100", "a/memory.max": "8000", "a/memory.current": "6000"},
        2000,
    ),
    "nested, inner tighter": (
        "0::/a/b",
        {"a/b/memory.max": "1000", "a/b/memory.current": "100", "a/memory.max": "max", "a/memory.current": "6000"},
        900,
    ),
    "the host's path in a container": ("0::/docker/1f", {"memory.max": "700", "memory.current": "100"}, 600),
    "version 1": (
        "9:memory:/a",
        {
            "memory/a/memory.limit_in_bytes": "8000",
            "memory/a/memory.usage_in_bytes": "5000",
            "memory/a/memory.stat": "active_file 7\ntotal_inactive_file 500",
        },
        3500,
    ),
    "version 1 without a limit": (
        "9:memory:/",
        {"memory/memory.limit_in_bytes": NO_LIMIT_V1, "memory/memory.usage_in_bytes": "0"},
        int(NO_LIMIT_V1),
    ),
    "no numbers": ("0::/", {"memory.max": "much", "memory.current": "5000"}, None),
}


@pytest.mark.parametrize("case", LIMITS)
def test_available_memory_is_read(case, tmp_path):
    cgroup, files, expected = LIMITS[case]
    assert memory_left(tree(tmp_path, cgroup, files)) == expected


def test_unreadable_limits_are_ignored(tmp_path):
    root = tree(tmp_path, "0::/", {})
    (root / "sys/fs/cgroup/cpu.max").mkdir(parents=True)
    (root / "sys/fs/cgroup/memory.max").symlink_to("memory.max")
    (root / "proc/self/cgroup").write_bytes(b"0::/\n\xff\xfe")
    assert processors(root) == 8
    assert memory_left(root) is None


def test_the_tighter_of_machine_and_group_is_available(tmp_path, monkeypatch):
    free = machine.available_bytes(tmp_path)
    assert (
        machine.available_bytes(tree(tmp_path, "0::/", {"memory.max": "7000000", "memory.current": "2000000"})) == 5e6
    )
    assert machine.available_bytes(tree(tmp_path, "0::/", {"memory.max": str(2**60), "memory.current": "0"})) > free / 2


def test_all_code_counts_processors_in_one_place(monkeypatch):
    for quota, expected in ((8.0, 8), (3.9, 3), (0.2, 1)):
        monkeypatch.setattr(machine, "_quota", lambda group, quota=quota: quota)
        assert available_threads() == expected
        assert local_workers().jobs() == expected
        assert local_workers(2).threads == max(expected // 2, 1)
    assert not drawer._helps()


def test_a_missing_library_has_no_version(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    release.cache_clear()
    assert environment(1).initprobe == "unknown"
    release.cache_clear()  # the other tests have the true one
