"""`--where FIELD=VALUE`: the runs that have a value, as a file or the command line writes it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from initprobe.data.documents import Place, parse
from initprobe.errors import ConfigError
from initprobe.sweeps.file_fields import Setting, equal, field_name, read_setting
from initprobe.sweeps.runs import Scalar

Key = TypeVar("Key", bound=Hashable)
_SHOWN = 8


def parse_condition(text: str) -> Setting:
    """The value that `FIELD=VALUE` asks for; numbers may be written as in a file, `6/5`.

    Raises:
        ConfigError: there is no such field, or the value has another type than the field.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals):
        raise ConfigError(f"{text!r} is not FIELD=VALUE, as in act=relu", field="--where")
    place = Place(f"--where {name}")
    parsed = parse(value, place.file, lambda line: place).values
    with place.blamed():
        return read_setting(field_name(name), parsed, place)


def select(text: str, wanted: Setting, values: Mapping[Key, Scalar | None]) -> list[Key]:
    """The runs whose value is the wanted one.

    Args:
        text: the condition as the user wrote it, for an error.
        wanted: from `parse_condition`.
        values: the field's value of each run, by the run's key; None where the field does not apply.

    Returns:
        Their keys, in the order of `values`.

    Raises:
        ConfigError: no run has it; names values that runs have.
    """
    kept = [key for key, value in values.items() if equal(value, wanted.text)]
    if kept:
        return kept
    present = list(dict.fromkeys(str(value) for value in values.values() if value is not None))
    more = f" or one of {len(present) - _SHOWN} more" if len(present) > _SHOWN else ""
    listed = ", ".join(present[:_SHOWN]) + more
    raise ConfigError(f"no run has {text}; {wanted.name} is {listed or 'not set'}", field="--where")
