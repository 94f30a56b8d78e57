"""The statistics of one layer as they accumulate, and how a tensor comes by them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from initprobe.activations.record import Activation, Band
from initprobe.arrays import Array
from initprobe.engine.buckets import COARSE, FINE, Tally, count, tally
from initprobe.engine.moments import Moments, widen
from initprobe.engine.sketch import Sketch
from initprobe.engine.threads import Workers, cached, row_blocks, tallied_blocks

TENSORS = ("weight", "preactivation", "output", "preactivation_gradient", "output_gradient", "weight_gradient")


@dataclass
class Directions:
    """Sum of the unit vectors along the rows of z, from which the mean cosine of two rows follows."""

    total: Array | float = 0.0
    rows: int = 0

    def add(self, part: tuple[Array, int]) -> None:
        """Add the unit vectors of a block."""
        self.total = self.total + part[0]
        self.rows += part[1]

    def mean_cosine(self) -> float | None:
        """Mean cosine over all pairs of different rows; None with fewer than two rows that have a direction."""
        if self.rows < 2:
            return None
        squared = float(np.dot(self.total, self.total))
        if not math.isfinite(squared):
            return None
        # Rounding may carry identical rows a few units in the last place past 1.
        return min(max((squared - self.rows) / (self.rows * (self.rows - 1.0)), -1.0), 1.0)


def directions(block: Array) -> tuple[Array, int]:
    """Sum of the unit vectors along the rows of a block, and how many rows are not zero."""
    rows, _ = widen(block)
    norms = np.sqrt(np.vecdot(rows, rows))
    has_direction = norms > 0
    inverse = np.divide(1, norms, out=np.zeros_like(norms), where=has_direction)
    return np.dot(inverse, rows), int(np.count_nonzero(has_direction))


@dataclass
class LayerRecord:
    """The statistics of one layer as they accumulate over blocks, batches and draws."""

    dtype: InitVar[np.dtype[Any]]
    weight: Sketch = field(init=False)
    preactivation: Sketch = field(init=False)
    output: Sketch = field(init=False)
    preactivation_gradient: Sketch = field(init=False)
    output_gradient: Sketch = field(init=False)
    weight_gradient: Sketch = field(init=False)
    saturated: int = 0
    correlations: list[float | None] = field(default_factory=list)
    dead_fractions: list[float] = field(default_factory=list)
    directions: Directions = field(default_factory=Directions)
    highest: Array | None = None

    def __post_init__(self, dtype: np.dtype[Any]) -> None:
        # float64 has eight times the exponents: with finer mantissas too, clearing the counters would cost most.
        fine = FINE if dtype == np.float32 else COARSE
        for name in TENSORS:
            setattr(self, name, Sketch(dtype, fine if name == "output" else COARSE))

    def begin_draw(self) -> None:
        """What follows belongs to another network."""
        self.directions, self.highest = Directions(), None
        for name in TENSORS:
            sketch: Sketch = getattr(self, name)
            sketch.begin_draw()

    def end_draw(self, dead_below: float | None) -> None:
        """Close the statistics that need every batch of a network."""
        self.correlations.append(self.directions.mean_cosine())
        if dead_below is not None and self.highest is not None:
            self.dead_fractions.append(float(np.mean(self.highest <= dead_below)))


class _Seen(NamedTuple):
    """What a part of z and h of one layer tells beside its tallies."""

    directions: tuple[Array, int]
    saturated: int
    highest: Array | None


def take(sketches: Sequence[Sketch], stack: Array, workers: Workers, exponents: Sequence[int] | None = None) -> None:
    """Put off the statistics of a tensor of each of some layers, `(layers, rows, columns)`.

    They are `2^-exponent` of what they stand for, in each layer its own.
    """
    units = exponents or [0] * len(sketches)

    def add(blocks: list[list[list[Tally]]]) -> None:
        merge_each(sketches, stack, [part for block in blocks for part in block], units)

    workers.later(lambda rows: tallied(stack, rows, sketches, units), tallied_blocks(*stack.shape[1:]), add)


def record_forward(
    records: Sequence[LayerRecord], activation: Activation, z: Array, h: Array, workers: Workers, plain: bool
) -> None:
    """Put off the statistics of z and h of some layers, `(layers, batch, units)`; in `plain` ones h is phi(z)."""
    take([record.output for record in records], h, workers)
    sketches = [record.preactivation for record in records]

    def look(part: slice) -> tuple[list[Tally], list[_Seen]]:
        some = z[:, part]
        value = h[:, part] if plain else activation.value(some)
        return _tally(some, sketches, [0] * len(sketches)), _seen(activation, some, value)

    def work(rows: slice) -> list[tuple[list[Tally], list[_Seen]]]:
        return [look(part) for part in cached(rows, z.shape[2])]

    def add(blocks: list[list[tuple[list[Tally], list[_Seen]]]]) -> None:
        parts = [part for block in blocks for part in block]
        merge_each(sketches, z, [tallies for tallies, _ in parts], [0] * len(sketches))
        for _, seen in parts:
            for record, one in zip(records, seen, strict=True):
                _note(record, one)

    workers.later(work, tallied_blocks(*z.shape[1:]), add)


def record_backward(
    records: Sequence[LayerRecord], g: Array, delta: Array, workers: Workers, exponents: Sequence[int]
) -> None:
    """Put off the statistics of dL/dh and dL/dz of some layers, of which `g` and `delta` are `2^-exponent`."""
    take([record.output_gradient for record in records], g, workers, exponents)
    take([record.preactivation_gradient for record in records], delta, workers, exponents)


def _seen(activation: Activation, z: Array, value: Array) -> list[_Seen]:
    highest = [None] * len(z) if activation.dead_below is None else z.max(axis=1)
    saturated = _saturated(value, activation.saturation)
    return [_Seen(*each) for each in zip(map(directions, z), saturated, highest, strict=True)]


def _note(record: LayerRecord, seen: _Seen) -> None:
    record.directions.add(seen.directions)
    record.saturated += seen.saturated
    if seen.highest is not None:
        record.highest = seen.highest if record.highest is None else np.maximum(record.highest, seen.highest)


def _saturated(value: Array, band: Band | None) -> list[int]:
    """Entries of each layer beyond the band."""
    if band is None:
        return [0] * len(value)
    outside = (value <= band.low) | (value >= band.high)
    return [int(np.count_nonzero(layer)) for layer in outside]


def tallied(stack: Array, rows: slice, sketches: Sequence[Sketch], exponents: Sequence[int]) -> list[list[Tally]]:
    """The tallies of a block of rows of every layer's tensor, part by part, in each part one a layer."""
    return [_tally(stack[:, part], sketches, exponents) for part in cached(rows, stack.shape[2])]


def _tally(stack: Array, sketches: Sequence[Sketch], exponents: Sequence[int]) -> list[Tally]:
    centres = [
        math.ldexp(sketch.centre or 0.0, -exponent) for sketch, exponent in zip(sketches, exponents, strict=True)
    ]
    return tally(stack, sketches[0].grid, centres)


def merge_each(
    sketches: Sequence[Sketch], stack: Array, parts: Sequence[Sequence[Tally]], exponents: Sequence[int]
) -> None:
    """Add parts that hold a tally of each layer."""
    for sketch, tensor, tallies, exponent in zip(sketches, stack, zip(*parts, strict=True), exponents, strict=True):
        merge(sketch, tensor, tallies, exponent)


def merge(
    sketch: Sketch, tensor: Array, tallies: Sequence[Tally], exponent: int = 0, moments: Moments | None = None
) -> None:
    """Add the tallies of all parts of a tensor, in order, to its sketch; it is `2^-exponent` of what it stands for.

    Given the `moments` of a larger tensor, what is tallied is a sample of that.
    """

    def recount(centre: float) -> Iterable[Array]:
        shift = tensor.dtype.type(centre)
        return (count(tensor[None, rows] - shift, sketch.grid)[0] for rows in row_blocks(*tensor.shape))

    sketch.add(tallies, recount, exponent, moments)
