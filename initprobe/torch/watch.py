"""Hooks on every leaf module: what it is given, what it gives, and the gradients of both, one draw after the other.

A tensor that one module gives and the next is given is measured once. Gradients are taken by hooks on the tensors, so
they are those of the whole tensor, summed over all who use it; a hook that is there before a tensor is overwritten
gets the gradient of what was overwritten.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from types import TracebackType
from typing import Any, Self

import torch

from initprobe.activations import Activation
from initprobe.engine.workers import Workers
from initprobe.errors import ConfigError
from initprobe.results import ModuleKind
from initprobe.torch.kinds import WEIGHTED, activation_of, hidden_weights, kind_of, leaves, weight_of
from initprobe.torch.measure import Track, array_of, is_measured


@dataclass(eq=False)
class Call:
    """One call of one leaf module, over the draws; mutable.

    Attributes:
        name: the module's qualified name.
        number: 1 for the module's first call; 0 for one that is never called.
        module: the module.
        kind: of the module.
        activation: our record of it, for an activation that we have one of.
        axis: of its units: 1 after a convolution, else the last.
        inputs: what it is given.
        outputs: what it gives.
        weight: its weight.
        saturated: entries of its output in the saturated band, all draws together.
        dead_fractions: share of the units that are off for every sample, in each draw.
        learns: its weight asks for a gradient.
    """

    name: str
    number: int
    module: Any
    kind: ModuleKind
    activation: Activation | None = None
    axis: int = -1
    inputs: list[Track] = field(default_factory=list)
    outputs: list[Track] = field(default_factory=list)
    weight: Track | None = None
    saturated: int = 0
    dead_fractions: list[float] = field(default_factory=list)
    learns: bool = False

    @property
    def label(self) -> str:
        """The name, numbered from the second call on."""
        return f"{self.name}#{self.number}" if self.number > 1 else self.name

    @property
    def is_layer(self) -> bool:
        """It holds weights that entries are summed over."""
        return self.kind in WEIGHTED and self.weight is not None and bool(self.outputs)


@dataclass(frozen=True)
class _Known:
    """A tensor that was measured, as long as it is there, and how often it had been written to by then."""

    tensor: weakref.ref[Any]
    version: int
    track: Track

    def is_of(self, tensor: Any) -> bool:
        held = self.tensor()
        return held is not None and held is tensor and bool(self.version == held._version)


def tensors(held: object) -> Iterator[Any]:
    """The measured tensors in some nest of tuples, lists, mappings and dataclasses, in order, each once."""
    seen: set[int] = set()
    for tensor in _all_tensors(held):
        if is_measured(tensor) and id(tensor) not in seen:
            seen.add(id(tensor))
            yield tensor


def _all_tensors(held: object) -> Iterator[Any]:
    if isinstance(held, torch.Tensor):
        yield held
    elif isinstance(held, Mapping):
        for value in held.values():
            yield from _all_tensors(value)
    elif is_dataclass(held):
        yield from _all_tensors(vars(held))
    elif isinstance(held, Sequence) and not isinstance(held, str | bytes):
        for value in held:
            yield from _all_tensors(value)


class Watch:
    """Watches a model from `with` on, through any number of passes.

    Attributes:
        calls: every call of every leaf module, in order.
        uncalled: modules that hold weights and are never called, as calls number 0.
        results: what the model as a whole gave.
    """

    def __init__(self, model: Any, workers: Workers) -> None:
        self.calls: list[Call] = []
        self.uncalled: list[Call] = []
        self.results: list[Track] = []
        self._workers = workers
        self._leaves = list(leaves(model))
        self._tracks: list[Track] = []
        self._handles: list[Any] = []
        self._lent: list[Any] = []
        self._draw = 0
        self._forget()

    def _forget(self) -> None:
        """Nothing of a pass that is over is known to the next."""
        for handle in self._lent:
            handle.remove()
        self._lent.clear()
        self._known: dict[int, _Known] = {}
        self._weights: dict[int, tuple[Any, Track]] = {}
        self._open: list[Call] = []
        self._counts: dict[str, int] = {}
        self._place = self._track_place = 0
        self._axis, self._listening = -1, False

    def __enter__(self) -> Self:
        for name, module in self._leaves:
            before, after = self._hooks(name)
            self._handles += [
                module.register_forward_pre_hook(before, with_kwargs=True),
                module.register_forward_hook(after, with_kwargs=True),
            ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._forget()

    def _hooks(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
        def before(module: Any, args: Any, kwargs: Any) -> None:
            if self._listening:
                self._begin(name, module, args, kwargs)

        def after(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            if self._listening:
                self._finish(output)

        return before, after

    def forward(self, run: Callable[[], Any]) -> Any:
        """What the model gives for one more draw. Calls on the way back, as of checkpoints, are not listened to."""
        self._forget()
        self._draw += 1
        self._listening = True
        output = run()
        self._listening = False
        if self._place != len(self.calls):
            self._is_other()
        self.results = [self._track(tensor) for tensor in tensors(output)]
        self._look_at_the_uncalled()
        return output

    def _begin(self, name: str, module: Any, args: Any, kwargs: Any) -> None:
        self._counts[name] = self._counts.get(name, 0) + 1
        call = self._next_call(name, module)
        if call.kind in WEIGHTED:
            self._axis = 1 if call.kind == "convolution" else -1
        call.axis = self._axis
        # Attention's further tensors are masks, whose infinities mean something else.
        given = list(tensors((args, kwargs)))[: 3 if call.kind == "attention" else None]
        self._note(call.inputs, [self._track(tensor) for tensor in given])
        call.weight = self._weight(module, call.weight)
        call.learns = call.weight is not None and weight_of(module).requires_grad
        if call.activation is not None and call.activation.dead_below is not None and given:
            call.dead_fractions.append(_dead_fraction(given[0], call.axis, call.activation.dead_below))
        self._open.append(call)

    def _finish(self, output: Any) -> None:
        call = self._open.pop()
        given = list(tensors(output))
        may_be_z = call.kind in (*WEIGHTED, "normalisation")
        self._note(call.outputs, [self._track(tensor, cosines=may_be_z) for tensor in given])
        if call.activation is not None and call.activation.saturation is not None and given:
            band, h = call.activation.saturation, array_of(given[0])
            call.saturated += int((h <= band.low).sum() + (h >= band.high).sum())

    def _next_call(self, name: str, module: Any) -> Call:
        """The call at this place, which another draw may have made before."""
        if self._draw == 1:
            self.calls.append(Call(name, self._counts[name], module, kind_of(module), activation_of(module)))
        self._place += 1
        if self._place > len(self.calls) or self.calls[self._place - 1].module is not module:
            self._is_other()
        return self.calls[self._place - 1]

    def _note(self, before: list[Track], now: list[Track]) -> None:
        if self._draw == 1:
            before += now
        elif [id(track) for track in before] != [id(track) for track in now]:
            self._is_other()

    def _is_other(self) -> None:
        raise ConfigError(f"draw {self._draw} calls other modules than draw 1, so nothing can be averaged; use draws=1")

    def _track(self, tensor: Any, cosines: bool = False) -> Track:
        """The statistics of a tensor, taken now unless that has been done."""
        known = self._known.get(id(tensor))
        if known is not None and known.is_of(tensor):
            return known.track
        track = self._next_track(tensor)
        track.add(tensor, self._workers, cosines)
        self._known[id(tensor)] = _Known(weakref.ref(tensor), tensor._version, track)
        if tensor.requires_grad:
            self._listen_back(tensor, track)
        return track

    def _listen_back(self, tensor: Any, track: Track) -> None:
        """Hooks of what a pass made go with it; somebody's own parameter must be rid of them."""
        handle = tensor.register_hook(lambda gradient: track.add_gradient(gradient, self._workers))
        if tensor.is_leaf:
            self._lent.append(handle)

    def _next_track(self, tensor: Any) -> Track:
        if self._track_place == len(self._tracks):
            self._tracks.append(Track.like(tensor, len(self._tracks), fine=True))
        self._track_place += 1
        return self._tracks[self._track_place - 1]

    def _weight(self, module: Any, before: Track | None) -> Track | None:
        """The statistics of a module's weight, taken once a draw however many modules share it."""
        weight = weight_of(module)
        if weight is None:
            return None
        if not weight.is_leaf:
            return self._track(weight)  # made of other parameters; its gradient comes by a hook
        if id(weight) not in self._weights:
            track = before or Track.like(weight, -1, fine=False)
            track.add(weight, self._workers)
            self._weights[id(weight)] = weight, track
        return self._weights[id(weight)][1]

    def _look_at_the_uncalled(self) -> None:
        """Weights that a parent uses without a call of the module that holds them."""
        if self._draw == 1:
            called = {id(call.module) for call in self.calls}
            unknown = [(name, module) for name, module in self._holders() if id(module) not in called]
            held = [(name, module) for name, module in unknown if weight_of(module) is not None]
            self.uncalled = [Call(name, 0, module, kind_of(module)) for name, module in held]
        for call in self.uncalled:
            call.weight = self._weight(call.module, call.weight)

    def _holders(self) -> Iterator[tuple[str, Any]]:
        """Every module that may hold weights."""
        for name, module in self._leaves:
            yield name, module
            for own, inner in hidden_weights(module):
                yield f"{name}.{own}" if name else own, inner

    def add_weight_gradients(self, gradients: Mapping[int, Any]) -> None:
        """Take the statistics of the gradients of weights, given by the id of the parameter."""
        for weight, track in self._weights.values():
            gradient = gradients.get(id(weight))
            if gradient is not None:
                track.add_gradient(gradient, self._workers)


def _dead_fraction(z: Any, axis: int, dead_below: float) -> float:
    """Share of the units that are off for every sample (and at every position)."""
    axis = min(axis, z.ndim - 1) % z.ndim
    others = [place for place in range(z.ndim) if place != axis]
    highest = z.detach().amax(others) if others else z.detach()
    return float((highest <= dead_below).double().mean())
