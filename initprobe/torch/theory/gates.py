"""Rules for gated halves, softmax, normalized rows, dropout, and operations that move, repeat or choose places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.arrange import reordered
from initprobe.torch.theory.moments import ALIKE, Bent, Moments, NoRule
from initprobe.torch.theory.norms import denormalised, normalised
from initprobe.torch.theory.places import without_places
from initprobe.torch.theory.pointwise import curved, kept_at_random, uncurved
from initprobe.torch.theory.pooling import repeated, summed_copies
from initprobe.torch.theory.rule import Lookup, Moved, Rule, axis_of, first, names
from initprobe.torch.theory.softmax import logits_back, weights_of
from initprobe.torch.theory.trace import Node


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _sigmoid_slope(x: Array) -> Array:
    return np.asarray(_sigmoid(x) * _sigmoid(-x))


def _half(node: Node, of: Lookup) -> tuple[Moments, Bent]:
    """The half that is gated, and the gate; both are alike, and their entries independent."""
    half = replace(without_places(of(first(node))), shape=node.shape, bent=None, levels=ALIKE, merged=None)
    lengths = [min(length, max(size, 1)) for length, size in zip(half.pairs.shape, node.shape, strict=True)]
    half = replace(half, pairs=half.pairs[tuple(slice(length) for length in lengths)])
    return half, Bent(node.number, half, _sigmoid, _sigmoid_slope)


def _glu(node: Node, of: Lookup) -> Moments:
    half, bent = _half(node, of)
    gate = curved(bent)
    return Moments(node.shape, half.mean * gate.mean, half.pairs * gate.pairs, half.noise + gate.noise)


def _glu_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    half, bent = _half(node, of)
    gradient = without_places(gradient)
    to_half = gradient.pairs * curved(bent).pairs
    to_gate = uncurved(bent, Moments(node.shape, 0.0, gradient.pairs * half.pairs)).pairs
    source, axis = first(node), axis_of(node.argument("dim", 1, -1), len(node.shape))
    squares = np.array([to_half.flat[0], to_gate.flat[0]])
    levels = {axis: np.repeat(squares / squares.mean(), node.shape[axis])} if np.ptp(squares) > 0 else ALIKE
    yield source, Moments(source.shape, 0.0, (to_half + to_gate) / 2, gradient.noise + half.noise, levels=levels)


def _softmax_axis(node: Node, ndim: int) -> list[int]:
    """The order of the axes that puts that of a softmax last."""
    axis = axis_of(node.argument("dim", 1, -1), ndim)
    order = list(range(ndim))
    order[axis], order[-1] = order[-1], order[axis]
    return order


def _softmax(node: Node, of: Lookup) -> Moments:
    order, visible = _softmax_axis(node, len(node.shape)), node.facts.get("open")
    if order[-1] == len(order) - 1:
        return weights_of(of(first(node)), visible)
    if visible is not None and not visible.all():
        raise NoRule("softmax over another axis than the last, with a mask")
    return reordered(weights_of(reordered(without_places(of(first(node))), order), None), order)


def _softmax_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    order, visible = _softmax_axis(node, len(node.shape)), node.facts.get("open")
    is_last = order[-1] == len(order) - 1
    logits = reordered(of(first(node)), order)
    moved = logits_back(logits, visible if is_last else None, reordered(gradient, order))
    yield first(node), reordered(moved, order)


def _axis(node: Node) -> list[int]:
    if node.argument("p", 1, 2.0) != 2:
        raise NoRule("normalize by another norm than the second")
    given = node.argument("dim", 2, 1)
    return [axis_of(each, len(node.shape)) for each in (given if isinstance(given, tuple) else (given,))]


def _normalize(node: Node, of: Lookup) -> Moments:
    axes = _axis(node)
    count = float(np.prod([node.shape[axis] for axis in axes]))
    return normalised(of(first(node)), axes, 0.0, False)[0].scaled(1 / count)


def _normalize_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    axes = _axis(node)
    count = float(np.prod([node.shape[axis] for axis in axes]))
    normal, variance = normalised(of(first(node)), axes, 0.0, False)
    yield first(node), denormalised(normal, variance, axes, gradient.scaled(1 / count), False)


def _kept_share(node: Node) -> float:
    """The probability that dropout keeps an entry or a channel."""
    rate = float(node.argument("p", 1, 0.5)) if node.argument("training", 2, True) else 0.0
    if rate >= 1:
        raise NoRule(f"{node.name} that drops all")
    return 1 - rate


def _dropout(node: Node, of: Lookup) -> Moments:
    share = _kept_share(node)
    given = of(first(node))
    return given if share == 1 else kept_at_random(given, share)


def _dropout_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    share = _kept_share(node)
    yield first(node), gradient if share == 1 else kept_at_random(gradient, share)


def _dropped(given: Moments, node: Node) -> Moments:
    """After whole channels were kept at random, and scaled so that the mean stays."""
    given = without_places(given)
    pairs = given.pairs.copy()
    pairs[0, 0] /= _kept_share(node)
    return replace(given, pairs=pairs, bent=None, along=None)


def _drop_channels(node: Node, of: Lookup) -> Moments:
    return _dropped(of(first(node)), node)


def _drop_channels_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    yield first(node), _dropped(gradient, node)


def _turned(node: Node, of: Lookup) -> Moments:
    return replace(without_places(of(first(node))), levels=ALIKE)


def _turned_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    yield first(node), replace(without_places(gradient), levels=ALIKE, along=None)


def _copies(node: Node) -> int:
    """The axis along which each place is repeated."""
    source = first(node)
    if node.argument("dim", 2) is None or not isinstance(node.argument("repeats", 1), int):
        raise NoRule("repeat_interleave by a tensor")
    return axis_of(node.argument("dim", 2), len(source.shape))


def _repeat(node: Node, of: Lookup) -> Moments:
    given, axis = without_places(of(first(node))), _copies(node)
    pairs = repeated(given.pairs, axis, given.shape[axis], node.shape[axis])
    return Moments(node.shape, given.mean, pairs, given.noise)


def _repeat_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    source, axis = first(node), _copies(node)
    pairs = summed_copies(without_places(gradient).pairs, axis, source.shape[axis], node.shape[axis])
    yield source, Moments(source.shape, 0.0, pairs, gradient.noise)


RULES = (
    Rule(names("dropout"), _dropout, _dropout_back),
    Rule(names("glu"), _glu, _glu_back),
    Rule(names("softmax"), _softmax, _softmax_back),
    Rule(names("normalize"), _normalize, _normalize_back),
    Rule(names("dropout1d dropout2d dropout3d feature_dropout"), _drop_channels, _drop_channels_back),
    Rule(names("roll flip fliplr flipud"), _turned, _turned_back),
    Rule(names("repeat_interleave"), _repeat, _repeat_back),
)
