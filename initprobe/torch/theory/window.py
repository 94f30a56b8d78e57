"""Windows of convolutions and pooling along one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.moments import Moments, shares
from initprobe.torch.theory.trace import Node


@dataclass(frozen=True)
class Border:
    """The overlap of the taps of two outputs that are inside, over that of an output with itself on average.

    Attributes:
        own: of each output with itself.
        rows: of each output with all.
        near: mean of `rows` over the outputs that have another at some distance, by this distance.
        total: mean of `rows`.
    """

    own: Array
    rows: Array
    near: Array
    total: float


@dataclass(frozen=True)
class Window:
    """A convolution along one axis.

    Attributes:
        size: places of the input.
        made: places of the output.
        taps: of the kernel.
        stride: places of the input from one output to the next.
        padding: places added at the start.
        dilation: places from one tap to the next.
    """

    size: int
    made: int
    taps: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @cached_property
    def _taken(self) -> tuple[Array, Array]:
        """The place of the input under each tap, `(made, taps)`, and whether it is inside."""
        places = np.arange(self.made)[:, None] * self.stride - self.padding + np.arange(self.taps) * self.dilation
        return np.clip(places, 0, self.size - 1), (places >= 0) & (places < self.size)

    def reached(self, levels: Array | None) -> Array:
        """Sum over the taps of each output, of one number per place of the input; of ones for None."""
        places, inside = self._taken
        return np.asarray((inside if levels is None else levels[places] * inside).sum(1, dtype=float))

    def returned(self, levels: Array | None) -> Array:
        """Sum over the outputs that take each place of the input, of one number per output; of ones for None."""
        places, inside = self._taken
        given = inside if levels is None else inside * levels[:, None]
        return np.bincount(places.ravel(), np.asarray(given, float).ravel(), self.size)

    @cached_property
    def shared(self) -> Array:
        """Share of the taps inside at two outputs, over the share at one, by the distance of the outputs."""
        inside = self._taken[1].astype(float)
        both = [np.mean(inside[: self.made - apart] * inside[apart:]) for apart in range(self.made)]
        return np.asarray(np.array(both) / max(both[0], 1e-300))

    @cached_property
    def border(self) -> Border:
        """What the border takes of an input that is the same at all places."""
        inside = self._taken[1].astype(float)
        own, counts = inside.sum(1), np.arange(self.made, 0, -1)
        scale = max(float(own.mean()), 1e-300)
        rows = inside @ inside.mean(0) / scale
        near = (np.cumsum(rows) + np.cumsum(rows[::-1]))[::-1] / (2 * counts)
        return Border(own / scale, rows, near, float(rows.mean()))

    def convolved(self, pairs: Array, axis: int) -> Array:
        """Pairs of outputs by distance, of `pairs` of inputs along an `axis`.

        At borders, two outputs share fewer taps than one has.
        """
        thin = self.thinned(pairs, axis)
        return np.asarray(thin * self.along(self.shared, thin, axis))

    def along(self, by_distance: Array, pairs: Array, axis: int) -> Array:
        """Factors of `pairs` along an `axis`, from numbers `by_distance` of two outputs, `(made,)`."""
        length = pairs.shape[axis]
        if length == 2 != self.made:
            weights = shares(self.made, self.made)[1:]
            by_distance = np.array([by_distance[0], by_distance[1:] @ weights / weights.sum()])
        return np.asarray(by_distance[:length].reshape([-1 if place == axis else 1 for place in range(pairs.ndim)]))

    def thinned(self, pairs: Array, axis: int) -> Array:
        """Pairs by distance between outputs, of `pairs` by distance between inputs along an `axis`."""
        if self.made == 1:
            return np.take(pairs, [0], axis)
        if pairs.shape[axis] == 1:
            return np.repeat(pairs, 2, axis)
        if pairs.shape[axis] == 2 != self.size:
            return pairs
        return np.asarray(np.take(pairs, np.minimum(np.arange(self.made) * self.stride, pairs.shape[axis] - 1), axis))

    def spread(self, pairs: Array, axis: int) -> Array:
        """Pairs by distance between inputs, of `pairs` of outputs along an `axis`: those that share weights."""
        if self.size == 1:
            return np.take(pairs, [0], axis)
        if pairs.shape[axis] == 1 or (pairs.shape[axis] == 2 != self.made):
            return pairs if pairs.shape[axis] > 1 else np.asarray(np.concatenate([pairs, np.zeros_like(pairs)], axis))
        places = np.arange(self.size)
        taken = np.take(pairs, np.minimum(places // self.stride, pairs.shape[axis] - 1), axis)
        shape = [1] * pairs.ndim
        shape[axis] = -1
        return np.asarray(taken * (places % self.stride == 0).reshape(shape))


def per_axis(value: Any, count: int) -> tuple[int, ...]:
    """The argument `value` of a convolution or pooling, with a number for each of `count` axes."""
    if isinstance(value, tuple):
        return value * count if len(value) == 1 else value
    return (int(value),) * count


def windows(node: Node, source: Node, taps: Sequence[int], places: tuple[int, int, int]) -> list[Window]:
    """The windows along the axes after the second.

    Args:
        node: a convolution or pooling.
        source: its input.
        taps: length of the window along each axis.
        places: indices of stride, padding and dilation among the arguments of the call.
    """
    count = len(taps)
    stride = node.argument("stride", places[0], 1)
    strides = per_axis(taps if stride is None or stride == () else stride, count)
    padding = node.argument("padding", places[1], 0)
    dilations = per_axis(node.argument("dilation", places[2], 1), count)
    if padding == "same":
        pads: tuple[int, ...] = tuple(step * (tap - 1) // 2 for step, tap in zip(dilations, taps, strict=True))
    else:
        pads = (0,) * count if isinstance(padding, str) else per_axis(padding, count)
    sizes, made = source.shape[-count:], node.shape[-count:]
    return [Window(*each) for each in zip(sizes, made, taps, strides, pads, dilations, strict=True)]


def swept(given: Moments, each: Sequence[Window], along: bool) -> tuple[float, Mapping[int, Array]]:
    """Products per output, on average, of windows that are moved, and the levels that they leave.

    Args:
        given: moments of the tensor.
        each: the windows, along its last axes.
        along: forward, to the outputs; else back to the inputs.
    """
    count, levels = 1.0, {axis: level for axis, level in given.levels.items() if axis == 0}
    for axis, window in enumerate(each, len(given.shape) - len(each)):
        level = given.levels.get(axis)
        made = window.reached(level) if along else window.returned(level)
        count *= float(made.mean())
        if np.ptp(made) > 0:
            levels[axis] = made / made.mean()
    return count, levels
