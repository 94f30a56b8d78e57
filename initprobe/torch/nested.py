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
    return each_once(tensor for tensor in every_tensor(held) if is_measured(tensor))


def each_once(held: Iterable[Any]) -> Iterator[Any]:
    """Objects without those that came before; equal objects are not the same."""
    visited: set[int] = set()
    for each in held:
        if id(each) not in visited:
            visited.add(id(each))
            yield each


def is_searched(held: object) -> bool:
    """Whether tensors in it are found, or there can be none: a number, a text or None."""
    plain = None | bool | int | float | complex | str | bytes
    return isinstance(held, plain | torch.Tensor | Mapping | Sequence) or is_dataclass(held)


def every_tensor(held: object) -> Iterator[Any]:
    """Every tensor, of any dtype, in nested tuples, lists, mappings and dataclasses, in order."""
    if isinstance(held, torch.Tensor):
        yield held
    elif isinstance(held, Mapping):
        for value in held.values():
            yield from every_tensor(value)
    elif is_dataclass(held):
        yield from every_tensor(vars(held))
    elif isinstance(held, Sequence) and not isinstance(held, str | bytes):
        for value in held:
            yield from every_tensor(value)


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
