"""The trace of a pass: every tensor with the call that made it, without the tensors themselves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import torch

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.torch.call_kinds import Call
from initprobe.torch.graph import Value
from initprobe.torch.measure import Track, array_of, is_measured
from initprobe.torch.theory.moments import Moments, measured_moments
from initprobe.torch.theory.places import MOST_PLACES, from_matrices

_MOST_SAMPLES = 8  # of the model's input, from which its moments are taken
_MOST_ENTRIES = 1 << 14  # of a constant, from which its moments are taken
_FEW = 1 << 10  # entries of which single precision is enough
_MOST_PAIRED = 1 << 21  # entries of a constant whose pairs are taken
_FINITE = 1e8  # mean square from which on a constant masks logits
_WITH_PAIRS = frozenset(("same", "shift", "scale", "sum", "gate", "cat"))
_PLAIN = frozenset((int, float, str, bool, slice, type(None)))
_MASKED = -1e4  # logits up to this are masked
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
    """

    shape: tuple[int, ...]
    mean: float = math.nan
    square: float = math.nan
    count: int = 0
    pairs: Moments | None = None
    track: Track | None = None

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

    def argument(self, name: str, place: int, default: Any = None) -> Any:
        """An argument by its keyword or its place."""
        if name in self.kwargs:
            return self.kwargs[name]
        return self.args[place] if len(self.args) > place else default

    @property
    def sources(self) -> list[Node]:
        """The nodes among the arguments, in order."""
        return list(_nodes((*self.args, *self.kwargs.values())))


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
        self._constants: dict[int, tuple[Any, Constant]] = {}

    def given(self, tensor: Any, value: Value) -> None:
        """Note an input of the model."""
        if not self._open:
            return
        node = self._new("input", tensor)
        node.track = value.track
        if is_measured(tensor):
            whole = tensor.detach()
            node.given = measured_moments(array_of(whole[:_MOST_SAMPLES] if whole.ndim > 1 else whole))
        value.node = node

    def add(self, call: Call, kind: str, made: Any, value: Value) -> None:
        """Note a tensor that a call made."""
        if not self._open or value.signal is None:
            return
        operands = {id(tensor): (tensor, held) for tensor, held in zip(call.tensors, call.values, strict=True)}
        node = self._new(call.name, made)
        op = value.signal.op
        weight = op.weight if kind == "layer" else None
        if weight is not None:
            self._weight(weight, call)
        node.args = tuple(self._described(argument, operands) for argument in call.args)
        if call.kwargs:
            node.kwargs = {name: self._described(argument, operands) for name, argument in call.kwargs.items()}
        node.track, node.facts = value.track, _facts(call)
        node.kind = kind
        if kind in _WITH_PAIRS:
            _take_pairs(node.args, operands.values(), call.name in ("mul", "multiply"))
        if kind == "activation" and value.signal.steps:
            node.activation = value.signal.steps[-1].activation
        value.node = node

    def unseen(self, made: Any, value: Value) -> None:
        """Note a tensor that no known call made."""
        if not self._open:
            return
        node = self._new("unseen", made)
        node.track = value.track
        value.node = node

    def finish(self, values: list[Value]) -> None:
        """Note the tensors that the model returned; constants are no longer held."""
        if self._open:
            self.results = [value.node for value in values if value.node is not None]
        self._open = False
        self._constants.clear()

    def _new(self, name: str, tensor: Any) -> Node:
        node = Node(len(self.nodes), name, shape=tuple(tensor.shape))
        self.nodes.append(node)
        return node

    def _weight(self, weight: Track, call: Call) -> None:
        """Note the weight of a layer, which is measured already."""
        for tensor in call.tensors:
            if tuple(tensor.shape) == weight.shape and id(tensor) not in self._constants:
                self._constants[id(tensor)] = tensor, Constant(weight.shape, track=weight)

    def _described(self, argument: Any, operands: Mapping[int, tuple[Any, Value]]) -> Any:
        if type(argument) in _PLAIN:
            return argument
        if isinstance(argument, torch.Tensor):
            held = operands.get(id(argument))
            return self._operand(argument, held[1] if held is not None else Value())
        if isinstance(argument, tuple | list):
            return tuple(self._described(part, operands) for part in argument)
        return argument if isinstance(argument, int | float | str | slice) else ...

    def _operand(self, tensor: Any, value: Value) -> Operand:
        if value.node is not None:
            return value.node
        if value.signal is not None:
            self.unseen(tensor, value)
            return value.node or Constant(tuple(tensor.shape))
        held = self._constants.get(id(tensor))
        if held is None or held[0] is not tensor:
            held = self._constants[id(tensor)] = tensor, _constant(tensor)
        return held[1]


def _moments_of(values: Array, is_factor: bool) -> Moments:
    """The moments of a constant; of factors per place, such as those that rotate queries, for each pair of places."""
    places, units = values.shape[-2:]
    if not is_factor or values.size > places * units or not 1 < places <= MOST_PLACES or units == 1:
        return measured_moments(values, pictures=False)
    rows = np.asarray(values, float).reshape(places, units)
    total = rows.sum(1)
    same = rows @ rows.T
    held = np.stack([same / units, (np.outer(total, total) - same) / (units * (units - 1))])
    shape = (*(1 for _ in values.shape[:-2]), 2, places, places)
    return Moments(values.shape, float(rows.mean()), from_matrices(held.reshape(shape), values.ndim - 2))


def _take_pairs(arguments: tuple[Any, ...], operands: Iterable[tuple[Any, Value]], is_factor: bool) -> None:
    """Measure the constants with several axes that are added to a signal or multiply it."""
    tensors = [tensor for tensor, value in operands if value.node is None]
    for argument in arguments:
        if isinstance(argument, Constant) and argument.pairs is None and len(argument.shape) > 1:
            tensor = next((each for each in tensors if tuple(each.shape) == argument.shape), None)
            if tensor is not None and 0 < argument.square < _FINITE and tensor.numel() <= _MOST_PAIRED:
                argument.pairs = _moments_of(array_of(tensor), is_factor)


def _constant(tensor: Any) -> Constant:
    shape = tuple(tensor.shape)
    if not is_measured(tensor) or tensor.layout is not torch.strided:
        return Constant(shape)
    flat = tensor.detach().reshape(-1)
    entries = array_of(flat[:: max(flat.numel() // _MOST_ENTRIES, 1)])
    if entries.dtype != np.float64 and entries.size > _FEW:
        entries = entries.astype(np.float64)
    count = entries.size
    return Constant(shape, float(entries.sum() / count), float(np.dot(entries, entries) / count), count)


def _facts(call: Call) -> Mapping[str, Array]:
    """What only the tensors of the call can tell."""
    if call.name == "embedding" and call.args:
        return {"equal": _equal(call.args[0].detach().cpu().numpy())}
    if call.name == "softmax" and call.tensors[0].ndim > 1:
        return {"open": _open(call.tensors[0].detach())}
    if call.name == "scaled_dot_product_attention":
        mask = call.kwargs.get("attn_mask", call.args[3] if len(call.args) > 3 else None)
        return _NO_FACTS if mask is None else {"open": _open(mask.detach())}
    return _NO_FACTS


def _open(logits: Any) -> Array:
    """Which logits of the first sample are not masked, `(queries, keys)`."""
    while logits.ndim > 2:
        logits = logits[0]
    visible = logits if logits.dtype == torch.bool else torch.isfinite(logits) & (logits > _MASKED)
    return np.atleast_2d(visible.cpu().numpy())


def _equal(tokens: Array) -> Array:
    """Share of equal tokens among two, by the axes along which their places differ, `(2, ..., 2)`."""
    ndim = tokens.ndim
    sums = {axes: _equal_within(tokens, axes) for count in range(ndim + 1) for axes in combinations(range(ndim), count)}
    shape = tuple(min(size, 2) for size in tokens.shape)
    equal = np.empty(shape)
    for place in np.ndindex(shape):
        axes = tuple(axis for axis, index in enumerate(place) if index)
        parts = [part for count in range(len(axes) + 1) for part in combinations(axes, count)]
        total = sum((-1) ** (len(axes) - len(part)) * sums[part] for part in parts)
        equal[place] = total / (tokens.size * math.prod(tokens.shape[axis] - 1 for axis in axes))
    return equal


def _equal_within(tokens: Array, axes: tuple[int, ...]) -> float:
    """Number of pairs of equal tokens that differ along these axes at most."""
    others = tuple(axis for axis in range(tokens.ndim) if axis not in axes)
    rows = np.transpose(tokens, (*others, *axes)).reshape(math.prod(tokens.shape[axis] for axis in others), -1)
    return float(sum(count * count for row in rows.tolist() for count in Counter(row).values()))
