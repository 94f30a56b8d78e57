"""The input of drawn networks: rows that stand for a batch, or for the batches of several draws.

Without a mean of the weights, only products of rows matter, and a few rows stand for many. Under weights of mean mu the
sum of a row's features moves the z of all its units together. A few dozen rows show the distribution of these sums
badly. A variance over a batch depends on its skewness and its tails. So all rows of a batch are used where weights have
a mean. Each draw has a batch of its own. Of the later ones only sums and lengths are known. They replace those of the
first batch, in the order of the sums. The directions of the rows, apart from the sums, stay those of the first batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.meanfield.input_moments import InputMoments, paired_rows
from initprobe.meanfield.layer import Layer

_SEED = 0
# Chosen: batches that drawn networks take turns with.
_MOST_BATCHES = 8


class Rows(NamedTuple):
    """The input of drawn networks.

    Attributes:
        x: rows with the same products as the input, in few features, `(rows, features)`.
        sums: of each row over all features of the input, `(rows,)`.
    """

    x: Array
    sums: Array

    @classmethod
    def of(cls, gram: Array, means: Array, features: int, *, whole: bool) -> Rows:
        """Rows that stand for an input.

        Args:
            gram: mean products of its rows over features, `(rows, rows)`.
            means: of its rows over features, `(rows,)`.
            features: of the input.
            whole: whether all features are needed, in random directions, and not only products of rows.
        """
        if not whole:
            return cls(_factor(gram * features, features).astype(np.float32), features * means)
        apart = _factor((gram - np.multiply.outer(means, means)) * features, features - 1)
        directions = np.random.default_rng(_SEED).standard_normal((features, apart.shape[1] + 1))
        directions[:, 0] = 1.0  # that of the means
        x = apart @ np.linalg.qr(directions)[0][:, 1:].T + means[:, None]
        return cls(x.astype(np.float32), features * means)


def _factor(products: Array, most: int) -> Array:
    """Rows with the given products, in at most so many features, `(rows, features)`."""
    values, vectors = np.linalg.eigh(products)
    kept = values > values.max() * len(values) * np.finfo(float).eps
    rows = vectors[:, kept] * np.sqrt(values[kept])
    rows[products.diagonal() <= 0] = 0.0  # a layer norm would enlarge what rounding leaves of a row of zeros
    return np.asarray(rows[:, max(rows.shape[1] - most, 0) :])


def some_rows(inputs: InputMoments, batch: int, count: int, first: Layer, *, whole: bool) -> Rows:
    """Some of the rows with known products, with the mean length of those of all batches.

    `gram` has evenly spaced rows of the first batch, and `means` all samples.

    Args:
        inputs: moments of the samples.
        batch: samples in one batch.
        count: of rows.
        first: the first layer.
        whole: as in `Rows.of`.
    """
    assert inputs.gram is not None
    chosen = np.linspace(0, len(inputs.gram) - 1, count).round().astype(np.intp)
    gram, means = inputs.gram[np.ix_(chosen, chosen)], inputs.means[:batch][paired_rows(batch)[chosen]]
    size = float(gram.diagonal().mean())
    longer = float(inputs.mean_squares.mean()) / size if size > 0 else 1.0
    return Rows.of(gram * longer, means * math.sqrt(longer), first.n_in, whole=whole)


def rows_of_batches(inputs: InputMoments, batch: int, count: int) -> list[Rows]:
    """Rows for a few of the batches, in the order of their sums.

    Args:
        inputs: moments of the samples, with `rows`.
        batch: samples in one batch.
        count: of rows.
    """
    assert inputs.rows is not None
    chosen = np.linspace(0, len(inputs.rows) - 1, count).round().astype(np.intp)
    apart = inputs.rows[chosen].astype(float)
    apart -= apart.mean(axis=1, keepdims=True)
    length = np.sqrt(np.mean(apart * apart, axis=1))
    directions = np.divide(apart, length[:, None], out=np.zeros_like(apart), where=length[:, None] > 0)
    return [_rows_with(directions, *each) for each in _means_and_lengths(inputs, batch, count)]


def _rows_with(directions: Array, means: Array, lengths: Array) -> Rows:
    """Rows in these directions, at right angles to that of the means."""
    x = directions * lengths[:, None] + means[:, None]
    return Rows(x.astype(np.float32), directions.shape[1] * means)


def _means_and_lengths(inputs: InputMoments, batch: int, count: int) -> Iterator[tuple[Array, Array]]:
    """Means of rows over features and root mean squares apart from them, in the order of the means, per batch."""
    means, squares = (values.reshape(-1, batch) for values in (inputs.means, inputs.mean_squares))
    number = min(len(means), _MOST_BATCHES) if (means != means[0]).any() else 1
    for chosen in np.linspace(0, len(means) - 1, number).round().astype(np.intp):
        order = np.argsort(means[chosen], kind="stable")
        mean, square = (_pooled(values[chosen][order], count) for values in (means, squares))
        yield mean, np.sqrt(np.maximum(square - mean * mean, 0.0))


def _pooled(values: Array, count: int) -> Array:
    """Means of equal parts, `(count,)`."""
    return np.array([part.mean() for part in np.array_split(values, count)]) if count < len(values) else values
