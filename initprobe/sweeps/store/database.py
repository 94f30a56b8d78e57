"""A connection to a store's file, and SQLite's complaints in one line."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from initprobe.errors import InputError, OutputError


@contextmanager
def connected(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """Open a database in a mode of SQLite's: `ro`, `rw` or `rwc`."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
    connection.text_factory = _as_text
    try:
        yield connection
    finally:
        connection.close()


def _as_text(raw: bytes) -> str | bytes:
    """What is no UTF-8 stays as it is; what reads the row refuses it."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """SQLite's complaints in one line."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_NOTADB:
            raise InputError(f"{path}: not a store of initprobe's sweeps") from None
        if code == sqlite3.SQLITE_CORRUPT:
            raise InputError(f"{path}: the database is damaged; `sqlite3 {path} .recover` may save it") from None
        if code == sqlite3.SQLITE_CANTOPEN:
            raise OutputError(f"{path} cannot be opened; is it in a directory that can be written?") from None
        raise OutputError(f"{path}: {error}") from None
