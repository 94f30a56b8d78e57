"""Samplers of entries with mean 0 and variance 1, which an initializer scales and shifts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from initprobe.arrays import Array, normal_cdf, normal_density, standard_normal
from initprobe.errors import ConfigError

Shape = Literal["normal", "uniform", "truncated_normal"]


class Distribution(NamedTuple):
    """Entries of mean 0 and variance 1, before they are scaled.

    Attributes:
        name: for tables.
        sample: from `(generator, (rows, columns), dtype)` to an array of shape `(rows, columns)`.
        describe: from `(mean, std)` of the scaled entries to words, e.g. `N(0, std 0.0447)`.
        cdf: the distribution function of an entry, or None where entries are not identically distributed reals.
        whole: a matrix must be sampled in one piece, because its entries depend on each other.
        gaussian_limit: the pre-activations of a wide layer are Gaussian, so mean-field theory applies.
        orthogonal: rows or columns are orthonormal, so that a finite net deviates less from theory.
        fourth: from fan_in to `E[w^4]` and `E[w_i^2 w_j^2]` of two weights of one unit; (3, 1) if normal. They decide
            how far a finite net deviates from theory.
    """

    name: str
    sample: Callable[[np.random.Generator, tuple[int, int], npt.DTypeLike], Array]
    describe: Callable[[float, float], str]
    cdf: Callable[[Array], Array] | None = None
    whole: bool = False
    gaussian_limit: bool = True
    orthogonal: bool = False
    fourth: Callable[[int], tuple[float, float]] = lambda fan_in: (3.0, 1.0)


def _number(x: float) -> str:
    return f"{x:.4g}"


def _normal_words(mean: float, std: float) -> str:
    return f"N({_number(mean)}, std {_number(std)})"


def _uniform_words(mean: float, std: float) -> str:
    half = math.sqrt(3) * std
    if mean:
        ends = (end if abs(end) > 1e-9 * half else 0.0 for end in (mean - half, mean + half))  # 0 but for rounding
        return f"U({', '.join(map(_number, ends))})"
    return f"U(+-{_number(half)}), std {_number(std)}"


def _sample_uniform(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
    entries = rng.random(shape, dtype=dtype)  # type: ignore[arg-type]
    entries -= 0.5
    entries *= math.sqrt(12)
    return entries


def _uniform_cdf(x: Array) -> Array:
    return np.clip((x / math.sqrt(3) + 1) / 2, 0, 1)


NORMAL = Distribution("normal", standard_normal, _normal_words, normal_cdf)
UNIFORM = Distribution("uniform", _sample_uniform, _uniform_words, _uniform_cdf, fourth=lambda fan_in: (9 / 5, 1.0))


def truncated_moments(low: float, high: float) -> tuple[float, float]:
    """Mean and variance of a standard normal cut to `[low, high]`, in standard deviations before the cut.

    `Z = Phi(high) - Phi(low)`; `m = (pdf(low) - pdf(high)) / Z`; `v = 1 + (low pdf(low) - high pdf(high)) / Z - m^2`.

    Args:
        low, high: the cuts, in standard deviations; may be infinite.
    """
    # Not scipy.stats.truncnorm: it agrees within 8e-15, but takes 1.3 s to import, and its sampler is 22 times as slow.
    mass = mass_within(low, high)
    mean = (normal_density(low) - normal_density(high)) / mass
    return mean, 1 + (low * normal_density(low) - high * normal_density(high)) / mass - mean**2


def _truncated_kurtosis(low: float, high: float) -> float:
    """`E[(x - m)^4] / v^2` of a standard normal cut to `[low, high]`: its raw moments follow by parts."""
    raw = [1.0, truncated_moments(low, high)[0]]
    for k in range(2, 5):
        edge = low ** (k - 1) * normal_density(low) - high ** (k - 1) * normal_density(high)
        raw.append((k - 1) * raw[k - 2] + edge / mass_within(low, high))
    m, variance = raw[1], raw[2] - raw[1] ** 2
    return (raw[4] - 4 * m * raw[3] + 6 * m**2 * raw[2] - 3 * m**4) / variance**2


def mass_within(low: float, high: float) -> float:
    """The probability that a standard normal lies in `[low, high]`; without SciPy, which `--help` must not load.

    Args:
        low, high: the bounds.
    """
    return (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2


def truncated_distribution(low: float, high: float) -> Distribution:
    """A standard normal cut to `[low, high]`, then shifted and scaled to mean 0 and variance 1.

    Args:
        low, high: the cuts, in standard deviations.
    """
    mean, variance = truncated_moments(low, high)
    scale = math.sqrt(variance)

    def sample(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
        entries = standard_normal(rng, shape, dtype)
        outside = (entries < low) | (entries > high)
        while count := int(np.count_nonzero(outside)):
            entries[outside] = standard_normal(rng, (1, count), dtype)[0]
            outside = (entries < low) | (entries > high)
        entries -= mean
        entries /= scale
        return entries

    def cdf(x: Array) -> Array:
        inside = np.clip(x * scale + mean, low, high)
        return np.asarray((normal_cdf(inside) - normal_cdf(np.asarray(low))) / mass_within(low, high))

    def describe(entry_mean: float, std: float) -> str:
        before = std / scale
        centre = entry_mean - mean * before
        bounds = f"[{_number(centre + low * before)}, {_number(centre + high * before)}]"
        return f"N({_number(centre)}, std {_number(before)}) cut to {bounds}, std {_number(std)} after the cut"

    kurtosis = _truncated_kurtosis(low, high)
    return Distribution("truncated_normal", sample, describe, cdf, fourth=lambda fan_in: (kurtosis, 1.0))


# The cut that Keras and JAX use in their variance-scaling initializers.
TRUNCATED = truncated_distribution(-2, 2)
SHAPES: Mapping[str, Distribution] = {"normal": NORMAL, "uniform": UNIFORM, "truncated_normal": TRUNCATED}


def _haar(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
    """A Haar-distributed matrix with orthonormal rows or columns, scaled to entries of variance 1.

    QR runs in float64, since it loses orthogonality in lower precision. The signs of R's diagonal make the
    distribution uniform (Mezzadri 2007, arXiv:math-ph/0609050).
    """
    tall = (max(shape), min(shape))
    q, r = np.linalg.qr(rng.standard_normal(tall))
    q *= np.where(np.diag(r) < 0, -1, 1)
    q *= math.sqrt(max(shape))
    return np.ascontiguousarray(q if shape == tall else q.T, dtype=dtype)


def diagonal(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
    """The identity, scaled so that the mean square of its entries is 1.

    Args:
        rng: not used: nothing is random.
        shape: `(rows, columns)`.
        dtype: of the entries.

    Raises:
        ConfigError: the matrix is not square.
    """
    if shape[0] != shape[1]:
        raise ConfigError(
            f"identity needs square layers, but one is {shape[0]} -> {shape[1]}; "
            "make --input-width equal to the widths, or use orthogonal"
        )
    return math.sqrt(shape[0]) * np.eye(shape[0], dtype=dtype)


ORTHOGONAL = Distribution(
    "orthogonal",
    _haar,
    lambda mean, std: f"Haar orthogonal, entries of std {_number(std)}",
    whole=True,
    orthogonal=True,
)
IDENTITY = Distribution(
    "identity",
    diagonal,
    lambda mean, std: f"diagonal, entries of rms {_number(std)}",
    whole=True,
    gaussian_limit=False,
)
CONSTANT = Distribution(
    "constant",
    lambda rng, shape, dtype: np.zeros(shape, dtype),
    lambda mean, std: f"constant {_number(mean)}",
    gaussian_limit=False,
)


def connections_cut(fan_in: int, sparsity: float) -> int:
    """The number of incoming weights of a unit that are set to 0.

    Args:
        fan_in, sparsity: incoming weights of a unit, and the share that is cut.
    """
    return math.ceil(sparsity * fan_in)


def sparse_distribution(sparsity: float) -> Distribution:
    """Normal entries, of which a share `sparsity` in each column is 0."""

    def sample(rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
        fan_in = shape[0]
        cut = connections_cut(fan_in, sparsity)
        entries = standard_normal(rng, shape, dtype)
        entries[rng.permuted(np.tile(np.arange(fan_in)[:, None] < cut, shape[1]), axis=0)] = 0
        # Where every connection is cut, there is nothing to scale.
        return entries * math.sqrt(fan_in / (fan_in - cut)) if cut < fan_in else entries

    def fourth(fan_in: int) -> tuple[float, float]:
        kept = fan_in - connections_cut(fan_in, sparsity)
        # The number of weights kept is fixed: if one weight is kept, another is less likely to be.
        return (3 * fan_in / kept, fan_in * (kept - 1) / (kept * max(fan_in - 1, 1))) if kept else (3.0, 1.0)

    words = f"{_number(100 * sparsity)}% zeros in each column"
    return Distribution(
        "sparse",
        sample,
        lambda mean, std: f"normal with {words}, std {_number(std)} overall",
        whole=True,
        fourth=fourth,
    )
