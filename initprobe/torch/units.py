"""Units of a tensor: along which axis they are, which are off for every sample, and which entries are saturated."""

from __future__ import annotations

from typing import Any


def axis_of(call: Any, kind: str, before: int, tensor: Any) -> int:
    """The axis of the units of what a call gives."""
    if kind == "layer":
        return 1 if call.name.startswith("conv") and tensor.ndim > 2 else -1
    if kind in ("norm", "activation", "shift", "scale", "pool", "sum", "gate", "softmax"):
        return before
    return axis_after(call, before)


def axis_after(call: Any, before: int) -> int:
    """Where an axis is after another arrangement of the entries; the last where that is unknown."""
    ndim = call.tensors[0].ndim if call.tensors else 1
    numbers = [one for one in call.rest if isinstance(one, int)]
    if before == -1:
        return -1 if call.name not in ("permute", "transpose") else _moved(call, numbers, ndim, ndim - 1)
    if call.name in ("permute", "transpose"):
        return _moved(call, numbers, ndim, before)
    return -1 if call.name in ("flatten", "view", "reshape") else before


def _moved(call: Any, numbers: list[int], ndim: int, before: int) -> int:
    if call.name == "permute":
        given = call.rest[0] if call.rest and isinstance(call.rest[0], tuple | list) else numbers
        order = [one % ndim for one in given]
        return order.index(before) if before in order else -1
    places = [one % ndim for one in numbers[:2]]
    if len(places) == 2 and before in places:
        return places[1 - places.index(before)]
    return before


def dead_share(op: Any, z: Any, h: Any) -> list[float]:
    """Share of the units that are off for every sample (and at every position), where they can be."""
    act = op.activation
    if act is None or act.dead_below is None or z.ndim < 2:
        return []
    if z.data_ptr() == h.data_ptr():
        z = h  # overwritten: 0 where it is off, as dead_below is 0 for all that overwrite
    others = [place for place in range(z.ndim) if place != op.axis % z.ndim]
    highest = z.detach().amax(others)
    return [float((highest <= act.dead_below).double().mean())]


def saturated_entries(op: Any, h: Any) -> int:
    """Entries of an activation's output in its saturated band."""
    band = op.activation.saturation if op.activation else None
    if band is None:
        return 0
    plain = h.detach()
    return int((plain <= band.low).sum() + (plain >= band.high).sum())
