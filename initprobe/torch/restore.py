"""A model is left exactly as it was, also after an exception."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def left_as_found(model: Any, *, parameters: bool) -> Iterator[None]:
    """Restore what a forward and backward pass may change.

    Args:
        model: the model.
        parameters: also restore the entries of parameters, which `reinit` changes.
    """
    with ExitStack() as stack:
        for restore in (*_states(model, parameters), *_generators(), _fast_path()):
            stack.callback(restore)
        yield


def _states(model: Any, parameters: bool) -> Iterator[Callable[[], None]]:
    """Functions that restore mode, buffers, gradients and parameters of every module."""
    for module in model.modules():
        yield _mode(module)
        yield _tensors(module._buffers, copied=True)
        yield _tensors(module._parameters, copied=parameters)
    for parameter in model.parameters():
        yield _flags(parameter)


def _mode(module: Any) -> Callable[[], None]:
    training = module.training

    def restore() -> None:
        module.training = training

    return restore


def _tensors(held: dict[str, Any], copied: bool) -> Callable[[], None]:
    """A function that restores the same tensors under the same names, with the same entries if they were `copied`."""
    before = dict(held)
    entries = {name: tensor.detach().clone() for name, tensor in before.items() if copied and tensor is not None}

    def restore() -> None:
        held.clear()
        held.update(before)
        with torch.no_grad():
            for name, values in entries.items():
                if not torch.equal(before[name], values):
                    before[name].copy_(values)

    return restore


def _flags(parameter: Any) -> Callable[[], None]:
    """A function that restores the gradient that the user has, and whether the parameter learns."""
    gradient, learns = parameter.grad, parameter.requires_grad

    def restore() -> None:
        parameter.requires_grad_(learns)
        parameter.grad = gradient

    return restore


def _generators() -> Iterator[Callable[[], None]]:
    """Functions that restore every global random state."""
    processor = torch.get_rng_state()
    yield lambda: torch.set_rng_state(processor)
    if torch.cuda.is_initialized():
        cuda = torch.cuda.get_rng_state_all()
        yield lambda: torch.cuda.set_rng_state_all(cuda)
    if torch.backends.mps.is_available():
        mps = torch.mps.get_rng_state()
        yield lambda: torch.mps.set_rng_state(mps)
    python, numpy = random.getstate(), np.random.get_state()
    yield lambda: random.setstate(python)
    yield lambda: np.random.set_state(numpy)


def _fast_path() -> Callable[[], None]:
    """Forbid the fused attention of evaluation mode, which calls no module. Returns the function that restores it."""
    allowed = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    return lambda: torch.backends.mha.set_fastpath_enabled(allowed)


def seed_everything(seed: int) -> None:
    """Seed the global generators, as for dropout and `reinit`. Those of a device only where it is in use."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def mapped(change: Callable[[Any], Any], x: Any) -> Any:
    """The same nested tuples, lists and mappings with every tensor changed.

    Args:
        change: from a tensor to a tensor. It is called once per tensor, also where the tensor occurs twice.
        x: a tensor, or nested tuples, lists and mappings.

    Returns:
        The same structure with the changed tensors.
    """
    changed: dict[int, Any] = {}

    def inside(held: Any) -> Any:
        if isinstance(held, torch.Tensor):
            if id(held) not in changed:
                changed[id(held)] = change(held)
            return changed[id(held)]
        if isinstance(held, Mapping):
            return {name: inside(value) for name, value in held.items()}
        if type(held) in (tuple, list):
            return type(held)(inside(value) for value in held)
        return held

    return inside(x)


@contextmanager
def uncollected() -> Iterator[None]:
    """Switch the search for cycles off: it would visit thousands of live records again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
