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
    """Mean squares of the parts of a gradient as functions of x, up to a common factor.

    Attributes:
        orders: `(4, parts, samples)`. The value at `x = 0`, to leading order; its first derivative by x; its second;
            and what first order in 1/width adds to the value.
    """

    orders: Array

    @classmethod
    def start(cls, units: int, samples: int) -> _Gradient:
        """Of independent entries."""
        orders = np.zeros((4, 2, samples))
        orders[0] = np.array([[1.0], [1 / units]])
        return cls(orders)

    def sum(self, *weights: float) -> _Gradient:
        """The weighted sum of the parts."""
        return _Gradient(np.array(weights) @ self.orders)

    def with_length(self) -> _Gradient:
        """The product with `exp(x)`, which is the mean square of h below in units of its mean."""
        value, first, second, correction = self.orders
        return _Gradient(np.array([value, first + value, second + 2 * first + value, correction]))

    def bias(self, mean: Array, variance: Array, shares: Array) -> float:
        """Relative bias of the mean over samples, from the mean and the variance of x, `(samples,)` each."""
        value, first, second, correction = self.orders
        added = correction + first * mean + second * variance / 2
        return float(np.divide(shares @ added, shares @ value))

    def below(self, maps: Array, length: LengthMap, unit_noise: float) -> _Gradient:
        """The gradient below a layer.

        Args:
            maps: those of `_PRODUCTS` as matrices, `(products, parts below, parts, samples)`.
            length: of the layer, `(samples,)` each.
            unit_noise: of its weights. Units of long weights have a large z, and pass more of their gradient back.
        """
        value, first, second, correction = self.orders
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
        return _Gradient(below)

    def scaled(self) -> tuple[_Gradient, Array]:
        """The gradient with values that sum to 1 for each sample, and these sums."""
        sums = self.orders[0].sum(axis=0)
        divisor = np.where(sums > 0, sums, 1.0)
        return _Gradient(self.orders / divisor), divisor


# Which `Entries` each product of `_Gradient.below` takes: value, first, second, offset or with_length.
_PRODUCTS = [0, 1, 0, 2, 1, 0, 3, 0, 4]


def gradient_biases(activation: Activation, layers: Sequence[Layer], states: Sequence[State]) -> GradientBiases:
    """The biases of all layers, averaged over samples: each sample of a batch has the bias of a single sample.

    Args:
        activation: of all layers.
        layers: rules of the weights, which have no mean.
        states: their pre-activations.
    """
    entries, lengths = gradient_maps(activation, layers, states)
    (means, variances), shares = _deviations(lengths), states[0].sample_shares
    outputs, deltas, weights = np.empty((3, len(layers)))
    gradient, maps = _Gradient.start(layers[-1].n_out, len(shares)), _matrices(layers, np.array(entries))[_PRODUCTS]
    for k, layer in reversed(list(enumerate(layers))):
        outputs[k] = gradient.sum(1 - 1 / layer.n_out, 1.0).bias(means[k + 1], variances[k + 1], shares)
        length = LengthMap(*(values[k] for values in lengths))
        below = gradient.below(maps[:, k], length, layer.unit_noise)
        delta, here = below.sum(1.0, 0.0, 0.0), (means[k], variances[k])
        deltas[k] = delta.bias(*here, shares)
        weights[k] = delta.with_length().bias(*here, shares * length.below)
        gradient, sums = _Gradient(below.orders[:, 1:]).scaled()
        shares = shares * (sums / sums.max())
    return GradientBiases(outputs, deltas, weights)


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
