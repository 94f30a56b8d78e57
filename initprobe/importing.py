"""`package.module:name`: imported by `import_name`, or only looked for by `source_file`, which runs no code of it.

The file of a sweep, a result or a store may be of an unknown author. What reads them calls `source_file` alone.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from initprobe.errors import ConfigError, InitprobeError
from initprobe.registry import suggestion


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """An exception of the user's own code inside becomes one line.

    Args:
        what: what failed, as the line begins.

    Raises:
        ConfigError: with type, text and place of the exception. An error of initprobe's is raised unchanged.
    """
    try:
        yield
    except InitprobeError:
        raise
    except (Exception, SystemExit) as error:  # imported code may end the program, as a script does
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = next(iter(str(error).splitlines()), "")
        place = f" ({Path(frame.filename).name}:{frame.lineno})" * (not isinstance(error, SyntaxError))  # which has it
        raise ConfigError(f"{what}: {type(error).__name__}: {text}{place}") from None


def import_name(name: str, wanted: str = "a function or a record", form: str = "package.module:name") -> Any:
    """The object that `package.module:name` names; a dotted name leads into classes and modules.

    Args:
        name: as the user typed it.
        wanted: what the name should stand for, for an error.
        form: how such a name is written, for an error.

    Raises:
        ConfigError: not of this form, no such module, a module that fails, or no such name in it.
    """
    module, _, path = name.partition(":")
    if not (module and path):
        raise ConfigError(f"{name!r} is not {form}")
    if module.endswith(".py"):
        raise _absent(name, module)
    importlib.invalidate_caches()  # a file may have been written a moment ago
    with user_code(f"{name}: {module} cannot be imported"):
        target = _imported(name, module)
    holder = getattr(target, "__file__", None) or module
    for part in path.split("."):
        if not hasattr(target, part):
            near = suggestion(part, [attribute for attribute in vars(target) if not attribute.startswith("_")])
            raise ConfigError(f"{name}: {holder} has no {part!r}{f'.{near}' if near else f'; name {wanted} in it'}")
        target, holder = getattr(target, part), part
    return target


def _imported(name: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module == missing or module.startswith(f"{missing}."):
            raise _absent(name, missing) from None
        raise ConfigError(f"{name}: there is no module {missing}, which {module} imports; install it") from None


def source_file(name: str) -> Path | None:
    """The file of the module in `package.module:name`, found without importing it; None for a module without a file.

    Raises:
        ConfigError: there is no such module.
    """
    module = name.partition(":")[0]
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
    else:
        spec = _spec_of(name, module)
        file = spec.origin if spec.has_location else None
    return None if file is None else Path(file)


def _spec_of(name: str, module: str) -> ModuleSpec:
    """The spec of a module. `importlib.util.find_spec` would import the packages that contain it."""
    importlib.invalidate_caches()
    parts, places = module.split("."), None
    for depth in range(1, len(parts) + 1):
        inner = ".".join(parts[:depth])
        spec = _first_spec(inner, places)
        places = spec.submodule_search_locations if spec else None
        if spec is None or (places is None and depth < len(parts)):
            raise _absent(name, inner if spec is None else module)
    assert spec is not None
    return spec


def _first_spec(module: str, places: Any) -> ModuleSpec | None:
    """The spec from the first finder that knows the module."""
    for finder in sys.meta_path:
        spec = finder.find_spec(module, places) if hasattr(finder, "find_spec") else None
        if spec is not None:
            return spec
    return None


def _absent(name: str, missing: str) -> ConfigError:
    module, _, path = name.partition(":")
    if module.endswith(".py"):
        dotted = module.removesuffix(".py").strip("./").replace("/", ".")
        return ConfigError(f"{name}: a module is named without .py and with dots; write {dotted}:{path}")
    return ConfigError(f"{name}: there is no module {missing}; write package.module:name, importable from here")


def in_words(error: BaseException) -> str:
    """Type and text of an exception in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def loaded_alone(name: str) -> ModuleType | None:
    """A compiled module, loaded without the packages that it is in; None where that cannot be done.

    Args:
        name: with its packages, as in `scipy.sparse._sparsetools`.
    """
    if name in sys.modules:
        return sys.modules[name]
    package, *folders = name.split(".")[:-1]
    parent = find_spec(package)
    places = [str(Path(place, *folders)) for place in (parent and parent.submodule_search_locations) or ()]
    spec = PathFinder.find_spec(name, places)
    if spec is None or spec.loader is None:
        return None
    try:
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError:  # as where its package first adds a folder of libraries
        return None
    return module
