"""What theory needs of the input: measured moments, and groups of similar samples with their shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from initprobe.arrays import Array

# Averages over mean squares use a Gauss rule for the samples' own distribution of log q. Moments are smooth in it:
# four nodes give five digits for samples with 4 Gaussian features. Samples with mean squares below _SHORTEST times the
# mean count as equal, since phi is its tangent there.
_NODES_PER_SPREAD, _MOST_NODES = 10, 12
_SHORTEST = 1e-5
_INDEPENDENT = 1e-6
# Under weights with a mean, the samples' means matter too. Each group of similar mean square has so many nodes of the
# Gauss rule of its means. An even number, as a mean of 0 may be unstable.
_MEANS = 8
# Rows whose pairs are measured one by one: 32,640 pairs.
PAIRED_ROWS = 256
# Entries of the rows that are kept themselves, though never fewer rows than above.
_MOST_KEPT = 1 << 20
# Samples count as equal up to this, relative: a few times the rounding of float32.
_ROUNDING = 1e-6


class InputMoments(NamedTuple):
    """Statistics of the input that theory reads, measured so that the prediction is for the batch at hand.

    Attributes:
        mean_squares: mean over features of `x^2`, for each sample, `(samples,)`.
        means: mean over features of `x`, for each sample, `(samples,)`.
        cosine: mean cosine over pairs of different samples.
        cosine_variance: variance of the cosine over those pairs.
        kurtosis: mean over features of `x^4` over the squared mean of `x^2`, averaged over samples.
        cokurtosis: mean over features of `x_a^2 x_b^2` over the product of the two means, averaged over pairs.
        gram: mean over features of `x_a x_b` for some rows of one batch, `(rows, rows)`; None where not measured.
        rows: of one batch in the order of their means, `(rows, features)`, as many as are kept; None where none are.
    """

    mean_squares: Array
    means: Array
    cosine: float = 0.0
    cosine_variance: float = 0.0
    kurtosis: float = 3.0
    cokurtosis: float = 1.0
    gram: Array | None = None
    rows: Array | None = None

    @classmethod
    def measure(cls, x: npt.ArrayLike, *, keep_rows: bool = False) -> InputMoments:
        """Moments of a batch.

        Args:
            x: the batch, `(samples, features)`.
            keep_rows: whether the moments have `rows`.
        """
        rows = np.asarray(x, float)
        squares, means = np.vecdot(rows, rows), rows.mean(axis=1)
        kept = _ordered(rows, means) if keep_rows else None
        return cls(squares / rows.shape[1], means, *_pair_statistics(rows, squares), _gram(rows), kept)

    @property
    def are_equal(self) -> bool:
        """Whether every sample is the same, up to the rounding of float32; no network tells such samples apart."""
        return bool(self.cosine > 1 - _ROUNDING and np.ptp(self.mean_squares) <= _ROUNDING * self.mean_squares.max())

    @classmethod
    def noise(cls, mean_square: float = 1.0, cosine: float = 0.0, features: float = math.inf) -> InputMoments:
        """Moments of noise: samples of equal mean square; independent Gaussian features vary the cosine by 1/features.

        Args:
            mean_square: mean square of every sample.
            cosine: mean cosine over pairs.
            features: independent features; infinite for a cosine that does not vary.
        """
        pairs = cosine, (1 - cosine**2) ** 2 / features
        return cls(np.full(1, mean_square), np.zeros(1), *pairs, cokurtosis=1 + 2 * cosine**2)


def paired_rows(count: int) -> npt.NDArray[np.intp]:
    """Numbers of the rows whose pairs are measured, evenly spaced.

    Args:
        count: rows of a batch.
    """
    return np.linspace(0, count - 1, min(count, PAIRED_ROWS)).round().astype(np.intp)


def add_moments(held: list[InputMoments], measured: Sequence[InputMoments]) -> None:
    """Add the moments of further batches to a list. Only the first of all keeps `gram` and `rows`, which are large.

    Args:
        held: is extended.
        measured: in the order of the batches.
    """
    for moments in measured:
        held.append(moments._replace(gram=None, rows=None) if held else moments)


def _ordered(rows: Array, means: Array) -> Array:
    """Rows in the order of their means, in float32; evenly spaced ones where all would be too many."""
    count = min(len(rows), max(_MOST_KEPT // rows.shape[1], PAIRED_ROWS))
    chosen = np.linspace(0, len(rows) - 1, count).round().astype(np.intp)
    with np.errstate(over="ignore"):
        return np.asarray(rows[np.argsort(means, kind="stable")[chosen]], np.float32)


def _gram(rows: Array) -> Array:
    """Mean products of all pairs of some evenly spaced rows, `(rows, rows)`; zero rows are among them."""
    chosen = rows[paired_rows(len(rows))]
    return np.asarray(chosen @ chosen.T / rows.shape[1])


def _pair_statistics(rows: Array, squares: Array) -> tuple[float, float, float, float]:
    """Mean cosine over all pairs; its variance, kurtosis and cokurtosis over some rows. Zero rows are left out."""
    nonzero = np.flatnonzero(squares > 0)
    n, lengths = len(nonzero), np.sqrt(squares[nonzero])
    # Evenly spaced rows, since files are often sorted by class.
    chosen = slice(None, None, max(-(-n // PAIRED_ROWS), 1))
    units = rows[nonzero[chosen]] / lengths[chosen, None]
    powers = units * units
    fourth = float(np.sum(powers * powers)) * rows.shape[1]
    if n < 2:
        return math.nan, math.nan, fourth, fourth
    inverse = np.zeros(len(rows))
    inverse[nonzero] = 1 / lengths
    total = inverse @ rows
    mean = (float(total @ total) - n) / (n * (n - 1))
    gram = (units @ units.T)[np.tri(len(units), k=-1, dtype=bool)]
    common = float(np.sum(powers.sum(axis=0) ** 2)) * rows.shape[1]
    pairs = (common - fourth) / (len(units) * (len(units) - 1)) if len(units) > 1 else 1.0
    return mean, float(np.var(gram)) if len(gram) else 0.0, fourth / len(units), pairs


def sample_groups(inputs: InputMoments, split: bool) -> tuple[Array, Array, Array]:
    """Shares, mean squares and means of groups of samples, each `(groups,)`.

    Samples that are 0 form a group of their own, because phi may have a kink at 0.

    Args:
        inputs: moments of the samples.
        split: whether groups are formed by mean square and mean, and not by mean square alone.
    """
    zero = inputs.mean_squares == 0
    if zero.all() or not zero.any():
        return _nonzero_groups(inputs.mean_squares, inputs.means, split)
    shares, squares, means = _nonzero_groups(inputs.mean_squares[~zero], inputs.means[~zero], split)
    share = float(np.mean(zero))
    return np.append(shares * (1 - share), share), np.append(squares, 0.0), np.append(means, 0.0)


def _nonzero_groups(mean_squares: Array, sample_means: Array, split: bool) -> tuple[Array, Array, Array]:
    scale = float(np.mean(mean_squares))
    if not 0 < scale < math.inf:
        return np.ones(1), np.full(1, scale), np.full(1, np.mean(sample_means))
    relative, root = mean_squares / scale, math.sqrt(scale)
    logs = np.log(np.maximum(relative, _SHORTEST))
    count = rule_nodes(float(np.std(logs)))
    if not split:
        shares, nodes = gauss_rule(logs, count)
        nodes = np.exp(nodes)
        return shares, nodes * (scale / (shares @ nodes)), np.full_like(nodes, np.mean(sample_means))
    parts = _parts(np.argsort(relative, kind="stable"), count)
    squares = np.clip(_stretched(relative, [relative[rows] for rows in parts]), relative.min(), relative.max())
    rules = [gauss_rule(sample_means[rows] / root, _MEANS) for rows in parts]
    shares = np.concatenate([len(rows) * shares for rows, (shares, _) in zip(parts, rules, strict=True)])
    repeated = np.repeat(squares, [len(nodes) for _, nodes in rules])
    return shares / len(relative), scale * repeated, root * np.concatenate([nodes for _, nodes in rules])


def group_means(shares: Array, mean_squares: Array, sample_means: Array) -> Array:
    """Means of groups, in proportion to their lengths, so that no square of a mean exceeds a mean square.

    Args:
        shares: of the groups, `(groups,)`.
        mean_squares: of the groups, `(groups,)`.
        sample_means: means of the samples, whose mean the groups keep.
    """
    lengths = np.sqrt(mean_squares)
    size = float(shares @ lengths)
    return lengths * min(max(float(np.mean(sample_means)) / size, -1.0), 1.0) if size > 0 else lengths


def _parts(rows: Array, count: int) -> list[Array]:
    return [part for part in np.array_split(rows, count) if len(part)]


def rule_nodes(spread: float) -> int:
    """Number of nodes of the rule for samples whose log mean squares have this standard deviation."""
    return min(2 + math.ceil(min(_NODES_PER_SPREAD * spread, _MOST_NODES)), _MOST_NODES)


def similar_rows(variances: Array) -> tuple[Array, Array]:
    """Shares and variances, each `(groups,)`, of a few groups that stand for rows of these positive variances."""
    logs = np.log(variances)
    shares, nodes = gauss_rule(logs, rule_nodes(float(np.std(logs))))
    return shares, np.exp(nodes)


def gauss_rule(values: Array, count: int) -> tuple[Array, Array]:
    """Shares and nodes, each `(nodes,)`, of the Gauss rule of a sample, by Lanczos' method.

    NumPy and SciPy have Gauss rules of named densities only, none of a sample.
    Golub & Welsch 1969, Mathematics of Computation 23:221.

    Args:
        values: the sample, `(values,)`.
        count: number of nodes; fewer where the sample has fewer different values.
    """
    basis = [np.full(len(values), len(values) ** -0.5)]
    diagonal, off_diagonal = [], []
    while True:
        image = values * basis[-1]
        diagonal.append(float(image @ basis[-1]))
        for _ in range(2):  # a second pass makes the vectors orthogonal to rounding
            image -= sum((image @ vector) * vector for vector in basis)
        size = float(np.linalg.norm(image))
        if len(basis) == count or size < _INDEPENDENT:
            break
        off_diagonal.append(size)
        basis.append(image / size)
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1))
    return vectors[0] ** 2, nodes


def _stretched(values: Array, parts: Sequence[Array]) -> list[float]:
    """Means of the parts, moved away from the overall mean until their variance is that of `values`."""
    centre, means = float(np.mean(values)), [float(np.mean(part)) for part in parts]
    between = sum(len(part) * (mean - centre) ** 2 for part, mean in zip(parts, means, strict=True)) / len(values)
    factor = math.sqrt(float(np.var(values)) / between) if between > 0 else 1.0
    return [centre + factor * (mean - centre) for mean in means]
