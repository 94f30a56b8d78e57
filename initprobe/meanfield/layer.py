"""The mean-field maps through a network of given layers: lengths, correlation and gradients, for the input at hand.

Conventions: rows are samples, `z_l = h_{l-1} W_l + b_l`, `h_l = phi(z_l)`, `W_l` of shape `(n_in, n_out)`. Each sample
keeps its own length `q_a` through the layers, because `phi` averages over samples, not over their lengths: one pooled q
is 5% off on standardised digits and 10% off on Gaussian input of width 4.

Schoenholz et al. 2017, arXiv:1611.01232; Poole et al. 2016, arXiv:1606.05340.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.correlated_pairs import hermite_grid
from initprobe.meanfield.moments import Moments

Known = TypeVar("Known", bound="Groups")

# Groups of samples at the nodes of the Hermite grid, or alone, that are worked out together: they stay in cache.
_TOGETHER = 1 << 16


@dataclass(frozen=True)
class Layer:
    """What theory needs to know of a layer's random parameters.

    Attributes:
        n_in: inputs of a unit.
        n_out: units.
        weight_variance: variance of a weight about its mean, as realised (after truncation, with zeros counted).
        weight_mean: mean of a weight.
        bias_variance: variance of a bias about its mean.
        bias_mean: mean of a bias.
        orthogonal: the weights are Haar-orthogonal, so their products keep lengths: only finite-width spread differs.
        kurtosis: `E[w^4] / E[w^2]^2` of a weight about its mean; 3 if normal.
        kinship: `E[w_i^2 w_j^2] / E[w^2]^2` of two weights of one unit; 1 if independent.
        bias_nodes: `(share, place)` of the biases to average over, places in standard deviations from their mean;
            none where they are normal, and so are part of a normal z.
    """

    n_in: int
    n_out: int
    weight_variance: float
    weight_mean: float = 0.0
    bias_variance: float = 0.0
    bias_mean: float = 0.0
    orthogonal: bool = False
    kurtosis: float = 3.0
    kinship: float = 1.0
    bias_nodes: tuple[tuple[float, float], ...] = ()

    @property
    def normal_bias_variance(self) -> float:
        """What the biases add to the variance that z has about its mean at a bias node."""
        return 0.0 if self.bias_nodes else self.bias_variance

    @cached_property
    def bias_rule(self) -> tuple[Array, Array]:
        """Shares and deviations from the mean of the biases to average over: one of 0 where they are normal."""
        shares, places = np.array(self.bias_nodes or [(1.0, 0.0)]).T
        return shares, math.sqrt(self.bias_variance) * places

    @property
    def unit_noise(self) -> float:
        """Variance of a unit's mean square weight, relative, beyond the 2/n_in that normal weights have."""
        return (self.kurtosis - self.kinship - 2) / self.n_in + self.kinship - 1


@dataclass(frozen=True)
class Groups:
    """The pre-activations of one layer in the limit of infinite width: groups of samples, each normal over the units.

    Where biases are not normal, z is normal only over units of like bias: each group of samples then stands here once
    for every bias node, side by side. Layers with equally many groups can be `stacked`: `(layers, groups)`.

    Attributes:
        shares: share of the samples in each group, `(groups,)`; they sum to 1.
        mean: mean over units of z, `(groups,)`.
        variance: variance over units of z, `(groups,)`.
        moments: of `phi` under these.
        bias_shares: share of the units at each bias node, `(nodes,)`.
    """

    shares: Array
    mean: Array
    variance: Array
    moments: Moments
    bias_shares: Array

    def average(self, values: Array) -> Array:
        """Mean over samples and units of a number given for each group, `(..., groups)`."""
        return np.asarray(np.vecdot(self.shares, values))

    def by_bias(self, values: Array) -> Array:
        """Numbers given for each group, `(..., groups)`, as `(..., samples, bias nodes)`."""
        return values.reshape(*values.shape[:-1], -1, self.bias_shares.shape[-1])

    def over_biases(self, values: Array) -> Array:
        """Mean over units of a number given for each group, for each group of samples."""
        return np.asarray(np.vecdot(self.by_bias(values), self.bias_shares[..., None, :]))

    def for_biases(self, values: Array) -> Array:
        """A number given for each group of samples, `(..., samples)`, once for every bias node, `(..., groups)`."""
        return np.repeat(values, self.bias_shares.shape[-1], axis=-1)

    def over_samples(self, functions: Array, shares: Array) -> Array:
        """Means over samples with some shares, of functions `(..., groups, nodes)`: `(..., bias nodes, nodes)`."""
        before, nodes = functions.shape[:-2], functions.shape[-1]
        means = shares[..., None, :] @ functions.reshape(*before, shares.shape[-1], -1)
        return np.asarray(means.reshape(*before, -1, nodes))

    @property
    def sample_shares(self) -> Array:
        """Share of the samples in each group of samples."""
        return np.asarray(self.by_bias(self.shares).sum(axis=-1))

    @property
    def lengths(self) -> Array:
        """Mean square of z over units, of each group of samples."""
        return self.over_biases(self.variance + self.mean**2)

    def on_grid(self, activation: Activation) -> tuple[Array, Array]:
        """`phi` and `phi'` at the Hermite grid, each `(..., groups, nodes)`."""
        x = self.mean[..., None] + np.sqrt(self.variance)[..., None] * hermite_grid().z
        h = activation.value(x)
        return h, activation.slope(x, h)


@dataclass(frozen=True)
class State(Groups):
    """The same with what two different samples have in common.

    Attributes:
        correlation: mean correlation of z about `mean` over units between two different samples, of those that vary.
        correlation_variance: its variance over pairs: the input's own, and what finite width adds.
        kurtosis: excess kurtosis of z over units for one sample, of first order in 1/width.
        cokurtosis: the fourth cumulant of z of two samples, twice each, in units of their variances.
    """

    correlation: float
    correlation_variance: float
    kurtosis: float
    cokurtosis: float

    def correlation_nodes(self) -> tuple[float, float]:
        """Two correlations with the mean and variance that the pairs have."""
        if not (self.variance > 0).any():
            return 1.0, 1.0  # of constants: any would do
        spread = math.sqrt(max(self.correlation_variance, 0.0))
        return max(self.correlation - spread, -1.0), min(self.correlation + spread, 1.0)

    @property
    def cosine(self) -> Array:
        """Mean cosine between the z of two different samples, zero ones left out; the correlation, if z has no mean."""
        length = np.sqrt(self.lengths)
        shares = shares_of(self.sample_shares, length > 0) / np.where(length > 0, length, 1.0)
        deviation, mean = (
            np.vecdot(shares[..., None, :], self.by_bias(values).mT) for values in (np.sqrt(self.variance), self.mean)
        )
        varying = np.where(deviation == 0, 0.0, np.asarray(self.correlation)[..., None])
        return np.asarray(np.vecdot(self.bias_shares, varying * deviation**2 + mean**2))


def stacked(layers: Sequence[Any]) -> Any:
    """Records of layers, their arrays of equal shapes, as one record: every array and number gains a first axis."""
    if not is_dataclass(layers[0]):
        return np.array(layers)
    kind: Any = type(layers[0])
    return kind(**{field.name: stacked([getattr(one, field.name) for one in layers]) for field in fields(kind)})


def runs(layers: Sequence[Known], nodes: int = 1) -> Iterator[list[Known]]:
    """Layers in a row with equally many groups, as many as stay in cache with so many nodes each."""
    for groups, run in itertools.groupby(layers, lambda one: len(one.shares)):
        while together := list(itertools.islice(run, max(_TOGETHER // (groups * nodes), 1))):
            yield together


class Pairs(NamedTuple):
    """What a `State` says of the pairs of samples."""

    correlation: float
    correlation_variance: float
    kurtosis: float
    cokurtosis: float


def shares_of(shares: Array, chosen: Array) -> Array:
    """Shares of the chosen groups among themselves, and 0 of the others, `(..., groups)`."""
    kept = np.where(chosen, shares, 0.0)
    return np.asarray(kept / kept.sum(axis=-1, keepdims=True))
