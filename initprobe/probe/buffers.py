"""The memory of the engine: the owner of each tensor, how long it is needed, and its unit.

Statistics and weight gradients are put off (`Workers.later`): threads compute them when they would otherwise wait. Work
that is put off reads its tensors later, so none may be overwritten before `Workers.finish()` has returned.

| tensor                    | owner                   | written by            | read until        | unit |
|---------------------------|-------------------------|-----------------------|-------------------|------|
| W, b                      | the list of layers      | `probe.networks`      | the draw ends     | 1    |
| input x                   | caller of `probe_batch` | `input_rows`          | `finish()` (2)    | 1    |
| input of a later segment  | `probe_batch`           | a copy of h           | `finish()` (2)    | 1    |
| z                         | `Buffers`               | `mlp.forward`         | `finish()` (1)    | 1    |
| h                         | `Buffers`               | `mlp.forward`         | `finish()` (2)    | 1    |
| dL/dh                     | `BackwardPass`          | `mlp.backward`        | `finish()` (2)    | 2^e  |
| dL/dh at a branch's end   | `BackwardPass`          | dL/dh or a copy       | the branch begins | 2^e  |
| dL/dz without a norm      | `Buffers`, in z         | `mlp.backward`        | `finish()` (2)    | 2^e  |
| dL/dz with a norm         | `BackwardPass`          | `mlp.backward`        | `finish()` (2)    | 2^e  |
| dL/dy with a norm         | work put off            | `mlp.backward`        | dL/dW is computed | 2^e  |
| dL/dW of a single batch   | work put off            | `weight_gradients`    | its statistics    | 2^e  |
| sum of dL/dW over batches | `WeightGradients`       | `add_weight_gradient` | `finish()` (3)    | 2^e  |

`finish()` must be called three times:

1. At the end of a segment on the forward pass. The backward pass overwrites z by dL/dz. The next segment overwrites
   both z and h.
2. At the end of a segment on the backward pass: the segment below is computed again into the same buffers.
3. At the end of a draw: the records are read.

W, dL/dh and dL/dW of a single batch lie in memory of `Room`. It hands this out again once nothing refers to it.

Unit 2^e: the stored array is 2^-e of the true tensor. Each layer has an exponent e of its own
(`BackwardPass.exponents`), the same for all its gradients. It is 0 unless a gradient nears the limits of its dtype.
The inverse standard deviations of a norm are small, belong to `mlp.Passed`, and stand in unit 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from initprobe.activations.skips import Wiring
from initprobe.arrays import Array
from initprobe.engine.buckets import tallied_together
from initprobe.engine.layer_record import LayerRecord
from initprobe.engine.mlp import Layer
from initprobe.engine.room import Room
from initprobe.engine.threads import Workers
from initprobe.engine.weight_gradient import is_sampled
from initprobe.probe.progress import Steps


class Dimensions(NamedTuple):
    """The sizes of a batch in a network.

    Attributes:
        sizes: features of the input, then units of each layer.
        batch: samples in a batch.
        dtype: precision of the network.
    """

    sizes: tuple[int, ...]
    batch: int
    dtype: np.dtype[Any]

    @property
    def fans(self) -> list[tuple[int, int]]:
        """`(fan_in, fan_out)` of each layer."""
        return list(itertools.pairwise(self.sizes))


class Buffers:
    """Room for z and h of the layers of a segment, used again by every segment, batch and draw.

    Attributes:
        segments: the layers, counted from 0, that are held at a time.
        room: memory of weights and gradients, which batches and draws use again.
    """

    def __init__(self, dimensions: Dimensions, wirings: Sequence[Wiring], segments: Sequence[range]) -> None:
        """Allocate the room for the largest segment."""
        self.segments, self.room = segments, Room()
        self._batch, self._dtype, self._widths = dimensions.batch, dimensions.dtype, dimensions.sizes[1:]
        kinds = list(zip(dimensions.fans, wirings, strict=True))
        # For every layer, the layers whose statistics are taken together with its own.
        self._groups = [group for segment in segments for group in _alike(segment, kinds, self._batch) for _ in group]
        # Layers stand one after the other, so layers of one width form a stack.
        self._starts = [start for segment in segments for start in self._places(segment)]
        entries = max(self._batch * sum(self._widths[i] for i in segment) for segment in segments)
        self._z, self._h = np.empty(entries, self._dtype), np.empty(entries, self._dtype)

    def _places(self, segment: range) -> Iterator[int]:
        entries = [self._batch * self._widths[i] for i in segment]
        return itertools.accumulate(entries[:-1], initial=0)

    def groups(self, segment: range) -> list[range]:
        """The groups of layers of a segment whose statistics are taken together, first to last."""
        return [self._groups[layer] for layer in segment if layer == self._groups[layer].start]

    def stack(self, group: range) -> tuple[Array, Array]:
        """Room for z and h of layers of one width, each `(layers, batch, units)`."""
        shape = (len(group), self._batch, self._widths[group.start])
        start = self._starts[group.start]
        z, h = (room[start : start + math.prod(shape)].reshape(shape) for room in (self._z, self._h))
        return z, h

    def of(self, layer: int) -> tuple[Array, Array]:
        """Room for z and h of a layer, each `(batch, units)`."""
        (z,), (h,) = self.stack(range(layer, layer + 1))
        return z, h

    def new_gradients(self, layer: int) -> Array:
        """Room for dL/dh of the group that ends at a layer, `(layers, batch, units)`; not used by anything else."""
        group = self._groups[layer]
        return self.room.empty((len(group), self._batch, self._widths[group.start]), self._dtype)


def _alike(segment: range, kinds: Sequence[tuple[tuple[int, int], Wiring]], batch: int) -> list[range]:
    """Runs of layers of one kind, `(fans, wiring)`, whose tensors are small enough to be tallied together."""
    groups = []
    for (fans, _), run in itertools.groupby(segment, key=kinds.__getitem__):
        layers = list(run)
        size = tallied_together(max(math.prod(fans), batch * fans[1]))
        groups += [range(first, min(first + size, layers[-1] + 1)) for first in layers[::size]]
    return groups


class WeightGradients(NamedTuple):
    """How dL/dW is measured: as a sum over batches, from some of its rows, or whole.

    Attributes:
        dimensions: the sizes of a batch.
        sums: dL/dW of each layer, summed over batches; empty where there is a single batch.
        full: dL/dW is always made whole, not from some of its rows.
        seed: of the choice of rows.
    """

    dimensions: Dimensions
    sums: Sequence[Array]
    full: bool
    seed: int

    def is_sampled(self, index: int) -> bool:
        """True if dL/dW of a layer, and of the layers of its group, is measured from some of its rows."""
        return not self.full and is_sampled(self.dimensions.batch, *self.dimensions.fans[index])


class BatchContext(NamedTuple):
    """All that a batch needs forward and back, except its input and the start of the backward pass.

    Attributes:
        layers: of the network, first to last; one that is not held is made again whenever it is read.
        records: the statistics of each layer.
        buffers: room for z and h.
        weight_gradients: how dL/dW is measured.
        pool: the threads.
        steps: the progress.
    """

    layers: Sequence[Layer]
    records: Sequence[LayerRecord]
    buffers: Buffers
    weight_gradients: WeightGradients
    pool: Workers
    steps: Steps
