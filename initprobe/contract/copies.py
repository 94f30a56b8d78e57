"""Tensors that are one under two names, equal, or drawn from equal seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from initprobe.contract.parameter import Parameter

# Signs of this many entries agree by chance in one pair of 2^64.
_COMPARED = 64


@dataclass(frozen=True)
class Copies:
    """Groups of names.

    Attributes:
        ties: one tensor under several names.
        clones: tensors of their own with equal entries.
        equal_seeds: tensors whose first 64 entries have equal signs, which independent draws do not have.
    """

    ties: tuple[tuple[str, ...], ...] = ()
    clones: tuple[tuple[str, ...], ...] = ()
    equal_seeds: tuple[tuple[str, ...], ...] = ()


def copies_of(parameters: Sequence[Parameter]) -> Copies:
    """What is not drawn on its own. Constant tensors are no copies of each other."""
    drawn = [parameter for parameter in parameters if _is_drawn(parameter)]
    clones = _groups(drawn, _entries)
    first = {name: group[0] for group in clones for name in group}
    others = [parameter for parameter in drawn if first.get(parameter.name, parameter.name) == parameter.name]
    ties = tuple((parameter.name, *parameter.ties) for parameter in parameters if parameter.ties)
    return Copies(ties, clones, _groups(others, _signs))


def _is_drawn(parameter: Parameter) -> bool:
    """Long enough to be compared, and neither constant nor mostly zero."""
    first = parameter.values.reshape(-1)[:_COMPARED]
    return first.size == _COMPARED and len(np.unique(first)) > _COMPARED // 2


def _entries(parameter: Parameter) -> Hashable:
    return parameter.values.shape, blake2b(np.ascontiguousarray(parameter.values).data).digest()


def _signs(parameter: Parameter) -> Hashable:
    first = parameter.values.reshape(-1)[:_COMPARED]
    signs: bytes = (first > np.median(first)).tobytes()
    return signs


def _groups(parameters: Sequence[Parameter], key: Callable[[Parameter], Hashable]) -> tuple[tuple[str, ...], ...]:
    """Names of the parameters that share a key."""
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for parameter in parameters:
        groups[key(parameter)].append(parameter.name)
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)
