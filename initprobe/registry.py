"""A read-only table from name to record, with aliases and did-you-mean."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from initprobe.errors import UnknownNameError

_LONGEST_NAME = 100
_LISTED = ("initializer", "activation", "input", "rule")  # which `initprobe list` shows
_LEAST_BEGUN = 2


class Named(Protocol):
    """The attributes that a record needs to be in a registry."""

    @property
    def name(self) -> str:
        """The name that a user writes."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names for the same record."""


Record = TypeVar("Record", bound=Named)


def fold(name: str) -> str:
    """`name` without case, `-`, `_` and spaces: `GlorotNormal`, `glorot-normal` and `glorot_normal` are one."""
    return "".join(c for c in name.lower() if c not in "-_ ")


def suggestion(name: str, names: Sequence[str]) -> str:
    """` Did you mean 'x'?`, or "" if no known name is similar.

    Args:
        name: what the user wrote.
        names: all names that are known.
    """
    if len(name) > _LONGEST_NAME:  # comparing it with every known name would be slow
        return ""
    near = (
        _begun(name, names)
        or _begun(name.removesuffix("s"), names)
        or [full for full in names if sorted(fold(full)) == sorted(fold(name))]  # letters in the wrong order
        or difflib.get_close_matches(name, names, n=1)
        or difflib.get_close_matches(name.lower(), names, n=1)
    )
    return f" Did you mean '{near[0]}'?" if near else ""


def _begun(name: str, names: Sequence[str]) -> list[str]:
    """At most one known name that begins with `name`: in the same spelling if there is one, and the shortest."""
    start = fold(name)
    if len(start) < _LEAST_BEGUN:
        return []
    longer = [full for full in names if fold(full).startswith(start)]
    return sorted(longer, key=lambda full: (not full.startswith(name), len(full)))[:1]


class Registry(Mapping[str, Record]):
    """Records by name and alias; iteration gives the names in the order of the table.

    Args:
        kind: what the records are, in the singular, for errors.
        records: the table.

    Raises:
        ValueError: two records have the same name or alias, a bug in the table.
        UnknownNameError: at look-up, no record has the name.
    """

    def __init__(self, kind: str, records: Sequence[Record]) -> None:
        self.kind = kind
        self._records = {record.name: record for record in records}
        self._by_alias: dict[str, Record] = {}
        for record in records:
            for name in (record.name, *record.aliases):
                if self._by_alias.setdefault(fold(name), record) is not record:
                    raise ValueError(f"{kind} {name!r} is claimed by two records")

    def __getitem__(self, name: str) -> Record:
        record = self._records.get(name) or self._by_alias.get(fold(name))
        if record is None:
            raise UnknownNameError(self._unknown(name))
        return record

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"<{len(self)} {self.kind}s: {', '.join(self)}>"

    def _unknown(self, name: str) -> str:
        names = [n for record in self._records.values() for n in (record.name, *record.aliases)]
        shown = (
            f"`initprobe list {self.kind}s` shows them all." if self.kind in _LISTED else f"Known: {', '.join(self)}."
        )
        return f"unknown {self.kind} {name!r}.{suggestion(name, names) or f' {shown}'}"
