"""Records of which some fields are worked out when they are first read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from initprobe.results.base import Record

Work = Callable[[], Mapping[str, Any]]
Kind = TypeVar("Kind", bound=Record)


class Pending:
    """Comes before the class of a record. Reading an absent field makes the record a plain, complete one.

    Pydantic reads the fields of a model from its `__dict__`, to write JSON, to compare and to copy it. So this is where
    they are completed.
    """

    def __getattr__(self, name: str) -> Any:
        if name in type(self).model_fields:  # type: ignore[attr-defined]
            return getattr(completed(self), name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        fields: dict[str, Any] = vars(completed(self))
        return fields

    def __eq__(self, other: object) -> bool:
        return bool(completed(self) == other)

    def __hash__(self) -> int:
        return hash(completed(self))

    def __repr__(self) -> str:
        return repr(completed(self))

    def __copy__(self) -> Any:
        return completed(self).__copy__()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Any:
        return completed(self).__deepcopy__(memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return completed(self).__reduce_ex__(protocol)


def pending(kind: type[Kind], work: Work, fields: dict[str, Any]) -> Kind:
    """A record of some fields, which are not checked.

    Args:
        kind: a class that has `Pending` before the class of the record.
        work: gives the other fields. It is called once, and let go of.
        fields: of the record.
    """
    plain: Any = kind.__mro__[2]
    record = plain.__new__(plain)
    put = object.__setattr__
    put(record, "__dict__", fields)
    put(record, "__pydantic_fields_set__", set(plain.model_fields))
    put(record, "__pydantic_extra__", None)
    put(record, "__pydantic_private__", {"work": work})
    put(record, "__class__", kind)
    return record  # type: ignore[no-any-return]


def completed(record: Any) -> Any:
    """The same object as a plain record."""
    private, put = record.__pydantic_private__, object.__setattr__
    put(record, "__class__", type(record).__mro__[2])
    put(record, "__pydantic_private__", None)
    fields = record.__dict__ | private["work"]()
    put(record, "__dict__", {name: fields[name] for name in type(record).model_fields if name in fields})
    return record
