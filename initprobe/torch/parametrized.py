"""Parametrized weights: whether values can be assigned to them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

from initprobe.torch.restore import random_states_kept


def takes_values(model: nn.Module, name: str) -> bool:
    """Whether a weight can be assigned: it is not parametrized, or every step has an inverse that takes a normal draw.

    Args:
        model: the model; it is not changed.
        name: of the whole weight, such as `fc.weight`.
    """
    holder_name, _, own = name.rpartition(".")
    holder = model.get_submodule(holder_name)
    if not parametrize.is_parametrized(holder, own):
        return True
    steps = holder.parametrizations[own]
    buffers = [buffer.clone() for buffer in steps.buffers()]
    try:
        with torch.no_grad(), random_states_kept():
            like = getattr(holder, own)
            value = torch.randn(like.shape, generator=torch.Generator()).to(like)  # drawn on the CPU for any device
            for step in reversed(list(steps)):
                value = step.right_inverse(value)
    except Exception:  # any error of the user's code says that it takes no such value
        return False
    finally:
        for buffer, before in zip(steps.buffers(), buffers, strict=True):
            buffer.copy_(before)
    return True
