"""`--set KEY=VALUE`: a sweep's file as if it said something else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from initprobe.data.documents import Document, Loc, parse
from initprobe.errors import ConfigError, UnknownNameError
from initprobe.registry import suggestion
from initprobe.sweeps.file_fields import FIELDS, field_name, replaces
from initprobe.sweeps.file_layout import SweepFile

_SECTIONS = ("defaults", "grid", "zip", "checks")


def apply_override(document: Document, text: str) -> Document:
    """The document with one value set, or removed where `text` is `KEY=`.

    Raises:
        ConfigError: no such key, no YAML, or a default that an axis overrides.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    option = f"--set {key}"
    if not (key and equals):
        raise ConfigError(f"--set {text}: write KEY=VALUE, as in layers=5 or grid.init=[he, lecun]")
    way = _way(key, option)
    given = parse(value, option, lambda line: option)
    values = _with(document.values, way, given.values, option)
    kept = {loc: place for loc, place in document.places.items() if loc[: len(way)] != way}
    places = kept | {(*way, *loc): option for loc in given.places}
    lines = {loc: line for loc, line in document.lines.items() if loc in kept}
    return Document(document.file, values, {(*way[:1],): option, **places}, lines)


def _way(key: str, option: str) -> Loc:
    """Where in the file a key stands; the name of a field means its default."""
    head, dot, rest = key.partition(".")
    if head in _SECTIONS and dot:
        return head, rest
    if key in SweepFile.model_fields and key not in FIELDS:
        return (key,)
    if head in FIELDS:
        return "defaults", field_name(key)
    known = [*SweepFile.model_fields, *FIELDS]
    raise UnknownNameError(f"{option}: there is no key {key!r}.{suggestion(key, known)}")


def _with(values: Mapping[str, Any], way: Loc, value: Any, option: str) -> dict[str, Any]:
    if len(way) == 1:
        return _put(values, str(way[0]), value)
    section, name = map(str, way)
    inside = values.get(section, {})
    if not isinstance(inside, dict):
        raise ConfigError(f"{option}: {section} is no mapping")
    if section == "defaults":
        _check_free(values, name, option)
        inside = {key: old for key, old in inside.items() if not replaces(name, key)}
        if name == "draws":
            values = _put(values, "draws", None)
    return {**values, section: _put(inside, name, value)}


def _put(values: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    kept = {name: old for name, old in values.items() if name != key or value is not None}
    return kept if value is None else kept | {key: value}


def _check_free(values: Mapping[str, Any], name: str, option: str) -> None:
    """A default that every run overrides would change nothing, and nobody would notice."""
    for section in ("grid", "zip"):
        axes = values.get(section)
        for axis in axes if isinstance(axes, dict) else ():
            if axis == name or replaces(axis, name):
                raise ConfigError(f"{option}: {axis} is an axis, which overrides it; use --set {section}.{axis}=[...]")
