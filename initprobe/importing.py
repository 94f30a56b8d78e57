"""`package.module:name`: imported by `found_at`, or only looked for by `source_file`, which runs no code of it.

The file of a sweep, a result or a store may come from a stranger. What reads them calls `source_file` alone.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from initprobe.errors import ConfigError


def found_at(name: str, wanted: str = "a function or a record") -> Any:
    """What `package.module:name` names; `wanted` says what that should be, for an error.

    Raises:
        ConfigError: no such module, a module that fails, or no such name in it.
    """
    module, _, path = name.partition(":")
    importlib.invalidate_caches()  # a file that is a moment old counts
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        here = module == missing or module.startswith(f"{missing}.")
        raise (
            _absent(name, missing)
            if here
            else ConfigError(f"{name}: there is no module {missing}, which {module} imports; install it")
        ) from None
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{name}: {module} cannot be imported ({in_words(error)})") from None
    within = module
    for part in path.split("."):
        if not hasattr(found, part):
            home = getattr(found, "__file__", None) or within
            raise ConfigError(f"{name}: {home} has no {part!r}; name {wanted} in it")
        found, within = getattr(found, part), part
    return found


def source_file(name: str) -> Path | None:
    """The file of the module that a `package.module:name` is in, found without importing it; None where there is none.

    Raises:
        ConfigError: there is no such module.
    """
    module = name.partition(":")[0]
    if module in sys.modules:
        home = getattr(sys.modules[module], "__file__", None)
    else:
        spec = _spec_of(name, module)
        home = spec.origin if spec.has_location else None
    return None if home is None else Path(home)


def _spec_of(name: str, module: str) -> ModuleSpec:
    """Where a module lies. `importlib.util.find_spec` would import the packages that it is in."""
    importlib.invalidate_caches()
    parts, places = module.split("."), None
    for depth in range(1, len(parts) + 1):
        inner = ".".join(parts[:depth])
        spec = _asked(inner, places)
        places = spec.submodule_search_locations if spec else None
        if spec is None or (places is None and depth < len(parts)):
            raise _absent(name, inner if spec is None else module)
    assert spec is not None
    return spec


def _asked(module: str, places: Any) -> ModuleSpec | None:
    """What the first finder says that knows the module."""
    for finder in sys.meta_path:
        spec = finder.find_spec(module, places) if hasattr(finder, "find_spec") else None
        if spec is not None:
            return spec
    return None


def _absent(name: str, missing: str) -> ConfigError:
    return ConfigError(f"{name}: there is no module {missing}; write package.module:name, importable from here")


def in_words(error: BaseException) -> str:
    """An exception of someone else's code in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
