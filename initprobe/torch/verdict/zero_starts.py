"""Parameters that are 0 at the start on purpose, and what they explain.

ReZero, SkipInit, Fixup and LoRA start with factors or weights of 0. Their own gradient is not 0, so that training sets
them in motion. Until then what they multiply is 0, and what is multiplied with it gets no gradient. Neither is a fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from initprobe.torch.graph import Operation, Signal

_USES = ("layer", "scale", "norm", "gate", "sum")
_PASSING = ("norm", "part", "other", "gate", "layer", "softmax")
_DEEPEST = 4  # operations between a signal of 0 and the product that it is in


class ZeroStarts:
    """Which parameters of 0 training sets in motion, and which zeros follow from them.

    Args:
        operations: every operation, in order.
        parameters: every parameter by name.
        moved: by name, whether an entry of the gradient is not 0; None without a gradient.
        peaks: by name, the largest magnitude in a parameter, where that is known.
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        parameters: Mapping[str, Any],
        moved: Mapping[str, bool | None],
        peaks: Mapping[str, float],
    ) -> None:
        self._operations, self._parameters, self._moved, self._peaks = operations, parameters, moved, peaks
        self._zeros: dict[str, bool] = {}

    def is_zero(self, name: str) -> bool:
        """Whether a parameter learns and all of its entries are 0."""
        parameter = self._parameters.get(name)
        if parameter is None or not parameter.requires_grad:
            return False
        if name not in self._zeros:
            is_known = name in self._peaks
            self._zeros[name] = self._peaks[name] == 0 if is_known else not bool(parameter.detach().any())
        return self._zeros[name]

    @cached_property
    def opened(self) -> set[str]:
        """Names of parameters of 0 that training moves, at once or after others have moved."""
        opened = {name for name in self._users if self._moved.get(name)}
        while True:
            above = self._above(opened)
            more = {
                name
                for name, ops in self._users.items()
                if name not in opened and any(_is_fed(op) and id(op.signal) in above for op in ops)
            }
            if not more:
                return opened
            opened |= more

    def explains(self, signal: Signal) -> bool:
        """Whether zeros of a signal, or of its gradient, last only until such a parameter has moved."""
        return id(signal) in self._without_gradient or id(signal) in self._silenced

    @cached_property
    def _without_gradient(self) -> set[int]:
        """Ids of signals whose gradient is 0 until such a parameter has moved."""
        return self._above(self.opened)

    @cached_property
    def _silenced(self) -> set[int]:
        """Ids of signals that are given nothing but zeros until such a parameter has moved."""
        silenced = set[int]()
        waiting = [op.signal for name in self.opened for op in self._users[name] if op.signal]
        while waiting:
            for op in waiting.pop().consumers:
                silent = op.output is None or op.output.peak == 0
                is_given_zeros = op.given is not None and op.given.peak == 0
                if op.signal is None or id(op.signal) in silenced or op.kind == "sum":
                    continue
                if silent or is_given_zeros:
                    silenced.add(id(op.signal))
                    waiting += [op.signal] if silent else []
        return silenced

    @cached_property
    def _users(self) -> dict[str, list[Operation]]:
        """The operations that use each parameter of 0 that learns and is no bias."""
        users: dict[str, list[Operation]] = {}
        for op in self._operations:
            for name in op.names if op.kind in _USES else ():
                if "bias" not in name.rpartition(".")[2] and self.is_zero(name):
                    users.setdefault(name, []).append(op)
        return users

    def _above(self, names: Iterable[str]) -> set[int]:
        """Ids of the signals from which the operations with these parameters are made."""
        waiting: list[Signal] = []
        for name in names:
            for op in self._users[name]:
                waiting += [op.signal] if op.kind == "scale" and op.signal else op.inputs
                waiting += _partners(op.signal)
        waiting += [op.signal for op in self._operations if op.chance and op.signal]
        reached: set[int] = set()
        while waiting:
            signal = waiting.pop()
            if id(signal) not in reached:
                reached.add(id(signal))
                waiting += signal.inputs
        return reached


def _partners(signal: Signal | None, depth: int = _DEEPEST) -> list[Signal]:
    """What is multiplied with a signal of 0, and gets no gradient because of it."""
    if signal is None or not depth:
        return []
    partners: list[Signal] = []
    for op in signal.consumers:
        partners += op.inputs if op.kind in ("gate", "product") else []
        if op.kind in _PASSING:
            partners += _partners(op.signal, depth - 1)
    return partners


def _is_fed(op: Operation) -> bool:
    return op.given is None or op.given.peak > 0
