"""NaN and infinities in parameters and in the input."""

from __future__ import annotations

import cmath
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from initprobe.errors import ConfigError, InputError
from initprobe.torch.inventory import Inventory
from initprobe.torch.paths import path

_IN_A_PART = 1 << 20


def void_parameters(parts: Inventory) -> dict[str, str]:
    """Parameters that hold NaN or infinities, and buffers that hold NaN.

    Args:
        parts: parameters and buffers of the model.

    Returns:
        What is wrong, in words, by the name of the module.
    """
    faults: dict[str, str] = {}
    for name, what in _void(parts):
        module, _, own = name.rpartition(".")
        faults.setdefault(module, f"{own} of {path(module)} holds {what}")
    return faults


def _void(parts: Inventory) -> Iterator[tuple[str, str]]:
    for name, tensor in parts.parameters.items():
        if not _is_finite(tensor):
            yield name, "NaN" if bool(torch.isnan(tensor).any()) else "infinities"
    for name, tensor in parts.buffers.items():
        if bool(torch.isnan(tensor).any()):  # a mask is made of infinities
            yield name, "NaN"


def _is_finite(tensor: Any) -> bool:
    """Whether every entry is finite. The sum is too, unless it overflows, and it needs no mask of that size."""
    return cmath.isfinite(tensor.detach().sum().item()) or bool(torch.isfinite(tensor).all())


def has_nonzero(tensor: Any) -> bool:
    """Whether an entry is not 0. In parts, as `any` makes a mask of all floats first."""
    if tensor.layout is not torch.strided or tensor.numel() <= _IN_A_PART:
        return bool(tensor.any())
    rows = max(_IN_A_PART * len(tensor) // tensor.numel(), 1)
    return any(bool(part.any()) for part in tensor.split(rows))


def check_tensors(parts: Inventory) -> None:
    """Refuse a model on the meta device, which holds shapes and no numbers.

    Raises:
        ConfigError: names a parameter.
    """
    if meta := next((name for name, tensor in parts.tensors if tensor.is_meta), None):
        raise ConfigError(f"{meta}: is on the meta device, without numbers; model.to_empty(device='cpu') and init it")


def check_input(given: Sequence[Any]) -> None:
    """Refuse an input that makes every result NaN.

    Raises:
        InputError: an entry is NaN or infinite; names its place. A mask beside another input may hold -inf.
    """
    for tensor in given:
        if tensor.is_meta:
            raise InputError("the input: is on the meta device, without numbers; give a tensor that has some")
        if tensor.is_floating_point() or tensor.is_complex():
            masked = torch.isneginf(tensor) if len(given) > 1 and not tensor.is_complex() else False
            places = (~(torch.isfinite(tensor) | masked)).nonzero()
            if len(places):
                raise InputError(_place_words(tensor, places[0].tolist()))


def _place_words(tensor: Any, place: Sequence[int]) -> str:
    """`the input: row 1, column 3: nan is no finite number`, counted from 1; an index in more dimensions."""
    entry = tensor[tuple(place)].item()
    at = f"row {place[0] + 1}, column {place[1] + 1}" if len(place) == 2 else f"entry {list(place)}"
    return f"the input: {at}: {entry} is no finite number"
