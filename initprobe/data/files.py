"""Checks of a path before it is read: its kind, its size, and whether it fits into memory.

Only regular files are read. A device never ends, a pipe may wait without end, and neither has a size in advance.
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
from initprobe.errors import ConfigError, InputError, MemoryLimitError
from initprobe.formatting import shown

Kind = Literal["file", "directory", "pipe", "device", "socket", "nothing"]

# The directory of results, and the files in the directory of a sweep, and of a run.
DEFAULT_OUT = "initprobe-out"
STORE_FILE, RESULT_FILE = "sweep.db", "result.json"
# Limit for results as JSON. 5,000 layers take about 100 MB, and a parser needs ten times the size of the text.
MOST_JSON_BYTES = 1_000_000_000
_JSON_ROOM, _START = 10, 1 << 20
# Memory needed to read numbers as text, in units of the file's size.
CSV_ROOM = 4
_SHARE = 0.9
# Zeros compress to a thousandth of their size, real data to a fifth. A file that would grow more than this is refused.
_MOST_GROWTH, _SMALL = 20, 500_000_000


def reason(error: Exception) -> str:
    """The system's reason why a path cannot be used, in words."""
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return "nothing reads from this pipe"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "the name holds a NUL character" if "null" in str(error) else str(error)


def kind_of(path: Path) -> Kind:
    """What is at a path, links followed.

    Raises:
        InputError: the system does not say what is there.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be examined: {reason(error)}", file=path) from None
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"


def require_path(field: str, path: object) -> None:
    """Refuse an argument that is no path.

    Args:
        field: its name.
        path: its value.

    Raises:
        ConfigError: it is neither text nor a `Path`.
    """
    if not isinstance(path, str | Path):
        raise ConfigError(f"must be a path, not {shown(repr(path))}", field=field)


def is_file(path: Path) -> bool:
    """Whether a regular file is at a path.

    Raises:
        InputError: the system does not say what is there.
    """
    return kind_of(path) == "file"


def is_directory(path: Path) -> bool:
    """Whether a directory is at a path.

    Raises:
        InputError: the system does not say what is there.
    """
    return kind_of(path) == "directory"


def check_file(path: Path, fix: str = "name a file in it", missing: str = "") -> int:
    """Make sure that a path is a regular file which can be read.

    Args:
        path: the file.
        fix: advice for the error if the path is a directory.
        missing: end of the error, after `no such file`, if nothing is there.

    Returns:
        Its size in bytes.

    Raises:
        InputError: it is not a regular file, or cannot be read.
    """
    kind = kind_of(path)
    if kind == "nothing":
        raise InputError(f"no such file{missing}", file=path)
    if kind == "directory":
        raise InputError(f"is a directory; {fix}", file=path)
    if kind != "file":
        raise InputError(f"is a {kind}, whose size is unknown; save its content to a file first", file=path)
    with reading(path):
        if not os.access(path, os.R_OK):
            raise PermissionError(0, "Permission denied", str(path))
        return path.stat().st_size


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Errors of the system while a file is read are one line.

    Raises:
        InputError: an `OSError` inside.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot be read: {reason(error)}", file=path) from None


def read_json(path: Path) -> bytes:
    """The text of a JSON file, not parsed.

    Raises:
        InputError: there is no such file, or it is too large, empty, a database, or no JSON.
        MemoryLimitError: the parsed text would not fit into memory.
    """
    size = check_file(path)
    if size > MOST_JSON_BYTES:
        most = _size(MOST_JSON_BYTES)
        raise InputError(f"has {_size(size)}, and at most {most} of JSON are read; a sweep.db may be larger", file=path)
    check_room(path, _JSON_ROOM * size)
    with reading(path), path.open("rb") as file:
        start = file.read(_START)
        if not start:
            raise InputError("is empty", file=path)
        if start.startswith(b"SQLite format 3"):
            raise InputError("is a database, not JSON; `initprobe results` shows the store of a sweep", file=path)
        if size > len(start) and not start.lstrip().startswith((b"{", b"[")):
            raise InputError("is not JSON: it begins with neither { nor [", file=path)
        return start + file.read()


def check_room(path: Path, needed: int) -> None:
    """Make sure that `needed` bytes fit into memory.

    Args:
        path: of the file, for the error.
        needed: bytes.

    Raises:
        MemoryLimitError: they do not; names the bytes needed and the bytes free.
    """
    free = available_bytes()
    if needed > _SHARE * free:
        raise MemoryLimitError(
            f"takes {_size(needed)} of memory, and {_size(free)} are free; keep less in it", file=path
        )


def check_growth(path: Path, size: int, unpacked: int) -> None:
    """Make sure that a file of `size` bytes may be unpacked to `unpacked` bytes.

    Args:
        path: of the file, for the error.
        size: bytes on disk.
        unpacked: bytes in memory.

    Raises:
        InputError: it grows more than real data does.
        MemoryLimitError: it does not fit into memory.
    """
    if unpacked > _SMALL and unpacked > _MOST_GROWTH * size:
        raise InputError(
            f"has {_size(size)} and unpacks to {_size(unpacked)}, too much for real data. "
            "If it is right, save it by numpy.savez, not savez_compressed",
            file=path,
        )
    check_room(path, unpacked)


def _size(count: int) -> str:
    """A number of bytes with its unit."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:,.1f} {name}".replace(".0 ", " ")
    return f"{count} bytes"
