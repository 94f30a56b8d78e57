"""One batch through a network and back. A network that is not held whole goes segment by segment.

`probe.buffers` says who owns each tensor and when work that was put off must be finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.engine import mlp
from initprobe.engine.layer_record import record_backward, record_forward, take
from initprobe.engine.mlp import Gradients, Layer, Passed
from initprobe.engine.streams import Purpose, Streams
from initprobe.engine.weight_gradient import (
    SAMPLED_ROWS,
    add_weight_gradient,
    sampled_weight_gradient,
    weight_gradients,
)
from initprobe.probe.buffers import BatchContext, WeightGradients
from initprobe.probe.progress import BACK


class _Held(NamedTuple):
    """The layers of a segment, and what the forward pass left of each."""

    layers: Sequence[Layer]
    passed: Sequence[Passed]

    def part(self, start: int, stop: int) -> _Held:
        return _Held(self.layers[start:stop], self.passed[start:stop])


def probe_batch(context: BatchContext, x: Array, g: Array, exponents: Sequence[int] = ()) -> list[int]:
    """Send one batch forward and back, and put off its statistics; the buffers are overwritten.

    A gradient that nears the limits of its dtype is carried on in another unit.

    Args:
        context: the network, its records and buffers.
        x: input, `(batch, features)`.
        g: dL/dh of the last layer, `(batch, units)`.
        exponents: what an earlier batch returned, so that the gradients of both add up; empty for the first batch.

    Returns:
        The binary exponent of each layer's unit: its gradients were stored times 2^-exponent.
    """
    *others, last = context.buffers.segments
    inputs = [x]
    for segment in others:
        _forward(context, segment, inputs[-1], with_weights=not exponents)
        inputs.append(context.buffers.of(segment[-1])[1].copy())
    held = _forward(context, last, inputs[-1], with_weights=not exponents)
    backward = BackwardPass(context, g, exponents)
    backward.through(last, held, inputs.pop())
    for segment in reversed(others):
        held = _forward_again(context, segment, inputs[-1])
        backward.through(segment, held, inputs.pop())
    return backward.exponents


def _forward(context: BatchContext, segment: range, h: Array, with_weights: bool) -> _Held:
    """Take `h` through the layers of a segment, with statistics; `with_weights` with those of the weights too."""
    layers: list[Layer] = []
    passed: list[Passed] = []
    stream = h
    for group in context.buffers.groups(segment):
        for index in group:
            layers.append(context.layers[index])
            stream = h if layers[-1].wiring.opens else stream
            passed.append(mlp.forward(layers[-1], h, context.buffers.of(index), context.pool, stream))
            h = passed[-1].h
            context.steps.advance()
        records = [context.records[index] for index in group]
        if with_weights:
            take([record.weight for record in records], _stacked(layers[-len(group) :]), context.pool)
        record_forward(records, layers[-len(group)], *context.buffers.stack(group), context.pool)
    context.pool.finish()
    return _Held(layers, passed)


def _stacked(layers: Sequence[Layer]) -> Array:
    """The weights of layers of one shape, `(layers, fan_in, fan_out)`."""
    return layers[0].weight[None] if len(layers) == 1 else np.stack([layer.weight for layer in layers])


def _forward_again(context: BatchContext, segment: range, h: Array) -> _Held:
    """The same forward pass without statistics, for what it leaves in the buffers."""
    layers, passed, stream = [context.layers[index] for index in segment], [], h
    for index, layer in zip(segment, layers, strict=True):
        stream = h if layer.wiring.opens else stream
        passed.append(mlp.forward(layer, h, context.buffers.of(index), context.pool, stream))
        h = passed[-1].h
    return _Held(layers, passed)


class BackwardPass:
    """The backward pass of one batch, segment by segment from the last.

    Attributes:
        exponents: of the unit of each layer's gradients.
    """

    def __init__(self, context: BatchContext, g: Array, given: Sequence[int]) -> None:
        """Start from `g`, dL/dh of the last layer; `given` are the exponents of an earlier batch, or empty."""
        self.exponents = [0] * len(context.records)
        self._context, self._given, self._exponent = context, given, 0
        # dL/dh of the group that the pass has come to, `(layers, batch, units)`.
        self._g = context.buffers.new_gradients(len(context.records) - 1)
        self._g[-1] = g
        # dL/dh at the end of the branch that the pass is in; None outside branches.
        self._stream: Array | None = None

    def through(self, segment: range, held: _Held, x: Array) -> None:
        """Go back through the layers of a segment, whose input was `x`.

        Args:
            segment: indices of the layers.
            held: what the forward pass kept of them.
            x: `(batch, fan_in)`.
        """
        buffers = self._context.buffers
        for group in reversed(buffers.groups(segment)):
            h_in = [x if index == segment.start else buffers.of(index - 1)[1] for index in group]
            part = held.part(group.start - segment.start, group.stop - segment.start)
            self._through_group(group, part, h_in)
        self._context.pool.finish()

    def _through_group(self, group: range, held: _Held, h_in: Sequence[Array]) -> None:
        buffers, g = self._context.buffers, self._g
        below = buffers.new_gradients(group.start - 1) if group.start else None
        z = buffers.stack(group)[0]
        delta = z if held.layers[0].wiring.norm is None else np.empty_like(z)
        inner = []  # dL/dy of each layer, last to first
        for place in reversed(range(len(group))):
            own_below = g[place - 1] if place else None if below is None else below[-1]
            self._rescale(group[place], g[place])
            room = Gradients(g[place], delta[place], own_below)
            inner.append(self._through_layer(held.layers[place], held.passed[place], room))
        self._record(group, delta, h_in, inner[::-1])
        if below is not None:
            self._g = below

    def _through_layer(self, layer: Layer, passed: Passed, room: Gradients) -> Array:
        if layer.wiring.skip is not None:
            self._stream = room.output
        inner = mlp.backward(layer, passed, room, self._context.pool, self._stream)
        self._stream = None if layer.wiring.opens else self._stream
        self._context.steps.advance(BACK)
        return inner

    def _rescale(self, index: int, g: Array) -> None:
        """Change the unit of dL/dh of a layer where it must, and that of the branch with it."""
        pool = self._context.pool
        carried = [g] if self._stream is None else [g, self._stream]
        change = self._given[index] - self._exponent if self._given else mlp.growth(carried, pool)
        if change:
            mlp.rescale(g, change, pool)
        if change and self._stream is not None:
            self._stream = self._stream.copy()  # its statistics are still to be taken, in the unit that it had
            mlp.rescale(self._stream, change, pool)
        self._exponent += change
        self.exponents[index] = self._exponent

    def _record(self, group: range, delta: Array, h_in: Sequence[Array], inner: Sequence[Array]) -> None:
        """Put off the statistics of the gradients of a group; `inner` are dL/dy, `h_in` the layers' inputs."""
        pool, how = self._context.pool, self._context.weight_gradients
        records = [self._context.records[index] for index in group]
        exponents = [self.exponents[index] for index in group]
        record_backward(records, self._g, delta, pool, exponents)
        sketches = [record.weight_gradient for record in records]
        if how.sums:
            for index, h, d in zip(group, h_in, inner, strict=True):
                add_weight_gradient(h, d, how.sums[index], pool)
        elif how.is_sampled(group.start):
            for index, h, d, sketch, exponent in zip(group, h_in, inner, sketches, exponents, strict=True):
                sampled_weight_gradient(h, d, sketch, pool, exponent, _sampled_rows(how, index))
        else:
            weight_gradients(h_in, inner, sketches, pool, exponents, self._context.buffers.room)


def _sampled_rows(how: WeightGradients, index: int) -> Array:
    """The rows of dL/dW of a layer that are measured; they depend on the seed alone."""
    generator = Streams(how.seed, 0).generator(Purpose.SAMPLE, index + 1)
    return np.asarray(np.sort(generator.choice(how.dimensions.fans[index][0], SAMPLED_ROWS, replace=False)))
