"""Tests of whether the entries of a weight matrix look independent, which mean-field theory assumes.

Each statistic has a known mean and standard deviation (SD) under independence. A value 5 SD above the mean speaks
against it. Values below the mean do not: theory allows rows of equal length and orthonormal columns. Whether weights
are aligned with the data is not tested here; it shows as a gap between prediction and measurement.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from initprobe.arrays import Array
from initprobe.formatting import fixed

SDS = 5.0
# Vectors whose pairs are compared: 32,640 pairs.
_SOME = 256
# Off-diagonal entries of W'W over its diagonal, which rounding leaves for orthonormal float32 columns.
_ORTHOGONAL = 1e-5
# Largest excess kurtosis of z that theory allows.
_HEAVY = 0.5
# The largest eigenvalue under independence has a Tracy-Widom distribution: its mean and standard deviation.
_TRACY_WIDOM = (-1.2065, 1.2680)
_LANCZOS = 40


@dataclass(frozen=True)
class Judged:
    """What a weight matrix shows about the distribution of its entries.

    Attributes:
        mean: of an entry; 0 if the measured mean is less than 5 standard errors from 0.
        variance: of an entry about that mean.
        kurtosis: `E[w^4] / E[w^2]^2` about that mean.
        orthogonal: rows or columns are orthonormal, up to a factor.
        fault: why the entries do not look independent, in words; None if they do.
    """

    mean: float
    variance: float
    kurtosis: float
    orthogonal: bool
    fault: str | None


def judge(weight: Array) -> Judged:
    """Measure the entries of `W`, `(fan_in, fan_out)`, and test them for independence."""
    low, high = float(weight.min()), float(weight.max())
    if low == high:
        return Judged(low, 0.0, 1.0, False, f"every entry is {low:.4g}")
    scale = max(-low, high)
    unit = weight.astype(float)
    unit /= scale  # so that no square leaves the float range
    centre = float(unit.mean())
    spread = math.sqrt(max(float(np.vdot(unit, unit)) / unit.size - centre**2, 0.0))
    if abs(centre) < SDS * spread / math.sqrt(unit.size):
        centre = 0.0
    else:
        unit -= centre
    spread = math.sqrt(float(np.vdot(unit, unit)) / unit.size)
    unit /= spread
    squares = unit * unit
    fourth = float(np.vdot(squares, squares)) / unit.size
    sparse = _too_few_terms(weight, fourth)
    orthogonal = sparse is None and _is_orthogonal(unit)
    fault = sparse or (None if orthogonal else next(_faults(unit, squares, fourth), None))
    return Judged(centre * scale, (spread * scale) * (spread * scale), fourth, orthogonal, fault)


def _too_few_terms(weight: Array, fourth: float) -> str | None:
    """Why a unit's z is not a sum of many terms, and so not normal; None if it is.

    With n independent weights, z has excess kurtosis `(E[w^4]/E[w^2]^2 - 3)/n`. The kurtosis of N normal entries has
    SD `sqrt(24/N)`.
    """
    fan_in = len(weight)
    if fan_in > 1 and np.count_nonzero(weight, axis=0).max() == 1:
        return "every unit has a single input, so no inputs are added up"
    excess = (fourth - 3 - SDS * math.sqrt(24 / weight.size)) / fan_in
    if excess > _HEAVY:
        return f"a few large entries dominate (kurtosis {fourth:.3g} for {fan_in} inputs)"
    return None


def related(weight: Array, below: Array) -> str | None:
    """Why two matrices do not look independent of each other, in words; None if they do.

    Entries in the same places have a correlation of 0 on average, with SD `1/sqrt(entries)`.

    Args:
        weight: `(fan_in, fan_out)`.
        below: matrix of the layer before; only one of the same shape, or with the transposed shape, is compared.
    """
    for name, second in (("", below), (" transposed", below.T)):
        if weight.shape == second.shape and weight.size > 1 and (excess := _correlation(weight, second)) > SDS:
            far = f"{fixed(excess, 0)} SD beyond chance"
            return f"its entries are correlated with those{name} of the layer before, {far}"
    return None


def _correlation(first: Array, second: Array) -> float:
    """Absolute correlation of the entries, in units of its SD under independence."""
    a, b = (_centred(each) for each in (first, second))
    size = math.sqrt(float(np.sum(a * a)) * float(np.sum(b * b)))
    return abs(float(np.sum(a * b))) / size * math.sqrt(first.size) if size else 0.0


def _centred(weight: Array) -> Array:
    """Entries less their mean, in units of the largest, so that no square leaves the float range."""
    unit = np.asarray(weight, float) / (float(np.abs(weight).max()) or 1.0)
    return np.asarray(unit - unit.mean())


def _is_orthogonal(unit: Array) -> bool:
    vectors = _some(unit if unit.shape[0] <= unit.shape[1] else unit.T)
    gram = vectors @ vectors.T / vectors.shape[1]
    return len(vectors) > 1 and bool(np.abs(gram - np.eye(len(gram))).max() < _ORTHOGONAL)


def _some(rows: Array) -> Array:
    """At most 256 rows, evenly spaced."""
    return rows[:: max(-(-len(rows) // _SOME), 1)]


def _faults(unit: Array, squares: Array, fourth: float) -> Iterator[str]:
    """Evidence against independent entries of mean 0 and variance 1, in words."""
    excess_square = squares - 1
    excess_square *= excess_square
    tail = float(np.vdot(excess_square, excess_square)) / unit.size
    for axis, name in ((1, "rows"), (0, "columns")):
        sizes = squares.mean(axis=axis)
        excess = _uneven(sizes, unit.shape[axis], fourth, tail)
        if excess > SDS:
            yield (
                f"the variance of its {name} goes from {sizes.min():.2g} to {sizes.max():.2g} times the mean, "
                f"{fixed(excess, 0)} SD more than chance allows"
            )
    for name, vectors in (("rows", unit), ("columns", unit.T)):
        excess = _aligned(_some(vectors), fourth)
        if excess > SDS:
            yield f"its {name} are correlated, {fixed(excess, 0)} SD beyond chance"
    excess, share = _spiked(unit, fourth)
    if excess > SDS:
        yield f"its largest singular value is {share:.3g} times that of chance, {fixed(excess, 0)} SD beyond it"


def _uneven(sizes: Array, length: int, fourth: float, tail: float) -> float:
    """How unequal the mean squares of some vectors are, in SD beyond their mean under independence.

    A mean square `s` of `n` entries has `Var(s) = (E[w^4] - 1)/n`. The mean of `(s - 1)^2` over m vectors has SD
    `Var(s) sqrt((2 + k/n)/m)`. The excess kurtosis `k` of `w^2` comes from `tail = E[(w^2 - 1)^4]`.
    """
    variance = (fourth - 1) / length
    if len(sizes) < 2 or variance < 1e-12:  # entries +-1: every mean square is 1
        return 0.0
    kurtosis = tail / (fourth - 1) ** 2 - 3
    spread = math.sqrt(max(2 + kurtosis / length, 0.0) / len(sizes))
    return _sds(float(np.mean((sizes - 1) ** 2)) / variance, spread)


def _sds(square: float, spread: float) -> float:
    """Distance of a mean of squares from its expectation 1, in SD; by its cube root, which is nearly normal.

    Wilson & Hilferty 1931, PNAS 17:684.
    """
    return (math.cbrt(square) - (1 - spread**2 / 9)) / (max(spread, 1e-12) / 3)


def _aligned(vectors: Array, fourth: float) -> float:
    """How large the squared cosines of pairs of vectors are, in SD beyond their mean under independence.

    A squared cosine is `1/n` on average; `n` times it has variance `2 + (E[w^4]^2 - 3)/n`.
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    units = vectors[lengths > 0] / lengths[lengths > 0, None]
    count, length = units.shape
    pairs = count * (count - 1) / 2
    if pairs < 1 or length < 2:
        return 0.0
    total = (float(np.sum((units @ units.T) ** 2)) - count) / 2
    return _sds(total / pairs * length, math.sqrt(max(2 + (fourth**2 - 3) / length, 0.0) / pairs))


def _spiked(unit: Array, fourth: float) -> tuple[float, float]:
    """The largest singular value: its distance from the mean of its Tracy-Widom law, in SD, and its ratio to it.

    Johnstone 2001, Annals of Statistics 29:295. Entries with a large fourth moment shift the edge by a share of about
    `(E[w^4] - 3) / n`.
    """
    rows, columns = unit.shape
    root = math.sqrt(max(rows - 1, 1)) + math.sqrt(columns)
    width = root * (1 / math.sqrt(max(rows - 1, 1)) + 1 / math.sqrt(columns)) ** (1 / 3)
    mean, sd = _TRACY_WIDOM
    expected = (root**2 + mean * width) * (1 + max(fourth - 3, 0.0) / min(rows, columns))
    largest = _largest_eigenvalue(unit.astype(np.float32))
    return (largest - expected) / (sd * width), math.sqrt(largest / max(expected, 1e-12))


def _largest_eigenvalue(unit: Array) -> float:
    """The largest eigenvalue of `W'W` for `W` of shape `(fan_in, fan_out)`, by Lanczos' method; never above it.

    scipy.sparse.linalg.svds takes 6 times as long at 2048 x 2048 and 20 times at 64 x 64, its import aside.
    """
    start = np.random.default_rng(0).standard_normal(unit.shape[1], dtype=np.float32)
    vector: Array = np.asarray(start / np.linalg.norm(start))
    before: Array = np.zeros_like(vector)
    beside = 0.0
    diagonal: list[float] = []
    off: list[float] = []
    for _ in range(min(_LANCZOS, unit.shape[1])):
        image: Array = unit.T @ (unit @ vector) - beside * before
        diagonal.append(float(image @ vector))
        image -= diagonal[-1] * vector
        beside = float(np.linalg.norm(image))
        off.append(beside)
        if beside < 1e-9 * diagonal[0]:
            break
        before = vector
        vector = image / beside
    middle = off[: len(diagonal) - 1]
    return float(np.linalg.eigvalsh(np.diag(diagonal) + np.diag(middle, 1) + np.diag(middle, -1))[-1])
