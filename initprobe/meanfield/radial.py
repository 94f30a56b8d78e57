"""The radial mode of a gradient, through layers, norms and around skips: the part of dL/dh along h itself.

Weights carry h forward and the gradient back, so they are not independent of both. Given `y = h W`, the matrix is
`W = W_perp + h' y / |h|^2` with `W_perp` independent of y. So `g_{l-1} . h_{l-1} = g_l . (y phi'(z))`, at any width.
Where h grows by many orders, this part exceeds the rest, which infinite width alone would keep.

For an activation with `z phi'(z) = phi(z)` and no biases, `g . h` is the same at every layer, with or without skips. So
`Var(dL/dh_l) >= S_L / (n S_l)`, and the maps here keep that bound.

Everything is to leading order in 1/width in each of the two parts. Fluctuations of lengths are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.meanfield.layer import State
from initprobe.meanfield.row_grid import RowGrid


class Gradient(NamedTuple):
    """The gradient dL/dh at one layer, for each group of samples.

    Attributes:
        square: mean square over units of dL/dh, `(groups,)`.
        product: mean square over networks of the inner product of dL/dh and h, `(groups,)`.
    """

    square: Array
    product: Array

    @classmethod
    def start(cls, squares: Array, units: int) -> Gradient:
        """A gradient of independent N(0, 1) entries, at h of the given mean squares.

        Args:
            squares, units: mean squares of h, `(groups,)`, and the units of the last layer.
        """
        return cls(np.ones_like(squares), units * squares)


@dataclass(frozen=True)
class Averages:
    """Averages over units at one layer, for each group of samples. Here y is the part of z from the weights.

    Attributes:
        mean: `E[phi]`, `(groups,)`.
        slope_square: `E[phi'^2]`.
        rise: `E[y phi']`.
        growth: `E[y phi phi']`.
        pull: `E[y^2 phi'^2]`.
        weighted_mean: `E[phi'^2 phi]`.
        weighted_square: `E[phi'^2 phi^2]`.
        tilt: `E[phi phi']`.
    """

    mean: Array
    slope_square: Array
    rise: Array
    growth: Array
    pull: Array
    weighted_mean: Array
    weighted_square: Array
    tilt: Array


def averages(grid: RowGrid, state: State, share: Array) -> Averages:
    """The averages at a layer with pre-activations `state`.

    Args:
        grid: the activation on the grid.
        state: z of the layer.
        share: share of the weights in the variance of z, `(groups,)`.
    """
    h, d, z, mean = grid.value, grid.slope, grid.deviation, grid.average
    d_square = d * d
    slope_square, variance = (state.over_biases(values) for values in (state.moments.slope_square, state.variance))
    return Averages(
        mean=mean(h),
        slope_square=slope_square,
        rise=share * mean(z * d),
        growth=share * mean(z * h * d),
        pull=share * (share * mean(z * z * d_square) + (1 - share) * variance * slope_square),
        weighted_mean=mean(d_square * h),
        weighted_square=mean(d_square * h * h),
        tilt=mean(h * d),
    )


@dataclass(frozen=True)
class Branch:
    """A branch that the gradient is in, on its way back from the branch's end to its start.

    Attributes:
        output: dL/dh at the end of the branch.
        kept: mean square of the inner product of that gradient with the input of the branch, `(groups,)`.
        shared: mean product of that inner product with the one of branch gradient and signal, `(groups,)`.
    """

    output: Gradient
    kept: Array
    shared: Array

    def joined(self, below: Gradient, squares: Array, units: int) -> Gradient:
        """dL/dh at the start of the branch.

        Args:
            below: the gradient by way of the branch.
            squares: mean square over units of h there, `(groups,)`.
            units: of h.
        """
        product = np.maximum(self.kept + below.product + 2 * self.shared, 0.0)
        along = quotient(2 * self.shared, units**2 * squares)
        return Gradient(self.output.square + below.square + along, product)


@dataclass(frozen=True)
class Split:
    """A gradient's inner products with two vectors: `(g . a)^2`, `(g . b)^2` and `(g . a) (g . b)`, from two parts.

    The part along h is known from `product`; the rest has any direction across h with equal chance.

    Attributes:
        gradient: dL/dh.
        squares: mean square over units of h, `(groups,)`.
        units: of h.
    """

    gradient: Gradient
    squares: Array
    units: int

    @property
    def across(self) -> Array:
        """Mean square over units of the part across h, if it had all `units` directions, `(groups,)`."""
        freedom = 1 - 1 / self.units
        return np.asarray((self.gradient.square - self.along) / freedom if freedom else np.zeros_like(self.squares))

    @property
    def along(self) -> Array:
        """Mean square over units of the part along h, `(groups,)`."""
        return quotient(self.gradient.product, self.units**2 * self.squares)

    def product(self, both: Array, first: Array, second: Array) -> Array:
        """`E[(g . a)(g . b)]` for two vectors a and b over units.

        Args:
            both: mean over units of `a b`, `(groups,)`.
            first: mean over units of `a h`, `(groups,)`.
            second: mean over units of `b h`, `(groups,)`.
        """
        common = quotient(first * second, self.squares)
        return np.asarray(self.units * ((both - common) * self.across + self.units * self.along * common))

    def weighted(self, slope_square: Array, weighted_square: Array) -> Array:
        """`E[phi'^2 g^2]`, from `E[phi'^2]` and `E[phi'^2 h^2]`, `(groups,)`.

        Args:
            slope_square: `E[phi'^2]`, `(groups,)`.
            weighted_square: `E[phi'^2 h^2]`, `(groups,)`.
        """
        excess = (self.along - self.across / self.units) * quotient(weighted_square, self.squares)
        return np.asarray(np.maximum(slope_square * self.across + excess, 0.0))


def quotient(numerator: Array, denominator: Array) -> Array:
    """The quotient, and 0 where the denominator is 0.

    Args:
        numerator, denominator: of equal shape.
    """
    return np.asarray(np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0))
