"""The results of sweeps in one SQLite file that survives anything.

One transaction a finished run: a process killed at any moment loses the runs in hand and nothing else. One process at a
time writes, guarded by a lock that dies with it; anybody may read meanwhile.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from initprobe.errors import InputError
from initprobe.results.base import SCHEMA_VERSION

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


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION_ID};"
                                 f"PRAGMA user_version = {_version(_LAYOUT)}; COMMIT;")  # fmt: skip
    check_kind(connection, path)
    connection.execute(f"PRAGMA user_version = {_version(_LAYOUT)}")  # what is added an older version cannot read


def _version(layout: int) -> int:
    return layout * 1000 + SCHEMA_VERSION


def check_kind(connection: sqlite3.Connection, path: Path) -> None:
    kind, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if kind != _APPLICATION_ID:
        raise InputError(f"{path}: a database, but not of initprobe's sweeps")
    if version > _version(_LAYOUT):
        raise InputError(f"{path}: written by a later version of initprobe; install that, or give another -o")
    if version not in map(_version, _READ):
        raise InputError(f"{path}: written by another version of initprobe; run the sweep anew with another -o")
    held = connection.execute("SELECT type, name FROM sqlite_master WHERE type != 'index'").fetchall()
    # Views and triggers are code that a stranger may have put there.
    if any(sort != "table" for sort, _ in held) or not {"runs", "results", "owner"} <= {name for _, name in held}:
        raise InputError(f"{path}: not a store of initprobe's sweeps: its tables are others")
