"""The predicted histograms of h. A verdict needs none and a figure a few, so they wait until one is read."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.engine.quantiles import BINS
from initprobe.meanfield.input_moments import similar_rows
from initprobe.meanfield.layer import State, layer_batches
from initprobe.meanfield.moments import histograms
from initprobe.results.layers import LayerTheory
from initprobe.results.pending import Pending, pending

# Groups that a histogram is computed for one by one.
_MOST_GROUPS = 16

Shares = tuple[float, ...] | None  # of the bins of one histogram; None without a prediction


class _PendingTheory(Pending, LayerTheory):
    """The prediction of a layer without `output_shares` yet."""


class OutputShares:
    """The predicted share of each layer's h in the bins of its measured histogram."""

    def __init__(
        self, activation: Activation, ranges: Sequence[tuple[float | None, float | None]], states: Sequence[State]
    ) -> None:
        """Note what the shares follow from.

        Args:
            activation: of the network.
            ranges: ends of the histogram of each layer's h; None for layers without a prediction of it.
            states: z of each layer.
        """
        self._activation, self._states = activation, states
        self._ranges = {i: (low, high) for i, (low, high) in enumerate(ranges) if low is not None and low != high}

    def added(self, index: int, fields: dict[str, Any]) -> LayerTheory:
        """The record of a layer's prediction, which has its shares when they are read.

        Args:
            index: of the layer.
            fields: of the record, all but the shares.
        """
        if index not in self._ranges:
            return LayerTheory(**fields, output_shares=None)
        return pending(_PendingTheory, partial(self._shares_of, index), fields)

    def _shares_of(self, index: int) -> Mapping[str, Shares]:
        return {"output_shares": self._by_layer.get(index)}

    @cached_property
    def _by_layer(self) -> dict[int, Shares]:
        by_layer: dict[int, Shares] = {}
        remaining = iter(self._ranges.items())
        with np.errstate(all="ignore"):
            for batch in layer_batches([_in_groups(self._states[index]) for index in self._ranges]):
                indices, ends = zip(*itertools.islice(remaining, len(batch)), strict=True)
                low, high = np.array(ends).T
                edges = np.linspace(low, high, BINS + 1, axis=1)
                q, mean, weights = (np.array([getattr(s, name) for s in batch]) for name in _Groups._fields)
                rows = histograms(self._activation, q, edges, mean, weights)
                by_layer |= zip(indices, map(_in_range, rows), strict=True)
        return by_layer


def _in_range(shares: Array) -> Shares:
    return tuple(shares.clip(0, 1).tolist()) if np.isfinite(shares).all() else None


class _Groups(NamedTuple):
    """Variance and mean of z over units, and share of the samples, of each group, `(groups,)`."""

    variance: Array
    mean: Array
    shares: Array


def _in_groups(state: State) -> _Groups:
    """The groups of a layer. Many rows, which differ only in the variance of z, in a few groups of similar variance."""
    variance, mean, shares = state.variance, state.mean, state.shares
    are_rows = len(shares) > _MOST_GROUPS and np.ptp(mean) == 0 and np.ptp(shares) == 0
    if not (are_rows and variance.min() > 0 and variance.max() < math.inf):
        return _Groups(variance, mean, shares)
    shares, variance = similar_rows(variance)
    return _Groups(variance, np.full_like(variance, mean[0]), shares)
