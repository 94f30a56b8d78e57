"""Mean squares of gradients in plain networks, with the two directions in which a gradient is not noise.

A gradient `g = dL/dh` is mostly noise: `W delta`, where h is independent of W. Two parts of it follow the signal.
Along h, the weights gave `z = hW`, so `h . W delta = z . delta` is known. For ReLU without biases, `g . h` is the same
at every layer. Along the vector of ones, weights with a mean pass back the sum of all deltas to every unit.

So `g = noise + alpha ones + kappa h`. The noise is isotropic at right angles to h. Its size N is the mean square of its
entries before that projection. The coefficients fluctuate over networks, with a 2 x 2 matrix of second moments.
In one layer their share is of order 1/width. With depth it may exceed the noise, as for softplus.

Derived here, and tested against random networks. `gradient_bias` has the effect of lengths that fluctuate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.correlated_pairs import hermite_grid
from initprobe.meanfield.layer import Groups, Layer


class Directions(NamedTuple):
    """Means over units of products at one layer, of d = phi'(z), r = phi(z) scaled to mean square 1, and y.

    y is what the weights' deviations from their mean add to z, scaled to variance 1. Every array has the shape
    `(layers, samples)`, or `(samples,)` for one layer.
    """

    r: Array
    d: Array
    dr: Array
    yd: Array
    ydr: Array
    dd: Array
    ydd: Array
    yydd: Array
    ddr: Array
    ddrr: Array


def directions(activation: Activation, layers: Sequence[Layer], groups: Groups) -> Directions:
    """The means of stacked layers, on the Hermite grid.

    Args:
        activation: any record.
        layers: the layers of `groups`.
        groups: their pre-activations, stacked.
    """
    grid = hermite_grid()
    h, d = groups.on_grid(activation)
    square = groups.for_biases(groups.over_biases(grid.mean(h * h)))
    r = h / np.sqrt(np.where(square > 0, square, 1.0))[..., None]
    own = np.array([[layer.normal_bias_variance] for layer in layers])
    # Share of the weights in the variance of z.
    share = 1 - np.where(groups.variance > 0, own / groups.variance, 0.0)
    y = np.sqrt(share)
    rz, dz, dd = r * grid.z, d * grid.z, d * d
    # The grid does not split where a slope jumps: 2.8% of hard tanh, per layer. All moments of phi'^2 scale by this.
    on_grid, squares = grid.mean(dd), groups.moments.slope_square
    exact = np.divide(squares, on_grid, out=np.ones_like(squares), where=on_grid > 0)
    values = (
        grid.mean(r),
        groups.moments.slope,
        grid.mean(d * r),
        y * grid.mean(dz),
        y * grid.mean(d * rz),
        squares,
        y * grid.mean(d * dz) * exact,
        share * grid.mean(dz * dz) * exact + (1 - share) * squares,
        grid.mean(dd * r) * exact,
        grid.mean(dd * r * r) * exact,
    )
    return Directions(*map(groups.over_biases, values))


class _Gradient(NamedTuple):
    """A gradient dL/dh for each group of samples: its noise, and second moments of its coefficients.

    Attributes:
        noise: mean square of the noise, `(samples,)`.
        ones: of the coefficient of the vector of ones, `(samples,)`.
        both: product of the two coefficients, `(samples,)`.
        along: of the coefficient of `h / sqrt(S)`, S being the mean square of h, `(samples,)`.
    """

    noise: Array
    ones: Array
    both: Array
    along: Array

    def square(self, units: int, at: Directions) -> Array:
        """Mean square over units of dL/dh."""
        return np.asarray(self.noise * (1 - 1 / units) + self.ones + 2 * self.both * at.r + self.along)

    def delta(self, units: int, at: Directions) -> Array:
        """Mean square over units of dL/dz."""
        along = self.along - self.noise / units
        return np.asarray((self.noise + self.ones) * at.dd + 2 * self.both * at.ddr + along * at.ddrr)

    def sums(self, units: int, at: Directions) -> tuple[Array, Array, Array]:
        """Second moments of the means over units of dL/dz and of y dL/dz, with their mixed moment in the middle."""
        chance = self.noise / units
        along = self.along - chance
        return (
            self.ones * at.d * at.d + 2 * self.both * at.d * at.dr + along * at.dr * at.dr + chance * at.dd,
            self.ones * at.d * at.yd
            + self.both * (at.d * at.ydr + at.dr * at.yd)
            + along * at.dr * at.ydr
            + chance * at.ydd,
            self.ones * at.yd * at.yd + 2 * self.both * at.yd * at.ydr + along * at.ydr * at.ydr + chance * at.yydd,
        )


def gradients(layers: Sequence[Layer], moments: Directions) -> tuple[Array, Array, Array]:
    """Mean squares of dL/dh, of dL/dz, and of the mean of dL/dz over units.

    Each is `(layers, samples)`, first layer to last, for each group of samples.
    Backward starts from independent entries of mean square 1.

    Args:
        layers: first to last.
        moments: of every layer, `(layers, samples)`.
    """
    squares, deltas, means = (np.empty_like(moments.d) for _ in range(3))
    unit = np.ones_like(moments.d[0])
    # Independent entries have the share 1/units along h, and so no noise is projected out.
    gradient = _Gradient(unit, 0 * unit, 0 * unit, unit / layers[-1].n_out)
    for k, layer in reversed(list(enumerate(layers))):
        at = Directions(*(values[k] for values in moments))
        squares[k], deltas[k] = gradient.square(layer.n_out, at), gradient.delta(layer.n_out, at)
        sums = gradient.sums(layer.n_out, at)
        means[k], gradient = sums[0], _below(layer, sums, deltas[k])
    return squares, deltas, means


def _below(layer: Layer, sums: tuple[Array, Array, Array], delta: Array) -> _Gradient:
    """The gradient with respect to a layer's input, from the means over units that `_Gradient.sums` gives."""
    units, variance = layer.n_out, layer.weight_variance
    mean_square, both, along = sums
    to_ones, to_along = layer.weight_mean * units, units * np.sqrt(variance / layer.n_in)
    return _Gradient(
        units * variance * _unseen(layer, delta, along),
        to_ones * to_ones * mean_square,
        to_ones * to_along * both,
        to_along * to_along * along,
    )


def _unseen(layer: Layer, delta: Array, along: Array) -> Array:
    """Mean square of dL/dz that becomes noise below.

    Orthogonal weights keep the length of dL/dz: what they pass back along h is missing from the noise.
    """
    if not layer.orthogonal or min(layer.n_in, layer.n_out) < 2:
        return delta
    if layer.n_in > layer.n_out:
        return np.asarray((delta - layer.n_out / layer.n_in * along) / (1 - 1 / layer.n_in))
    return np.asarray((delta - along) / (1 - 1 / layer.n_out))
