"""Parametrized weights: computed without a trace, and whether values can be assigned to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils import parametrize

from initprobe.torch.restore import random_states_kept


@contextmanager
def computed_without_trace(module: nn.Module) -> Iterator[None]:
    """Restore what computing its parametrized weights may change: a spectral norm keeps its vectors in buffers."""
    copies = [buffer.clone() for buffer in module.parametrizations.buffers()]
    try:
        with torch.no_grad(), random_states_kept():
            yield
    finally:
        for buffer, before in zip(module.parametrizations.buffers(), copies, strict=True):
            buffer.copy_(before)


def takes_values(model: nn.Module, name: str) -> bool:
    """Whether a weight can be assigned. It is not parametrized, or every step has an inverse that takes a normal draw.

    Args:
        model: the model; it is not changed.
        name: of the whole weight, such as `fc.weight`.
    """
    holder_name, _, own = name.rpartition(".")
    holder = model.get_submodule(holder_name)
    if not parametrize.is_parametrized(holder, own):
        return True
    try:
        with computed_without_trace(holder):
            like = getattr(holder, own)
            value = torch.randn(like.shape, generator=torch.Generator()).to(like)  # drawn on the CPU for any device
            for step in reversed(list(holder.parametrizations[own])):
                value = step.right_inverse(value)
    except Exception:  # any error of the user's code says that it takes no such value
        return False
    return True
