"""The arguments of `probe`, checked: every fault is one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import torch
from torch import nn

from initprobe.config.thresholds import ModelThresholds, Thresholds
from initprobe.errors import ConfigError
from initprobe.formatting import listed
from initprobe.torch import descriptions
from initprobe.torch.inventory import Inventory, inventory
from initprobe.torch.measure import is_measured
from initprobe.torch.parameters import check_input, check_tensors
from initprobe.torch.restore import mapped

Loss = Callable[[Any], torch.Tensor]
Reinit = Callable[[Any], object]
SEEDS = 2**63  # that torch has
_SEED_STEP = 1_000_003  # draws of neighbouring seeds start apart


def seed_of_draw(seed: int, draw: int) -> int:
    """The seed of one draw, in the range that torch takes.

    Args:
        seed, draw: of the run, and the number of the draw, from 0.
    """
    return (seed * _SEED_STEP + draw) % SEEDS


@dataclass(frozen=True)
class Arguments:
    """What to send through a model.

    Attributes:
        parts: the module, its modules and its parameters. Of a compiled module, those of the module inside.
        x: the input: a tensor, a tuple of arguments or a mapping of keyword arguments.
        loss: from the model's output to a scalar; None for a backward pass that starts with random numbers.
        draws: networks to average over.
        reinit: draws the weights of the model again, in place; None for one draw.
        seed: of everything random.
        limits: thresholds of the verdict.
        formats: small formats whose losses are counted.
    """

    parts: Inventory
    x: Any
    loss: Loss | None
    draws: int
    reinit: Reinit | None
    seed: int
    limits: ModelThresholds
    formats: tuple[str, ...] = ()

    @property
    def model(self) -> Any:
        """The module."""
        return self.parts.model


def check(arguments: Arguments) -> Arguments:
    """The same arguments, if they can be probed.

    Raises:
        ConfigError: the model or an argument cannot be used; says what to do.
    """
    _check_parameters(arguments.parts)
    for name in ("draws", "seed"):
        if not isinstance(value := getattr(arguments, name), Integral):
            raise ConfigError(f"must be a whole number, not {value!r}", field=name)
    arguments = replace(arguments, draws=int(arguments.draws), seed=int(arguments.seed))
    _check_draws(arguments.draws, arguments.reinit)
    for name, function in (("loss", arguments.loss), ("reinit", arguments.reinit)):
        if function is not None and not callable(function):
            raise ConfigError(f"{name} must be a function, not {function!r}")
    if not 0 <= arguments.seed < SEEDS:
        raise ConfigError(f"seed must be at least 0 and less than 2^63, not {arguments.seed}")
    _check_input(arguments.x)
    return arguments


def parts_of(model: Any) -> Inventory:
    """List the parts of a module; of a compiled one, those of the module inside.

    Args:
        model: what the user calls a model.

    Returns:
        Its modules and parameters.

    Raises:
        ConfigError: it is no module, or calls no hooks.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"the model must be a torch.nn.Module, not {type(model).__name__}")
    inside = getattr(model, "_orig_mod", model)
    if isinstance(inside, torch.jit.ScriptModule):
        raise ConfigError("a scripted model calls no hooks; probe the module that it was made from")
    if len(getattr(inside, "device_ids", None) or ()) > 1:
        raise ConfigError("a model on several devices cannot be recorded; probe model.module")
    return inventory(inside)


def limits_of(thresholds: Thresholds | None, min_judged: float | None) -> ModelThresholds:
    """The thresholds of the verdict on a model.

    Args:
        thresholds: of the user; None for the usual ones.
        min_judged: share of the parameters that is to be judged; None for the usual one.

    Returns:
        The thresholds.

    Raises:
        ConfigError: `min_judged` is no share.
    """
    values = {} if thresholds is None else thresholds.model_dump()
    if min_judged is not None:
        if not 0 < min_judged <= 1:
            raise ConfigError(f"min_judged must be above 0 and at most 1, not {min_judged}")
        values["judged"] = min_judged
    return ModelThresholds(**values)


def _check_parameters(parts: Inventory) -> None:
    uninitialized = nn.parameter.UninitializedParameter
    lazy = [name for name, parameter in parts.parameters.items() if isinstance(parameter, uninitialized)]
    if lazy:
        raise ConfigError(f"{listed(lazy)}: not initialized yet; run the model once on such an input, then probe")
    check_tensors(parts)


def _check_draws(draws: int, reinit: object) -> None:
    if draws < 1:
        raise ConfigError(f"must be at least 1, not {draws}", field="draws")
    if draws > 1 and reinit is None:
        needed = f"draws={draws} needs reinit, a function that draws the weights again"
        raise ConfigError(f"{needed}; without it all draws are the same network")


def _check_input(x: Any) -> None:
    given = list(input_tensors(x))
    if not given:
        raise ConfigError(
            f"x must be a tensor, or a tuple or mapping of arguments with a tensor, not {type(x).__name__}. "
            "torch.as_tensor(x) makes one of an array"
        )
    empty = next((tensor for tensor in given if tensor.numel() == 0), None)
    if empty is not None:
        raise ConfigError(f"x is empty: its shape is {descriptions.input_words([empty])}; give at least one sample")
    check_input(given)


def input_tensors(x: Any) -> Iterator[Any]:
    """Every tensor of the input, whatever its dtype."""
    if isinstance(x, torch.Tensor):
        yield x
    elif isinstance(x, Mapping | tuple | list):
        for value in x.values() if isinstance(x, Mapping) else x:
            yield from input_tensors(value)


def called(model: Any, x: Any) -> Any:
    """What the model gives for an input: a tensor, a tuple of arguments or a mapping of keyword arguments.

    Args:
        model: a module.
        x: a tensor, a tuple of arguments or a mapping of keyword arguments.
    """
    if isinstance(x, Mapping):
        return model(**x)
    return model(*x) if isinstance(x, tuple | list) else model(x)


def copied(parts: Inventory, x: Any) -> Any:
    """Copies of the input, as a module may write to its own.

    They require a gradient where a frozen parameter would otherwise keep it from flowing.

    Args:
        parts: of the model.
        x: nested tensors.
    """
    is_frozen = any(not parameter.requires_grad for parameter in parts.parameters.values())

    def copy(tensor: Any) -> Any:
        with torch.inference_mode(False):
            leaf = tensor.detach().clone()
        return leaf.requires_grad_(is_measured(leaf) and (is_frozen or tensor.requires_grad))

    return mapped(copy, x)
