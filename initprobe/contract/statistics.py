"""How far the entries of a parameter are from a rule, in tests whose false alarms are known exactly.

An entry `x` of a continuous distribution with distribution function F becomes `w = Phi^-1(F(x))`, which is N(0, 1)
(probability integral transform). So for every rule, three statistics have known distributions at any size. The sum of
`w` is normal, that of `w^2` is chi-square, and the counts beyond 2 and 3 are binomial.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from initprobe.arrays import Array
from initprobe.initializers.distributions import Distribution

# Entries that are transformed at a time: 8 MB in float64.
_CHUNK = 1 << 20
# The largest sample that the Kolmogorov-Smirnov test takes; sorting more costs seconds and finds no other fault.
_SORTED = 100_000
# Random numbers of 24 bits reach no nearer to 0 or 1 than this.
_EDGE = 2.0**-25
_TAILS = (2.0, 3.0)
# Std of a standard normal cut to +-2: sqrt(1 - 4 pdf(2) / (2 Phi(2) - 1)).
CUT_STD = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))
# An entry this much beyond the largest value, relative to it, is rounding.
_BOUND_ROUNDING = 1e-6


@dataclass(frozen=True)
class Evidence:
    """One test of one parameter.

    Attributes:
        kind: what was compared: `mean`, `std`, `shape`, `tails`, `bounds`.
        p: chance of a difference at least as large under the rule.
        errors: the difference in standard errors; infinite where the rule does not allow it at all.
    """

    kind: str
    p: float
    errors: float


@dataclass(frozen=True)
class Moments:
    """Mean, standard deviation about it, and the extremes of the entries, in float64."""

    mean: float
    std: float
    low: float
    high: float


def moments(values: Array) -> Moments:
    """Moments of all entries; variance over all entries about their mean.

    Raises:
        ValueError: there are no entries.
    """
    flat = values.reshape(-1)
    mean = float(np.mean(flat, dtype=np.float64))
    squares = sum(float(np.square(part - mean).sum()) for part in _chunks(flat))
    return Moments(mean, math.sqrt(squares / flat.size), float(flat.min()), float(flat.max()))


def evidence(values: Array, distribution: Distribution, mean: float, std: float, rounding: float) -> list[Evidence]:
    """Each test of the entries against `mean + std * distribution`.

    Args:
        values: entries of any shape, finite.
        distribution: of mean 0 and variance 1, with a distribution function.
        mean: of an entry.
        std: of an entry, above 0.
        rounding: relative size of one unit in the last place of the entries.

    Returns:
        At most five tests; a parameter fails where one of them has too small a `p`.
    """
    transformed = _Transformed(distribution, mean, std, rounding)
    for part in _chunks(values.reshape(-1)):
        transformed.add(part)
    return transformed.tests()


def measured_evidence(
    values: Array, distribution: Distribution, mean: float, std: float, rounding: float, own: Moments
) -> list[Evidence]:
    """As `evidence`, where `mean` and `std` were measured on another draw of as many entries.

    The ratio of two measured variances is F distributed, and the difference of two means has twice the variance. The
    shape is tested about the entries' own mean and std, which makes a false alarm rarer.

    Args:
        values: entries of any shape, finite.
        distribution: of mean 0 and variance 1, with a distribution function.
        mean: of the other draw.
        std: of the other draw, above 0.
        rounding: relative size of one unit in the last place of the entries.
        own: mean, std and range of `values`.
    """
    from scipy.special import fdtr, fdtrc, ndtr

    count = int(values.size)
    if own.std == 0:
        return [Evidence("values", 0.0, math.inf)]
    ratio = (own.std / std) ** 2
    errors = abs(ratio - 1) / math.sqrt(4 / count)
    location = abs(own.mean - mean) / (std * math.sqrt(2 / count))
    shape = [test for test in evidence(values, distribution, own.mean, own.std, rounding) if test.kind == "shape"]
    return [
        Evidence("mean", float(2 * ndtr(-location)), location),
        Evidence("std", _two_sided(fdtr(count, count, ratio), fdtrc(count, count, ratio)), errors),
        *shape,
    ]


def moment_evidence(values: Array, mean: float, std: float, own: Moments, draws: int) -> list[Evidence]:
    """Mean and std alone, of entries whose distribution is unknown, by the central limit theorem.

    Args:
        values: entries of any shape, finite.
        mean: that was meant or measured.
        std: that was meant or measured; 0 allows no spread.
        own: moments of the entries.
        draws: 2 if mean and std were measured on another draw of as many entries, else 1.
    """
    from scipy.special import ndtr

    spread = std * math.sqrt(draws / values.size)
    location = abs(own.mean - mean) / spread if spread else math.inf
    # The variance of a sample variance is (kurtosis - 1) / n. A normal distribution's is the least that is allowed for.
    width = math.sqrt((max(kurtosis(values, own), 3.0) - 1) * draws / values.size)
    errors = abs((own.std / std) ** 2 - 1) / width if std else math.inf
    return [
        Evidence("mean", float(2 * ndtr(-location)), location),
        Evidence("std", float(2 * ndtr(-errors)), errors),
    ]


def kurtosis(values: Array, own: Moments) -> float:
    """`E[(x - mean)^4] / std^4` over all entries; 3 of a normal distribution. A constant has none, and gets 0.

    Args:
        values: entries of a tensor, in any shape.
        own: their mean and variance.
    """
    if own.std == 0:
        return 0.0
    flat = values.reshape(-1)
    return sum(float(np.square(np.square((part - own.mean) / own.std)).sum()) for part in _chunks(flat)) / flat.size


def _chunks(flat: Array) -> Iterator[Array]:
    for start in range(0, flat.size, _CHUNK):
        yield np.asarray(flat[start : start + _CHUNK], dtype=np.float64)


class _Transformed:
    """Sums over the transformed entries."""

    def __init__(self, distribution: Distribution, mean: float, std: float, rounding: float) -> None:
        self.distribution, self.mean, self.std, self.rounding = distribution, mean, std, rounding
        self.count, self.outside = 0, 0
        self.total, self.squares = 0.0, 0.0
        self.beyond = [0] * len(_TAILS)
        self.sample: list[Array] = []

    def add(self, part: Array) -> None:
        """Transform some entries and take their sums."""
        normal = self._normal(self._spread(part, self.count))
        self.count += part.size
        self.total += float(normal.sum())
        self.squares += float(np.square(normal).sum())
        size = np.abs(normal)
        self.beyond = [count + int(np.count_nonzero(size > t)) for count, t in zip(self.beyond, _TAILS, strict=True)]
        kept = sum(map(len, self.sample))
        if kept < _SORTED:
            self.sample.append(normal[: _SORTED - kept])

    def _spread(self, part: Array, seed: int) -> Array:
        """Entries of few bits, spread evenly over what they were rounded from; ties would have no distribution."""
        if self.rounding < 1e-5:
            return part
        rng = np.random.default_rng(seed)
        return part * (1 + self.rounding * (rng.random(part.shape) - 0.5))

    def _normal(self, part: Array) -> Array:
        from scipy.special import ndtri

        unit = (part - self.mean) / self.std
        if self.distribution.name == "normal":
            return np.asarray(unit)
        assert self.distribution.cdf is not None
        inward = unit * (1 - _BOUND_ROUNDING - self.rounding)
        shares = self.distribution.cdf(unit)
        self.outside += int(
            np.count_nonzero((self.distribution.cdf(inward) <= 0) | (self.distribution.cdf(inward) >= 1))
        )
        return np.asarray(ndtri(np.clip(shares, _EDGE, 1 - _EDGE)))

    def tests(self) -> list[Evidence]:
        """All tests of the entries so far."""
        from scipy.special import ndtr

        location = abs(self.total) / math.sqrt(self.count)
        tests = [
            Evidence("mean", float(2 * ndtr(-location)), location),
            self._std(),
            self._shape(),
            *(self._tail(beyond, threshold) for beyond, threshold in zip(self.beyond, _TAILS, strict=True)),
        ]
        return [*tests, Evidence("bounds", 0.0, math.inf)] if self.outside else tests

    def _std(self) -> Evidence:
        """The sum of squares, which is chi-square with as many degrees of freedom as there are entries."""
        from scipy.special import chdtr, chdtrc

        p = _two_sided(chdtr(self.count, self.squares), chdtrc(self.count, self.squares))
        return Evidence("std", p, abs(self.squares / self.count - 1) / math.sqrt(2 / self.count))

    def _shape(self) -> Evidence:
        """Kolmogorov-Smirnov distance of the first entries from N(0, 1).

        The limit distribution of many entries is taken, under which p is too large for few: no false alarm more.
        """
        from scipy.special import kolmogorov, ndtr

        sample = np.sort(np.concatenate(self.sample))
        steps = np.arange(sample.size + 1) / sample.size
        shares = ndtr(sample)
        scaled = float(max(np.max(steps[1:] - shares), np.max(shares - steps[:-1]))) * math.sqrt(sample.size)
        return Evidence("shape", float(kolmogorov(scaled)), scaled)

    def _tail(self, beyond: int, threshold: float) -> Evidence:
        """The count beyond a threshold, which is binomial."""
        from scipy.special import bdtr, bdtrc, ndtr

        share = float(2 * ndtr(-threshold))
        above = bdtrc(beyond - 1, self.count, share) if beyond else 1.0
        errors = abs(beyond - share * self.count) / math.sqrt(share * (1 - share) * self.count)
        return Evidence("tails", _two_sided(bdtr(beyond, self.count, share), above), errors)


def _two_sided(below: float, above: float) -> float:
    """Chance of a value at least as far out on either side, from the chances of each side."""
    return float(min(1.0, 2 * min(below, above)))
