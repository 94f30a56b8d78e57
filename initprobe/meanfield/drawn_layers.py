"""A few networks with norms and skips, drawn together: one batch forward and back, and the variances it shows.

Arrays are `(networks, rows, units)` in float32, as in a run. A batch norm may multiply gradients by 1e38. So they are
divided by their length at every layer, and logs of it are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from initprobe.activations.norms import EPSILON
from initprobe.activations.record import Activation
from initprobe.activations.skips import Wiring
from initprobe.arrays import Array
from initprobe.meanfield.drawn_rows import Rows
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.unit_variances import relative_variance

_SEED = 0
# Chosen: orthogonal weights of so few inputs or units are drawn for every network. This takes no longer than normal
# ones, and few numbers have few orders and signs.
_FEW = 16


class Logs(NamedTuple):
    """Logs of variances over units and samples, first layer to last, `(networks, layers)` each.

    Attributes:
        output: of h.
        preactivation: of z.
        correlation: no log, but the mean cosine between the z of two samples.
        output_gradient: of dL/dh.
        preactivation_gradient: of dL/dz.
        weight_gradient: of dL/dW, over all weights and per sample.
    """

    output: Array
    preactivation: Array
    correlation: Array
    output_gradient: Array
    preactivation_gradient: Array
    weight_gradient: Array


class _Passed(NamedTuple):
    """What a layer leaves for the way back.

    Attributes:
        weight: `(networks, inputs, units)`.
        below: its input.
        sums: of each row of its input over all features, `(networks, rows)`.
        z: pre-activations.
        slope: of the activation at z.
        inverse: inverse standard deviations of the norm; 1 without one.
    """

    weight: Array
    below: Array
    sums: Array
    z: Array
    slope: Array
    inverse: Array


class DrawnLayers:
    """Networks that are drawn together.

    Attributes:
        inverse: relative variance of 1/v in each layer of the first network, or 0, as in `unit_variances`.
    """

    def __init__(self, activation: Activation, layers: Sequence[Layer], wirings: Sequence[Wiring]) -> None:
        self._parts = list(zip(layers, wirings, strict=True))
        self._activation, self._count, self._rng = activation, 0, np.random.default_rng(_SEED)
        self._bases: dict[tuple[int, int], Array] = {}
        self.inverse: list[float] = []

    def logs(self, rows: Rows, count: int, seed: Sequence[int]) -> Logs:
        """The logs of the variances of every network.

        Args:
            rows: the input of all of them.
            count: of networks.
            seed: of the weights, which do not depend on the rows.
        """
        self._count, self._rng = count, np.random.default_rng(seed)
        passed: list[_Passed] = []
        forward = list(self._forward(rows, passed))
        self.inverse = self.inverse or [_inverse(*each) for each in zip(passed, self._parts, strict=True)]
        back = list(self._backward(passed))[::-1]
        columns = (*zip(*forward, strict=True), *zip(*back, strict=True))
        return Logs(*(np.stack(column, axis=1) for column in columns))

    def _forward(self, rows: Rows, passed: list[_Passed]) -> Iterator[tuple[Array, Array, Array]]:
        """The first three of `Logs`, layer by layer; adds to `passed`."""
        h: Array = np.broadcast_to(rows.x, (self._count, *rows.x.shape))
        sums: Array = np.broadcast_to(rows.sums, h.shape[:2])
        stream = h
        for number, (layer, wiring) in enumerate(self._parts):
            stream = h if wiring.opens else stream
            # In rotated features a weight is a sum over all inputs, and so normal.
            weight = self._weight(layer, h.shape[2], excess=layer.kurtosis - 3 if number else 0.0)
            z, inverse = _normalised(self._weighted(layer, weight, h, sums), wiring)
            acting = wiring.acting(self._activation)
            value = np.asarray(acting.value(z))
            passed.append(_Passed(weight, h, sums, z, np.asarray(acting.slope(z, value)), inverse))
            h = value if wiring.skip is None else stream + np.float32(wiring.skip) * value
            sums = h.sum(axis=2, dtype=float)
            yield np.log(_variance(h)), np.log(_variance(z)), _mean_cosine(z)

    def _weighted(self, layer: Layer, weight: Array, h: Array, sums: Array) -> Array:
        """Weighted sums of h and biases."""
        y = h @ weight
        if layer.weight_mean:
            y += (layer.weight_mean * sums[..., None]).astype(y.dtype)
        if layer.bias_variance or layer.bias_mean:
            y += self._bias(layer).astype(y.dtype)
        return np.asarray(y)

    def _bias(self, layer: Layer) -> Array:
        """Biases, `(networks, 1, units)`."""
        (shares, deviations), shape = layer.bias_rule, (self._count, 1, layer.n_out)
        drawn = self._rng.choice(deviations, shape, p=shares / shares.sum())
        normal = math.sqrt(layer.normal_bias_variance) * self._rng.standard_normal(shape)
        return np.asarray(layer.bias_mean + drawn + normal)

    def _weight(self, layer: Layer, inputs: int, excess: float) -> Array:
        """Deviations of the weights from their mean, with this excess kurtosis, `(networks, inputs, units)`."""
        if layer.orthogonal:
            return self._orthogonal(layer)
        shape = self._count, inputs, layer.n_out
        weight = self._rng.standard_normal(shape, dtype=np.float32)
        if excess < 0:
            # A normal plus a uniform number, which has this share of the variance: -1.2 share^2.
            share = min(math.sqrt(-excess / 1.2), 1.0)
            weight *= np.float32(math.sqrt(1 - share))
            weight += np.float32(math.sqrt(12 * share)) * (self._rng.random(shape, dtype=np.float32) - np.float32(0.5))
        elif excess > 0:
            share = 3 / (3 + excess)
            weight *= (self._rng.random(shape, dtype=np.float32) < share) / np.float32(math.sqrt(share))
        weight *= np.float32(math.sqrt(layer.weight_variance))
        return weight

    def _orthogonal(self, layer: Layer) -> Array:
        """Orthogonal weights: mostly one random base per shape, whose rows are shuffled; and all change signs."""
        fans = layer.n_in, layer.n_out
        if min(fans) <= _FEW:
            weight = _base(fans, self._count, self._rng)
        else:
            if fans not in self._bases:
                self._bases[fans] = _base(fans, 1, np.random.default_rng((_SEED, *fans)))[0]
            weight = np.stack([self._bases[fans][self._rng.permutation(fans[0])] for _ in range(self._count)])
        for axis, size in ((2, fans[0]), (1, fans[1])):
            weight *= np.expand_dims(self._rng.choice(np.array([-1, 1], np.float32), (self._count, size)), axis)
        weight *= np.float32(math.sqrt(layer.weight_variance * max(fans)))
        return np.asarray(weight)

    def _backward(self, passed: Sequence[_Passed]) -> Iterator[tuple[Array, Array, Array]]:
        """The last three of `Logs`, last layer to first."""
        gradient: Array = self._rng.standard_normal(passed[-1].z.shape, dtype=np.float32)
        around: Array = gradient
        size = np.zeros(self._count)
        for (layer, wiring), here in zip(reversed(self._parts), reversed(passed), strict=True):
            of_h, delta = size + np.log(_variance(gradient)), gradient * here.slope
            if wiring.skip is not None:
                around = gradient
                delta *= np.float32(wiring.skip)
            of_z = size + np.log(_variance(delta))
            inner = _behind_norm(delta, here, wiring)
            yield of_h, of_z, size + np.log(_of_weights(inner, here, layer))
            gradient = _below(inner, here, layer)
            gradient = gradient + around if wiring.opens else gradient
            scale = np.sqrt(_mean_square(gradient))
            gradient = np.asarray(gradient / scale[:, None, None].astype(np.float32))
            if wiring.span > 1 and not wiring.opens:
                around = np.asarray(around / scale[:, None, None].astype(np.float32))
            size = size + 2 * np.log(scale)


def _base(fans: tuple[int, int], count: int, rng: np.random.Generator) -> Array:
    """Matrices with orthonormal rows or columns, whichever are fewer, `(count, inputs, units)`."""
    base = np.linalg.qr(rng.standard_normal((count, max(fans), min(fans))))[0]
    return np.asarray((base if fans[0] >= fans[1] else base.swapaxes(1, 2)).astype(np.float32))


def _below(inner: Array, here: _Passed, layer: Layer) -> Array:
    """dL/dh of a layer's input by way of its weights, from dL/dy."""
    gradient = inner @ here.weight.swapaxes(1, 2)
    if layer.weight_mean:
        gradient += (layer.weight_mean * inner.sum(axis=2, dtype=float))[..., None].astype(np.float32)
    return np.asarray(gradient)


def _inverse(here: _Passed, part: tuple[Layer, Wiring]) -> float:
    """The relative variance of 1/v in the first network."""
    layer, wiring = part
    is_needed = wiring.by_batch and layer.weight_mean != 0
    return relative_variance(here.below[0], here.sums[0], layer) if is_needed else 0.0


def _normalised(y: Array, wiring: Wiring) -> tuple[Array, Array]:
    """z, in the place of y, and the inverse standard deviations of the norm."""
    if wiring.norm is None:
        return y, np.ones(1, np.float32)
    axis = 1 if wiring.by_batch else 2
    y -= y.mean(axis=axis, keepdims=True)
    inverse = 1 / np.sqrt(np.mean(y * y, axis=axis, keepdims=True) + np.float32(EPSILON))
    y *= inverse
    return y, inverse


def _behind_norm(delta: Array, here: _Passed, wiring: Wiring) -> Array:
    """dL/dy from dL/dz, in its place."""
    if wiring.norm is None:
        return delta
    axis = 1 if wiring.by_batch else 2
    along = np.mean(delta * here.z, axis=axis, keepdims=True)
    delta -= delta.mean(axis=axis, keepdims=True)
    delta -= here.z * along
    delta *= here.inverse
    return delta


def _mean_square(values: Array) -> Array:
    """Mean square over rows and units, `(networks,)`."""
    flat = values.reshape(len(values), -1)
    return np.asarray(np.vecdot(flat, flat).astype(float) / flat.shape[1])


def _variance(values: Array) -> Array:
    """Variance over rows and units, `(networks,)`."""
    return np.asarray(_mean_square(values) - values.reshape(len(values), -1).mean(axis=1, dtype=float) ** 2)


def _of_weights(inner: Array, here: _Passed, layer: Layer) -> Array:
    """Variance over all weights of their gradient, per sample, `(networks,)`."""
    rows, features = inner.shape[1], here.below.shape[2]
    if rows < min(features, layer.n_out):
        flat = [(of @ of.swapaxes(1, 2)).reshape(len(of), -1) for of in (here.below, inner)]
        total = np.vecdot(*flat).astype(float)
    else:
        product = here.below.swapaxes(1, 2) @ inner
        total = _mean_square(product) * product[0].size
    mean = np.vecdot(here.sums, inner.sum(axis=2, dtype=float)) / (layer.n_in * layer.n_out)
    return np.asarray((total / (layer.n_in * layer.n_out) - mean**2) / rows)


def _mean_cosine(z: Array) -> Array:
    """Mean cosine between the z of two different rows, `(networks,)`."""
    length = np.sqrt(np.vecdot(z, z))
    total = np.divide(1, length, out=np.zeros_like(length), where=length > 0)[:, None] @ z
    rows = z.shape[1]
    pairs = np.vecdot(total[:, 0], total[:, 0]).astype(float) - (length > 0).sum(axis=1)
    return np.asarray(pairs / (rows * max(rows - 1, 1)))
