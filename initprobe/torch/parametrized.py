"""Parametrized weights: whether values can be assigned to them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize


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
    state = torch.get_rng_state()
    try:
        with torch.no_grad():
            value = torch.randn_like(getattr(holder, own))
            for step in reversed(list(steps)):
                value = step.right_inverse(value)
    except Exception:  # any error of the user's code says that it takes no such value
        return False
    finally:
        torch.set_rng_state(state)
        for buffer, before in zip(steps.buffers(), buffers, strict=True):
            buffer.copy_(before)
    return True
