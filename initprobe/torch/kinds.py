"""What a module is: its kind, its weight and fans, the activation that we know it by, and how to write its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from initprobe.activations import ACTIVATIONS, Activation
from initprobe.results import ModuleKind

_CONVOLUTIONS = (nn.modules.conv._ConvNd,)
_NORMALISATIONS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)
_KINDS: Mapping[ModuleKind, tuple[type, ...]] = {
    "linear": (nn.Linear,),
    "convolution": _CONVOLUTIONS,
    "normalisation": _NORMALISATIONS,
    "attention": (nn.MultiheadAttention,),
}
WEIGHTED: tuple[ModuleKind, ...] = ("linear", "convolution", "attention")

# Those whose value is a distribution over entries or a pair of halves are no map of single entries.
SOFTMAXES = (nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)
_NOT_ELEMENTWISE = (*SOFTMAXES, nn.AdaptiveLogSoftmaxWithLoss)
_KNOWN: Mapping[type, Callable[[Any], Activation]] = {
    nn.ReLU: lambda _: ACTIVATIONS["relu"],
    nn.ReLU6: lambda _: ACTIVATIONS["relu6"],
    nn.Tanh: lambda _: ACTIVATIONS["tanh"],
    nn.Sigmoid: lambda _: ACTIVATIONS["sigmoid"],
    nn.SiLU: lambda _: ACTIVATIONS["silu"],
    nn.Mish: lambda _: ACTIVATIONS["mish"],
    nn.SELU: lambda _: ACTIVATIONS["selu"],
    nn.Softsign: lambda _: ACTIVATIONS["softsign"],
    nn.Hardswish: lambda _: ACTIVATIONS["hardswish"],
    nn.Hardsigmoid: lambda _: ACTIVATIONS["hardsigmoid"],
    nn.GELU: lambda own: ACTIVATIONS["gelu" if own.approximate == "none" else "gelu_tanh"],
    nn.LeakyReLU: lambda own: _with("leaky_relu", slope=own.negative_slope),
    nn.ELU: lambda own: _with("elu", alpha=own.alpha),
    nn.CELU: lambda own: _with("celu", alpha=own.alpha),
}


def _with(name: str, **params: float) -> Activation:
    make = ACTIVATIONS[name].make
    assert make is not None
    return make(**params)


def kind_of(module: Any) -> ModuleKind:
    """The kind of a module, by its class."""
    for kind, classes in _KINDS.items():
        if isinstance(module, classes):
            return kind
    elementwise = type(module).__module__ == nn.ReLU.__module__ and not isinstance(module, _NOT_ELEMENTWISE)
    return "activation" if elementwise or isinstance(module, tuple(_KNOWN)) else "other"


def activation_of(module: Any) -> Activation | None:
    """Our record of an activation module; None for one that we have none of."""
    if type(module) is nn.PReLU:
        return _prelu(module)
    make = _KNOWN.get(type(module))
    return None if make is None else make(module)


def _prelu(module: Any) -> Activation | None:
    """As leaky ReLU, where every channel has the same slope, as at the start."""
    slopes = module.weight.detach()
    low, high = float(slopes.min()), float(slopes.max())
    return _with("leaky_relu", slope=low) if low == high and 0 <= low <= 1 else None


def leaves(model: Any) -> Iterator[tuple[str, Any]]:
    """Modules that are watched, by qualified name: those without children, and those of a kind that hides its own."""
    hidden: set[int] = set()
    for name, module in model.named_modules():
        if id(module) in hidden:
            continue
        if _is_whole(module):
            hidden.update(id(inner) for inner in module.modules())
            yield name, module
        elif next(module.children(), None) is None:
            yield name, module


def _is_whole(module: Any) -> bool:
    """Attention never calls the modules that hold its weights, and a parametrized weight is made by modules below."""
    return kind_of(module) not in ("other", "activation")


def hidden_weights(module: Any) -> Iterator[tuple[str, Any]]:
    """Weighted modules below one that never calls them, by their name from there."""
    if kind_of(module) == "attention":
        found = ((name, inner) for name, inner in module.named_modules() if inner is not module)
        yield from ((name, inner) for name, inner in found if kind_of(inner) == "linear")


def weight_name(module: Any) -> str:
    """What a module calls its weight; attention that which makes queries (and keys and values)."""
    if not isinstance(module, nn.MultiheadAttention):
        return "weight"
    return "q_proj_weight" if module.in_proj_weight is None else "in_proj_weight"


def weight_of(module: Any) -> Any:
    """The weight of a module; None without one."""
    weight: Any = getattr(module, weight_name(module), None)
    return weight if isinstance(weight, Tensor) and weight.is_floating_point() else None


def fans(module: Any) -> tuple[int, int] | None:
    """Entries that an output entry sums over, and output entries that an input entry goes to; None if meaningless."""
    if isinstance(module, nn.MultiheadAttention):
        return module.embed_dim, module.embed_dim
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, _CONVOLUTIONS):
        return _convolution_fans(module)
    return None


def _convolution_fans(module: Any) -> tuple[int, int]:
    """A group sees its own channels only; a transposed convolution spreads its kernel over `stride` positions."""
    taps = math.prod(module.kernel_size)
    if module.transposed:
        taps = max(taps // math.prod(module.stride), 1)
    return module.in_channels // module.groups * taps, module.out_channels // module.groups * taps


def path(name: str) -> str:
    """A module as Python finds it: `model.blocks[3].fc` of `blocks.3.fc`."""
    parts = name.split(".") if name else []
    if not all(part.isdigit() or part.isidentifier() for part in parts):
        return f'model.get_submodule("{name}")'
    return "model" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)
