"""Attention whose places differ, as behind a causal mask: every pair of places is followed, or of groups of places."""

from __future__ import annotations

import math
from functools import cached_property, lru_cache

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.groups import group_sizes
from initprobe.torch.theory.moments import Moments, shares
from initprobe.torch.theory.place_maps import PlaceMap, turned_blocks
from initprobe.torch.theory.places import axes_by_place, blocks, from_blocks, outer, set_same
from initprobe.torch.theory.softmax import peak, rounded

_LONGEST = 4096  # sequence that is followed


def can_be_followed(*parts: Moments) -> bool:
    """Whether this is attention to itself with few enough places."""
    sizes = {part.shape[-2] for part in parts}
    return len(sizes) == 1 and 1 < max(sizes) <= _LONGEST


def differ(visible: Array | None, *parts: Moments) -> bool:
    """Whether the places differ.

    Args:
        visible: True for keys that a query sees, `(queries, keys)`; None for all.
        parts: moments of query, key and value.
    """
    axis = len(parts[0].shape) - 2
    is_uneven = visible is not None and bool(np.ptp(visible.sum(1)) or np.ptp(visible.sum(0)))
    return is_uneven or any(axis in axes_by_place(part) for part in parts)


def _equal_shares(visible: Array | None, places: int) -> PlaceMap:
    """The map that gives each query the mean over the keys that it sees."""
    if visible is None:
        return _packed_shares(b"", places)
    return _packed_shares(np.packbits(np.broadcast_to(visible, (places, places))).tobytes(), places)


@lru_cache(maxsize=8)
def _packed_shares(visible: bytes, places: int) -> PlaceMap:
    if not visible:
        return PlaceMap(np.full((places, places), 1 / places))
    unpacked = np.unpackbits(np.frombuffer(visible, np.uint8), count=places**2).reshape(places, places)
    return PlaceMap(unpacked / np.maximum(unpacked.sum(1, dtype=float), 1)[:, None])


class Sequences:
    """Attention by place. Arrays are `(..., units, groups + 1, groups)`: pairs of other axes, then blocks of places.

    The attention weights are a softmax over the open keys of each query. Their products are those of equal shares
    of these keys, times what `peak` gives.
    """

    def __init__(self, query: Moments, key: Moments, value: Moments, scale: float, visible: Array | None) -> None:
        self.axis, self.places, self.units = len(query.shape) - 2, query.shape[-2], query.shape[-1]
        self.samples = query.shape[0] if self.axis else 1
        self.scale, self.width = scale, math.prod(query.shape[1 : self.axis]) * self.units
        self.share = _equal_shares(visible, self.places)
        self.query, self.key, self.value = (self._held(part) for part in (query, key, value))
        self.shared = min(key.shared, value.shared)
        self._weights = group_sizes(self.places) / self.places

    @property
    def _open_keys(self) -> Array:
        """Mean number of keys that a query of each group sees."""
        return self.share.open_places

    def _held(self, moments: Moments) -> Array:
        held = blocks(moments.pairs, self.places, self.axis)
        return np.concatenate([held] * 2, -3) if held.shape[-3] == 1 and self.units > 1 else held

    def _dot(self, left: Array, right: Array) -> Array:
        """Pairs of the products of two vectors, summed over their units."""
        weights = shares(self.units, left.shape[-3])[:, None, None] * self.units**2
        return np.asarray(np.sum(left * right * weights, -3, keepdims=True))

    @cached_property
    def _spread(self) -> tuple[Array, Array]:
        """Correlation of two logits of one key, and the peaks of the weights of each query."""
        same = self.key[..., -1, :] @ self._weights - self._mean_of_pairs(self.key)
        spread = self.scale**2 * self._dot(self.query, same[..., None, None])
        own = np.maximum(spread[(0,) * (spread.ndim - 2)][-1], 0.0)
        each = [peak(max(round(n), 1), rounded(math.sqrt(s))) for n, s in zip(self._open_keys, own, strict=True)]
        return np.clip(spread / np.sqrt(np.maximum(outer(own), 1e-300)), -1, 1), np.array(each).T

    def _mean_of_pairs(self, held: Array) -> Array:
        """Mean product of two entries at any places."""
        own = held[..., -1, :] - np.einsum("...ii->...i", held[..., :-1, :])
        pairs = np.einsum("...ij,i,j->...", held[..., :-1, :], self._weights, self._weights)
        return np.asarray(pairs + own @ self._weights / self.places)

    def _strength(self) -> tuple[Array, Array]:
        """Factors on the products of two equal shares, at the same key and at two keys."""
        share, (growth, _, _) = self._spread
        meet = self.share.meetings
        own = np.minimum(meet * np.exp(outer(np.sqrt(growth)) * share), 1.0)
        return own / np.maximum(meet, 1e-300), np.where(meet < 1 - 1e-9, (1 - own) / np.maximum(1 - meet, 1e-9), 1.0)

    def _to_logits(self, given: Array) -> Array:
        """Products of two gradients, times what peaked weights make of them on the way to the logits."""
        share, (_, alone, alike) = self._spread
        level = 1 - 1 / np.maximum(self._open_keys, 2)
        roots = [np.sqrt(np.maximum(part, 1e-300) / level) for part in (alone, alike)]
        apart, near = (np.log(np.maximum(outer(root), 1e-300)) for root in roots)
        part = np.exp((1 - np.abs(share)) * apart + np.abs(share) * near)
        return np.asarray(given * self._strength()[0] * part)

    def attended(self, kept: float) -> Array:
        """Pairs of the output; `kept` is the share of the weights that dropout keeps."""
        first, second = self._strength()
        at_same = self.share.met(self.value[..., -1, :])
        same = first * at_same
        made = same + second * (self.share.mapped(self.value) - at_same)
        self._add_chance(made, same[..., -1, :], kept)
        return from_blocks(made, self.places, self.axis)

    def _add_chance(self, made: Array, of: Array, kept: float) -> None:
        """What dropout of the weights adds to the mean square of each place."""
        if kept < 1:
            own = (0,) * (made.ndim - 2)
            set_same(made[own], made[own][-1] + (1 / kept - 1) * of[own], self.places)

    def back(self, gradient: Moments, kept: float) -> tuple[Array, Array, Array]:
        """Pairs of the gradients of query, key and value.

        Args:
            gradient: moments of the gradient of the output.
            kept: probability that dropout keeps an attention weight.
        """
        given, back = self._held(gradient), self.share.turned
        first, second = self._strength()
        to_value = back.mapped(second * given)
        set_same(to_value, back.mapped(first * given)[..., -1, :], self.places)
        self._add_chance(to_value, (first * given)[..., -1, :] @ back.squares.T, kept)
        peaked = self._to_logits(given)
        made = self._to_query(peaked, given), self._to_key(peaked)
        if kept < 1:
            for part, source, turned in zip(made, (self.key, self.query), (False, True), strict=True):
                self._add_chance(part, self._alone(peaked, source, turned), kept)
        query, key, value = (from_blocks(part, self.places, self.axis) for part in (*made, to_value))
        return query, key, value

    def _alone(self, given: Array, other: Array, turned: bool) -> Array:
        """What each weight by itself gives the gradient of queries, or of keys if `turned`, at the same place.

        A query gets its weight's gradient times the key less the mean of the keys that it sees.
        """
        share, others = self.share, other[..., -1, :]
        total = np.zeros(np.broadcast_shapes(given.shape, other.shape)[:-2] + others.shape[-1:])
        if not turned:
            apart = others[..., None, :] - 2 * share.half(other) + share.mapped(other)[..., -1, :, None]
            far = apart * share.squares - 2 * share.cubes * share.excess(other)[..., None, :]
        for unit in range(self.value.shape[-3]):
            gradient, value = (held[..., unit : unit + 1, -1, :] for held in (given, self.value))
            force = (
                value * ((gradient * others) @ share.turned.squares.T)
                if turned
                else gradient * np.einsum("...j,...ij->...i", value, far)
            )
            total += self._weight(unit) * self.scale**2 * force
        return total

    def noise(self, query: Array) -> float:
        """Variance of the log of the mean squared gradient of queries or keys; `query` are the pairs of the queries.

        At one place it is a sum over the keys that it sees, times a sum over units. It counts where few places
        have most.
        """
        own = np.maximum(blocks(query, self.places, self.axis)[(0,) * (query.ndim - 1)][-1], 0)
        sizes = group_sizes(self.places)
        others = np.maximum(1 / self.share.squares.sum(1) - 1, 0.5)  # keys, less their mean
        alone = 2 / others + 2 / self.units + 4 / (others * self.units)
        total = max(float(own @ sizes) ** 2, 1e-300)
        return float(np.sum(sizes * own**2 * alone) / total / (self.samples * self.width / self.units))

    def _to_query(self, given: Array, level: Array) -> Array:
        """Each logit gets its weight times what its value adds to the mean of all.

        Keys and values are made of the same tokens, so their products fluctuate together, by `shared`. For `level`
        gradients, that is the same however peaked the weights are.
        """
        total, share = np.zeros(np.broadcast_shapes(given.shape, self.key.shape)), self.share
        for unit in range(self.value.shape[-3]):
            value, weight = self.value[..., unit : unit + 1, :, :], self._weight(unit)
            crossed = self._crossed_keys(value)
            made = share.mapped(self.key * value) - crossed - turned_blocks(crossed)
            made = made + share.mapped(value) * share.mapped(self.key)
            total = total + weight * given[..., unit : unit + 1, :, :] * made
            if unit == 0:
                own = (0,) * (total.ndim - 2)
                total[own] += weight * level[own] * share.mapped(self._common())
        return self.scale**2 * total

    def _crossed_keys(self, value: Array) -> Array:
        """Products of the mean value and the mean key of a query, averaged over the keys of another."""
        share = self.share
        means = [share.half(held) for held in (value, self.key)]
        more = [share.excess(held)[..., None, :] for held in (value, self.key)]
        return share.crossed(means[0] * means[1], means[0] * more[1] + means[1] * more[0], more[0] * more[1])

    def _common(self) -> Array:
        """Covariance of the products of two keys and of their values, about what all have in common."""
        key, value = (held[(0,) * (held.ndim - 2)] for held in (self.key, self.value))
        own = np.sqrt(np.maximum(key[-1] * value[-1], 0))
        lengths = np.sqrt(np.maximum(outer(value[-1]), 1e-300))
        return np.asarray(outer(own) * (1 - value / lengths) ** 2 * self.shared)

    def _to_key(self, given: Array) -> Array:
        total = np.zeros(np.broadcast_shapes(given.shape, self.query.shape))
        share, back = self.share, self.share.turned
        for unit in range(self.value.shape[-3]):
            value = self.value[..., unit : unit + 1, :, :]
            force = self._weight(unit) * given[..., unit : unit + 1, :, :] * self.query
            crossed = self._crossed_queries(value, force)
            made = value * back.mapped(force) - crossed - turned_blocks(crossed)
            total = total + made + back.mapped(force * share.mapped(value))
        return self.scale**2 * total

    def _crossed_queries(self, value: Array, force: Array) -> Array:
        """The same for the queries of two keys: of the means of values, and of `force`."""
        share, back = self.share, self.share.turned
        means = np.swapaxes(share.half(value), -1, -2), back.half(force)
        more = back.excess(value)[..., :, None], share.excess(force)[..., None, :]
        return back.crossed(means[0] * means[1], means[0] * more[1] + means[1] * more[0], more[0] * more[1])

    def _weight(self, unit: int) -> float:
        """Number of pairs of units of this kind: the same, or two."""
        return float(shares(self.units, self.value.shape[-3])[unit] * self.units**2)
