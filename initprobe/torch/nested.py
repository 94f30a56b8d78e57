"""The tensors in nested tuples, lists, mappings and dataclasses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import torch

from initprobe.torch.measure import is_measured


def tensors(held: object) -> Iterator[Any]:
    """The floating-point tensors in some nest of tuples, lists, mappings and dataclasses, in order, each once."""
    seen: set[int] = set()
    for tensor in _all_tensors(held):
        if is_measured(tensor) and id(tensor) not in seen:
            seen.add(id(tensor))
            yield tensor


def _all_tensors(held: object) -> Iterator[Any]:
    if isinstance(held, torch.Tensor):
        yield held
    elif isinstance(held, Mapping):
        for value in held.values():
            yield from _all_tensors(value)
    elif is_dataclass(held):
        yield from _all_tensors(vars(held))
    elif isinstance(held, Sequence) and not isinstance(held, str | bytes):
        for value in held:
            yield from _all_tensors(value)


def tensors_in(held: object, depth: int = 0) -> Iterator[Any]:
    """Every tensor in the arguments of a call, in order."""
    if isinstance(held, torch.Tensor):
        yield held
    elif isinstance(held, tuple | list) and depth < 3:
        for value in held:
            yield from tensors_in(value, depth + 1)
    elif isinstance(held, dict) and depth < 3:
        for value in held.values():
            yield from tensors_in(value, depth + 1)
