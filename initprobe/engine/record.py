"""The statistics of one layer as they accumulate, and how a tensor comes by them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from initprobe.activations import Activation, Band
from initprobe.engine.sketch import COARSE, FINE, Moments, Sketch, Tally, count, tally, widen
from initprobe.engine.workers import Workers, cached, row_blocks

Array = npt.NDArray[Any]
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
    """What a part of z and h tells beside its tallies."""

    directions: tuple[Array, int]
    saturated: int
    highest: Array | None


def take(sketch: Sketch, tensor: Array, workers: Workers, exponent: int = 0) -> None:
    """Put off the statistics of a tensor that is `2^-exponent` of what it stands for."""
    workers.later(
        lambda rows: tallied([tensor], rows, [sketch], exponent),
        row_blocks(*tensor.shape),
        lambda blocks: merge(sketch, tensor, [part for block in blocks for (part,) in block], exponent),
    )


def record_forward(
    record: LayerRecord, activation: Activation, z: Array, h: Array, workers: Workers, plain: bool
) -> None:
    """Put off the statistics of a layer's z and h; in a `plain` layer, h is phi(z)."""
    sketches = record.preactivation, record.output

    def look(part: slice) -> tuple[list[Tally], _Seen]:
        blocks = [z[part], h[part]]
        value = blocks[1] if plain else activation.value(blocks[0])
        highest = None if activation.dead_below is None else blocks[0].max(axis=0)
        seen = _Seen(directions(blocks[0]), _saturated(value, activation.saturation), highest)
        return _tally(blocks, sketches), seen

    def add(blocks: list[list[tuple[list[Tally], _Seen]]]) -> None:
        parts = [part for block in blocks for part in block]
        _merge_each(sketches, (z, h), [tallies for tallies, _ in parts])
        for _, seen in parts:
            _note(record, seen)

    def work(rows: slice) -> list[tuple[list[Tally], _Seen]]:
        return [look(part) for part in cached(rows, z.shape[1], len(sketches))]

    workers.later(work, row_blocks(*z.shape), add)


def record_backward(record: LayerRecord, g: Array, delta: Array, workers: Workers, exponent: int) -> None:
    """Put off the statistics of dL/dh and dL/dz, of which `g` and `delta` are `2^-exponent`."""
    sketches = record.output_gradient, record.preactivation_gradient

    def add(blocks: list[list[list[Tally]]]) -> None:
        _merge_each(sketches, (g, delta), [part for block in blocks for part in block], exponent)

    workers.later(lambda rows: tallied([g, delta], rows, sketches, exponent), row_blocks(*g.shape), add)


def _note(record: LayerRecord, seen: _Seen) -> None:
    record.directions.add(seen.directions)
    record.saturated += seen.saturated
    if seen.highest is not None:
        record.highest = seen.highest if record.highest is None else np.maximum(record.highest, seen.highest)


def _saturated(value: Array, band: Band | None) -> int:
    if band is None:
        return 0
    return int(np.count_nonzero(value <= band.low) + np.count_nonzero(value >= band.high))


def tallied(tensors: Sequence[Array], rows: slice, sketches: Sequence[Sketch], exponent: int = 0) -> list[list[Tally]]:
    """The tallies of a block of rows of tensors of one shape, part by part, in each part one a tensor."""
    parts = ([tensor[part] for tensor in tensors] for part in cached(rows, tensors[0].shape[1], len(tensors)))
    return [_tally(blocks, sketches, exponent) for blocks in parts]


def _tally(blocks: Sequence[Array], sketches: Sequence[Sketch], exponent: int = 0) -> list[Tally]:
    return [
        tally(block, sketch.grid, math.ldexp(sketch.centre or 0.0, -exponent))
        for block, sketch in zip(blocks, sketches, strict=True)
    ]


def _merge_each(
    sketches: Sequence[Sketch], tensors: Sequence[Array], parts: Sequence[Sequence[Tally]], exponent: int = 0
) -> None:
    """Add parts that hold a tally of each tensor."""
    for sketch, tensor, tallies in zip(sketches, tensors, zip(*parts, strict=True), strict=True):
        merge(sketch, tensor, tallies, exponent)


def merge(
    sketch: Sketch, tensor: Array, tallies: Sequence[Tally], exponent: int = 0, moments: Moments | None = None
) -> None:
    """Add the tallies of all parts of a tensor, in order, to its sketch; it is `2^-exponent` of what it stands for.

    Given the `moments` of a larger tensor, what is tallied is a sample of that.
    """

    def recount(centre: float) -> Iterable[Array]:
        shift = tensor.dtype.type(centre)
        return (count(tensor[rows] - shift, sketch.grid) for rows in row_blocks(*tensor.shape))

    sketch.add(tallies, recount, exponent, moments)
