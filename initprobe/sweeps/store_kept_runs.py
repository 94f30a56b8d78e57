"""The runs in a file of results: a store, or a JSON file of `run`, `compare` or `sweep`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from initprobe.config.probe_config import ProbeConfig
from initprobe.data.files import check_file, read_json, reading
from initprobe.errors import InputError
from initprobe.results.coordinate_check import is_coordinate_check
from initprobe.results.json_text import parse_json
from initprobe.results.run import ProbeResult
from initprobe.sweeps.store import Store, read_store
from initprobe.sweeps.store_rows import Row

_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class KeptRun:
    """A run in a file of results.

    Attributes:
        name: the values that distinguish it from the other runs of the file, as text.
        state: `done`, or why there is no result.
        config: its configuration as canonical JSON text. Two runs with the same text are the same experiment.
        load: reads its result; only for a done run.
        damage: the line that reports that its store is damaged there; "" where it is not.
    """

    name: str
    state: str
    config: str
    load: Callable[[], ProbeResult] = field(hash=False)
    damage: str = ""


@dataclass(frozen=True)
class _InMemory:
    """Gives a result that is in memory. Unlike a local function, it can be pickled and compared."""

    result: ProbeResult

    def __call__(self) -> ProbeResult:
        return self.result


@dataclass(frozen=True)
class _InStore:
    """Reads a result from its store; a copy in another process opens the file again."""

    path: Path
    key: str
    store: Store | None = field(default=None, compare=False, repr=False)

    def __call__(self) -> ProbeResult:
        if self.store is not None:
            return self.store.result(self.key)
        with read_store(self.path) as store:
            return store.result(self.key)

    def __reduce__(self) -> tuple[type[_InStore], tuple[Path, str]]:
        return _InStore, (self.path, self.key)


@dataclass(frozen=True)
class _Refused:
    """Raises the error of a run without a result."""

    source: str

    def __call__(self) -> ProbeResult:
        raise InputError("has no result", file=self.source)


@contextmanager
def kept_runs(files: Sequence[Path]) -> Iterator[list[KeptRun]]:
    """The runs of some files. Results in a store are read by `KeptRun.load`, while the context is open.

    Raises:
        InputError: a file cannot be read, or holds no results.
    """
    with ExitStack() as stack:
        runs: list[KeptRun] = []
        for file in files:
            if is_store(file):
                store = stack.enter_context(read_store(file))
                runs += [kept_row(store, row) for row in store.rows()]
            else:
                runs += _from_json(file)
        yield runs


def is_store(file: Path) -> bool:
    """Whether a file is a store of a sweep.

    Raises:
        InputError: it cannot be read.
    """
    check_file(file)
    with reading(file), file.open("rb") as opened:
        return opened.read(len(_SQLITE)) == _SQLITE


def name_of(axes: Mapping[str, object]) -> str:
    """The values that distinguish a run, as text."""
    return " ".join(f"{axis}={value}" for axis, value in axes.items())


def kept_row(store: Store, row: Row) -> KeptRun:
    """A run in a store.

    Args:
        store: open for reading.
        row: of the run.
    """
    name = name_of(row.axes)
    if row.state == "damaged":
        fault = store.damage[row.key]
        return KeptRun(name, f"damaged: {row.error}", fault, _Refused(fault), fault)
    state = f"failed: {row.error}" if row.state == "failed" else row.state
    return KeptRun(name, state, _canonical(json.loads(row.config)), _InStore(store.path, row.key, store))


def _from_json(file: Path) -> Iterator[KeptRun]:
    text = read_json(file)
    values = parse_json(text, file)
    if is_coordinate_check(values):
        raise InputError("is from `initprobe width`, not the result of a run; `initprobe show` prints it", file=file)
    runs = values.get("runs") if isinstance(values, dict) else values if isinstance(values, list) else None
    if runs is None:
        yield _of_result(text, f"{file}", "")
        return
    for number, run in enumerate(runs, start=1):
        yield _of_entry(run, f"{file}, run {number}")


def _of_entry(run: Any, source: str) -> KeptRun:
    """A run of a sweep's export, or a result in the list that `compare` writes."""
    if not isinstance(run, dict) or "state" not in run:
        return _of_result(json.dumps(run), source, "")
    name = name_of(run.get("axes", {}))
    if run.get("result") is not None:
        return _of_result(json.dumps(run["result"]), source, name)
    return kept_failure(name, run["state"], run.get("error"), source)


def kept_failure(name: str, state: str, error: object, source: str) -> KeptRun:
    """A run in an export that has no result.

    Args:
        name: of the run.
        state: as `failed`.
        error: why it failed.
        source: the file and the number of the run.
    """
    words = f"failed: {error}" if state == "failed" else f"{state}"
    return KeptRun(name, words, f"{source}: no result", _Refused(source))


def _of_result(text: str | bytes, source: str, name: str) -> KeptRun:
    return kept_result(ProbeResult.from_json(text, source), name)


def kept_result(result: ProbeResult, name: str = "") -> KeptRun:
    """A result that is in memory.

    Args:
        result: of a run.
        name: its name; "" for that of its network.
    """
    return KeptRun(name or result.description.title, "done", _canonical(result.config), _InMemory(result))


def _canonical(config: Mapping[str, Any]) -> str:
    """The configuration as canonical JSON text, with the current defaults of fields that an older result lacks.

    No `ProbeConfig` is made of it. The file may be of an unknown author, and a config imports modules and reads files.
    """
    return json.dumps(_filled(_defaults(), config), sort_keys=True)


@cache
def _defaults() -> dict[str, Any]:
    """The default of every field, as JSON."""
    fields = ProbeConfig(init="he", act="relu").model_dump(mode="json")
    return {name: value for name, value in fields.items() if name not in ("init", "act")}


def _filled(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given values on top of the defaults, without nulls, and whole numbers as integers."""
    merged: dict[str, Any] = {}
    for name, value in {**defaults, **given}.items():
        if isinstance(value, Mapping):
            default = defaults.get(name)
            merged[name] = _filled(default if isinstance(default, Mapping) else {}, value)
        elif value is not None:
            merged[name] = int(value) if isinstance(value, float) and value.is_integer() else value
    return merged
