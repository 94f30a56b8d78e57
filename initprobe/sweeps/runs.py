"""`Run`: one experiment of a sweep, and the key by which its result is known for ever."""

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
# Raise it when a change of ours makes results other than they were: numbers, statistics or verdicts. What a store holds
# of an earlier revision is then run again. tests/test_revision.py fails when it is forgotten.
REVISION = 2


@dataclass(frozen=True)
class Run:
    """One experiment of a sweep.

    Attributes:
        config: the experiment.
        axes: what sets it apart from the others of its sweep, by dotted name: `{"init": "he", "layers": 20}`; the seed
            among them where a sweep runs several.
        position: its place in the whole sweep, whatever part of that is run here.
    """

    config: ProbeConfig
    axes: Mapping[str, Scalar]
    position: int = 0

    @cached_property
    def key(self) -> str:
        """A hash of the whole configuration, the data it reads, and the schema and revision of results."""
        return run_key(self.config)

    @property
    def former_keys(self) -> tuple[str, ...]:
        """The keys that it had in earlier revisions, the latest first."""
        return tuple(run_key(self.config, revision) for revision in range(REVISION - 1, 0, -1))


def run_key(config: ProbeConfig, revision: int | None = None) -> str:
    """A hash of everything that a result depends on: configuration, data, and the revision of results (None: today's).

    Versions of other software are not in it: NumPy's move the last digits, and streams of numbers seldom.

    Of a function of one's own the file that it stands in counts, not what that file imports.

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
    if revision > 1:  # the first is not written down, so that stores from before there were revisions are read
        whole["revision"] = revision
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32]


def _content(path: Path) -> str:
    check_file(path)
    with reading(path):
        seen = path.stat()
        return _digest(path, seen.st_size, seen.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
