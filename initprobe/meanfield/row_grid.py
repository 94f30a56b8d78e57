"""An activation on the Hermite grid at one layer, once for all that norms and skips need of it.

Where each row of a batch is a group, rows differ only in the variance of z. All expectations are smooth functions of
it. So they are computed at a few variances and interpolated to the rows by a polynomial in log variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.correlated_pairs import hermite_grid

# Chebyshev nodes per unit of log variance. Variances below _SHORTEST times the largest count as equal.
_BASE_NODES, _NODES_PER_LOG, _MOST_NODES = 4, 4, 24
_SHORTEST = 1e-4
_EQUAL = 1e-12


@dataclass(frozen=True)
class RowGrid:
    """phi and phi' at the nodes of the Hermite grid, and the way from variances to groups of samples.

    Attributes:
        value: `phi`, `(variances, nodes)`.
        slope: `phi'`, `(variances, nodes)`.
        deviation: z about its mean, `(variances, nodes)`.
        bias_shares: share of the units at each bias node, `(bias nodes,)`.
        to_rows: interpolation from variances to rows, `(rows, variances)`; None where each group has its own variance.
    """

    value: Array
    slope: Array
    deviation: Array
    bias_shares: Array
    to_rows: Array | None

    @classmethod
    def of(cls, activation: Activation, mean: Array, variance: Array, bias_shares: Array, by_row: bool) -> RowGrid:
        """The grid for z of the given means and variances over units, `(groups,)` each.

        Args:
            activation: of the layer.
            mean: of z.
            variance: of z.
            bias_shares: as in `Groups`.
            by_row: whether each group is a row, all with the same mean of z.
        """
        to_rows = None
        if by_row:
            variance, to_rows = _interpolation(variance)
            mean = np.full_like(variance, mean[0])
        deviation = np.sqrt(variance)[:, None] * hermite_grid().z
        x = mean[:, None] + deviation
        value = activation.value(x)
        return cls(value, activation.slope(x, value), deviation, bias_shares, to_rows)

    def average(self, values: Array) -> Array:
        """Mean over units of values on the grid, `(variances, nodes)`, for each group of samples, `(samples,)`."""
        return self.spread(hermite_grid().mean(values))

    def spread(self, values: Array) -> Array:
        """Values per variance and bias node, `(variances,)`, as means over units for each group, `(samples,)`."""
        if self.to_rows is not None:
            return np.asarray(self.to_rows @ values)
        return np.asarray(np.vecdot(values.reshape(-1, len(self.bias_shares)), self.bias_shares))

    def coefficients(self) -> Array:
        """Hermite coefficients of phi for each row, `(orders, rows)`."""
        assert self.to_rows is not None
        return np.asarray((self.to_rows @ hermite_grid().coefficients(self.value)).T)


def _interpolation(variance: Array) -> tuple[Array, Array]:
    """Chebyshev nodes between the least and the largest variance, and the Lagrange matrix, `(rows, nodes)`."""
    largest = float(np.max(variance))
    if not 0 < largest < math.inf:
        return variance[:1], np.ones((len(variance), 1))
    logs = np.log(np.maximum(variance, _SHORTEST * largest))
    low, high = float(logs.min()), float(logs.max())
    if high - low < _EQUAL:
        return np.array([largest]), np.ones((len(variance), 1))
    count = min(_BASE_NODES + math.ceil(_NODES_PER_LOG * (high - low)), _MOST_NODES)
    angles = (np.arange(count) + 0.5) * (math.pi / count)
    nodes = (low + high) / 2 + (high - low) / 2 * np.cos(angles)
    # Barycentric weights of Chebyshev points of the first kind: Berrut & Trefethen 2004, SIAM Review 46:501.
    distances = logs[:, None] - nodes
    hit = np.abs(distances) < _EQUAL
    matrix = np.where(np.arange(count) % 2, -1.0, 1.0) * np.sin(angles) / np.where(hit, 1.0, distances)
    matrix = np.where(hit.any(axis=1)[:, None], hit, matrix)
    return np.exp(nodes), matrix / matrix.sum(axis=1, keepdims=True)
