"""What a finite width adds to signals and gradients under layer norm, to first order in 1/width.

A layer norm fixes mean and length of z. So z lies on a sphere, in a direction that does not depend on the layer below.
So no fluctuation is passed on, and each layer adds its own. Given h and `y = h W`, normal weights are
`W_perp + h y'/|h|^2` with `W_perp` independent of y. The gradient u before the norm is across y. So `W u = W_perp u`:

`E|g_{l-1}|^2 = (n - 1) / (n - 3) |P (phi' g_l)|^2 n / |h_{l-1}|^2`, P projecting out 1 and z.

The factor `(n - 1) / (n - 3)` has two parts. `1 - 1/n` comes from `W_perp`, and `1 + 3/n` is the mean of one over the
variance that y is divided by. The sums over units on the right are for a z on the sphere:

- its fourth cumulant is `-6/n`, which changes every `E[f(z)]` by `-E[f He_4] / (4 n)`;
- `|h_l|^2` of the step above varies together with the slopes of the same units (`length_factor`).

Per layer the sum is about 3.4/n for ReLU, 2.4/n for tanh and 4/n for GELU. The radial mode (`radial`) then takes off
about 2/n. Derived here from Ba et al. 2016, arXiv:1607.06450, and tested against random networks.
"""

from __future__ import annotations

import math

import numpy as np

from initprobe.arrays import Array
from initprobe.meanfield.correlated_pairs import hermite_grid
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.radial import Averages, quotient
from initprobe.meanfield.row_grid import RowGrid
from initprobe.meanfield.unit_noise import free_share


def norm_factor(averages: Averages, squares: Array, layer: Layer, is_bare: bool) -> Array:
    """Factor of the mean square of dL/dy: `E[1/v]` is `1 + 3/units`, and the parts along 1 and z are projected out.

    Orthogonal weights keep the length of y, so that only the mean over units varies: `1 + 1/units`.

    Args:
        averages: over the units of the layer.
        squares: mean square over units of h, `(groups,)`.
        layer: its weights and sizes.
        is_bare: whether the output is phi(z) alone, across which the gradient is.
    """
    removed = averages.slope_square + averages.pull
    if is_bare:
        removed = removed - quotient(averages.tilt**2 + averages.growth**2, squares)
    varying = 1 + 2 * free_share(layer.n_out, layer)
    return np.asarray(1 + (varying - quotient(removed, averages.slope_square)) / layer.n_out)


def length_factor(grid: RowGrid, layer: Layer, kurtosis: float, share: Array | None) -> Array:
    """Factor of `mean phi'^2 / mean phi^2` over units, where mean and length of z are fixed, `(groups,)`.

    Args:
        grid: the activation on the grid.
        layer: with a layer norm.
        kurtosis: excess kurtosis of z over units, from weights that are not normal.
        share: share of the weights in what the norm above divides by, `(groups,)`. None where no norm above divides by
            the length of this output.
    """
    h, d, z = grid.value**2, grid.slope**2, hermite_grid().z
    square, slope_square = grid.average(h), grid.average(d)
    of_slopes = quotient(fourth_offset(grid, d, layer.n_out, kurtosis), slope_square)
    # Units of long weights have a large z, and pass more of their gradient back.
    long_units = layer.unit_noise * quotient(grid.average(d * (z * z - 1)), 2 * slope_square)
    if share is None:
        return np.asarray(1 + of_slopes + long_units)
    of_square = share * quotient(fourth_offset(grid, h, layer.n_out, kurtosis), square)
    together = share * quotient(_covariance(grid, h, d), square * slope_square)
    varying = share**2 * quotient(_covariance(grid, h, h), square**2)
    return np.asarray(1 + of_slopes + long_units - of_square + (varying - together) / layer.n_out)


def fourth_offset(grid: RowGrid, f: Array, units: int, kurtosis: float) -> Array:
    """What the fourth cumulant of z adds to the mean over units of f, given on the grid, `(groups,)`.

    Args:
        grid: the activation on the grid.
        f: a function of z, `(variances, nodes)`.
        units: of the layer.
        kurtosis: excess kurtosis of z beside that of the sphere.
    """
    return np.asarray((kurtosis / 24 - 1 / (4 * units)) * grid.spread(f @ hermite_grid().fourth))


def _covariance(grid: RowGrid, f: Array, g: Array) -> Array:
    """Covariance over units of two functions of z, without their parts along 1, z and z^2, `(groups,)`."""
    z = hermite_grid().z
    covariance = grid.average(f * g)
    for along in (np.ones_like(z), z, (z * z - 1) / math.sqrt(2)):
        covariance = covariance - grid.average(f * along) * grid.average(g * along)
    return np.asarray(covariance)
