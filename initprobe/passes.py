"""Batches through a network and back, a segment of its layers at a time where it is not held whole."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from initprobe.engine import mlp
from initprobe.engine.mlp import Parameters
from initprobe.engine.outer import SAMPLED_ROWS, add_weight_gradient, is_sampled, weight_gradient
from initprobe.engine.record import LayerRecord, take
from initprobe.engine.streams import Purpose, Streams
from initprobe.engine.workers import Workers
from initprobe.experiment import Experiment
from initprobe.memory import segments

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]


class Steps:
    """Counts layers done, for a progress bar."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def advance(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


def _pair(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Array, Array]:
    return np.empty(shape, dtype), np.empty(shape, dtype)


class Trace:
    """Room for z and h of the layers of a segment, reused by every segment, batch and draw.

    Attributes:
        segments: the layers, from 0 on, that are held at a time.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.segments = segments(experiment.config, experiment.sizes, experiment.batch)
        self._rows, self._widths = experiment.batch, experiment.sizes[1:]
        # By place in a segment, as wide as the widest layer that comes there.
        places = itertools.zip_longest(*([self._widths[i] for i in segment] for segment in self.segments), fillvalue=0)
        self._room = [_pair((self._rows * max(widths),), experiment.dtype) for widths in places]

    def of(self, layer: int) -> tuple[Array, Array]:
        """z and h of a layer, `(batch, units)`, to be overwritten."""
        place = layer % len(self.segments[0])
        shape = (self._rows, self._widths[layer])
        z, h = (room[: math.prod(shape)].reshape(shape) for room in self._room[place])
        return z, h


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
    layers, inverses = [], []
    for index in segment:
        layer, record, out = network[index], records[index], trace.of(index)
        if new:
            take(record.weight, layer.weight, pool)
        inverses.append(
            mlp.forward(layer, experiment.config.activation, h, out, record, pool, experiment.wirings[index])
        )
        layers.append(layer)
        h = out[1]
        steps.advance()
    pool.finish()
    return layers, inverses


def _replayed(
    experiment: Experiment, network: Sequence[Parameters], segment: range, h: Array, trace: Trace, pool: Workers
) -> _Held:
    """The same again, for what it leaves in the trace."""
    layers, inverses, activation = [network[index] for index in segment], [], experiment.config.activation
    for index, layer in zip(segment, layers, strict=True):
        out = trace.of(index)
        inverses.append(mlp.replay(layer, activation, h, out, pool, experiment.wirings[index]))
        h = out[1]
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
        self._experiment, self._g, self._records, self._gradients = experiment, g, records, gradients
        self._trace, self._pool, self._steps, self._wanted = trace, pool, steps, wanted
        self.exponents = [0] * len(records)
        self._exponent = 0

    def through(self, segment: range, held: _Held, x: Array) -> None:
        """Go back through the layers of a segment, whose input was `x`."""
        for index in reversed(segment):
            self._rescale(index)
            place = index - segment.start
            h_in = self._trace.of(index - 1)[1] if place else x
            self._layer(index, held[0][place], held[1][place], h_in)
            self._steps.advance()
        self._pool.finish()

    def _rescale(self, index: int) -> None:
        step = self._wanted[index] - self._exponent if self._wanted else mlp.growth(self._g, self._pool)
        if step:
            mlp.rescale(self._g, step, self._pool)
        self._exponent += step
        self.exponents[index] = self._exponent

    def _layer(self, index: int, layer: Parameters, inverse: Array | None, h_in: Array) -> None:
        (z, h), record, pool = self._trace.of(index), self._records[index], self._pool
        weight, wiring = layer.weight if index else None, self._experiment.wirings[index]
        activation = self._experiment.config.activation
        delta, below = mlp.backward(weight, activation, z, h, self._g, record, pool, wiring, inverse, self._exponent)
        if self._gradients:
            add_weight_gradient(h_in, delta, self._gradients[index], pool)
        else:
            rows = _sampled_rows(self._experiment, index)
            weight_gradient(h_in, delta, record, pool, self._exponent, rows)
        self._g = self._g if below is None else below


def _sampled_rows(experiment: Experiment, index: int) -> Array | None:
    """The rows of a layer's dL/dW that stand for all, by the seed alone; None where it is made in full."""
    fan_in, fan_out = experiment.fans[index]
    if experiment.config.full_weight_gradient or not is_sampled(experiment.batch, fan_in, fan_out):
        return None
    generator = Streams(experiment.config.seed, 0).generator(Purpose.SAMPLE, index + 1)
    return np.asarray(np.sort(generator.choice(fan_in, SAMPLED_ROWS, replace=False)))
