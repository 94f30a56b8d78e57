"""The modules, parameters and buffers of a model, listed once: each walk over thousands of modules takes time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Inventory:
    """What a model consisted of when this was made.

    Attributes:
        model: the model.
        modules: every module by its first name, as `named_modules` lists them.
        all_parameters: every parameter by each of its names, so that tied ones come several times.
    """

    model: Any
    modules: dict[str, Any]
    all_parameters: dict[str, Any]

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by its first name."""
        first_names: dict[int, str] = {}
        for name, parameter in self.all_parameters.items():
            first_names.setdefault(id(parameter), name)
        return {name: self.all_parameters[name] for name in first_names.values()}

    @cached_property
    def buffers(self) -> dict[str, Any]:
        """Every buffer by its first name."""
        first_names: dict[int, str] = {}
        named: dict[str, Any] = {}
        for prefix, module in self.modules.items():
            for name, buffer in module._buffers.items():
                if buffer is not None and first_names.setdefault(id(buffer), path := _path(prefix, name)) == path:
                    named[path] = buffer
        return named

    @property
    def tensors(self) -> Iterator[tuple[str, Any]]:
        """Parameters and buffers by their first names."""
        yield from self.parameters.items()
        yield from self.buffers.items()


def inventory(model: nn.Module) -> Inventory:
    """List the present parts of a model."""
    modules = dict(model.named_modules())
    is_plain = type(model).named_parameters is nn.Module.named_parameters
    children = sum(child is not None for module in modules.values() for child in module._modules.values())
    if children >= len(modules) or not is_plain:  # a module has several names
        return Inventory(model, modules, dict(model.named_parameters(remove_duplicate=False)))
    return Inventory(model, modules, dict(_parameters(modules)))


def _parameters(modules: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for prefix, module in modules.items():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                yield _path(prefix, name), parameter


def _path(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name
