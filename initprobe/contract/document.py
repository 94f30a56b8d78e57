"""Contracts in YAML: the file that a person writes, and the lock that the tool writes.

version: 1
default: any
parameters:
  "*.c_proj.weight": normal:std=0.02/sqrt(24)
  "*.bias": zeros
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initprobe.contract.patterns import Clause
from initprobe.contract.recognise import Group
from initprobe.contract.rules import Rule, read_rule
from initprobe.data.documents import Document, read_file
from initprobe.errors import ConfigError
from initprobe.registry import suggestion

VERSION = 1
_KEYS = ("version", "default", "parameters", "ties")


@dataclass(frozen=True)
class Contract:
    """What a file says.

    Attributes:
        clauses: its lines, each with its place.
        default: the rule of parameters that no line covers; None makes them an error.
        ties: groups of names of one tensor, which must be the same in the model; None says nothing of them.
    """

    clauses: tuple[Clause, ...]
    default: Rule | None
    ties: tuple[tuple[str, ...], ...] | None = None


def read_contract(path: Path) -> Contract:
    """The contract in a file.

    Raises:
        InputError: the file cannot be read.
        ConfigError: anything in it that is wrong; names file and line.
    """
    document = read_file(path)
    values: dict[str, Any] = document.values
    for key in values:
        if key not in _KEYS:
            raise ConfigError(f"{document.place((key,))}: unknown key {key!r}.{suggestion(str(key), _KEYS)}")
    if values.get("version") != VERSION:
        raise ConfigError(f"{document.place(('version',))}: begin with `version: {VERSION}`")
    default = values.get("default")
    rule = None if default is None else _rule(document, ("default",), default)
    return Contract(_clauses(document, values.get("parameters", {})), rule, _ties(document, values.get("ties")))


def _clauses(document: Document, entries: Any) -> tuple[Clause, ...]:
    if not isinstance(entries, dict):
        raise ConfigError(f"{document.place(('parameters',))}: parameters is a mapping of patterns to rules")
    return tuple(
        Clause(pattern, _rule(document, ("parameters", pattern), text), str(document.place(("parameters", pattern))))
        for pattern, text in entries.items()
    )


def _rule(document: Document, loc: tuple[str | int, ...], text: Any) -> Rule:
    try:
        return read_rule(str(text))
    except ConfigError as error:
        raise ConfigError(f"{document.place(loc)}: {error}") from None


def _ties(document: Document, groups: Any) -> tuple[tuple[str, ...], ...] | None:
    if groups is None:
        return None
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        raise ConfigError(f"{document.place(('ties',))}: ties is a list of lists of names")
    return tuple(tuple(map(str, group)) for group in groups)


def contract_text(groups: Sequence[Group], ties: Sequence[Sequence[str]], head: str) -> str:
    """A contract of what was recognised, one line per group; the comment says how many tensors, and their shape.

    Args:
        groups: as `recognise` gives them.
        ties: groups of names of one tensor.
        head: comment for the top of the file, one or more lines.
    """
    width = max((len(_quoted(group.pattern)) for group in groups), default=0)
    lines = [*(f"# {line}" for line in head.splitlines()), f"version: {VERSION}", "parameters:"]
    lines += [
        f"  {_quoted(group.pattern) + ':':<{width + 1}} {_plain(group.rule):<26} # {_size(group)}" for group in groups
    ]
    lines += ["ties:", *(f"  - [{', '.join(map(_quoted, group))}]" for group in ties)] if ties else ["ties: []"]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(rule: str) -> str:
    """`~` alone is YAML's null, and a colon before a letter is none of its signs; quotes keep both as they stand."""
    return _quoted(rule) if rule.startswith("~") else rule


def _size(group: Group) -> str:
    shape = " x ".join(map(str, group.shape)) or "1"
    return shape if len(group.names) == 1 else f"{len(group.names)} of {shape}"
