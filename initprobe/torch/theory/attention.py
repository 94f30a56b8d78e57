"""The rule for fused attention."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.moments import Moments, NoRule, alike, broadcast
from initprobe.torch.theory.places import without_places
from initprobe.torch.theory.pointwise import kept_at_random
from initprobe.torch.theory.rule import Lookup, Moved, Rule, names
from initprobe.torch.theory.sequences import Sequences, can_be_followed, differ
from initprobe.torch.theory.softmax import logits_back, weights_of
from initprobe.torch.theory.trace import Node
from initprobe.torch.theory.weights import multiplied, swapped, with_common


class _Attention(NamedTuple):
    """Fused attention: its sources, their moments, and the keys that each query sees, by sample where these differ."""

    sources: tuple[Node, Node, Node]
    query: Moments
    key: Moments
    value: Moments
    scale: float
    share: float
    visible: Array | None

    def by_place(self) -> Sequences | None:
        """The same by place, where there are few enough and each sample has the same mask."""
        parts = self.query, self.key, self.value
        if self.visible is not None and self.visible.ndim > 2:
            return None
        return Sequences(*parts, self.scale, self.visible) if can_be_followed(*parts) else None

    def logits(self) -> Moments:
        """The moments of the logits, if places are alike."""
        shape = (*self.query.shape[:-1], self.key.shape[-2])
        return multiplied(self.query, swapped(self.key), shape).scaled(self.scale**2, self.scale)

    def weights(self) -> Moments:
        """The moments of the attention weights before dropout."""
        return weights_of(self.logits(), self.visible)

    def as_found(self, made: Moments, *further: Moments) -> Moments:
        """Without places where these do not differ."""
        is_uneven = differ(self.visible, self.query, self.key, self.value, *further)
        return made if is_uneven else without_places(made)


def _attention_of(node: Node, of: Lookup) -> _Attention:
    sources = tuple(node.argument(name, place) for place, name in enumerate(("query", "key", "value")))
    if not all(isinstance(source, Node) for source in sources):
        raise NoRule("attention to a constant")
    query, key, value = (of(source) for source in sources)
    if key.shape[:-2] != query.shape[:-2]:
        heads = query.shape[:-2]
        key, value = (broadcast(_one_head(part), (*heads, *part.shape[-2:])) for part in (key, value))
    scale = node.kwargs.get("scale") or 1 / math.sqrt(query.shape[-1])
    visible = node.facts.get("open")
    if node.argument("is_causal", 5, False):
        visible = np.tri(query.shape[-2], key.shape[-2], dtype=bool)
    rate = node.argument("dropout_p", 4, 0.0)
    return _Attention(sources, query, key, value, float(scale), 1 - float(rate), visible)


def _one_head(moments: Moments) -> Moments:
    """The moments of one head, for heads that are used by several queries."""
    axis = len(moments.shape) - 3
    shape = (*moments.shape[:axis], 1, *moments.shape[axis + 1 :])
    return replace(moments, shape=shape, pairs=moments.pairs.take([0], axis), bent=None)


def _attend(node: Node, of: Lookup) -> Moments:
    held = _attention_of(node, of)
    sequences = held.by_place()
    if sequences is not None:
        made = held.as_found(Moments(node.shape, held.value.mean, sequences.attended(held.share)))
        return replace(made, noise=held.value.noise + _mixing_noise(made), shared=held.value.shared)
    weights = kept_at_random(held.weights(), held.share)
    made = multiplied(weights, held.value, node.shape)
    return replace(made, mean=held.value.mean, noise=held.value.noise + _mixing_noise(made))


def _mixing_noise(made: Moments) -> float:
    """Values are averages over keys; the mean square fluctuates as that of their units."""
    square = made.square
    if square <= 0:
        return 0.0
    return float(2 * made.averaged(range(len(made.shape)), made.pairs**2).item() / square**2)


def _attend_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    held = _attention_of(node, of)
    sequences = held.by_place()
    if sequences is not None:
        parts = sequences.back(gradient, held.share)
        further = sequences.noise(parts[0])
        others = [held.key.noise + held.value.noise + further, held.query.noise + held.value.noise + further, 0.0]
        for source, pairs, other in zip(held.sources, parts, others, strict=True):
            moved = Moments(held.query.shape, 0.0, pairs)
            noise = gradient.noise + _mixing_noise(moved) + other
            moved = held.as_found(replace(moved, noise=noise), gradient)
            yield source, _to_heads(moved, source.shape)
        return
    logits, weights = held.logits(), kept_at_random(held.weights(), held.share)
    to_weights = replace(multiplied(gradient, swapped(held.value), weights.shape), common=held.value.shared)
    to_weights = kept_at_random(to_weights, held.share)
    to_logits = logits_back(logits, held.visible, to_weights).scaled(held.scale**2)
    query, key, value = held.sources
    yield query, with_common(multiplied(to_logits, held.key, held.query.shape), to_logits, held.key)
    for source, moved in (
        (key, multiplied(swapped(to_logits), held.query, held.key.shape)),
        (value, multiplied(swapped(weights), gradient, held.value.shape)),
    ):
        yield source, _to_heads(moved, source.shape)


def _to_heads(moved: Moments, shape: tuple[int, ...]) -> Moments:
    """The gradient of heads that several queries use: the sum over these."""
    if moved.shape == shape:
        return moved
    axis = len(shape) - 3
    times = moved.shape[axis] / max(shape[axis], 1)
    pairs = alike(moved.pairs, moved.shape[axis], axis) * times
    return Moments(shape, 0.0, pairs if shape[axis] > 1 else pairs.take([0], axis), moved.noise)


RULES = (Rule(names("scaled_dot_product_attention"), _attend, _attend_back),)
