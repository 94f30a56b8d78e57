"""The statistics of one layer as they accumulate, and how each tensor is added to them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from initprobe.activations.record import Activation, Band
from initprobe.arrays import Array
from initprobe.engine.buckets import COARSE, FINE, Tally, count, tally
from initprobe.engine.magnitudes import Magnitudes
from initprobe.engine.mlp import Layer
from initprobe.engine.moments import Moments, widen
from initprobe.engine.sketch import Sketch
from initprobe.engine.threads import Workers, cached, row_blocks, tallied_blocks

TENSORS = ("weight", "preactivation", "output", "preactivation_gradient", "output_gradient", "weight_gradient")


@dataclass
class Directions:
    """Sum of the unit vectors along the rows of z, from which the mean cosine of two rows follows.

    Attributes:
        total: the sum, `(units,)`; None before the first block.
        rows: how many rows have a direction.
    """

    total: Array | None = None
    rows: int = 0

    def add(self, part: tuple[Array, int]) -> None:
        """Add what `directions` returned of a block."""
        self.total = part[0] if self.total is None else self.total + part[0]
        self.rows += part[1]

    def mean_cosine(self) -> float | None:
        """Mean cosine over all pairs of different rows; None with fewer than two rows that have a direction."""
        if self.total is None or self.rows < 2:
            return None
        squared = float(np.dot(self.total, self.total))
        if not math.isfinite(squared):
            return None
        # The rounding of identical rows may exceed 1 by a few units in the last place.
        return min(max((squared - self.rows) / (self.rows * (self.rows - 1.0)), -1.0), 1.0)


def directions(block: Array) -> tuple[Array, int]:
    """Sum of the unit vectors along the rows of a block, `(units,)`, and how many rows are not zero."""
    rows, _ = widen(block)
    norms = np.sqrt(np.vecdot(rows, rows))
    has_direction = norms > 0
    inverse = np.divide(1, norms, out=np.zeros_like(norms), where=has_direction)
    return np.dot(inverse, rows), int(np.count_nonzero(has_direction))


@dataclass
class LayerRecord:
    """The statistics of one layer as they accumulate over blocks, batches and draws.

    Attributes:
        weight: of W, and so on: a sketch of each of the `TENSORS`.
        saturated: entries of h at or beyond the saturation band of the activation.
        correlations: mean cosine between rows of z in each draw; None where no two rows have a direction.
        dead_fractions: share of dead units in each draw.
        directions: of the current draw.
        highest: largest z of each unit in the current draw, `(units,)`; None before the first block.
    """

    dtype: InitVar[np.dtype[Any]]
    has_magnitudes: InitVar[bool] = False
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

    def __post_init__(self, dtype: np.dtype[Any], has_magnitudes: bool) -> None:
        # float64 has eight times the exponents: with finer mantissas too, clearing the counters would cost most.
        fine = FINE if dtype == np.float32 else COARSE
        for name in TENSORS:
            bits = fine if name == "output" else COARSE
            setattr(self, name, Sketch(dtype, bits, magnitudes=Magnitudes() if has_magnitudes else None))

    @property
    def sketches(self) -> dict[str, Sketch]:
        """The sketch of each tensor by name."""
        return {name: getattr(self, name) for name in TENSORS}

    def begin_draw(self) -> None:
        """Start the statistics of another network."""
        self.directions, self.highest = Directions(), None
        for sketch in self.sketches.values():
            sketch.begin_draw()

    def end_draw(self, dead_below: float | None) -> None:
        """Close the statistics that need every batch of a network."""
        self.correlations.append(self.directions.mean_cosine())
        if dead_below is not None and self.highest is not None:
            self.dead_fractions.append(float(np.mean(self.highest <= dead_below)))


class _UnitStatistics(NamedTuple):
    """Statistics of a part of z and h of one layer that are not in its tallies."""

    directions: tuple[Array, int]
    saturated: int
    highest: Array | None


def take(sketches: Sequence[Sketch], stack: Array, workers: Workers, exponents: Sequence[int] | None = None) -> None:
    """Put off the statistics of one tensor of each of some layers.

    Args:
        sketches: of the tensor in each layer.
        stack: `(layers, rows, columns)`, each layer's tensor times 2^-exponent.
        workers: the threads.
        exponents: of each layer; None for zeros.
    """
    units = exponents or [0] * len(sketches)

    def add(blocks: list[list[list[Tally]]]) -> None:
        merge_each(sketches, stack, [part for block in blocks for part in block], units)

    workers.later(lambda rows: tallied(stack, rows, sketches, units), tallied_blocks(*stack.shape[1:]), add)


def record_forward(records: Sequence[LayerRecord], layer: Layer, z: Array, h: Array, workers: Workers) -> None:
    """Put off the statistics of z and h of some layers.

    Args:
        records: of these layers.
        layer: one of them; they have the same activation and wiring.
        z: `(layers, batch, units)`.
        h: `(layers, batch, units)`.
        workers: the threads.
    """
    take([record.output for record in records], h, workers)
    sketches = [record.preactivation for record in records]
    phi, plain = layer.phi, layer.wiring.skip is None

    def measure(part: slice) -> tuple[list[Tally], list[_UnitStatistics]]:
        columns = z[:, part]
        value = h[:, part] if plain else phi.value(columns)
        return _tally(columns, sketches, [0] * len(sketches)), _unit_statistics(phi, columns, value)

    def work(rows: slice) -> list[tuple[list[Tally], list[_UnitStatistics]]]:
        return [measure(part) for part in cached(rows, z.shape[2])]

    def add(blocks: list[list[tuple[list[Tally], list[_UnitStatistics]]]]) -> None:
        parts = [part for block in blocks for part in block]
        merge_each(sketches, z, [tallies for tallies, _ in parts], [0] * len(sketches))
        for _, by_layer in parts:
            for record, statistics in zip(records, by_layer, strict=True):
                _add_unit_statistics(record, statistics)

    workers.later(work, tallied_blocks(*z.shape[1:]), add)


def record_backward(
    records: Sequence[LayerRecord], g: Array, delta: Array, workers: Workers, exponents: Sequence[int]
) -> None:
    """Put off the statistics of dL/dh and dL/dz of some layers; `g` and `delta` are these times 2^-exponent.

    Args:
        records: one per layer.
        g: dL/dh of these layers, `(layers, batch, units)`.
        delta: dL/dz, of the same shape.
        workers: which do it later.
        exponents: one per layer.
    """
    take([record.output_gradient for record in records], g, workers, exponents)
    take([record.preactivation_gradient for record in records], delta, workers, exponents)


def _unit_statistics(activation: Activation, z: Array, value: Array) -> list[_UnitStatistics]:
    highest = [None] * len(z) if activation.dead_below is None else z.max(axis=1)
    saturated = _saturated(value, activation.saturation)
    return [_UnitStatistics(*each) for each in zip(map(directions, z), saturated, highest, strict=True)]


def _add_unit_statistics(record: LayerRecord, statistics: _UnitStatistics) -> None:
    record.directions.add(statistics.directions)
    record.saturated += statistics.saturated
    highest = statistics.highest
    if highest is not None:
        record.highest = highest if record.highest is None else np.maximum(record.highest, highest)


def _saturated(value: Array, band: Band | None) -> list[int]:
    """How many entries of each layer are at or beyond the ends of the band."""
    if band is None:
        return [0] * len(value)
    outside = (value <= band.low) | (value >= band.high)
    return [int(np.count_nonzero(layer)) for layer in outside]


def tallied(stack: Array, rows: slice, sketches: Sequence[Sketch], exponents: Sequence[int]) -> list[list[Tally]]:
    """The tallies of a block of rows of a stack, as lists: one per part, with one tally per layer.

    Args:
        stack: tensors of equal shape, `(layers, rows, columns)`.
        rows: the block.
        sketches: one per layer.
        exponents: one per layer: the tensor is stored times 2^-exponent.
    """
    return [_tally(stack[:, part], sketches, exponents) for part in cached(rows, stack.shape[2])]


def _tally(stack: Array, sketches: Sequence[Sketch], exponents: Sequence[int]) -> list[Tally]:
    centres = [
        math.ldexp(sketch.centre or 0.0, -exponent) for sketch, exponent in zip(sketches, exponents, strict=True)
    ]
    return tally(stack, sketches[0].grid, centres)


def merge_each(
    sketches: Sequence[Sketch], stack: Array, parts: Sequence[Sequence[Tally]], exponents: Sequence[int]
) -> None:
    """Add the tallies of all parts, each a list with one tally per layer, to the sketches of the layers.

    Args:
        sketches: one per layer.
        stack: the tensors, `(layers, rows, columns)`.
        parts: the tallies, by part and layer.
        exponents: one per layer.
    """
    for sketch, tensor, tallies, exponent in zip(sketches, stack, zip(*parts, strict=True), exponents, strict=True):
        merge(sketch, tensor, tallies, exponent)


def merge(
    sketch: Sketch, tensor: Array, tallies: Sequence[Tally], exponent: int = 0, moments: Moments | None = None
) -> None:
    """Add the tallies of all parts of a tensor, in order, to its sketch.

    Args:
        sketch: of the tensor.
        tensor: stored times 2^-exponent.
        tallies: of its parts.
        exponent: of its unit.
        moments: of a larger tensor that `tensor` is a sample of; None where it is the whole.
    """

    def recount(centre: float) -> Iterable[Array]:
        shift = tensor.dtype.type(centre)
        return (count(tensor[None, rows] - shift, sketch.grid)[0] for rows in row_blocks(*tensor.shape))

    sketch.add(tallies, recount, exponent, moments)
