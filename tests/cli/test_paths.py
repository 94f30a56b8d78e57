"""A path that cannot be used is one line and exit code 2, in every command and option."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from functools import cache, partial
from pathlib import Path

import click
import numpy as np
import pytest
from waiting import wait_until

import initprobe as initprobe_package
from initprobe.cli.app import COMMANDS, cli
from initprobe.cli.outputs import saving
from initprobe.data import files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes, devices and links of POSIX")
NET = ("--init", "he", "--act", "relu", "--layers", 2, "--width", 4, "--batch", 8, "--draws", 1)
QUICK = (*NET, "--no-figures")
SPECTRUM = ("--init", "he", "--act", "relu", "--layers", 2, "--width", 4, "--samples", 2, "--draws", 1)
SWEEP = """version: 1
name: test
defaults: {init: he, act: relu, layers: 2, width: 4, batch: 8, draws: 1}
checks: {healthy: true}
"""
READS = [
    ("sweep", "{}"),
    ("check", "{}"),
    ("validate", "{}"),
    ("results", "{}"),
    ("merge", "{}", "-o", "all.db"),
    ("diff", "{}", "{}"),
    ("show", "{}"),
    ("run", *QUICK, "--input", "{}"),
    ("run", *QUICK, "--input", "good.npy", "--batch", 4, "--loss", "mse", "--labels", "{}"),
    ("run", "--act", "relu", "--no-figures", "--weights", "{}"),
    ("compare", *NET, "--input", "{}"),
    ("spectrum", *SPECTRUM, "--input", "{}"),
    ("run", *QUICK, "--known", "{}"),
    ("check", "a.yaml", "--known", "{}"),
]
WRITES = [
    ("run", *NET, "-o", "{}"),
    ("run", *QUICK, "--export-json", "{}"),
    ("run", *QUICK, "--export-csv", "{}"),
    ("run", *QUICK, "--save-weights", "{}.npz"),
    ("compare", *NET, "--figure", "{}.png"),
    ("compare", *NET, "--export-json", "{}"),
    ("phase", "--act", "tanh", "--size", 4, "--figure", "{}.png"),
    ("phase", "--act", "tanh", "--size", 4, "--export-json", "{}"),
    ("explain", "tanh", "--figure", "{}.png"),
    ("spectrum", *SPECTRUM, "--export-json", "{}"),
    ("recommend", "--act", "tanh", "--layers", 2, "--width", 4, "--export-json", "{}"),
    ("sweep", "a.yaml", "-o", "{}"),
    ("sweep", "a.yaml", "--markdown", "{}"),
    ("check", "a.yaml", "--markdown", "{}"),
    ("check", "a.yaml", "--export-csv", "{}"),
    ("diff", "result.json", "result.json", "--markdown", "{}"),
    ("show", "result.json", "--export-csv", "{}"),
    ("show", "result.json", "-o", "{}"),
    ("run", *QUICK, "--fail-on", "error", "--junit", "{}"),
    ("run", *QUICK, "--write-known", "{}"),
    ("check", "a.yaml", "--junit", "{}"),
    ("check", "a.yaml", "--write-known", "{}"),
    ("diff", "result.json", "result.json", "--fail-on", "verdict", "--junit", "{}"),
    ("width", "--init", "he", "--act", "relu", "--widths", "4,8", "--fail-on", "error", "--junit", "{}"),
]
# Without the loop of links, which is a name that can be replaced where a file is written.
PATHS = ["n" * 300, "d/" * 3000 + "x", "a\x00b", "file.txt/x", "file.txt/x/y"]


@cache
def _result() -> str:
    config = initprobe_package.ProbeConfig(init="he", act="relu", layers=2, width=4, batch=8, draws=1)
    return initprobe_package.run(config).to_json()


@pytest.fixture
def place(tmp_path: Path, initprobe) -> Path:
    (tmp_path / "a.yaml").write_text(SWEEP)
    (tmp_path / "file.txt").write_text("text")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    np.save(tmp_path / "good.npy", np.random.default_rng(0).normal(size=(8, 3)))
    (tmp_path / "result.json").write_text(_result())
    return tmp_path


def _refused(outcome) -> str:
    """The one line that a call is refused by."""
    assert outcome.code == 2, outcome.err
    lines = [line for line in (outcome.err or outcome.out).splitlines() if line.strip()]
    assert len(lines) == 1, outcome.err
    assert len(lines[0]) < 1000
    return lines[0]


def _filled(args: tuple[object, ...], path: str) -> list[str]:
    return [str(arg).replace("{}", path) for arg in args]


def test_no_option_that_takes_a_path_is_left_out():
    """A new one is added to READS or WRITES. torch and recognize, whose library may be absent, have their own tests."""
    params = {(name, p) for name in COMMANDS for p in cli.get_command(click.Context(cli), name).params}
    takes = {
        (name, p.opts[-1])
        for name, p in params
        if name not in ("torch", "recognize")
        and any(word in str(p.metavar) for word in ("FILE", "DIR", "STORE"))
        and p.opts[0][0] == "-"
    }
    tried = {(args[0], option) for args in (*READS, *WRITES) for option in args if str(option).startswith("-")}
    long = {"-o": "--out"}
    tried = {(name, long.get(option, option)) for name, option in tried}
    # Of one function each: `outputs.check_exports`, which takes all exports of a command.
    shared = {
        "--export-json",
        "--export-csv",
        "--export-yaml",
        "--report",
        "--animate",
        "--sarif",
        "--markdown",
        "--figure",
        "--out",
        "--labels",
        "--weights",
    }
    assert {(name, option) for name, option in takes - tried if option not in shared} == set()


@pytest.mark.parametrize("args", READS, ids=lambda args: f"{args[0]}{args[-2]}")
def test_a_path_that_cannot_be_read_is_refused(initprobe, place, args):
    for path in (*PATHS, "loop", "folder", "pipe", "/dev/zero", "nothing"):
        if path == "nothing" and args[0] == "diff":
            args = ("diff", "result.json", "{}")  # OLD need not be there
        line = _refused(initprobe(*_filled(args, path if "--input" not in args else f"./{path}")))
        assert "Error" not in line.removeprefix("Error: ")


@pytest.mark.parametrize("args", WRITES, ids=lambda args: f"{args[0]}{args[-2]}")
def test_a_path_that_cannot_be_written_is_refused_before_the_work(initprobe, place, monkeypatch, args):
    monkeypatch.setattr("initprobe.probe.run._probe_network", lambda *_: pytest.fail("measured"))
    before = sorted(p.name for p in place.iterdir())
    for path in PATHS:
        _refused(initprobe(*_filled(args, path)))
        assert sorted(p.name for p in place.iterdir()) == before


@pytest.mark.parametrize("args", READS, ids=lambda args: f"{args[0]}{args[-2]}")
def test_a_path_without_permission_is_refused(initprobe, place, monkeypatch, args):
    """As an unprivileged user sees it; tests may be run by one who may look everywhere."""
    looked = Path.stat
    for code in (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE):

        def stat(self, code=code, **options):
            if self.name.startswith("secret"):
                raise OSError(code, os.strerror(code), str(self))
            return looked(self, **options)

        monkeypatch.setattr(Path, "stat", stat)
        assert os.strerror(code) in _refused(initprobe(*_filled(args, "./secret")))


def test_an_error_of_the_system_with_a_path_is_no_bug(initprobe, monkeypatch):
    def fail(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", "/some/\x1b[31mwhere")

    monkeypatch.setattr("initprobe.reports.console.console", fail)
    assert _refused(initprobe("list", "rules")) == "Error: /some/\\x1b[31mwhere: Permission denied"
    monkeypatch.setattr("initprobe.cli.commands.list._rules", partial(open, -1))
    assert initprobe("list", "rules").code == 70


def test_a_socket_is_refused_and_a_pipe_with_a_reader_is_written(initprobe, place):
    with socket.socket(socket.AF_UNIX) as here:
        here.bind("socket")
    assert "is a socket" in _refused(initprobe("show", "socket"))
    assert "nothing reads from this pipe" in _refused(initprobe("show", "result.json", "--export-csv", "pipe"))
    read = []
    reader = threading.Thread(target=lambda: read.append((place / "pipe").read_bytes()))
    reader.start()
    # Refused until the reader has opened it.
    wait_until(lambda: initprobe("show", "result.json", "--export-csv", "pipe").code == 0)
    reader.join(timeout=60)
    assert read[0].startswith(b"layer,")


@pytest.mark.parametrize(("args", "code"), [(NET, 2), (QUICK, 0)])
def test_a_deleted_working_directory_is_an_error_of_one_line(tmp_path, args, code):
    gone = str(tmp_path / "gone")
    script = f"import os; os.mkdir({gone!r}); os.chdir({gone!r}); os.rmdir({gone!r})"
    command = [sys.executable, "-c", f"{script}; from initprobe.cli.app import main; main()", "run", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert done.stderr == ("Error: the working directory no longer exists; change to another one\n" if code else "")


def test_a_name_that_no_text_can_hold_is_refused(initprobe, place):
    assert "is not UTF-8" in _refused(initprobe("run", *QUICK, "--input", "\udcff.npy"))


@pytest.mark.parametrize("saved", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("option", ["--input", "--weights"])
def test_an_archive_that_unpacks_to_gigabytes_is_not_unpacked(initprobe, place, monkeypatch, option, saved):
    monkeypatch.setattr(files, "_SMALL", 1_000_000)
    zeros = np.zeros((500, 500))
    saved("a.npz", **({"x": zeros} if option == "--input" else {"W1": zeros}))
    net = NET if option == "--input" else ("--act", "relu", "--batch", 8)
    outcome = initprobe("run", *net, "--no-figures", option, "a.npz")
    if saved is np.savez:
        assert outcome.code == 0, outcome.err
    else:
        assert "unpacks to 2 MB, too much for real data" in _refused(outcome)


def test_sizes_are_checked_first(initprobe, place, monkeypatch):
    with Path("big.json").open("wb") as file:
        file.truncate(1 << 41)
    assert "big.json: has 2,199 GB, and at most 1 GB of JSON are read" in _refused(initprobe("show", "big.json"))
    with Path("zeros.json").open("wb") as file:
        file.truncate(1 << 24)
    assert "begins with neither { nor [" in _refused(initprobe("show", "zeros.json"))
    assert "begins with neither { nor [" in _refused(initprobe("diff", "zeros.json", "result.json"))
    header = Path("good.npy").read_bytes()[:128].replace(b"(8, 3)", b"(8" + b"0" * 9 + b", 3)")[:128]
    Path("cut.npy").write_bytes(header + bytes(99))
    assert "declares 192,000,000,000 bytes and holds" in _refused(initprobe("run", *QUICK, "--input", "cut.npy"))
    monkeypatch.setattr(files, "available_bytes", lambda: 200)
    for name in ("good.npy", "good.csv"):
        np.savetxt("good.csv", np.zeros((9, 9)), delimiter=",")
        assert "of memory, and 200 bytes are free" in _refused(initprobe("run", *QUICK, "--input", name))


@pytest.mark.parametrize(("error", "is_saved"), [(BrokenPipeError, True), (KeyboardInterrupt, False)])
def test_files_are_written_though_the_reader_of_the_text_has_gone(error, is_saved, tmp_path):
    config = initprobe_package.ProbeConfig(init="xavier", act="tanh", layers=1, width=3, batch=3, draws=1)
    result = initprobe_package.run(config)
    with pytest.raises(error), saving(result, tmp_path, ()):
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"] * is_saved
