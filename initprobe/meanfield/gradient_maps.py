"""The effect of one finite layer on the two parts of a gradient and on the length of the signal.

See `gradient_bias` for the recursion that these maps serve. All numbers are for one sample, given the log deviation x
of the mean square of h below the layer. They are expanded to second order in x and to first order in 1/width.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array, Scratch
from initprobe.meanfield.correlated_pairs import hermite_grid
from initprobe.meanfield.layer import Groups, Layer, State, layer_batches, stacked
from initprobe.meanfield.unit_noise import free_share

# Projections of `f(z) y^j` on He_0, He_2 and He_4 of y: pairs of an order k, for `E[f He_k(y)]`, and a factor.
_PROJECTIONS = (
    (((0, 1),), ((2, 1),), ((4, 1),)),
    (((1, 1),), ((3, 1), (1, 2)), ((5, 1), (3, 4))),
    (((2, 1), (0, 1)), ((4, 1), (2, 5), (0, 2)), ((6, 1), (4, 9), (2, 12))),
)
_ORDERS = 7
# Products of phi and phi' whose means are taken: the power of each.
_POWERS = ((2, 0), (1, 1), (0, 2), (4, 0), (3, 1), (2, 2), (4, 2))
_values = Scratch()


class Entries(NamedTuple):
    """The coefficients D, R, P and Q of stacked layers, `(4, layers, samples)` each, in powers of x and of 1/width.

    Attributes:
        value: at infinite width and `x = 0`.
        first: their derivatives by x.
        second: their second derivatives.
        offset: what finite width adds to their mean.
        with_length: their covariance with x above the layer.
    """

    value: Array
    first: Array
    second: Array
    offset: Array
    with_length: Array


class LengthMap(NamedTuple):
    """How x above a layer follows from x below it, `(layers, samples)` each.

    Attributes:
        slope: its first derivative by x below.
        bend: its second derivative.
        noise: its variance, for given x below.
        offset: its mean at `x = 0`.
        below: mean square of h below the layer, up to a common factor.
    """

    slope: Array
    bend: Array
    noise: Array
    offset: Array
    below: Array


def gradient_maps(
    activation: Activation, layers: Sequence[Layer], states: Sequence[State]
) -> tuple[Entries, LengthMap]:
    """The maps of all layers, first to last.

    Args:
        activation: of all layers.
        layers: rules of the weights, which have no mean.
        states: their pre-activations.
    """
    remaining = iter(layers)
    parts = [
        _stack(activation, list(itertools.islice(remaining, len(batch))), batch)
        for batch in layer_batches(states, len(hermite_grid().z))
    ]
    entries, lengths = zip(*parts, strict=True)
    return (
        Entries(*(np.concatenate(column, axis=1) for column in zip(*entries, strict=True))),
        LengthMap(*(np.concatenate(column) for column in zip(*lengths, strict=True))),
    )


class _Series(NamedTuple):
    """A function of x to second order: its value and its first two derivatives at 0, arrays of one shape."""

    value: Array
    first: Array
    second: Array

    def squared(self) -> _Series:
        value, first, second = self
        return _Series(value * value, 2 * value * first, 2 * (first * first + value * second))

    def over(self, other: _Series) -> _Series:
        divisor = _positive(other.value)
        value = self.value / divisor
        first = (self.first - value * other.first) / divisor
        return _Series(value, first, (self.second - 2 * first * other.first - value * other.second) / divisor)


class _Mean(NamedTuple):
    """The mean over units of a function `f(z) y^power`, and its means with the Hermite polynomials of y.

    Attributes:
        power: of y.
        value: the mean, `(layers, samples)`.
        second: with He_2(y).
        fourth: with He_4(y).
    """

    power: int
    value: Array
    second: Array
    fourth: Array

    def series(self) -> _Series:
        """As a function of x: within z, y of variance 1 grows by the factor `exp(x / 2)`."""
        slope, half = self.second / 2, self.power / 2
        bend = self.fourth / 4 + slope
        return _Series(self.value, slope - half * self.value, bend - self.power * slope + half * half * self.value)


def _products(h: Array, d: Array) -> Array:
    """The products of `_POWERS` on the Hermite grid, `(products, layers, groups, nodes)`.

    They are valid until the next call in this thread.
    """
    products = _values.array((len(_POWERS), *h.shape), np.float64)
    for product, (first, second) in zip(products, ((h, h), (h, d), (d, d)), strict=False):
        np.multiply(first, second, out=product)
    hh, hd = products[:2]
    for product, (first, second) in zip(products[3:], ((hh, hh), (hh, hd), (hd, hd), (products[4], hd)), strict=True):
        np.multiply(first, second, out=product)
    return products


class _Functions:
    """Means of products of phi and its slope over the units of stacked layers, with Hermite polynomials of y.

    Attributes:
        share: share of the weights in the variance of z, `(layers, samples)`.
        variance: variance of y before it is scaled to 1, `(layers, samples)`.
    """

    def __init__(self, activation: Activation, layers: Sequence[Layer], groups: Groups) -> None:
        grid, own = hermite_grid(), np.array([[layer.normal_bias_variance] for layer in layers])
        share = 1 - np.where(groups.variance > 0, own / groups.variance, 0.0)
        self.share, self.variance = (groups.by_bias(values)[..., 0] for values in (share, share * groups.variance))
        weights = grid.analysis[:_ORDERS].T * np.sqrt([float(math.factorial(k)) for k in range(_ORDERS)])
        products = _products(*groups.on_grid(activation))
        # In one matrix product, for small ones would take longer: `(products, layers, groups, orders)`.
        means = (products.reshape(-1, len(weights)) @ weights).reshape(*products.shape[:-1], _ORDERS)
        # The grid does not split where a slope jumps. As in `backward`, all moments of phi'^2 scale by this.
        on_grid, exact = means[_POWERS.index((0, 2)), ..., 0], groups.moments.slope_square
        jump = np.divide(exact, on_grid, out=np.ones_like(exact), where=on_grid > 0)
        means[[slopes == 2 for _, slopes in _POWERS]] *= jump[..., None]
        # E[He_k(y)], given z in standard deviations s, is `share^(k/2) He_k(s)`.
        means *= share[..., None] ** (np.arange(_ORDERS) / 2)
        self._means = dict(zip(_POWERS, groups.over_biases(np.moveaxis(means, -1, 1)), strict=True))

    def mean(self, values: int, slopes: int, *powers: int) -> list[_Mean]:
        """The means of `phi^values phi'^slopes y^power` for the given powers."""
        means = self._means[values, slopes]
        return [
            _Mean(power, *(np.asarray(sum(factor * means[order] for order, factor in pairs)) for pairs in projections))
            for power, projections in ((power, _PROJECTIONS[power]) for power in powers)
        ]


class _Units(NamedTuple):
    """The noise of means over the units of stacked layers.

    Attributes:
        units: of each layer, `(layers, 1)`.
        fixed: share of the noise along `He_2(y)` that orthogonal weights remove, `(layers, 1)`.
        excess: what weights that are not normal add to a mean, over a quarter of the mean with He_4(y).
    """

    units: Array
    fixed: Array
    excess: Array

    @classmethod
    def of(cls, layers: Sequence[Layer], states: Sequence[State], share: Array) -> _Units:
        units = np.array([[layer.n_out] for layer in layers], float)
        fixed = np.array([[1 - free_share(layer.n_out, layer)] for layer in layers])
        kurtosis = np.array([[state.kurtosis] for state in states]) / _positive(share) ** 2
        # Orthogonal weights put y on a sphere.
        sphere = np.array([[-1 / max(layer.n_in, layer.n_out) if layer.orthogonal else 0.0] for layer in layers])
        return cls(units, fixed, np.where(sphere < 0, sphere, kurtosis / 6))

    def offset(self, mean: _Mean) -> Array:
        """What finite width adds to a mean."""
        return np.asarray(self.excess * mean.fourth / 4)

    def covariance(self, product: _Mean, first: _Mean, second: _Mean) -> Array:
        """Covariance of two means, from the mean of the product of the two functions."""
        removed = self.fixed * first.second * second.second / 2
        return np.asarray((product.value - first.value * second.value - removed) / self.units)


def _stack(activation: Activation, layers: Sequence[Layer], states: Sequence[State]) -> tuple[Entries, LengthMap]:
    """The maps of layers with equally many groups; R and P are ratios to a mean square, which fluctuates too."""
    functions = _Functions(activation, layers, stacked(states))
    units, mean = _Units.of(layers, states, functions.share), functions.mean
    [square], [fourth], [slopes, pull] = mean(2, 0, 0), mean(4, 0, 0), mean(0, 2, 0, 2)
    [both, both_pulled], [with_both], [product] = mean(2, 2, 0, 2), mean(4, 2, 0), mean(1, 1, 1)
    [with_product] = mean(3, 1, 1)
    scale = _positive(square.value)
    length = square.series().over(_Series(scale, *np.zeros((2, *scale.shape))))
    noise = units.covariance(fourth, square, square) / scale**2
    drift = units.offset(square) / scale
    weighted, rise = both.series().over(square.series()), product.series().squared().over(square.series())
    of_both = units.covariance(with_both, square, both) / scale**2
    of_product = 2 * product.value * units.covariance(with_product, square, product) / scale**2
    own_noise = units.covariance(both_pulled, product, product) / scale
    offset = (
        units.offset(slopes),
        units.offset(both) / scale - weighted.value * (drift - noise) - of_both,
        2 * product.value * units.offset(product) / scale + own_noise - rise.value * (drift - noise) - of_product,
        units.offset(pull),
    )
    with_length = (
        units.covariance(both, square, slopes) / scale,
        of_both - weighted.value * noise,
        of_product - rise.value * noise,
        units.covariance(both_pulled, square, pull) / scale,
    )
    series = zip(slopes.series(), weighted, rise, pull.series(), strict=True)
    bend = length.second - length.first**2  # of the log
    lengths = LengthMap(length.first, bend, noise, drift - noise / 2, functions.variance)
    value, first, second = (np.array(order) for order in series)
    return Entries(value, first, second, np.array(offset), np.array(with_length)), lengths


def _positive(values: Array) -> Array:
    """The values, and 1 where they are not positive."""
    return np.where(values > 0, values, 1.0)
