"""The file of known findings: how it is read, and how it is written from findings.

It is YAML or JSON, by its suffix. `known:` is a list of `{rule, at, where, reason, until}`, of which `rule` and
`reason` are needed. `at` holds what follows the @ of `--ignore`, as text or as a list. `where` selects runs of a sweep
by fields of their experiment, as in the sweep's file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from initprobe.config.thresholds import Thresholds
from initprobe.data.documents import MAX_BYTES, Document, Loc, Place, read_file
from initprobe.data.files import check_file, read_json
from initprobe.errors import ConfigError, InputError, OutputError
from initprobe.registry import suggestion
from initprobe.results.json_text import parse_json
from initprobe.results.named_numbers import NAMES
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding
from initprobe.sweeps.checks import result_setting
from initprobe.sweeps.file_fields import Setting, field_name, matches, result_value, settings_of
from initprobe.sweeps.ignores import Ignore, as_pattern, following, make_ignore, parse_target, thresholds_of

_KEYS = ("rule", "at", "where", "reason", "until")
VERSION = 1


def read_known(path: Path) -> list[Ignore]:
    """The ignores in a file, of rules and of numbers that a sweep's checks name.

    Raises:
        InputError: there is no such file, or it cannot be read.
        ConfigError: its content is no list of known findings; the message names the place.
    """
    size = check_file(path, missing=f"; `--write-known {path}` makes one of what is found")
    is_json = path.suffix.lower() == ".json"
    if not is_json and size > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES // 1024} kB; use JSON, in a file that ends in .json", file=path)
    document = _from_json(path) if is_json else read_file(path)
    values = document.values
    if values.get("version") != VERSION:
        raise document.place(("version",)).error(f"begin with `version: {VERSION}`")
    _check_keys(document, values, (), ("version", "known"))
    entries = values.get("known")
    if not isinstance(entries, list):
        raise document.place(("known",)).error("`known` is a list of mappings")
    return [_entry(document, entry, ("known", index)) for index, entry in enumerate(entries)]


def _from_json(path: Path) -> Document:
    """The document of a JSON file. It may have thousands of entries; places are entries, not lines."""
    values = parse_json(read_json(path), path)
    if not isinstance(values, dict):
        raise ConfigError("holds no mapping; begin with version and known", file=path)
    entries = values.get("known")
    count = len(entries) if isinstance(entries, list) else 0
    places: dict[Loc, Place] = {("known", index): Place(f"{path}, entry {index + 1}") for index in range(count)}
    return Document(str(path), values, {("known",): Place(str(path)), **places})


def _check_keys(document: Document, values: Any, loc: Loc, keys: Sequence[str]) -> None:
    if not isinstance(values, dict):
        raise document.place(loc).error("is no mapping, as in {rule: saturated, reason: on purpose}")
    for key in values:
        if key not in keys:
            hint = suggestion(str(key), keys) or f" There are {', '.join(keys)}."
            raise document.place((*loc, key)).error(f"unknown key {key!r}.{hint}")


def _entry(document: Document, entry: Any, loc: Loc) -> Ignore:
    _check_keys(document, entry, loc, _KEYS)
    place = document.place(loc)
    for key in ("rule", "reason", "until"):
        if not isinstance(entry.get(key, ""), str):
            raise document.place((*loc, key)).error(f"{key} must be text")
    if not entry.get("rule"):
        raise place.error("names no rule")
    places = entry.get("at", [])
    listed = [str(part) for part in places] if isinstance(places, list) else str(places).split(",")
    rule, inside = parse_target(entry["rule"])
    ignore = make_ignore(rule, [*inside, *listed], entry.get("reason"), entry.get("until"), str(place), NAMES)
    wanted = _where(document, entry.get("where", {}), (*loc, "where"))
    return replace(ignore, run=_selector(wanted)) if wanted else ignore


def _where(document: Document, where: Any, loc: Loc) -> tuple[Setting, ...]:
    place = document.place(loc)
    if not isinstance(where, dict):
        raise place.error("where is a mapping, as in {act: relu}")
    with place.blamed():
        return tuple(result_setting(field_name(name), value) for name, value in where.items())


def _selector(wanted: tuple[Setting, ...]) -> Callable[[ProbeResult], bool]:
    """A function that says whether a run has all wanted values; the last, often the seed, is tested first."""

    def selects(result: ProbeResult) -> bool:
        return all(_has(result.config, setting) for setting in reversed(wanted))

    return selects


def _has(config: Mapping[str, Any], wanted: Setting) -> bool:
    field = wanted.name.partition(".")[0]
    if field not in config and "act" not in config:  # a PyTorch model has few of an experiment's fields
        return False
    return matches(_setting_of(field, json.dumps(result_value(config, field))), (wanted,))


@lru_cache(maxsize=100_000)
def _setting_of(name: str, value: str) -> Mapping[str, Setting]:
    """A field of a result's config, cached: thousands of entries ask for the same few values."""
    return settings_of({name: json.loads(value)}, [name])


@dataclass(frozen=True)
class KnownFinding:
    """One entry of a file of known findings.

    Attributes:
        rule: name of a rule, or of a number.
        places: layers, and patterns of modules.
        where: fields that select the runs; empty for all runs.
        reason: why it is ignored.
        until: the last day, as `2027-03-01`; None for no end.
    """

    rule: str
    places: tuple[int | str, ...]
    where: Mapping[str, Any]
    reason: str
    until: str | None

    def entry(self) -> dict[str, Any]:
        """The entry as the file has it, without empty keys."""
        head = {"rule": self.rule, "at": list(self.places), "where": dict(self.where)}
        tail = {"until": self.until} if self.until else {}
        return {key: value for key, value in head.items() if value} | {"reason": self.reason} | tail


def known_findings_of(
    result: ProbeResult,
    where: Mapping[str, Any],
    reason: str,
    until: str | None,
    is_wanted: Callable[[Finding], bool] = lambda finding: finding.severity != "info",
) -> Iterator[KnownFinding]:
    """Entries for the findings of a result, one per rule. What is ignored already keeps its reason and last day.

    Args:
        result: of a run.
        where: fields that select the run.
        reason: of the new entries.
        until: the last day of the new entries; None for no end.
        is_wanted: whether a finding gets an entry.
    """
    merged: dict[tuple[str, str, str | None], list[int | str]] = {}
    for finding in result.diagnosis:
        if is_wanted(finding):
            ignored = (finding.ignored.reason, finding.ignored.until) if finding.ignored else (reason, until)
            places = _places(result, finding, thresholds_of(result))
            merged.setdefault((finding.rule, *ignored), []).extend(places)
    for (rule, why, end), rule_places in merged.items():
        yield KnownFinding(rule, tuple(dict.fromkeys(rule_places)), where, why, end)


def _places(result: ProbeResult, finding: Finding, limits: Thresholds) -> Iterator[int | str]:
    """The places where the finding's rule holds. An ignored finding is followed by the next places in the result."""
    if finding.ignored:
        findings = [finding]
    else:
        findings = list(following(result, finding, limits, lambda place: place.module is not None))
    return (place.layer if not place.module else as_pattern(place.module) for place in findings)


def known_text(path: Path, findings: Iterable[KnownFinding]) -> str:
    """The text of a file with these entries, JSON or YAML by the suffix of `path`.

    Args:
        path: of the file.
        findings: in the order of the file.

    Raises:
        OutputError: the text is larger than a YAML file may be.
    """
    entries = [finding.entry() for finding in findings]
    if path.suffix.lower() == ".json":
        return json.dumps({"version": VERSION, "known": entries}, indent=1, ensure_ascii=False) + "\n"
    lines = [f"version: {VERSION}", "known:" if entries else "known: []"]
    for entry in entries:
        pairs = [f"{key}: {_yaml(value)}" for key, value in entry.items()]
        lines += [f"  - {pairs[0]}", *(f"    {pair}" for pair in pairs[1:])]
    text = "\n".join(lines) + "\n"
    if len(text.encode()) > MAX_BYTES:
        raise OutputError(f"{len(entries):,} findings are too many for YAML; name a file that ends in .json", file=path)
    return text


def _yaml(value: Any) -> str:
    """A value as JSON, which is YAML too; characters that cannot be printed are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)
