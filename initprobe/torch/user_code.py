"""Code of the user, imported by its name. Whatever goes wrong in it is one line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from initprobe.errors import ConfigError, InitprobeError
from initprobe.registry import suggestion


@contextmanager
def theirs(what: str) -> Iterator[None]:
    """Turn an exception of the user's code into one line.

    Args:
        what: what failed, in words.

    Raises:
        ConfigError: any exception but our own; with the file and line where it was raised.
    """
    try:
        yield
    except InitprobeError:
        raise
    except (Exception, SystemExit) as error:  # imported code may end the program, as a script does
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        text = next(iter(str(error).splitlines()), "")
        raise ConfigError(f"{what}: {type(error).__name__}: {text} ({where})") from None


def found(target: str, wanted: str = "PACKAGE.MODULE:FACTORY, as in mynet:make or mypackage.nets:MLP") -> Any:
    """Import what `package.module:name` names.

    Args:
        target: the name.
        wanted: what it should name, in words for an error.

    Returns:
        The object.

    Raises:
        ConfigError: it is no such name, there is no such module, or nothing of that name in it.
    """
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise ConfigError(f"{target!r} is not {wanted}")
    with theirs(f"{module_name} cannot be imported"):
        held: Any = _imported(module_name)
    for part in path.split("."):
        if not hasattr(held, part):
            hint = suggestion(part, [name for name in vars(held) if not name.startswith("_")])
            raise ConfigError(f"{target}: {module_name} has no {part!r}.{hint}")
        held = getattr(held, part)
    return held


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(f"{name}: no such module in this directory or among the installed ones") from None
        raise
