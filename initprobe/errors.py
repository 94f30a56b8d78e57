"""The errors that initprobe raises on purpose.

    InitprobeError
    ├── ConfigError           a wrong option, value or file; exit code 2                (also a ValueError)
    │   ├── MissingFieldError    a field that an experiment needs and nothing gives
    │   ├── UnknownNameError     a name that no registry holds, with the nearest one    (also a KeyError)
    │   ├── InputError           input data that cannot be read or is not numbers
    │   │   └── DamagedRun       one run of a store; the others can be read
    │   ├── OutputError          a file or directory that cannot be written
    │   ├── MemoryLimitError     a run that would not fit
    │   └── MissingLibraryError  an extra that is not installed                        (also an ImportError)
    ├── CheckFailed           a check that the user asked for did not hold; exit code 1
    ├── RunsFailed            some runs of a sweep failed; exit code 3, which beats 1
    └── Interrupted           the user stopped a sweep; exit code 130

An error has two parts. The text says what is wrong and what to do; the place says where.
The place is given as attributes, never as a prefix of the text:

    raise ConfigError(f"{layers} layers cannot be cut into blocks of {block}", field="block")
    raise InputError("is a directory; name a file in it", file=path)
    raise ConfigError("a key must be plain text", file="sweep.yaml", line=7)

A text names other fields in backticks, as in "drop `residual`"; the command line shows their options instead.
The message is composed here and nowhere else, as one line: `sweep.yaml:7: init.std: is not a number`.
A caller that knows more of the place adds it with `at`. A place is read from the attributes, never from the message:

    except ConfigError as error:
        if error.field in options:
            raise error.at(field=f"--{error.field}") from None
        raise

`with at_field("act"):` gives a field to the errors raised inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from initprobe import formatting


class InitprobeError(Exception):
    """Base of every error that initprobe raises on purpose; `str(error)` is one line.

    Args:
        text: what is wrong and what to do, without the place.
        field: field, option or column that is wrong, dotted for a part of one; "" where there is none.
        file: file that holds the fault, or what stands for one, such as the option `--set`.
        line: line in the file, from 1.

    Attributes:
        text: as given.
        field: as given.
        file: as given, as text.
        line: as given.
    """

    exit_code = 2

    def __init__(self, text: str, *, field: str = "", file: str | Path = "", line: int | None = None) -> None:
        self.text, self.field, self.file, self.line = text, field, str(file), line
        # What a user typed may hold anything at any length; what we answer is one line.
        super().__init__(formatting.message(": ".join(part for part in (self.place, field, text) if part)))

    @property
    def place(self) -> str:
        """File and line, as the message begins; "" where neither is known."""
        line = "" if self.line is None else str(self.line)
        return f"{self.file}:{line}" if self.file and line else self.file or (line and f"line {line}")

    def at(self, *, field: str = "", file: str | Path = "", line: int | None = None) -> Self:
        """The same error at a place that is better known.

        An error that names a file keeps it: `data.npy: no such file`, at the field `input`, is
        `input: data.npy: no such file`.

        Args:
            field: takes the place of the error's own field; "" keeps that.
            file: takes the place of no file; "" for none.
            line: takes the place of the error's own line; None keeps that.

        Returns:
            A new error of the same type.
        """
        if self.file and (field or file):
            return type(self)(str(self), field=field, file=file, line=line)
        line = self.line if line is None else line
        return type(self)(self.text, field=field or self.field, file=file or self.file, line=line)

    def __str__(self) -> str:
        # KeyError, a base of UnknownNameError, would print the repr of its argument.
        return str(self.args[0])


class ConfigError(InitprobeError, ValueError):
    """A wrong option, value or file: the experiment cannot be run as it was asked for."""


@contextmanager
def at_field(field: str) -> Iterator[None]:
    """A `ConfigError` raised inside belongs to this field, unless it names one itself.

    Raises:
        ConfigError: the error from inside, with the field.
    """
    try:
        yield
    except ConfigError as error:
        if error.field:
            raise
        raise error.at(field=field) from None


class MissingFieldError(ConfigError):
    """A field that an experiment needs and nothing gives."""


class UnknownNameError(ConfigError, KeyError):
    """A name that is in no registry. A `KeyError` too, so `in` and `.get()` work on a registry."""


class InputError(ConfigError):
    """Input data that cannot be read, or is not a table of finite numbers."""


class DamagedRun(InputError):
    """One run of a store that cannot be read; the other runs can."""


class OutputError(ConfigError):
    """A file or directory that cannot be written."""


class MemoryLimitError(ConfigError):
    """A run that needs more memory than there is."""


class MissingLibraryError(ConfigError, ImportError):
    """A library that is needed and not installed. An `ImportError` too, as callers of an import expect."""


class CheckFailed(InitprobeError):
    """A check that the user asked for did not hold."""

    exit_code = 1


class RunsFailed(InitprobeError):
    """Some runs of a sweep failed; the results of the others are kept."""

    exit_code = 3


class Interrupted(InitprobeError):
    """The user stopped a sweep; the finished runs are kept."""

    exit_code = 130
