"""Jacobians of a network at one input, and their singular values to full relative accuracy at any depth.

Samples are rows, so `dh_l/dh_{l-1} = W_l D_l` with `D_l = diag(phi'(z_l))`, and `dh_L/dh_0 = W_1 D_1 ... W_L D_L`.
(Papers write the transpose, `D W'`; the singular values are the same.)

The singular values of a deep product span dozens of decades. The SVD of the plain product resolves none below 1e-16 of
the largest. So the product is kept as `2^exponent Q diag(scales) T`, where Q is orthonormal and the rows of T have
size 1. Each further layer is multiplied on by a QR decomposition with columns sorted by size. This keeps small and
large values apart. Loh et al. 1989, "Stable matrix-multiplication algorithms". Sorting in place of pivoting is of Tomas
et al. 2012, "Advancing large scale many-body QMC simulations".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from initprobe.arrays import Array

_EPS, _TINY = float(np.finfo(float).eps), float(np.finfo(float).tiny)


@dataclass(frozen=True)
class SingularValues:
    """The singular values of one Jacobian.

    Attributes:
        log10: of those that were resolved, largest first.
        zeros: how many are exactly 0, because of a slope of 0, a weight of 0 or a narrower layer.
        lost: how many are too small beside the largest to be distinguished from 0: by rounding or the float range.
    """

    log10: Array
    zeros: int
    lost: int

    @property
    def count(self) -> int:
        """How many there are: the smaller dimension of the Jacobian."""
        return len(self.log10) + self.zeros + self.lost

    @property
    def mean_square_log10(self) -> float:
        """log10 of the mean of `s^2`; -inf where all are 0."""
        if not len(self.log10):
            return -math.inf
        return 2 * float(self.log10[0]) + math.log10(float(np.sum(self._squares)) / self.count)

    @property
    def spread(self) -> float:
        """`Var(s^2) / mean(s^2)^2`; NaN where all are 0, and 0 where they differ by rounding alone."""
        if not len(self.log10):
            return math.nan
        mean = float(np.sum(self._squares)) / self.count
        resolved = float(np.sum((self._squares - mean) ** 2)) / mean**2
        spread = (resolved + self.zeros + self.lost) / self.count
        return spread if spread > (self.count * _EPS) ** 2 else 0.0

    @property
    def _squares(self) -> Array:
        """`s^2` in units of the largest, so that no power of ten overflows."""
        return np.asarray(10 ** (2 * (self.log10 - self.log10[0])))


@dataclass(frozen=True)
class Product:
    """A product of Jacobians, `(first features, last units)`, transposed and factored: `2^exponent Q diag(scales) T`.

    Attributes:
        features: of the input, `n_0`.
        units: of the last layer.
        rank: how many singular values are not exactly 0.
        left: `Q`, `(units, resolved)`; None for the empty product, the identity.
        scales: `(resolved,)`, above 0, roughly sorted, the largest about 1.
        right: `T`, `(resolved, features)`.
        exponent: of the power of two that was factored out.
    """

    features: int
    units: int
    rank: int
    left: Array | None = field(default=None, repr=False)
    scales: Array = field(default_factory=lambda: np.ones(0), repr=False)
    right: Array | None = field(default=None, repr=False)
    exponent: int = 0

    @classmethod
    def identity(cls, features: int) -> Product:
        """The product of no layers."""
        return cls(features, features, features)

    def times(self, weight: Array, slope: Array) -> Product:
        """This product times `W diag(slope)` of one more layer.

        Args:
            weight: `(units, fan_out)`, finite.
            slope: `phi'(z)` at one input, `(fan_out,)`, finite.
        """
        active = np.flatnonzero(slope)
        matrix, power = _unit_scale(weight[:, active].astype(float) * slope[active])
        even = matrix.T if self.left is None else np.matmul(matrix.T, self.left)
        scales = np.ones(even.shape[1]) if self.left is None else self.scales
        # Scaled after the norm is taken, since the square of a scaled column may be below the float range.
        sizes = np.linalg.norm(even, axis=0) * scales
        nothing = int(np.count_nonzero(sizes == 0))
        after = replace(self, units=len(slope), rank=min(self.rank - nothing, len(active)))
        if nothing == len(sizes):
            return after._with(np.zeros((after.units, 0)), np.zeros(0), np.zeros((0, self.features)), 0)
        q, diagonal, r = _graded_qr(even * scales, sizes)
        left = np.zeros((after.units, len(diagonal)))
        left[active] = q
        return after._with(left, diagonal, r if self.right is None else np.matmul(r, self.right), power)

    def _with(self, left: Array, scales: Array, right: Array, power: int) -> Product:
        """The same product with other factors, the scales brought near 1."""
        shift = math.frexp(float(np.max(scales, initial=0.0)))[1]
        exponent = self.exponent + power + shift
        return replace(self, left=left, scales=np.ldexp(scales, -shift), right=right, exponent=exponent)

    def singular_values(self) -> SingularValues:
        """All `min(features, units)` singular values."""
        values = np.zeros(0)
        if self.right is not None and len(self.scales):
            order = np.argsort(-np.linalg.norm(self.right, axis=1) * self.scales, kind="stable")
            values = np.linalg.svd(np.linalg.qr((self.right.T * self.scales)[:, order], mode="r"), compute_uv=False)
        elif self.right is None:
            values = np.ones(self.features)
        values = values[values > _TINY / _EPS]  # smaller ones have fewer digits than a float
        zeros = min(self.features, self.units) - self.rank
        return SingularValues(np.log10(values) + self.exponent * math.log10(2), zeros, self.rank - len(values))


def _unit_scale(matrix: Array) -> tuple[Array, int]:
    """The matrix times `2^-power`, with entries of at most 1, and the power."""
    power = math.frexp(float(np.max(np.abs(matrix), initial=0.0)))[1]
    return np.ldexp(matrix, -power), power


def _noise(columns: Array, sizes: Array) -> Array:
    """The size that rounding leaves of a column that depends on the columns before it."""
    floor: Array = max(columns.shape) * _EPS * sizes[: min(columns.shape)] + _TINY / _EPS
    return floor


def _graded_qr(columns: Array, sizes: Array) -> tuple[Array, Array, Array]:
    """Factor `columns = q diag(scales) r`, with roughly falling scales and rows of r of size 1.

    There are as many scales as `columns` has rank, judged by the rounding of each column.
    """
    order = np.argsort(-sizes, kind="stable")
    q, r = np.linalg.qr(columns[:, order])
    scales = np.abs(np.diag(r))
    kept = scales > _noise(columns, sizes[order])
    if not kept.all():
        # Columns that depend on others must come last, and only pivoting finds them.
        from scipy import linalg

        q, r, order = linalg.qr(columns, mode="economic", pivoting=True)
        scales = np.abs(np.diag(r))
        kept = scales > _noise(columns, sizes[order])
    rows = np.empty((int(kept.sum()), len(order)))
    rows[:, order] = r[kept] / scales[kept, None]
    return q[:, kept], scales[kept], rows
