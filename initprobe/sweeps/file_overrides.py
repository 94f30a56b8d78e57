"""`--set KEY=VALUE`: the document of a sweep's file with another value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from initprobe.data.documents import Document, Loc, Place, parse
from initprobe.errors import ConfigError, UnknownNameError
from initprobe.registry import suggestion
from initprobe.sweeps.file_fields import FIELDS, field_name, replaces
from initprobe.sweeps.file_layout import SweepFile

_SECTIONS = ("defaults", "grid", "zip", "checks")


def apply_override(document: Document, text: str) -> Document:
    """The document with one value set, or removed where `text` is `KEY=`.

    Args:
        document: of a sweep; it is not changed.
        text: `KEY=VALUE`.

    Raises:
        ConfigError: no such key, no YAML, or a default that an axis overrides.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not (key and equals):
        raise ConfigError(f"{text!r} is not KEY=VALUE, as in layers=5 or grid.init=[he, lecun]", field="--set")
    option = Place(f"--set {key}")
    loc = _loc(key, option)
    given = parse(value, option.file, lambda line: option)
    values = _with_value(document.values, loc, given.values, option)
    kept = {other: place for other, place in document.places.items() if other[: len(loc)] != loc}
    new = {(*loc, *inner): option for inner in given.places}
    return Document(document.file, values, {(*loc[:1],): option, **kept, **new})


def _loc(key: str, option: Place) -> Loc:
    """The location of a key in the file; the name of a field means its default."""
    head, dot, rest = key.partition(".")
    if head in _SECTIONS and dot:
        return head, rest
    if key in SweepFile.model_fields and key not in FIELDS:
        return (key,)
    if head in FIELDS:
        return "defaults", field_name(key)
    keys = [*SweepFile.model_fields, *FIELDS]
    raise UnknownNameError(f"there is no key {key!r}.{suggestion(key, keys)}", file=option.file)


def _with_value(values: Mapping[str, Any], loc: Loc, value: Any, option: Place) -> dict[str, Any]:
    if len(loc) == 1:
        return _put(values, str(loc[0]), value)
    section, name = map(str, loc)
    inside = values.get(section, {})
    if not isinstance(inside, dict):
        raise option.error(f"{section} is no mapping")
    if section == "defaults":
        _check_no_axis(values, name, option)
        inside = {key: old for key, old in inside.items() if not replaces(name, key)}
        if name == "draws":
            values = _put(values, "draws", None)
    return {**values, section: _put(inside, name, value)}


def _put(values: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy with a value set, or without the key where the value is None."""
    kept = {name: old for name, old in values.items() if name != key or value is not None}
    return kept if value is None else kept | {key: value}


def _check_no_axis(values: Mapping[str, Any], name: str, option: Place) -> None:
    """Refuse a default that an axis overrides in every run: it would change nothing."""
    for section in ("grid", "zip"):
        axes = values.get(section)
        for axis in axes if isinstance(axes, dict) else ():
            if axis == name or replaces(axis, name):
                raise option.error(f"{axis} is an axis, which overrides it; use {section}.{axis}=[...]")
