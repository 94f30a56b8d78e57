"""The bias of a gradient's mean square at finite width against `backward`, to first order in 1/width.

`backward` splits the gradient of one sample into a noise N and a part K along h. For given signals, a layer maps the
two linearly. With means over its n units, and `r = phi / sqrt(S)` with S the mean square of phi in the same units,

    N' = N (D - R/n) + K R        D = mean phi'^2           R = mean (phi' r)^2
    K' = N (Q - P)/n + K P        P = (mean y phi' r)^2     Q = mean (y phi')^2

up to a common factor; y is what the weights give to z, scaled to variance 1. The signal of one sample is a Markov chain
in the log deviation x of S from its mean. The S below gives the variance of z. So the mean gradient, for given x, obeys
a recursion from the last layer down. It is expanded to second order in x, with the noise of n units. So it has the
whole first order in 1/width, for any activation and with biases. Where the part along h exceeds the noise, its
fluctuations count.

Derived here, and tested against random networks. Hanin & Nica 2020, arXiv:1812.05994, have ReLU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.gradient_maps import LengthMap, gradient_maps
from initprobe.meanfield.layer import Layer, State


class GradientBiases(NamedTuple):
    """`E[measured] / theory - 1` of mean squares, `(layers,)` each, first to last.

    Attributes:
        output: of dL/dh.
        preactivation: of dL/dz.
        weight: of dL/dW.
    """

    output: Array
    preactivation: Array
    weight: Array


class _Gradient(NamedTuple):
    """Mean squares of a gradient at every layer as functions of x, up to a common factor.

    Attributes:
        orders: `(4, layers, samples)`. The value at `x = 0`, to leading order; its first derivative by x; its second;
            and what first order in 1/width adds to the value.
    """

    orders: Array

    def with_length(self) -> _Gradient:
        """The product with `exp(x)`, which is the mean square of h below in units of its mean."""
        value, first, second, correction = self.orders
        return _Gradient(np.array([value, first + value, second + 2 * first + value, correction]))

    def bias(self, mean: Array, variance: Array, shares: Array) -> Array:
        """Relative bias of the mean over samples, `(layers,)`, from mean and variance of x, `(layers, samples)`."""
        value, first, second, correction = self.orders
        added = correction + first * mean + second * variance / 2
        return np.asarray(np.vecdot(shares, added) / np.vecdot(shares, value))


def _start(units: int, samples: int) -> Array:
    """The two parts of independent entries, `(4, parts, samples)`, as the orders of `_Gradient`."""
    orders = np.zeros((4, 2, samples))
    orders[0] = np.array([[1.0], [1 / units]])
    return orders


def _below(orders: Array, maps: Array, length: LengthMap, unit_noise: float) -> Array:
    """The mean square of dL/dz and the parts of the gradient below a layer, `(4, 3, samples)`.

    Args:
        orders: the parts of the gradient, `(4, parts, samples)`.
        maps: those of `_PRODUCTS` as matrices, `(products, parts below, parts, samples)`.
        length: of the layer, `(samples,)` each.
        unit_noise: of its weights. Units of long weights have a large z, and pass more of their gradient back.
    """
    value, first, second, correction = orders
    lifted = first * length.offset + second * length.noise / 2 + correction
    bent = first * length.bend + second * length.slope**2
    moved = first * length.slope
    parts = np.array([value, value, moved, value, moved, bent, value, lifted, first])
    products = np.einsum("krps,kps->krs", maps, parts)  # in one call: thousands of them would take long
    below = products[[0, 1, 3, 6]]
    below[1] += products[2]
    below[2] += 2 * products[4]
    below[2] += products[5]
    below[3] += products[7]
    below[3] += products[8]
    below[3, :-1] += unit_noise * products[1, :-1]  # what runs along h does not depend on the rest of the weights
    return np.asarray(below)


# Which `Entries` each product of `_below` takes: value, first, second, offset or with_length.
_PRODUCTS = [0, 1, 0, 2, 1, 0, 3, 0, 4]


def gradient_biases(activation: Activation, layers: Sequence[Layer], states: Sequence[State]) -> GradientBiases:
    """The biases of all layers, averaged over samples: each sample of a batch has the bias of a single sample.

    Args:
        activation: of all layers.
        layers: rules of the weights, which have no mean.
        states: their pre-activations.
    """
    entries, lengths = gradient_maps(activation, layers, states)
    means, variances = _deviations(lengths)
    parts, deltas, shares = _passed_back(layers, _matrices(layers, np.array(entries))[_PRODUCTS], lengths, states[0])
    units = np.array([[layer.n_out] for layer in layers])
    outputs = _Gradient((1 - 1 / units) * parts[:, :, 0] + parts[:, :, 1])
    here, delta = (means[:-1], variances[:-1]), _Gradient(deltas)
    return GradientBiases(
        outputs.bias(means[1:], variances[1:], shares),
        delta.bias(*here, shares),
        delta.with_length().bias(*here, shares * lengths.below),
    )


def _passed_back(layers: Sequence[Layer], maps: Array, lengths: LengthMap, first: State) -> tuple[Array, Array, Array]:
    """The parts of dL/dh and the mean square of dL/dz at each layer, and the shares of the samples.

    Each layer has its own common factor.

    Args:
        layers: rules of the weights.
        maps: those of `_PRODUCTS` as matrices, `(products, layers, parts below, parts, samples)`.
        lengths: of every layer.
        first: pre-activations of the first layer.

    Returns:
        Of shapes `(4, layers, parts, samples)`, `(4, layers, samples)` and `(layers, samples)`.
    """
    shares = np.empty((len(layers), maps.shape[-1]))
    share, orders = first.sample_shares, _start(layers[-1].n_out, maps.shape[-1])
    parts, deltas = np.empty((4, len(layers), *orders.shape[1:])), np.empty((4, *shares.shape))
    for k, length in reversed(list(enumerate(zip(*lengths, strict=True)))):
        parts[:, k], shares[k] = orders, share
        below = _below(orders, maps[:, k], LengthMap(*length), layers[k].unit_noise)
        deltas[:, k] = below[:, 0]
        sums = below[0, 1:].sum(axis=0)
        orders = below[:, 1:] / np.where(sums > 0, sums, 1.0)
        share = share * (sums / sums.max())
    return parts, deltas, shares


def _deviations(lengths: LengthMap) -> tuple[Array, Array]:
    """Mean and variance of x at the input and above every layer, `(layers + 1, samples)` each."""
    mean, variance = np.zeros((2, *lengths.slope[0].shape))
    means, variances = [mean], [variance]
    for slope, bend, noise, offset in zip(*lengths[:4], strict=True):
        mean, variance = slope * mean + bend * variance / 2 + offset, slope**2 * variance + noise
        means.append(mean)
        variances.append(variance)
    return np.array(means), np.array(variances)


def _matrices(layers: Sequence[Layer], entries: Array) -> Array:
    """The maps from the two parts to the mean square of dL/dz and to the parts below.

    Their shape is `(orders, layers, 3, 2, samples)`.

    Orthogonal weights keep the length of dL/dz: what they pass back along h is missing from the noise.

    Args:
        layers: rules of the weights.
        entries: D, R, P and Q of each order of `Entries`, `(orders, 4, layers, samples)`.
    """
    n_in, n_out = np.array([(layer.n_in, layer.n_out) for layer in layers], float).T[:, :, None]
    slopes, weighted, rise, pull = entries.swapaxes(0, 1)
    delta = np.array([slopes - weighted / n_out, weighted])
    along = np.array([(pull - rise) / n_out, rise])
    is_kept = np.array([[layer.orthogonal and min(layer.n_in, layer.n_out) >= 2] for layer in layers])
    kept, largest = np.minimum(n_out / n_in, 1.0), np.where(is_kept, np.maximum(n_in, n_out), 2.0)
    noise = np.where(is_kept, (delta - kept * along) / (1 - 1 / largest), delta)
    return np.moveaxis(np.array([delta, noise, along * n_out / n_in]), (0, 1), (2, 3))
