"""Which module is at work, by hooks, and what the leaves among the modules are given and give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from initprobe.torch import module_kinds
from initprobe.torch.graph import Signal
from initprobe.torch.measure import Track, is_measured
from initprobe.torch.nested import tensors as held
from initprobe.torch.nested import tensors_in


@dataclass
class ModuleCall:
    """One call of a module: its name, what it was given and what it gave, as tracks."""

    name: str
    number: int
    module: Any
    inputs: list[Track]
    outputs: list[Track]

    @property
    def label(self) -> str:
        """The name, numbered from the second call on."""
        return f"{self.name}#{self.number}" if self.number > 1 else self.name


class Modules:
    """Hooks that say which module is at work, and what the leaves among them are given and give."""

    def __init__(self, recorder: Any) -> None:
        self.calls: list[ModuleCall] = []
        self._recorder = recorder
        self._handles: list[Any] = []
        self._leaves: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """Nothing has been called."""
        self._open: list[tuple[str, list[Signal]]] = []
        self._counts: dict[str, int] = {}
        self._place = 0

    def watch(self, model: Any) -> None:
        """Hook every module."""
        self._leaves = set(leaves(model))
        for name, module in model.named_modules():
            before, after = self._hooks(name)
            self._handles += [
                module.register_forward_pre_hook(before, with_kwargs=True),
                module.register_forward_hook(after, with_kwargs=True, always_call=True),
            ]

    def close(self) -> None:
        """Take every hook away."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def given(self) -> list[Signal]:
        """The signals that the innermost module was given."""
        for _, inputs in reversed(self._open):
            if inputs:
                return list(dict.fromkeys(inputs))
        return []

    def _hooks(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
        leaf = name in self._leaves

        def before(module: Any, args: Any, kwargs: Any) -> None:
            if self._recorder.listening:
                self._enter(name, module, list(tensors_in((args, kwargs))), leaf)

        def after(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            if self._recorder.listening and self._open:
                self._leave(output, leaf)

        return before, after

    def _enter(self, name: str, module: Any, tensors: list[Any], leaf: bool) -> None:
        recorder = self._recorder
        recorder.listening = False
        number = self._counts[name] = self._counts.get(name, 0) + 1
        label = f"{name}#{number}" if number > 1 else name
        known = [recorder.value(tensor).signal for tensor in tensors] if tensors else []
        self._open.append((label, [one for one in known if one is not None]))
        recorder.module = label
        if leaf:
            self._note(name, number, module, tensors)
        recorder.listening = True

    def _note(self, name: str, number: int, module: Any, tensors: list[Any]) -> None:
        measured = [tensor for tensor in tensors if is_measured(tensor)]
        if module_kinds.kind_of(module) == "attention":
            measured = measured[:3]  # further ones are masks, whose infinities mean something else
        tracks = [self._recorder.measured(tensor) for tensor in _each_once(measured)]
        if self._place == len(self.calls):
            self.calls.append(ModuleCall(name, number, module, tracks, []))
        self._place += 1
        self._waiting = self.calls[self._place - 1]

    def _leave(self, output: Any, leaf: bool) -> None:
        recorder = self._recorder
        recorder.listening = False
        label, _ = self._open.pop()
        if leaf and output is not None:
            call = next(one for one in reversed(self.calls[: self._place]) if one.label == label)
            call.outputs = [recorder.measured(tensor) for tensor in held(output)]
        recorder.module = self._open[-1][0] if self._open else ""
        recorder.listening = True


def _each_once(tensors: Any) -> Iterator[Any]:
    seen: set[int] = set()
    for tensor in tensors:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield tensor


def leaves(model: Any) -> Iterator[str]:
    """Names of modules without children, and of those of a kind whose children are parts of it."""
    hidden: set[int] = set()
    for name, module in model.named_modules():
        if id(module) in hidden or "parametrizations" in name.split("."):
            continue
        whole = module_kinds.kind_of(module) not in ("other", "activation")
        if whole:
            hidden.update(id(inner) for inner in module.modules())
        if whole or next(module.children(), None) is None:
            yield name
