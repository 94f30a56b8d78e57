"""What theory needs of the samples: measured moments, and groups of like samples that stand for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from initprobe.arrays import Array

# Lengths are averaged over by a Gauss rule of the samples' own distribution of log q, in which every moment is smooth:
# four nodes give five digits for a sample of chi^2_4. Samples this far below the mean all count as equal: phi is its
# tangent there.
_NODES_PER_SPREAD, _MOST_NODES = 10, 12
_SHORTEST = 1e-5
_INDEPENDENT = 1e-6
# Under weights with a mean the samples' sums matter too: groups of like length, each cut by sum.
_SPLIT_GROUPS = (8, 8)
# Rows whose pairs are measured one by one: 32,640 pairs.
_SOME_ROWS = 256


@dataclass(frozen=True)
class InputMoments:
    """What theory needs to know of the input; all of it measured, so that the prediction is for the batch at hand.

    Attributes:
        mean_squares: mean over features of `x^2`, of each sample `(samples,)`.
        means: mean over features of `x`, of each sample `(samples,)`.
        cosine: mean over pairs of different samples of their cosine.
        cosine_variance: variance over those pairs.
        kurtosis: mean over features of `x^4` over the squared mean of `x^2`, averaged over samples.
        cokurtosis: the same of `x_a^2 x_b^2`, averaged over pairs.
    """

    mean_squares: Array
    means: Array
    cosine: float = 0.0
    cosine_variance: float = 0.0
    kurtosis: float = 3.0
    cokurtosis: float = 1.0

    @classmethod
    def measure(cls, x: npt.ArrayLike) -> InputMoments:
        """Moments of a batch `(samples, features)`, or of several stacked."""
        rows = np.asarray(x, float)
        squares = np.vecdot(rows, rows)
        return cls(squares / rows.shape[1], rows.mean(axis=1), *_pair_statistics(rows, squares))

    @classmethod
    def noise(cls, mean_square: float = 1.0, cosine: float = 0.0, features: float = math.inf) -> InputMoments:
        """Samples of equal length; independent Gaussian features give a cosine variance of 1/features."""
        pairs = cosine, (1 - cosine**2) ** 2 / features
        return cls(np.full(1, mean_square), np.zeros(1), *pairs, cokurtosis=1 + 2 * cosine**2)


def _pair_statistics(rows: Array, squares: Array) -> tuple[float, float, float, float]:
    """Mean cosine over all pairs; its variance, kurtosis and cokurtosis over some rows. Zero rows are left out."""
    nonzero = np.flatnonzero(squares > 0)
    n, lengths = len(nonzero), np.sqrt(squares[nonzero])
    # Evenly spaced rows, since files are often sorted by class.
    chosen = slice(None, None, max(-(-n // _SOME_ROWS), 1))
    some = rows[nonzero[chosen]] / lengths[chosen, None]
    powers = some * some
    fourth = float(np.sum(powers * powers)) * rows.shape[1]
    if n < 2:
        return math.nan, math.nan, fourth, fourth
    inverse = np.zeros(len(rows))
    inverse[nonzero] = 1 / lengths
    total = inverse @ rows
    mean = (float(total @ total) - n) / (n * (n - 1))
    gram = (some @ some.T)[np.tri(len(some), k=-1, dtype=bool)]
    common = float(np.sum(powers.sum(axis=0) ** 2)) * rows.shape[1]
    pairs = (common - fourth) / (len(some) * (len(some) - 1)) if len(some) > 1 else 1.0
    return mean, float(np.var(gram)) if len(gram) else 0.0, fourth / len(some), pairs


def sample_groups(inputs: InputMoments, split: bool) -> tuple[Array, Array, Array]:
    """Shares, mean squares and means of groups of samples, by length, or if `split` by length and mean.

    Zero samples are a group of their own: no limit of small ones, since phi may bend at 0.
    """
    zero = inputs.mean_squares == 0
    if zero.all() or not zero.any():
        return _nonzero_groups(inputs.mean_squares, inputs.means, split)
    shares, squares, means = _nonzero_groups(inputs.mean_squares[~zero], inputs.means[~zero], split)
    share = float(np.mean(zero))
    return np.append(shares * (1 - share), share), np.append(squares, 0.0), np.append(means, 0.0)


def _nonzero_groups(mean_squares: Array, sums: Array, split: bool) -> tuple[Array, Array, Array]:
    if not split:
        shares, squares = _gauss_rule(mean_squares)
        return shares, squares, np.full_like(squares, np.mean(sums))
    count, parts = _SPLIT_GROUPS
    order = np.argsort(mean_squares, kind="stable")
    cuts = []
    for rows in _parts(order, count):
        cut = _parts(rows[np.argsort(sums[rows], kind="stable")], parts)
        means = _stretched(sums[rows], [sums[part] for part in cut])
        cuts += [(len(part), np.mean(mean_squares[rows]), mean) for part, mean in zip(cut, means, strict=True)]
    sizes, lengths, centres = np.array(cuts).T
    return sizes / len(order), lengths, centres


def _parts(rows: Array, count: int) -> list[Array]:
    return [part for part in np.array_split(rows, count) if len(part)]


def rule_nodes(spread: float) -> int:
    """Nodes of the rule for samples whose log mean squares have this standard deviation."""
    return min(2 + math.ceil(min(_NODES_PER_SPREAD * spread, _MOST_NODES)), _MOST_NODES)


def _gauss_rule(values: Array) -> tuple[Array, Array]:
    """Shares and nodes of the Gauss rule of a positive sample in its logarithm."""
    scale = float(np.mean(values))
    if not 0 < scale < math.inf:
        return np.ones(1), np.full(1, scale)
    logs = np.log(np.maximum(values / scale, _SHORTEST))
    shares, nodes = gauss_rule(logs, rule_nodes(float(np.std(logs))))
    nodes = np.exp(nodes)
    return shares, nodes * (scale / (shares @ nodes))


def gauss_rule(values: Array, count: int) -> tuple[Array, Array]:
    """Shares and nodes, `count` of each or fewer, of the Gauss rule of a sample, by Lanczos' method.

    Golub & Welsch 1969, Mathematics of Computation 23:221.
    """
    basis = [np.full(len(values), len(values) ** -0.5)]
    diagonal, beside = [], []
    while True:
        image = values * basis[-1]
        diagonal.append(float(image @ basis[-1]))
        for _ in range(2):  # orthogonal to rounding only the second time
            image -= sum((image @ vector) * vector for vector in basis)
        size = float(np.linalg.norm(image))
        if len(basis) == count or size < _INDEPENDENT:
            break
        beside.append(size)
        basis.append(image / size)
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
    return vectors[0] ** 2, nodes


def _stretched(values: Array, parts: Sequence[Array]) -> list[float]:
    """Means of the parts, moved away from their centre until they have the variance that `values` has."""
    centre, means = float(np.mean(values)), [float(np.mean(part)) for part in parts]
    between = sum(len(part) * (mean - centre) ** 2 for part, mean in zip(parts, means, strict=True)) / len(values)
    factor = math.sqrt(float(np.var(values)) / between) if between > 0 else 1.0
    return [centre + factor * (mean - centre) for mean in means]
