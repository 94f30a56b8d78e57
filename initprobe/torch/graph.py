"""What a pass consists of: operations, the signals between them, and the values that a signal takes on its way.

A signal is what one operation makes and what follows from it entry by entry or by leaving entries out: activations,
biases, scales, dropout, pooling and views. A new one begins where signals meet or entries are summed over weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from initprobe.activations.record import Activation

if TYPE_CHECKING:
    from initprobe.torch.measure import Track

OperationKind = Literal[
    "input", "layer", "recurrence", "norm", "attention", "product", "sum", "gate", "cat", "softmax", "part", "other",
    "unseen", "activation", "shift", "scale", "pool", "same", "loss",
]  # fmt: skip


@dataclass(eq=False, slots=True)
class Signal:
    """What one operation makes, up to where it meets another or is summed over weights; mutable.

    Attributes:
        op: the operation that made it.
        inputs: the signals that operation was given.
        consumers: operations that made other signals of it.
        steps: operations that it went through meanwhile, in order.
        parent: the whole, for a part.
    """

    op: Operation
    inputs: list[Signal]
    consumers: list[Operation] = field(default_factory=list)
    steps: list[Operation] = field(default_factory=list)
    parent: Signal | None = None

    @property
    def number(self) -> int:
        """Signals are numbered as their operations are."""
        return self.op.number

    @property
    def activation(self) -> Operation | None:
        """The last of its activations that keeps the number of entries."""
        acts = [step for step in self.steps if step.kind == "activation" and step.output is not None]
        return acts[-1] if acts else None

    @property
    def scales(self) -> list[Operation]:
        """Products with parameters of one factor an entry, such as the weight of a norm or LayerScale."""
        return [step for step in self.steps if step.kind == "scale" and step.names]

    @property
    def width(self) -> Track | None:
        """The statistics of what the operation gave."""
        return self.op.output


@dataclass(eq=False, slots=True)
class Value:
    """A tensor of one pass.

    Attributes:
        signal: what it is a value of; None for a constant, and for what is made of parameters alone.
        names: the parameters that it is made of; for a signal none.
        track: its statistics, if they are taken.
        axis: of its units.
        reduced: fewer entries than its signal has, by a mean, a sum or the like.
        leaf: the one parameter whose entries it has, in some arrangement.
        chance: a constant drawn while the model runs.
    """

    signal: Signal | None = None
    names: frozenset[str] = frozenset()
    track: Track | None = None
    axis: int = -1
    reduced: bool = False
    leaf: str | None = None
    chance: bool = False


@dataclass(eq=False, slots=True)
class Operation:
    """One call of a function, over the draws; mutable.

    Attributes:
        number: 1 for the first.
        name: of the function.
        kind: what it does to signals.
        module: label of the innermost module whose call it is in.
        inputs: the signals it was given.
        given: statistics of the first of them as it was given.
        output: statistics of what it gave, where they are taken.
        names: the parameters that it uses.
        weight: statistics of the weight.
        leaf: the parameter that is the weight; None for a weight made of others.
        fans: counted from the operation.
        activation: our record of an activation.
        eps: of a norm.
        training: of a batch norm: whether it takes the statistics of the batch.
        dead: share of units that are off for every sample, in each draw.
        saturated: entries in the saturated band, all draws together.
        facts: further numbers by name, as the standard deviation of logits or the means of gates.
        label: whose name a layer goes by.
        chance: whole samples were left out by chance, as in stochastic depth.
    """

    number: int
    name: str
    kind: OperationKind
    module: str
    inputs: list[Signal] = field(default_factory=list)
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
    dead: list[float] = field(default_factory=list)
    saturated: int = 0
    facts: dict[str, float] = field(default_factory=dict)
    label: str = ""
    chance: bool = False
    axis: int = -1


def back_from(signal: Signal, after: int = 0) -> Iterator[Signal]:
    """The signal and all that it was made of, as far as they are numbered beyond `after`; each once."""
    seen: set[int] = set()
    waiting = [signal]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and one.number >= after:
            seen.add(id(one))
            yield one
            waiting += one.inputs


def descends(signal: Signal, ancestor: Signal) -> bool:
    """Whether a signal was made of another."""
    return any(one is ancestor for one in back_from(signal, ancestor.number))
