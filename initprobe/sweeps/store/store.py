"""The results of sweeps in one SQLite file that survives anything.

One transaction a finished run: a process killed at any moment loses the runs in hand and nothing else. One process at a
time writes, guarded by a lock that dies with it; anybody may read meanwhile.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initprobe.data.files import check_file, kind_of, reason
from initprobe.errors import DamagedRun, InputError, OutputError
from initprobe.results.digest import digest
from initprobe.results.run import ProbeResult
from initprobe.sweeps.runs import Run
from initprobe.sweeps.store.database import connected, faults
from initprobe.sweeps.store.lock import claim, locked
from initprobe.sweeps.store.packing import pack
from initprobe.sweeps.store.rows import COLUMNS, Row, damage, read_row, unpacked
from initprobe.sweeps.store.schema import check_kind, prepare

_NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
_NO_KEY = "typeof(key) != 'text' OR length(key) != 32 OR key GLOB '*[^0-9a-f]*'"
_PAGE = 200


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
    """An open store; made by `open_store` and `read_store`.

    Attributes:
        path: of the file.
        damage: of the runs that turned out to be damaged, a line each, by key; it grows as they are read.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self.path = connection, path
        self.damage: dict[str, str] = {}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is written inside."""
        with faults(self.path):
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
        query = "SELECT key FROM runs WHERE state = 'done' AND key IN (SELECT key FROM results)"
        with faults(self.path):
            return frozenset(key for (key,) in self._connection.execute(query))

    def drop(self, keys: Iterable[str]) -> None:
        """Forget runs; inside a transaction."""
        for key in keys:
            for table in ("results", "runs"):
                self._connection.execute(f"DELETE FROM {table} WHERE key = ?", (key,))

    def drop_damaged(self, keys: Sequence[str]) -> list[str]:
        """Forget those of these runs that are damaged, and rows that are of no run; a line for each, what it is.

        Everything of the runs is read, also what no table shows.
        """
        for row in self.rows(keys):
            with suppress(DamagedRun):
                if row.state == "done":
                    self.result(row.key)
        dropped = [key for key in keys if key in self.damage]
        lines = [f"{self.damage.pop(key)}; it is run again" for key in dropped]
        with faults(self.path):
            nameless = self._connection.execute(f"SELECT rowid FROM runs WHERE {_NO_KEY}").fetchall()
        lines += [f"{damage(self.path, f'row {number}', 'its key is no key')}; dropped" for (number,) in nameless]
        if lines:
            with self.transaction():
                self.drop(dropped)
                self._connection.execute(f"DELETE FROM runs WHERE {_NO_KEY}")
        return lines

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
        for number, *values in self._select(COLUMNS, keys):
            row = read_row(number, values)
            if row.state == "damaged":
                self.damage[row.key] = damage(self.path, row.key, row.error or "")
            yield row

    def results(self, keys: Sequence[str] | None = None) -> Iterator[tuple[Row, ProbeResult]]:
        """The done runs in order with everything that was measured, one at a time, without the damaged ones."""
        for row in self.rows(keys):
            if row.state == "done":
                try:
                    result = self.result(row.key)
                except DamagedRun:
                    continue
                yield row, result

    def result(self, key: str) -> ProbeResult:
        """Everything that was measured in one done run.

        Raises:
            InputError: there is no such run, or it is not done.
            DamagedRun: what the store holds of it cannot be read.
        """
        try:
            packed = self._packed(key)
            if packed is None:
                raise InputError(f"{self.path}: run {key} is not done")
            return unpacked(packed, self.path, key)
        except DamagedRun as error:
            self.damage[key] = str(error)
            raise

    def traceback(self, key: str) -> str | None:
        """Where a failed run failed."""
        with faults(self.path):
            found = self._connection.execute("SELECT traceback FROM runs WHERE key = ?", (key,)).fetchone()
        return found[0] if found else None

    def keys(self) -> list[str]:
        """Keys of all runs, in order."""
        with faults(self.path):
            found = self._connection.execute("SELECT key FROM runs ORDER BY position, key").fetchall()
        return [key for (key,) in found if isinstance(key, str)]

    def _select(self, columns: str, keys: Sequence[str] | None) -> Iterator[tuple[Any, ...]]:
        """A row's number and `columns`, in pages: a slow reader must not block the writer."""
        name = "rowid" if keys is None else "key"  # a damaged row may have no key
        if keys is None:
            with faults(self.path):
                listed = self._connection.execute("SELECT rowid FROM runs ORDER BY position, key").fetchall()
        wanted: Sequence[Any] = [number for (number,) in listed] if keys is None else keys
        for start in range(0, len(wanted), _PAGE):
            page = wanted[start : start + _PAGE]
            query = f"SELECT {name}, rowid, {columns} FROM runs WHERE {name} IN ({', '.join('?' * len(page))})"
            with faults(self.path):
                found = {key: values for key, *values in self._connection.execute(query, page)}
            yield from (tuple(found[key]) for key in page if key in found)

    def absorb(self, other: Store) -> Merged:
        """Take over what another store holds: a done run beats any other, and the first of two results stays.

        What is damaged is left where it is, and beaten by what is not.
        """
        counts = {"taken": 0, "known": 0, "differing": 0}
        with self.transaction():
            for row in other.rows():
                if row.state == "damaged":
                    continue
                try:
                    theirs = other.result(row.key) if row.state == "done" else None
                except DamagedRun:
                    continue
                counts[self._absorbed(other, row, theirs)] += 1
            self.requeue()  # what another store's process has in hand, this one's has not
        return Merged(counts["taken"], counts["known"] + counts["differing"], counts["differing"])

    def _absorbed(self, other: Store, row: Row, theirs: ProbeResult | None) -> str:
        """Take a run if there is none, or none that is done; what became of it."""
        own = next(self.rows([row.key]), None)
        if own and own.state != "damaged" and (own.state == "done" or theirs is None):
            try:
                agrees = own.state != "done" or theirs is None or self.result(row.key).layers == theirs.layers
                return "known" if agrees else "differing"
            except DamagedRun:
                pass
        self.damage.pop(row.key, None)
        if own and theirs is None and own.state == "damaged":
            self.drop([row.key])
        self._copy(other, row)
        return "taken"

    def _copy(self, other: Store, row: Row) -> None:
        columns = "position, axes, config, state, error, traceback, changed, elapsed_s, digest"
        _, position, *values = next(other._select(columns, [row.key]))
        place = position if isinstance(position, int) else 0
        self._connection.execute(
            f"INSERT OR REPLACE INTO runs (key, {columns}) VALUES ({', '.join('?' * 10)})", (row.key, place, *values)
        )
        if row.state == "done":
            self._connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (row.key, other._packed(row.key)))

    def _packed(self, key: str) -> Any:
        try:
            with faults(self.path):
                found = self._connection.execute("SELECT result FROM results WHERE key = ?", (key,)).fetchone()
        except InputError as error:
            raise DamagedRun(damage(self.path, key, str(error).partition(": ")[2])) from None
        return found[0] if found else None


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
        except (OSError, ValueError) as error:
            raise OutputError(f"{path.parent} cannot be made: {reason(error)}") from None
        if kind_of(path) not in ("file", "nothing"):
            raise OutputError(f"{path}: is a {kind_of(path)}; name a file for the store")
        _refuse_others(path)
        with faults(path):
            beside = stack.enter_context(locked(path))
            connection = stack.enter_context(connected(path, "rwc"))
            prepare(connection, path)
            # A rollback journal beside the file, not a write-ahead log: that needs shared memory, which network file
            # systems lack. Without a sync at every step a power cut may cost the last runs, a kill never does.
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            connection.execute("PRAGMA synchronous = NORMAL")
            claim(connection, path, beside)
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
    check_file(path, missing="; `initprobe sweep` makes one")
    with ExitStack() as stack:
        with faults(path):
            # Not read-only, where that can be: after a kill the reader may have to undo what was half-written.
            connection = stack.enter_context(connected(path, "rw"))
            connection.execute("PRAGMA query_only = ON")
            check_kind(connection, path)
        yield Store(connection, path)


def _refuse_others(path: Path) -> None:
    """Before anything is made beside it: a file that is there must be a store."""
    if kind_of(path) == "nothing":
        return
    with faults(path), connected(path, "rw") as connection:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            check_kind(connection, path)
