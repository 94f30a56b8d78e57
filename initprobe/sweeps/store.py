"""The results of sweeps in one SQLite file. START READING HERE: `open_store` writes, `read_store` reads.

Each finished run is one transaction: a process that is killed loses the runs in progress and nothing else. One process
at a time writes, under a lock that is free when its process has ended. Any process may read in the meantime.
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
from initprobe.sweeps.store_database import connected, faults
from initprobe.sweeps.store_lock import claim, locked
from initprobe.sweeps.store_packing import pack
from initprobe.sweeps.store_rows import COLUMNS, Row, damage, read_row, unpacked
from initprobe.sweeps.store_schema import check_kind, prepare

_NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
_INVALID_KEY = "typeof(key) != 'text' OR length(key) != 32 OR key GLOB '*[^0-9a-f]*'"
_PAGE = 200


@dataclass(frozen=True)
class Payload:
    """A result as a worker sends it to the store.

    Attributes:
        elapsed_s: seconds that the run took.
        digest: the result's digest, as JSON.
        result: the whole result, packed.
    """

    elapsed_s: float
    digest: str
    result: bytes

    @classmethod
    def of(cls, result: ProbeResult) -> Payload:
        """Pack a result. Workers call it, so that the process that writes need not."""
        packed = pack(result.to_json().encode())
        return cls(result.elapsed_s, digest(result).model_dump_json(), packed)


class Store:
    """An open store; made by `open_store` and `read_store`.

    Attributes:
        path: the file.
        damage: one line per damaged run, by key; it grows as runs are read.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self.path = connection, path
        self.damage: dict[str, str] = {}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all that is written inside, or nothing."""
        with faults(self.path):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:  # on a full disk SQLite has rolled back already
                    self._connection.execute("ROLLBACK")

    def enqueue(self, runs: Iterable[Run]) -> None:
        """Queue the runs that are not done, also those that failed and those whose process died."""
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
        """Remove runs; to be called inside a transaction."""
        for key in keys:
            for table in ("results", "runs"):
                self._connection.execute(f"DELETE FROM {table} WHERE key = ?", (key,))

    def drop_damaged(self, keys: Sequence[str]) -> list[str]:
        """Remove the damaged ones of some runs, and the rows without a valid key.

        The runs are read as a whole, also the parts that no table shows.

        Returns:
            One line per removed row.
        """
        for row in self.rows(keys):
            with suppress(DamagedRun):
                if row.state == "done":
                    self.result(row.key)
        dropped = [key for key in keys if key in self.damage]
        lines = [f"{self.damage.pop(key)}; it is run again" for key in dropped]
        with faults(self.path):
            invalid = self._connection.execute(f"SELECT rowid FROM runs WHERE {_INVALID_KEY}").fetchall()
        lines += [f"{damage(self.path, f'row {number}', 'its key is no key')}; dropped" for (number,) in invalid]
        if lines:
            with self.transaction():
                self.drop(dropped)
                self._connection.execute(f"DELETE FROM runs WHERE {_INVALID_KEY}")
        return lines

    def start(self, key: str) -> None:
        """Mark a run as running; to be called inside a transaction."""
        self._set(key, state="running")

    def finish(self, key: str, payload: Payload) -> None:
        """Store a result; to be called inside a transaction.

        Args:
            key: of the run.
            payload: its result.
        """
        self._set(key, state="done", elapsed_s=payload.elapsed_s, digest=payload.digest)
        self._connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (key, payload.result))

    def fail(self, key: str, error: str, traceback: str | None) -> None:
        """Store why a run failed; to be called inside a transaction.

        Args:
            key: of the run.
            error: one line.
            traceback: of a bug; None for an error of the user.
        """
        self._set(key, state="failed", error=error, traceback=traceback)

    def requeue(self) -> None:
        """Queue the running runs again; to be called inside a transaction."""
        self._connection.execute(f"UPDATE runs SET state = 'queued', changed = {_NOW} WHERE state = 'running'")

    def _set(self, key: str, **values: Any) -> None:
        columns = ", ".join(f"{name} = ?" for name in values)
        statement = f"UPDATE runs SET {columns}, changed = {_NOW} WHERE key = ?"
        self._connection.execute(statement, (*values.values(), key))

    def rows(self, keys: Sequence[str] | None = None) -> Iterator[Row]:
        """The runs in order, read in pages; with `keys`, those runs in the order of the keys."""
        for number, *values in self._select(COLUMNS, keys):
            row = read_row(number, values)
            if row.state == "damaged":
                self.damage[row.key] = damage(self.path, row.key, row.error or "")
            yield row

    def results(self, keys: Sequence[str] | None = None) -> Iterator[tuple[Row, ProbeResult]]:
        """The done runs with their results, one at a time, without the damaged runs; order as of `rows`."""
        for row in self.rows(keys):
            if row.state == "done":
                try:
                    result = self.result(row.key)
                except DamagedRun:
                    continue
                yield row, result

    def result(self, key: str) -> ProbeResult:
        """The result of one done run.

        Raises:
            InputError: there is no such run, or it is not done.
            DamagedRun: its result cannot be read.
        """
        try:
            packed = self._packed(key)
            if packed is None:
                raise InputError(f"run {key} is not done", file=self.path)
            return unpacked(packed, self.path, key)
        except DamagedRun as error:
            self.damage[key] = str(error)
            raise

    def traceback(self, key: str) -> str | None:
        """The traceback of a failed run; None for a fault of the user."""
        with faults(self.path):
            row = self._connection.execute("SELECT traceback FROM runs WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def keys(self) -> list[str]:
        """The keys of all runs, in order."""
        with faults(self.path):
            rows = self._connection.execute("SELECT key FROM runs ORDER BY position, key").fetchall()
        return [key for (key,) in rows if isinstance(key, str)]

    def _select(self, columns: str, keys: Sequence[str] | None) -> Iterator[tuple[Any, ...]]:
        """The number and the `columns` of each row. They are read in pages: a slow reader must not block the writer."""
        name = "rowid" if keys is None else "key"  # a damaged row may have no valid key
        if keys is None:
            with faults(self.path):
                listed = self._connection.execute("SELECT rowid FROM runs ORDER BY position, key").fetchall()
        wanted: Sequence[Any] = [number for (number,) in listed] if keys is None else keys
        for start in range(0, len(wanted), _PAGE):
            page = wanted[start : start + _PAGE]
            query = f"SELECT {name}, rowid, {columns} FROM runs WHERE {name} IN ({', '.join('?' * len(page))})"
            with faults(self.path):
                rows = {key: values for key, *values in self._connection.execute(query, page)}
            yield from (tuple(rows[key]) for key in page if key in rows)

    def absorb(self, other: Store) -> Merged:
        """Take over the runs of another store.

        A done run replaces one that is not done. Of two results this store's result stays. Damaged runs are not taken,
        and are replaced by runs that are not damaged.
        """
        counts = {"taken": 0, "kept": 0, "differing": 0}
        with self.transaction():
            for row in other.rows():
                if row.state == "damaged":
                    continue
                try:
                    theirs = other.result(row.key) if row.state == "done" else None
                except DamagedRun:
                    continue
                counts[self._absorbed(other, row, theirs)] += 1
            self.requeue()  # a run that is running for the other store is not running for this one
        return Merged(counts["taken"], counts["kept"] + counts["differing"], counts["differing"])

    def _absorbed(self, other: Store, row: Row, theirs: ProbeResult | None) -> str:
        """Take a run unless this store has it done; returns which count it belongs to."""
        own = next(self.rows([row.key]), None)
        if own and own.state != "damaged" and (own.state == "done" or theirs is None):
            try:
                agrees = own.state != "done" or theirs is None or self.result(row.key).layers == theirs.layers
                return "kept" if agrees else "differing"
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
                row = self._connection.execute("SELECT result FROM results WHERE key = ?", (key,)).fetchone()
        except InputError as error:
            raise DamagedRun(damage(self.path, key, error.text)) from None
        return row[0] if row else None


@dataclass(frozen=True)
class Merged:
    """The counts of a merge.

    Attributes:
        taken: runs taken over.
        kept: runs that the store had already.
        differing: those of the kept runs whose results differ.
    """

    taken: int
    kept: int
    differing: int


@contextmanager
def open_store(path: Path) -> Iterator[Store]:
    """Open a store to write, and make it where there is none. No other process can write to it in the meantime.

    Raises:
        ConfigError: another process writes to it; the message names that process.
        InputError: the file is no store of this version.
        OutputError: it cannot be written.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot be made: {reason(error)}", file=path.parent) from None
        if kind_of(path) not in ("file", "nothing"):
            raise OutputError(f"is a {kind_of(path)}; name a file for the store", file=path)
        _refuse_others(path)
        with faults(path):
            lock_file = stack.enter_context(locked(path))
            connection = stack.enter_context(connected(path, "rwc"))
            prepare(connection, path)
            # A rollback journal, because a write-ahead log needs shared memory, which network file systems lack.
            # Without a sync at every step a power failure may lose the last runs; a killed process never does.
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            connection.execute("PRAGMA synchronous = NORMAL")
            stack.callback(_remove_journal, connection)
            claim(connection, path, lock_file)
        store = Store(connection, path)
        with store.transaction():
            store.requeue()  # no run is running now: the process that had one was killed
        yield store


@contextmanager
def read_store(path: Path) -> Iterator[Store]:
    """Open a store to read, also while another process writes to it.

    Raises:
        InputError: there is no file, or it is no store of this version.
    """
    check_file(path, missing="; `initprobe sweep` makes one")
    with ExitStack() as stack:
        with faults(path):
            # Not read-only: after a kill the reader may have to undo a transaction that was half written.
            connection = stack.enter_context(connected(path, "rw"))
            connection.execute("PRAGMA query_only = ON")
            check_kind(connection, path)
        yield Store(connection, path)


def _remove_journal(connection: sqlite3.Connection) -> None:
    """Remove the empty journal, which the mode TRUNCATE leaves beside the store."""
    with suppress(sqlite3.Error):  # the results are stored all the same
        connection.execute("PRAGMA journal_mode = DELETE")


def _refuse_others(path: Path) -> None:
    """Refuse a file that is no store, before anything is made beside it."""
    if kind_of(path) == "nothing":
        return
    with faults(path), connected(path, "rw") as connection:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            check_kind(connection, path)
