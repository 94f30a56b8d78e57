"""`Run`: one experiment of a sweep, and the key under which a store holds its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from initprobe.config.probe_config import ProbeConfig
from initprobe.data.files import check_file, reading
from initprobe.importing import source_file
from initprobe.results.base import SCHEMA_VERSION
from initprobe.spec import Spec

Scalar = str | int | float | bool
# To be raised when a change of initprobe changes results: numbers, statistics or verdicts. Results of an earlier
# revision in a store are then computed again. tests/sweeps/test_revision.py fails where this was forgotten.
REVISION = 11


@dataclass(frozen=True)
class Run:
    """One experiment of a sweep.

    Attributes:
        config: the experiment.
        axes: the values that differ within its sweep, by dotted name: `{"init": "he", "layers": 20}`. They include the
            seed where a sweep has several.
        position: its number in the whole sweep, from 0, also where only a part of the sweep is run.
    """

    config: ProbeConfig
    axes: Mapping[str, Scalar]
    position: int = 0

    @cached_property
    def key(self) -> str:
        """A hash of the configuration, the data that it reads, and the schema and revision of results."""
        return run_key(self.config)

    @property
    def former_keys(self) -> tuple[str, ...]:
        """Its keys in earlier revisions, the latest first."""
        return tuple(run_key(self.config, revision) for revision in range(REVISION - 1, 0, -1))


def run_key(config: ProbeConfig, revision: int | None = None) -> str:
    """A hash of everything that a result depends on: configuration, data, and the revision of results.

    Versions of other software are not in it: a NumPy version changes last digits, and seldom random streams. Of a
    user's own function its file is in the hash, but not what that file imports.

    Args:
        config: the experiment.
        revision: of results; None for the current one.

    Returns:
        32 hexadecimal digits.

    Raises:
        InputError: a data file of the config cannot be read.
    """
    files = [
        config.input,
        config.labels,
        config.weights,
        *(
            source_file(spec.name)
            for spec in (config.act, config.init, config.bias_init)
            if isinstance(spec, Spec) and ":" in spec.name
        ),
    ]
    data = [_content(path) for path in files if isinstance(path, Path)]
    whole = {"schema": SCHEMA_VERSION, "data": data, "config": config.model_dump(mode="json")}
    revision = REVISION if revision is None else revision
    if revision > 1:  # keys of the first revision have no number: they are older than revisions
        whole["revision"] = revision
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32]


def _content(path: Path) -> str:
    check_file(path)
    with reading(path):
        status = path.stat()
        return _digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
