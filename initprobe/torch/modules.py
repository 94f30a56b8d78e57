"""Module hooks: which module runs now, and which tensors each leaf module takes and gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from initprobe.results.base import ModuleKind
from initprobe.torch import module_kinds
from initprobe.torch.graph import Signal, Value
from initprobe.torch.measure import is_measured
from initprobe.torch.nested import each_once, tensors_in_call
from initprobe.torch.nested import tensors as measured_tensors

_KEY = "initprobe"  # of our hooks in a module's dictionaries of hooks
_ATTENTION_INPUTS = 3  # queries, keys and values; what follows are masks, whose infinities are no fault


@dataclass(slots=True)
class ModuleCall:
    """One call of a leaf module.

    Attributes:
        name: qualified name of the module.
        number: 1 for the first call of this module.
        kind: kind of the module.
        type: name of the module's class.
        inputs: numbers of the tensors it was given, by which the recorder holds their statistics.
        outputs: numbers of the tensors it gave.
    """

    name: str
    number: int
    kind: ModuleKind
    type: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def label(self) -> str:
        """The name, with the number of the call from the second call on."""
        return _label(self.name, self.number)


def _label(name: str, number: int) -> str:
    return f"{name}#{number}" if number > 1 else name


class _OpenCall(NamedTuple):
    """A call that has begun and not ended. `place` is its place among the calls; None unless the module is a leaf."""

    label: str
    inputs: list[Signal]
    place: int | None


class Modules:
    """Hooks on every module of a model, for a recorder."""

    def __init__(self, recorder: Any) -> None:
        # The fields of each `ModuleCall`: the garbage collector does not visit tuples of texts and numbers.
        self._calls: list[tuple[str, int, ModuleKind, str, tuple[int, ...], tuple[int, ...]]] = []
        self._recorder = recorder
        self._watched: list[Any] = []
        self._names: dict[int, str] = {}
        self._kinds: dict[int, ModuleKind] = {}  # of leaves
        self.begin()

    def begin(self) -> None:
        """Prepare for another draw."""
        self._open: list[_OpenCall] = []
        self._counts: dict[str, int] = {}
        self._place = 0

    @property
    def calls(self) -> list[ModuleCall]:
        """The calls of leaf modules in the first draw, in order."""
        return [ModuleCall(*fields) for fields in self._calls]

    def watch(self, named_modules: Mapping[str, Any]) -> None:
        """Hook every module, as `register_forward_hook` does, but without a handle for each of thousands."""
        leaf_names = set(leaves(named_modules))
        before, after = self._before, self._after  # each mention makes an object that the garbage collector visits
        for name, module in named_modules.items():
            self._watched.append(module)
            self._names[id(module)] = name
            if name in leaf_names:
                self._kinds[id(module)] = module_kinds.kind_of(module)
            module._forward_pre_hooks[_KEY], module._forward_pre_hooks_with_kwargs[_KEY] = before, True
            module._forward_hooks[_KEY], module._forward_hooks_always_called[_KEY] = after, True

    def close(self) -> None:
        """Remove every hook, and the reference to the recorder."""
        self._recorder = None
        for module in self._watched:
            for hooks in (
                module._forward_pre_hooks,
                module._forward_pre_hooks_with_kwargs,
                module._forward_hooks,
                module._forward_hooks_always_called,
            ):
                hooks.pop(_KEY, None)
        self._watched.clear()

    def given(self) -> list[Signal]:
        """The signals that the innermost module with any was given."""
        for opened in reversed(self._open):
            if opened.inputs:
                return list(dict.fromkeys(opened.inputs))
        return []

    def _before(self, module: Any, args: Any, kwargs: Any) -> None:
        recorder = self._recorder
        if recorder.listening:
            recorder.listening = False
            with torch._C.DisableTorchFunction():
                self._enter(module, tensors_in_call(args, kwargs))
            recorder.listening = True

    def _after(self, module: Any, args: Any, output: Any) -> None:
        recorder = self._recorder
        if recorder.listening and self._open:
            recorder.listening = False
            place = self._open.pop().place
            if place is not None and output is not None:
                with torch._C.DisableTorchFunction():
                    outputs = tuple(recorder.measured(tensor).number for tensor in measured_tensors(output))
                self._calls[place] = (*self._calls[place][:-1], outputs)
            recorder.module = self._open[-1].label if self._open else ""
            recorder.listening = True

    def _enter(self, module: Any, tensors: list[Any]) -> None:
        recorder, name, kind = self._recorder, self._names[id(module)], self._kinds.get(id(module))
        number = self._counts[name] = self._counts.get(name, 0) + 1
        label = _label(name, number)
        values = [recorder.value(tensor) for tensor in tensors]
        recorder.module = label
        place = None
        if kind is not None:
            inputs = self._numbers(kind, tensors, values)
            place, self._place = self._place, self._place + 1
            if place == len(self._calls):
                self._calls.append((name, number, kind, type(module).__name__, inputs, ()))
        self._open.append(_OpenCall(label, [value.signal for value in values if value.signal is not None], place))

    def _numbers(self, kind: ModuleKind, tensors: list[Any], values: list[Value]) -> tuple[int, ...]:
        """The numbers of the tensors that a module is given."""
        if len(tensors) == 1 and values[0].track is not None:  # as nearly always
            return (values[0].track.number,)
        measured = [tensor for tensor in tensors if is_measured(tensor)]
        if kind == "attention":
            measured = measured[:_ATTENTION_INPUTS]
        return tuple(self._recorder.measured(tensor).number for tensor in each_once(measured))


def leaves(named_modules: Mapping[str, Any]) -> Iterator[str]:
    """Names of modules without children, and of modules whose children are parts of them, such as attention."""
    inner: set[int] = set()
    for name, module in named_modules.items():
        if id(module) in inner or "parametrizations" in name.split("."):
            continue
        is_whole = module_kinds.kind_of(module) not in ("other", "activation")
        if is_whole and module._modules:
            inner.update(id(part) for part in module.modules())
        if is_whole or not any(child is not None for child in module._modules.values()):
            yield name
