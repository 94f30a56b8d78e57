"""The results of sweeps in one SQLite file that survives anything.

One transaction a finished run: a process killed at any moment loses the runs in hand and nothing else. One process at a
time writes, guarded by a lock that dies with it; anybody may read meanwhile.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from initprobe.config import ProbeConfig
from initprobe.digest import Digest, digest
from initprobe.errors import ConfigError, InputError, OutputError
from initprobe.results import SCHEMA_VERSION, ProbeResult
from initprobe.sweep.packing import pack, unpack
from initprobe.sweep.runs import Run, Scalar

State = Literal["queued", "running", "done", "failed"]

# "iprb", so that `file` and we can tell a store from any other database; and the layout of its tables.
_APPLICATION_ID, _LAYOUT = 0x69707262, 2
_READ = (1, _LAYOUT)  # in layout 1, results are plain zlib
_TABLES = """
CREATE TABLE runs (
    key TEXT PRIMARY KEY,       -- hash of the configuration, its data and the schema of results
    position INTEGER NOT NULL,  -- in the sweep that asked last
    axes TEXT NOT NULL,         -- JSON: what sets the run apart in that sweep
    config TEXT NOT NULL,       -- JSON
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
    error TEXT,                 -- one line, of a failed run
    traceback TEXT,
    changed TEXT NOT NULL,      -- when the state did
    elapsed_s REAL,
    digest TEXT                 -- JSON: what tables need
);
-- Apart from the runs, which are read and moved by the thousand.
CREATE TABLE results (
    key TEXT PRIMARY KEY REFERENCES runs,
    result BLOB NOT NULL        -- JSON as `packing` packs it: everything
);
CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1), words TEXT NOT NULL);
"""
_NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
_PAGE = 200
_PATIENCE_S = 0.5


@dataclass(frozen=True)
class Row:
    """A run in a store, without its full result.

    Attributes:
        key: hash of the configuration.
        axes: what sets it apart in its sweep.
        config: the configuration as JSON text.
        state: of the run.
        error: one line, of a failed run.
        elapsed_s: seconds that it took.
        digest: of the result of a done run.
    """

    key: str
    axes: Mapping[str, Scalar]
    config: str
    state: State
    error: str | None
    elapsed_s: float | None
    digest: Digest | None


@dataclass(frozen=True)
class Payload:
    """A result on its way from a worker to the store."""

    elapsed_s: float
    digest: str
    result: bytes

    @classmethod
    def of(cls, result: ProbeResult) -> Payload:
        """Packed where the work was done, so that the process that writes need not."""
        whole = pack(result.to_json().encode())
        return cls(result.elapsed_s, digest(result).model_dump_json(), whole)


class Store:
    """An open store; made by `open_store` and `read_store`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self.path = connection, path

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is written inside."""
        with _faults(self.path):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:  # SQLite rolls back by itself where the disk is full
                    self._connection.execute("ROLLBACK")

    def enqueue(self, runs: Iterable[Run]) -> None:
        """Queue what is not done; a failed run, and one that was in hand when its process died, get another try."""
        rows = ((run.key, run.position, json.dumps(dict(run.axes)), run.config.model_dump_json()) for run in runs)
        with self.transaction():
            self._connection.executemany(
                "INSERT INTO runs (key, position, axes, config, state, changed) "
                f"VALUES (?, ?, ?, ?, 'queued', {_NOW}) ON CONFLICT (key) DO UPDATE SET "
                "position = excluded.position, axes = excluded.axes, error = NULL, traceback = NULL, "
                "state = CASE state WHEN 'done' THEN 'done' ELSE 'queued' END",
                rows,
            )

    def done(self) -> frozenset[str]:
        """Keys of the runs that need not be run."""
        with _faults(self.path):
            return frozenset(key for (key,) in self._connection.execute("SELECT key FROM runs WHERE state = 'done'"))

    def start(self, key: str) -> None:
        """Mark a run as in hand; inside a transaction."""
        self._set(key, state="running")

    def finish(self, key: str, payload: Payload) -> None:
        """Keep a result; inside a transaction."""
        self._set(key, state="done", elapsed_s=payload.elapsed_s, digest=payload.digest)
        self._connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (key, payload.result))

    def fail(self, key: str, error: str, traceback: str | None) -> None:
        """Keep what went wrong; inside a transaction."""
        self._set(key, state="failed", error=error, traceback=traceback)

    def requeue(self) -> None:
        """Put back what is in hand; inside a transaction."""
        self._connection.execute(f"UPDATE runs SET state = 'queued', changed = {_NOW} WHERE state = 'running'")

    def _set(self, key: str, **values: Any) -> None:
        columns = ", ".join(f"{name} = ?" for name in values)
        statement = f"UPDATE runs SET {columns}, changed = {_NOW} WHERE key = ?"
        self._connection.execute(statement, (*values.values(), key))

    def rows(self, keys: Sequence[str] | None = None) -> Iterator[Row]:
        """The runs in order, or those with these keys in theirs; read as they are asked for."""
        for values in self._select("key, axes, config, state, error, elapsed_s, digest", keys):
            key, axes, config, state, error, elapsed_s, found = values
            summary = Digest.model_validate_json(found) if found else None
            yield Row(key, json.loads(axes), config, state, error, elapsed_s, summary)

    def results(self, keys: Sequence[str] | None = None) -> Iterator[tuple[Row, ProbeResult]]:
        """The done runs in order with everything that was measured, one at a time."""
        for row in self.rows(keys):
            if row.state == "done":
                yield row, self.result(row.key)

    def result(self, key: str) -> ProbeResult:
        """Everything that was measured in one done run.

        Raises:
            InputError: there is no such run, or it is not done.
        """
        packed = self._packed(key)
        if packed is None:
            raise InputError(f"{self.path}: run {key} is not done")
        try:
            return ProbeResult.from_json(unpack(packed), f"{self.path}, run {key}")
        except zlib.error:
            raise InputError(f"{self.path}: the result of run {key} is damaged") from None

    def traceback(self, key: str) -> str | None:
        """Where a failed run failed."""
        with _faults(self.path):
            found = self._connection.execute("SELECT traceback FROM runs WHERE key = ?", (key,)).fetchone()
        return found[0] if found else None

    def keys(self) -> list[str]:
        """Keys of all runs, in order."""
        with _faults(self.path):
            return [key for (key,) in self._connection.execute("SELECT key FROM runs ORDER BY position, key")]

    def _select(self, columns: str, keys: Sequence[str] | None) -> Iterator[tuple[Any, ...]]:
        """`key` and `columns`, in pages: whoever reads slowly must not keep the one who writes from it."""
        wanted = self.keys() if keys is None else keys
        for start in range(0, len(wanted), _PAGE):
            page = wanted[start : start + _PAGE]
            marks = ", ".join("?" * len(page))
            with _faults(self.path):
                found = self._connection.execute(f"SELECT {columns} FROM runs WHERE key IN ({marks})", page).fetchall()
            by_key = {values[0]: values for values in found}
            yield from (by_key[key] for key in page if key in by_key)

    def absorb(self, other: Store) -> Merged:
        """Take over what another store holds: a done run beats any other, and the first of two results stays."""
        taken = known = differing = 0
        with self.transaction():
            for values in other._select("*", None):
                key, state = values[0], values[4]
                own = self._connection.execute("SELECT state FROM runs WHERE key = ?", (key,)).fetchone()
                if own and (own[0] == "done" or state != "done"):
                    known += 1
                    differing += own[0] == state == "done" and not self._agrees(other, key)
                    continue
                taken += 1
                marks = ", ".join("?" * len(values))
                self._connection.execute(f"INSERT OR REPLACE INTO runs VALUES ({marks})", values)
                if state == "done":
                    self._connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (key, other._packed(key)))
            self.requeue()  # what another store's process has in hand, this one's has not
        return Merged(taken, known, differing)

    def _packed(self, key: str) -> bytes | None:
        with _faults(self.path):
            found = self._connection.execute("SELECT result FROM results WHERE key = ?", (key,)).fetchone()
        return found[0] if found else None

    def _agrees(self, other: Store, key: str) -> bool:
        """Two results of one run agree, whenever and wherever they were made."""
        return self.result(key).layers == other.result(key).layers


@dataclass(frozen=True)
class Merged:
    """How a merge went: runs taken over, runs that were there already, and those of them with other numbers."""

    taken: int
    known: int
    differing: int


@contextmanager
def open_store(path: Path) -> Iterator[Store]:
    """Open a store to write to, made if need be; no other process can meanwhile.

    Raises:
        ConfigError: another process has it open; says which.
        InputError: the file is no store of this version.
        OutputError: it cannot be written.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path.parent} cannot be made: {error.strerror or error}") from None
        stack.enter_context(_lock(path))
        with _faults(path):
            connection = stack.enter_context(_connected(path, "rwc"))
            _prepare(connection, path)
            # A rollback journal beside the file, not a write-ahead log: that needs shared memory, which network file
            # systems lack. Without a sync at every step a power cut may cost the last runs, a kill never does.
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            connection.execute("PRAGMA synchronous = NORMAL")
            words = f"process {os.getpid()} on {platform.node()}"
            connection.execute("INSERT OR REPLACE INTO owner VALUES (1, ?)", (words,))
        store = Store(connection, path)
        with store.transaction():
            store.requeue()  # nobody has anything in hand now: whoever had was killed
        yield store


@contextmanager
def read_store(path: Path) -> Iterator[Store]:
    """Open a store to read, also while another process writes to it.

    Raises:
        InputError: there is no store of this version.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; `initprobe sweep` makes one")
    with ExitStack() as stack:
        with _faults(path):
            # Not read-only, where that can be: after a kill the reader may have to undo what was half-written.
            connection = stack.enter_context(_connected(path, "rw"))
            connection.execute("PRAGMA query_only = ON")
            _check_kind(connection, path)
        yield Store(connection, path)


@contextmanager
def _connected(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold an exclusive transaction on a file of its own: the one lock of SQLite's that dies with its process."""
    real = path.resolve()  # a link to a store has the store's lock
    beside = real.with_name(f".{real.name}.lock")  # never removed: who waits for it must not wait for another
    with _faults(path):
        # A moment's patience: of two that come at once, one must win.
        connection = sqlite3.connect(beside, isolation_level=None, timeout=_PATIENCE_S)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            connection.close()
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise ConfigError(f"{path}: {_owner(path)} writes to it; wait for it, or give another -o") from None
    try:
        yield
    finally:
        connection.close()


def _owner(path: Path) -> str:
    try:
        with _connected(path, "ro") as connection:
            return str(connection.execute("SELECT words FROM owner").fetchone()[0])
    except (sqlite3.Error, TypeError):
        return "another process"


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION_ID};"
                                 f"PRAGMA user_version = {_version(_LAYOUT)}; COMMIT;")  # fmt: skip
    _check_kind(connection, path)
    connection.execute(f"PRAGMA user_version = {_version(_LAYOUT)}")  # what is added an older version cannot read


def _version(layout: int) -> int:
    return layout * 1000 + SCHEMA_VERSION


def _check_kind(connection: sqlite3.Connection, path: Path) -> None:
    kind, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if kind != _APPLICATION_ID:
        raise InputError(f"{path}: a database, but not of initprobe's sweeps")
    if version not in map(_version, _READ):
        raise InputError(f"{path}: written by another version of initprobe; run the sweep anew with another -o")


@contextmanager
def _faults(path: Path) -> Iterator[None]:
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


def config_of(row: Row) -> ProbeConfig:
    """The experiment of a row, to run it again."""
    return ProbeConfig(**json.loads(row.config))
