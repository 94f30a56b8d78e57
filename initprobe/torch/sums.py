"""How large each of the two signals is that a sum adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from initprobe.torch.call_kinds import Call
from initprobe.torch.graph import Side
from initprobe.torch.measure import Track, is_measured

_SUMS = frozenset(("add", "sub", "subtract"))


def sides_of(call: Call, made: Any, before: Sequence[Side]) -> tuple[Side, ...]:
    """What a sum adds, in the order of its signals.

    A side that has no statistics yet gets its mean square only: a tenth of the time of all statistics.

    Args:
        call: the sum.
        made: its output; if it was written over an input, only statistics from before tell how large that was.
        before: the sides in earlier draws.

    Returns:
        Two sides; none where the call is another than a sum of two signals.
    """
    pairs = [(tensor, value) for tensor, value in zip(call.tensors, call.values, strict=True) if value.signal]
    if call.name not in _SUMS or len(call.signals) != 2 or len(pairs) != 2:
        return ()
    factors = 1.0, float(call.kwargs.get("alpha", 1))
    earlier = before or (None, None)
    return tuple(
        value.track if value.track is not None and factor == 1 else _measured(tensor, made, factor, squares)
        for (tensor, value), factor, squares in zip(pairs, factors, earlier, strict=True)
    )


def _measured(tensor: Any, made: Any, factor: float, earlier: Side) -> Side:
    """The mean square in each draw, up to this one."""
    if tensor is made or not is_measured(tensor) or tensor.layout is not torch.strided or isinstance(earlier, Track):
        return None
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    norm = float(torch.linalg.vector_norm(tensor.detach(), dtype=dtype))
    return (*(earlier or ()), (factor * norm) ** 2 / tensor.numel())
