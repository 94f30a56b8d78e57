"""The moments of a tensor that theory follows: the mean, and the mean product of two entries by how they differ.

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

import numpy as np

from initprobe.arrays import Array

Shape = tuple[int, ...]
ALIKE: Mapping[int, Array] = MappingProxyType({})  # levels of places that are all alike


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
        uneven: variance of the mean square over positions, over its square, where borders make it uneven.
        levels: by axis, the mean square at each place over that of all places, where places differ; axes whose places
            are alike are left out.
        spread: relative variance, over units, of the variance of a unit's entries, as far as it comes from a small
            number of inputs, and not from the number of entries.
        law: the pairs of entries that are far from Gaussian, and equally likely values of an entry; they hold for these
            pairs only.
        gain: of a gradient, its mean square where the activation before it has a slope, over that at all entries.
        masked: of a gradient that went back through a function, that function; None elsewhere.
        merged: the pairs of a view that merged axes, and the moments before that; they hold for these pairs only.
        even: the pairs behind a padded convolution, and these without what all places have in common and lose near the
            border: their mean product falls with distance, and a norm takes it off at each place. They hold for these
            pairs only.
        along: of a gradient that went back through a function, the mean product of two entries, each times its
            standardized Gaussian entry; None elsewhere.
    """

    shape: Shape
    mean: float
    pairs: Array
    noise: float = 0.0
    bent: Bent | None = None
    uneven: float = 0.0
    levels: Mapping[int, Array] = field(default_factory=lambda: ALIKE)
    spread: float = 0.0
    along: Array | None = None
    law: tuple[Array, Array] | None = None
    gain: float = 1.0
    masked: Bent | None = None
    merged: tuple[Array, Moments] | None = None
    even: tuple[Array, Array] | None = None

    @property
    def values(self) -> Array | None:
        """Equally likely values of an entry that is far from Gaussian; None for others."""
        return self.law[1] if self.law is not None and self.law[0] is self.pairs else None

    @property
    def level_pairs(self) -> Array:
        """The pairs, in which what all places have in common is the same at every distance."""
        return self.even[1] if self.even is not None and self.even[0] is self.pairs else self.pairs

    @property
    def before_merge(self) -> Moments | None:
        """The moments before axes were merged; None for others."""
        return self.merged[1] if self.merged is not None and self.merged[0] is self.pairs else None

    @cached_property
    def square(self) -> float:
        """Mean square of the entries."""
        return float(self.pairs[(0,) * self.pairs.ndim])

    @cached_property
    def variance(self) -> float:
        """Variance of the entries about the mean of the whole tensor."""
        return max(self.square - float(self.averaged(range(len(self.shape))).item()), 0.0)

    def averaged(self, axes: Iterable[int], of: Array | None = None) -> Array:
        """Mean product of an entry and the mean over these axes; the axes stay, with one index."""
        pairs = self.pairs if of is None else of
        for axis in axes:
            weights = shares(self.shape[axis], pairs.shape[axis])
            pairs = np.expand_dims(np.moveaxis(pairs, axis, -1) @ weights, axis)
        return pairs

    def scaled(self, square: float, mean: float | None = None) -> Moments:
        """Times independent factors that are the same for all entries, with this mean square and mean."""
        factor = math.sqrt(square) if mean is None else mean
        along = None if self.along is None else self.along * square
        return replace(self, mean=self.mean * factor, pairs=self.pairs * square, bent=None, along=along)

    def fitted(self, mean: float, square: float) -> Moments:
        """The same correlations, with a measured mean and mean square."""
        own, measured = self.square - self.mean**2, square - mean**2
        if own <= 1e-9 * self.square or not math.isfinite(own):
            return independent(self.shape, mean, square)
        pairs = (self.pairs - self.mean**2) * (measured / own) + mean**2
        along = None if self.along is None else self.along * (measured / own)
        return Moments(self.shape, mean, pairs, along=along, levels=self.levels, spread=self.spread, uneven=self.uneven)


def mixed_levels(parts: Sequence[Moments]) -> Mapping[int, Array]:
    """The levels of a sum of independent terms of the same shape; a term of another shape has none."""
    shape = parts[0].shape
    axes = {axis for part in parts for axis in part.levels}
    total = sum(part.square for part in parts)
    if not axes or total <= 0:
        return ALIKE
    levels = {}
    for axis in axes:
        if all(len(part.shape) == len(shape) and part.shape[axis] == shape[axis] for part in parts):
            terms = [part.square * part.levels.get(axis, np.ones(shape[axis])) for part in parts]
            levels[axis] = np.sum(terms, 0) / total
    return levels


def independent(shape: Sequence[int], mean: float, square: float) -> Moments:
    """Independent entries of this mean and mean square."""
    pairs = np.full(tuple(min(size, 2) for size in shape), mean * mean)
    pairs[(0,) * pairs.ndim] = square
    return Moments(tuple(shape), mean, pairs)


@lru_cache(maxsize=1024)
def shares(size: int, length: int) -> Array:
    """Share of all pairs of places along an axis, by index of `pairs`."""
    if length == 1:
        return np.ones(1)
    if is_by_place(size, length):
        return np.append(0.0, np.full(size * size, 1 / size**2))
    if length == 2 and size != 2:
        return np.array([1 / size, 1 - 1 / size])
    weights = 2.0 * (size - np.arange(length)) / size**2
    weights[0] /= 2
    return weights


def apart(size: int, length: int) -> Array:
    """`shares` among the pairs of different places."""
    weights = shares(size, length).copy()
    weights[0] = 0
    if is_by_place(size, length):
        weights[1 :: size + 1] = 0
    return np.asarray(weights / max(weights.sum(), 1e-300))


def alike(pairs: Array, size: int, axis: int) -> Array:
    """`pairs` without distances along an axis: the same place or another."""
    if pairs.shape[axis] <= 2:
        return pairs
    other = np.moveaxis(pairs, axis, -1) @ apart(size, pairs.shape[axis])
    return np.stack([np.take(pairs, 0, axis), other], axis)


def is_by_place(size: int, length: int) -> bool:
    """Whether an axis of this size has all pairs of places: index 0 is their mean at the same place."""
    return size > 1 and length == size * size + 1


def lengthened(pairs: Array, length: int, axis: int, size: int = 0) -> Array:
    """`pairs` with this many indices along an axis: places further apart are all alike."""
    have = pairs.shape[axis]
    if have < length and is_by_place(size, length):
        apart_by = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).ravel()
        return np.asarray(np.take(pairs, np.minimum(np.append(0, apart_by), have - 1), axis))
    return pairs if have >= length else np.take(pairs, np.minimum(np.arange(length), have - 1), axis)


def matched(moments: Sequence[Moments]) -> tuple[Shape, list[Array]]:
    """The shape to which tensors are broadcast, and their pairs with the same indices."""
    ndim = max(len(entry.shape) for entry in moments)
    shapes = [(1,) * (ndim - len(entry.shape)) + entry.shape for entry in moments]
    shape = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
    arrays = [np.reshape(entry.pairs, (1,) * (ndim - entry.pairs.ndim) + entry.pairs.shape) for entry in moments]
    for axis in range(ndim):
        length = max(array.shape[axis] for array in arrays)
        length = max(length, min(shape[axis], 2))
        arrays = [lengthened(array, length, axis, shape[axis]) for array in arrays]
    return shape, arrays


def broadcast(moments: Moments, shape: Sequence[int]) -> Moments:
    """The moments of the tensor expanded to a shape."""
    to, (pairs, _) = matched([moments, independent(shape, 0.0, 1.0)])
    return replace(moments, shape=to, pairs=pairs, bent=None, levels=ALIKE)


def gaussian_noise(moments: Moments) -> float:
    """Variance of the log of the measured mean square, if the entries are Gaussian."""
    square, mean = moments.square, moments.mean
    if square <= 0:
        return 0.0
    own = moments.pairs - mean * mean
    spread = (2 * own * own + 4 * mean * mean * own) / square**2
    return float(max(moments.averaged(range(len(moments.shape)), spread).item(), 0.0))


def mixed_noise(parts: Sequence[Moments], squares: Sequence[float]) -> float:
    """Variance of the log of a sum of mean squares."""
    total = sum(squares)
    return sum(part.noise * (own / total) ** 2 for part, own in zip(parts, squares, strict=True)) if total > 0 else 0.0


def measured_moments(values: Array, pictures: bool = True) -> Moments:
    """The moments of a tensor whose entries are known, with distances along rows and columns of `pictures`."""
    values = np.asarray(values, float)
    plain = 2 if pictures and values.ndim == 4 else values.ndim
    sums = {}
    for number in range(1 << plain):
        axes = tuple(axis for axis in range(plain) if number >> axis & 1)
        summed = values.sum(axis=axes, keepdims=True) if axes else values
        sums[number] = _products(summed, plain)
    pairs = np.empty((*(min(size, 2) for size in values.shape[:plain]), *sums[0].shape))
    for place in np.ndindex(pairs.shape[:plain]):
        number = sum(1 << axis for axis, index in enumerate(place) if index)
        total = sum(
            (-1) ** (number ^ part).bit_count() * sums[part] for part in range(number + 1) if part & ~number == 0
        )
        count = math.prod(size - 1 if index else 1 for size, index in zip(values.shape, place, strict=False))
        pairs[place] = total / (count * math.prod(values.shape[:plain]))
    return Moments(values.shape, float(values.mean()), pairs)


def _products(values: Array, plain: int) -> Array:
    """Sum of the products of two entries over the first axes; by distance along the axes after these."""
    if values.ndim == plain:
        return np.asarray(np.vdot(values, values))
    rows, columns = values.shape[plain:]
    spectrum = np.fft.rfft2(values, (2 * rows, 2 * columns))
    power = np.sum(spectrum.real**2 + spectrum.imag**2, axis=tuple(range(plain)))
    both = np.fft.irfft2(power, (2 * rows, 2 * columns))
    mirrored = np.concatenate([both[:, :1], both[:, :columns:-1]], axis=1)
    counts = np.outer(rows - np.arange(rows), columns - np.arange(columns))
    return np.asarray((both[:rows, :columns] + mirrored[:rows]) / 2 / counts)


def regrouped(moments: Moments, shape: Sequence[int]) -> Moments:
    """The moments of the same entries in another shape, in the same order."""
    if moments.shape == tuple(shape):
        return replace(moments, bent=None, along=None)
    old = [(size, axis) for axis, size in enumerate(moments.shape) if size > 1]
    pairs = moments.pairs.reshape(
        [length for length, size in zip(moments.pairs.shape, moments.shape, strict=True) if size > 1]
    )
    new = [size for size in shape if size > 1]
    made, place = pairs, 0
    sizes = [size for size, _ in old]
    while place < len(new) or place < len(sizes):
        before, after = _group(sizes[place:], new[place:])
        if before > 1 or after > 1:
            made = _merged(made, sizes[place : place + before], place)
            made = _divided(made, new[place : place + after], math.prod(new[place : place + after]), place)
            sizes[place : place + before] = new[place : place + after]
        place += after
    lengths = iter(made.shape)
    full = made.reshape([1 if size == 1 else next(lengths) for size in shape])
    return replace(moments, shape=tuple(shape), pairs=full, bent=None, along=None, levels=ALIKE)


def _group(before: Sequence[int], after: Sequence[int]) -> tuple[int, int]:
    """The smallest numbers of leading sizes that have the same product on both sides."""
    here, there = 1, 1
    if not before or not after:
        raise NoRule("a view that no rule takes apart")
    left, right = before[0], after[0]
    while left != right:
        if left < right and here < len(before):
            left, here = left * before[here], here + 1
        elif right < left and there < len(after):
            right, there = right * after[there], there + 1
        else:
            raise NoRule("a view that no rule takes apart")
    return here, there


def _merged(pairs: Array, sizes: Sequence[int], first: int) -> Array:
    """Some axes that follow one another as one."""
    if len(sizes) == 1:
        return pairs
    axes = list(range(first, first + len(sizes)))
    for size, axis in zip(sizes, axes, strict=True):
        pairs = alike(pairs, size, axis) if is_by_place(size, pairs.shape[axis]) else pairs
    weights = reduce(
        np.multiply.outer, [shares(size, pairs.shape[axis]) for size, axis in zip(sizes, axes, strict=True)]
    )
    weights = np.asarray(weights).copy()
    weights[(0,) * len(sizes)] = 0
    weights /= weights.sum()
    other = np.tensordot(pairs, weights, (axes, list(range(len(sizes)))))
    same = pairs[(slice(None),) * first + (0,) * len(sizes)]
    return np.stack([same, other], first)


def _divided(pairs: Array, sizes: Sequence[int], size: int, axis: int) -> Array:
    """One axis as several."""
    if len(sizes) == 1:
        return pairs
    pairs = alike(pairs, size, axis)
    index = np.ones((2,) * len(sizes), int)
    index[(0,) * len(sizes)] = 0
    return np.take(pairs, index, axis)
