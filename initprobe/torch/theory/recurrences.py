"""Rules for `lstm`, `gru`, `rnn_tanh` and `rnn_relu` of torch: layers, both directions, projections, dropout.

The gradient of the output is that of its consumers. What goes back through time shows in the gradient of the input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.gate_paths import Paths, Recurrence
from initprobe.torch.theory.moments import Moments, NoRule, gaussian_noise
from initprobe.torch.theory.places import from_matrices, matrices, without_places
from initprobe.torch.theory.rule import Lookup, Moved, Rule, constant, names
from initprobe.torch.theory.trace import Constant, Node

_MOST_STEPS = 128
_CLEAR_MEAN = 5  # standard errors from which on a mean of the weights is no chance


class _Call(NamedTuple):
    """A call of a recurrence: its input, initial states, and the weights of each layer and direction."""

    node: Node
    source: Node
    states: tuple[Any, ...]
    layers: list[list[Recurrence]]
    kept: float
    batch_first: bool

    @property
    def time(self) -> int:
        """The axis of the steps."""
        return int(self.batch_first)


def recurrence_of(kind: str, shapes: Sequence[tuple[int, ...]], gates: Array, has_biases: bool) -> Recurrence:
    """The weights of one direction of one layer.

    Args:
        kind: of `STEPS`.
        shapes: of the parameters, in torch's order.
        gates: mean and variance of each gate's part of these, `(parameters, gates, 2)`.
        has_biases: whether the third and fourth are biases.

    Raises:
        NoRule: a parameter is missing, or weights have a mean.
    """
    weights = gates if not has_biases else np.concatenate([gates[:2], gates[4:]])
    sizes = [shape for place, shape in enumerate(shapes) if not has_biases or place not in (2, 3)]
    if not np.isfinite(gates).all():
        raise NoRule("a recurrence whose parameters are not all known")
    for (_, columns), parts in zip(sizes, weights, strict=True):
        count = columns * sizes[0][0] / gates.shape[1]
        if (parts[:, 0] ** 2 * count > _CLEAR_MEAN**2 * parts[:, 1]).any():
            raise NoRule("a recurrence whose weights have a mean")
    squares = weights[:, :, 1] + weights[:, :, 0] ** 2
    into, own = squares[:2]
    bias = [gates[place] if has_biases else np.zeros((gates.shape[1], 2)) for place in (2, 3)]
    if kind == "gru":  # what input and state add to the candidate are two processes
        into, own = np.append(into, 0.0), np.array([own[0], own[1], 0.0, own[2]])
        zero = np.zeros((1, 2))
        bias = [np.concatenate([bias[0], zero]), np.concatenate([bias[1][:2], zero, bias[1][2:]])]
    level, spread = (bias[0] + bias[1]).T
    projected = float(squares[2].mean()) if len(squares) > 2 else None
    state = sizes[0][0] // gates.shape[1]
    return Recurrence(kind, into, own, spread, level, (sizes[0][1], state, sizes[1][1]), projected)


def _call(node: Node) -> _Call:
    if len(node.args) != 9:
        raise NoRule(f"{node.name} over samples of different lengths")
    source, states, held, has_biases, count, rate, training, both_ways, batch_first = node.args
    if not isinstance(source, Node) or not all(isinstance(part, Constant) for part in held):
        raise NoRule(f"{node.name} with weights that depend on the input")
    if len(source.shape) != 3:
        raise NoRule(f"{node.name} without an axis of samples")
    if source.shape[int(batch_first)] > _MOST_STEPS:
        raise NoRule(f"{node.name} of more than {_MOST_STEPS} steps")
    ways, each = 1 + bool(both_ways), len(held) // (count * (1 + bool(both_ways)))
    parts = [
        recurrence_of(
            node.name,
            [part.shape for part in held[start : start + each]],
            node.facts["gates"][start : start + each],
            bool(has_biases),
        )
        for start in range(0, len(held), each)
    ]
    layers = [parts[start : start + ways] for start in range(0, len(parts), ways)]
    kept = 1 - float(rate) if training else 1.0
    initial = states if isinstance(states, tuple) else (states,)
    return _Call(node, source, initial, layers, kept, bool(batch_first))


def between_steps(moments: Moments, axis: int) -> Array:
    """Mean products of the entries of one unit at two steps, `(2, steps, steps)`: in the same sample and in two.

    Args:
        moments: of a tensor of samples, steps and units.
        axis: that of the steps, 0 or 1.
    """
    moments = without_places(moments, [1 - axis, 2])
    held = matrices(moments.pairs, moments.shape[axis], axis)[:, 0]
    return np.stack([held[0], held[min(1, len(held) - 1)]])


def from_steps(shape: tuple[int, ...], products: Array, means: Array, axis: int) -> Moments:
    """The moments of a tensor of samples, steps and units, from the mean products of two steps.

    Args:
        shape: of the tensor.
        products: `(2, steps, steps)`, of one unit in the same sample and in two.
        means: of the steps.
        axis: that of the steps, 0 or 1.
    """
    other = np.broadcast_to(np.outer(means, means), products.shape)
    held = np.stack([products, other], 1)[: min(shape[1 - axis], 2), : min(shape[2], 2)]
    pairs = from_matrices(held, axis)
    pairs = pairs.take([0], axis) if shape[axis] == 1 else pairs
    return Moments(shape, float(means.mean()), pairs)


def _initial(call: _Call, of: Lookup, number: int, place: int) -> Array:
    """Mean products of an initial state: `number` 0 is the output, 1 the cell; `place` counts layers and ways."""
    if number >= len(call.states) or call.states[number] is None:
        return np.zeros(2)
    held = call.states[number]
    moments = of(held) if isinstance(held, Node) else constant(held)
    return _of_layer(moments, place)


def _of_layer(moments: Moments, place: int) -> Array:
    """Mean products of a state, which has axes of layers, samples and units: in the same sample and in two."""
    moments = without_places(moments, [1, 2])
    held = matrices(moments.pairs, moments.shape[0], 0)[:, 0, place, place]
    return np.array([held[0], held[-1]])


def _drawn(call: _Call, of: Lookup) -> list[list[Paths]]:
    """The drawn units of every layer and direction."""
    given = between_steps(of(call.source), call.time)
    made: list[list[Paths]] = []
    for ways in call.layers:
        row = []
        for number, held in enumerate(ways):
            place = len(made) * len(ways) + number
            states = _initial(call, of, 0, place), _initial(call, of, 1, place)
            row.append(Paths(held, _turned(given, number), *states))
        made.append(row)
        given = np.mean([_turned(paths.outputs, number) for number, paths in enumerate(row)], 0)
        given = _thinned(given, call.kept)
    return made


def _turned(products: Array, number: int) -> Array:
    """The steps in the order of a direction: the second one starts at the last step."""
    return products[:, ::-1, ::-1] if number else products


def _thinned(products: Array, kept: float) -> Array:
    """After dropout, which keeps this share of the entries of each step."""
    made = products.copy()
    index = np.arange(made.shape[-1])
    made[0, index, index] /= kept
    return made


def _recur(node: Node, of: Lookup) -> Moments:
    call = _call(node)
    drawn, given = _drawn(call, of), of(call.source)
    if node.output == 0:
        rows = [_turned(paths.outputs, number) for number, paths in enumerate(drawn[-1])]
        means = [paths.means[:: -1 if number else 1] for number, paths in enumerate(drawn[-1])]
        made = from_steps(node.shape, np.mean(rows, 0), np.mean(means, 0), call.time)
    else:
        every = [paths for row in drawn for paths in row]
        last = [paths.outputs[:, -1, -1] if node.output == 1 else paths.cell for paths in every]
        level = [paths.means[-1] if node.output == 1 else paths.cell_mean for paths in every]
        made = _of_layers(node.shape, np.array(last), np.array(level))
    return made.with_noise(given.noise + gaussian_noise(made))


def _of_layers(shape: tuple[int, ...], squares: Array, means: Array) -> Moments:
    """The moments of the last states: those of two layers or directions are independent."""
    held = np.zeros((2, 2, len(squares), len(squares))) + np.outer(means, means)
    index = np.arange(len(squares))
    held[:, 0, index, index] = squares.T
    pairs = from_matrices(held[: min(shape[1], 2), : min(shape[2], 2)], 0)
    pairs = pairs.take([0], 0) if len(squares) == 1 else pairs
    return Moments(shape, float(means.mean()), pairs)


def _recur_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    call = _call(node)
    drawn, steps = _drawn(call, of), call.source.shape[call.time]
    total = between_steps(gradient, call.time) if node.output == 0 else np.zeros((2, steps, steps))
    states: list[tuple[Array, Array]] = []
    noise = 0.0
    for layer in reversed(range(len(drawn))):
        parts = []
        for number, paths in enumerate(drawn[layer]):
            place = layer * len(drawn[layer]) + number
            ends = [_of_layer(gradient, place) if node.output == kind else np.zeros(2) for kind in (1, 2)]
            to_input, to_state, to_cell = paths.back(_turned(total, number), *ends)
            parts.append(_turned(to_input, number))
            states.insert(number, (to_state, to_cell))
            noise = max(noise, paths.back_noise(gradient.shape[1 - call.time]))
        total = np.sum(parts, 0)
        total = _thinned(total, call.kept) if layer else total
    moved = from_steps(call.source.shape, total, np.zeros(steps), call.time)
    yield call.source, moved.with_noise(gradient.noise + noise + gaussian_noise(moved))
    yield from _to_states(call, states, gradient.noise + noise)


def _to_states(call: _Call, states: Sequence[tuple[Array, Array]], noise: float) -> Iterator[tuple[Node, Moments]]:
    """The gradients of initial states that depend on the input."""
    for held, squares in zip(call.states, zip(*states, strict=True), strict=False):
        if isinstance(held, Node):
            moved = _of_layers(held.shape, np.array(squares), np.zeros(len(squares)))
            yield held, moved.with_noise(noise + gaussian_noise(moved))


RULES = (Rule(names("lstm gru rnn_tanh rnn_relu"), _recur, _recur_back),)
