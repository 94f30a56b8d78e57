"""The start of a backward pass without a loss."""

from __future__ import annotations

from typing import Any

import torch


class Started(torch.autograd.Function):  # type: ignore[misc]
    """A scalar whose gradient with respect to a tensor is the one that the backward pass starts with.

    `torch.autograd.grad` with `grad_outputs` would load the compiler's symbolic shapes. That takes tens of MB, and
    seconds on slow disks.
    """

    @staticmethod
    def forward(ctx: Any, end: Any, start: Any) -> Any:
        """0, as a function of the tensor where the pass starts and of its gradient there.

        Args:
            ctx: of PyTorch.
            end: the tensor where the pass starts.
            start: its gradient, of the same shape.
        """
        ctx.start = start
        return torch.zeros((), device=end.device)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[Any, None]:
        """The given gradient.

        Args:
            ctx, _: of PyTorch.
        """
        return ctx.start, None
