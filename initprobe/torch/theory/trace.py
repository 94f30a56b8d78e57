"""The trace of a pass: every tensor with the call that made it, without the tensors themselves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import torch

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.torch.call_kinds import Call
from initprobe.torch.graph import Operation, Value
from initprobe.torch.measure import Track, array_of, is_measured
from initprobe.torch.theory.known_entries import is_mask, measured_moments, uneven
from initprobe.torch.theory.moments import Moments
from initprobe.torch.theory.places import from_matrices, grouped
from initprobe.torch.theory.tensor_facts import WITH_FACTS, tensor_facts

_MOST_SAMPLES = 8  # of the model's input, from which its moments are taken
_MOST_ENTRIES = 1 << 14  # of a constant, from which its moments are taken
_SMALL = 1 << 10  # entries of vectors that are measured together
_MOST_FACTORS = 4096  # places of a constant whose pairs of places are taken
_MOST_PAIRED = 1 << 21  # entries of a constant whose pairs are taken
_FINITE = 1e8  # mean square from which on a constant masks logits
_WITH_PAIRS = frozenset(("same", "shift", "scale", "sum", "gate", "cat"))
_PLAIN = frozenset((int, float, str, bool, slice, type(None)))
_NO_FACTS: Mapping[str, Array] = MappingProxyType({})


@dataclass(eq=False, slots=True)
class Constant:
    """A parameter, or a tensor that does not depend on the input.

    Attributes:
        shape: of the tensor.
        mean: mean of its entries; NaN where it holds no floating-point numbers.
        square: their mean square.
        count: entries from which these two were taken.
        pairs: its moments, where entries at different places may be alike, as of positions.
        track: statistics of a weight that were measured for its layer; they stand for `mean` and `square`.
        uneven: of the kernels of a convolution, relative variance of their mean square, where they have few entries.
        is_mask: whether it masks logits: its entries are 0, or so low that exp of them is lost beside 1.
        as_moments: what rules made of these numbers, for independent entries.
        as_weights: the same of the weights of a product.
    """

    shape: tuple[int, ...]
    mean: float = math.nan
    square: float = math.nan
    count: int = 0
    pairs: Moments | None = None
    track: Track | None = None
    uneven: float = 0.0
    is_mask: bool = False
    as_moments: Moments | None = field(default=None, init=False)
    as_weights: Any = field(default=None, init=False)

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and mean square."""
        return (self.mean, self.square) if self.track is None else (self.track.mean, self.track.square)

    @property
    def entries(self) -> int:
        """How many entries the moments are of."""
        return self.count if self.track is None else self.track.entries


@dataclass(eq=False, slots=True)
class Node:
    """A tensor that depends on the input, and the call that made it.

    Attributes:
        number: 0 for the first.
        name: plain name of the function.
        args: its arguments; a node or a constant in place of each tensor.
        kwargs: its keyword arguments, likewise.
        shape: of the tensor.
        track: statistics of the same entries, perhaps of the tensor that this is a view of.
        kind: what the call does to signals.
        activation: our record of an activation function, if there is one.
        given: moments that were taken from the tensor itself, for an input of the model.
        facts: further arrays by name, such as the entries that attention sees.
        output: which output of the call it is, from 0.
        kept_sources: `sources`, once they were looked for.
    """

    number: int
    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=lambda: _NO_FACTS)
    shape: tuple[int, ...] = ()
    track: Track | None = None
    kind: str = ""
    activation: Activation | None = None
    given: Moments | None = None
    facts: Mapping[str, Array] = field(default_factory=lambda: _NO_FACTS)
    output: int = 0
    kept_sources: list[Node] | None = field(default=None, init=False)

    def argument(self, name: str, place: int, default: Any = None) -> Any:
        """An argument by its keyword or its place.

        Args:
            name: its keyword.
            place: its index among the arguments.
            default: where it is not given.
        """
        if name in self.kwargs:
            return self.kwargs[name]
        return self.args[place] if len(self.args) > place else default

    @property
    def sources(self) -> list[Node]:
        """The nodes among the arguments, in order."""
        if self.kept_sources is None:
            self.kept_sources = list(_nodes((*self.args, *self.kwargs.values())))
        return self.kept_sources


Operand: TypeAlias = "Node | Constant"


def _nodes(held: Any) -> Any:
    for value in held:
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple | list):
            yield from _nodes(value)


class Trace:
    """Collects the nodes of the first draw.

    Attributes:
        nodes: in the order of their making.
        results: the nodes that the model returned.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.results: list[Node] = []
        self._open = True
        self._constants: dict[int, Constant] = {}  # by the id of a tensor
        self._held: list[Any] = []  # these tensors, so that no other gets the id of one
        self._waiting: dict[int, tuple[list[Constant], list[Array]]] = {}  # constants by size, and their entries
        self._shapes: dict[tuple[int, ...], tuple[int, ...]] = {}  # one object for all tensors of a shape

    def given(self, tensor: Any, value: Value) -> None:
        """Note an input of the model.

        Args:
            tensor: as the model gets it.
            value: what was measured of it.
        """
        if not self._open:
            return
        node = self._new("input", tensor)
        node.track = value.track
        if is_measured(tensor) and tensor.layout is torch.strided:
            whole = tensor.detach()
            node.given = measured_moments(array_of(whole[:_MOST_SAMPLES] if whole.ndim > 1 else whole))
        value.node = node

    def add(self, call: Call, kind: str, made: Any, value: Value, output: int = 0) -> None:
        """Note a tensor that a call made.

        Args:
            call: the operation.
            kind: name of its rule.
            made: the tensor.
            value: what was measured of it.
            output: which output of the call it is, from 0.
        """
        signal = value.signal
        if not self._open or signal is None:
            return
        if kind == "layer":
            self._weight(signal.op, call)
        args = self._arguments(call.args, call)
        kwargs = _NO_FACTS
        if call.kwargs:
            kwargs = dict(zip(call.kwargs, self._arguments(call.kwargs.values(), call), strict=True))
        if call.name == "linear":
            _take_pairs(args[:1], call, False)  # of a signal that does not depend on the input, such as latent queries
        if kind in _WITH_PAIRS:
            _take_pairs(args, call, call.name in ("mul", "multiply"))
        activation = signal.steps[-1].activation if kind == "activation" and signal.steps else None
        facts = tensor_facts(call) if call.name in WITH_FACTS else _NO_FACTS
        shape = tuple(made.shape)
        shape = self._shapes.setdefault(shape, shape)
        node = Node(len(self.nodes), call.name, args, kwargs, shape, value.track, kind, activation, None, facts, output)
        self.nodes.append(node)
        value.node = node

    def unseen(self, made: Any, value: Value) -> None:
        """Note a tensor that no known call made.

        Args:
            made: the tensor.
            value: what was measured of it.
        """
        if not self._open:
            return
        node = self._new("unseen", made)
        node.track = value.track
        value.node = node

    def finish(self, values: list[Value]) -> None:
        """Note the tensors that the model returned; constants are no longer held."""
        if self._open:
            self.results = [value.node for value in values if value.node is not None]
        for constants, rows in self._waiting.values():
            _measure(constants, np.array(rows, np.float64))
        self._open = False
        self._constants.clear()
        self._held.clear()
        self._waiting.clear()

    def _new(self, name: str, tensor: Any) -> Node:
        node = Node(len(self.nodes), name, shape=tuple(tensor.shape))
        self.nodes.append(node)
        return node

    def _weight(self, op: Operation, call: Call) -> None:
        """Note the weight of a layer, which is measured already."""
        weight = op.weight
        if weight is None:
            return
        for tensor, value in zip(call.tensors, call.values, strict=True):
            is_weight = value.signal is None and (op.leaf is None or value.leaf == op.leaf)
            if is_weight and tensor.shape == weight.shape and id(tensor) not in self._constants:
                self._hold(tensor, Constant(weight.shape, track=weight, uneven=uneven(tensor)))

    def _arguments(self, given: Iterable[Any], call: Call) -> tuple[Any, ...]:
        """The arguments of a call. Their tensors come in the order in which the call lists them."""
        made, place = [], 0
        tensors, count = call.tensors, len(call.tensors)
        for argument in given:
            if type(argument) in _PLAIN:
                made.append(argument)
            elif place < count and argument is tensors[place]:
                made.append(self._operand(argument, call.values[place]))
                place += 1
            else:
                made.append(self._described(argument, call))
        return tuple(made)

    def _described(self, argument: Any, call: Call) -> Any:
        if type(argument) in _PLAIN:
            return argument
        if isinstance(argument, torch.Tensor):
            pairs = zip(call.tensors, call.values, strict=True)
            return self._operand(argument, next((value for tensor, value in pairs if tensor is argument), Value()))
        if isinstance(argument, tuple | list):
            return tuple(self._described(part, call) for part in argument)
        return argument if isinstance(argument, int | float | str | slice) else ...

    def _operand(self, tensor: Any, value: Value) -> Operand:
        if value.node is not None:
            return value.node
        if value.signal is not None:
            self.unseen(tensor, value)
            return value.node or Constant(tuple(tensor.shape))
        constant = self._constants.get(id(tensor))
        return constant if constant is not None else self._hold(tensor, self._constant(tensor))

    def _hold(self, tensor: Any, constant: Constant) -> Constant:
        self._held.append(tensor)
        self._constants[id(tensor)] = constant
        return constant

    def _constant(self, tensor: Any) -> Constant:
        """A constant. A small vector waits, because for these the calls cost more than the arithmetic."""
        shape = tuple(tensor.shape)
        if not is_measured(tensor) or tensor.layout is not torch.strided:
            return Constant(shape)
        if len(shape) == 1 and shape[0] <= _SMALL:
            made = Constant(shape, count=shape[0])
            constants, rows = self._waiting.setdefault(shape[0], ([], []))
            constants.append(made)
            rows.append(array_of(tensor).copy())
            return made
        flat = tensor.detach().reshape(-1)
        entries = array_of(flat[:: max(flat.numel() // _MOST_ENTRIES, 1)])
        made = Constant(shape, count=entries.size, is_mask=is_mask(entries))
        _measure([made], entries[None])
        return made


def _moments_of(values: Array, is_factor: bool) -> Moments:
    """The moments of a constant; of factors per place, such as those that rotate queries, for each pair of places."""
    places, units = values.shape[-2:]
    if not is_factor or values.size > places * units or not 1 < places <= _MOST_FACTORS or units == 1:
        return measured_moments(values, pictures=False)
    rows = np.asarray(values, float).reshape(places, units)
    total = rows.sum(1)
    same = rows @ rows.T
    held = np.stack([same / units, (np.outer(total, total) - same) / (units * (units - 1))])
    shape = (*(1 for _ in values.shape[:-2]), 2, places, places)
    pairs = grouped(from_matrices(held.reshape(shape), values.ndim - 2), places, values.ndim - 2)
    return Moments(values.shape, float(rows.mean()), pairs)


def _take_pairs(arguments: tuple[Any, ...], call: Call, is_factor: bool) -> None:
    """Measure the constants with several axes that are added to a signal or multiply it."""
    for argument in arguments:
        if isinstance(argument, Constant) and argument.pairs is None and 0 < argument.square < _FINITE:
            tensor = _tensor_of(argument, call) if len(argument.shape) > 1 else None
            if tensor is not None and tensor.numel() <= _MOST_PAIRED:
                argument.pairs = _moments_of(array_of(tensor), is_factor)


def _tensor_of(constant: Constant, call: Call) -> Any:
    """The tensor of a constant among the arguments of a call."""
    pairs = zip(call.tensors, call.values, strict=True)
    return next((each for each, value in pairs if value.node is None and tuple(each.shape) == constant.shape), None)


def _measure(constants: Sequence[Constant], rows: Array) -> None:
    """The moments of constants from their entries, one row each. In single precision, squares might overflow."""
    wide = np.asarray(rows, np.float64)
    with np.errstate(all="ignore"):
        means, squares = wide.sum(1) / wide.shape[1], np.vecdot(wide, wide) / wide.shape[1]
    for constant, mean, square in zip(constants, means.tolist(), squares.tolist(), strict=True):
        constant.mean, constant.square = mean, square
