"""One process at a time writes to a store. The name by which it opens the store, such as a link, does not matter.

The lock is taken on a file beside the store. The operating system frees it when its process dies, also after `kill -9`.
A hard link has another lock file beside it, so the store itself records which lock file guards it.
"""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from initprobe.data.files import reason
from initprobe.errors import ConfigError, OutputError

# Of two processes that start at the same moment, one must win.
_PATIENCE_S = 0.5
_POLL_S = 0.02
_GUARD = "CREATE TABLE IF NOT EXISTS guard (one INTEGER PRIMARY KEY CHECK (one = 1), lock TEXT, inode INTEGER)"


@contextmanager
def locked(path: Path) -> Iterator[Path]:
    """Hold the lock of a store while the context is open.

    Yields:
        The lock file, which is never removed: another process may wait for it.

    Raises:
        ConfigError: another process holds the lock; the message names that process.
        OutputError: the lock file cannot be written.
    """
    real = path.resolve()  # a link to a store has the store's lock
    lock_file = real.with_name(f".{real.name}.lock")
    lock = _lock_on(lock_file, _PATIENCE_S)
    try:
        lock.acquire()
    except Timeout:
        if not lock_file.exists():
            raise OutputError("cannot be opened; is it in a directory that can be written?", file=path) from None
        raise _taken(path) from None
    except OSError as error:
        raise OutputError(f"cannot be locked by {lock_file.name}: {reason(error)}", file=path) from None
    try:
        yield lock_file
    finally:
        lock.release()


def _lock_on(lock_file: Path, patience_s: float) -> FileLock:
    # Without the fallback to a marker file: after `kill -9` a marker would stay and block the store.
    return FileLock(lock_file, patience_s, poll_interval=_POLL_S, fallback_to_soft=False)


def claim(connection: sqlite3.Connection, path: Path, lock_file: Path) -> None:
    """Write into the store which process has it, and by which lock file.

    Args:
        connection: to the store.
        path: of the store.
        lock_file: beside the store.

    Raises:
        ConfigError: another process has the store open by another of the file's names.
    """
    inode = path.stat().st_ino
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_GUARD)
        guard = connection.execute("SELECT lock, inode FROM guard").fetchone()
        # A copy of a store has another inode, and the lock of the original does not concern it.
        if guard and guard[1] == inode and guard[0] != _stored(lock_file) and _is_held(guard[0]):
            raise _taken(path)
        owner = f"process {os.getpid()} on {platform.node()}"
        connection.execute("INSERT OR REPLACE INTO owner VALUES (1, ?)", (owner,))
        connection.execute("INSERT OR REPLACE INTO guard VALUES (1, ?, ?)", (_stored(lock_file), inode))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _stored(path: Path) -> str | bytes:
    """A path as the store holds it: text, or bytes where the name is not UTF-8."""
    try:
        return str(path).encode().decode()
    except UnicodeEncodeError:
        return os.fsencode(path)


def _is_held(recorded: object) -> bool:
    """Whether a process holds the recorded lock; False for a name that cannot be a lock file of ours."""
    name = os.fsdecode(recorded) if isinstance(recorded, str | bytes) else ""
    path = Path() if "\0" in name else Path(name)
    lock = _lock_on(path, 0)
    try:
        if not (path.is_absolute() and path.name.startswith(".") and path.suffix == ".lock" and path.is_file()):
            return False
        lock.acquire()
    except Timeout:
        return True
    except OSError:  # a name that is too long, or a file that cannot be opened
        return False
    lock.release()
    return False


def _taken(path: Path) -> ConfigError:
    return ConfigError(f"{_owner(path)} writes to it; wait for it, or give another -o", file=path)


def _owner(path: Path) -> str:
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
            return str(connection.execute("SELECT words FROM owner").fetchone()[0])
    except (sqlite3.Error, TypeError):
        return "another process"
