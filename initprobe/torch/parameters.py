"""NaN, infinities and zeros in parameters, their gradients and the input."""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from initprobe.errors import ConfigError, InputError
from initprobe.torch.inventory import Inventory
from initprobe.torch.measure import SMALL, is_shared
from initprobe.torch.paths import path

_IN_A_PART = 1 << 20
_MOST_TOGETHER = 1 << 16  # entries of small tensors that are looked at together
_PLAIN = torch.Tensor, torch.nn.Parameter


def void_parameters(parts: Inventory, peaks: Mapping[str, float]) -> dict[str, str]:
    """Parameters that hold NaN or infinities, and buffers that hold NaN.

    Args:
        parts: parameters and buffers of the model.
        peaks: by name, the largest magnitude in each small one, of `small_peaks`.

    Returns:
        What is wrong, in words, by the name of the module.
    """
    faults: dict[str, str] = {}
    for name, what in _void(parts, peaks):
        module, _, own = name.rpartition(".")
        faults.setdefault(module, f"{own} of {path(module)} holds {what}")
    return faults


def _void(parts: Inventory, peaks: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    for name, tensor in parts.parameters.items():
        if not math.isfinite(peaks.get(name, math.nan)) and not _is_finite(tensor):
            yield name, "NaN" if bool(torch.isnan(tensor).any()) else "infinities"
    for name, tensor in parts.buffers.items():
        if math.isnan(peaks.get(name, math.nan)) and bool(torch.isnan(_stored(tensor)).any()):  # infinities make masks
            yield name, "NaN"


def small_peaks(named_tensors: Iterable[tuple[str, Any]]) -> dict[str, float]:
    """The largest magnitude in each small tensor: thousands of biases are looked at in a few calls.

    Args:
        named_tensors: tensors or None.

    Returns:
        By name; NaN for a tensor that holds NaN. Large tensors, and those of unusual types, are left out.
    """
    peaks: dict[str, float] = {}
    waiting: dict[str, Any] = {}
    entries = 0
    for name, tensor in named_tensors:
        if _is_small(tensor):
            waiting[name] = tensor.detach().numpy().reshape(-1)
            entries += waiting[name].size
        if entries > _MOST_TOGETHER:
            peaks |= _peaks(waiting)
            waiting, entries = {}, 0
    return peaks | _peaks(waiting)


def _is_small(tensor: Any) -> bool:
    """Whether it has few entries, and NumPy can hold them without a copy."""
    return type(tensor) in _PLAIN and 0 < tensor.numel() <= SMALL and is_shared(tensor)


def _peaks(rows: Mapping[str, Any]) -> dict[str, float]:
    if not rows:
        return {}
    starts = np.cumsum([0, *(row.size for row in rows.values())])[:-1]
    each = np.maximum.reduceat(np.abs(np.concatenate(list(rows.values()))), starts)
    return dict(zip(rows, each.tolist(), strict=True))


def _is_finite(tensor: Any) -> bool:
    """Whether every entry is finite. The sum is too, unless it overflows, and it needs no mask of that size."""
    return cmath.isfinite(tensor.detach().sum().item()) or bool(torch.isfinite(tensor).all())


def has_nonzero(tensors: Mapping[str, Any], known: Mapping[str, float]) -> dict[str, bool | None]:
    """Whether an entry of each tensor is not 0, by name.

    Args:
        tensors: by name; None where there is none.
        known: largest magnitudes that were measured, by name.

    Returns:
        None for a tensor that is None.
    """
    peaks = {**known, **small_peaks((name, tensor) for name, tensor in tensors.items() if name not in known)}
    return {
        name: None if tensor is None else peaks[name] != 0 if name in peaks else is_nonzero(tensor)
        for name, tensor in tensors.items()
    }


def is_nonzero(tensor: Any) -> bool:
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
        if tensor.is_nested:
            raise InputError("the input: is a nested tensor, which cannot be measured; give a padded one and its mask")
        if tensor.layout is not torch.strided:
            _check_stored(tensor)
        elif tensor.is_floating_point() or tensor.is_complex():
            masked = torch.isneginf(tensor) if len(given) > 1 and not tensor.is_complex() else False
            places = (~(torch.isfinite(tensor) | masked)).nonzero()
            if len(places):
                raise InputError(_place_words(tensor, places[0].tolist()))


def _check_stored(tensor: Any) -> None:
    """Refuse a sparse input of which a stored entry is NaN or infinite."""
    stored = _stored(tensor)
    lost = stored[~torch.isfinite(stored)]
    if len(lost):
        raise InputError(f"the input: a stored entry of a sparse tensor is {lost[0].item()}, no finite number")


def _stored(tensor: Any) -> Any:
    """The entries that a tensor holds: all, or those that a sparse one stores."""
    if tensor.layout is torch.strided:
        return tensor
    return tensor.detach()._values() if tensor.layout is torch.sparse_coo else tensor.detach().values()


def _place_words(tensor: Any, place: Sequence[int]) -> str:
    """`the input: row 1, column 3: nan is no finite number`, counted from 1; an index in more dimensions."""
    entry = tensor[tuple(place)].item()
    at = f"row {place[0] + 1}, column {place[1] + 1}" if len(place) == 2 else f"entry {list(place)}"
    return f"the input: {at}: {entry} is no finite number"
