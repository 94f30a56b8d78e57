"""The parameters of a model as records of a contract: what the model computes with, under names that its user knows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from initprobe.contract.parameter import Parameter
from initprobe.errors import ConfigError

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# The old `nn.utils.weight_norm` keeps these two in place of `weight`.
_NORM_PARTS = ("_g", "_v")


def parameters_of(model: nn.Module) -> list[Parameter]:
    """Every parameter of a model, each tensor once; nothing is copied that is on the CPU in 32 or 64 bits.

    Of a parametrized or weight-normed layer this is the whole weight, as the layer computes it.

    Raises:
        ConfigError: a parameter is not initialized yet (lazy modules), or lies on the meta device.
    """
    names: dict[int, list[str]] = {}
    weights: list[tuple[str, torch.Tensor, nn.Module]] = []
    for name, tensor, module in _tensors(model):
        if id(tensor) not in names:
            weights.append((name, tensor, module))
        names.setdefault(id(tensor), []).append(name)
    return [_parameter(name, tensor, module, tuple(names[id(tensor)][1:])) for name, tensor, module in weights]


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor, nn.Module]]:
    for prefix, module in model.named_modules(remove_duplicate=False):
        if prefix.split(".")[-1] == "parametrizations" or ".parametrizations." in f".{prefix}.":
            continue
        for name, tensor in _own(module):
            yield f"{prefix}.{name}" if prefix else name, tensor, module


def _own(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """A module's own weights, whole."""
    if parametrize.is_parametrized(module):
        with torch.no_grad():
            for name in module.parametrizations:
                yield str(name), getattr(module, str(name))
    held = dict(module.named_parameters(recurse=False))
    for name, tensor in held.items():
        stem = name.removesuffix("_g").removesuffix("_v")
        if stem != name and all(stem + part in held for part in _NORM_PARTS):
            if name.endswith("_v"):
                yield stem, _normed(tensor, held[stem + "_g"])
        else:
            yield name, tensor


def _normed(direction: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """`g v / |v|`: the norm is over all axes along which `g` has one entry."""
    axes = [axis for axis, size in enumerate(length.shape) if size == 1]
    with torch.no_grad():
        return length * direction / direction.norm(dim=axes, keepdim=True)


def _parameter(name: str, tensor: torch.Tensor, module: nn.Module, ties: tuple[str, ...]) -> Parameter:
    if isinstance(tensor, nn.parameter.UninitializedParameter) or tensor.is_meta:
        raise ConfigError(f"{name}: has no values yet; run the model once, or make it on a device")
    held = tensor.detach()
    rounding = torch.finfo(held.dtype).eps if held.is_floating_point() else 0.0
    wide = held if held.dtype in (torch.float32, torch.float64) else held.to(torch.float32)
    values = wide.cpu().numpy()
    padding = getattr(module, "padding_idx", None)
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) and isinstance(padding, int):
        values = _without(values, padding)
    return Parameter(name, values, _fans(held, module), rounding, ties, _layer_fan_in(held, module))


def _layer_fan_in(tensor: torch.Tensor, module: nn.Module) -> int | None:
    weight = getattr(module, "weight", None)
    fans = _fans(weight, module) if tensor.ndim == 1 and isinstance(weight, torch.Tensor) else None
    return None if fans is None else fans[0]


def _without(values: Any, row: int) -> Any:
    import numpy as np

    return np.delete(values, row, axis=0)


def _fans(tensor: torch.Tensor, module: nn.Module) -> tuple[int, int] | None:
    """`(fan_in, fan_out)` as the operation sums, per group and without strides, as `torch.nn.init` counts them."""
    if tensor.ndim < 2:
        return None
    taps = math.prod(tensor.shape[2:])
    first, second = tensor.shape[0] * taps, tensor.shape[1] * taps
    groups = getattr(module, "groups", 1)
    if isinstance(module, _TRANSPOSED):
        return first // groups, second
    if type(module).__name__ == "Conv1D":
        return first, second
    return second, first // groups if isinstance(groups, int) else first
