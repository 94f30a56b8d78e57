"""The tables of a store, and how a store is distinguished from other databases and from stores of other versions."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from initprobe.errors import InputError
from initprobe.results.base import SCHEMA_VERSION

# "iprb", by which `file` and initprobe recognise a store; and the number of the layout of its tables.
_APPLICATION_ID, _LAYOUT = 0x69707262, 2
_READABLE = (1, _LAYOUT)  # in layout 1, results are plain zlib
_TABLES = """
CREATE TABLE runs (
    key TEXT PRIMARY KEY,       -- hash of the configuration, its data and the schema of results
    position INTEGER NOT NULL,  -- in the sweep that asked last
    axes TEXT NOT NULL,         -- JSON: the values that differ within that sweep
    config TEXT NOT NULL,       -- JSON
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
    error TEXT,                 -- one line, of a failed run
    traceback TEXT,
    changed TEXT NOT NULL,      -- when the state changed
    elapsed_s REAL,
    digest TEXT                 -- JSON: the numbers that tables show
);
-- Apart from the runs, of which thousands are read at once.
CREATE TABLE results (
    key TEXT PRIMARY KEY REFERENCES runs,
    result BLOB NOT NULL        -- the whole result: JSON as `packing` packs it
);
CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1), words TEXT NOT NULL);
"""


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables in an empty database. Mark a store of an older layout as one of the current layout.

    Args:
        connection, path: of the database.

    Raises:
        InputError: the database is no store that this version can read.
    """
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION_ID};"
                                 f"PRAGMA user_version = {_version(_LAYOUT)}; COMMIT;")  # fmt: skip
    check_kind(connection, path)
    connection.execute(f"PRAGMA user_version = {_version(_LAYOUT)}")  # older versions cannot read what is added now


def _version(layout: int) -> int:
    return layout * 1000 + SCHEMA_VERSION


def check_kind(connection: sqlite3.Connection, path: Path) -> None:
    """Make sure that a database is a store that this version can read.

    Args:
        connection, path: of the database.

    Raises:
        InputError: it is another database, or a store of another version.
    """
    kind, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if kind != _APPLICATION_ID:
        raise InputError("is a database, but not of initprobe's sweeps", file=path)
    if version > _version(_LAYOUT):
        raise InputError("is written by a later version of initprobe; install that, or give another -o", file=path)
    if version not in map(_version, _READABLE):
        raise InputError("is written by another version of initprobe; run the sweep anew with another -o", file=path)
    objects = connection.execute("SELECT type, name FROM sqlite_master WHERE type != 'index'").fetchall()
    # Views and triggers are code, and a store may be of an unknown author.
    only_tables = all(kind == "table" for kind, _ in objects)
    if not (only_tables and {"runs", "results", "owner"} <= {name for _, name in objects}):
        raise InputError("is not a store of initprobe's sweeps; it has other tables", file=path)
