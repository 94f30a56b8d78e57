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
    """Mean squares of the parts of a gradient as functions of x, up to a common factor; `(parts, samples)` each.

    Attributes:
        value: at `x = 0`, to leading order.
        first: first derivative by x.
        second: second derivative by x.
        correction: to the value, to first order in 1/width.
    """

    value: Array
    first: Array
    second: Array
    correction: Array

    @classmethod
    def start(cls, units: int, samples: int) -> _Gradient:
        """Of independent entries."""
        ones, zeros = np.ones(samples), np.zeros((2, samples))
        return cls(np.array([ones, ones / units]), zeros, zeros, zeros)

    def sum(self, *weights: float) -> _Gradient:
        """The weighted sum of the parts."""
        return _Gradient(*(np.array(weights) @ values for values in self))

    def with_length(self) -> _Gradient:
        """The product with `exp(x)`, which is the mean square of h below in units of its mean."""
        first, second = self.first + self.value, self.second + 2 * self.first + self.value
        return _Gradient(self.value, first, second, self.correction)

    def bias(self, mean: Array, variance: Array, shares: Array) -> float:
        """Relative bias of the mean over samples, from the mean and the variance of x, `(samples,)` each."""
        added = self.correction + self.first * mean + self.second * variance / 2
        return float(np.divide(shares @ added, shares @ self.value))

    def below(self, maps: Sequence[Array], length: LengthMap, unit_noise: float) -> _Gradient:
        """The gradient below a layer.

        Args:
            maps: `Entries` as matrices, `(parts below, parts, samples)` each.
            length: of the layer, `(samples,)` each.
            unit_noise: of its weights. Units of long weights have a large z, and pass more of their gradient back.
        """
        value, first, second, offset, with_length = maps
        lifted = self.first * length.offset + self.second * length.noise / 2 + self.correction
        bent = self.first * length.bend + self.second * length.slope**2
        passed_on = np.ones((len(value), 1))
        passed_on[-1] = 0  # what runs along h does not depend on the rest of the weights
        return _Gradient(
            _through(value, self.value),
            _through(first, self.value) + _through(value, self.first * length.slope),
            _through(second, self.value) + 2 * _through(first, self.first * length.slope) + _through(value, bent),
            _through(offset, self.value)
            + _through(value, lifted)
            + _through(with_length, self.first)
            + unit_noise * passed_on * _through(first, self.value),
        )

    def scaled(self) -> tuple[_Gradient, Array]:
        """The gradient with values that sum to 1 for each sample, and these sums."""
        sums = self.value.sum(axis=0)
        divisor = np.where(sums > 0, sums, 1.0)
        return _Gradient(*(values / divisor for values in self)), divisor


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
    gradient = _Gradient.start(layers[-1].n_out, len(shares))
    for k, layer in reversed(list(enumerate(layers))):
        outputs[k] = gradient.sum(1 - 1 / layer.n_out, 1.0).bias(means[k + 1], variances[k + 1], shares)
        length = LengthMap(*(values[k] for values in lengths))
        below = gradient.below([_matrix(layer, entry[:, k]) for entry in entries], length, layer.unit_noise)
        delta, here = below.sum(1.0, 0.0, 0.0), (means[k], variances[k])
        deltas[k] = delta.bias(*here, shares)
        weights[k] = delta.with_length().bias(*here, shares * length.below)
        gradient, sums = _Gradient(*(values[1:] for values in below)).scaled()
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


def _through(matrix: Array, parts: Array) -> Array:
    """The product for every sample."""
    return np.asarray(np.einsum("rps,ps->rs", matrix, parts))


def _matrix(layer: Layer, entry: Array) -> Array:
    """The map from the two parts to the mean square of dL/dz and to the parts below, `(3, 2, samples)`.

    Orthogonal weights keep the length of dL/dz: what they pass back along h is missing from the noise.

    Args:
        layer: rules of its weights.
        entry: D, R, P and Q, `(4, samples)`, or an order of their expansion.
    """
    slopes, weighted, rise, pull = entry
    delta = np.array([slopes - weighted / layer.n_out, weighted])
    along = np.array([(pull - rise) / layer.n_out, rise])
    noise = delta
    if layer.orthogonal and min(layer.n_in, layer.n_out) >= 2:
        kept = min(layer.n_out / layer.n_in, 1.0)
        noise = (delta - kept * along) / (1 - 1 / max(layer.n_in, layer.n_out))
    return np.array([delta, noise, along * layer.n_out / layer.n_in])
