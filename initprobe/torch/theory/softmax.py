"""The moments of softmax: of its weights, and of the gradient of its logits."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array, normal_density
from initprobe.torch.theory.moments import Moments, NoRule, alike

_WIDEST = 10.0  # SD of logits from which on the largest has all the weight
_STEP = 0.3  # of the integrals, in units of the logits
_REACH = 9.0  # SDs


class Peak(NamedTuple):
    """What softmax of independent Gaussian logits has over equal weights, `1 / keys` each.

    Attributes:
        growth: log of `keys^2 E w^2`.
        alone: mean of `w w' (1 - w - w' + sum w w')` over that of `w w'`, for two rows that are independent.
        alike: the same for two rows that are equal.
    """

    growth: float
    alone: float
    alike: float


@lru_cache(maxsize=1024)
def peak(keys: int, std: float) -> Peak:
    """The moments of the weights `w`, exact for independent Gaussian logits.

    With `Z = sum_k exp(l_k)`, `1 / Z^m` is the integral of `t^(m - 1) exp(-t Z) / (m - 1)!`. So each moment is a
    single integral of products of `E[exp(m l - t exp l)]`.

    Args:
        keys: number of logits.
        std: standard deviation of a logit.
    """
    if keys == 1 or std <= 0:
        return Peak(0.0, 1 - 1 / keys, 1 - 1 / keys)
    second, third, fourth, crossed = _integrals(keys, min(std, _WIDEST))
    other = (1 / keys - second) / (keys - 1)
    alone = 1 - 2 * keys * second + keys**2 * (second**2 + (keys - 1) * other**2)
    own = second - 2 * third + fourth + (keys - 1) * crossed
    return Peak(math.log(keys**2 * second), max(alone, 0.0), max(own / second, 0.0))


def _integrals(keys: int, std: float) -> tuple[float, float, float, float]:
    """`E w^2`, `E w^3`, `E w^4` and `E w^2 v^2` of two weights `w`, `v` of a row."""
    step = min(0.25, _STEP / std)
    z = np.arange(-_REACH, _REACH + step, step)
    t = np.exp(np.arange(-_REACH * std - 8 - math.log(keys), _REACH * std + 4, _STEP))
    held = np.minimum(t[:, None] * np.exp(std * z), 700.0)  # beyond, `exp(-held)` is 0
    decay, density = np.exp(-held), normal_density(z) * step
    zeroth = np.log(np.minimum(np.maximum(decay @ density, 1e-300), 1.0))
    second, third, fourth = (held**power * decay @ density for power in (2, 3, 4))
    rest = np.exp((keys - 1) * zeroth) * _STEP
    crossed = second**2 * np.exp((keys - 2) * zeroth) * _STEP
    return (
        float(second @ rest),
        float(third @ rest) / 2,
        float(fourth @ rest) / 6,
        float(crossed.sum()) / 6,
    )


class _Rows(NamedTuple):
    """Rows of logits.

    Attributes:
        base: mean product of two equal weights of the same key, with one index for the keys.
        share: correlation of two logits of the same key, about the mean of their rows.
        peak: mean over the rows, where masks leave them different numbers of keys.
        reach: sum over pairs of keys of the product of their weights, over the sum of `w^2 (1 - 2 w + sum w^2)`.
        noise: of one matrix of logits, the variance of the log of the mean square of their gradient.
    """

    base: Array
    share: Array
    peak: Peak
    reach: float
    noise: float

    def own(self) -> Array:
        """Mean product of two weights of the same key.

        It is exact for rows that are independent or equal, and between these as for log-normal numbers.
        """
        return np.asarray(self.base * np.exp(self.peak.growth * self.share))


def rounded(std: float) -> float:
    """A standard deviation with so few digits that `peak` finds it again.

    Args:
        std: of a logit.
    """
    return float(f"{std:.3g}") if math.isfinite(std) else _WIDEST


def _overlaps(visible: Array, keys: int) -> tuple[float, float]:
    """Mean product of two equal weights of a key: of the same query, and of two queries. Windows are averaged."""
    if visible.ndim == 3:
        each = np.array([_overlaps(window, keys) for window in visible]).mean(0)
        return float(each[0]), float(each[1])
    queries = len(visible)
    uniform = visible / np.maximum(visible.sum(1, keepdims=True), 1)
    own = float((uniform**2).sum())
    both = float((uniform.sum(0) ** 2).sum())
    return own / (queries * keys), (both - own) / max(queries * (queries - 1) * keys, 1)


def peaks(visible: Array, std: float) -> list[Peak]:
    """For each query, what the logits of the keys that it sees have.

    Args:
        visible: True for keys that a query sees, `(queries, keys)`.
        std: standard deviation of a logit about the mean of its row.
    """
    return [peak(max(int(count), 1), rounded(std)) for count in visible.sum(1)]


def _rows(logits: Moments, visible: Array | None) -> _Rows:
    keys, queries, ndim = logits.shape[-1], logits.shape[-2] if len(logits.shape) > 1 else 1, len(logits.shape)
    if visible is not None and visible.shape[-1] != keys:
        raise NoRule("softmax with a mask of another shape")
    visible = np.ones((1, keys), bool) if visible is None else visible
    pairs = alike(logits.pairs, keys, ndim - 1)
    pairs = alike(pairs, queries, ndim - 2) if ndim > 1 else pairs
    spread = pairs.take([0], ndim - 1) - pairs.take([-1], ndim - 1) if keys > 1 else np.zeros_like(pairs)
    variance = float(spread.flat[0])
    if visible.shape[-2] == 1 and queries > 1:
        same = other = float(np.mean(1 / (np.maximum(visible.sum(-1), 1) * keys)))
    else:
        same, other = _overlaps(visible, keys)
    visible = visible.reshape(-1, keys)
    base = np.full(spread.shape, same)
    if ndim > 1 and spread.shape[-2] > 1:
        base[..., 1, :] = other
    each, open_keys = peaks(visible, math.sqrt(max(variance, 0.0))), np.maximum(visible.sum(1), 1)
    weights = np.array([math.exp(row.growth) for row in each]) / open_keys
    growth = math.log(float(weights.sum() / (1 / open_keys).sum()))
    alone, alike_rows = (float(np.dot(weights, part) / weights.sum()) for part in np.array(each).T[1:])
    reach = float((1 - 1 / open_keys).sum()) / max(alike_rows * float(weights.sum()), 1e-300)
    level = weights * np.array([row.alike for row in each])
    others = np.maximum(1 / weights - 1, 0.5)  # keys that count, less their mean
    noise = float((level**2 * 2 / others).sum() / max(level.sum() ** 2, 1e-300)) * len(visible) / queries
    share = spread / variance if variance > 0 else np.zeros_like(spread)
    return _Rows(base, np.clip(share, -1, 1), Peak(growth, alone, alike_rows), reach, noise)


def weights_of(logits: Moments, visible: Array | None) -> Moments:
    """The moments of attention weights, the softmax over the last axis of logits.

    Args:
        logits: moments of the logits; the last axis is that of the keys.
        visible: True for keys that a query sees, `(queries, keys)`; None for all. Windows may come first.

    Raises:
        NoRule: the mask has another shape than the logits.
    """
    keys = logits.shape[-1]
    own = np.minimum(_rows(logits, visible).own(), 1 / keys)
    if keys == 1:
        return Moments(logits.shape, 1.0, np.ones_like(own))
    rest = (1 / keys - own) / (keys - 1)
    return Moments(logits.shape, 1 / keys, np.concatenate([own, rest], -1), 0.0)


def logits_back(logits: Moments, visible: Array | None, gradient: Moments) -> Moments:
    """The gradient of logits, from that of the weights: `w_i (g_i - sum_k w_k g_k)`.

    Args:
        logits: moments of the logits.
        visible: True for keys that a query sees, `(queries, keys)`; None for all.
        gradient: moments of the gradient of the weights, which is independent of them.

    Raises:
        NoRule: the mask has another shape than the logits.
    """
    keys, axis = logits.shape[-1], len(logits.shape) - 1
    rows = _rows(logits, visible)
    pairs = alike(gradient.pairs, keys, axis)
    if axis:
        pairs = alike(pairs, logits.shape[-2], axis - 1)
    if keys == 1:
        return Moments(gradient.shape, 0.0, np.zeros_like(pairs), gradient.noise)
    spread = pairs.take([0], axis) - pairs.take([-1], axis)
    part = np.exp(math.log(max(rows.peak.alone, 1e-300)) * (1 - np.abs(rows.share)))
    part = part * np.exp(math.log(max(rows.peak.alike, 1e-300)) * np.abs(rows.share))
    own = spread * rows.own() * part
    pairs = np.concatenate([own, -own / (keys - 1)], -1)
    noise = gradient.noise + rows.noise / math.prod(logits.shape[:-2])
    return Moments(gradient.shape, 0.0, pairs, noise, common=gradient.common * rows.reach)
