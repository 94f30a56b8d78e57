"""What a finite width adds to gradients under layer norm, to first order in 1/width.

A layer norm fixes mean and length of z. So no fluctuation is passed on, and each layer adds its own. It divides by the
length of y, which is random; it projects the gradient on the units across 1 and z; and the length of its input
fluctuates together with the slopes of the same units. Per layer the sum is about 3.4/width for ReLU, 2.4 for tanh and 4
for GELU, of which the radial mode (`radial`) takes about 2. Ba et al. 2016, arXiv:1607.06450.
"""

from __future__ import annotations

import math

import numpy as np

from initprobe.arrays import Array
from initprobe.meanfield.correlated_pairs import hermite_grid
from initprobe.meanfield.radial import Averages, quotient
from initprobe.meanfield.row_grid import RowGrid


def norm_factor(averages: Averages, squares: Array, units: int, is_bare: bool) -> Array:
    """Factor of the mean square of dL/dy: `E[1/v]` is `1 + 3/units`, and the parts along 1 and z are projected out.

    Args:
        averages: over the units of the layer.
        squares: mean square over units of h, `(groups,)`.
        units: of the layer.
        is_bare: whether the output is phi(z) alone, across which the gradient is.
    """
    removed = averages.slope_square + averages.pull
    if is_bare:
        removed = removed - quotient(averages.tilt**2 + averages.growth**2, squares)
    return np.asarray(1 + (3 - quotient(removed, averages.slope_square)) / units)


def length_factor(grid: RowGrid, units: int) -> Array:
    """Factor of `mean phi'^2 / mean phi^2` over units, where mean and length of z are fixed, `(groups,)`."""
    h, d = grid.value**2, grid.slope**2
    square, slope_square = grid.average(h), grid.average(d)
    together = quotient(_covariance(grid, h, d), square * slope_square)
    return np.asarray(1 + (quotient(_covariance(grid, h, h), square**2) - together) / units)


def _covariance(grid: RowGrid, f: Array, g: Array) -> Array:
    """Covariance over units of two functions of z, without their parts along 1, z and z^2, `(groups,)`."""
    z = hermite_grid().z
    covariance = grid.average(f * g)
    for along in (np.ones_like(z), z, (z * z - 1) / math.sqrt(2)):
        covariance = covariance - grid.average(f * along) * grid.average(g * along)
    return np.asarray(covariance)
