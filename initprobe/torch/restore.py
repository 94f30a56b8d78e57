"""A model is left unchanged, also after an exception."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

from initprobe.torch.inventory import Inventory


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Restore the global random states of Python, of NumPy, and of PyTorch on the CPU and a device in use."""
    with ExitStack() as stack:
        for restore in _generators():
            stack.callback(restore)
        yield


@contextmanager
def left_as_found(parts: Inventory, *, parameters: bool) -> Iterator[None]:
    """Restore what a forward and backward pass may change.

    Args:
        parts: the model and its parts.
        parameters: also restore the entries of parameters, which `reinit` changes.
    """
    with ExitStack() as stack:
        for restore in (_modules(parts), _entries(parts, parameters), _gradients(parts), *_generators(), _fast_path()):
            stack.callback(restore)
        yield


def _modules(parts: Inventory) -> Callable[[], None]:
    """A function that restores the mode of every module, and what it holds under its names, modules included."""
    modules = list(parts.modules.values())
    modes = [module.training for module in modules]
    # Lists in parallel: of thousands of pairs or copies, each would be an object that the garbage collector visits.
    tensors = [held for module in modules for held in (module._parameters, module._buffers, module._modules)]
    names = [tuple(held) for held in tensors]
    entries = [tensor for held in tensors for tensor in held.values()]

    def restore() -> None:
        for module, training in zip(modules, modes, strict=True):
            if module.training is not training:
                module.training = training
        following = iter(entries)
        for held, own in zip(tensors, names, strict=True):
            before = dict(zip(own, following, strict=False))
            if (held or before) and not _is_same(held, before):
                held.clear()
                held.update(before)

    return restore


def _is_same(held: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether the same objects are there under the same names in the same order."""
    pairs = zip(held.items(), before.items(), strict=False)
    return len(held) == len(before) and all(
        name == old_name and tensor is old for (name, tensor), (old_name, old) in pairs
    )


def _entries(parts: Inventory, parameters: bool) -> Callable[[], None]:
    """A function that restores the entries of all buffers, and with `parameters` of all parameters."""
    tensors = [*parts.buffers.values(), *(parts.parameters.values() if parameters else ())]
    copies = [tensor.detach().clone() for tensor in tensors]

    def restore() -> None:
        with torch.no_grad():
            for tensor, before in zip(tensors, copies, strict=True):
                # Sparse tensors cannot be compared.
                if tensor.layout is not torch.strided or not torch.equal(tensor, before):
                    tensor.copy_(before)

    return restore


def _gradients(parts: Inventory) -> Callable[[], None]:
    """A function that restores the gradient of every parameter, and whether it is frozen."""
    parameters = list(parts.parameters.values())
    gradients = [parameter.grad for parameter in parameters]
    flags = [parameter.requires_grad for parameter in parameters]

    def restore() -> None:
        for parameter, gradient, learns in zip(parameters, gradients, flags, strict=True):
            if parameter.requires_grad is not learns:
                parameter.requires_grad_(learns)
            if parameter.grad is not gradient:
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
    return _mapped(change, x, {})


def _mapped(change: Callable[[Any], Any], held: Any, changed: dict[int, Any]) -> Any:
    if isinstance(held, torch.Tensor):
        if id(held) not in changed:
            changed[id(held)] = change(held)
        return changed[id(held)]
    if isinstance(held, Mapping):
        return {name: _mapped(change, value, changed) for name, value in held.items()}
    if type(held) in (tuple, list):
        return type(held)(_mapped(change, value, changed) for value in held)
    return held
