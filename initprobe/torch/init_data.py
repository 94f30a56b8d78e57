"""Layer-sequential unit variance: in one pass, each weight is scaled until its layer gives variance 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from initprobe.torch import module_kinds
from initprobe.torch.arguments import called
from initprobe.torch.call_kinds import opened
from initprobe.torch.init_plan import Observed
from initprobe.torch.init_settings import Setting, whole_name
from initprobe.torch.restore import left_as_found, mapped
from initprobe.torch.structure import Layer

_ROUNDS = 3  # a bias is not scaled with its weight
_CLOSE = 0.01
_SINGLE = 2.0**-23  # machine epsilon of single precision
_UNSCALED = "not scaled to the input, whose samples hardly differ here"


@dataclass(frozen=True)
class _Weight:
    """A weight that is scaled at its first use.

    Attributes:
        name: of the whole weight.
        variance: that its product is to have.
        fan_in: how many entries of it are summed per output.
        read: the tensor that the layer computes with.
        scale: multiplies that tensor, and what it is made of, by a factor.
        finish: writes the tensor into the parameters that it is computed from.
    """

    name: str
    variance: float
    fan_in: int
    read: Callable[[], Any]
    scale: Callable[[float], object]
    finish: Callable[[Any], object] = lambda tensor: None


class _Scaling(TorchFunctionMode):  # type: ignore[misc]
    """Scales each weight in place at its first use, whole or as a view, such as `w.T`."""

    def __init__(self, weights: Sequence[_Weight]) -> None:
        super().__init__()
        self._waiting = list(weights)
        self.scaled: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name, handling = module_kinds.handling(func)
        if handling == "open":
            with self:
                return opened(func)(*args, **kwargs)
        output = func(*args, **kwargs)
        if name not in module_kinds.PRODUCTS or not isinstance(output, torch.Tensor):
            return output
        tensors = [held for held in (*args, *kwargs.values()) if isinstance(held, torch.Tensor)]
        memory = {_memory(held) for held in tensors}
        weight = next((each for each in self._waiting if _memory(each.read()) in memory), None)
        if weight is None:
            return output
        self._waiting.remove(weight)
        if not _is_measurable(output, tensors, weight):
            return output
        self.scaled.add(weight.name)
        return self._scaled(lambda: func(*args, **kwargs), output, weight)

    def _scaled(self, again: Any, output: Any, weight: _Weight) -> Any:
        for _ in range(_ROUNDS):
            variance = _variance(output)
            if not 0 < variance < math.inf or abs(variance / weight.variance - 1) < _CLOSE:
                break
            weight.scale(math.sqrt(weight.variance / variance))
            output = again()
        return output


def _variance(output: Any) -> float:
    """Over samples and units."""
    return float(output.double().var(correction=0)) if output.numel() > 1 else 0.0


def _is_measurable(output: Any, tensors: Sequence[Any], weight: _Weight) -> bool:
    """Whether a product varies by more than what rounding leaves of it.

    Independent entries give the variance `fan_in E[w^2] E[x^2]`. A variance below the machine epsilon times that comes
    from samples that agree in more than half of their digits. What is left is partly rounding, which must not be scaled
    up. The epsilon is at least that of single precision, so that no factor is above `2^11.5 = 2900`.
    """
    variance = _variance(output)
    inputs = [held for held in tensors if held.ndim > 1 and _memory(held) != _memory(weight.read())]
    square = max((_mean_square(held) for held in inputs), default=0.0)
    epsilon = max(float(torch.finfo(output.dtype).eps), _SINGLE)
    return epsilon * weight.fan_in * _mean_square(weight.read()) * square < variance < math.inf


def _memory(tensor: Any) -> int:
    """Equal for a tensor and its views."""
    return int(tensor.untyped_storage().data_ptr()) if isinstance(tensor, torch.Tensor) else 0


def scale_to_data(observed: Observed, settings: Sequence[Setting]) -> list[Setting]:
    """Scale the weights of a model, which hold the draw of these settings, to its input.

    Mishkin & Matas 2016, arXiv:1511.06422: variance 1 of what each product gives, over samples and units. What ends 1
    of n residual branches gets variance 1/n, so that all branches together add 1. A bias that takes out the mean of a
    sigmoid is scaled with its weight.

    Weights that the model's own code computes, as `w * scale`, keep the scale of theory. So do those whose output has
    no variance above rounding.

    Args:
        observed: the recorded model.
        settings: what its weights were drawn from.

    Returns:
        The same settings, each with the std that its weight has now.
    """
    by_name = {setting.name: setting for setting in settings}
    model, x = observed.arguments.model, observed.arguments.x
    with torch.no_grad():
        with left_as_found(observed.arguments.parts, parameters=False), parametrize.cached():
            weights = [weight for weight in _weights(observed, by_name) if _is_drawn(by_name.get(weight.name))]
            with _Scaling(weights) as scaling:
                called(model, mapped(lambda tensor: tensor.clone(), x))
            tensors = [weight.read().clone() for weight in weights]
        for weight, tensor in zip(weights, tensors, strict=True):
            weight.finish(tensor)
    stds = {weight.name: math.sqrt(_mean_square(tensor)) for weight, tensor in zip(weights, tensors, strict=True)}
    for name in stds:
        by_name[name] = _measured(by_name[name], stds[name]) if name in scaling.scaled else _unscaled(by_name[name])
    return list(by_name.values())


def _is_drawn(setting: Setting | None) -> bool:
    return setting is not None and setting.std is not None


def _weights(observed: Observed, settings: Mapping[str, Setting]) -> Iterator[_Weight]:
    """The weights of all products, each once."""
    names: set[str] = set()
    for layer in observed.structure.layers:
        if layer.op.kind != "layer" or layer.is_embedding:
            continue
        share = observed.shares.get(id(layer.signal))
        weight = _weight(observed, layer, 1.0 if share is None else share.variance, settings)
        if weight is not None and weight.name not in names:
            names.add(weight.name)
            yield weight


def _weight(observed: Observed, layer: Layer, variance: float, settings: Mapping[str, Setting]) -> _Weight | None:
    """The weight of a layer: a parameter, parametrized, or with an old weight norm."""
    names, fan_in = sorted(layer.op.names), layer.op.fans[0]
    if layer.op.leaf is not None:
        parameter = observed.parameters[layer.op.leaf]
        centring = observed.centring.biases.get(id(layer))
        is_centred = centring is not None and settings.get(centring.name) == centring
        scaled = [parameter.data, *([observed.parameters[centring.name].data] if centring and is_centred else ())]
        return _Weight(
            layer.op.leaf, variance, fan_in, lambda: parameter, lambda factor: [held.mul_(factor) for held in scaled]
        )
    name = next((whole for name in names if (whole := whole_name(name, names)) != name), None)
    if name is None:
        return None
    holder_name, _, own = name.rpartition(".")
    holder = observed.arguments.model.get_submodule(holder_name)

    def read() -> Any:
        return getattr(holder, own)

    if parametrize.is_parametrized(holder, own):
        return _Weight(
            name, variance, fan_in, read, lambda factor: read().mul_(factor), lambda held: setattr(holder, own, held)
        )
    length = holder._parameters[f"{own}_g"]
    return _Weight(name, variance, fan_in, read, lambda factor: (length.mul_(factor), read().mul_(factor)))


def _mean_square(tensor: Any) -> float:
    return float(tensor.double().square().mean())


def _unscaled(setting: Setting) -> Setting:
    return replace(setting, reason=f"{setting.reason}; {_UNSCALED}", unscaled=True)


def _measured(setting: Setting, std: float) -> Setting:
    assert setting.std is not None
    template = setting.template.replace(f"std={setting.std:.4g}", f"std={std:.4g}")
    return replace(
        setting, template=template, std=std, reason="variance 1 of what it gives, measured on the input (LSUV)"
    )
