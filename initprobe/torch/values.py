"""The parameters of a model as records of a contract. The model computes with them, under names that its user knows."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from initprobe.contract.parameter import Parameter
from initprobe.torch.parametrized import computed_without_trace

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# The old `nn.utils.weight_norm` keeps these two in place of `weight`.
_NORM_PARTS = ("_g", "_v")


def parameters_of(model: nn.Module) -> list[Parameter]:
    """Every parameter of a model, each tensor once. Nothing is copied that is on the CPU in 32 or 64 bits.

    Of a parametrized or weight-normed layer this is the whole weight, as the layer computes it. A parameter without
    values that can be compared says why.
    """
    names: dict[Hashable, list[str]] = {}
    weights: list[tuple[str, torch.Tensor, nn.Module]] = []
    for name, tensor, module in _tensors(model):
        if _identity(tensor) not in names:
            weights.append((name, tensor, module))
        names.setdefault(_identity(tensor), []).append(name)
    return [_parameter(name, tensor, module, tuple(names[_identity(tensor)][1:])) for name, tensor, module in weights]


def _identity(tensor: torch.Tensor) -> Hashable:
    """Equal for one tensor, and for two that show the same memory in the same way."""
    is_lazy = isinstance(tensor, nn.parameter.UninitializedParameter)
    if is_lazy or tensor.is_meta or tensor.layout != torch.strided or not tensor.numel() or tensor.data_ptr() == 0:
        return id(tensor)
    return tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor, nn.Module]]:
    held: dict[int, list[tuple[str, torch.Tensor]]] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        if prefix.split(".")[-1] == "parametrizations" or ".parametrizations." in f".{prefix}.":
            continue
        if id(module) not in held:
            held[id(module)] = list(_own(module))
        for name, tensor in held[id(module)]:
            yield f"{prefix}.{name}" if prefix else name, tensor, module


def _own(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """A module's own weights, whole."""
    if parametrize.is_parametrized(module):
        with computed_without_trace(module):
            whole = [(str(name), getattr(module, str(name))) for name in module.parametrizations]
        yield from whole
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
    if reason := _unreadable(tensor):
        return Parameter(name, np.empty(0), None, ties=ties, unreadable=reason)
    held = tensor.detach()
    rounding = torch.finfo(held.dtype).eps if held.is_floating_point() else 0.0
    wide = held if held.dtype in (torch.float32, torch.float64) else held.to(torch.float32)
    values = wide.cpu().numpy()
    padding = getattr(module, "padding_idx", None)
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) and isinstance(padding, int):
        values = np.delete(values, padding, axis=0)
    return Parameter(name, values, _fans(held, module), rounding, ties, _torch_fan_in(held, module))


def _unreadable(tensor: torch.Tensor) -> str:
    """Why a parameter has no values that can be compared; empty if it has."""
    if isinstance(tensor, nn.parameter.UninitializedParameter):
        return "has no values yet: run the model once"
    if tensor.is_meta:
        return "has no values on the meta device: make the model on another"
    if tensor.layout != torch.strided:
        return "is sparse, so its entries cannot be compared"
    if tensor.is_quantized or tensor.is_complex():
        return f"is {'quantized' if tensor.is_quantized else 'complex'}, so its entries cannot be compared"
    if tensor.is_floating_point() and not torch.isfinite(tensor.detach()).all():
        return "holds NaN or infinity"
    return ""


def _torch_fan_in(tensor: torch.Tensor, module: nn.Module) -> int | None:
    """As `reset_parameters` counts it: the second axis of the weight times its taps, and of a recurrence its width."""
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return int(module.hidden_size)
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) or type(module).__name__ == "Conv1D":
        return None
    weight = _whole_weight(module)
    weight = weight if isinstance(weight, torch.Tensor) else tensor
    if weight.ndim < 2 or (tensor.ndim > 1 and tensor.shape != weight.shape):
        return None
    return int(weight.shape[1]) if isinstance(module, nn.Bilinear) else math.prod(weight.shape[1:])


def _whole_weight(module: nn.Module) -> object:
    if not parametrize.is_parametrized(module, "weight"):
        return getattr(module, "weight", None)
    with computed_without_trace(module):
        return getattr(module, "weight", None)


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
