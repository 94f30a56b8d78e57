"""How Python finds a module or a parameter of a model by its qualified name."""

from __future__ import annotations

import json


def path(name: str) -> str:
    """A module or parameter as Python finds it: `model.blocks[3].fc` of `blocks.3.fc`."""
    parts = name.split(".") if name else []
    if not all(part.isdigit() or part.isidentifier() for part in parts):
        return f"model.get_submodule({json.dumps(name)})"
    return "model" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)
