"""What theory knows of a layer's parameters (`Layer`) and of its pre-activations (`Groups`, `State`).

Conventions: rows are samples, `z_l = h_{l-1} W_l + b_l`, `h_l = phi(z_l)`, `W_l` of shape `(n_in, n_out)`.

Each sample keeps its own mean square `q_a` through the layers, and predictions are averages over samples. One pooled q
instead is 5% off on standardised digits and 10% off on Gaussian input of width 4.

Schoenholz et al. 2017, arXiv:1611.01232; Poole et al. 2016, arXiv:1606.05340.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.correlated_pairs import hermite_grid
from initprobe.meanfield.moments import Moments, stacked_moments


class HasShares(Protocol):
    """Groups of samples; `shares` are those of the samples in each, `(groups,)`."""

    @property
    def shares(self) -> Array: ...


SomeGroups = TypeVar("SomeGroups", bound=HasShares)

# Numbers computed at once, groups of samples times grid nodes: few enough to stay in cache.
_BATCH_NUMBERS = 1 << 16


@dataclass(frozen=True)
class Layer:
    """What theory needs to know about a layer's random parameters.

    Attributes:
        n_in: inputs of a unit.
        n_out: units.
        weight_variance: variance of a weight about its mean, as realised (after truncation, with zeros counted).
        weight_mean: mean of a weight.
        bias_variance: variance of a bias about its mean.
        bias_mean: mean of a bias.
        orthogonal: the weights are Haar-orthogonal, so lengths are kept; this changes the finite-width spread only.
        kurtosis: `E[w^4] / E[w^2]^2` of a weight about its mean; 3 if normal.
        cokurtosis: `E[w_i^2 w_j^2] / E[w^2]^2` of two weights of one unit; 1 if independent.
        bias_nodes: `(share, place)` pairs: a quadrature rule over the biases, places in standard deviations from their
            mean. Empty for normal biases, which are part of a normal z.
    """

    n_in: int
    n_out: int
    weight_variance: float
    weight_mean: float = 0.0
    bias_variance: float = 0.0
    bias_mean: float = 0.0
    orthogonal: bool = False
    kurtosis: float = 3.0
    cokurtosis: float = 1.0
    bias_nodes: tuple[tuple[float, float], ...] = ()

    @property
    def normal_bias_variance(self) -> float:
        """Variance of the biases at one bias node: all of it for normal biases, else 0."""
        return 0.0 if self.bias_nodes else self.bias_variance

    @cached_property
    def bias_rule(self) -> tuple[Array, Array]:
        """Shares and deviations from the mean, each `(bias nodes,)`, of the biases' rule; one node if normal."""
        shares, places = np.array(self.bias_nodes or [(1.0, 0.0)]).T
        return shares, math.sqrt(self.bias_variance) * places

    @property
    def unit_noise(self) -> float:
        """Relative variance of a unit's mean square weight, beyond the `2/n_in` of normal weights."""
        return (self.kurtosis - self.cokurtosis - 2) / self.n_in + self.cokurtosis - 1


@dataclass(frozen=True)
class Groups:
    """The pre-activations of one layer at infinite width, as groups of samples; z of each group is normal over units.

    Where biases are not normal, z is normal only over units of equal bias. Each group of samples then appears once per
    bias node, the nodes of one group side by side. `stacked` adds a first axis, `(layers, groups)`.

    Attributes:
        shares: share of the samples in each group, `(groups,)`; they sum to 1.
        mean: mean of z over units, `(groups,)`.
        variance: variance of z over units, `(groups,)`.
        moments: of `phi` under `N(mean, variance)`, `(groups,)`.
        bias_shares: share of the units at each bias node, `(bias nodes,)`.
    """

    shares: Array
    mean: Array
    variance: Array
    moments: Moments
    bias_shares: Array

    def average(self, values: Array) -> Array:
        """Mean over samples and units of values per group, `(..., groups)`."""
        return np.asarray(np.vecdot(self.shares, values))

    def by_bias(self, values: Array) -> Array:
        """Values per group, `(..., groups)`, as `(..., samples, bias nodes)`."""
        return values.reshape(*values.shape[:-1], -1, self.bias_shares.shape[-1])

    def over_biases(self, values: Array) -> Array:
        """Mean over units of values per group, `(..., groups)`, for each group of samples, `(..., samples)`."""
        return np.asarray(np.vecdot(self.by_bias(values), self.bias_shares[..., None, :]))

    def for_biases(self, values: Array) -> Array:
        """Values per group of samples, `(..., samples)`, repeated for every bias node, `(..., groups)`."""
        return np.repeat(values, self.bias_shares.shape[-1], axis=-1)

    def over_samples(self, functions: Array, shares: Array) -> Array:
        """Mean over samples, weighted by `shares`, of functions `(..., groups, nodes)`: `(..., bias nodes, nodes)`.

        Args:
            functions: values at the nodes, for each group.
            shares: of each group among the samples, `(groups,)`.
        """
        before, nodes = functions.shape[:-2], functions.shape[-1]
        means = shares[..., None, :] @ functions.reshape(*before, shares.shape[-1], -1)
        return np.asarray(means.reshape(*before, -1, nodes))

    @property
    def sample_shares(self) -> Array:
        """Share of the samples in each group of samples, `(..., samples)`."""
        return np.asarray(self.by_bias(self.shares).sum(axis=-1))

    @property
    def lengths(self) -> Array:
        """Mean square of z over units, for each group of samples, `(..., samples)`."""
        return self.over_biases(self.variance + self.mean**2)

    def cosine(self, correlation: npt.ArrayLike) -> Array:
        """Mean cosine between the z of two different samples, without samples whose z is 0; `(...)`.

        Args:
            correlation: mean correlation of z about its mean, `(...)`: of shape `(layers,)` for stacked layers.
        """
        length = np.sqrt(self.lengths)
        shares = shares_of(self.sample_shares, length > 0) / np.where(length > 0, length, 1.0)
        deviation, mean = (
            np.vecdot(shares[..., None, :], self.by_bias(values).mT) for values in (np.sqrt(self.variance), self.mean)
        )
        varying = np.where(deviation == 0, 0.0, np.asarray(correlation)[..., None])
        return np.asarray(np.vecdot(self.bias_shares, varying * deviation**2 + mean**2))

    def on_grid(self, activation: Activation) -> tuple[Array, Array]:
        """`phi` and `phi'` on the Hermite grid, each `(..., groups, nodes)`."""
        x = self.mean[..., None] + np.sqrt(self.variance)[..., None] * hermite_grid().z
        h = activation.value(x)
        return h, activation.slope(x, h)


@dataclass(frozen=True)
class State(Groups):
    """The pre-activations of one layer, with the statistics of pairs of different samples.

    Attributes:
        correlation: mean over pairs of the correlation of z over units, about `mean`; pairs of constants are left out.
        correlation_variance: its variance over pairs: that of the input, plus what finite width adds.
        kurtosis: excess kurtosis of z over units for one sample, to first order in 1/width.
        cokurtosis: fourth cumulant `cum(z_a, z_a, z_b, z_b)` of two samples, in units of their variances.
    """

    correlation: float
    correlation_variance: float
    kurtosis: float
    cokurtosis: float

    def correlation_nodes(self) -> tuple[float, float]:
        """Two correlations with the mean and variance of the correlations of all pairs."""
        if not (self.variance > 0).any():
            return 1.0, 1.0  # z is constant: any correlation gives the same
        spread = math.sqrt(max(self.correlation_variance, 0.0))
        return max(self.correlation - spread, -1.0), min(self.correlation + spread, 1.0)


def stacked(layers: Sequence[Groups]) -> Groups:
    """Layers with equally many groups as one record, whose arrays gain a first axis, `(layers, ...)`."""
    return Groups(
        shares=np.array([layer.shares for layer in layers]),
        mean=np.array([layer.mean for layer in layers]),
        variance=np.array([layer.variance for layer in layers]),
        moments=stacked_moments([layer.moments for layer in layers]),
        bias_shares=np.array([layer.bias_shares for layer in layers]),
    )


def layer_batches(layers: Sequence[SomeGroups], nodes: int = 1) -> Iterator[list[SomeGroups]]:
    """Successive layers with equally many groups, as many at once as stay in cache with `nodes` numbers per group.

    Args:
        layers: first to last.
        nodes: numbers per group.
    """
    for groups, alike in itertools.groupby(layers, lambda layer: len(layer.shares)):
        while batch := list(itertools.islice(alike, max(_BATCH_NUMBERS // (groups * nodes), 1))):
            yield batch


class Pairs(NamedTuple):
    """Statistics of pairs of different samples; the fields of `State` beyond `Groups`."""

    correlation: float
    correlation_variance: float
    kurtosis: float
    cokurtosis: float


def shares_of(shares: Array, chosen: Array) -> Array:
    """Shares of the chosen groups, scaled to sum to 1, and 0 for the others, `(..., groups)`.

    Args:
        shares: of the groups, `(..., groups)`.
        chosen: True for the chosen groups, `(groups,)`.
    """
    kept = np.where(chosen, shares, 0.0)
    return np.asarray(kept / kept.sum(axis=-1, keepdims=True))
