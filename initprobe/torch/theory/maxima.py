"""Rules for the largest or smallest entry: over axes, windows of a sequence, large windows, or a whole picture.

The Gaussian entries of two samples are drawn with the known correlations, and the largest is taken of each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.expectations import Function
from initprobe.torch.theory.groups import is_by_place, place_index
from initprobe.torch.theory.laws import of_normal
from initprobe.torch.theory.moments import Bent, Moments, NoRule, alike, gaussian_noise, shares
from initprobe.torch.theory.places import without_places
from initprobe.torch.theory.pointwise import bent_of, of_bent
from initprobe.torch.theory.regrouping import regrouped
from initprobe.torch.theory.rule import Lookup, Moved, Rule, axis_of, first, names
from initprobe.torch.theory.trace import Constant, Node

_ENTRIES = 1 << 19  # that are drawn for a sample
_MOST_DRAWN = 1 << 12  # maxima
_FEWEST_DRAWN = 1 << 4  # maxima, from which a variance can be taken
_MATRIX = 256  # entries up to which each pair has its own correlation; those of more count as alike


class Largest(NamedTuple):
    """The largest of some entries, in two samples.

    Attributes:
        mean: of the largest.
        variance: of the largest.
        common: covariance of those of two samples.
        slope: mean squared slope there.
        shared: probability that it is at the same place in both.
    """

    mean: float
    variance: float
    common: float
    slope: float
    shared: float


class _Windows(NamedTuple):
    """The axes over which the largest is taken, the shape that has these as windows, and the sign."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    sign: float


def _windows(node: Node) -> _Windows:
    source = first(node)
    shape, ndim = source.shape, len(source.shape)
    if node.output or len(node.sources) > 1 or any(isinstance(part, Constant) for part in node.args):
        raise NoRule(f"{node.name} that no rule takes apart")
    if "pool" in node.name:
        return _pooled(node, shape)
    given = node.argument("dim", 1)
    dims = range(ndim) if given is None or given == () else given if isinstance(given, tuple) else (given,)
    return _Windows(shape, tuple(axis_of(axis, ndim) for axis in dims), -1.0 if "min" in node.name else 1.0)


def _pooled(node: Node, shape: tuple[int, ...]) -> _Windows:
    """Windows that lie side by side: each such axis becomes two."""
    count = int(node.name[node.name.index("d") - 1] if "adaptive" not in node.name else node.name.split("pool")[1][0])
    made, axes = list(shape[:-count]), []
    for size, after in zip(shape[-count:], node.shape[-count:], strict=True):
        window = size // max(after, 1)
        is_plain = "adaptive" in node.name or _is_side_by_side(node, window)
        if after * window != size or not is_plain:
            raise NoRule(f"{node.name} of windows that do not lie side by side")
        axes.append(len(made) + 1)
        made += [after, window]
    return _Windows(tuple(made), tuple(axes), 1.0)


def _is_side_by_side(node: Node, window: int) -> bool:
    def single(name: str, place: int, default: int) -> int:
        held = node.argument(name, place, default)
        held = held[0] if isinstance(held, tuple) and held else held
        return int(held) if isinstance(held, int) else default

    steps = single("stride", 2, window), single("padding", 3, 0), single("dilation", 4, 1)
    return single("kernel_size", 1, 0) == window and steps == (window, 0, 1)


def latent(node: Node, given: Moments) -> Bent:
    """The Gaussian entries, and the function of which the largest value is taken.

    Args:
        node: a maximum or minimum, or a pooling.
        given: moments of its input.

    Raises:
        NoRule: the entries have no variance.
    """
    bent, values = bent_of(first(node), given), given.values
    if given.bent is None and values is not None:
        own = (given.pairs - given.mean**2) / max(given.square - given.mean**2, 1e-300)
        bent = Bent(bent.base, Moments(given.shape, 0.0, own), of_normal(values), np.ones_like)
    if bent.given.square - bent.given.mean**2 <= 0:
        raise NoRule("a maximum of entries that are all alike")
    return bent


class _Maxima:
    """What is drawn for each way in which the windows of two entries differ."""

    def __init__(self, node: Node, given: Moments) -> None:
        windows = self.windows = _windows(node)
        self.bent = latent(node, given)
        base = self.bent.given
        whole = regrouped(base, windows.shape) if base.shape != windows.shape else base
        whole = without_places(whole, [axis for axis in range(len(windows.shape)) if axis not in windows.axes])
        variance = base.square - base.mean**2
        self.pairs = np.clip((whole.pairs - base.mean**2) / variance, -1, 1)
        for axis, size in enumerate(windows.shape):
            if axis not in windows.axes:
                self.pairs = alike(self.pairs, size, axis)
        self.places = math.prod(windows.shape[axis] for axis in windows.axes)
        if self.places > _ENTRIES // _FEWEST_DRAWN:
            raise NoRule(f"{node.name} of more than {_ENTRIES // _FEWEST_DRAWN} entries")
        self.lengths = tuple(1 if axis in windows.axes else n for axis, n in enumerate(self.pairs.shape))
        self._scale = float(f"{base.mean:.4g}"), float(f"{math.sqrt(variance):.4g}")
        self._own = self._correlations((0,) * len(windows.shape))

    def _correlations(self, place: Sequence[int]) -> Array:
        """Correlations of the entries of two windows that differ like this: of each pair, or of the same and others."""
        windows = self.windows
        taken = self.pairs[tuple(slice(None) if axis in windows.axes else i for axis, i in enumerate(place))]
        if self.places > _MATRIX:
            return self._same_and_other(taken)
        for number, axis in enumerate(windows.axes):
            size, length = windows.shape[axis], taken.shape[2 * number]
            apart = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
            index = np.minimum(apart, length - 1)
            if is_by_place(size, length) and length > 2:
                index = place_index(size, length)
            taken = np.take(taken, index, 2 * number)
        count = len(windows.axes)
        order = (*range(0, 2 * count, 2), *range(1, 2 * count, 2))
        return np.asarray(np.transpose(taken, order).reshape(self.places, self.places).round(3))

    def _same_and_other(self, pairs: Array) -> Array:
        """Mean correlations at the same place and at others, without the matrix of all pairs."""
        same = every = pairs
        for axis in self.windows.axes:
            same, every = same[0], np.tensordot(shares(self.windows.shape[axis], len(every)), every, 1)
        return np.array([same, (every * self.places - same) / (self.places - 1)]).round(3)

    def at(self, place: Sequence[int]) -> Largest:
        """The largest entries of two windows that differ along the axes where `place` is not 0."""
        other = self._own if not any(place) else self._correlations(place)
        bent = self.bent
        key = self._own.tobytes(), other.tobytes()
        return _drawn(bent.value, bent.slope, self.windows.sign, self._scale, self.places, key)


@lru_cache(maxsize=128)
def _drawn(
    value: Function, slope: Function, sign: float, scale: tuple[float, float], places: int, key: tuple[bytes, bytes]
) -> Largest:
    own, other = (np.frombuffer(part) for part in key)
    x, y = (scale[0] + scale[1] * part for part in _entries(places, own, other))
    f, g = sign * value(x), sign * value(y)
    here, there = np.argmax(f, 1), np.argmax(g, 1)
    rows = np.arange(len(f))
    tops, others = f[rows, here], g[rows, there]
    slopes = np.broadcast_to(slope(x[rows, here]), tops.shape)
    mean = float(tops.mean() + others.mean()) / 2
    variance = float(np.mean((tops - mean) ** 2) + np.mean((others - mean) ** 2)) / 2
    common = float(np.mean((tops - mean) * (others - mean))) if other.any() else 0.0
    return Largest(sign * mean, variance, common, float(np.mean(slopes**2)), float(np.mean(here == there)))


def _entries(places: int, own: Array, other: Array) -> tuple[Array, Array]:
    """Normal entries of two samples, `(draws, places)` each."""
    shared, alone, beside = _normal(places, min(_ENTRIES // places, _MOST_DRAWN))
    if len(own) > 2:
        own, other = own.reshape(places, places), other.reshape(places, places)
        both, rest = _root(other), _root(own - other)
        return shared @ both + alone @ rest, shared @ both + beside @ rest
    # Each is a sum of what all entries share, those of a sample, those at a place, and the entry itself.
    inside, at_place, across = float(own[1]), float(other[0]), float(other[1])
    parts = [across, inside - across, at_place - across, 1 - inside - at_place + across]
    common, sample, at_same, alone_only = (math.sqrt(max(part, 0.0)) for part in parts)
    column = np.roll(shared[:, :1], 1, 0) * common
    made = [
        column + sample * np.roll(entries[:, :1], 1, 0) + at_same * shared + alone_only * entries
        for entries in (alone, beside)
    ]
    return made[0], made[1]


def _root(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))).T)


@lru_cache(maxsize=4)
def _normal(places: int, draws: int) -> Array:
    return np.random.default_rng(0).standard_normal((3, draws, places))


def _kept(windows: _Windows) -> tuple[int, ...]:
    """The shape with one place for each window."""
    return tuple(1 if axis in windows.axes else size for axis, size in enumerate(windows.shape))


def largest(node: Node, of: Lookup) -> Moments:
    """The largest or smallest entries.

    Args:
        node: a maximum or minimum, or a pooling.
        of: gives the moments of a node.
    """
    given = of(first(node))
    maxima = _Maxima(node, given)
    own = maxima.at((0,) * len(maxima.lengths))
    pairs = np.empty(maxima.lengths)
    for place in np.ndindex(pairs.shape):
        pairs[place] = own.mean**2 + (maxima.at(place).common if any(place) else own.variance)
    made = regrouped(Moments(_kept(maxima.windows), own.mean, pairs), node.shape)
    inherited = max(given.noise - gaussian_noise(given), 0.0)
    return replace(made, noise=inherited + gaussian_noise(made))


def largest_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    """The gradient of the tensor whose largest or smallest entries were taken.

    Args:
        node: a maximum or minimum, or a pooling.
        of: gives the moments of a node.
        gradient: moments of the gradient of these entries.
    """
    source = first(node)
    given = of(source)
    maxima = _Maxima(node, given)
    windows, count = maxima.windows, maxima.places
    held = regrouped(without_places(gradient), _kept(windows))
    pairs = np.zeros([min(size, 2) for size in windows.shape])
    for place in np.ndindex(maxima.lengths):
        both = held.pairs[tuple(min(i, n - 1) for i, n in zip(place, held.pairs.shape, strict=True))]
        shared = maxima.at(place).shared if any(place) else 1.0
        for index in np.ndindex(pairs.shape):
            if all(axis in windows.axes or index[axis] == i for axis, i in enumerate(place)):
                is_same = not any(index[axis] for axis in windows.axes)
                share = shared if is_same else (1 - shared) / max(count - 1, 1)
                pairs[index] = both * share / count
    gain, bent = 1.0, given.bent
    if bent is not None:  # most of the largest entries are where the activation has a slope
        slope = maxima.at((0,) * len(maxima.lengths)).slope
        gain = slope / max(float(of_bent(bent)[0].slope_powers.sum()), 1e-300)
    moved = regrouped(Moments(windows.shape, 0.0, pairs), source.shape)
    yield source, replace(moved, noise=gradient.noise, gain=gain)


RULES = (
    Rule(
        names(
            "max min amax amin max_pool1d max_pool1d_with_indices adaptive_max_pool1d adaptive_max_pool2d "
            "adaptive_max_pool3d max_pool3d"
        ),
        largest,
        largest_back,
    ),
)
