"""Activations that are calls of functions, made modules by torch.fx, so that they can be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from initprobe.errors import ConfigError

# A module takes the arguments that its function takes after the tensor. A string is a method of the tensor.
_MODULES: Mapping[Callable[..., Any] | str, Callable[..., Any]] = {
    F.relu: nn.ReLU,
    torch.relu: nn.ReLU,
    "relu": nn.ReLU,
    F.tanh: nn.Tanh,
    torch.tanh: nn.Tanh,
    "tanh": nn.Tanh,
    F.sigmoid: nn.Sigmoid,
    torch.sigmoid: nn.Sigmoid,
    "sigmoid": nn.Sigmoid,
    F.relu6: nn.ReLU6,
    F.leaky_relu: nn.LeakyReLU,
    F.elu: nn.ELU,
    F.celu: nn.CELU,
    F.selu: nn.SELU,
    F.gelu: nn.GELU,
    F.silu: nn.SiLU,
    F.mish: nn.Mish,
    F.softplus: nn.Softplus,
    F.softsign: nn.Softsign,
    F.hardtanh: nn.Hardtanh,
    F.hardswish: nn.Hardswish,
    F.hardsigmoid: nn.Hardsigmoid,
}


def traced(model: Any) -> Any:
    """The same model, with the same modules and parameters, whose functional activations are modules.

    `probe(traced(model), x)` then knows which activation follows each layer: its dead and saturated units, and the
    initializer that suits it. Modules keep their names; an activation is called as its node in the graph: `relu_3`.

    Raises:
        ConfigError: torch.fx cannot follow the model, as where its course depends on the numbers in it.
    """
    try:
        graph = fx.Tracer().trace(model)
    except Exception as error:  # it runs the model's own code, which may raise anything
        text = next(iter(str(error).splitlines()), "")
        raise ConfigError(f"torch.fx cannot follow {type(model).__name__}: {type(error).__name__}: {text}") from error
    made: dict[str, Any] = {}
    for node, module in _activations(graph):
        name = node.name
        while hasattr(model, name) or name in made:
            name += "_"
        made[name] = module
        node.op, node.target, node.args, node.kwargs = "call_module", name, node.args[:1], {}
    return _assembled(model, graph, made)


def _activations(graph: Any) -> Iterator[tuple[Any, Any]]:
    """The nodes that are functional activations, and a module for each."""
    for node in list(graph.nodes):
        make = _MODULES.get(node.target) if node.op in ("call_function", "call_method") else None
        if make is not None and node.args:
            yield node, make(*node.args[1:], **node.kwargs)


def _assembled(model: Any, graph: Any, made: Mapping[str, Any]) -> Any:
    """A module that runs the graph. It is made of a shallow copy, so that the model itself gets no new modules."""
    root = nn.Module()
    root.training = model.training
    for held in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
        setattr(root, held, getattr(model, held).copy())
    for name, module in made.items():
        root.add_module(name, module.train(model.training))
    return fx.GraphModule(root, graph, type(model).__name__)
