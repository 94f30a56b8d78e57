"""Load a checkpoint into a model: tensors only, never code. What was unwrapped is reported."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from initprobe.data.files import check_file, check_room
from initprobe.errors import InputError
from initprobe.formatting import listed
from initprobe.torch import descriptions

# Keys under which training scripts keep the state dict, beside that of the optimizer.
WRAPPERS = ("model_state_dict", "state_dict", "model")
# What DataParallel and torch.compile put before the name of a module, at any place in it.
PREFIXES = ("module.", "_orig_mod.")


def load_checkpoint(model: Any, file: Path) -> list[str]:
    """Load a state dict.

    Args:
        model: the model.
        file: holds a state dict, or one below a key of `WRAPPERS`. The names in it may hold `PREFIXES`.

    Returns:
        What was unwrapped, in words.

    Raises:
        InputError: the file cannot be read, or its keys or shapes are not those of the model; names them.
    """
    held, keys = _unwrapped(_read(file))
    if not isinstance(held, Mapping):
        raise InputError(f"holds a {type(held).__name__}, not the state dict of a model", file=file)
    own = model.state_dict()
    fitting, stripped = _renamed(held, own)
    if faults := _mismatches(own, fitting):
        raise InputError(f"does not fit the model: {'; '.join(faults)}", file=file)
    model.load_state_dict(fitting)
    unwrapped = [f"took its {'.'.join(keys)}"] * bool(keys) + stripped
    return [f"{file}: {', '.join(unwrapped)}"] if unwrapped else []


def _unwrapped(held: Any) -> tuple[Any, list[str]]:
    """The value below the wrappers, and their keys."""
    keys: list[str] = []
    while isinstance(held, Mapping):
        key = next((key for key in WRAPPERS if isinstance(held.get(key), Mapping)), None)
        if key is None:
            break
        keys.append(key)
        held = held[key]
    return held, keys


def _renamed(held: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The tensors by the names of the model, and which prefixes were stripped from how many names.

    A name that the model has is kept: the model may hold a module called `module`.
    """
    renamed, counts = {}, dict.fromkeys(PREFIXES, 0)
    for name, tensor in held.items():
        for prefix in PREFIXES:
            shorter = _without(name, prefix) if name not in own else name
            counts[prefix] += shorter != name
            name = shorter
        renamed[name] = tensor
    if len(renamed) < len(held):  # two names became one, so stripping was wrong
        return dict(held), []
    return renamed, [f"stripped {prefix} from {count} names" for prefix, count in counts.items() if count]


def _without(name: Any, prefix: str) -> Any:
    """The name without a prefix that stands at its start or after a dot."""
    return f".{name}".replace(f".{prefix}", ".")[1:] if isinstance(name, str) else name


def _read(file: Path) -> Any:
    check_room(file, check_file(file))
    try:
        with warnings.catch_warnings(action="ignore"):  # PyTorch warns of the format of a file that is no checkpoint
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            "is no checkpoint, or holds more than tensors, which is not loaded; save model.state_dict()", file=file
        ) from None
    except Exception as error:  # a damaged file raises anything from EOFError to RuntimeError
        text = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"cannot be read as a checkpoint ({text})", file=file) from None


def _mismatches(own: Mapping[str, Any], held: Mapping[str, Any]) -> list[str]:
    """Keys that a checkpoint lacks, has in addition, or has with another shape."""
    missing, unknown = [key for key in own if key not in held], [key for key in held if key not in own]
    other = [
        f"{key} is {_shape(held[key])}, not {_shape(own[key])}"
        for key in own
        if key in held and _shape(held[key]) != _shape(own[key])
    ]
    named = [("it lacks", missing), ("it has", unknown), ("", other)]
    return [f"{what} {listed([str(key) for key in keys])}".strip() for what, keys in named if keys]


def _shape(tensor: Any) -> str:
    return descriptions.input_words([tensor]) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
