"""Units of a tensor: their axis, the share that is dead, and the entries that are saturated."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from initprobe.torch.measure import SMALL, array_of

if TYPE_CHECKING:
    from initprobe.torch.call_kinds import Call
    from initprobe.torch.graph import Operation

_OF_NUMPY = (torch.float32, torch.float64)  # NumPy compares them with a number as PyTorch does


def axis_of(call: Call, kind: str, before: int, tensor: Any) -> int:
    """The axis of the units in the output of a call.

    Args:
        call: the call.
        kind: what the call does.
        before: the axis of the units in its input.
        tensor: its output.

    Returns:
        The axis; -1 for the last.
    """
    if kind == "layer":
        return 1 if call.name.startswith("conv") and tensor.ndim > 2 else -1
    if kind in ("norm", "activation", "shift", "scale", "pool", "sum", "gate", "softmax"):
        return before
    return axis_after(call, before)


def axis_after(call: Call, before: int) -> int:
    """The axis after a call that rearranges entries; the last where that is unknown.

    Args:
        call: an operation.
        before: the axis of units before it.
    """
    ndim = call.tensors[0].ndim if call.tensors else 1
    numbers = [argument for argument in call.rest if isinstance(argument, int)]
    if before == -1:
        return -1 if call.name not in ("permute", "transpose") else _moved(call, numbers, ndim, ndim - 1)
    if call.name in ("permute", "transpose"):
        return _moved(call, numbers, ndim, before)
    return -1 if call.name in ("flatten", "view", "reshape") else before


def _moved(call: Call, numbers: list[int], ndim: int, before: int) -> int:
    if call.name == "permute":
        given = call.rest[0] if call.rest and isinstance(call.rest[0], tuple | list) else numbers
        order = [axis % ndim for axis in given]
        return order.index(before) if before in order else -1
    places = [axis % ndim for axis in numbers[:2]]
    if len(places) == 2 and before in places:
        return places[1 - places.index(before)]
    return before


def dead_share(op: Operation, z: Any, h: Any) -> list[float]:
    """Share of the units that are off for every sample and at every position.

    Args:
        op: the activation.
        z: its input, of shape `(batch, ...)`.
        h: its output.

    Returns:
        One number, or none for an activation whose units cannot die.
    """
    act = op.activation
    if act is None or act.dead_below is None or z.ndim < 2:
        return []
    if z.data_ptr() == h.data_ptr():
        z = h  # overwritten in place: 0 where it is off, as dead_below is 0 for all that do so
    others = _axes_but(op.axis, z.ndim)
    if z.is_cpu and z.numel() <= SMALL:
        highest = np.maximum.reduce(array_of(z), axis=others)
        return [np.count_nonzero(highest <= act.dead_below) / highest.size]
    return [float((z.detach().amax(others) <= act.dead_below).double().mean())]


@lru_cache
def _axes_but(axis: int, ndim: int) -> tuple[int, ...]:
    return tuple(place for place in range(ndim) if place != axis % ndim)


def saturated_entries(op: Operation, h: Any) -> int:
    """Number of entries of an activation's output in its saturated band.

    Args:
        op: with its activation.
        h: output of the activation, a tensor.
    """
    band = op.activation.saturation if op.activation else None
    if band is None:
        return 0
    if h.is_cpu and h.numel() <= SMALL and h.dtype in _OF_NUMPY:
        entries = array_of(h)
        return int(np.count_nonzero(entries <= band.low) + np.count_nonzero(entries >= band.high))
    plain = h.detach()
    return int((plain <= band.low).sum() + (plain >= band.high).sum())
