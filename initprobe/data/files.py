"""Looking at paths that others name, before anything is read: what is there, and how large it is.

A file that is read is a regular one: a device never ends, a pipe waits for ever, and neither tells its size first.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from initprobe.data.machine import available_bytes
from initprobe.errors import InputError, MemoryLimitError

Kind = Literal["file", "directory", "pipe", "device", "socket", "nothing"]

# Results as JSON: 5,000 layers take about 100 MB, and a parser ten times as much as the text.
MOST_JSON_BYTES = 1_000_000_000
_JSON_ROOM, _START = 10, 1 << 20
# Numbers as text take more than a byte a digit while they are read.
CSV_ROOM = 4
_SHARE = 0.9
# Zeros shrink to a thousandth of their size, real data to a fifth: what grows more than this is not unpacked unasked.
_MOST_GROWTH, _SMALL = 20, 500_000_000


def reason(error: Exception) -> str:
    """Why a path cannot be used, in words."""
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return "nothing reads from this pipe"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "the name holds a NUL character" if "null" in str(error) else str(error)


def kind_of(path: Path) -> Kind:
    """What is at a path, links followed.

    Raises:
        InputError: it cannot be looked at; says why.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be looked at: {reason(error)}") from None
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"


def is_file(path: Path) -> bool:
    """There is a regular file.

    Raises:
        InputError: it cannot be looked at; says why.
    """
    return kind_of(path) == "file"


def is_directory(path: Path) -> bool:
    """There is a directory.

    Raises:
        InputError: it cannot be looked at; says why.
    """
    return kind_of(path) == "directory"


def check_file(path: Path, fix: str = "name a file in it", missing: str = "") -> int:
    """Make sure that a regular file is there and can be read; its size in bytes.

    Args:
        path: the file.
        fix: what to do where it is a directory.
        missing: what to say, after `no such file`, where there is none.

    Raises:
        InputError: it is not, or cannot; says why, and what to do.
    """
    found = kind_of(path)
    if found == "nothing":
        raise InputError(f"{path}: no such file{missing}")
    if found == "directory":
        raise InputError(f"{path}: is a directory; {fix}")
    if found != "file":
        raise InputError(f"{path}: is a {found}, whose size is unknown; save its content to a file first")
    with reading(path):
        if not os.access(path, os.R_OK):
            raise PermissionError(0, "Permission denied", str(path))
        return path.stat().st_size


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What the system says against reading is one line."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}") from None


def read_json(path: Path) -> bytes:
    """The text of a JSON file, which its reader is still to make sense of.

    Raises:
        InputError: there is no such file, a larger one, or a large one of something else.
        MemoryLimitError: what becomes of it does not fit into memory.
    """
    size = check_file(path)
    if size > MOST_JSON_BYTES:
        most = _size(MOST_JSON_BYTES)
        raise InputError(f"{path}: has {_size(size)}, and at most {most} of JSON are read; a sweep.db may be larger")
    check_room(path, _JSON_ROOM * size)
    with reading(path), path.open("rb") as file:
        start = file.read(_START)
        if size > len(start) and not start.lstrip().startswith((b"{", b"[")):
            raise InputError(f"{path}: cannot be read as JSON: it begins with neither {{ nor [")
        return start + file.read()


def check_room(path: Path, needed: int) -> None:
    """Make sure that what a file holds fits into memory.

    Raises:
        MemoryLimitError: it does not; says how much it is, and how much there is.
    """
    free = available_bytes()
    if needed > _SHARE * free:
        raise MemoryLimitError(f"{path}: takes {_size(needed)} of memory, and {_size(free)} are free; keep less in it")


def check_growth(path: Path, size: int, unpacked: int) -> None:
    """Make sure that a file of `size` bytes may be unpacked to so many.

    Raises:
        InputError: it grows more than real data does.
        MemoryLimitError: it does not fit into memory.
    """
    if unpacked > _SMALL and unpacked > _MOST_GROWTH * size:
        raise InputError(
            f"{path}: has {_size(size)} and unpacks to {_size(unpacked)}, which is not done unasked; "
            "if that is what you want, save it by numpy.savez, not savez_compressed"
        )
    check_room(path, unpacked)


def _size(count: int) -> str:
    """Bytes as people say them."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:,.1f} {name}".replace(".0 ", " ")
    return f"{count} bytes"
