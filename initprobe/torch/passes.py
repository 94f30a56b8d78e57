"""Passes forward and back, as a recorder sees them. The model is left unchanged."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.nn.utils import parametrize

from initprobe.engine.threads import Workers
from initprobe.errors import ConfigError
from initprobe.torch.arguments import Arguments, called, input_tensors, seed_of_draw
from initprobe.torch.initial_state import Started
from initprobe.torch.inventory import Inventory, inventory
from initprobe.torch.lost_numbers import LostNumber, WatchForLost
from initprobe.torch.nested import tensors
from initprobe.torch.operations import Recorder
from initprobe.torch.outputs import check_output
from initprobe.torch.parameters import has_nonzero, small_peaks, void_parameters
from initprobe.torch.restore import left_as_found, mapped, seed_everything


@dataclass(frozen=True)
class Changed:
    """Names of parameters that the model's own code changes on the way forward.

    Attributes:
        replaced: that it puts another tensor in place of.
        written: whose entries it writes to.
    """

    replaced: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


@dataclass(frozen=True)
class Course:
    """How one draw went.

    Attributes:
        differentiated: whether there was a backward pass.
        loss: the loss; None without one.
        moved: by name of a parameter, whether an entry of its gradient is not 0. None for a parameter without gradient.
        void: by name of a module, which of its parameters holds NaN or infinities.
        peaks: by name, the largest magnitude in each small parameter.
        changed: what the model's own code did to its parameters on the way forward.
    """

    differentiated: bool
    loss: float | None
    moved: Mapping[str, bool | None] = field(default_factory=dict)
    void: Mapping[str, str] = field(default_factory=dict)
    peaks: Mapping[str, float] = field(default_factory=dict)
    changed: Changed = field(default_factory=Changed)


@dataclass(frozen=True)
class _Ends:
    """Where a backward pass starts.

    Attributes:
        tensors: of the output, or the loss.
        gradients: of the loss with respect to each; None for a loss, whose gradient is 1.
        loss: the loss; None without one.
    """

    tensors: list[Any]
    gradients: list[Any] | None
    loss: float | None


def recorded(arguments: Arguments, pool: Workers) -> tuple[Recorder, Course]:
    """Send every draw forward and back.

    Args:
        arguments: the model and its input.
        pool: threads that take statistics.

    Returns:
        What was recorded, and how the first draw went, with the mean loss of all.

    Raises:
        ConfigError: the loss is no scalar, or the model cannot be differentiated tensor by tensor.
    """
    model = arguments.model
    recorder = Recorder(model, pool, bool(arguments.formats))
    with left_as_found(arguments.parts, parameters=arguments.reinit is not None), watching(recorder, arguments.parts):
        seed_everything(arguments.seed)
        courses = [_one_draw(arguments, recorder, draw) for draw in range(arguments.draws)]
    losses = [course.loss for course in courses if course.loss is not None]
    return recorder, replace(courses[0], loss=sum(losses) / len(losses) if losses else None)


def first_lost(arguments: Arguments) -> LostNumber | None:
    """The call that makes the first NaN or infinity on the way forward; None without one. Each draw runs once more.

    Args:
        arguments: the model and its input.
    """
    watch = WatchForLost()
    with left_as_found(arguments.parts, parameters=arguments.reinit is not None), recording():
        seed_everything(arguments.seed)
        for _ in range(arguments.draws):
            _watched(arguments, watch)
    return watch.first


def _watched(arguments: Arguments, watch: WatchForLost) -> None:
    """Send one draw forward."""
    if arguments.reinit is not None:
        arguments.reinit(arguments.model)
    given = mapped(lambda tensor: tensor.clone(), arguments.x)
    watch.follow(input_tensors(given))
    with watch:
        output = called(arguments.model, given)
        if arguments.loss is not None:
            arguments.loss(output)


@contextmanager
def watching(recorder: Recorder, parts: Inventory) -> Iterator[None]:
    """Record the operations of a model while this context is open.

    Args:
        recorder: of the operations.
        parts: of the model.
    """
    recorder.modules.watch(parts.modules)
    try:
        yield
    finally:
        recorder.close()


@contextmanager
def recording() -> Iterator[None]:
    """Gradients are recorded in any mode of the caller, and a parametrized weight is made once per pass."""
    with ExitStack() as stack:
        for mode in (torch.inference_mode(False), torch.enable_grad(), parametrize.cached()):
            stack.enter_context(mode)
        # Compiled parts run uncompiled.
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def _one_draw(arguments: Arguments, recorder: Recorder, draw: int) -> Course:
    """One network forward and back."""
    if arguments.reinit is not None:
        arguments.reinit(arguments.model)
        arguments = replace(arguments, parts=inventory(arguments.model))
    peaks = small_peaks(arguments.parts.tensors)
    void = void_parameters(arguments.parts, peaks)
    versions = _versions(arguments.parts)
    with recording():
        ends = _forward(arguments, recorder, draw)
        changed = _changed(arguments.parts, versions, recorder)
        learning = {
            name: parameter for name, parameter in arguments.parts.parameters.items() if parameter.requires_grad
        }
        sources = [*learning.values(), *(tensor for tensor in input_tensors(arguments.x) if tensor.requires_grad)]
        if not any(end.requires_grad for end in ends.tensors) or not sources:
            return Course(False, ends.loss, {}, void, peaks, changed)
        gradients = dict(zip(learning, _gradients(ends, sources), strict=False))
    recorder.add_weight_gradients(gradients)
    tracks = recorder.parameters.items()
    gradient_peaks = {name: track.gradient.peak for name, track in tracks if track.gradient}
    return Course(True, ends.loss, has_nonzero(gradients, gradient_peaks), void, peaks, changed)


def _versions(parts: Inventory) -> dict[str, int]:
    """How often each parameter was written to; tensors of inference mode do not count that."""
    return {name: tensor._version for name, tensor in parts.parameters.items() if not tensor.is_inference()}


def _changed(parts: Inventory, versions: Mapping[str, int], recorder: Recorder) -> Changed:
    """What the pass forward changed since the parameters had these versions."""
    written = tuple(name for name, version in _versions(parts).items() if versions[name] != version)
    unused = [name for name in parts.parameters if name not in recorder.roles]
    now = inventory(parts.model).all_parameters if unused else {}
    return Changed(tuple(name for name in unused if now.get(name) is not parts.parameters[name]), written)


def _forward(arguments: Arguments, recorder: Recorder, draw: int) -> _Ends:
    """Send the input forward, with every call of model and loss seen."""
    # A tensor that requires a gradient must not be overwritten, but a copy of it may.
    given = mapped(lambda tensor: tensor.clone(), arguments.x)
    recorder.begin(list(input_tensors(given)), arguments.parts.all_parameters.items())
    with recorder:
        output = called(arguments.model, given)
        recorder.module = ""
        loss = None if arguments.loss is None else arguments.loss(output)
    made = list(tensors(output))
    recorder.finish(made)
    if arguments.loss is not None:
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise ConfigError("loss must give one number, a tensor that depends on the model's output")
        return _Ends([loss], None, float(loss.detach()))
    ends = [tensor for tensor in made if tensor.requires_grad]
    if not ends:
        check_output(output, any(op.weight is not None for op in recorder.operations))
    rng = torch.Generator().manual_seed(seed_of_draw(arguments.seed, draw))
    return _Ends(ends, [torch.randn(end.shape, generator=rng).to(end.device, end.dtype) for end in ends], None)


def _gradients(ends: _Ends, sources: Sequence[Any]) -> Sequence[Any]:
    """The gradient of each source; None for one that the ends do not depend on."""
    starts = ends.tensors
    if ends.gradients is not None:
        starts = [Started.apply(*pair) for pair in zip(ends.tensors, ends.gradients, strict=True)]
    try:
        return list(torch.autograd.grad(starts, sources, allow_unused=True))
    except RuntimeError as error:
        if "use_reentrant" in str(error) or "checkpoint" in str(error).lower():
            raise ConfigError(
                "reentrant checkpoints allow no gradients of single tensors; use checkpoint(..., use_reentrant=False)"
            ) from None
        raise
