"""A checkpoint into a model: tensors alone, never code; what was unwrapped is said."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from initprobe.data.files import check_file, check_room
from initprobe.errors import InputError
from initprobe.torch import descriptions

# Under which a training script keeps the state dict, beside the optimizer's and others.
WRAPPERS = ("model_state_dict", "state_dict", "model")
# What DataParallel and torch.compile put before a module's name, at any place in it.
PREFIXES = ("module.", "_orig_mod.")


def load_checkpoint(model: Any, file: Path) -> list[str]:
    """Load a state dict, or one below a key of `WRAPPERS`, whose names may hold `PREFIXES`; what was unwrapped.

    Raises:
        InputError: the file cannot be read, or its keys or shapes are not the model's; names them.
    """
    held, keys = _unwrapped(_read(file))
    if not isinstance(held, Mapping):
        raise InputError(f"{file}: holds a {type(held).__name__}, not the state dict of a model")
    own = model.state_dict()
    fitting, stripped = _renamed(held, own)
    if faults := _mismatches(own, fitting):
        raise InputError(f"{file}: does not fit the model: {'; '.join(faults)}")
    model.load_state_dict(fitting)
    done = [f"took its {'.'.join(keys)}"] * bool(keys) + stripped
    return [f"{file}: {', '.join(done)}"] if done else []


def _unwrapped(held: Any) -> tuple[Any, list[str]]:
    """What is below the wrappers, and their keys."""
    keys: list[str] = []
    while isinstance(held, Mapping):
        key = next((key for key in WRAPPERS if isinstance(held.get(key), Mapping)), None)
        if key is None:
            break
        keys.append(key)
        held = held[key]
    return held, keys


def _renamed(held: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The tensors by the model's own names, and which prefixes were stripped from how many.

    A name that the model has stays: it may hold a module called `module`.
    """
    found, counts = {}, dict.fromkeys(PREFIXES, 0)
    for name, tensor in held.items():
        for prefix in PREFIXES:
            shorter = _without(name, prefix) if name not in own else name
            counts[prefix] += shorter != name
            name = shorter
        found[name] = tensor
    if len(found) < len(held):  # two names became one: neither is what it was
        return dict(held), []
    return found, [f"stripped {prefix} from {count} names" for prefix, count in counts.items() if count]


def _without(name: Any, prefix: str) -> Any:
    """The name without a part that stands at its start or after a dot."""
    return f".{name}".replace(f".{prefix}", ".")[1:] if isinstance(name, str) else name


def _read(file: Path) -> Any:
    check_room(file, check_file(file))
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{file}: is no checkpoint, or holds more than tensors, which is not loaded; save model.state_dict()"
        ) from None
    except Exception as error:  # a damaged file raises anything from EOFError to RuntimeError
        text = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{file}: cannot be read as a checkpoint ({text})") from None


def _mismatches(own: Mapping[str, Any], held: Mapping[str, Any]) -> list[str]:
    """What a checkpoint lacks, has too much, or has in another shape."""
    missing, unknown = [key for key in own if key not in held], [key for key in held if key not in own]
    other = [
        f"{key} is {_shape(held[key])}, not {_shape(own[key])}"
        for key in own
        if key in held and _shape(held[key]) != _shape(own[key])
    ]
    named = [("it lacks", missing), ("it has", unknown), ("", other)]
    return [f"{what} {descriptions.listed([str(key) for key in keys])}".strip() for what, keys in named if keys]


def _shape(tensor: Any) -> str:
    return descriptions.input_words([tensor]) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
