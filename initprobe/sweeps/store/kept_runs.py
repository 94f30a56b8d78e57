"""Results wherever they were kept: in a store, or in a JSON file of `run`, `compare` or `sweep`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from initprobe.config.probe_config import ProbeConfig
from initprobe.data.files import check_file, read_json, reading
from initprobe.errors import InputError
from initprobe.results.run import ProbeResult
from initprobe.sweeps.store.rows import Row
from initprobe.sweeps.store.store import Store, read_store

_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class Kept:
    """A run that somebody kept.

    Attributes:
        name: what sets it apart from those kept with it, in words.
        state: `done`, or why there is no result.
        config: its configuration as canonical JSON text: two runs with the same one are the same experiment.
        load: reads its result; only of a done run.
        damage: the line that says that its store is damaged there; empty where it is not.
    """

    name: str
    state: str
    config: str
    load: Callable[[], ProbeResult]
    damage: str = ""


@contextmanager
def kept_runs(files: Sequence[Path]) -> Iterator[list[Kept]]:
    """The runs of some files; results of a store are read only when asked for.

    Raises:
        InputError: a file cannot be read, or holds no results.
    """
    with ExitStack() as stack:
        found: list[Kept] = []
        for file in files:
            if _is_store(file):
                store = stack.enter_context(read_store(file))
                found += [_from_store(store, row) for row in store.rows()]
            else:
                found += _from_json(file)
        yield found


def _is_store(file: Path) -> bool:
    check_file(file)
    with reading(file), file.open("rb") as opened:
        return opened.read(len(_SQLITE)) == _SQLITE


def _from_store(store: Store, row: Row) -> Kept:
    name = " ".join(f"{axis}={value}" for axis, value in row.axes.items())
    if row.state == "damaged":
        fault = store.damage[row.key]
        return Kept(name, f"damaged: {row.error}", fault, lambda: _none(fault), fault)
    state = f"failed: {row.error}" if row.state == "failed" else row.state
    return Kept(name, state, _canonical(json.loads(row.config)), lambda: store.result(row.key))


def _from_json(file: Path) -> Iterator[Kept]:
    text = read_json(file)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read as JSON: {error}") from None
    runs = found.get("runs") if isinstance(found, dict) else found if isinstance(found, list) else None
    if runs is None:
        yield _of_result(text, f"{file}", "")
        return
    for number, run in enumerate(runs, start=1):
        yield _of_entry(run, f"{file}, run {number}")


def _of_entry(run: Any, source: str) -> Kept:
    """A run of a sweep's export, or a result in the list that `compare` writes."""
    if not isinstance(run, dict) or "state" not in run:
        return _of_result(json.dumps(run), source, "")
    name = " ".join(f"{axis}={value}" for axis, value in run.get("axes", {}).items())
    if run.get("result") is not None:
        return _of_result(json.dumps(run["result"]), source, name)
    state = f"failed: {run.get('error')}" if run["state"] == "failed" else str(run["state"])
    return Kept(name, state, f"{source}: no result", lambda: _none(source))


def _none(source: str) -> ProbeResult:
    raise InputError(f"{source}: has no result")


def _of_result(text: str | bytes, source: str, name: str) -> Kept:
    result = ProbeResult.from_json(text, source)
    return Kept(name or result.description.title, "done", _canonical(result.config), lambda: result)


def _canonical(config: Mapping[str, Any]) -> str:
    """With the defaults of today, so that a field that came later does not set an old result apart.

    As text: a config is not made of what a stranger wrote, which would import modules and read files.
    """
    return json.dumps(_filled(_defaults(), config), sort_keys=True)


@cache
def _defaults() -> dict[str, Any]:
    """What a config says of every field that is not given."""
    found = ProbeConfig(init="he", act="relu").model_dump(mode="json")
    return {name: value for name, value in found.items() if name not in ("init", "act")}


def _filled(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults overridden, without what is null, and whole numbers written as such."""
    whole: dict[str, Any] = {}
    for name, value in {**defaults, **given}.items():
        if isinstance(value, Mapping):
            default = defaults.get(name)
            whole[name] = _filled(default if isinstance(default, Mapping) else {}, value)
        elif value is not None:
            whole[name] = int(value) if isinstance(value, float) and value.is_integer() else value
    return whole
