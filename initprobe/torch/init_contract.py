"""Weights by a contract: each parameter is drawn from the rule that its pattern names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from initprobe.contract.document import Contract, read_contract
from initprobe.contract.parameter import Parameter
from initprobe.contract.patterns import assign, read_clauses
from initprobe.contract.rules import ANY, Rule, read_rule
from initprobe.errors import ConfigError
from initprobe.torch.parametrized import takes_values
from initprobe.torch.values import parameters_of

# Rules that do not say how a parameter is drawn.
_STAY = ("any", "moments")

ContractLike = Contract | Mapping[str, str] | str | Path


def contract_of(given: ContractLike | None) -> Contract:
    """The contract, from a file or from a mapping of patterns to rules; an empty one of None.

    Raises:
        InputError: the file cannot be read.
        ConfigError: a rule that does not exist.
    """
    if given is None:
        return Contract((), None)
    if isinstance(given, Contract):
        return given
    return Contract(read_clauses(given), None) if isinstance(given, Mapping) else read_contract(Path(given))


def set_by_contract(model: nn.Module, contract: Contract, kept: set[str]) -> list[str]:
    """Draw every parameter whose rule says how; one whose rule is `any` stays unchanged.

    Args:
        model: the model, changed in place. The draws follow from the state of torch's global generator.
        contract: its clauses and default.
        kept: names of weights that stay.

    Returns:
        The names of the weights that were drawn.

    Raises:
        ConfigError: the contract does not fit the model.
    """
    parameters = parameters_of(model)
    names = {parameter.name: parameter.names for parameter in parameters}
    clauses = assign(names, contract.clauses, contract.default or read_rule(ANY))
    rng = np.random.default_rng(int(torch.randint(2**63 - 1, ())))
    chosen = [
        parameter
        for parameter in parameters
        if clauses[parameter.name].rule.kind not in _STAY and parameter.name not in kept
    ]
    for parameter in chosen:  # every fault is raised before anything is changed
        with clauses[parameter.name].place.blamed():
            _check(model, parameter, clauses[parameter.name].rule)
    for parameter in chosen:
        _draw(model, parameter, clauses[parameter.name].rule, rng)
    return [parameter.name for parameter in chosen]


def _check(model: nn.Module, parameter: Parameter, rule: Rule) -> None:
    """Refuse a parameter that the rule cannot set.

    Raises:
        ConfigError: it has no values, the rule has no scale for it, or its computation has no inverse.
    """
    if parameter.unreadable:
        raise ConfigError(f"{parameter.name} {parameter.unreadable}; the rule `any` leaves it unchanged")
    rule.scale(parameter)
    if not takes_values(model, parameter.name):
        raise ConfigError(f"{parameter.name}: its parametrization takes no values by right_inverse; use the rule `any`")


def _draw(model: nn.Module, parameter: Parameter, rule: Rule, rng: np.random.Generator) -> None:
    holder_name, _, own = parameter.name.rpartition(".")
    holder = model.get_submodule(holder_name)
    with torch.no_grad():
        before = getattr(holder, own)
        values = _values(before, parameter, rule, rng).to(before.device, before.dtype)
        padding = getattr(holder, "padding_idx", None)
        if isinstance(holder, nn.Embedding | nn.EmbeddingBag) and isinstance(padding, int):
            values[padding] = 0
        _write(holder, own, values)


def _values(before: torch.Tensor, parameter: Parameter, rule: Rule, rng: np.random.Generator) -> torch.Tensor:
    """Entries that the rule gives, in the shape of the weight."""
    assert rule.initializer is not None
    empty = torch.empty(before.shape, dtype=torch.float64)
    if rule.kind == "orthogonal":
        return nn.init.orthogonal_(empty, float(rule.initializer.params.get("gain", 1.0)))
    rows = len(before) if before.ndim else 1
    if rule.kind == "exact":
        matrix = empty.reshape(rows, -1)
        if rule.initializer.distribution.name == "identity":
            return nn.init.eye_(matrix).mul_(float(rule.initializer.params.get("gain", 1.0))).reshape(before.shape)
        return empty.fill_(rule.scale(parameter)[0])
    drawn: Any = rule.initializer.sample(rng, (rows, before.numel() // rows), rule.fans(parameter), np.float64)
    return torch.from_numpy(np.ascontiguousarray(drawn)).reshape(before.shape)


def _write(holder: nn.Module, own: str, values: torch.Tensor) -> None:
    """Into the parameter, or into the parts that the weight is made of."""
    held = holder._parameters.get(own)
    if held is not None:
        held.copy_(values)
        return
    direction, length = holder._parameters.get(f"{own}_v"), holder._parameters.get(f"{own}_g")
    if direction is None or length is None:
        setattr(holder, own, values)  # parametrized
        return
    direction.copy_(values)
    axes = [axis for axis, size in enumerate(length.shape) if size == 1]
    length.copy_(values.norm(dim=axes, keepdim=True))
