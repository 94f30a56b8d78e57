"""Batches through a network and back, a segment of its layers at a time where it is not held whole."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from initprobe.arrays import Array
from initprobe.blocks.skips import Wiring
from initprobe.engine import mlp
from initprobe.engine.buckets import tallied_together
from initprobe.engine.layer_record import LayerRecord, record_backward, record_forward, take
from initprobe.engine.mlp import Parameters
from initprobe.engine.streams import Purpose, Streams
from initprobe.engine.threads import Workers
from initprobe.engine.weight_gradient import (
    SAMPLED_ROWS,
    add_weight_gradient,
    is_sampled,
    sampled_weight_gradient,
    weight_gradients,
)
from initprobe.probe.experiment import Experiment
from initprobe.probe.memory_parts import segments

Progress = Callable[[int, int], None]

# Products of a layer on the way back, beside the one on the way forward.
BACK = 2


class Steps:
    """Counts steps done, for a progress bar: a step is about as long as one layer of one batch takes forward."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def advance(self, count: int = 1) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)


class Trace:
    """Room for z and h of the layers of a segment, reused by every segment, batch and draw.

    Attributes:
        segments: the layers, from 0 on, that are held at a time.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.segments = segments(experiment.config, experiment.sizes, experiment.batch)
        self._rows, self._widths = experiment.batch, experiment.sizes[1:]
        kinds = list(zip(experiment.fans, experiment.wirings, strict=True))
        # Of every layer, the layers that its statistics are taken with.
        self._groups = [group for one in self.segments for group in _alike(one, kinds, self._rows) for _ in group]
        # One layer after the other, so that those of one width are a stack.
        self._starts = [start for segment in self.segments for start in self._places(segment)]
        room = max(self._rows * sum(self._widths[i] for i in segment) for segment in self.segments)
        self._z, self._h = np.empty(room, experiment.dtype), np.empty(room, experiment.dtype)

    def _places(self, segment: range) -> Iterator[int]:
        widths = [self._rows * self._widths[i] for i in segment]
        return itertools.accumulate(widths[:-1], initial=0)

    def group(self, layer: int) -> range:
        """The layers that a layer's statistics are taken with, itself among them."""
        return self._groups[layer]

    def groups(self, segment: range) -> list[range]:
        """The same of all layers of a segment, first to last."""
        return [self._groups[layer] for layer in segment if layer == self._groups[layer].start]

    def stack(self, group: range) -> tuple[Array, Array]:
        """z and h of layers of one width, `(layers, batch, units)`, to be overwritten."""
        shape = (len(group), self._rows, self._widths[group.start])
        start = self._starts[group.start]
        z, h = (room[start : start + math.prod(shape)].reshape(shape) for room in (self._z, self._h))
        return z, h

    def of(self, layer: int) -> tuple[Array, Array]:
        """z and h of a layer, `(batch, units)`, to be overwritten."""
        (z,), (h,) = self.stack(range(layer, layer + 1))
        return z, h


def _alike(segment: range, kinds: Sequence[tuple[tuple[int, int], Wiring]], batch: int) -> list[range]:
    """Runs of layers of one kind, `(fans, wiring)`, whose tensors are small enough to be tallied together."""
    found = []
    for (fans, _), run in itertools.groupby(segment, key=kinds.__getitem__):
        layers = list(run)
        size = tallied_together(max(math.prod(fans), batch * fans[1]))
        found += [range(first, min(first + size, layers[-1] + 1)) for first in layers[::size]]
    return found


def probe_batch(
    experiment: Experiment,
    network: Sequence[Parameters],
    x: Array,
    g: Array,
    records: Sequence[LayerRecord],
    gradients: Sequence[Array],
    trace: Trace,
    pool: Workers,
    steps: Steps,
    exponents: Sequence[int] = (),
) -> list[int]:
    """One batch forward and back.

    `gradients` sums dL/dW over batches; empty where this batch is the only one. `trace` is overwritten. A gradient that
    nears the limits of its dtype is carried on in another unit; the answer is the binary exponent of each layer's,
    which the next batch is given as `exponents`, so that their gradients add up.
    """
    *others, last = trace.segments
    inputs = [x]
    for segment in others:
        _forward(experiment, network, segment, inputs[-1], records, trace, pool, steps, new=not exponents)
        inputs.append(trace.of(segment[-1])[1].copy())
    held = _forward(experiment, network, last, inputs[-1], records, trace, pool, steps, new=not exponents)
    back = _Back(experiment, g, records, gradients, trace, pool, steps, exponents)
    back.through(last, held, inputs.pop())
    for segment in reversed(others):
        held = _replayed(experiment, network, segment, inputs[-1], trace, pool)
        back.through(segment, held, inputs.pop())
    return back.exponents


# The layers of a segment, and what their norms leave for the way back.
_Held = tuple[Sequence[Parameters], Sequence[Array | None]]


def _forward(
    experiment: Experiment,
    network: Sequence[Parameters],
    segment: range,
    h: Array,
    records: Sequence[LayerRecord],
    trace: Trace,
    pool: Workers,
    steps: Steps,
    new: bool,
) -> _Held:
    """Take `h` through the layers of a segment, with statistics; of `new` layers, of their weights too."""
    layers: list[Parameters] = []
    inverses: list[Array | None] = []
    stream = h
    for group in trace.groups(segment):
        for index in group:
            layers.append(network[index])
            stream = h if experiment.wirings[index].opens else stream
            inverses.append(_one_forward(experiment, layers[-1], index, h, stream, trace, pool))
            h = trace.of(index)[1]
            steps.advance()
        some = [records[index] for index in group]
        if new:
            take([record.weight for record in some], _stacked(layers[-len(group) :]), pool)
        wiring = experiment.wirings[group.start]
        activation = wiring.acting(experiment.config.activation)
        record_forward(some, activation, *trace.stack(group), pool, plain=wiring.skip is None)
    pool.finish()
    return layers, inverses


def _stacked(layers: Sequence[Parameters]) -> Array:
    """The weights of layers of one shape, `(layers, fan_in, fan_out)`."""
    return layers[0].weight[None] if len(layers) == 1 else np.stack([layer.weight for layer in layers])


def _one_forward(
    experiment: Experiment, layer: Parameters, index: int, h: Array, stream: Array, trace: Trace, pool: Workers
) -> Array | None:
    """`stream` is what the branch that the layer is of was given, if it is of any."""
    wiring = experiment.wirings[index]
    return mlp.forward(layer, experiment.config.activation, h, trace.of(index), pool, wiring, stream)


def _replayed(
    experiment: Experiment, network: Sequence[Parameters], segment: range, h: Array, trace: Trace, pool: Workers
) -> _Held:
    """The same again, for what it leaves in the trace."""
    layers, inverses, stream = [network[index] for index in segment], [], h
    for index, layer in zip(segment, layers, strict=True):
        stream = h if experiment.wirings[index].opens else stream
        inverses.append(_one_forward(experiment, layer, index, h, stream, trace, pool))
        h = trace.of(index)[1]
    return layers, inverses


class _Back:
    """The way back of one batch, segment by segment."""

    def __init__(
        self,
        experiment: Experiment,
        g: Array,
        records: Sequence[LayerRecord],
        gradients: Sequence[Array],
        trace: Trace,
        pool: Workers,
        steps: Steps,
        wanted: Sequence[int],
    ) -> None:
        self._experiment, self._records, self._gradients = experiment, records, gradients
        self._trace, self._pool, self._steps, self._wanted = trace, pool, steps, wanted
        self.exponents = [0] * len(records)
        self._exponent = 0
        self._g = self._room(len(records) - 1)
        self._g[-1] = g
        # dL/dh at the end of the branch that the way back is in.
        self._stream: Array | None = None

    def _room(self, layer: int) -> Array:
        """Room for dL/dh of a layer and those before it whose statistics are taken with it."""
        shape = self._trace.stack(self._trace.group(layer))[0].shape
        return np.empty(shape, self._experiment.dtype)

    def through(self, segment: range, held: _Held, x: Array) -> None:
        """Go back through the layers of a segment, whose input was `x`."""
        for group in reversed(self._trace.groups(segment)):
            own = slice(group.start - segment.start, group.stop - segment.start)
            h_in = [x if index == segment.start else self._trace.of(index - 1)[1] for index in group]
            self._through(group, held[0][own], held[1][own], h_in)
        self._pool.finish()

    def _through(
        self, group: range, layers: Sequence[Parameters], inverses: Sequence[Array | None], h_in: Sequence[Array]
    ) -> None:
        (z, h), g = self._trace.stack(group), self._g
        below = self._room(group.start - 1) if group.start else None
        delta = z if self._experiment.wirings[group.start].norm is None else np.empty_like(z)
        inner = []
        for place in reversed(range(len(group))):
            wiring = self._experiment.wirings[group[place]]  # alike but for scales that were learned
            self._rescale(group[place], g[place])
            if wiring.skip is not None:
                self._stream = g[place]
            weight = layers[place].weight if group[place] else None
            under = g[place - 1] if place else None if below is None else below[-1]
            passed, out = (z[place], h[place]), (delta[place], under)
            inner.append(
                mlp.backward(
                    weight,
                    self._experiment.config.activation,
                    passed,
                    g[place],
                    out,
                    self._pool,
                    wiring,
                    inverses[place],
                    self._stream,
                )
            )
            self._stream = None if wiring.opens else self._stream
            self._steps.advance(BACK)
        self._record(group, g, delta, h_in, inner[::-1])
        if below is not None:
            self._g = below

    def _rescale(self, index: int, g: Array) -> None:
        carried = [g] if self._stream is None else [g, self._stream]
        step = self._wanted[index] - self._exponent if self._wanted else mlp.growth(carried, self._pool)
        if step:
            mlp.rescale(g, step, self._pool)
        if step and self._stream is not None:
            self._stream = self._stream.copy()  # its statistics are still to be taken, in the unit that it had
            mlp.rescale(self._stream, step, self._pool)
        self._exponent += step
        self.exponents[index] = self._exponent

    def _record(self, group: range, g: Array, delta: Array, h_in: Sequence[Array], inner: Sequence[Array]) -> None:
        """Put off the statistics of the gradients of a group; `inner` are dL/dy."""
        records = [self._records[index] for index in group]
        exponents = [self.exponents[index] for index in group]
        record_backward(records, g, delta, self._pool, exponents)
        sketches = [record.weight_gradient for record in records]
        if self._gradients:
            for index, h, d in zip(group, h_in, inner, strict=True):
                add_weight_gradient(h, d, self._gradients[index], self._pool)
        elif _is_sampled(self._experiment, group.start):
            for index, h, d, sketch, exponent in zip(group, h_in, inner, sketches, exponents, strict=True):
                rows = _sampled_rows(self._experiment, index)
                sampled_weight_gradient(h, d, sketch, self._pool, exponent, rows)
        else:
            weight_gradients(h_in, inner, sketches, self._pool, exponents)


def _is_sampled(experiment: Experiment, index: int) -> bool:
    """dL/dW of a layer, and of those like it, is not made in full."""
    return not experiment.config.full_weight_gradient and is_sampled(experiment.batch, *experiment.fans[index])


def _sampled_rows(experiment: Experiment, index: int) -> Array:
    """The rows of a layer's dL/dW that stand for all, by the seed alone."""
    generator = Streams(experiment.config.seed, 0).generator(Purpose.SAMPLE, index + 1)
    return np.asarray(np.sort(generator.choice(experiment.fans[index][0], SAMPLED_ROWS, replace=False)))
