"""Every operation of a model, seen as it is called: `torch.overrides.TorchFunctionMode` is handed each public call.

Whatever the model's code does, nothing is traced and nothing in the model is changed. Module hooks only give names.
Gradients come from hooks on the tensors, so they are those of the whole tensor, summed over all who use it. Calls that
are opaque are opened (attention in Python) or redone from their weights and inputs (recurrences, fused attention).
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from initprobe.engine.threads import Workers
from initprobe.errors import ConfigError
from initprobe.torch import module_kinds
from initprobe.torch.attention import attended, logits_of
from initprobe.torch.call_kinds import Call, is_reduced, kind_of_call, version_of
from initprobe.torch.fans import fans_of
from initprobe.torch.graph import Operation, OperationKind, Signal, Value
from initprobe.torch.measure import Few, Track, is_measured
from initprobe.torch.modules import Modules
from initprobe.torch.nested import tensors_in
from initprobe.torch.recurrence import gates_of
from initprobe.torch.units import axis_after, axis_of, dead_share, saturated_entries

_CONSTANT = Value()
# Kinds whose output is worth statistics; of the others a view or a part has those of where it is from, or none.
_MEASURED = frozenset(
    ("layer", "recurrence", "norm", "attention", "sum", "gate", "cat", "activation", "shift", "scale", "pool", "unseen")
)


@dataclass(slots=True)
class _Known:
    """A tensor of this pass, as long as it is there, and how often it had been written to by then."""

    tensor: weakref.ref[Any]
    version: int
    value: Value


class Recorder(TorchFunctionMode):  # type: ignore[misc]
    """Sees the calls of a pass while it listens, one draw after the other.

    Attributes:
        operations: of the first draw, in order; further draws add to their statistics.
        roles: what each parameter was used for, by name.
        parameters: statistics of parameters that were used, by name.
        results: signals that the model gave.
        losses: what the loss gave: the value, and the number of classes where there are any.
    """

    def __init__(self, model: Any, workers: Workers) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.roles: dict[str, set[str]] = {}
        self.parameters: dict[str, Track] = {}
        self.results: list[Signal] = []
        self.tracks: list[Track] = []
        self.model, self._few = model, Few(workers)
        self._names: dict[int, str] = {}
        self._aliases: dict[str, list[str]] = {}
        self._lent: list[Any] = []
        self._draw = 0
        self.module, self.modules = "", Modules(self)
        self._forget()

    def _forget(self) -> None:
        """Nothing of a pass that is over is known to the next."""
        for handle in self._lent:
            handle.remove()
        self._lent.clear()
        self._known: dict[int, _Known] = {}
        self._held: list[tuple[str, Any]] = []
        self._place = self._track_place = 0
        self.listening = False

    def begin(self, given: Sequence[Any]) -> None:
        """One more draw, whose model is given these tensors."""
        self._forget()
        self._draw += 1
        named = list(self.model.named_parameters(remove_duplicate=False))
        self._names = {id(one): name for name, one in reversed(named)}
        self._aliases = {}
        for name, one in named:
            self._aliases.setdefault(self._names[id(one)], []).append(name)
        self.modules.begin()
        for tensor in given:
            signal = self._signal(self._operation("input", "input"), [])
            signal.op.output = self._track(tensor) if is_measured(tensor) else None
            self._keep(tensor, Value(signal, track=signal.op.output, axis=-1))
        self.listening = True

    def finish(self, given: Sequence[Any]) -> None:
        """The model gave these tensors."""
        self.listening = False
        if self._place != len(self.operations):
            self._is_other()
        found = [self.value(tensor).signal for tensor in given]
        self.results = [signal for signal in found if signal is not None]
        self._few.empty()

    def close(self) -> None:
        """Leave nothing behind."""
        self._forget()
        self.modules.close()

    # ---- what is called

    def __torch_function__(
        self, func: Any, kinds_: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not self.listening:
            return func(*args, **kwargs)
        name = module_kinds.name_of(func)
        if name in module_kinds.IGNORED:
            return func(*args, **kwargs)
        if name in module_kinds.COMPOSITE:
            with self:
                return _opened(func)(*args, **kwargs)
        tensors = list(tensors_in((args, kwargs)))
        values = [self.value(tensor) for tensor in tensors]
        output = func(*args, **kwargs)
        call = Call(name, args, kwargs, tensors, values)
        made = [args[0]] if name == "setitem" else list(tensors_in(output))
        if made:
            self._note(call, made)
        return output

    def _note(self, call: Call, made: list[Any]) -> None:
        """Give each tensor that a call made its value."""
        if call.name in module_kinds.CONSTANTS or not (call.signals or call.names):
            if call.name in module_kinds.CHANCE or any(one.chance for one in call.values):
                for tensor in made:
                    self._keep(tensor, Value(chance=True))
            return  # what else is not known is a constant
        kind, inputs = kind_of_call(call)
        for number, tensor in enumerate(made):
            if isinstance(tensor, torch.nn.Parameter) and id(tensor) in self._names:
                continue
            self._keep(tensor, self._value(call, kind, inputs, tensor, number))

    def _value(self, call: Call, kind: str, inputs: list[Signal], tensor: Any, number: int) -> Value:
        if kind == "parameters":
            only = call.values[0] if len(call.values) == 1 and call.name in module_kinds.VIEWS else _CONSTANT
            return Value(names=call.names, leaf=only.leaf)
        first = next((one for one in call.values if one.signal is not None), _CONSTANT)
        if kind == "view":
            return Value(first.signal, track=first.track, axis=axis_after(call, first.axis), reduced=first.reduced)
        if kind == "same" and any(one.chance for one in call.values) and first.signal is not None:
            first.signal.op.chance = True
        if kind == "same":
            return Value(first.signal, axis=axis_after(call, first.axis), reduced=is_reduced(call, tensor))
        if kind == "activation" and (is_reduced(call, tensor) or not is_measured(tensor)):
            return Value(first.signal, axis=first.axis, reduced=True)
        if number and kind != "part":
            kind = "other"  # what a call gives beside its output, as places of a maximum, or a state
        op = self._operation(call.name, kind)  # type: ignore[arg-type]
        op.given = op.given or first.track
        axis = axis_of(call, kind, first.axis, tensor)
        if kind != "other" or not number:
            self._use(op, call)
        if kind in _MEASURED and is_measured(tensor) and number == 0 and call.name not in module_kinds.STEPS:
            op.output = self._track(tensor, cosines=kind in ("layer", "norm", "shift"))
        op.axis = axis
        if kind in ("activation", "shift", "scale", "pool"):
            assert first.signal is not None
            if self._draw == 1:
                first.signal.steps.append(op)
            op.signal = first.signal
            self._look(op, call, tensor)
            return Value(first.signal, track=op.output, axis=axis, reduced=is_reduced(call, tensor))
        signal = self._signal(op, inputs)
        signal.parent = inputs[0] if kind == "part" else None
        self._look(op, call, tensor)
        return Value(signal, track=op.output, axis=axis)

    def _use(self, op: Operation, call: Call) -> None:
        """What parameters an operation uses, and for what."""
        role = call.role or op.kind
        for name in call.names:
            self.roles.setdefault(name, set()).add(role)
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
        """The module that holds the weight, where it is called so; else the parameter's own name."""
        name = value.leaf or min(value.names, default="")
        if call.name in module_kinds.RECURRENCES:
            return name.rpartition(".")[0]
        holder, _, own = name.rpartition(".")
        here = self.module.partition("#")[0]
        if own == "weight":  # a tied one goes by the module that uses it
            return here if f"{here}.weight".lstrip(".") in self._aliases.get(name, ()) else holder
        if len(value.names) == 1 and "parametrizations" not in name and not own.endswith("_orig"):
            return name
        return self.module.partition("#")[0] if value.leaf is None else name

    def _weight(self, tensor: Any, value: Value) -> Track | None:
        if value.leaf is None:
            return self._track(tensor) if is_measured(tensor) else None
        return self.parameter(value.leaf)

    def parameter(self, name: str) -> Track | None:
        """The statistics of a parameter, taken once a draw."""
        tensor = self.model.get_parameter(name)
        if not is_measured(tensor):
            return None
        track = self.parameters.get(name)
        if track is None:
            track = self.parameters[name] = Track.like(tensor, -1, fine=False)
        if track.draws < self._draw:
            track.add(tensor, self._few)
        return track

    def _look(self, op: Operation, call: Call, tensor: Any) -> None:
        """What else there is to know of an operation, while its tensors are there."""
        if op.kind == "activation":
            op.activation = op.activation or module_kinds.activation_of(call.name, call.rest, call.kwargs)
            op.dead += dead_share(op, call.tensors[0], tensor)
            op.saturated += saturated_entries(op, tensor)
        elif op.kind == "norm":
            op.eps, op.training = call.eps(), call.training()
        elif op.kind == "softmax":
            op.facts.update(logits_of(call.tensors[0]))
        elif op.kind == "attention":
            op.facts.update(attended(call.args, call.kwargs))
        elif op.kind == "recurrence":
            op.facts.update(gates_of(call.name, call.args))
        elif op.kind == "loss":
            op.facts.update(call.loss(tensor))

    # ---- what a tensor is

    def value(self, tensor: Any) -> Value:
        """What a tensor is a value of."""
        known = self._known.get(id(tensor))
        if known is not None and known.tensor() is tensor:
            same = known.version == version_of(tensor)
            return known.value if same else Value(known.value.signal, known.value.names, axis=known.value.axis)
        name = self._names.get(id(tensor))
        if name is not None:
            return Value(names=frozenset((name,)), leaf=name)
        if not tensor.requires_grad or tensor.is_leaf:
            return _CONSTANT
        return self._unseen(tensor)

    def _unseen(self, tensor: Any) -> Value:
        """What code beside all public calls made, as `autograd.Function`: of what the module at hand was given."""
        op = self._operation("unseen", "unseen")
        op.output = self._track(tensor) if is_measured(tensor) else None
        value = Value(self._signal(op, self.modules.given()), track=op.output)
        self._keep(tensor, value)
        return value

    def _keep(self, tensor: Any, value: Value) -> None:
        self._known[id(tensor)] = _Known(weakref.ref(tensor), version_of(tensor), value)

    def measured(self, tensor: Any) -> Track:
        """The statistics of a tensor that a module is given or gives, taken now unless they have been."""
        value = self.value(tensor)
        if value.track is None:
            value = replace(value, track=self._track(tensor))
            self._keep(tensor, value)
        assert value.track is not None
        return value.track

    def _track(self, tensor: Any, cosines: bool = False) -> Track:
        if self._track_place == len(self.tracks):
            self.tracks.append(Track.like(tensor, len(self.tracks), fine=True))
        self._track_place += 1
        track = self.tracks[self._track_place - 1]
        if track.draws >= self._draw:
            self._is_other()
        track.add(tensor, self._few, cosines)
        if tensor.requires_grad:
            handle = tensor.register_hook(lambda gradient: track.add_gradient(gradient, self._few))
            if tensor.is_leaf:  # hooks of what a pass made go with it
                self._lent.append(handle)
        return track

    def _operation(self, name: str, kind: OperationKind) -> Operation:
        """The operation at this place, which another draw may have made before."""
        if self._draw == 1:
            self.operations.append(Operation(len(self.operations) + 1, name, kind, self.module))
        self._place += 1
        if self._place > len(self.operations):
            self._is_other()
        op = self.operations[self._place - 1]
        if (op.name, op.kind, op.module) != (name, kind, self.module):
            self._is_other()
        return op

    def _signal(self, op: Operation, inputs: list[Signal]) -> Signal:
        if op.signal is None:
            op.inputs = inputs
            op.signal = Signal(op, inputs)
            for one in inputs:
                one.consumers.append(op)
        return op.signal

    def _is_other(self) -> None:
        raise ConfigError(f"draw {self._draw} calls other modules than draw 1, so nothing can be averaged; use draws=1")

    def add_weight_gradients(self, gradients: Mapping[str, Any]) -> None:
        """Take the statistics of the gradients of parameters, given by name."""
        for name, track in self.parameters.items():
            gradient = gradients.get(name)
            if gradient is not None:
                track.add_gradient(gradient, self._few)
        self._few.empty()


@lru_cache(maxsize=32)
def _opened(function: Any) -> Callable[..., Any]:
    """A function of torch's own Python code that does not ask for overrides: the calls in it are seen."""
    code = {**function.__globals__, "has_torch_function": lambda *_: False}
    return types.FunctionType(function.__code__, code, function.__name__, function.__defaults__, function.__closure__)
