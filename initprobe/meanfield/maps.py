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

from initprobe.activations import Activation
from initprobe.meanfield.moments import Moments, lookup, moments
from initprobe.meanfield.pairs import Series, hermite_grid, series
from initprobe.meanfield.quadrature import Array
from initprobe.meanfield.samples import InputMoments, sample_groups

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


def propagate(activation: Activation, layers: Sequence[Layer], inputs: InputMoments) -> tuple[State, ...]:
    """The states of all layers, first to last."""
    shares, squares, means = sample_groups(inputs, split=any(layer.weight_mean != 0 for layer in layers))
    with np.errstate(all="ignore"):
        pairs = first_pairs(layers[0], inputs, shares, squares)
        groups = list(_lengths(activation, layers, shares, squares, means))
        states = [State(**vars(groups[0]), **pairs._asdict())]
        for layer, here, products in zip(layers[1:], groups[1:], _products(activation, layers, groups), strict=True):
            states.append(State(**vars(here), **_next_pairs(states[-1], layer, products)._asdict()))
        return tuple(states)


def _lengths(
    activation: Activation, layers: Sequence[Layer], shares: Array, squares: Array, means: Array
) -> Iterator[Groups]:
    """The groups of every layer, from the shares, mean squares and means of those of the input, `(samples,)`.

    No length depends on what different samples have in common.
    """
    for layer in layers:
        here = _groups(activation, layer, shares, squares, means)
        yield here
        squares, means = here.over_biases(here.moments.square), here.over_biases(here.moments.mean)


class Pairs(NamedTuple):
    """What a `State` says of the pairs of samples."""

    correlation: float
    correlation_variance: float
    kurtosis: float
    cokurtosis: float


def _groups(activation: Activation, layer: Layer, shares: Array, squares: Array, means: Array) -> Groups:
    """Those of a layer, from the mean squares and means of what it is given, `(groups of samples,)` each."""
    bias_shares, deviations = layer.bias_rule
    mean = np.add.outer(layer.n_in * layer.weight_mean * means + layer.bias_mean, deviations)
    variance = layer.n_in * layer.weight_variance * squares + layer.normal_bias_variance
    variances = np.repeat(variance, len(deviations))
    found = group_moments(activation, variances.reshape(mean.shape), mean)
    return Groups((shares[:, None] * bias_shares).ravel(), mean.ravel(), variances, found, bias_shares)


def shares_of(shares: Array, chosen: Array) -> Array:
    """Shares of the chosen groups among themselves, and 0 of the others, `(..., groups)`."""
    kept = np.where(chosen, shares, 0.0)
    return np.asarray(kept / kept.sum(axis=-1, keepdims=True))


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
    if mean.shape[1] == 1 and (mean == mean[0]).all():
        return lookup(activation, variance.ravel(), float(mean[0, 0]))
    return moments(activation, variance.ravel(), mean.ravel())


@dataclass(frozen=True)
class _Products:
    """Expectations over pairs of samples of products of y, a layer's outputs in units of the next z's variance.

    Attributes:
        of_outputs: `E[y_a y_b]` at a correlation of z.
        of_squares: `E[y_a^2 y_b^2]`.
        of_cubes: `E[y_a^3 y_b]`.
        fourth: `E[y^4]`.
        shared: what biases add to the covariance of the next z.
    """

    of_outputs: Series
    of_squares: Series
    of_cubes: Series
    fourth: float
    shared: float


def _products(activation: Activation, layers: Sequence[Layer], groups: Sequence[Groups]) -> Iterator[_Products]:
    """Those of every layer but the last; `layers` and their `groups` begin with the first."""
    above = iter(layers[1:])
    for run in runs(groups[:-1], len(hermite_grid().z)):
        yield from _products_of(activation, stacked(run), list(itertools.islice(above, len(run))))


def _products_of(activation: Activation, groups: Groups, above: Sequence[Layer]) -> Iterator[_Products]:
    """Of some layers, stacked; `above` are the layers that they are given to."""
    mean = hermite_grid().mean
    gain = np.array([[layer.n_in * layer.weight_variance] for layer in above])
    own = np.array([[layer.normal_bias_variance] for layer in above])
    h, slope = groups.on_grid(activation)
    # The grid's own E[phi^2], so that a correlation of 1 stays 1 to rounding.
    total = gain * groups.over_biases(mean(h * h)) + own
    varying = shares_of(groups.sample_shares, total > 0)
    scale = groups.for_biases(np.sqrt(np.where(total > 0, gain / total, 0.0)))[..., None]
    y = scale * h
    squares = y * y
    powers = (y, squares, squares * y, scale * np.sqrt(groups.variance)[..., None] * slope)
    first, second, third, rise = (groups.over_samples(power, varying) for power in powers)
    pairs = (first, first, rise), (second, second), (third, first)
    every = (series(*pair).weighted(groups.bias_shares) for pair in pairs)
    fourth = np.vecdot(varying, groups.over_biases(mean(squares * squares)))
    shared = np.vecdot(varying, np.sqrt(np.where(total > 0, own / total, 0.0))) ** 2
    return map(_Products, *every, fourth.tolist(), shared.tolist())


def _next_pairs(state: State, layer: Layer, products: _Products) -> Pairs:
    """Mean and variance over pairs of the correlation at the next layer, and the excess that its weights cause.

    The variance gains what n units add to a correlation measured on them, as for any sample correlation:
    `1/n Var(y_a y_b - c/2 (y_a^2 + y_b^2))`.
    """
    nodes, shared, same = state.correlation_nodes(), products.shared, products.fourth
    low, high = (products.of_outputs.at(c) + shared for c in nodes)
    c, at = (low + high) / 2, sum(nodes) / 2
    other = products.of_squares.at(at)
    noise = other * (1 + c * c / 2) - 2 * c * products.of_cubes.at(at) + c * c / 2 * same - (shared * (1 - c)) ** 2
    cosine = (c - shared) / (1 - shared) if shared < 1 else 0.0
    return Pairs(
        min(max(c, -1.0), 1.0),
        (high - low) ** 2 / 4 + max(noise, 0.0) / layer.n_in,
        *_excess(layer, same, other, cosine, 1 - shared),
    )


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
        length_slope: `d log q / d log q_below`, q being the mean square of z; NaN where no weights reach z, and where
            it is not derived.
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
    length_slope: float
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
        columns = zip(*(_averages(stacked(run)) for run in runs(states)), strict=True)
        known, samples = _Averages(*map(np.concatenate, columns)), states[0].sample_shares
        squares, deltas = _gradients(layers, known)
        _, first, _ = sample_groups(inputs, split=any(layer.weight_mean != 0 for layer in layers))
        below = np.concatenate([[first], known.squares[:-1]])
        numbers = (
            *known[:5],
            squares @ samples,
            deltas @ samples,
            batch * (below * deltas) @ samples,
            _length_slopes(layers, known),
        )
        return tuple(map(LayerTheory, *(column.tolist() for column in numbers), states))


class _Averages(NamedTuple):
    """Of every layer, `(layers,)`, or of each group of samples in it, `(layers, samples)`."""

    mean: Array
    variance: Array
    output_mean: Array
    output_variance: Array
    cosine: Array
    length: Array
    variance_over_units: Array
    growth: Array
    squares: Array
    slopes: Array
    slope_squares: Array


def _averages(state: State) -> _Averages:
    """Those of layers, stacked."""
    found = state.moments
    return _Averages(
        state.average(state.mean),
        _pooled_variance(state, state.mean, state.variance),
        state.average(found.mean),
        _pooled_variance(state, found.mean, found.variance),
        state.cosine,
        np.vecdot(state.sample_shares, state.lengths),
        state.average(state.variance),
        state.average(found.growth),
        *map(state.over_biases, (found.square, found.slope, found.slope_square)),
    )


def _pooled_variance(state: State, mean: Array, variance: Array) -> Array:
    """Over samples and units, of what has these means and variances in each group; equal means add exactly 0."""
    apart = mean - mean[:, :1]
    return state.average(variance + (apart - state.average(apart)[:, None]) ** 2)


def _length_slopes(layers: Sequence[Layer], known: _Averages) -> Array:
    """`d log q / d log q_below` at every layer."""
    gain = np.array([layer.n_in * layer.weight_variance for layer in layers])
    # `growth` is per relative change of the variance about the mean, of which q has more.
    passed = gain[1:] * (known.growth * (known.length / known.variance_over_units))[:-1] / known.length[1:]
    reached = (known.length[1:] > 0) & (known.variance_over_units[:-1] > 0)
    return np.append(math.nan, np.where(reached, passed, math.nan))


def _gradients(layers: Sequence[Layer], known: _Averages) -> tuple[Array, Array]:
    """Mean squares over units of dL/dh and dL/dz of each group of samples, `(layers, samples)`, first layer to last.

    Weights with a mean also pass on the products `E[g_i g_j]` of different units, which start at 0.
    """
    squares, deltas = np.ones_like(known.slopes), np.empty_like(known.slopes)
    product = np.zeros_like(squares[0])
    for k, layer in reversed(list(enumerate(layers))):
        units, delta = layer.n_out, squares[k] * known.slope_squares[k]
        deltas[k] = delta
        product = layer.weight_mean * layer.weight_mean * units * (delta + (units - 1) * product * known.slopes[k] ** 2)
        if k:
            squares[k - 1] = units * layer.weight_variance * delta + product
    return squares, deltas
