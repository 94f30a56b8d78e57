"""The moments of a tensor: the mean, and the mean product of two entries by how they differ.

Two entries may differ along any of the axes. `pairs` has an axis for each axis of the tensor. Index 0 means the same
place. Along an axis whose places are alike, such as samples, index 1 means another place. Along the axes of a picture,
index d means a distance of d places. So a map of samples, channels, rows and columns has pairs `(2, 2, rows, columns)`.
An axis whose places differ, such as tokens behind a causal mask, may have all pairs of places, see `places.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, reduce
from types import MappingProxyType
from typing import Any

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.groups import is_by_place, lengthened_index, place_shares, same_places

Shape = tuple[int, ...]
ALIKE: Mapping[int, Array] = MappingProxyType({})  # levels of places that are all alike
_FLAT = 1 << 10  # indices of pairs up to which one product with all shares is quicker than one per axis


class NoRule(Exception):
    """Theory has no rule for an operation; the text says which and why."""


@dataclass(frozen=True)
class Bent:
    """An elementwise function, and the Gaussian entries to which it was applied.

    Attributes:
        base: number of the node that holds them.
        given: their moments.
        value: the function.
        slope: its slope.
        kinks: points where it bends.
    """

    base: int
    given: Moments
    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    kinks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Moments:
    """The moments of a tensor over random weights.

    Attributes:
        shape: of the tensor.
        mean: mean of the entries.
        pairs: mean product of two entries, by how their places differ.
        noise: variance of the log of the measured mean square about the predicted one.
        bent: the elementwise function that made the entries, with its input; None for other entries.
        levels: by axis, the mean square at each place over that of all places. Axes whose places are alike are left
            out.
        law: the pairs of entries that are far from Gaussian, and equally likely values of an entry. They hold for these
            pairs only.
        gain: of a gradient, its mean square where the activation before it has a slope, over that at all entries.
        masked: of a gradient that went back through a function, that function; None elsewhere.
        merged: the pairs of a view that merged axes, and the moments before that; they hold for these pairs only.
        even: the pairs behind a padded convolution; then `even_pairs` and `even_levels`, which hold for these pairs
            only. What all places have in common is less near the border. A norm takes the mean off each place.
        along: the mean product of two entries, each times its standardized Gaussian entry. It is of a gradient that
            went back through a function. None elsewhere.
        shared: mean squared correlation of two units over samples, such as `1 / fan_in` of two rows of weights.
        fresh: the part of `shared` that the last product with weights brought.
        common: of the gradient of attention weights or logits, `shared` of the values, and what follows from it for
            the gradient of queries: their relative growth, because keys and values are made of the same tokens.
        rise: of a gradient, how the squared slope that it went back through grows with the variance of its input.
            Behind a small kernel, it is times the mean share of one entry in a unit.
        aligned: of a gradient, mean squared correlation of two samples by chance. Each product with weights brings
            all samples closer to one direction, up to its sign.
        against: of a measured gradient, that a norm of each unit gave it. Units with large weights have small ones.
    """

    shape: Shape
    mean: float
    pairs: Array
    noise: float = 0.0
    bent: Bent | None = None
    levels: Mapping[int, Array] = field(default_factory=lambda: ALIKE)
    along: Array | None = None
    law: tuple[Array, Array] | None = None
    gain: float = 1.0
    masked: Bent | None = None
    merged: tuple[Array, Moments] | None = None
    even: tuple[Array, Array, Mapping[int, Array]] | None = None
    shared: float = 0.0
    fresh: float = 0.0
    common: float = 0.0
    rise: float = 0.0
    aligned: float = 0.0
    against: bool = False

    @property
    def values(self) -> Array | None:
        """Equally likely values of an entry that is far from Gaussian; None for others."""
        return self.law[1] if self.law is not None and self.law[0] is self.pairs else None

    @property
    def even_pairs(self) -> Array:
        """The pairs as a norm sees them that takes the mean of all places off each place."""
        return self.even[1] if self.even is not None and self.even[0] is self.pairs else self.pairs

    @property
    def even_levels(self) -> Mapping[int, Array]:
        """The levels of the variance about that mean."""
        return self.even[2] if self.even is not None and self.even[0] is self.pairs else self.levels

    @property
    def before_merge(self) -> Moments | None:
        """The moments before axes were merged; None for others."""
        return self.merged[1] if self.merged is not None and self.merged[0] is self.pairs else None

    @cached_property
    def square(self) -> float:
        """Mean square of the entries."""
        return float(self.pairs.item(0))

    @cached_property
    def variance(self) -> float:
        """Variance of the entries about the mean of the whole tensor."""
        return max(self.square - self.average(), 0.0)

    def average(self, of: Array | None = None) -> float:
        """Mean product of two entries at any places; or that of other pairs `of` such indices."""
        pairs = self.pairs if of is None else of
        if pairs.size <= _FLAT:
            return float(pairs.reshape(-1) @ _all_shares(self.shape, pairs.shape))
        return float(self.averaged(range(len(self.shape)), pairs).item())

    def averaged(self, axes: Iterable[int], of: Array | None = None) -> Array:
        """Mean product of an entry and the mean over these axes; the axes stay, with one index.

        Args:
            axes: to average over.
            of: mean products like `pairs`; None for `pairs`.
        """
        pairs = self.pairs if of is None else of
        for axis in axes:
            weights = shares(self.shape[axis], pairs.shape[axis])
            pairs = np.expand_dims(np.moveaxis(pairs, axis, -1) @ weights, axis)
        return pairs

    def with_noise(self, noise: float) -> Moments:
        """The same with another `noise`; quicker than `replace`."""
        made = object.__new__(Moments)
        made.__dict__.update(self.__dict__, noise=noise)
        return made

    def changed(self, **fields: Any) -> Moments:
        """The same with other fields; quicker than `replace`, which calls `__init__`."""
        made = object.__new__(Moments)
        kept = made.__dict__
        kept.update(self.__dict__)
        kept.pop("square", None)  # both are worked out from `pairs`
        kept.pop("variance", None)
        kept.update(fields)
        return made

    def scaled(self, square: float, mean: float | None = None) -> Moments:
        """Times independent factors that are the same for all entries, with this mean square and mean.

        Args:
            square: mean square of a factor.
            mean: of a factor; None for a factor that is not random.
        """
        factor = math.sqrt(square) if mean is None else mean
        along = None if self.along is None else self.along * square
        return self.changed(mean=self.mean * factor, pairs=self.pairs * square, bent=None, along=along)

    def fitted(self, mean: float, square: float) -> Moments:
        """The same correlations, with a measured mean and mean square.

        Args:
            mean: of the entries.
            square: mean square of the entries.
        """
        own, measured = self.square - self.mean**2, square - mean**2
        if own <= 1e-9 * self.square or not math.isfinite(own):
            return independent(self.shape, mean, square)
        pairs = (self.pairs - self.mean**2) * (measured / own) + mean**2
        along = None if self.along is None else self.along * (measured / own)
        return Moments(
            self.shape,
            mean,
            pairs,
            along=along,
            levels=self.levels,
            shared=self.shared,
            common=self.common,
            rise=self.rise,
            aligned=self.aligned,
        )


def independent(shape: Sequence[int], mean: float, square: float) -> Moments:
    """Independent entries of this mean and mean square.

    Args:
        shape: of the tensor.
        mean: of the entries.
        square: mean square of the entries.
    """
    pairs = np.full(tuple(min(size, 2) for size in shape), mean * mean)
    pairs[(0,) * pairs.ndim] = square
    return Moments(tuple(shape), mean, pairs)


@lru_cache(maxsize=1024)
def shares(size: int, length: int) -> Array:
    """Share of all pairs of places along an axis, by index of `pairs`.

    Args:
        size, length: places along the axis, and indices of `pairs` along it.

    Returns:
        `(length,)`, which sums to 1.
    """
    if length == 1:
        return np.ones(1)
    if is_by_place(size, length):
        return place_shares(size, length)
    if length == 2 and size != 2:
        return np.array([1 / size, 1 - 1 / size])
    weights = 2.0 * (size - np.arange(length)) / size**2
    weights[0] /= 2
    return weights


@lru_cache(maxsize=256)
def _all_shares(shape: Shape, lengths: Shape) -> Array:
    """Share of all pairs of places along all axes, by flat index of `pairs`."""
    each = [shares(size, length) for size, length in zip(shape, lengths, strict=True)]
    return np.asarray(reduce(np.multiply.outer, each, np.ones(()))).reshape(-1)


def apart(size: int, length: int) -> Array:
    """`shares` among the pairs of different places.

    Args:
        size, length: places along the axis, and indices of `pairs` along it.

    Returns:
        `(length,)`, with 0 at the same place.
    """
    weights = shares(size, length).copy()
    weights[0] = 0
    if is_by_place(size, length):
        weights[same_places(size, length)] = 0
    return np.asarray(weights / max(weights.sum(), 1e-300))


def alike(pairs: Array, size: int, axis: int) -> Array:
    """`pairs` without distances along an axis: the same place or another.

    Args:
        pairs: mean products of two entries.
        size: places along the axis.
        axis: of the tensor.
    """
    if pairs.shape[axis] <= 2:
        return pairs
    other = np.moveaxis(pairs, axis, -1) @ apart(size, pairs.shape[axis])
    return np.stack([np.take(pairs, 0, axis), other], axis)


def lengthened(pairs: Array, length: int, axis: int, size: int = 0) -> Array:
    """`pairs` with this many indices along an axis: places further apart are all alike.

    Args:
        pairs: mean products of two entries.
        length: indices along the axis in the result.
        axis: of the tensor.
        size: places along the axis; 0 where the axis cannot have all pairs of places.
    """
    have = pairs.shape[axis]
    if have < length and is_by_place(size, length):
        return np.asarray(np.take(pairs, lengthened_index(size, have, length), axis))
    return pairs if have >= length else np.take(pairs, np.minimum(np.arange(length), have - 1), axis)


def matched(moments: Sequence[Moments]) -> tuple[Shape, list[Array]]:
    """The shape to which tensors are broadcast, and their pairs with the same indices."""
    if _have_same_places(moments):
        return moments[0].shape, [entry.pairs for entry in moments]
    ndim = max(len(entry.shape) for entry in moments)
    shapes = [(1,) * (ndim - len(entry.shape)) + entry.shape for entry in moments]
    shape = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
    arrays = [np.reshape(entry.pairs, (1,) * (ndim - entry.pairs.ndim) + entry.pairs.shape) for entry in moments]
    for axis in range(ndim):
        length = max(array.shape[axis] for array in arrays)
        length = max(length, min(shape[axis], 2))
        arrays = [lengthened(array, length, axis, shape[axis]) for array in arrays]
    return shape, arrays


def _have_same_places(moments: Sequence[Moments]) -> bool:
    """Whether tensors have one shape, and their pairs the same indices along each axis."""
    shape, lengths = moments[0].shape, moments[0].pairs.shape
    is_whole = all(length > 1 or size == 1 for size, length in zip(shape, lengths, strict=True))
    return is_whole and all(entry.shape == shape and entry.pairs.shape == lengths for entry in moments[1:])


def broadcast(moments: Moments, shape: Sequence[int]) -> Moments:
    """The moments of the tensor expanded to a shape.

    Args:
        moments: of the tensor before.
        shape: of the expanded tensor.
    """
    to, (pairs, _) = matched([moments, independent(shape, 0.0, 1.0)])
    return replace(moments, shape=to, pairs=pairs, bent=None, levels=ALIKE)


def gaussian_noise(moments: Moments) -> float:
    """Variance of the log of the measured mean square, if the entries are Gaussian."""
    return max(moments.average(fluctuation(moments, moments.pairs)), 0.0) if moments.square > 0 else 0.0


def fluctuation(moments: Moments, pairs: Array) -> Array:
    """Covariance of the squares of two Gaussian entries, over the squared mean square.

    Args:
        moments: of the tensor.
        pairs: its mean products of two entries, perhaps with more indices.
    """
    both = moments.mean**2
    own = pairs - both
    return np.asarray(2 * own * (own + 2 * both) / max(moments.square, 1e-300) ** 2)


def mixed_noise(parts: Sequence[Moments], squares: Sequence[float]) -> float:
    """Variance of the log of a sum of mean squares.

    Args:
        parts: moments of the terms.
        squares: mean squares of the terms.
    """
    total = sum(squares)
    return sum(part.noise * (own / total) ** 2 for part, own in zip(parts, squares, strict=True)) if total > 0 else 0.0
