"""Attention whose places differ, as behind a causal mask: every pair of places is followed."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.moments import Moments, shares
from initprobe.torch.theory.places import MOST_PLACES, axes_by_place, from_matrices, matrices
from initprobe.torch.theory.softmax import peak, rounded


def can_be_followed(*parts: Moments) -> bool:
    """Whether this is attention to itself with few enough places."""
    sizes = {part.shape[-2] for part in parts}
    return len(sizes) == 1 and 1 < max(sizes) <= MOST_PLACES


def differ(visible: Array | None, *parts: Moments) -> bool:
    """Whether the places differ.

    Args:
        visible: True for keys that a query sees, `(queries, keys)`; None for all.
        parts: moments of query, key and value.
    """
    axis = len(parts[0].shape) - 2
    is_uneven = visible is not None and bool(np.ptp(visible.sum(1)) or np.ptp(visible.sum(0)))
    return is_uneven or any(axis in axes_by_place(part) for part in parts)


class Sequences:
    """Attention by place. Arrays are `(..., units, places, places)`: pairs of other axes, then of places.

    The attention weights are a softmax over the open keys of each query. Their products are those of equal shares `u`
    of these keys, times what `peak` gives.
    """

    def __init__(self, query: Moments, key: Moments, value: Moments, scale: float, visible: Array | None) -> None:
        self.axis, self.places, self.units = len(query.shape) - 2, query.shape[-2], query.shape[-1]
        self.samples = query.shape[0] if self.axis else 1
        self.scale, self.width = scale, math.prod(query.shape[1 : self.axis]) * self.units
        open_keys = (
            np.ones((self.places, self.places)) if visible is None else np.broadcast_to(visible, (self.places,) * 2)
        )
        self.share = open_keys / np.maximum(open_keys.sum(1, keepdims=True), 1)
        self.query, self.key, self.value = (self._held(part) for part in (query, key, value))
        self.shared = min(key.shared, value.shared)

    def _held(self, moments: Moments) -> Array:
        held = matrices(moments.pairs, self.places, self.axis)
        return np.concatenate([held] * 2, -3) if held.shape[-3] == 1 and self.units > 1 else held

    def _dot(self, left: Array, right: Array) -> Array:
        """Pairs of the products of two vectors, summed over their units."""
        weights = shares(self.units, left.shape[-3])[:, None, None] * self.units**2
        return np.asarray(np.sum(left * right * weights, -3, keepdims=True))

    @cached_property
    def _spread(self) -> tuple[Array, Array]:
        """Correlation of two logits of one key, and the peaks of the weights of each query."""
        same = np.einsum("...kk->...k", self.key).mean(-1) - self.key.mean((-1, -2))
        spread = self.scale**2 * self._dot(self.query, same[..., None, None])
        own = np.maximum(np.diagonal(spread[(0,) * (spread.ndim - 2)]), 0.0)
        open_keys = (self.share > 0).sum(1)
        each = [peak(max(int(n), 1), rounded(math.sqrt(s))) for n, s in zip(open_keys, own, strict=True)]
        lengths = np.sqrt(np.maximum(np.outer(own, own), 1e-300))
        return np.clip(spread / lengths, -1, 1), np.array(each).T

    def _strength(self) -> tuple[Array, Array]:
        """Factors on the products of two equal shares, at the same key and at two keys."""
        share, (growth, _, _) = self._spread
        meet = self.share @ self.share.T
        own = np.minimum(meet * np.exp(np.sqrt(np.outer(growth, growth)) * share), 1.0)
        return own / np.maximum(meet, 1e-300), np.where(meet < 1 - 1e-9, (1 - own) / np.maximum(1 - meet, 1e-9), 1.0)

    def _to_logits(self, given: Array) -> Array:
        """Products of two gradients, times what peaked weights make of them on the way to the logits."""
        share, (_, alone, alike) = self._spread
        level = 1 - 1 / np.maximum((self.share > 0).sum(1), 2)
        roots = [np.log(np.maximum(part, 1e-300) / level) / 2 for part in (alone, alike)]
        apart, near = (np.add.outer(root, root) for root in roots)
        part = np.exp((1 - np.abs(share)) * apart + np.abs(share) * near)
        return np.asarray(given * self._strength()[0] * part)

    def attended(self, kept: float) -> Array:
        """Pairs of the output; `kept` is the share of the weights that dropout keeps."""
        first, second = self._strength()
        at_same = np.einsum("ik,jk,...kk->...ij", self.share, self.share, self.value, optimize=True)
        same = first * at_same
        made = same + second * (self.share @ self.value @ self.share.T - at_same)
        self._add_chance(made, same, kept)
        return from_matrices(made, self.axis)

    def _add_chance(self, made: Array, of: Array, kept: float) -> None:
        """What dropout of the weights adds to the mean square of each place."""
        index = np.arange(self.places)
        own = (0,) * (made.ndim - 2) + (index, index)
        made[own] += (1 / kept - 1) * of[own]

    def back(self, gradient: Moments, kept: float) -> tuple[Array, Array, Array]:
        """Pairs of the gradients of query, key and value.

        Args:
            gradient: moments of the gradient of the output.
            kept: probability that dropout keeps an attention weight.
        """
        given, share, index = self._held(gradient), self.share, np.arange(self.places)
        first, second = self._strength()
        to_value = share.T @ (second * given) @ share
        same = np.zeros_like(to_value)
        same[..., index, index] = np.einsum("ik,jk,...ij->...k", share, share, first * given, optimize=True)
        to_value[..., index, index] = same[..., index, index]
        alone = np.zeros_like(to_value)
        alone[..., index, index] = np.einsum("ik,...ii->...k", share**2, first * given)
        self._add_chance(to_value, alone, kept)
        peaked = self._to_logits(given)
        moved = self._to_query(peaked, given), self._to_key(peaked)
        for part, source, turned in zip(moved, (self.key, self.query), (False, True), strict=True):
            self._add_chance(part, self._alone(peaked, source, turned), kept)
        query, key, value = (from_matrices(part, self.axis) for part in (*moved, to_value))
        return query, key, value

    def _alone(self, given: Array, other: Array, turned: bool) -> Array:
        """What each weight by itself gives the gradient of queries, or of keys if `turned`, at the same place.

        A query gets its weight's gradient times the key less the mean of the keys that it sees.
        """
        index, total = np.arange(self.places), np.zeros(np.broadcast_shapes(given.shape, other.shape))
        own, others = self.share**2, np.einsum("...kk->...k", other)
        if not turned:
            mixed = self.share @ other
            far = others[..., None, :] - 2 * mixed + np.einsum("...ii->...i", mixed @ self.share.T)[..., None]
        for unit in range(self.value.shape[-3]):
            gradient, value = (
                np.einsum("...kk->...k", held[..., unit : unit + 1, :, :]) for held in (given, self.value)
            )
            force = (
                value * ((gradient * others) @ own)
                if turned
                else gradient * np.einsum("...j,...ij,ij->...i", value, far, own)
            )
            total[..., index, index] += self._weight(unit) * self.scale**2 * force
        return total

    def noise(self, query: Array) -> float:
        """Variance of the log of the mean squared gradient of queries or keys; `query` are the pairs of the queries.

        At one place it is a sum over the keys that it sees, times a sum over units. It counts where few places
        have most.
        """
        own = np.maximum(np.diagonal(matrices(query, self.places, self.axis)[(0,) * (query.ndim - 1)]), 0)
        others = np.maximum(1 / (self.share**2).sum(1) - 1, 0.5)  # keys, less their mean
        alone = 2 / others + 2 / self.units + 4 / (others * self.units)
        return float(np.sum(own**2 * alone) / max(own.sum() ** 2, 1e-300) / (self.samples * self.width / self.units))

    def _to_query(self, given: Array, level: Array) -> Array:
        """Each logit gets its weight times what its value adds to the mean of all.

        Keys and values are made of the same tokens, so their products fluctuate together, by `shared`. For `level`
        gradients, that is the same however peaked the weights are.
        """
        total = np.zeros(np.broadcast_shapes(given.shape, self.key.shape))
        share, turned = self.share, self.share.T
        for unit in range(self.value.shape[-3]):
            value, weight = self.value[..., unit : unit + 1, :, :], self._weight(unit)
            left, right, both = share @ value, value @ turned, share @ value @ turned
            moved = (
                share @ (self.key * value) @ turned
                - (left * (share @ self.key)) @ turned
                - share @ (right * (self.key @ turned))
                + both * (share @ self.key @ turned)
            )
            total = total + weight * given[..., unit : unit + 1, :, :] * moved
            if unit == 0:
                own = (0,) * (total.ndim - 2)
                total[own] += weight * level[own] * (share @ self._common() @ turned)
        return self.scale**2 * total

    def _common(self) -> Array:
        """Covariance of the products of two keys and of their values, about what all have in common."""
        key, value = (held[(0,) * (held.ndim - 2)] for held in (self.key, self.value))
        own = np.sqrt(np.maximum(np.diag(key) * np.diag(value), 0))
        lengths = np.sqrt(np.maximum(np.outer(np.diag(value), np.diag(value)), 1e-300))
        return np.asarray(np.outer(own, own) * (1 - value / lengths) ** 2 * self.shared)

    def _to_key(self, given: Array) -> Array:
        total = np.zeros(np.broadcast_shapes(given.shape, self.query.shape))
        share, turned = self.share, self.share.T
        for unit in range(self.value.shape[-3]):
            value = self.value[..., unit : unit + 1, :, :]
            force = self._weight(unit) * given[..., unit : unit + 1, :, :] * self.query
            left, right, both = share @ value, value @ turned, share @ value @ turned
            total = total + (
                value * (turned @ force @ share)
                - turned @ (left * (force @ share))
                - ((turned @ force) * right) @ share
                + turned @ (force * both) @ share
            )
        return self.scale**2 * total

    def _weight(self, unit: int) -> float:
        """Number of pairs of units of this kind: the same, or two."""
        return float(shares(self.units, self.value.shape[-3])[unit] * self.units**2)
