"""Where a backward pass starts that is given no loss."""

from __future__ import annotations

from typing import Any

import torch


class Started(torch.autograd.Function):  # type: ignore[misc]
    """One number whose gradient in a tensor is what the backward pass starts with.

    `torch.autograd.grad` given the start itself loads the compiler's symbolic shapes, which takes seconds where disks
    are slow, and tens of MB.
    """

    @staticmethod
    def forward(ctx: Any, end: Any, start: Any) -> Any:
        """0, of the tensor where the pass begins and its gradient there."""
        ctx.start = start
        return torch.zeros((), device=end.device)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[Any, None]:
        """The start as it was given."""
        return ctx.start, None
