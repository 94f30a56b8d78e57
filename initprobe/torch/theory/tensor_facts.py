"""Facts about the tensors of a call that theory needs, noted while the tensors exist."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import torch

from initprobe.arrays import Array
from initprobe.torch import module_kinds
from initprobe.torch.call_kinds import Call
from initprobe.torch.layer_facts import GATES
from initprobe.torch.theory.place_facts import WITH_PLACES, bag_facts, place_facts

_OTHERS = frozenset(("embedding", "embedding_bag", "softmax", "scaled_dot_product_attention"))
WITH_FACTS = _OTHERS | module_kinds.RECURRENCES | WITH_PLACES
# What is added to logits up to this masks them: exp of it is lost beside 1.
MASKED = -40.0
_MOST_OPEN = 1 << 17  # logits that are looked at
_GAP = 20.0  # between masked logits and all others
_FAR = -1e4  # logits up to this are masked, however far apart the others lie


def tensor_facts(call: Call) -> Mapping[str, Array]:
    """What only the tensors of a call of `WITH_FACTS` can tell.

    Args:
        call: the call.

    Returns:
        By name: `equal`, the share of equal tokens of an embedding; `open`, the entries that attention sees. `gates`:
        mean and variance of each gate's part of each parameter of a recurrence, `(parameters, gates, 2)`. Of places,
        see `place_facts`.
    """
    if call.name in module_kinds.RECURRENCES:
        return {"gates": _gates(call)}
    if call.name == "embedding_bag":
        return bag_facts(call)
    if call.name in WITH_PLACES:
        return place_facts(call)
    if call.name == "embedding" and call.args:
        return {"equal": _equal(call.args[0].detach().cpu().numpy())}
    if call.name == "softmax" and call.tensors[0].ndim > 1:
        return {"open": _open_windows(call.tensors[0].detach())}
    if call.name == "scaled_dot_product_attention":
        mask = call.kwargs.get("attn_mask", call.args[3] if len(call.args) > 3 else None)
        return {} if mask is None else {"open": _open_windows(mask.detach())}
    return {}


def _gates(call: Call) -> Array:
    """Mean and variance of each gate's part of each parameter of a recurrence; NaN where there is no such part."""
    count = len(GATES.get(call.name.removesuffix("_cell"), ("",)))
    held = call.args[2:] if call.name.endswith("_cell") else call.args[3 if len(call.args) > 9 else 2]
    made = np.full((len(held), count, 2), np.nan)
    for place, tensor in enumerate(held):
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and len(tensor) % count == 0:
            parts = tensor.detach().double().reshape(count, -1)
            made[place] = torch.stack([parts.mean(1), parts.var(1, correction=0)], 1).cpu().numpy()
    return made


def _open_windows(logits: Any) -> Array:
    """The same as `_open` for several samples or windows, `(windows, queries, keys)`, where masks differ."""
    first = logits
    while first.ndim > 3:
        first = first[:, 0]
    count = max(min(len(first), _MOST_OPEN // max(first[0].numel(), 1)), 1)
    if first.ndim < 3 or count == 1:
        return _open(logits)
    windows = np.array([_open(first[round(place)]) for place in np.linspace(0, len(first) - 1, count)])
    return np.asarray(windows if (windows != windows[0]).any() else windows[0])


def _open(logits: Any) -> Array:
    """Which logits of the first sample are not masked, `(queries, keys)`.

    They are booleans, or numbers that are added to logits, or logits. Masked ones lie far below all others.
    """
    while logits.ndim > 2:
        logits = logits[0]
    if logits.dtype == torch.bool:
        return np.atleast_2d(logits.cpu().numpy())
    numbers = np.atleast_2d(logits.float().cpu().numpy())
    is_open = np.isfinite(numbers) & (numbers > MASKED)
    least = numbers[is_open].min(initial=0.0)
    return np.asarray(is_open) if least > MASKED + _GAP else np.isfinite(numbers) & (numbers > _FAR)


def _equal(tokens: Array) -> Array:
    """Share of equal tokens among two, by the axes along which their places differ, `(2, ..., 2)`."""
    ndim = tokens.ndim
    sums = {axes: _equal_within(tokens, axes) for count in range(ndim + 1) for axes in combinations(range(ndim), count)}
    shape = tuple(min(size, 2) for size in tokens.shape)
    equal = np.empty(shape)
    for place in np.ndindex(shape):
        axes = tuple(axis for axis, index in enumerate(place) if index)
        parts = [part for count in range(len(axes) + 1) for part in combinations(axes, count)]
        total = sum((-1) ** (len(axes) - len(part)) * sums[part] for part in parts)
        equal[place] = total / (tokens.size * math.prod(tokens.shape[axis] - 1 for axis in axes))
    return equal


def _equal_within(tokens: Array, axes: tuple[int, ...]) -> float:
    """Number of pairs of equal tokens that differ along these axes at most."""
    others = tuple(axis for axis in range(tokens.ndim) if axis not in axes)
    rows = np.transpose(tokens, (*others, *axes)).reshape(math.prod(tokens.shape[axis] for axis in others), -1)
    return float(sum(count * count for row in rows.tolist() for count in Counter(row).values()))
