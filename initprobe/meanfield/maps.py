"""The mean-field maps through a network of given layers: lengths, correlation and gradients, for the input at hand.

Conventions: rows are samples, `z_l = h_{l-1} W_l + b_l`, `h_l = phi(z_l)`, `W_l` of shape `(n_in, n_out)`. Each sample
keeps its own length `q_a` through the layers, because `phi` averages over samples, not over their lengths: one pooled q
is 5% off on standardised digits and 10% off on Gaussian input of width 4.

Schoenholz et al. 2017, arXiv:1611.01232; Poole et al. 2016, arXiv:1606.05340.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from initprobe.activations import Activation
from initprobe.meanfield.moments import Moments, lookup, moments
from initprobe.meanfield.pairs import hermite_grid, series
from initprobe.meanfield.quadrature import Array
from initprobe.meanfield.samples import InputMoments, sample_groups


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

    def bias_rule(self) -> tuple[Array, Array]:
        """Shares and deviations from the mean of the biases to average over: one of 0 where they are normal."""
        shares, places = np.array(self.bias_nodes or [(1.0, 0.0)]).T
        return shares, math.sqrt(self.bias_variance) * places

    @property
    def unit_noise(self) -> float:
        """Variance of a unit's mean square weight, relative, beyond the 2/n_in that normal weights have."""
        return (self.kurtosis - self.kinship - 2) / self.n_in + self.kinship - 1


@dataclass(frozen=True)
class State:
    """The pre-activations of one layer in the limit of infinite width: groups of samples, each normal over the units.

    Where biases are not normal, z is normal only over units of like bias: each group of samples then stands here once
    for every bias node, side by side.

    Attributes:
        shares: share of the samples in each group, `(groups,)`; they sum to 1.
        mean: mean over units of z, `(groups,)`.
        variance: variance over units of z, `(groups,)`.
        moments: of `phi` under these.
        correlation: mean correlation of z about `mean` over units between two different samples, of those that vary.
        correlation_variance: its variance over pairs: the input's own, and what finite width adds.
        kurtosis: excess kurtosis of z over units for one sample, of first order in 1/width.
        cokurtosis: the fourth cumulant of z of two samples, twice each, in units of their variances.
        bias_shares: share of the units at each bias node, `(nodes,)`.
    """

    shares: Array
    mean: Array
    variance: Array
    moments: Moments
    correlation: float
    correlation_variance: float
    kurtosis: float = 0.0
    cokurtosis: float = 0.0
    bias_shares: Array = field(default_factory=lambda: np.ones(1))

    def average(self, values: Array) -> float:
        """Mean over samples and units of a number given for each group."""
        return float(self.shares @ values)

    def by_bias(self, values: Array) -> Array:
        """Numbers given for each group, `(groups, ...)`, as `(samples, bias nodes, ...)`."""
        return values.reshape(-1, len(self.bias_shares), *values.shape[1:])

    def over_biases(self, values: Array) -> Array:
        """Mean over units of a number given for each group, for each group of samples."""
        return np.asarray(self.by_bias(values) @ self.bias_shares)

    @property
    def sample_shares(self) -> Array:
        """Share of the samples in each group of samples."""
        return np.asarray(self.by_bias(self.shares).sum(axis=1))

    @property
    def lengths(self) -> Array:
        """Mean square of z over units, of each group of samples."""
        return self.over_biases(self.variance + self.mean**2)

    def on_grid(self, activation: Activation) -> tuple[Array, Array]:
        """`phi` and `phi'` at the Hermite grid, each `(groups, nodes)`."""
        x = self.mean[:, None] + np.sqrt(self.variance)[:, None] * hermite_grid().z
        h = activation.value(x)
        return h, activation.slope(x, h)

    def correlation_nodes(self) -> tuple[float, float]:
        """Two correlations with the mean and variance that the pairs have."""
        if not np.any(self.variance > 0):
            return 1.0, 1.0  # of constants: any would do
        spread = math.sqrt(max(self.correlation_variance, 0.0))
        return max(self.correlation - spread, -1.0), min(self.correlation + spread, 1.0)

    @property
    def cosine(self) -> float:
        """Mean cosine between the z of two different samples, zero ones left out; the correlation, if z has no mean."""
        length = np.sqrt(self.lengths)
        shares = shares_of(self.sample_shares, length > 0) / np.where(length > 0, length, 1.0)
        deviation, mean = (shares @ self.by_bias(values) for values in (np.sqrt(self.variance), self.mean))
        varying = np.where(deviation == 0, 0.0, self.correlation)
        return float(self.bias_shares @ (varying * deviation**2 + mean**2))


def propagate(activation: Activation, layers: Sequence[Layer], inputs: InputMoments) -> tuple[State, ...]:
    """The states of all layers, first to last."""
    with np.errstate(all="ignore"):
        return tuple(_states(activation, layers, inputs))


def _states(activation: Activation, layers: Sequence[Layer], inputs: InputMoments) -> Iterator[State]:
    shares, squares, means = sample_groups(inputs, split=any(layer.weight_mean != 0 for layer in layers))
    pairs = first_pairs(layers[0], inputs, shares, squares)
    for index, layer in enumerate(layers):
        state = _state(activation, layer, shares, squares, means, pairs)
        yield state
        if index + 1 < len(layers):
            squares, means = state.over_biases(state.moments.square), state.over_biases(state.moments.mean)
            pairs = _next_pairs(activation, state, layers[index + 1])


class Pairs(NamedTuple):
    """What a `State` says of the pairs of samples."""

    correlation: float
    variance: float
    kurtosis: float
    cokurtosis: float


def _state(activation: Activation, layer: Layer, shares: Array, squares: Array, means: Array, pairs: Pairs) -> State:
    """The state of a layer, from the mean squares and means of what it is given, `(groups of samples,)` each."""
    bias_shares, deviations = layer.bias_rule()
    mean = np.add.outer(layer.n_in * layer.weight_mean * means + layer.bias_mean, deviations)
    variance = layer.n_in * layer.weight_variance * squares + layer.normal_bias_variance
    variances = np.repeat(variance, len(deviations))
    found = group_moments(activation, variances.reshape(mean.shape), mean)
    return State(np.outer(shares, bias_shares).ravel(), mean.ravel(), variances, found, *pairs, bias_shares)


def shares_of(shares: Array, chosen: Array) -> Array:
    """Shares of the chosen groups among themselves, and 0 of the others."""
    kept = np.where(chosen, shares, 0.0)
    return np.asarray(kept / kept.sum())


def first_pairs(layer: Layer, inputs: InputMoments, shares: Array, squares: Array) -> Pairs:
    gain, own = layer.n_in * layer.weight_variance, layer.normal_bias_variance
    variance = gain * squares + own
    varying = shares_of(shares, variance > 0)
    direct = float(varying @ np.sqrt(np.where(variance > 0, gain * squares / variance, 0.0)))
    common = float(varying @ np.sqrt(np.where(variance > 0, own / variance, 0.0)))
    share = direct**2
    correlation = (share * inputs.cosine if share else 0.0) + common**2
    excess = _excess(layer, inputs.kurtosis * share**2, inputs.cokurtosis * share**2, inputs.cosine, share)
    return Pairs(correlation, share**2 * inputs.cosine_variance, *excess)


def _excess(layer: Layer, same: float, other: float, cosine: float, share: float) -> tuple[float, float]:
    """Fourth cumulants of z of one sample, and of two, under weights that are not normal or not independent.

    Args:
        layer: the weights' fourth moments.
        same: `E[y^4]`, `y` the layer's inputs scaled to a unit variance of z.
        other: `E[y_a^2 y_b^2]` for two samples.
        cosine: of the inputs of two samples.
        share: the weights' share of the variance of z.
    """
    own, kin = (layer.kurtosis - 3 * layer.kinship) / layer.n_in, (layer.kinship - 1) * share**2
    if own == kin == 0:
        return 0.0, 0.0  # normal weights, whatever the input
    return own * same + 3 * kin, own * other + kin * (1 + 2 * cosine**2)


def group_moments(activation: Activation, variance: Array, mean: Array) -> Moments:
    """Of each group of samples (rows) at each bias node (columns), flat; from the table if all share one mean."""
    if mean.shape[1] == 1 and np.all(mean == mean[0]):
        return lookup(activation, variance.ravel(), float(mean[0, 0]))
    return moments(activation, variance.ravel(), mean.ravel())


def _next_pairs(activation: Activation, state: State, layer: Layer) -> Pairs:
    """Mean and variance over pairs of the correlation at the next layer, and the excess that its weights cause.

    The variance gains what n units add to a correlation measured on them, as for any sample correlation:
    `1/n Var(y_a y_b - c/2 (y_a^2 + y_b^2))`, `y` the outputs scaled to the next layer's unit variance.
    """
    h, slope = state.on_grid(activation)
    weights = hermite_grid().weights
    # The grid's own E[phi^2], so that a correlation of 1 stays 1 to rounding.
    gain = layer.n_in * layer.weight_variance
    total = gain * state.over_biases((h * h) @ weights) + layer.normal_bias_variance
    varying = shares_of(state.sample_shares, total > 0)
    scale = np.repeat(np.sqrt(np.where(total > 0, gain / total, 0.0)), len(state.bias_shares))[:, None]
    y = scale * h
    dy = scale * np.sqrt(state.variance)[:, None] * slope
    squares = y * y
    first, second, third, rise = (
        np.einsum("a,akn->kn", varying, state.by_bias(power)) for power in (y, squares, squares * y, dy)
    )
    kernel = Kernel(state.bias_shares, first, first, rise)
    squared = Kernel(state.bias_shares, second, second)
    shared = float(varying @ np.sqrt(np.where(total > 0, layer.normal_bias_variance / total, 0.0))) ** 2
    low, high = (kernel.at(c) + shared for c in state.correlation_nodes())
    c = (low + high) / 2
    at = sum(state.correlation_nodes()) / 2
    same = float(varying @ state.over_biases((squares * squares) @ weights))
    other = squared.at(at)
    noise = (
        other * (1 + c * c / 2)
        - 2 * c * Kernel(state.bias_shares, third, first).at(at)
        + c * c / 2 * same
        - (shared * (1 - c)) ** 2
    )
    cosine = (c - shared) / (1 - shared) if shared < 1 else 0.0
    return Pairs(
        min(max(c, -1.0), 1.0),
        (high - low) ** 2 / 4 + max(noise, 0.0) / layer.n_in,
        *_excess(layer, same, other, cosine, 1 - shared),
    )


class Kernel:
    """`E[f(u) g(v)]` over pairs of samples and over the biases that they share; functions `(bias nodes, nodes)`."""

    def __init__(self, shares: Array, f: Array, g: Array, f_slope: Array | None = None) -> None:
        slopes = [None] * len(f) if f_slope is None else list(f_slope)
        rows = list(f)  # the same objects for g, if it is f: `series` then analyses them once
        self._series = [series(*each) for each in zip(rows, rows if g is f else g, slopes, strict=True)]
        self._shares = shares

    def at(self, c: float) -> float:
        """The expectation at correlation `c`."""
        return float(self._shares @ np.array([one.at(c) for one in self._series]))


@dataclass(frozen=True)
class LayerTheory:
    """What an infinitely wide layer would show: variances over all units and samples, as a probe measures them.

    Attributes:
        preactivation_mean: mean of z.
        preactivation_variance: variance of z.
        output_mean: mean of h.
        output_variance: variance of h, `E[S_a] - E[m_a]^2` over samples a.
        correlation: mean cosine between the z of two different samples.
        output_gradient_variance: variance of dL/dh; 1 at the last layer.
        preactivation_gradient_variance: variance of dL/dz.
        weight_gradient_variance: variance of dL/dW, summed over the samples.
        state: the distribution of z that all this follows from.
    """

    preactivation_mean: float
    preactivation_variance: float
    output_mean: float
    output_variance: float
    correlation: float
    output_gradient_variance: float
    preactivation_gradient_variance: float
    weight_gradient_variance: float
    state: State


def predict(
    activation: Activation, layers: Sequence[Layer], inputs: InputMoments, batch: int
) -> tuple[LayerTheory, ...]:
    """Theory for every layer, first to last.

    Backward starts from `dL/dh_L ~ N(0, 1)`, independent of the forward pass. Values beyond the float range come out as
    0, infinity or NaN. Weights with a mean are treated to leading order in width: what chance adds to the sum of a
    layer's outputs, `n mean^2 Var(h)` beside `(n mean E[h])^2`, is left out.

    Args:
        activation: any record.
        layers: first to last; `n_out` of each is `n_in` of the next.
        inputs: moments of the samples.
        batch: samples whose weight gradients are summed.
    """
    states = propagate(activation, layers, inputs)
    with np.errstate(all="ignore"):
        gradients = _gradients(layers, states)
        below = [sample_groups(inputs, split=any(layer.weight_mean != 0 for layer in layers))[1]]
        below += [state.over_biases(state.moments.square) for state in states]
        return tuple(
            _layer_theory(state, gradient, square, batch)
            for state, gradient, square in zip(states, gradients, below, strict=False)
        )


def _gradients(layers: Sequence[Layer], states: Sequence[State]) -> list[tuple[Array, Array]]:
    """Mean squares over units of dL/dh and dL/dz of each group of samples, first layer to last.

    Weights with a mean also pass on the products `E[g_i g_j]` of different units, which start at 0.
    """
    found = []
    square = np.ones_like(states[-1].sample_shares)
    product = np.zeros_like(square)
    for layer, state in zip(reversed(layers), reversed(states), strict=True):
        delta = square * state.over_biases(state.moments.slope_square)
        found.append((square, delta))
        units, slope = layer.n_out, state.over_biases(state.moments.slope)
        product = layer.weight_mean**2 * units * (delta + (units - 1) * product * slope**2)
        square = units * layer.weight_variance * delta + product
    return found[::-1]


def _layer_theory(state: State, gradient: tuple[Array, Array], below: Array, batch: int) -> LayerTheory:
    square, delta = gradient
    found, mean, samples = state.moments, state.average(state.mean), state.sample_shares
    output_mean = state.average(found.mean)
    return LayerTheory(
        preactivation_mean=mean,
        preactivation_variance=state.average(state.variance + (state.mean - mean) ** 2),
        output_mean=output_mean,
        output_variance=state.average(found.variance + (found.mean - output_mean) ** 2),
        correlation=state.cosine,
        output_gradient_variance=float(samples @ square),
        preactivation_gradient_variance=float(samples @ delta),
        weight_gradient_variance=batch * float(samples @ (below * delta)),
        state=state,
    )
