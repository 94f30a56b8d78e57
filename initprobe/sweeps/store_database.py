"""A connection to a store's file, and SQLite's errors as errors of initprobe."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from initprobe.errors import InputError, OutputError


@contextmanager
def connected(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """Open a database in one of SQLite's modes: `ro` reads, `rw` reads and writes, `rwc` also makes the file.

    Args:
        path: of the database.
        mode: `ro`, `rw` or `rwc`.

    Raises:
        sqlite3.Error: SQLite cannot open the file.
    """
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
    connection.text_factory = _as_text
    try:
        yield connection
    finally:
        connection.close()


def _as_text(raw: bytes) -> str | bytes:
    """Text; bytes where it is not UTF-8, which `rows` refuses."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """Raise SQLite's errors from inside as errors about the file.

    Raises:
        InputError: the file is no database, or is damaged.
        OutputError: it cannot be opened or written.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_NOTADB:
            raise InputError("is not a store of initprobe's sweeps", file=path) from None
        if code == sqlite3.SQLITE_CORRUPT:
            raise InputError(f"the database is damaged; `sqlite3 {path} .recover` may save it", file=path) from None
        if code == sqlite3.SQLITE_CANTOPEN:
            raise OutputError("cannot be opened; is it in a directory that can be written?", file=path) from None
        raise OutputError(str(error), file=path) from None
