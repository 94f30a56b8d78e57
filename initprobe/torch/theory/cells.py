"""Rules for one step of a recurrence: `lstm_cell`, `gru_cell`, `rnn_tanh_cell`, `rnn_relu_cell`.

Forward, all steps up to a cell are drawn, as the gates of two steps are alike. So the inputs must be places of one
tensor. Back, a cell is drawn alone: its states count as Gaussian and independent of its gates. Units that keep much at
one step keep much at the next, which makes gradients larger than that. The most that this can do is in the spread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.gate_paths import Paths, Recurrence
from initprobe.torch.theory.moments import Moments, NoRule, gaussian_noise
from initprobe.torch.theory.parts import taken_place
from initprobe.torch.theory.places import without_places
from initprobe.torch.theory.recurrences import between_steps, recurrence_of
from initprobe.torch.theory.rule import Lookup, Moved, Rule, constant, names
from initprobe.torch.theory.trace import Constant, Node

MOST_STEPS = 32  # each cell draws all cells before it


def _squares(held: Any, of: Lookup) -> Array:
    """Mean products of the entries of one unit in the same sample and in two, `(2,)`."""
    if held is None:
        return np.zeros(2)
    moments = of(held) if isinstance(held, Node) else constant(held)
    if len(moments.shape) != 2:
        raise NoRule("a cell without an axis of samples")
    pairs = without_places(moments).pairs
    return np.array([pairs[0, 0], pairs[-1, 0]])


def _parts(node: Node) -> tuple[Any, tuple[Any, ...], list[Constant]]:
    """The input, the states before, and the parameters."""
    source, states, *held = node.args
    weights = [part for part in held if part is not None]
    if len(weights) not in (2, 4) or not all(isinstance(part, Constant) for part in weights):
        raise NoRule(f"{node.name} with weights that depend on the input")
    return source, states if isinstance(states, tuple) else (states,), weights


def _weights(node: Node, weights: Sequence[Constant]) -> Recurrence:
    gates, kind = node.facts["gates"][: len(weights)], node.name.removesuffix("_cell")
    return recurrence_of(kind, [part.shape for part in weights], gates, len(weights) == 4)


def _drawn(node: Node, of: Lookup) -> Paths:
    source, states, weights = _parts(node)
    held = _weights(node, weights)
    cell = _squares(states[1], of) if len(states) > 1 else np.zeros(2)
    return Paths(held, _squares(source, of)[:, None, None], _squares(states[0], of), cell)


def _steps(node: Node) -> list[Node]:
    """The cells with the same weights up to this one, in order."""
    steps = [node]
    while len(steps) <= MOST_STEPS:
        _, states, weights = _parts(steps[0])
        before = states[0]
        if not isinstance(before, Node) or before.name != node.name or _parts(before)[2][1] is not weights[1]:
            return steps
        steps.insert(0, before)
    raise NoRule(f"{node.name} after more than {MOST_STEPS} steps by hand")


def _inputs(steps: Sequence[Node], of: Lookup) -> Array:
    """Mean products of the inputs of two steps, `(2, steps, steps)`."""
    sources = [step.args[0] for step in steps]
    if len(sources) == 1 or all(source is sources[0] for source in sources):
        return np.broadcast_to(_squares(sources[0], of)[:, None, None], (2, len(steps), len(steps)))
    places = [taken_place(source) for source in sources if isinstance(source, Node)]
    axes = {place[:2] for place in places if place is not None}
    if len(axes) > 1 or None in places or len(places) < len(steps):
        raise NoRule("cells whose inputs are not places of one tensor")
    whole, axis = steps[0].args[0].sources[0], places[0][1] if places[0] else 0
    index = np.array([place[2] for place in places if place is not None])
    return between_steps(of(whole), axis)[:, index][:, :, index]


def _followed(node: Node, of: Lookup) -> Paths:
    """All steps up to a cell, drawn together."""
    steps = _steps(node)
    _, states, weights = _parts(steps[0])
    held = _weights(node, weights)
    cell = _squares(states[1], of) if len(states) > 1 else np.zeros(2)
    return Paths(held, _inputs(steps, of), _squares(states[0], of), cell)


def _moments(shape: tuple[int, ...], squares: Array, mean: float) -> Moments:
    pairs = np.array([[square, mean**2] for square in squares])
    return Moments(shape, mean, pairs[: min(shape[0], 2), : min(shape[1], 2)])


def _step(node: Node, of: Lookup) -> Moments:
    drawn = _followed(node, of)
    if node.output:
        made = _moments(node.shape, drawn.cell, drawn.cell_mean)
    else:
        made = _moments(node.shape, drawn.outputs[:, -1, -1], float(drawn.means[-1]))
    given = [of(part).noise for part in node.sources]
    return made.with_noise(max(given, default=0.0) + gaussian_noise(made))


def _step_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    source, states, _ = _parts(node)
    drawn = _drawn(node, of)
    given, none = _squares(node, lambda _: gradient), np.zeros(2)
    to_output, to_cell = (none, given) if node.output else (given, none)
    to_input, to_state, to_carried = drawn.back(to_output[:, None, None], none, to_cell)
    noise = gradient.noise + drawn.back_noise(node.shape[0])
    if any(isinstance(held, Node) for held in states):
        noise += drawn.uneven_memory() ** 2
    yield from _moved(source, to_input[:, 0, 0], noise)
    for held, squares in zip(states, (to_state, to_carried), strict=False):
        yield from _moved(held, squares, noise)


def _moved(held: Any, squares: Array, noise: float) -> Iterator[tuple[Node, Moments]]:
    if isinstance(held, Node):
        made = _moments(held.shape, squares, 0.0)
        yield held, made.with_noise(noise + gaussian_noise(made))


RULES = (Rule(names("lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell"), _step, _step_back),)
