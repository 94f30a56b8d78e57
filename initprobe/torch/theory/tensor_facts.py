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
# What is added to logits up to this masks them: exp of it is lost beside 1, but in numbers of 64 bits.
MASKED = -40.0
_FAR = -1e4  # logits up to this are masked


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
        return {"open": _open(call.tensors[0].detach(), _FAR)}
    if call.name == "scaled_dot_product_attention":
        mask = call.kwargs.get("attn_mask", call.args[3] if len(call.args) > 3 else None)
        return {} if mask is None else {"open": _open(mask.detach(), MASKED)}
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


def _open(logits: Any, least: float) -> Array:
    """Which logits of the first sample are not masked, `(queries, keys)`."""
    while logits.ndim > 2:
        logits = logits[0]
    visible = logits if logits.dtype == torch.bool else torch.isfinite(logits) & (logits > least)
    return np.atleast_2d(visible.cpu().numpy())


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
