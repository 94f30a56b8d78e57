"""One process at a time writes to a store, by whatever name it comes: a link, a hard link, another directory.

The lock is an exclusive transaction on a file beside the store: the one lock of SQLite's that dies with its process,
on network file systems too. A hard link has another file beside it: the store itself says which one guards it.
"""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from initprobe.errors import ConfigError

_PATIENCE_S = 0.5
_GUARD = "CREATE TABLE IF NOT EXISTS guard (one INTEGER PRIMARY KEY CHECK (one = 1), lock TEXT, inode INTEGER)"


@contextmanager
def locked(path: Path) -> Iterator[Path]:
    """Hold the lock beside a store; yields its file, which is never removed: others may wait for it.

    Raises:
        ConfigError: another process holds it; says which.
    """
    real = path.resolve()  # a link to a store has the store's lock
    beside = real.with_name(f".{real.name}.lock")
    # A moment's patience: of two that come at once, one must win.
    with closing(sqlite3.connect(beside, isolation_level=None, timeout=_PATIENCE_S)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise _taken(path) from None
        yield beside


def claim(connection: sqlite3.Connection, path: Path, beside: Path) -> None:
    """Write into the store who has it, and by which lock.

    Raises:
        ConfigError: another process has it by another of the file's names.
    """
    inode = path.stat().st_ino
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_GUARD)
        guard = connection.execute("SELECT lock, inode FROM guard").fetchone()
        # A copy of a store, whose inode is another, has no part in the lock.
        if guard and guard[1] == inode and guard[0] != _stored(beside) and _is_held(guard[0]):
            raise _taken(path)
        words = f"process {os.getpid()} on {platform.node()}"
        connection.execute("INSERT OR REPLACE INTO owner VALUES (1, ?)", (words,))
        connection.execute("INSERT OR REPLACE INTO guard VALUES (1, ?, ?)", (_stored(beside), inode))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _stored(path: Path) -> str | bytes:
    """A path as the store holds it: as text, or as bytes where the name is not UTF-8."""
    try:
        return str(path).encode().decode()
    except UnicodeEncodeError:
        return os.fsencode(path)


def _is_held(lock: object) -> bool:
    """Whether a process has that lock; not where the store names a file that can be none."""
    name = os.fsdecode(lock) if isinstance(lock, str | bytes) else ""
    path = Path() if "\0" in name else Path(name)
    try:
        if not (path.is_absolute() and path.name.startswith(".") and path.suffix == ".lock" and path.is_file()):
            return False
    except OSError:  # a name that is too long
        return False
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0)) as other:
        try:
            other.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
    return False


def _taken(path: Path) -> ConfigError:
    return ConfigError(f"{path}: {_owner(path)} writes to it; wait for it, or give another -o")


def _owner(path: Path) -> str:
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
            return str(connection.execute("SELECT words FROM owner").fetchone()[0])
    except (sqlite3.Error, TypeError):
        return "another process"
