"""Tensors in nested lists, tuples and dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import torch

from initprobe.torch.measure import is_measured

_DEEPEST = 3  # nesting of lists, tuples and dictionaries in the arguments of a call, the arguments themselves included


def tensors(held: object) -> Iterator[Any]:
    """The floating-point tensors in nested tuples, lists, mappings and dataclasses, in order, each once."""
    return each_once(tensor for tensor in _all_tensors(held) if is_measured(tensor))


def each_once(held: Iterable[Any]) -> Iterator[Any]:
    """Objects without those that came before; equal objects are not the same."""
    seen: set[int] = set()
    for each in held:
        if id(each) not in seen:
            seen.add(id(each))
            yield each


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


def tensors_in(held: object) -> list[Any]:
    """Every tensor in the arguments or the output of a call, in order."""
    if isinstance(held, torch.Tensor):
        return [held]
    collected: list[Any] = []
    _collect(held, collected, 1)
    return collected


def _collect(held: object, collected: list[Any], depth: int) -> None:
    if not isinstance(held, tuple | list | dict):
        return
    for value in held.values() if isinstance(held, dict) else held:
        if isinstance(value, torch.Tensor):
            collected.append(value)
        elif depth < _DEEPEST and isinstance(value, tuple | list | dict):
            _collect(value, collected, depth + 1)
