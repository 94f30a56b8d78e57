"""Outputs of a model from which no backward pass can start, in words."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import Any

from initprobe.errors import ConfigError
from initprobe.torch.nested import every_tensor, is_searched


def check_output(output: Any, has_layers: bool) -> None:
    """Refuse an output that depends on parameters, perhaps, but without a real tensor that is found in it.

    Args:
        output: of the model, without a real tensor that requires a gradient.
        has_layers: the model has a layer with real weights; another message is for one without.

    Raises:
        ConfigError: it is complex, a generator, a coroutine, or an object that is not searched for tensors.
    """
    if isinstance(output, Iterator | Awaitable):
        kind = type(output).__name__
        raise ConfigError(f"forward returned a {kind}, so its code has not run to the end; return a tensor instead")
    if not is_searched(output):
        raise ConfigError(
            f"forward returned an object of type {type(output).__name__}, which is not searched for tensors; "
            "return a tensor, tuple or dictionary"
        )
    if has_layers and any(tensor.is_complex() and tensor.requires_grad for tensor in every_tensor(output)):
        raise ConfigError(
            "the output of the model is complex; return torch.view_as_real(y), or name a loss that is real"
        )
