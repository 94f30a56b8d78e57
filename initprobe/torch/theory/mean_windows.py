"""Means over windows that overlap, reach beyond the border or have divisors of their own, along one axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.moments import NoRule
from initprobe.torch.theory.rule import first
from initprobe.torch.theory.trace import Node
from initprobe.torch.theory.window import Window, per_axis

_EVEN = 1e-9  # relative differences of mean squares that are rounding
_MOST = 1 << 22  # products of two taps, by the distances of their windows and of themselves


@dataclass(frozen=True)
class MeanWindow:
    """Means over windows along one axis.

    Attributes:
        window: the windows.
        counts_padding: whether the divisor counts the places of the padding.
        divisor: of all windows; None for the number of their places.
    """

    window: Window
    counts_padding: bool = True
    divisor: int | None = None

    @property
    def is_even(self) -> bool:
        """Whether the windows are whole and side by side, each with its length as divisor."""
        window = self.window
        is_whole = window.padding == 0 and (window.made - 1) * window.stride + window.taps <= window.size
        is_apart = window.stride == window.taps or window.made == 1
        return is_whole and is_apart and self.divisor in (None, window.taps)

    @cached_property
    def _taken(self) -> tuple[Array, Array]:
        """The place of the input under each tap, `(made, taps)`, and its factor: 0 beyond the border."""
        window = self.window
        if window.made * window.taps > _MOST:
            raise NoRule(f"a mean over {window.made} windows of {window.taps} places that overlap or pass the border")
        places = np.arange(window.made)[:, None] * window.stride - window.padding + np.arange(window.taps)
        inside = (places >= 0) & (places < window.size)
        counted = places < window.size + window.padding if self.counts_padding else inside
        divisors = np.maximum(counted.sum(1, keepdims=True), 1) if self.divisor is None else self.divisor
        return np.clip(places, 0, window.size - 1), inside / divisors

    @property
    def share(self) -> float:
        """Mean over the outputs of the sum of their factors."""
        return float(self._taken[1].sum(1).mean())

    def forward(self, pairs: Array, axis: int, levels: Mapping[int, Array]) -> tuple[Array, Mapping[int, Array]]:
        """Pairs of the outputs along an axis, and their levels.

        Args:
            pairs, axis, levels: of the inputs, by distance along the axis of the tensor.
        """
        places, factors = self._taken
        roots = np.sqrt(levels.get(axis, np.ones(self.window.size)))
        held, taps = _held(pairs, axis, roots), factors * roots[places]
        apart, distance, products = self._products(taps)
        matrix = products / (self.window.made - apart), (apart, distance)
        return _applied(matrix, held, axis, self.window.made), _level(taps, held, axis)

    def back(self, pairs: Array, axis: int, levels: Mapping[int, Array]) -> tuple[Array, Mapping[int, Array]]:
        """Pairs of the gradient of the inputs along an axis, and their levels.

        Args:
            pairs, axis, levels: of the gradient of the outputs, by distance along the axis of the tensor.
        """
        size = self.window.size
        roots = np.sqrt(levels.get(axis, np.ones(self.window.made)))
        held, taps = _held(pairs, axis, roots), self._taken[1] * roots[:, None]
        apart, distance, products = self._products(taps)
        counts = np.where(distance, 2 * (size - distance), size)
        matrix = products * np.where(apart, 2, 1) / counts, (distance, apart)
        return _applied(matrix, held, axis, size), _level(self._turned(taps), held, axis)

    def concentration(self, level: Array) -> float:
        """`tr G^2 / (tr G)^2`, with the products `G` of two windows: 1 over the windows where all count the same.

        Args:
            level: mean square of each output over that of all.
        """
        window = self.window
        starts = np.arange(window.made) * window.stride - window.padding
        low, high = np.maximum(starts, 0), np.minimum(starts + window.taps, window.size)
        factors = np.abs(self._taken[1]).max(1) * np.sqrt(level)
        trace = float((factors**2 * (high - low)).sum())
        total = 0.0
        for apart in range(min(-(-window.taps // window.stride), window.made)):
            count = window.made - apart
            shared = np.maximum(high[:count] - low[apart:], 0) * factors[:count] * factors[apart:]
            total += float((shared**2).sum()) * (2 if apart else 1)
        return total / max(trace**2, 1e-300)

    def _products(self, taps: Array) -> tuple[Array, Array, Array]:
        """Sums of the products of two taps, by the distance of their outputs and their own distance.

        Args:
            taps: the factor of each tap of each output, `(made, taps)`.

        Returns:
            The distances of the outputs, those of the taps, and the sums, each `(entries,)`.
        """
        shifts, window = np.arange(1 - self.window.taps, self.window.taps), self.window
        shape = (2 * window.made, 2 * window.taps)
        spectrum = np.fft.rfft2(taps, shape)
        sums = np.fft.irfft2(spectrum.real**2 + spectrum.imag**2, shape)[: window.made, shifts].ravel()
        apart = np.repeat(np.arange(window.made), len(shifts))
        distance = np.abs(apart * window.stride + np.tile(shifts, window.made))
        inside = distance < window.size
        return apart[inside], distance[inside], sums[inside]

    def _turned(self, taps: Array) -> Array:
        """The factor of each input in each of the outputs that take it, `(size, outputs)`."""
        window = self.window
        last, rest = np.divmod(np.arange(window.size) + window.padding, window.stride)
        later = np.arange(-(-window.taps // window.stride))
        outputs, tap = last[:, None] - later, rest[:, None] + later * window.stride
        inside = (outputs >= 0) & (outputs < window.made) & (tap < window.taps)
        return np.where(inside, taps[np.clip(outputs, 0, window.made - 1), np.minimum(tap, window.taps - 1)], 0.0)


def _held(pairs: Array, axis: int, roots: Array) -> Array:
    """Pairs along an axis for each distance, as if the mean square were the same at each place.

    Args:
        pairs, axis: by distance along the axis, of which the last holds for all further ones.
        roots: square root of the level of each place.
    """
    size = len(roots)
    held = np.take(pairs, np.minimum(np.arange(size), pairs.shape[axis] - 1), axis)
    spectrum = np.fft.rfft(roots, 2 * size)
    sums = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, 2 * size)[:size]
    counts = np.arange(size, 0, -1)
    means = sums / counts
    if pairs.shape[axis] <= 2 < size:
        means[1:] = sums[1:].sum() / counts[1:].sum()
    return np.asarray(held / means.reshape([-1 if place == axis else 1 for place in range(held.ndim)]))


def _applied(entries: tuple[Array, tuple[Array, Array]], held: Array, axis: int, made: int) -> Array:
    """A map, given by its entries, of the pairs along an axis to so many distances."""
    from scipy import sparse  # which takes 0.1 s

    rows = np.moveaxis(held, axis, 0)
    result = sparse.coo_array(entries, (made, len(rows))).tocsr() @ rows.reshape(len(rows), -1)
    return np.moveaxis(result.reshape(made, *rows.shape[1:]), 0, axis)


def _level(taps: Array, held: Array, axis: int) -> Mapping[int, Array]:
    """The levels of sums of neighbours along an axis.

    Args:
        taps: factor of each neighbour in each sum, `(sums, neighbours)`.
        held, axis: pairs of the neighbours for each distance along the axis.
    """
    count = taps.shape[1]
    near = held[tuple(slice(None) if place == axis else 0 for place in range(held.ndim))]
    near = near[np.minimum(np.arange(count), len(near) - 1)]
    both = np.concatenate([near, [0.0], near[:0:-1]])
    other = np.fft.irfft(np.fft.rfft(taps, 2 * count) * np.fft.rfft(both), 2 * count)[:, :count]
    squares = np.maximum((taps * other).sum(1), 0.0)
    mean = float(squares.mean())
    return {axis: squares / mean} if np.ptp(squares) > _EVEN * mean else {}


def mean_windows(node: Node) -> list[MeanWindow]:
    """The windows of a call of `avg_pool1d`, `avg_pool2d` or `avg_pool3d`, one for each axis.

    Args:
        node: the call.
    """
    count = int(node.name[-2])
    taps = per_axis(node.argument("kernel_size", 1), count)
    strides = per_axis(node.argument("stride", 2) or taps, count)
    pads = per_axis(node.argument("padding", 3, 0), count)
    divisor, counts_padding = node.argument("divisor_override", 6), bool(node.argument("count_include_pad", 5, True))
    divisors = (divisor, *[None if divisor is None else 1] * (count - 1))
    sizes = first(node).shape[-count:], node.shape[-count:]
    each = zip(*sizes, taps, strides, pads, strict=True)
    return [MeanWindow(Window(*sides), counts_padding, last) for sides, last in zip(each, divisors, strict=True)]
