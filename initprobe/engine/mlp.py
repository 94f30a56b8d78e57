"""The network itself: sampling, forward and backward passes.

Rows are samples: `z_l = h_{l-1} W_l + b_l`, `h_l = phi(z_l)`, `W_l` of shape `(fan_in, fan_out)`. Going back,
`dL/dz_l = dL/dh_l phi'(z_l)`, `dL/dh_{l-1} = dL/dz_l W_l'` and `dL/dW_l = h_{l-1}' dL/dz_l`, summed over samples.

`Wiring` adds a norm, `z_l = norm(y_l)` of `y_l = h_{l-1} W_l + b_l`, and a skip, `h_l = h_{l-1} + s phi(z_l)`. Then
`dL/dz_l = s dL/dh_l phi'(z_l)`, `dL/dy_l` takes its place in the other two, and `dL/dh_{l-1}` has `dL/dh_l` added. A
branch of several layers is added at its last, `h_l = h_k + s z_l`, to the input `h_k` of its first, whose gradient
`dL/dh_k` has `dL/dh_l` added: the `stream` that both ways are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.blocks.norms import Norm
from initprobe.blocks.skips import PLAIN, Wiring
from initprobe.engine.products import has_equal_columns, multiplier
from initprobe.engine.streams import Purpose, Streams, stream_blocks
from initprobe.engine.threads import Workers, cached, row_blocks
from initprobe.initializers.record import Initializer

# Share of the exponents of a dtype that a gradient may use up before it is rescaled.
_ROOM = 0.35


@dataclass(frozen=True)
class Parameters:
    """A layer's weights `(fan_in, fan_out)` and bias `(fan_out,)`; None for a bias of zeros."""

    weight: Array
    bias: Array | None


def fillings(init: Initializer, streams: Streams, layer: int, weight: Array) -> list[Callable[[], None]]:
    """What fills `W_l` of shape `(fan_in, fan_out)` when called, in any order: blocks of rows with a stream each."""
    fans = weight.shape
    blocks = [slice(0, fans[0])] if init.distribution.whole else stream_blocks(*fans)

    def fill(rows: slice) -> None:
        rng = streams.generator(Purpose.WEIGHT, layer, rows.start)
        weight[rows] = init.sample(rng, (rows.stop - rows.start, fans[1]), fans, weight.dtype)

    return [partial(fill, rows) for rows in blocks]


def sample_bias(
    init: Initializer, streams: Streams, layer: int, fans: tuple[int, int], dtype: np.dtype[Any]
) -> Array | None:
    """`b_l` of shape `(fan_out,)`, or None where it is all zeros."""
    if not (init.mean or init.std(*fans)):
        return None
    return init.sample(streams.generator(Purpose.BIAS, layer), (1, fans[1]), fans, dtype).reshape(-1)


def forward(
    parameters: Parameters,
    activation: Activation,
    h_in: Array,
    out: tuple[Array, Array],
    workers: Workers,
    wiring: Wiring = PLAIN,
    stream: Array | None = None,
) -> Array | None:
    """One layer forward: from `h_in`, `(batch, fan_in)`, to `out = (z, h)`, both `(batch, fan_out)`.

    `stream` is what a branch that ends here is added to; None for `h_in`, that of a branch of one layer. What
    `backward` needs of the norm is the answer: its inverse standard deviations, or None without one.
    """
    z, h = out
    activation, given = wiring.acting(activation), h_in if stream is None else stream
    write_product = multiplier(parameters.weight, has_equal_columns(h_in.T))

    def multiply(rows: slice) -> None:
        write_product(h_in[rows], z[rows])
        if parameters.bias is not None:
            z[rows] += parameters.bias

    def work(rows: slice) -> None:
        if wiring.norm is None:
            multiply(rows)
        for part in cached(rows, z.shape[1]):
            _apply(activation, z[part], h[part])
            if wiring.skip is not None:
                h[part] *= wiring.skip
                h[part] += given[part]

    inverse, blocks = None, row_blocks(*z.shape)
    if wiring.norm is not None:
        workers.map(multiply, blocks)
        inverse = normalised(wiring.norm, z, workers)
    workers.map(work, blocks)
    return inverse


def _apply(activation: Activation, z: Array, out: Array) -> None:
    if isinstance(activation.value, np.ufunc):
        activation.value(z, out=out)
    else:
        out[...] = activation.value(z)


def normalised(norm: Norm, z: Array, workers: Workers) -> Array:
    """Normalise z in place; the inverse standard deviations."""
    parts = workers.map(lambda part: norm.forward(_part(z, norm, part)), _parts(z, norm))
    return np.concatenate(parts, axis=1 - norm.axis)


def _parts(z: Array, norm: Norm) -> list[slice]:
    """Blocks that a norm treats one by one: rows where it works along rows, else columns."""
    return row_blocks(*z.shape) if norm.axis else row_blocks(*z.shape[::-1])


def _part(array: Array, norm: Norm, part: slice) -> Array:
    return array[part] if norm.axis else array[:, part]


def _differentiate(
    rows: slice, activation: Activation, skip: float | None, passed: tuple[Array, Array], g: Array, delta: Array
) -> None:
    """Write `dL/dz = s dL/dh phi'(z)` of some rows to `delta`."""
    z, h = passed
    for part in cached(rows, g.shape[1]):
        value = h[part] if skip is None else activation.value(z[part])
        np.multiply(g[part], activation.slope(z[part], value), out=delta[part])
        if skip is not None:
            delta[part] *= skip


def backward(
    weight: Array | None,
    activation: Activation,
    passed: tuple[Array, Array],
    g: Array,
    out: tuple[Array, Array | None],
    workers: Workers,
    wiring: Wiring = PLAIN,
    inverse: Array | None = None,
    stream: Array | None = None,
) -> Array:
    """One layer back: from `g = dL/dh_l` to `out = (dL/dz_l, dL/dh_{l-1})`; dL/dy_l, which is dL/dz_l without a norm.

    `passed` are z and h, and `inverse` is what `forward` gave. Without a norm dL/dz_l may take the place of z. At the
    first layer, whose input needs no gradient, `weight` and the place of dL/dh_{l-1} are None. `stream` is dL/dh where
    the branch ends that begins here; None for `g`, that of a branch of one layer.
    """
    (z, h), (delta, below) = passed, out
    activation, around = wiring.acting(activation), g if stream is None else stream
    write_product = None if weight is None else multiplier(weight.T)

    def differentiate(rows: slice) -> None:
        _differentiate(rows, activation, wiring.skip, (z, h), g, delta)

    def pass_on(rows: slice) -> None:
        if write_product is not None and below is not None:
            write_product(inner[rows], below[rows])
            if wiring.opens:
                below[rows] += around[rows]

    def both(rows: slice) -> None:
        differentiate(rows)
        pass_on(rows)

    inner, blocks = delta, row_blocks(*g.shape)
    if wiring.norm is None:
        workers.map(both, blocks)
        return delta
    assert inverse is not None
    workers.map(differentiate, blocks)
    inner = delta.copy()
    denormalised(wiring.norm, inner, z, inverse, workers)
    workers.map(pass_on, blocks)
    return inner


def denormalised(norm: Norm, delta: Array, z: Array, inverse: Array, workers: Workers) -> None:
    """`dL/dz` to `dL/dy` in place."""

    def work(part: slice) -> None:
        norm.backward(*(_part(array, norm, part) for array in (delta, z, inverse)))

    workers.map(work, _parts(z, norm))


def growth(gradients: Sequence[Array], workers: Workers) -> int:
    """The power of two by which gradients have come near the limits of their dtype, to be divided by; else 0.

    Backpropagation is linear in the gradient, so that it may be carried in any unit: one for all of `gradients`.
    """
    peak = max(_peak(gradient, workers) for gradient in gradients)
    if not 0 < peak < math.inf:
        return 0
    exponent = math.frexp(peak)[1]
    return exponent if abs(exponent) > _ROOM * np.finfo(gradients[0].dtype).maxexp else 0


def _peak(gradient: Array, workers: Workers) -> float:
    blocks = row_blocks(*gradient.shape)
    return max(workers.map(lambda rows: max(-float(gradient[rows].min()), float(gradient[rows].max())), blocks))


def rescale(gradient: Array, exponent: int, workers: Workers) -> None:
    """Divide by `2^exponent`, in place."""
    workers.map(lambda rows: np.ldexp(gradient[rows], -exponent, out=gradient[rows]), row_blocks(*gradient.shape))
