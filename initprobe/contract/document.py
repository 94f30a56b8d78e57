"""Contracts in YAML: the file that a person writes, and the lock that the tool writes.

version: 1
default: any
parameters:
  "*.c_proj.weight": normal:std=0.02/sqrt(24)
  "*.bias": zeros
  "*.norm.weight": 12 x ones
optional:
  "*.rotary.weight": any

Patterns under `optional` may cover no parameter. The number before a rule says how many parameters the pattern covers;
locks have it in every line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initprobe.contract.patterns import Clause, refuse_twice
from initprobe.contract.recognise import Group
from initprobe.contract.rules import ANY, MOMENTS, Rule, read_rule
from initprobe.data.documents import Document, read_file
from initprobe.errors import ConfigError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.registry import fold, suggestion

VERSION = 1
_KEYS = ("version", "default", "parameters", "optional", "ties")
# A large model has a line for each of its thousands of parameters, if no two of them are alike.
_MOST_BYTES, _MOST_KEYS = 1 << 20, 10_000
_COUNTED = re.compile(r"(\d+) x (.*)", re.DOTALL)


@dataclass(frozen=True)
class Contract:
    """What a file says.

    Attributes:
        clauses: its lines, each with its place.
        default: the line for parameters that no pattern covers; None makes them an error.
        ties: groups of names of one tensor, which must be the same in the model; None says nothing of them.
        file: its name, as shown; empty for a contract in Python.
    """

    clauses: tuple[Clause, ...]
    default: Clause | None
    ties: tuple[tuple[str, ...], ...] | None = None
    file: str = ""


def read_contract(path: Path) -> Contract:
    """The contract in a file.

    Raises:
        InputError: the file cannot be read.
        ConfigError: anything in it that is wrong; names file and line.
    """
    document = _read(path)
    values: dict[str, Any] = document.values
    for key in values:
        if key not in _KEYS:
            raise document.place((key,)).error(f"unknown key {key!r}.{suggestion(str(key), _KEYS)}")
    if (version := values.get("version")) != VERSION or version is True:
        is_newer = isinstance(version, int) and not isinstance(version, bool) and version > VERSION
        text = f"version {version} is of a newer initprobe; this one reads `version: {VERSION}`"
        raise document.place(("version",)).error(text if is_newer else f"begin with `version: {VERSION}`")
    default = values.get("default")
    rest = None
    if default is not None:
        rest = Clause("default", _rule(document, ("default",), default), document.place(("default",)))
    clauses = (*_clauses(document, "parameters"), *_clauses(document, "optional"))
    with document.place(("optional",)).blamed():
        refuse_twice(values.get("parameters") or (), values.get("optional") or ())
    return Contract(clauses, rest, _ties(document, values.get("ties")), document.file)


def _read(path: Path) -> Document:
    """The document in a file; of one that git could not merge the place is named."""
    try:
        return read_file(path, _MOST_BYTES, _MOST_KEYS)
    except ConfigError as error:
        line = _conflict(path)
        if line is None:
            raise
        text = "git left a conflict here; resolve it, or write a lock anew with --update-lock"
        raise ConfigError(text, file=error.file or path, line=line) from None


def _conflict(path: Path) -> int | None:
    """The first line with the marks of a conflict. None where there is none, or no text that can be read."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            lines = file.read(_MOST_BYTES).splitlines()
    except OSError:
        return None
    return next((number for number, line in enumerate(lines, 1) if line.startswith("<<<<<<< ")), None)


def _clauses(document: Document, key: str) -> tuple[Clause, ...]:
    """The lines under `parameters` or `optional`; a key with nothing behind it has none."""
    entries = document.values.get(key)
    if entries is None:
        return ()
    if not isinstance(entries, dict):
        raise document.place((key,)).error(f"{key} is a mapping of patterns to rules")
    return tuple(_clause(document, key, pattern, text) for pattern, text in entries.items())


def _clause(document: Document, key: str, pattern: str, text: Any) -> Clause:
    loc = (key, pattern)
    number = _COUNTED.fullmatch(str(text))
    rule = _rule(document, loc, number[2] if number else text)
    return Clause(pattern, rule, document.place(loc), int(number[1]) if number else None, key == "optional")


def _rule(document: Document, loc: tuple[str | int, ...], text: Any) -> Rule:
    if not isinstance(text, str):
        raise document.place(loc).error("a rule is text, as in `zeros` or `normal:std=0.02`")
    with document.place(loc).blamed():
        return read_rule(text)


def _ties(document: Document, groups: Any) -> tuple[tuple[str, ...], ...] | None:
    if groups is None:
        return None
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        raise document.place(("ties",)).error("ties is a list of lists of names")
    return tuple(tuple(map(str, group)) for group in groups)


def contract_text(groups: Sequence[Group], ties: Sequence[Sequence[str]], head: str) -> str:
    """A contract of what was recognised, one line per group; the comment says how many tensors, and their shape.

    Args:
        groups: as `recognise` gives them.
        ties: groups of names of one tensor.
        head: comment for the top of the file, one or more lines.
    """
    width = max((len(_quoted(group.pattern)) for group in groups), default=0)
    wide = max((len(_plain(group.rule)) for group in groups), default=0)
    lines = [*(f"# {line}" for line in head.splitlines()), f"version: {VERSION}", "parameters:"]
    for group in groups:
        key = _quoted(group.pattern) + ":"
        lines.append(f"  {key:<{width + 1}} {_plain(group.rule):<{wide}} # {_size(group)}")
    lines += ["ties:", *(f"  - [{', '.join(map(_quoted, group))}]" for group in ties)] if ties else ["ties: []"]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of contracts and locks, draft 2020-12."""
    names = sorted({name for record in INITIALIZERS.values() for name in (record.name, *record.aliases)})
    rule_names = "|".join(dict.fromkeys(map(_any_spelling, (ANY, MOMENTS, *names))))
    rule = {
        "description": "A rule, as in zeros or normal:std=0.02/sqrt(24); `any` is not judged.",
        "anyOf": [{"enum": [ANY, *names]}, {"type": "string", "pattern": rf"^(\d+ x )?~?({rule_names})(:.*)?$"}],
    }
    group = {"type": "array", "items": {"type": "string"}}
    properties = {
        "version": {"const": VERSION, "description": "Version of the format."},
        "default": {**rule, "description": "The rule of parameters that no pattern covers."},
        "parameters": {
            "description": "Patterns of parameter names, and their rules. The most specific pattern wins.",
            "type": "object",
            "additionalProperties": rule,
        },
        "optional": {
            "description": "As parameters, of patterns that may cover no parameter.",
            "type": "object",
            "additionalProperties": rule,
        },
        "ties": {"description": "Groups of names of one tensor.", "type": "array", "items": group},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Initialization contract",
        "type": "object",
        "properties": properties,
        "required": ["version"],
        "additionalProperties": False,
    }


def _any_spelling(name: str) -> str:
    """A regular expression of a name in any case, with `-`, `_` and spaces anywhere, as the registry reads it."""
    letters = (f"[{letter}{letter.upper()}]" if letter.isalpha() else re.escape(letter) for letter in fold(name))
    return "[-_ ]*".join(letters) + "[-_ ]*"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(rule: str) -> str:
    """`~` alone is YAML's null, and a colon before a letter is none of its signs. Quotes keep both as they stand."""
    return _quoted(rule) if rule.startswith("~") else rule


def _size(group: Group) -> str:
    shape = " x ".join(map(str, group.shape)) or "1"
    return shape if len(group.names) == 1 else f"{len(group.names)} of {shape}"
