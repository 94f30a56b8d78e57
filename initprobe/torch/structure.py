"""Which layers may be compared: chains and residual streams, and which layers are heads or in a branch.

Start reading at `structure_of`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from initprobe.formatting import without_numbers
from initprobe.torch.feeding import Feeding
from initprobe.torch.graph import Operation, Signal, back_from, square_of

if TYPE_CHECKING:
    from initprobe.torch.measure import Track

_FARTHEST_SHORTCUT = 4  # signals on a shortcut: a projection, its norm, a pooling


@dataclass(eq=False)
class Layer:
    """A product with weights, or a recurrence, and the operations that belong to it.

    Attributes:
        number: 1 for the first layer.
        op: the product.
        label: name of the module that holds the weights, or of the parameter. From the second use on it has the number
            of the use.
        z: pre-activation: output of the product and its bias; or of the norm, if only a norm takes that.
        h: output of the last activation before any other operation; z without an activation.
        activation: the operation that makes h of z.
        norm: the norm that is the only consumer, so that the scale of W has no effect.
        before: the layer that alone feeds it, or the last one of the longest of parallel paths that do.
        reset: a norm lies between `before` and this layer.
        parallel: the layers of paths that are parallel to the one that ends with this layer.
        beside: it is in a residual branch.
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
    parallel: list[Layer] = field(default_factory=list)
    beside: bool = False
    head: bool = False

    @property
    def signal(self) -> Signal:
        """The signal that the product makes."""
        assert self.op.signal is not None
        return self.op.signal

    @property
    def is_embedding(self) -> bool:
        """Its weights are looked up, and not summed over."""
        return self.op.name in ("embedding", "embedding_bag")

    @property
    def is_readout(self) -> bool:
        """It is a head, and has another number of units than its input."""
        if not self.head or self.op.given is None or self.op.output is None:
            return self.head
        axis = 1 if self.op.name.startswith("conv") else -1
        shapes = self.op.given.shape, self.op.output.shape
        return any(len(shape) < 2 for shape in shapes) or shapes[0][axis] != shapes[1][axis]

    @cached_property
    def role(self) -> str:
        """Its name without the numbers of blocks, and its function: equal for the same place in other blocks."""
        return f"{without_numbers(self.label.partition('#')[0])}/{self.op.name}"

    @cached_property
    def own_scale(self) -> float:
        """`fan_in E[W^2]`: factor on the mean square of independent entries of mean 0."""
        return self.op.fans[0] * self.op.weight.square if self.op.weight else float("nan")


@dataclass(eq=False)
class Join:
    """A sum where a residual branch ends.

    Attributes:
        op: the sum.
        start: the signal that the branch starts from.
        branch: the signals of the branch, and of the shortcut if that is a projection.
        normed: a norm is in the branch, so that what the branch adds does not grow with the stream.
        added: the signals of the branch alone.
        ratio: rms of what the branch adds over that of the stream; None where it is not known.
        before: the join before it in the stream.
    """

    op: Operation
    start: Signal
    branch: list[Signal]
    normed: bool
    added: list[Signal]
    ratio: float | None
    before: Join | None = None


@dataclass
class Structure:
    """The layers of a pass in order, and how they are connected.

    Attributes:
        layers: all layers.
        joins: all joins.
        operations: all operations.
        chains: layers that feed one another, each in one chain.
        streams: joins that follow one another.
    """

    layers: list[Layer]
    joins: list[Join]
    operations: Sequence[Operation]
    chains: list[list[Layer]] = field(default_factory=list)
    streams: list[list[Join]] = field(default_factory=list)

    @cached_property
    def by_label(self) -> dict[str, Layer]:
        """Layers by their labels."""
        return {layer.label: layer for layer in self.layers}

    @cached_property
    def beside(self) -> set[int]:
        """Ids of the signals in branches."""
        return {id(signal) for join in self.joins for signal in join.branch}


def structure_of(operations: Sequence[Operation]) -> Structure:
    """The layers, chains and streams of the operations of a pass."""
    structure = Structure(_layers(operations), _joins(operations), operations)
    leading = _leading(structure.layers)
    owners, feeding = {id(layer.signal): layer for layer in structure.layers}, Feeding(operations)
    for layer in structure.layers:
        feeder, layer.reset = feeding.feeder(layer.op)
        layer.before = owners.get(id(feeder))
        layer.parallel = [owners[id(signal)] for signal in feeding.parallel(layer.signal) if id(signal) in owners]
        layer.beside = id(layer.signal) in structure.beside
        layer.head = id(layer.signal) not in leading
    structure.chains = list(_chains(structure.layers))
    structure.streams = list(_streams(structure.joins))
    return structure


def _layers(operations: Sequence[Operation]) -> list[Layer]:
    counts: dict[str, int] = {}
    layers: list[Layer] = []
    for op in operations:
        if op.kind in ("layer", "recurrence") and op.output is not None and op.weight is not None:
            count = counts[op.label] = counts.get(op.label, 0) + 1
            label = f"{op.label}#{count}" if count > 1 else op.label
            layers.append(_layer(len(layers) + 1, op, label))
    return layers


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
    activation = activation or _after_leaving_out(signal)
    h = activation.output if activation is not None and activation.output is not None else (stored or [z])[-1]
    return Layer(number, op, label, z, h, activation, norm)


def _after_leaving_out(signal: Signal) -> Operation | None:
    """The activation of the only part of a signal that is used, as behind a causal convolution without its padding."""
    part = signal.consumers[0] if len(signal.consumers) == 1 else None
    return part.signal.activation if part is not None and part.kind == "part" and part.signal is not None else None


def _leading(layers: Sequence[Layer]) -> set[int]:
    """Ids of the signals from which another layer is made."""
    leading: set[int] = set()
    waiting = [signal for layer in layers for signal in layer.op.inputs]
    while waiting:
        signal = waiting.pop()
        if id(signal) not in leading:
            leading.add(id(signal))
            waiting += signal.inputs
    return leading


def _chains(layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    """Chains of layers that feed one another, each chain in order."""
    after = {id(layer.before): layer for layer in layers if layer.before is not None}
    for layer in layers:
        if layer.before is None and id(layer) in after:
            chain = [layer]
            while (following := after.get(id(chain[-1]))) is not None:
                chain.append(following)
            yield chain


def _joins(operations: Sequence[Operation]) -> list[Join]:
    """The sums of a stream and a branch that starts from it."""
    joins: list[Join] = []
    by_signal: dict[int, Join] = {}
    for op in operations:
        if op.kind != "sum" or len(op.inputs) != 2 or op.output is None:
            continue
        join = _join(op)
        if join is not None:
            join.before = _joined_before(join.start, by_signal)
            joins.append(join)
            by_signal[id(op.signal)] = join
    return joins


def _join(op: Operation) -> Join | None:
    for skip, branch in (op.inputs, op.inputs[::-1]):
        start, walked = skip, [skip]
        for _ in range(_FARTHEST_SHORTCUT):
            inside = list(back_from(branch, start.number))
            if any(signal is start for signal in inside):
                return _made(op, start, [signal for signal in (*inside, *walked[:-1]) if signal is not start])
            if start.op.kind not in ("layer", "norm", "other", "part") or len(start.inputs) != 1:
                break
            start = start.inputs[0]
            walked.append(start)
    return None


def _made(op: Operation, start: Signal, branch: list[Signal]) -> Join | None:
    if not any(signal.op.kind in ("layer", "recurrence") for signal in branch):
        return None  # a sum of rotated entries, as in rotary positions
    place, added = _added(op, start)
    added = branch if added == branch else added  # one list for both, as nearly always
    return Join(op, start, branch, any(signal.op.kind == "norm" for signal in branch), added, _ratio(op, place))


def _added(op: Operation, start: Signal) -> tuple[int, list[Signal]]:
    """Which side of a sum is the branch, the one with more layers, and its signals."""
    sides = [[signal for signal in back_from(side, start.number) if signal is not start] for side in op.inputs]
    layers = [sum(signal.op.kind in ("layer", "recurrence") for signal in side) for side in sides]
    place = int(layers[1] >= layers[0])
    return place, sides[place]


def _ratio(op: Operation, place: int) -> float | None:
    """rms of what is added at that place over rms of the other side."""
    if len(op.sides) != 2:
        return None
    branch, stream = square_of(op.sides[place]), square_of(op.sides[1 - place])
    return math.sqrt(branch / stream) if branch is not None and stream and branch >= 0 else None


def _joined_before(start: Signal, joins: dict[int, Join]) -> Join | None:
    """The join before a signal, with at most norms and parts between."""
    while id(start) not in joins:
        if start.op.kind not in ("norm", "part", "other") or len(start.inputs) != 1:
            return None
        start = start.inputs[0]
    return joins[id(start)]


def _streams(joins: Sequence[Join]) -> Iterator[list[Join]]:
    """Joins that follow one another; where several follow one join, the last of them continues its stream."""
    after = {id(join.before): join for join in joins if join.before is not None}
    followed = {id(join) for join in after.values()}
    for join in joins:
        if id(join) not in followed:
            stream = [join]
            while (following := after.get(id(stream[-1]))) is not None:
                stream.append(following)
            yield stream
