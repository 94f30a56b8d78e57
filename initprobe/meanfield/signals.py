"""The input of one layer of a normalised or residual network, in groups of samples or row by row.

Where a batch norm compares samples, one mean cosine cannot stand for all pairs. The signal is then rows of the batch
with all their products, `gram`, and each row is a group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from initprobe.arrays import Array
from initprobe.meanfield.directions import ONE_DIRECTION, Added, Spectrum
from initprobe.meanfield.input_moments import InputMoments, group_means, sample_groups

# Rows that stand for a batch whose pairs were not measured. It is odd, so that each row has equally many pairs of both
# kinds.
_STAND_INS = 33


@dataclass(frozen=True)
class Signal:
    """The input of one layer, in groups of samples.

    Attributes:
        shares: share of the samples in each group, `(groups,)`.
        squares: mean square over units of h, `(groups,)`.
        means: mean over units of h, `(groups,)`.
        cosine: mean cosine between the h of two different samples.
        cosine_variance: variance of that cosine over pairs.
        gram: mean products over units of the h of two rows, `(groups, groups)`; None where groups are not rows.
        added: what a finite width adds to the directions of rows.
    """

    shares: Array
    squares: Array
    means: Array
    cosine: float
    cosine_variance: float
    gram: Array | None = None
    added: Added | None = None

    @classmethod
    def of(cls, inputs: InputMoments, by_row: bool) -> Signal:
        """The input of the first layer, row by row or in groups of similar samples.

        Args:
            inputs: moments of the input.
            by_row: keep rows, as batch norm needs.
        """
        if not by_row:
            shares, squares, _ = sample_groups(inputs, split=False)
            means = group_means(shares, squares, inputs.means)
            return cls(shares, squares, means, inputs.cosine, inputs.cosine_variance)
        gram = stand_in_gram(inputs) if inputs.gram is None else inputs.gram
        shares = np.full(len(gram), 1 / len(gram))
        return cls.of_rows(gram, group_means(shares, gram.diagonal(), inputs.means))

    @classmethod
    def of_rows(cls, gram: Array, means: Array, added: Added | None = None) -> Signal:
        """A signal of rows, with their products `(rows, rows)` and their means over units `(rows,)`.

        Args:
            gram: mean products of rows over units.
            means: of the rows over units.
            added: what varies over networks.
        """
        squares = gram.diagonal().copy()
        return cls(np.full(len(gram), 1 / len(gram)), squares, means, *pair_statistics(cosines(gram)), gram, added)

    def centred(self, batch: int) -> Array:
        """Mean square of h minus its mean over a batch, for each group of samples, `(groups,)`.

        Any two samples share what their means over units give, and an equal part of the rest.
        """
        if self.gram is not None:
            by_row, overall = batch_means(self.gram.sum(axis=1), self.squares, batch)
            return np.asarray(np.maximum(self.squares - 2 * by_row + overall, 0.0))
        rest = np.sqrt(np.maximum(self.squares - self.means**2, 0.0))
        mean, size, typical = (float(self.shares @ values) for values in (self.means, np.sqrt(self.squares), rest))
        common = (self.cosine * size**2 - mean**2) / typical**2 if typical > 0 else 0.0
        centred = (self.means - mean) ** 2 + rest**2 - 2 * common * rest * typical + common * typical**2
        return np.asarray(np.maximum(centred, 0.0) * (1 - 1 / batch))

    def spectra(self, batch: int) -> tuple[Spectrum, Spectrum]:
        """The spectrum of the mean kernel of a batch, and that at this width."""
        centred = centred_gram(self.rows, batch)
        size = float(centred.diagonal().mean())
        _, overall = batch_means(np.vecdot(centred, centred), centred.diagonal() ** 2, batch)
        mean = Spectrum.of(centred, overall / size**2) if 0 < size < math.inf else ONE_DIRECTION
        return mean, mean if self.added is None else self.added.to(mean)

    @cached_property
    def rows(self) -> Array:
        """`gram`, where it is known to be there."""
        assert self.gram is not None
        return self.gram


def centred_gram(gram: Array, batch: int) -> Array:
    """Products of rows minus their mean over a batch of `batch` rows, of which these are a sample, `(rows, rows)`.

    Args:
        gram: mean products of rows, `(rows, rows)`.
        batch: rows of the whole batch.
    """
    by_row, overall = batch_means(gram.sum(axis=1), gram.diagonal(), batch)
    centred = gram - by_row
    centred -= (by_row - overall)[:, None]
    return np.asarray(centred)


def batch_means(sums: Array, diagonal: Array, batch: int) -> tuple[Array, float]:
    """Means over a batch of a symmetric matrix with some known rows, by row, `(rows,)`, and of all entries.

    Args:
        sums: over the known entries of each row, `(rows,)`.
        diagonal: of the matrix, `(rows,)`.
        batch: number of samples.
    """
    rows = len(sums)
    others = (sums - diagonal) / (rows - 1) if rows > 1 else diagonal
    by_row = diagonal / batch + others * (1 - 1 / batch)
    return by_row, float(by_row.mean())


def cosines(gram: Array) -> Array:
    """Cosines of all pairs, within [-1, 1], and 0 where a row is 0, `(rows, rows)`."""
    diagonal = gram.diagonal()
    inverse = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 0.0)
    cosine = gram * inverse
    cosine *= inverse[:, None]
    return np.asarray(np.clip(cosine, -1.0, 1.0, out=cosine))


def pair_statistics(matrix: Array) -> tuple[float, float]:
    """Mean and variance of a symmetric matrix over pairs of different rows."""
    rows, diagonal = len(matrix), matrix.diagonal()
    pairs = rows * (rows - 1)
    if pairs == 0:
        return 1.0, 0.0
    mean = float(matrix.sum() - diagonal.sum()) / pairs
    square = float(np.vdot(matrix, matrix) - diagonal @ diagonal) / pairs
    return mean, max(square - mean * mean, 0.0)


def stand_in_gram(inputs: InputMoments) -> Array:
    """Products of rows with the lengths and the mean and variance of cosines of `inputs`, whose pairs are not known."""
    places = np.linspace(0, 1, _STAND_INS)
    # A stride that visits the lengths out of order, so that a length is not tied to its neighbours' cosines.
    order = np.arange(_STAND_INS) * 10 % _STAND_INS
    lengths = np.sqrt(np.quantile(inputs.mean_squares, places)[order])
    distance = np.abs(np.subtract.outer(np.arange(_STAND_INS), np.arange(_STAND_INS)))
    near = np.minimum(distance, _STAND_INS - distance) % 2 == 1
    spread = np.sqrt(max(inputs.cosine_variance, 0.0))
    matrix = np.clip(inputs.cosine + np.where(near, spread, -spread), -1.0, 1.0)
    np.fill_diagonal(matrix, 1.0)
    return np.asarray(matrix * lengths * lengths[:, None])
