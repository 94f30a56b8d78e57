"""A file of known findings: what is in it, and how one is written from what was found.

YAML or JSON, as the name says: `known:` is a list of `{rule, at, where, reason, until}`, of which `rule` and `reason`
are needed. `at` is what stands behind the @ of `--ignore`, or a list of it; `where` picks runs of a sweep by fields of
their experiment, as in its file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from initprobe.config.thresholds import Thresholds
from initprobe.data.documents import MAX_BYTES, Document, Loc, read_file
from initprobe.data.files import check_file, read_json
from initprobe.errors import ConfigError, InputError, OutputError
from initprobe.registry import suggestion
from initprobe.results.named_numbers import NAMES
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding
from initprobe.sweeps.checks import recordable
from initprobe.sweeps.file_fields import Setting, at, field_name, kept_value, matches, recorded
from initprobe.sweeps.ignores import Ignore, as_pattern, following, make_ignore, parse_target, thresholds_of

_KEYS = ("rule", "at", "where", "reason", "until")
VERSION = 1


def read_known(path: Path) -> list[Ignore]:
    """The ignores in a file, of rules and of the numbers that a sweep's checks speak of.

    Raises:
        InputError: there is no such file, or it cannot be read.
        ConfigError: what it holds is no list of known findings; names the place.
    """
    size = check_file(path, missing=f"; `--write-known {path}` makes one of what is found")
    is_json = path.suffix.lower() == ".json"
    if not is_json and size > MAX_BYTES:
        raise InputError(
            f"{path} is larger than {MAX_BYTES // 1024} kB; as JSON, in a file that ends in .json, it may be"
        )
    document = _from_json(path) if is_json else read_file(path)
    values = document.values
    if values.get("version") != VERSION:
        raise ConfigError(f"{document.place(('version',))}: begin with `version: {VERSION}`")
    _check_keys(document, values, (), ("version", "known"))
    entries = values.get("known")
    if not isinstance(entries, list):
        raise ConfigError(f"{document.place(('known',))}: `known` is a list of mappings")
    return [_entry(document, entry, ("known", index)) for index, entry in enumerate(entries)]


def _from_json(path: Path) -> Document:
    """Read by the fast reader: a list of thousands; places are entries, not lines."""
    text = read_json(path)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no mapping; begin with version and known")
    listed = values.get("known")
    count = len(listed) if isinstance(listed, list) else 0
    places: dict[Loc, str] = {("known", index): f"{path}, entry {index + 1}" for index in range(count)}
    return Document(str(path), values, {("known",): str(path), **places})


def _check_keys(document: Document, values: Any, loc: tuple[str | int, ...], keys: Sequence[str]) -> None:
    if not isinstance(values, dict):
        raise ConfigError(f"{document.place(loc)}: is no mapping, as in {{rule: saturated, reason: on purpose}}")
    for key in values:
        if key not in keys:
            hint = suggestion(str(key), keys) or f" There are {', '.join(keys)}."
            raise ConfigError(f"{document.place((*loc, key))}: unknown key {key!r}.{hint}")


def _entry(document: Document, entry: Any, loc: tuple[str | int, ...]) -> Ignore:
    _check_keys(document, entry, loc, _KEYS)
    place = document.place(loc)
    for key in ("rule", "reason", "until"):
        if not isinstance(entry.get(key, ""), str):
            raise ConfigError(f"{document.place((*loc, key))}: {key} must be text")
    if not entry.get("rule"):
        raise ConfigError(f"{place}: names no rule")
    places = entry.get("at", [])
    listed = [str(part) for part in places] if isinstance(places, list) else str(places).split(",")
    rule, inside = parse_target(entry["rule"])
    ignore = make_ignore(rule, [*inside, *listed], entry.get("reason"), entry.get("until"), place, NAMES)
    wanted = _where(document, entry.get("where", {}), (*loc, "where"))
    return replace(ignore, run=_picks(wanted)) if wanted else ignore


def _where(document: Document, where: Any, loc: tuple[str | int, ...]) -> tuple[Setting, ...]:
    if not isinstance(where, dict):
        raise ConfigError(f"{document.place(loc)}: where is a mapping, as in {{act: relu}}")
    with at(document.place(loc)):
        return tuple(recordable(field_name(name), value) for name, value in where.items())


def _picks(wanted: tuple[Setting, ...]) -> Callable[[ProbeResult], bool]:
    """Whether a run has all that is wanted; the last first, which is the seed where it is one of several."""

    def picks(result: ProbeResult) -> bool:
        return all(_has(result.config, one) for one in reversed(wanted))

    return picks


def _has(config: Mapping[str, Any], wanted: Setting) -> bool:
    head = wanted.name.partition(".")[0]
    if head not in config and "act" not in config:  # a PyTorch model has few of an experiment's fields
        return False
    return matches(_recorded(head, json.dumps(kept_value(config, head))), (wanted,))


@lru_cache(maxsize=100_000)
def _recorded(name: str, value: str) -> Mapping[str, Setting]:
    """A field of a result's configuration: thousands of entries ask for the same few values."""
    return recorded({name: json.loads(value)}, [name])


@dataclass(frozen=True)
class Known:
    """An entry of a file: a rule or a number, the places where it holds, the runs, and why it is ignored."""

    rule: str
    places: tuple[int | str, ...]
    where: Mapping[str, Any]
    reason: str
    until: str | None

    def entry(self) -> dict[str, Any]:
        """As the file has it, without what says nothing."""
        whole = {"rule": self.rule, "at": list(self.places), "where": dict(self.where)}
        return {k: v for k, v in whole.items() if v} | {"reason": self.reason} | (
            {"until": self.until} if self.until else {}
        )  # fmt: skip


def known_of(
    result: ProbeResult,
    where: Mapping[str, Any],
    reason: str,
    until: str | None,
    is_asked: Callable[[Finding], bool] = lambda finding: finding.severity != "info",
) -> Iterator[Known]:
    """The findings that are asked for, an entry for each rule; what is ignored keeps its reason and day."""
    merged: dict[tuple[str, str, str | None], list[int | str]] = {}
    for finding in result.diagnosis:
        if is_asked(finding):
            words = (finding.ignored.reason, finding.ignored.until) if finding.ignored else (reason, until)
            found = _places(result, finding, thresholds_of(result))
            merged.setdefault((finding.rule, *words), []).extend(found)
    for (rule, why, end), places in merged.items():
        yield Known(rule, tuple(dict.fromkeys(places)), where, why, end)


def _places(result: ProbeResult, finding: Finding, limits: Thresholds) -> Iterator[int | str]:
    """Where the finding's rule holds; after what is ignored the result itself tells of what follows."""
    found = (
        [finding] if finding.ignored else list(following(result, finding, limits, lambda one: one.module is not None))
    )
    return (one.layer if not one.module else as_pattern(one.module) for one in found)


def known_text(path: Path, known: Iterable[Known]) -> str:
    """The text of a file that says so.

    Raises:
        OutputError: more than a YAML file may hold.
    """
    entries = [one.entry() for one in known]
    if path.suffix.lower() == ".json":
        return json.dumps({"version": VERSION, "known": entries}, indent=1, ensure_ascii=False) + "\n"
    lines = [f"version: {VERSION}", "known:" if entries else "known: []"]
    for entry in entries:
        pairs = [f"{key}: {_yaml(value)}" for key, value in entry.items()]
        lines += [f"  - {pairs[0]}", *(f"    {pair}" for pair in pairs[1:])]
    text = "\n".join(lines) + "\n"
    if len(text.encode()) > MAX_BYTES:
        raise OutputError(f"{path}: {len(entries):,} findings are too many for YAML; name a file that ends in .json")
    return text


def _yaml(value: Any) -> str:
    """A value as JSON, which YAML reads too; what cannot be printed is spelled by its code."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)
