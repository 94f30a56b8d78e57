"""Whether a matrix of weights looks as if its entries had been drawn independently, by which mean-field theory stands.

Each statistic has a mean and a standard deviation under independence; one that lies 5 of them beyond speaks against it.
Only what is too large counts: rows of equal length or orthonormal columns are no obstacle to theory. Whether weights
are aligned with the data cannot be seen here; it shows as a gap between what theory predicts and what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from initprobe.arrays import Array
from initprobe.formatting import fixed

SDS = 5.0
# Vectors whose pairs are looked at: 32,640 pairs.
_SOME = 256
# Entries of W'W, in units of its diagonal, that rounding leaves of orthonormal float32 columns.
_ORTHOGONAL = 1e-5
# Excess kurtosis of z that theory bears: a tenth of 55 weights.
_HEAVY = 0.5
# The largest eigenvalue under independence has a Tracy-Widom distribution: its mean and standard deviation.
_TRACY_WIDOM = (-1.2065, 1.2680)
_LANCZOS = 40


@dataclass(frozen=True)
class Judged:
    """What a matrix of weights tells of the distribution of its entries.

    Attributes:
        mean: of an entry; 0 where it is less than 5 standard errors from that.
        variance: about that mean.
        kurtosis: `E[w^4] / E[w^2]^2` about that mean.
        orthogonal: the rows or the columns are orthonormal but for scale.
        fault: why the entries do not look independent, in words; None where they do.
    """

    mean: float
    variance: float
    kurtosis: float
    orthogonal: bool
    fault: str | None


def judge(weight: Array) -> Judged:
    """Judge `W` of shape `(fan_in, fan_out)`."""
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
    few = _few(weight, fourth)
    orthogonal = few is None and _is_orthogonal(unit)
    fault = few or (None if orthogonal else next(_faults(unit, squares, fourth), None))
    return Judged(centre * scale, (spread * scale) * (spread * scale), fourth, orthogonal, fault)


def _few(weight: Array, fourth: float) -> str | None:
    """Why a unit's z is not the sum of many terms, which is what makes it normal; None where it is.

    Of n independent weights, `(E[w^4]/E[w^2]^2 - 3)/n` is the excess kurtosis that they leave in it; of N entries that
    are normal the kurtosis has SD `sqrt(24/N)`.
    """
    fan_in = len(weight)
    if fan_in > 1 and np.count_nonzero(weight, axis=0).max() == 1:
        return "every unit has a single input, so nothing is mixed"
    excess = (fourth - 3 - SDS * math.sqrt(24 / weight.size)) / fan_in
    if excess > _HEAVY:
        return f"a few large entries are all that count (kurtosis {fourth:.3g} for {fan_in} inputs)"
    return None


def related(one: Array, other: Array) -> str | None:
    """Why two matrices do not look independent of each other, in words; None where they do.

    Entries in the same places have a correlation of 0 on average, with SD `1/sqrt(entries)`.
    """
    for name, second in (("", other), (" transposed", other.T)):
        if one.shape == second.shape and one.size > 1 and (excess := _correlation(one, second)) > SDS:
            far = f"{fixed(excess, 0)} SD beyond chance"
            return f"its entries are correlated with those{name} of the layer before, {far}"
    return None


def _correlation(one: Array, other: Array) -> float:
    """In SDS of what chance makes of it, whatever its sign."""
    a, b = (_centred(each) for each in (one, other))
    size = math.sqrt(float(np.sum(a * a)) * float(np.sum(b * b)))
    return abs(float(np.sum(a * b))) / size * math.sqrt(one.size) if size else 0.0


def _centred(weight: Array) -> Array:
    """In units of the largest entry, so that no square leaves the float range."""
    unit = np.asarray(weight, float) / (float(np.abs(weight).max()) or 1.0)
    return np.asarray(unit - unit.mean())


def _is_orthogonal(unit: Array) -> bool:
    short = _some(unit if unit.shape[0] <= unit.shape[1] else unit.T)
    gram = short @ short.T / short.shape[1]
    return len(short) > 1 and bool(np.abs(gram - np.eye(len(gram))).max() < _ORTHOGONAL)


def _some(rows: Array) -> Array:
    """At most so many rows, evenly spaced."""
    return rows[:: max(-(-len(rows) // _SOME), 1)]


def _faults(unit: Array, squares: Array, fourth: float) -> Iterator[str]:
    """What speaks against independent entries of mean 0 and variance 1, in words."""
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
    """How unequal the mean squares of some vectors are, in SDS of what chance makes of them.

    A mean square `s` of `n` entries has `Var(s) = (E[w^4] - 1)/n`; the mean of `(s - 1)^2` over m vectors has SD
    `Var(s) sqrt((2 + k/n)/m)`, `k` the excess kurtosis of `w^2`, from `tail = E[(w^2 - 1)^4]`.
    """
    variance = (fourth - 1) / length
    if len(sizes) < 2 or variance < 1e-12:  # signs alone: every mean square is 1
        return 0.0
    kurtosis = tail / (fourth - 1) ** 2 - 3
    spread = math.sqrt(max(2 + kurtosis / length, 0.0) / len(sizes))
    return _sds(float(np.mean((sizes - 1) ** 2)) / variance, spread)


def _sds(square: float, spread: float) -> float:
    """How far a mean of squares lies beyond its expectation 1, in SDS; in its cube root, which is nearly normal.

    Wilson & Hilferty 1931, PNAS 17:684.
    """
    return (math.cbrt(square) - (1 - spread**2 / 9)) / (max(spread, 1e-12) / 3)


def _aligned(vectors: Array, fourth: float) -> float:
    """How large the squared cosines of pairs are, in SDS of what chance makes of them.

    They are `1/n` on average; `n` times one has variance `2 + (E[w^4]^2 - 3)/n`.
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
    """The largest singular value: in SDS of its Tracy-Widom distribution beyond its mean, and as a share of that.

    Johnstone 2001, Annals of Statistics 29:295. Entries of a large fourth moment shift the edge by about
    `(E[w^4] - 3) / n`, relative.
    """
    rows, columns = unit.shape
    root = math.sqrt(max(rows - 1, 1)) + math.sqrt(columns)
    width = root * (1 / math.sqrt(max(rows - 1, 1)) + 1 / math.sqrt(columns)) ** (1 / 3)
    mean, sd = _TRACY_WIDOM
    expected = (root**2 + mean * width) * (1 + max(fourth - 3, 0.0) / min(rows, columns))
    found = _largest_eigenvalue(unit.astype(np.float32))
    return (found - expected) / (sd * width), math.sqrt(found / max(expected, 1e-12))


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
