"""Tensors in nested lists, tuples and dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import torch

from initprobe.torch.measure import is_measured

_NESTS = (tuple, list, dict)
_DEEPEST = 3  # levels of nesting that are searched; the arguments of a call are the first


def tensors(held: object) -> Iterator[Any]:
    """The floating-point tensors in nested tuples, lists, mappings and dataclasses, in order, each once."""
    if isinstance(held, torch.Tensor):
        return iter((held,) if is_measured(held) else ())
    return each_once(tensor for tensor in _all_tensors(held) if is_measured(tensor))


def each_once(held: Iterable[Any]) -> Iterator[Any]:
    """Objects without those that came before; equal objects are not the same."""
    visited: set[int] = set()
    for each in held:
        if id(each) not in visited:
            visited.add(id(each))
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
    """Every tensor in the output of a call, in order."""
    if isinstance(held, torch.Tensor):
        return [held]
    collected: list[Any] = []
    if isinstance(held, _NESTS):
        _collect(held, collected, _DEEPEST)
    return collected


def tensors_in_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Every tensor in the arguments of a call, in order.

    Args:
        args, kwargs: of the call.
    """
    collected: list[Any] = []
    _collect(args, collected, _DEEPEST - 1)
    if kwargs:
        _collect(kwargs, collected, _DEEPEST - 1)
    return collected


def _collect(held: Any, collected: list[Any], depth: int) -> None:
    """Append the tensors in a nest; those in nests within it down to so many levels, this one included."""
    for value in held.values() if isinstance(held, dict) else held:
        if isinstance(value, torch.Tensor):
            collected.append(value)
        elif depth > 1 and isinstance(value, _NESTS):
            _collect(value, collected, depth - 1)
