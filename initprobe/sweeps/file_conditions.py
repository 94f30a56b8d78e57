"""`--where FIELD=VALUE`: of many runs those that have a value, as written in a file or on the command line."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from initprobe.data.documents import parse
from initprobe.errors import ConfigError
from initprobe.sweeps.file_fields import Setting, at, field_name, read, same
from initprobe.sweeps.runs import Scalar

Key = TypeVar("Key", bound=Hashable)
_SHOWN = 8


def wish(text: str) -> Setting:
    """What `FIELD=VALUE` asks for; numbers may be written as in a file, `6/5`.

    Raises:
        ConfigError: no such field, or no value of its type.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals):
        raise ConfigError(f"--where {text}: write FIELD=VALUE, as in act=relu")
    option = f"--where {name}"
    values = parse(value, option, lambda line: option).values
    with at(option):
        return read(field_name(name), values)


def granted(text: str, wanted: Setting, values: Mapping[Key, Scalar | None]) -> list[Key]:
    """The runs, by key, whose value is the one that is wanted.

    Raises:
        ConfigError: none has it; names the values that there are.
    """
    kept = [key for key, value in values.items() if same(value, wanted.text)]
    if kept:
        return kept
    there = list(dict.fromkeys(str(value) for value in values.values() if value is not None))
    words = ", ".join(there[:_SHOWN]) + (f" or one of {len(there) - _SHOWN} more" if len(there) > _SHOWN else "")
    raise ConfigError(f"--where {text}: no run has it; {wanted.name} is {words or 'not set'}")
