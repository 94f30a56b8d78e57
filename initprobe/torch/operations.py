"""Every operation of a model, recorded at its call: `torch.overrides.TorchFunctionMode` sees each public call.

Nothing is traced and nothing in the model is changed, whatever the model's code does. Module hooks only give names.
Gradients come from hooks on tensors, so each is the gradient of the whole tensor, summed over all uses. Two kinds of
calls are opaque: attention written in Python is opened, so that the calls inside are seen. Recurrences and fused
attention are computed again from their weights and inputs.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from initprobe.engine.threads import Workers
from initprobe.errors import ConfigError
from initprobe.torch import module_kinds
from initprobe.torch.call_facts import facts_of
from initprobe.torch.call_kinds import Call, kind_of_call, opened
from initprobe.torch.fans import fans_of
from initprobe.torch.graph import Operation, OperationKind, Signal, Value, with_role
from initprobe.torch.measure import SmallTensors, Track, is_measured
from initprobe.torch.modules import Modules
from initprobe.torch.nested import tensors_in, tensors_in_call
from initprobe.torch.sums import sides_of
from initprobe.torch.theory.trace import Trace
from initprobe.torch.units import axis_after, axis_of, dead_share, saturated_entries

_CONSTANT = Value()
# Kinds whose output is measured. A view or a part of another kind has the statistics of its source, or none.
_MEASURED = frozenset(
    ("layer", "recurrence", "norm", "attention", "sum", "gate", "cat", "activation", "shift", "scale", "pool", "unseen")
)
_STEPS = frozenset(("activation", "shift", "scale", "pool"))  # kinds that make no new signal
_WITH_COSINES = frozenset(("layer", "norm", "shift"))


class Recorder(TorchFunctionMode):  # type: ignore[misc]
    """Records the calls of each pass while it listens.

    Attributes:
        operations: the operations of the first draw, in order; later draws add to their statistics.
        roles: what each parameter was used for, by its name.
        parameters: statistics of the parameters that were used, by their names.
        results: the signals that the model returned.
        tracks: statistics of all measured tensors but parameters, in the order in which they were made.
        modules: the module hooks.
        module: label of the innermost module that runs.
        trace: every tensor of the first draw with the call that made it, for theory.
        listening: calls are recorded now.
    """

    def __init__(self, model: Any, workers: Workers, has_magnitudes: bool = False) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.roles: dict[str, frozenset[str]] = {}
        self.parameters: dict[str, Track] = {}
        self.results: list[Signal] = []
        self.tracks: list[Track] = []
        self.trace = Trace()
        self.model, self._small, self._has_magnitudes = model, SmallTensors(workers), has_magnitudes
        self._names: dict[int, str] = {}
        self._aliases: dict[str, tuple[str, ...]] = {}
        self._held: dict[str, Any] = {}
        self._handles: list[Any] = []
        self._draw, self.module, self.modules = 0, "", Modules(self)
        self._forget()

    def _forget(self) -> None:
        """Drop what belongs to one pass."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        known: dict[int, Value] = {}
        self._known, self._dropped = known, lambda reference: known.pop(reference.key, None)
        self._place = self._track_place = 0
        self.listening = False

    def begin(self, given: Sequence[Any], named_parameters: Iterable[tuple[str, Any]]) -> None:
        """Prepare for one more draw.

        Args:
            given: the tensors that the model is given.
            named_parameters: all parameters with all their names, as `named_parameters(remove_duplicate=False)`.
        """
        self._forget()
        self._draw += 1
        self._names, self._aliases, self._held = {}, {}, {}
        for name, parameter in named_parameters:
            first = self._names.setdefault(id(parameter), name)
            self._held.setdefault(first, parameter)
            self._aliases[first] = (*self._aliases.get(first, ()), name)
        self.modules.begin()
        for tensor in given:
            signal = self._signal(self._operation("input", "input"), [])
            signal.op.output = self._track(tensor) if is_measured(tensor) else None
            value = Value(signal, track=signal.op.output, axis=-1)
            self.trace.given(tensor, value)
            self._keep(tensor, value)
        self.listening = True

    def finish(self, given: Sequence[Any]) -> None:
        """End the forward pass, after which the model gave these tensors."""
        self.listening = False
        if self._place != len(self.operations):
            self._refuse()
        values = [self.value(tensor) for tensor in given]
        self.results = [value.signal for value in values if value.signal is not None]
        self.trace.finish(values)
        for tensor, value in zip(given, values, strict=True):
            self._measure_end(tensor, value)
        self._known.clear()
        self._small.empty()

    def _measure_end(self, tensor: Any, value: Value) -> None:
        """Measure an output of the model that has no track of its own: theory starts from its gradient."""
        if value.signal and (value.is_view or value.track is None) and tensor.requires_grad and is_measured(tensor):
            track = self._track(tensor)
            if value.node is not None:
                value.node.track = track

    def close(self) -> None:
        """Remove all hooks."""
        self._forget()
        self._held.clear()
        self.modules.close()

    def __torch_function__(
        self, func: Any, types_: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name, handling = module_kinds.handling(func) if self.listening else ("", "ignore")
        if handling == "ignore":
            return func(*args, **kwargs)
        if handling == "open":
            with self:
                return opened(func)(*args, **kwargs)
        tensors = tensors_in_call(args, kwargs)
        values = [self.value(tensor) for tensor in tensors]
        output = func(*args, **kwargs)
        made = [args[0]] if name == "setitem" else tensors_in(output)
        if made:
            self._note(Call(name, args, kwargs, tensors, values), made)
        return output

    def _note(self, call: Call, made: list[Any]) -> None:
        """Give each tensor that a call made its value."""
        if not (call.signals or call.names) or call.name in module_kinds.CONSTANTS:
            if call.name in module_kinds.CHANCE or any(value.chance for value in call.values):
                for tensor in made:
                    self._keep(tensor, Value(chance=True))
            for signal in call.signals:
                signal.cut = call.name
            return  # any other tensor without a value counts as a constant
        kind, inputs = kind_of_call(call)
        for number, tensor in enumerate(made):
            if id(tensor) not in self._names or not isinstance(tensor, torch.nn.Parameter):
                value = self._value(call, kind, inputs, tensor, number)
                self._keep(tensor, value)
                self.trace.add(call, kind, tensor, value, number)
                if kind == "recurrence" and number == 0 and value.signal is not None:
                    inputs = [value.signal]  # its states are made by its weights too

    def _value(self, call: Call, kind: str, inputs: list[Signal], tensor: Any, number: int) -> Value:
        """What a tensor stands for that a call of this kind gave as its `number`th output."""
        if kind == "parameters":
            is_view = len(call.values) == 1 and call.name in module_kinds.VIEWS
            return Value(names=call.names, leaf=call.values[0].leaf if is_view else None)
        first = call.first or _CONSTANT
        if kind == "view":
            axis = axis_after(call, first.axis)
            return Value(first.signal, track=first.track, axis=axis, reduced=first.reduced, is_view=True)
        if kind == "same":
            if first.signal is not None and any(value.chance for value in call.values):
                first.signal.op.chance = True
            return Value(first.signal, axis=axis_after(call, first.axis), reduced=call.is_reduced())
        if kind == "activation" and (not is_measured(tensor) or call.is_reduced()):
            return Value(first.signal, axis=first.axis, reduced=True)
        if number and kind != "part":
            kind = "other"  # a second output, such as the places of a maximum or a state
        return self._recorded(call, kind, inputs, tensor, number)

    def _recorded(self, call: Call, kind: str, inputs: list[Signal], tensor: Any, number: int) -> Value:
        """The same, where the call is an operation."""
        first = call.first or _CONSTANT
        op = self._operation(call.name, kind)  # type: ignore[arg-type]
        op.given = op.given or first.track
        op.axis = axis_of(call, kind, first.axis, tensor)
        if call.names and (kind != "other" or not number):
            self._use(op, call)
        if kind in _MEASURED and number == 0 and call.name not in module_kinds.STEPS and is_measured(tensor):
            op.output = self._track(tensor, cosines=kind in _WITH_COSINES)
        if kind not in _STEPS:
            signal = self._signal(op, inputs)
            signal.parent = inputs[0] if kind == "part" else None
            if kind == "sum":
                op.sides = sides_of(call, tensor, op.sides)
            self._look(op, call, tensor)
            return Value(signal, track=op.output, axis=op.axis)
        assert first.signal is not None
        if self._draw == 1:
            first.signal.add_step(op)
        op.signal = first.signal
        self._look(op, call, tensor)
        return Value(first.signal, track=op.output, axis=op.axis, reduced=call.is_reduced())

    def _use(self, op: Operation, call: Call) -> None:
        """Note which parameters an operation uses, and as what."""
        role = call.role or op.kind
        for name in call.names:
            self.roles[name] = with_role(self.roles.get(name), role)
        op.names = call.names
        weight = call.weight()
        if weight is not None:
            tensor, value = weight
            op.leaf = value.leaf
            op.weight = self._weight(tensor, value)
            op.label = self._label(value, call)
            if op.kind == "layer":
                op.fans = fans_of(call.name, call.args, call.kwargs, tensor)

    def _label(self, value: Value, call: Call) -> str:
        """The module that holds the weight, if the weight is named `weight` there; else the parameter's own name."""
        name = value.leaf or min(value.names, default="")
        holder, _, own = name.rpartition(".")
        if call.name in module_kinds.RECURRENCES:
            return holder
        here = self.module.partition("#")[0]
        if own == "weight":  # a tied one goes by the module that uses it
            return here if f"{here}.weight".lstrip(".") in self._aliases.get(name, ()) else holder
        if len(value.names) == 1 and "parametrizations" not in name and not own.endswith("_orig"):
            return name
        return here if value.leaf is None else name

    def _weight(self, tensor: Any, value: Value) -> Track | None:
        if value.leaf is None:
            return self._track(tensor) if is_measured(tensor) else None
        return self.parameter(value.leaf)

    def parameter(self, name: str) -> Track | None:
        """The statistics of a parameter, measured once per draw."""
        tensor = self._held[name]
        if not is_measured(tensor):
            return None
        track = self.parameters.get(name)
        if track is None:
            track = self.parameters[name] = Track.like(tensor, -1, self._small, False, self._has_magnitudes)
        if track.draws < self._draw:
            track.measure(tensor)
        return track

    def _look(self, op: Operation, call: Call, tensor: Any) -> None:
        """Note what else can be known of an operation while its tensors exist."""
        if op.kind == "activation":
            op.activation = op.activation or module_kinds.activation_of(call.name, call.rest, call.kwargs)
            op.dead = (*op.dead, *dead_share(op, call.tensors[0], tensor))
            op.saturated += saturated_entries(op, tensor)
        elif op.kind == "norm":
            op.eps, op.training = call.eps(), call.training()
        else:
            op.facts = facts_of(op, call, tensor, self._held)

    def value(self, tensor: Any) -> Value:
        """What a tensor stands for."""
        value = self._known.get(id(tensor))
        if value is not None and value.is_of(tensor):
            is_unchanged = value.version == tensor._version
            return value if is_unchanged else Value(value.signal, value.names, axis=value.axis)
        name = self._names.get(id(tensor))
        if name is not None:
            return Value(names=frozenset((name,)), leaf=name)
        if not tensor.requires_grad or tensor.is_leaf:
            return _CONSTANT
        return self._unseen(tensor)

    def _unseen(self, tensor: Any) -> Value:
        """The value of what no public call made, such as `autograd.Function`: made of the module's inputs."""
        op = self._operation("unseen", "unseen")
        op.output = self._track(tensor) if is_measured(tensor) else None
        value = Value(self._signal(op, self.modules.given()), track=op.output)
        self.trace.unseen(tensor, value)
        self._keep(tensor, value)
        return value

    def _keep(self, tensor: Any, value: Value) -> None:
        value.tensor, value.version = weakref.KeyedRef(tensor, self._dropped, id(tensor)), tensor._version
        self._known[id(tensor)] = value

    def measured(self, tensor: Any) -> Track:
        """The statistics of a tensor that a module takes or gives; it is measured now if it was not before."""
        value = self.value(tensor)
        if value.track is not None:
            return value.track
        track = self._track(tensor)
        self._keep(tensor, replace(value, track=track))
        if value.node is not None:
            value.node.track = track
        return track

    def _track(self, tensor: Any, cosines: bool = False) -> Track:
        if self._track_place == len(self.tracks):
            self.tracks.append(Track.like(tensor, len(self.tracks), self._small, True, self._has_magnitudes))
        track = self.tracks[self._track_place]
        self._track_place += 1
        if track.draws >= self._draw:
            self._refuse()
        track.measure(tensor, cosines)
        if tensor.requires_grad:
            handle = tensor.register_hook(track)  # itself: further objects would be visited too
            if tensor.is_leaf:  # hooks of tensors that the pass made are freed with them
                self._handles.append(handle)
        return track

    def _operation(self, name: str, kind: OperationKind) -> Operation:
        """The operation at this place of the pass; in the first draw it is made."""
        place = self._place
        self._place += 1
        if self._draw == 1:
            op = Operation(place + 1, name, kind, self.module)
            self.operations.append(op)
            return op
        if place >= len(self.operations):
            self._refuse()
        op = self.operations[place]
        if (op.name, op.kind, op.module) != (name, kind, self.module):
            self._refuse()
        return op

    def _signal(self, op: Operation, inputs: list[Signal]) -> Signal:
        if op.signal is None:
            op.inputs = inputs
            op.signal = Signal(op, inputs)
            for signal in inputs:
                signal.add_consumer(op)
        return op.signal

    def _refuse(self) -> None:
        raise ConfigError(f"draw {self._draw} calls other modules than draw 1, so nothing can be averaged; use draws=1")

    def add_weight_gradients(self, gradients: Mapping[str, Any]) -> None:
        """Measure the gradients of parameters, given by name."""
        for name, track in self.parameters.items():
            gradient = gradients.get(name)
            if gradient is not None:
                track(gradient)
        self._small.empty()
