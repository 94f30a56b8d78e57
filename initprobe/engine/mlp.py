"""The network itself: sampling, forward and backward passes, with statistics taken block by block.

Rows are samples: `z_l = h_{l-1} W_l + b_l`, `h_l = phi(z_l)`, `W_l` of shape `(fan_in, fan_out)`. Going back,
`dL/dz_l = dL/dh_l phi'(z_l)`, `dL/dh_{l-1} = dL/dz_l W_l'` and `dL/dW_l = h_{l-1}' dL/dz_l`, summed over samples.

`Wiring` adds a norm, `z_l = norm(y_l)` of `y_l = h_{l-1} W_l + b_l`, and a skip, `h_l = h_{l-1} + s phi(z_l)`. Then
`dL/dz_l = s dL/dh_l phi'(z_l)`, `dL/dy_l` takes its place in the other two, and `dL/dh_{l-1}` has `dL/dh_l` added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from initprobe.activations import Activation, Band
from initprobe.engine.sketch import COARSE, FINE, Sketch, Tally, Wide, tally, widen
from initprobe.engine.streams import Purpose, Streams, stream_blocks
from initprobe.engine.workers import Workers, cached, row_blocks
from initprobe.initializers import Initializer
from initprobe.norms import Norm
from initprobe.wiring import PLAIN, Wiring

Array = npt.NDArray[Any]
Part = TypeVar("Part")
# Share of the exponents of a dtype that a gradient may use up before it is rescaled.
_ROOM = 0.35
TENSORS = ("weight", "preactivation", "output", "preactivation_gradient", "output_gradient", "weight_gradient")


@dataclass(frozen=True)
class Parameters:
    """A layer's weights `(fan_in, fan_out)` and bias `(fan_out,)`; None for a bias of zeros."""

    weight: Array
    bias: Array | None


def sample_weight(
    init: Initializer, streams: Streams, layer: int, fans: tuple[int, int], dtype: np.dtype[Any], workers: Workers
) -> Array:
    """`W_l` of shape `fans = (fan_in, fan_out)`, in blocks of rows with a stream each."""
    if init.distribution.whole:
        return init.sample(streams.generator(Purpose.WEIGHT, layer), fans, fans, dtype)
    weight = np.empty(fans, dtype)
    blocks = stream_blocks(*fans)

    def fill(rows: slice) -> None:
        rng = streams.generator(Purpose.WEIGHT, layer, rows.start)
        weight[rows] = init.sample(rng, (rows.stop - rows.start, fans[1]), fans, dtype)

    workers.map(fill, blocks)
    return weight


def sample_bias(
    init: Initializer, streams: Streams, layer: int, fans: tuple[int, int], dtype: np.dtype[Any]
) -> Array | None:
    """`b_l` of shape `(fan_out,)`, or None where it is all zeros."""
    if not (init.mean or init.std(*fans)):
        return None
    return init.sample(streams.generator(Purpose.BIAS, layer), (1, fans[1]), fans, dtype).reshape(-1)


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


def _directions(wide: Wide) -> tuple[Array, int]:
    """Sum of the rows' unit vectors, and how many rows are not zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", wide.array, wide.array))
    has_direction = norms > 0
    inverse = np.divide(1, norms, out=np.zeros_like(norms), where=has_direction)
    return inverse @ wide.array, int(np.count_nonzero(has_direction))


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


def _record(sketch: Sketch, tensor: Array, tallies: list[Tally], workers: Workers, exponent: int = 0) -> None:
    """Merge the tallies of a tensor's row blocks into its sketch; the tensor is carried as `2^-exponent` of itself."""

    def recount(centre: float) -> Iterable[Array]:
        shift = tensor.dtype.type(centre)
        return workers.map(lambda rows: sketch.grid.count(tensor[rows] - shift), row_blocks(*tensor.shape))

    sketch.add(tallies, recount, exponent)


def _tally(block: Array, sketch: Sketch, exponent: int = 0) -> Tally:
    return tally(block, widen(block), sketch.grid, math.ldexp(sketch.centre or 0.0, -exponent))


def _tallies(tensor: Array, sketch: Sketch, workers: Workers, exponent: int = 0) -> list[Tally]:
    """The tallies of a tensor, part by part."""
    return _joined(
        workers.map(
            lambda rows: [_tally(tensor[part], sketch, exponent) for part in cached(rows, tensor.shape[1])],
            row_blocks(*tensor.shape),
        )
    )


def _joined(blocks: list[list[Part]]) -> list[Part]:
    return [part for block in blocks for part in block]


def record_weight(weight: Array, record: LayerRecord, workers: Workers) -> None:
    """Take the statistics of `W_l`."""
    _record(record.weight, weight, _tallies(weight, record.weight, workers), workers)


def _saturated(h: Array, band: Band | None) -> int:
    if band is None:
        return 0
    return int(np.count_nonzero(h <= band.low) + np.count_nonzero(h >= band.high))


def forward(
    parameters: Parameters,
    activation: Activation,
    h_in: Array,
    out: tuple[Array, Array],
    record: LayerRecord,
    workers: Workers,
    wiring: Wiring = PLAIN,
) -> Array | None:
    """One layer forward: from `h_in`, `(batch, fan_in)`, to `out = (z, h)`, both `(batch, fan_out)`.

    What `backward` needs of the norm is the answer: its inverse standard deviations, or None without one.
    """
    z, h = out

    def multiply(rows: slice) -> None:
        np.matmul(h_in[rows], parameters.weight, out=z[rows])
        if parameters.bias is not None:
            z[rows] += parameters.bias

    def work(rows: slice) -> list[tuple[Tally, Tally, tuple[Array, int], int, Array | None]]:
        if wiring.norm is None:
            multiply(rows)
        return [activate(part) for part in cached(rows, z.shape[1])]

    def activate(rows: slice) -> tuple[Tally, Tally, tuple[Array, int], int, Array | None]:
        wide = widen(z[rows])
        z_tally, directions = (
            tally(z[rows], wide, record.preactivation.grid, record.preactivation.centre or 0.0),
            _directions(wide),
        )
        h[rows] = activation.value(z[rows])
        highest = None if activation.dead_below is None else z[rows].max(axis=0)
        saturated = _saturated(h[rows], activation.saturation)
        if wiring.skip is not None:
            h[rows] *= wiring.skip
            h[rows] += h_in[rows]
        return z_tally, _tally(h[rows], record.output), directions, saturated, highest

    inverse = None
    if wiring.norm is not None:
        workers.map(multiply, row_blocks(*z.shape))
        inverse = normalised(wiring.norm, z, workers)
    parts = _joined(workers.map(work, row_blocks(*z.shape)))
    _record(record.preactivation, z, [part[0] for part in parts], workers)
    _record(record.output, h, [part[1] for part in parts], workers)
    for _, _, directions, saturated, highest in parts:
        record.directions.add(directions)
        record.saturated += saturated
        if highest is not None:
            record.highest = highest if record.highest is None else np.maximum(record.highest, highest)
    return inverse


def replay(
    parameters: Parameters,
    activation: Activation,
    h_in: Array,
    out: tuple[Array, Array],
    workers: Workers,
    wiring: Wiring = PLAIN,
) -> Array | None:
    """`forward` without statistics; the same bits."""
    z, h = out

    def multiply(rows: slice) -> None:
        np.matmul(h_in[rows], parameters.weight, out=z[rows])
        if parameters.bias is not None:
            z[rows] += parameters.bias

    def activate(rows: slice) -> None:
        if wiring.norm is None:
            multiply(rows)
        h[rows] = activation.value(z[rows])
        if wiring.skip is not None:
            h[rows] *= wiring.skip
            h[rows] += h_in[rows]

    blocks, inverse = row_blocks(*z.shape), None
    if wiring.norm is not None:
        workers.map(multiply, blocks)
        inverse = normalised(wiring.norm, z, workers)
    workers.map(activate, blocks)
    return inverse


def normalised(norm: Norm, z: Array, workers: Workers) -> Array:
    """Normalise z in place; the inverse standard deviations."""
    parts = workers.map(lambda part: norm.forward(_part(z, norm, part)), _parts(z, norm))
    return np.concatenate(parts, axis=1 - norm.axis)


def _parts(z: Array, norm: Norm) -> list[slice]:
    """Blocks that a norm treats one by one: rows where it works along rows, else columns."""
    return row_blocks(*z.shape) if norm.axis else row_blocks(*z.shape[::-1])


def _part(array: Array, norm: Norm, part: slice) -> Array:
    return array[part] if norm.axis else array[:, part]


def backward(
    weight: Array | None,
    activation: Activation,
    z: Array,
    h: Array,
    g: Array,
    record: LayerRecord,
    workers: Workers,
    wiring: Wiring = PLAIN,
    inverse: Array | None = None,
    exponent: int = 0,
) -> tuple[Array, Array | None]:
    """One layer back: `g = dL/dh_l` to `dL/dy_l`, which is `dL/dz_l` without a norm, and to `dL/dh_{l-1}`.

    `weight` is None at the first layer, whose input needs no gradient; `inverse` is what `forward` gave; `g` is
    `2^-exponent` of the gradient, and so is what it becomes. `dL/dy_l`
    takes the place of `z`, and `dL/dh_{l-1}` that of `h` where it fits: fresh memory costs more than the arithmetic in
    it. Under a norm, which needs z to the end, they change places.
    """
    delta, spare = (z, h) if wiring.norm is None else (h, z)
    below = None if weight is None else _of_shape(spare, (len(g), weight.shape[0]))

    def pass_on(rows: slice) -> None:
        if weight is not None and below is not None:
            np.matmul(delta[rows], weight.T, out=below[rows])
            if wiring.skip is not None:
                below[rows] += g[rows]

    def work(rows: slice) -> list[tuple[Tally, Tally]]:
        found = [differentiate(part) for part in cached(rows, g.shape[1])]
        if wiring.norm is None:
            pass_on(rows)
        return found

    def differentiate(rows: slice) -> tuple[Tally, Tally]:
        g_tally = _tally(g[rows], record.output_gradient, exponent)
        value = h[rows] if wiring.skip is None else activation.value(z[rows])
        np.multiply(g[rows], activation.slope(z[rows], value), out=delta[rows])
        if wiring.skip is not None:
            delta[rows] *= wiring.skip
        return g_tally, _tally(delta[rows], record.preactivation_gradient, exponent)

    parts = _joined(workers.map(work, row_blocks(*g.shape)))
    _record(record.output_gradient, g, [part[0] for part in parts], workers, exponent)
    _record(record.preactivation_gradient, delta, [part[1] for part in parts], workers, exponent)
    if wiring.norm is not None and inverse is not None:
        denormalised(wiring.norm, delta, z, inverse, workers)
        workers.map(pass_on, row_blocks(*g.shape))
    return delta, below


def denormalised(norm: Norm, delta: Array, z: Array, inverse: Array, workers: Workers) -> None:
    """`dL/dz` to `dL/dy` in place."""

    def work(part: slice) -> None:
        norm.backward(*(_part(array, norm, part) for array in (delta, z, inverse)))

    workers.map(work, _parts(z, norm))


def _of_shape(spare: Array, shape: tuple[int, int]) -> Array:
    return spare if spare.shape == shape else np.empty(shape, spare.dtype)


def add_weight_gradient(h_in: Array, delta: Array, total: Array, workers: Workers) -> None:
    """Add `h_{l-1}' dL/dz_l` to `total`, of the shape of `W_l`."""

    def work(rows: slice) -> None:
        total[rows] += h_in[:, rows].T @ delta

    workers.map(work, row_blocks(*total.shape))


def record_weight_gradient(total: Array, record: LayerRecord, workers: Workers, exponent: int = 0) -> None:
    """Take the statistics of a `dL/dW_l` summed over batches, carried as `2^-exponent` of itself."""
    tallies = _tallies(total, record.weight_gradient, workers, exponent)
    _record(record.weight_gradient, total, tallies, workers, exponent)


def weight_gradient(h_in: Array, delta: Array, record: LayerRecord, workers: Workers, exponent: int = 0) -> None:
    """Compute `dL/dW_l = h_{l-1}' dL/dz_l` of a single batch and take its statistics while it is in cache.

    `delta` is `2^-exponent` of dL/dz.
    """
    gradient = np.empty((h_in.shape[1], delta.shape[1]), delta.dtype)

    def work(rows: slice) -> list[Tally]:
        np.matmul(h_in[:, rows].T, delta, out=gradient[rows])
        return [_tally(gradient[part], record.weight_gradient, exponent) for part in cached(rows, gradient.shape[1])]

    tallies = _joined(workers.map(work, row_blocks(*gradient.shape)))
    _record(record.weight_gradient, gradient, tallies, workers, exponent)


def growth(gradient: Array, workers: Workers) -> int:
    """The power of two by which a gradient has come near the limits of its dtype, to be divided by; else 0.

    Backpropagation is linear in the gradient, so that it may be carried in any unit.
    """
    blocks = row_blocks(*gradient.shape)
    peak = max(workers.map(lambda rows: max(-float(gradient[rows].min()), float(gradient[rows].max())), blocks))
    if not 0 < peak < math.inf:
        return 0
    exponent = math.frexp(peak)[1]
    return exponent if abs(exponent) > _ROOM * np.finfo(gradient.dtype).maxexp else 0


def rescale(gradient: Array, exponent: int, workers: Workers) -> None:
    """Divide by `2^exponent`, in place."""
    workers.map(lambda rows: np.ldexp(gradient[rows], -exponent, out=gradient[rows]), row_blocks(*gradient.shape))
