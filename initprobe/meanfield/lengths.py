"""How the layers' mean squares deviate from theory at finite width, accumulated through the length map."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.meanfield.layer import Layer, State
from initprobe.meanfield.unit_noise import HH, Noise


class Lengths(NamedTuple):
    """Relative deviations of each layer's q from theory.

    Attributes:
        share: share of the weights in q, of every layer but the first, `(layers - 1,)`.
        response: relative change of q per relative change of q below, of every layer but the first, `(layers - 1,)`.
        batch: variance of the deviation, averaged over the samples, `(layers,)`.
        single: variance of the deviation for one sample, `(layers,)`.
        bias: mean of the deviation, `(layers,)`.
    """

    share: Array
    response: Array
    batch: Array
    single: Array
    bias: Array


def lengths_of(layers: Sequence[Layer], states: Sequence[State], noise: Noise) -> Lengths:
    """Accumulate the layers' noise through the length map: `x' = share (noise + slope x)`.

    Args:
        layers: first to last.
        states: distribution of z at each layer.
        noise: of the sums over units, per layer.
    """
    square, below = noise.mean[:, HH], np.s_[:-1]
    gain = np.array([layer.n_in * layer.weight_variance for layer in layers])
    variance = np.array([state.average(state.variance) for state in states])
    share = gain[1:] * square[below] / variance[1:]
    response = share * (noise.slope[:, HH] / square)[below]
    single = accumulated(share**2 * noise.length[below], response**2)
    batch = accumulated(share**2 * noise.relative(noise.batch, HH, HH)[below], response**2)
    drift = (noise.offset[:, HH] + noise.curvature[:, HH] * single / 2) / square
    return Lengths(share, response, batch, single, accumulated(share * drift[below], response))


def accumulated(added: Array, factor: Array) -> Array:
    """`x_0 = 0`, `x_{k+1} = added_k + factor_k x_k`: one value more than `added` has.

    Args:
        added, factor: of equal shape, `(layers, ...)`.
    """
    steps = zip(added.tolist(), factor.tolist(), strict=True)
    return np.array([*itertools.accumulate(steps, lambda x, step: step[0] + step[1] * x, initial=0.0)])


def accumulated_back(added: Array, factor: Array) -> Array:
    """`x_k = added_k + factor_k x_{k+1}`, with 0 after the last: one value more than `added` has.

    Args:
        added, factor: of equal shape, `(layers, ...)`.
    """
    return accumulated(added[::-1], np.append(factor, 0.0)[::-1])[::-1]
