"""Layer-sequential unit variance: in one pass, each weight is scaled until its layer gives variance 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from initprobe.torch import module_kinds
from initprobe.torch.arguments import called
from initprobe.torch.init_plan import Observed
from initprobe.torch.init_settings import Setting
from initprobe.torch.restore import left_as_found, mapped

_ROUNDS = 3  # a bias is not scaled with its weight
_CLOSE = 0.01


class _Scaling(TorchFunctionMode):  # type: ignore[misc]
    """Scales each weight in place at its first use.

    Args:
        targets: by id of a parameter, the variance that its product is to have.
    """

    def __init__(self, targets: Mapping[int, float]) -> None:
        super().__init__()
        self._targets = dict(targets)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if module_kinds.name_of(func) not in module_kinds.PRODUCTS or not isinstance(output, torch.Tensor):
            return output
        tensors = [held for held in (*args, *kwargs.values()) if isinstance(held, torch.nn.Parameter)]
        weight = next((held for held in tensors if id(held) in self._targets), None)
        return output if weight is None else self._scaled(lambda: func(*args, **kwargs), output, weight)

    def _scaled(self, again: Any, output: Any, weight: Any) -> Any:
        target = self._targets.pop(id(weight))
        for _ in range(_ROUNDS):
            variance = float(output.double().var(correction=0)) if output.numel() > 1 else 0.0
            if not (math.isfinite(variance) and variance > 0) or abs(variance / target - 1) < _CLOSE:
                break
            weight.data.mul_(math.sqrt(target / variance))
            output = again()
        return output


def scale_to_data(observed: Observed, settings: Sequence[Setting]) -> list[Setting]:
    """Scale the weights of a model, which hold the draw of these settings, to its input.

    Mishkin & Matas 2016, arXiv:1511.06422: variance 1 of what each product gives, over samples and units. What ends 1
    of n residual branches gets variance 1/n, so that all branches together add 1. A weight that is computed, as in a
    parametrized layer, keeps the scale of theory.

    Args:
        observed: the recorded model.
        settings: what its weights were drawn from.

    Returns:
        The same settings, each with the std that its weight has now.
    """
    by_name = {setting.name: setting for setting in settings if setting.std is not None}
    targets: dict[int, float] = {}
    for layer in observed.structure.layers:
        name = layer.op.leaf
        if layer.op.kind == "layer" and not layer.is_embedding and name in by_name and name is not None:
            share = observed.shares.get(id(layer.signal))
            targets.setdefault(id(observed.parameters[name]), 1.0 if share is None else share.variance)
    model, x = observed.arguments.model, observed.arguments.x
    with left_as_found(observed.arguments.parts, parameters=False), torch.no_grad(), _Scaling(targets):
        called(model, mapped(lambda tensor: tensor.clone(), x))
    scaled = {name for name in by_name if id(observed.parameters.get(name)) in targets}
    return [_measured(setting, observed) if setting.name in scaled else setting for setting in settings]


def _measured(setting: Setting, observed: Observed) -> Setting:
    std = math.sqrt(float(observed.parameters[setting.name].detach().double().square().mean()))
    assert setting.std is not None
    template = setting.template.replace(f"std={setting.std:.4g}", f"std={std:.4g}")
    return replace(
        setting, template=template, std=std, reason="variance 1 of what it gives, measured on the input (LSUV)"
    )
