"""What a pass consists of: operations, the signals between them, and the value of each tensor.

A signal is what one operation makes, and all that follows from it entry by entry or without some entries. Activations,
biases, scales, dropout, pooling and views belong to it. A new signal begins where signals meet, or where entries are
summed over weights.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from initprobe.activations.record import Activation

if TYPE_CHECKING:
    from initprobe.torch.measure import Track
    from initprobe.torch.theory.trace import Node

_NO_FACTS: Mapping[str, float] = MappingProxyType({})  # shared: there are thousands of operations and few have any

# Shared, and never written to. The garbage collector visits each list of its own, and there are thousands.
_NONE: list[Operation] = []

OperationKind = Literal[
    "input", "layer", "recurrence", "norm", "attention", "product", "sum", "gate", "cat", "softmax", "part", "other",
    "unseen", "activation", "shift", "scale", "pool", "same", "loss",
]  # fmt: skip


# Statistics, or the mean square in each draw; None where neither is known.
Side: TypeAlias = "Track | tuple[float, ...] | None"


@dataclass(eq=False, slots=True)
class Signal:
    """What one operation makes, up to the operations that make other signals of it; mutable.

    Attributes:
        op: the operation that made it.
        inputs: the signals that this operation was given.
        consumers: operations that make other signals of it.
        steps: operations on the signal itself, such as biases and activations, in order.
        parent: the signal that it is a part of; None for a whole.
        cut: a function without gradient that took it, such as argmax; empty for none.
    """

    op: Operation
    inputs: list[Signal]
    consumers: list[Operation] = field(default_factory=lambda: _NONE)
    steps: list[Operation] = field(default_factory=lambda: _NONE)
    parent: Signal | None = None
    cut: str = ""

    def add_consumer(self, op: Operation) -> None:
        """Note an operation that makes another signal of it."""
        if self.consumers is _NONE:
            self.consumers = [op]
        else:
            self.consumers.append(op)

    def add_step(self, op: Operation) -> None:
        """Note an operation on the signal itself."""
        if self.steps is _NONE:
            self.steps = [op]
        else:
            self.steps.append(op)

    @property
    def number(self) -> int:
        """The number of its operation."""
        return self.op.number

    @property
    def activation(self) -> Operation | None:
        """The last of its activations whose output was measured."""
        acts = [step for step in self.steps if step.kind == "activation" and step.output is not None]
        return acts[-1] if acts else None

    @property
    def scales(self) -> list[Operation]:
        """Products with parameters that have one factor per entry, such as the weight of a norm, or LayerScale."""
        return [step for step in self.steps if step.kind == "scale" and step.names]


@dataclass(eq=False, slots=True)
class Value:
    """What a tensor of one pass stands for.

    Attributes:
        signal: the signal that it is a value of. None for a constant and for what is made of parameters only.
        names: the parameters that it is made of; empty for a value of a signal.
        track: its statistics, if it was measured.
        is_view: the statistics are those of the tensor that it is a view of.
        axis: axis of its units.
        reduced: it has fewer entries than its signal, because a mean, a sum or the like was taken.
        leaf: the one parameter that has the same entries, in some arrangement.
        chance: it is a constant that was drawn while the model ran.
        node: its place in the trace that theory follows.
        tensor: the tensor, once that is known; None before.
        version: of the entries of the tensor.
    """

    signal: Signal | None = None
    names: frozenset[str] = frozenset()
    track: Track | None = None
    axis: int = -1
    reduced: bool = False
    leaf: str | None = None
    chance: bool = False
    node: Node | None = None
    tensor: weakref.KeyedRef[int, Any] | None = None
    version: int = 0
    is_view: bool = False

    def is_of(self, tensor: Any) -> bool:
        """Whether it stands for this tensor."""
        return self.tensor is not None and self.tensor() is tensor


@dataclass(eq=False, slots=True)
class Operation:
    """One function call of the model, over the draws; mutable.

    Attributes:
        number: 1 for the first operation.
        name: name of the function.
        kind: what it does to signals.
        module: label of the innermost module that runs.
        inputs: the signals it was given.
        given: statistics of the first input.
        output: statistics of its output, if that was measured.
        signal: the signal that it makes, or that it is a step of.
        names: the parameters that it uses.
        weight: statistics of the weight.
        leaf: the parameter that is the weight; None for a weight that is computed from parameters.
        fans: `(fan_in, fan_out)`, counted from the operation.
        activation: our record of an activation function, if there is one.
        eps: of a norm.
        training: of a batch norm, whether it normalises by the statistics of the batch.
        dead: share of units that are off for every sample, in each draw.
        saturated: number of entries in the saturated band, over all draws.
        facts: further numbers by name, such as the standard deviation of attention logits or the means of gates.
        label: name that a layer is shown by.
        chance: whole samples were left out at random, as in stochastic depth.
        axis: axis of the units of the output.
        sides: of a sum of two signals, what is added, in the order of `inputs`. It is given by statistics, or by the
            mean square in each draw. None where it is not known.
    """

    number: int
    name: str
    kind: OperationKind
    module: str
    inputs: Sequence[Signal] = ()
    given: Track | None = None
    output: Track | None = None
    signal: Signal | None = None
    names: frozenset[str] = frozenset()
    weight: Track | None = None
    leaf: str | None = None
    fans: tuple[int, int] = (1, 1)
    activation: Activation | None = None
    eps: float | None = None
    training: bool = True
    dead: Sequence[float] = ()
    saturated: int = 0
    facts: Mapping[str, float] = field(default_factory=lambda: _NO_FACTS)
    label: str = ""
    chance: bool = False
    axis: int = -1
    sides: Sequence[Side] = ()


def back_from(signal: Signal, after: int = 0) -> Iterator[Signal]:
    """The signal and all signals that it was made of, each once.

    Args:
        signal: where to start.
        after: only signals whose number is at least this.
    """
    visited: set[int] = set()
    waiting = [signal]
    while waiting:
        current = waiting.pop()
        if id(current) not in visited and current.number >= after:
            visited.add(id(current))
            yield current
            waiting += current.inputs


def without_cycles(operations: Iterable[Operation]) -> None:
    """Cut the references from operations to their results, so that all is freed when the last user drops it.

    Otherwise thousands of objects wait for the search for cycles, which takes longer than their making. What remains
    are statistics, names and inputs.
    """
    for op in operations:
        if op.signal is not None:
            op.signal.consumers = op.signal.steps = _NONE
            op.signal = None


@lru_cache
def with_role(roles: frozenset[str] | None, role: str) -> frozenset[str]:
    """The `roles` of a parameter and one more `role`. Thousands of parameters share a few sets."""
    return (roles or frozenset()) | {role}


def square_of(side: Side) -> float | None:
    """The mean square of a side of a sum, averaged over draws; None where it is not known."""
    if side is None:
        return None
    return sum(side) / len(side) if isinstance(side, tuple) else side.square
