"""What may be compared with what: layers, the chains and streams they are in, and which are heads or in a branch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from initprobe.torch.graph import Operation, Signal, back_from

if TYPE_CHECKING:
    from initprobe.torch.measure import Track

_NUMBER = r"(?<![^.])[0-9]+(?![^.])"  # of a block, not that in fc1
_FARTHEST_SHORTCUT = 4  # a projection on a shortcut: a product, its norm, a pooling


@dataclass(eq=False)
class Layer:
    """A product with weights, or a recurrence, and what belongs to it.

    Attributes:
        number: 1 for the first.
        op: the product.
        label: of the module that holds the weights, or the parameter's own name; numbered from its second use on.
        z: what the product and its bias give; what the norm gives that alone takes this.
        h: what the last activation before anything else gives; without one, z.
        norm: the norm that alone takes it, so that the scale of W means nothing.
        before: the layer that feeds it with nothing beside.
        reset: a norm lies between the two.
        beside: it is a part of a residual branch.
        head: no layer comes after it.
    """

    number: int
    op: Operation
    label: str
    z: Track
    h: Track
    activation: Operation | None
    norm: Operation | None
    before: Layer | None = None
    reset: bool = False
    beside: bool = False
    head: bool = False

    @property
    def signal(self) -> Signal:
        """What it makes."""
        assert self.op.signal is not None
        return self.op.signal

    @property
    def is_embedding(self) -> bool:
        """Its weights are looked up and not summed over."""
        return self.op.name in ("embedding", "embedding_bag")

    @property
    def is_readout(self) -> bool:
        """No layer comes after it, and it has another number of units than it was given."""
        if not self.head or self.op.given is None or self.op.output is None:
            return self.head
        axis = 1 if self.op.name.startswith("conv") else -1
        shapes = self.op.given.shape, self.op.output.shape
        return any(len(shape) < 2 for shape in shapes) or shapes[0][axis] != shapes[1][axis]

    @cached_property
    def role(self) -> str:
        """The same for the same place in another block."""
        return f"{re.sub(_NUMBER, '*', self.label.partition('#')[0])}/{self.op.name}"

    @cached_property
    def own_scale(self) -> float:
        """`fan_in E[W^2]`: what the product makes of the mean square of independent entries of mean 0."""
        return self.op.fans[0] * self.op.weight.square if self.op.weight else float("nan")


@dataclass(eq=False)
class Join:
    """A sum where a branch comes back to its stream.

    Attributes:
        op: the sum.
        start: where the branch left.
        branch: the signals of the branch, both sides where the shortcut is a projection.
        normed: the branch holds a norm, so that what it adds has a scale of its own.
        before: the join that the stream comes from.
    """

    op: Operation
    start: Signal
    branch: list[Signal]
    normed: bool
    before: Join | None = None


@dataclass
class Structure:
    """The layers of a pass in order, and how they hang together."""

    layers: list[Layer]
    joins: list[Join]
    operations: Sequence[Operation]
    chains: list[list[Layer]] = field(default_factory=list)
    streams: list[list[Join]] = field(default_factory=list)

    @cached_property
    def by_label(self) -> dict[str, Layer]:
        """Layers by their label."""
        return {layer.label: layer for layer in self.layers}

    @cached_property
    def beside(self) -> set[int]:
        """Ids of signals in a branch."""
        return {id(one) for join in self.joins for one in join.branch}


def structure_of(operations: Sequence[Operation]) -> Structure:
    """Layers, chains and streams of the operations of a pass."""
    found = Structure(_layers(operations), _joins(operations), operations)
    leading = _leading(found.layers)
    owners = {id(layer.signal): layer for layer in found.layers}
    for layer in found.layers:
        layer.before, layer.reset = _before(layer, owners)
        layer.beside = id(layer.signal) in found.beside
        layer.head = id(layer.signal) not in leading
    found.chains = list(_chains(found.layers))
    found.streams = list(_streams(found.joins))
    return found


def _layers(operations: Sequence[Operation]) -> list[Layer]:
    counts: dict[str, int] = {}
    found: list[Layer] = []
    for op in operations:
        if op.kind in ("layer", "recurrence") and op.output is not None and op.weight is not None:
            count = counts[op.label] = counts.get(op.label, 0) + 1
            label = f"{op.label}#{count}" if count > 1 else op.label
            found.append(_layer(len(found) + 1, op, label))
    return found


def _layer(number: int, op: Operation, label: str) -> Layer:
    signal = op.signal
    assert signal is not None and op.output is not None
    z = op.output
    first = signal.steps[0] if signal.steps else None
    if first is not None and first.kind == "shift" and first.output is not None:
        z = first.output
    norm = signal.consumers[0] if len(signal.consumers) == 1 and signal.consumers[0].kind == "norm" else None
    activation = signal.activation
    if norm is not None and activation is None and norm.signal is not None and norm.output is not None:
        scaled = [step.output for step in norm.signal.steps if step.kind in ("scale", "shift") and step.output]
        z, activation = (scaled[-1] if scaled and norm.name in ("mul", "div") else norm.output), norm.signal.activation
    stored = [step.output for step in signal.steps if step.name == "batch_norm" and step.output is not None]
    h = activation.output if activation is not None and activation.output is not None else (stored or [z])[-1]
    return Layer(number, op, label, z, h, activation, norm)


def _leading(layers: Sequence[Layer]) -> set[int]:
    """Ids of signals from which another layer is made."""
    found: set[int] = set()
    waiting = [one for layer in layers for one in layer.op.inputs]
    while waiting:
        signal = waiting.pop()
        if id(signal) not in found:
            found.add(id(signal))
            waiting += signal.inputs
    return found


def _before(layer: Layer, owners: dict[int, Layer]) -> tuple[Layer | None, bool]:
    """The layer that alone feeds this one and feeds nothing else, and whether a norm lies between."""
    reset, signals = False, layer.op.inputs
    while len(signals) == 1:
        signal = signals[0]
        if len(signal.consumers) != 1:
            return None, reset
        if id(signal) in owners:
            return owners[id(signal)], reset
        if signal.op.kind not in ("norm", "part", "other", "unseen"):
            return None, reset
        reset |= signal.op.kind == "norm"
        signals = signal.inputs
    return None, reset


def _chains(layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    """Layers that feed one another, each in one chain, in order."""
    after = {id(layer.before): layer for layer in layers if layer.before is not None}
    for layer in layers:
        if layer.before is None and id(layer) in after:
            chain = [layer]
            while (following := after.get(id(chain[-1]))) is not None:
                chain.append(following)
            yield chain


def _joins(operations: Sequence[Operation]) -> list[Join]:
    """The sums of which one side left the stream where the other goes on."""
    found: list[Join] = []
    by_signal: dict[int, Join] = {}
    for op in operations:
        if op.kind != "sum" or len(op.inputs) != 2 or op.output is None:
            continue
        join = _join(op)
        if join is not None:
            join.before = _joined_before(join.start, by_signal)
            found.append(join)
            by_signal[id(op.signal)] = join
    return found


def _join(op: Operation) -> Join | None:
    for skip, branch in (op.inputs, op.inputs[::-1]):
        start, walked = skip, [skip]
        for _ in range(_FARTHEST_SHORTCUT):
            inside = list(back_from(branch, start.number))
            if any(one is start for one in inside):
                return _made(op, start, [one for one in (*inside, *walked[:-1]) if one is not start])
            if start.op.kind not in ("layer", "norm", "other", "part") or len(start.inputs) != 1:
                break
            start = start.inputs[0]
            walked.append(start)
    return None


def _made(op: Operation, start: Signal, branch: list[Signal]) -> Join | None:
    if not any(one.op.kind in ("layer", "recurrence") for one in branch):
        return None  # entries turned and added, as in rotary positions
    return Join(op, start, branch, any(one.op.kind == "norm" for one in branch))


def _joined_before(start: Signal, joins: dict[int, Join]) -> Join | None:
    """The join that a stream comes from, through no more than norms and parts."""
    while id(start) not in joins:
        if start.op.kind not in ("norm", "part", "other") or len(start.inputs) != 1:
            return None
        start = start.inputs[0]
    return joins[id(start)]


def _streams(joins: Sequence[Join]) -> Iterator[list[Join]]:
    """Joins that follow one another; where several come from one, the last of them goes on."""
    after = {id(join.before): join for join in joins if join.before is not None}
    followed = {id(join) for join in after.values()}
    for join in joins:
        if id(join) not in followed:
            stream = [join]
            while (following := after.get(id(stream[-1]))) is not None:
                stream.append(following)
            yield stream
