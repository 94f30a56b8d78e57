"""Maxima over windows, drawn from Gaussian patches with the known correlations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from initprobe.arrays import Array
from initprobe.torch.theory.expectations import Function
from initprobe.torch.theory.laws import likely_values
from initprobe.torch.theory.moments import Bent
from initprobe.torch.theory.window import Window

_PATCHES = 1 << 12  # patches that are drawn for a maximum
CORRELATIONS = np.array([0.0, 0.3, 0.6, 0.8, 0.95, 1.0])  # at which the product of two maxima is drawn


@dataclass(frozen=True)
class Maxima:
    """What was drawn of maxima over windows.

    Attributes:
        mean: mean of a maximum.
        near: mean product of the maxima of two windows, 0 or 1 windows apart along rows and columns, `(2, 2)`.
        far: mean product of the maxima of two patches whose entries have the correlations `CORRELATIONS`.
        slope: mean square of the slope at the largest entry.
        shared: probability that two windows have the same largest entry, by their distance, `(2, 2)`.
        values: equally likely values of a maximum.
    """

    mean: float
    near: Array
    far: Array
    slope: float
    shared: Array
    values: Array


@lru_cache(maxsize=8)
def _normal(size: int) -> Array:
    """Normal numbers for two independent patches, `(2, patches, size)`.

    For small patches, their means are exactly 0, and their covariances those of independent entries. Most of the
    chance of a mean over maxima lies in these two.
    """
    drawn = np.random.default_rng(0).standard_normal((_PATCHES, 2 * size))
    drawn -= drawn.mean(0)
    if 2 * size <= _PATCHES // 16:
        drawn = np.linalg.solve(np.linalg.cholesky(drawn.T @ drawn / _PATCHES), drawn.T).T
    return drawn.reshape(_PATCHES, 2, size).swapaxes(0, 1)


def maxima(bent: Bent, correlation: Array, rows: Window, columns: Window) -> Maxima:
    """What is drawn for the windows of a tensor.

    Args:
        bent: the function of Gaussian entries of which the maximum is taken.
        correlation: of these entries, by how their places differ.
        rows: the windows along the axis before the last.
        columns: the windows along the last axis.
    """
    sizes = rows.taps + rows.stride, columns.taps + columns.stride
    near = correlation[(0,) * (correlation.ndim - 2)][: sizes[0], : sizes[1]]
    mean = bent.given.mean
    scale = mean, math.sqrt(max(bent.given.square - mean**2, 0.0))
    key = tuple(tuple(row) for row in near.round(3).tolist())
    mean, std = (float(f"{number:.4g}") for number in scale)
    return _drawn(bent.value, bent.slope, mean, std, key, rows, columns)


@lru_cache(maxsize=128)
def _drawn(
    value: Function, slope: Function, mean: float, std: float, near: Sequence[Sequence[float]], *each: Window
) -> Maxima:
    """Draw patches of entries and take the maxima of four windows in each."""
    rows, columns = each
    sizes = rows.taps + rows.stride, columns.taps + columns.stride
    places = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), -1).reshape(-1, 2)
    apart = np.abs(places[:, None] - places[None]).transpose(2, 0, 1)
    correlation = np.array(near)
    row, column = np.minimum(apart, np.array(correlation.shape)[:, None, None] - 1)
    values, vectors = np.linalg.eigh(correlation[row, column])
    root = (vectors * np.sqrt(np.maximum(values, 0))).T
    inside = [_window(sizes, (rows, columns), row, column) for row in (0, 1) for column in (0, 1)]
    patches, fresh = _normal(len(places))
    first_entries = mean + std * (patches @ root)
    others = mean + std * (fresh @ root[:, inside[0]])
    whole = _counted(value, slope, mean, first_entries, others, inside)
    parts = list(_cut_windows(sizes[1], rows, columns))
    return whole if len(parts) == 1 else _with_border(whole, value, slope, first_entries, parts)


def _counted(
    value: Function, slope: Function, mean: float, entries: Array, fresh: Array, inside: list[Array]
) -> Maxima:
    f = value(entries)
    largest = [window[np.argmax(f[:, window], 1)] for window in inside]
    tops = np.array([np.take_along_axis(f, index[:, None], 1)[:, 0] for index in largest])
    slopes = slope(np.take_along_axis(entries, largest[0][:, None], 1))
    own, beside = entries[:, inside[0]] - mean, fresh - mean
    others = [value(mean + c * own + math.sqrt(1 - c * c) * beside).max(1) for c in CORRELATIONS]
    level, square = float(tops.mean()), float(np.mean(tops * tops))
    together = np.array([_covariance(tops[0], other) for other in others])
    far = level**2 + together - together[0] * (1 - CORRELATIONS)  # independent patches have no covariance
    near = level**2 + np.array([_covariance(tops[0], top) for top in tops]).reshape(2, 2)
    near[0, 0] = far[-1] = square
    shared = np.array([float(np.mean(largest[0] == index)) for index in largest]).reshape(2, 2)
    slope_square = float(np.mean(slopes**2))
    return Maxima(level, near, far, slope_square, shared, likely_values(tops))


def _covariance(left: Array, right: Array) -> float:
    return float(np.mean(left * right) - left.mean() * right.mean())


def _window(sizes: tuple[int, int], each: tuple[Window, Window], row: int, column: int) -> Array:
    """Places of a window in a patch."""
    rows, columns = each
    down, right = row * rows.stride + np.arange(rows.taps), column * columns.stride + np.arange(columns.taps)
    return np.asarray((down[:, None] * sizes[1] + right).ravel())


def _cut_windows(width: int, rows: Window, columns: Window) -> Iterator[tuple[float, Array]]:
    """The kinds of windows that the border leaves, each with its share of the outputs.

    Args:
        width: of a patch.
        rows: the windows along the axis before the last.
        columns: the windows along the last axis.
    """
    counts = [np.bincount(window.reached(None).astype(int)) / window.made for window in (rows, columns)]
    for down, row_share in enumerate(counts[0]):
        for right, column_share in enumerate(counts[1]):
            if down and right and row_share * column_share > 0:
                places = np.arange(down)[:, None] * width + np.arange(right)
                yield float(row_share * column_share), places.ravel()


def _with_border(
    whole: Maxima, value: Function, slope: Function, entries: Array, parts: Sequence[tuple[float, Array]]
) -> Maxima:
    """With the smaller windows at the border; their maxima count as correlated like those of whole windows."""
    f, start = value(entries), 0.0
    mean = square = slopes = 0.0
    drawn = []
    for share, places in parts:
        largest = places[np.argmax(f[:, places], 1)][:, None]
        tops = np.take_along_axis(f, largest, 1)[:, 0]
        mean, square = mean + share * float(tops.mean()), square + share * float(np.mean(tops**2))
        slopes += share * float(np.mean(slope(np.take_along_axis(entries, largest, 1)) ** 2))
        drawn.append(tops[round(start * len(tops)) : round((start + share) * len(tops))])
        start += share
    ratio = (square - mean**2) / max(whole.far[-1] - whole.mean**2, 1e-300)
    near, far = (mean**2 + ratio * (part - whole.mean**2) for part in (whole.near, whole.far))
    values = likely_values(np.concatenate(drawn))
    return replace(whole, mean=mean, near=near, far=far, slope=slopes, values=values)
