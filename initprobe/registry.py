"""A read-only table from name to record, with aliases and did-you-mean."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from initprobe.errors import UnknownNameError

_LONGEST_NAME = 100
_LEAST_BEGUN = 2


class Named(Protocol):
    """What a record needs to stand in a registry."""

    @property
    def name(self) -> str: ...
    @property
    def aliases(self) -> tuple[str, ...]: ...


Record = TypeVar("Record", bound=Named)


def fold(name: str) -> str:
    """`name` without case, `-`, `_` and spaces: `GlorotNormal`, `glorot-normal` and `glorot_normal` are one."""
    return "".join(c for c in name.lower() if c not in "-_ ")


def suggestion(name: str, known: Sequence[str]) -> str:
    """` Did you mean 'x'?`, or nothing when no known name is near."""
    if len(name) > _LONGEST_NAME:  # which is compared with every known one, letter by letter
        return ""
    near = (
        _begun(name, known)
        or difflib.get_close_matches(name, known, n=1)
        or difflib.get_close_matches(name.lower(), known, n=1)
    )
    return f" Did you mean '{near[0]}'?" if near else ""


def _begun(name: str, known: Sequence[str]) -> list[str]:
    """The shortest known name that begins with `name`, of which a few letters say enough; first as it is spelt."""
    start = fold(name)
    begun = [one for one in known if fold(one).startswith(start)]
    return sorted(begun, key=lambda one: (not one.startswith(name), len(one)))[: len(start) >= _LEAST_BEGUN]


class Registry(Mapping[str, Record]):
    """Records by name; iteration gives the names in the order of the table.

    Raises:
        ValueError: two records claim one name or alias (a bug in the table).
        UnknownNameError: on look-up of a name that no record has.
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
        record = self._by_alias.get(fold(name))
        if record is None:
            raise UnknownNameError(self._unknown(name))
        return record

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def _unknown(self, name: str) -> str:
        known = [n for record in self._records.values() for n in (record.name, *record.aliases)]
        hint = suggestion(name, known) or f" `initprobe list {self.kind}s` shows them all."
        return f"unknown {self.kind} {name!r}.{hint}"
