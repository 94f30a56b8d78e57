"""One layer of the network, forward and back: `forward`, `backward`, and the drawing of its weights. Start here.

Rows are samples: `z_l = h_{l-1} W_l + b_l`, `h_l = phi(z_l)`, with `W_l` of shape `(fan_in, fan_out)`. Backward,
`dL/dz_l = dL/dh_l phi'(z_l)`, `dL/dh_{l-1} = dL/dz_l W_l'`, and `dL/dW_l = h_{l-1}' dL/dz_l`, summed over samples.

A `Wiring` can add two things:

- a norm: `z_l = norm(y_l)` of `y_l = h_{l-1} W_l + b_l`. Then dL/dy_l takes the place of dL/dz_l in dL/dh_{l-1} and
  dL/dW_l.
- a skip: `h_l = h_{l-1} + s phi(z_l)`. Then `dL/dz_l = s dL/dh_l phi'(z_l)`, and dL/dh_l is added to dL/dh_{l-1}.

A branch of several layers ends with `h_l = h_k + s z_l`, where `h_k` is the input of its first layer. So dL/dh_l is
added to dL/dh_k. The argument `stream` carries h_k forward and dL/dh_l back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from initprobe.activations.norms import Norm
from initprobe.activations.record import Activation
from initprobe.activations.skips import PLAIN, Wiring
from initprobe.arrays import Array
from initprobe.engine.products import has_equal_columns, multiplier
from initprobe.engine.streams import Purpose, Streams, stream_blocks
from initprobe.engine.threads import SMALL, Workers, cached, row_blocks
from initprobe.initializers.record import Initializer

# A gradient is rescaled once its exponent has used up this share of the exponents of its dtype.
_ROOM = 0.35
# No exponent is near that share where a sum of squares of at most `SMALL` entries lies between these limits: then the
# largest entry lies between 2^-34 and 2^25.
_PLAIN_LOW, _PLAIN_HIGH = 2.0**-50, 2.0**50


class Parameters(NamedTuple):
    """The weights `(fan_in, fan_out)` and the bias `(fan_out,)` of a layer; None for a bias of zeros."""

    weight: Array
    bias: Array | None


class Layer(NamedTuple):
    """All that defines one layer.

    Attributes:
        parameters: its weights and bias.
        activation: the activation of the network.
        wiring: what surrounds the activation.
    """

    parameters: Parameters
    activation: Activation
    wiring: Wiring = PLAIN

    @property
    def weight(self) -> Array:
        """The weights, `(fan_in, fan_out)`."""
        return self.parameters.weight

    @property
    def bias(self) -> Array | None:
        """The bias, `(fan_out,)`, or None for zeros."""
        return self.parameters.bias

    @property
    def phi(self) -> Activation:
        """The activation of this layer, which is the identity at the end of a branch of several layers."""
        return self.wiring.acting(self.activation)


class Passed(NamedTuple):
    """What the forward pass leaves for the backward pass.

    Attributes:
        z: pre-activations, `(batch, fan_out)`.
        h: outputs, `(batch, fan_out)`.
        inverse: inverse standard deviations of the norm; None without a norm.
    """

    z: Array
    h: Array
    inverse: Array | None = None


class Gradients(NamedTuple):
    """The gradients at one layer; the first is read, the others are written.

    Attributes:
        output: dL/dh_l, `(batch, fan_out)`.
        preactivation: room for dL/dz_l, `(batch, fan_out)`; without a norm it may be z itself.
        below: room for dL/dh_{l-1}, `(batch, fan_in)`; None at the first layer, whose input needs no gradient.
    """

    output: Array
    preactivation: Array
    below: Array | None


def fillings(init: Initializer, streams: Streams, layer: int, weight: Array) -> list[Callable[[], None]]:
    """Functions that fill `W_l`, of shape `(fan_in, fan_out)`, when called in any order.

    Each fills a block of rows from a random stream of its own.

    Args:
        init: of the weights.
        streams: of the draw.
        layer: its number, from 1.
        weight: the array to fill.
    """
    fans = weight.shape
    blocks = [slice(0, fans[0])] if init.distribution.whole else stream_blocks(*fans)

    def fill(rows: slice) -> None:
        rng = streams.generator(Purpose.WEIGHT, layer, rows.start)
        weight[rows] = init.sample(rng, (rows.stop - rows.start, fans[1]), fans, weight.dtype)

    return [partial(fill, rows) for rows in blocks]


def sample_bias(
    init: Initializer, streams: Streams, layer: int, fans: tuple[int, int], dtype: np.dtype[Any]
) -> Array | None:
    """`b_l` of shape `(fan_out,)`, or None where it is all zeros.

    Args:
        init: of the biases.
        streams: of the draw.
        layer: its number, from 1.
        fans: fan_in and fan_out.
        dtype: of the result.
    """
    if not (init.mean or init.std(*fans)):
        return None
    return init.sample(streams.generator(Purpose.BIAS, layer), (1, fans[1]), fans, dtype).reshape(-1)


def forward(
    layer: Layer, h_in: Array, out: tuple[Array, Array], workers: Workers, stream: Array | None = None
) -> Passed:
    """One layer forward.

    Args:
        layer: its parameters, activation and wiring.
        h_in: outputs of the layer below, `(batch, fan_in)`.
        out: room for z and h, both `(batch, fan_out)`.
        workers: the threads.
        stream: what the branch that ends here is added to; None for `h_in`, that of a branch of one layer.

    Returns:
        z, h and what `backward` needs of the norm.
    """
    z, h = out
    phi, wiring, added = layer.phi, layer.wiring, h_in if stream is None else stream
    write_product = multiplier(layer.weight, has_equal_columns(h_in.T))

    def multiply(rows: slice) -> None:
        write_product(h_in[rows], z[rows])
        if layer.bias is not None:
            z[rows] += layer.bias

    def activate(rows: slice) -> None:
        if wiring.norm is None:
            multiply(rows)
        for part in cached(rows, z.shape[1]):
            _apply(phi, z[part], h[part])
            if wiring.skip is not None:
                h[part] *= wiring.skip
                h[part] += added[part]

    inverse, blocks = None, row_blocks(*z.shape)
    if wiring.norm is not None:
        workers.map(multiply, blocks)
        inverse = normalised(wiring.norm, z, workers)
    workers.map(activate, blocks)
    return Passed(z, h, inverse)


def _apply(activation: Activation, z: Array, out: Array) -> None:
    if isinstance(activation.value, np.ufunc):
        activation.value(z, out=out)
    else:
        out[...] = activation.value(z)


def normalised(norm: Norm, z: Array, workers: Workers) -> Array:
    """Normalise z in place.

    Args:
        norm: which axes it normalises.
        z: pre-activations, `(batch, fan_out)`.
        workers: threads.

    Returns:
        The inverse standard deviations.
    """
    parts = workers.map(lambda part: norm.forward(_part(z, norm, part)), _parts(z, norm))
    return np.concatenate(parts, axis=1 - norm.axis)


def _parts(z: Array, norm: Norm) -> list[slice]:
    """Blocks that a norm can treat one by one: rows where it works along rows, else columns."""
    return row_blocks(*z.shape) if norm.axis else row_blocks(*z.shape[::-1])


def _part(array: Array, norm: Norm, part: slice) -> Array:
    return array[part] if norm.axis else array[:, part]


def backward(
    layer: Layer, passed: Passed, gradients: Gradients, workers: Workers, stream: Array | None = None
) -> Array:
    """One layer back: from dL/dh_l to dL/dz_l and dL/dh_{l-1}, both written to `gradients`.

    Args:
        layer: its parameters, activation and wiring.
        passed: what `forward` returned.
        gradients: dL/dh_l, and room for the other two.
        workers: the threads.
        stream: dL/dh at the end of the branch that begins here. None for dL/dh_l, that of a branch of one layer.

    Returns:
        dL/dy_l, from which dL/dW_l follows: the array of dL/dz_l without a norm, else a new one.
    """
    wiring, delta, below = layer.wiring, gradients.preactivation, gradients.below
    around = gradients.output if stream is None else stream
    write_product = None if below is None else multiplier(layer.weight.T)

    def differentiate(rows: slice) -> None:
        _differentiate(rows, layer, passed, gradients)

    def pass_on(rows: slice) -> None:
        if write_product is not None and below is not None:
            write_product(inner[rows], below[rows])
            if wiring.opens:
                below[rows] += around[rows]

    def both(rows: slice) -> None:
        differentiate(rows)
        pass_on(rows)

    inner, blocks = delta, row_blocks(*delta.shape)
    if wiring.norm is None:
        workers.map(both, blocks)
        return delta
    workers.map(differentiate, blocks)
    inner = delta.copy()
    denormalised(wiring.norm, inner, passed, workers)
    workers.map(pass_on, blocks)
    return inner


def _differentiate(rows: slice, layer: Layer, passed: Passed, gradients: Gradients) -> None:
    """Write `dL/dz = s dL/dh phi'(z)` of some rows."""
    phi, skip, (z, h, _) = layer.phi, layer.wiring.skip, passed
    g, delta = gradients.output, gradients.preactivation
    for part in cached(rows, g.shape[1]):
        value = h[part] if skip is None else phi.value(z[part])
        np.multiply(g[part], phi.slope(z[part], value), out=delta[part])
        if skip is not None:
            delta[part] *= skip


def denormalised(norm: Norm, delta: Array, passed: Passed, workers: Workers) -> None:
    """Turn dL/dz into dL/dy, in place.

    Args:
        norm: which norm.
        delta: dL/dz, `(batch, fan_out)`, which is overwritten.
        passed: z and the inverse deviation of the forward pass.
        workers: the threads.
    """
    z, inverse = passed.z, passed.inverse
    assert inverse is not None

    def work(part: slice) -> None:
        norm.backward(*(_part(array, norm, part) for array in (delta, z, inverse)))

    workers.map(work, _parts(z, norm))


def growth(gradients: Sequence[Array], workers: Workers) -> int:
    """The exponent of a power of two that divides gradients near the limits of their dtype; else 0.

    Backpropagation is linear in the gradient, so it may be carried in any unit. All of `gradients` get the same.

    Args:
        gradients: of a layer, each `(batch, units)`.
        workers: threads.
    """
    if all(_PLAIN_LOW < _squares(gradient) < _PLAIN_HIGH for gradient in gradients):
        return 0
    peak = max(_peak(gradient, workers) for gradient in gradients)
    if not 0 < peak < math.inf:
        return 0
    exponent = math.frexp(peak)[1]
    return exponent if abs(exponent) > _ROOM * np.finfo(gradients[0].dtype).maxexp else 0


def _squares(gradient: Array) -> float:
    """The sum of squares of a small gradient, which takes a third of the time of its extremes. NaN for a large one."""
    return float(np.vdot(gradient, gradient)) if gradient.size <= SMALL else math.nan


def _peak(gradient: Array, workers: Workers) -> float:
    blocks = row_blocks(*gradient.shape)
    return max(workers.map(lambda rows: max(-float(gradient[rows].min()), float(gradient[rows].max())), blocks))


def rescale(gradient: Array, exponent: int, workers: Workers) -> None:
    """Divide by `2^exponent`, in place.

    Args:
        gradient: `(batch, units)`.
        exponent: of the power of two.
        workers: threads.
    """
    workers.map(lambda rows: np.ldexp(gradient[rows], -exponent, out=gradient[rows]), row_blocks(*gradient.shape))
