"""The forward maps: mean squares of z, and the correlations of different samples, from layer to layer.

Schoenholz et al. 2017, arXiv:1611.01232; Poole et al. 2016, arXiv:1606.05340.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.correlated_pairs import Series, hermite_grid, series
from initprobe.meanfield.input_moments import InputMoments, sample_groups
from initprobe.meanfield.layer import Groups, Layer, Pairs, State, layer_batches, shares_of, stacked
from initprobe.meanfield.moments import Moments, lookup, moments


def propagate(activation: Activation, layers: Sequence[Layer], inputs: InputMoments) -> tuple[State, ...]:
    """The pre-activations of all layers, first to last.

    Args:
        activation: any record.
        layers: first to last; `n_out` of each is `n_in` of the next.
        inputs: moments of the samples.
    """
    shares, squares, means = sample_groups(inputs, split=any(layer.weight_mean != 0 for layer in layers))
    with np.errstate(all="ignore"):
        pairs = first_pairs(layers[0], inputs, shares, squares)
        groups = list(length_groups(activation, layers, shares, squares, means))
        states = [State(**vars(groups[0]), **pairs._asdict())]
        for layer, here, products in zip(layers[1:], groups[1:], _products(activation, layers, groups), strict=True):
            states.append(State(**vars(here), **_next_pairs(states[-1], layer, products)._asdict()))
        return tuple(states)


def length_groups(
    activation: Activation, layers: Sequence[Layer], shares: Array, squares: Array, means: Array
) -> Iterator[Groups]:
    """The groups of every layer; mean squares do not depend on the correlations.

    Args:
        activation: any record.
        layers: first to last.
        shares: share of the samples in each group of the input, `(samples,)`.
        squares: mean square of the input of each group, `(samples,)`.
        means: mean of the input of each group, `(samples,)`.
    """
    for layer in layers:
        here = _groups(activation, layer, shares, squares, means)
        yield here
        squares, means = here.over_biases(here.moments.square), here.over_biases(here.moments.mean)


def _groups(activation: Activation, layer: Layer, shares: Array, squares: Array, means: Array) -> Groups:
    """The groups of one layer, from the mean squares and means of its inputs, `(samples,)` each."""
    bias_shares, deviations = layer.bias_rule
    mean = np.add.outer(layer.n_in * layer.weight_mean * means + layer.bias_mean, deviations)
    variance = layer.n_in * layer.weight_variance * squares + layer.normal_bias_variance
    variances = np.repeat(variance, len(deviations))
    moments_of_h = group_moments(activation, variances.reshape(mean.shape), mean)
    return Groups((shares[:, None] * bias_shares).ravel(), mean.ravel(), variances, moments_of_h, bias_shares)


def first_pairs(layer: Layer, inputs: InputMoments, shares: Array, squares: Array) -> Pairs:
    """Statistics of pairs at the first layer.

    Args:
        layer: the first.
        inputs: moments of the data.
        shares: shares of groups of its inputs, `(samples,)`.
        squares: their mean squares, `(samples,)`.
    """
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
    """Kurtosis and cokurtosis of z, from weights that are not normal or not independent.

    Args:
        layer: with the weights' fourth moments.
        same: `E[y^4]`, y being the layer's inputs scaled to a unit variance of z.
        other: `E[y_a^2 y_b^2]` for two samples.
        cosine: cosine between the inputs of two samples.
        share: share of the weights in the variance of z.
    """
    independent = (layer.kurtosis - 3 * layer.cokurtosis) / layer.n_in
    dependent = (layer.cokurtosis - 1) * share**2
    if independent == dependent == 0:
        return 0.0, 0.0  # normal weights, with any input
    return independent * same + 3 * dependent, independent * other + dependent * (1 + 2 * cosine**2)


def group_moments(activation: Activation, variance: Array, mean: Array) -> Moments:
    """Moments of h, flat, for each group of samples (rows) and bias node (columns); from the table for equal means.

    Args:
        activation: with value and slope.
        variance: of z, `(groups, bias nodes)`.
        mean: of z, `(groups, bias nodes)`.
    """
    if mean.shape[1] == 1 and (mean == mean[0]).all():
        return lookup(activation, variance.ravel(), float(mean[0, 0]))
    return moments(activation, variance.ravel(), mean.ravel())


class _Products(NamedTuple):
    """Expectations of products of y over pairs of samples. Here y is a layer's output over the SD of the next z.

    Attributes:
        of_outputs: `E[y_a y_b]` as a function of the correlation of z.
        of_squares: `E[y_a^2 y_b^2]`.
        of_cubes: `E[y_a^3 y_b]`.
        fourth: `E[y^4]`.
        shared: what biases add to the correlation of the next z.
    """

    of_outputs: Series
    of_squares: Series
    of_cubes: Series
    fourth: float
    shared: float


def _products(activation: Activation, layers: Sequence[Layer], groups: Sequence[Groups]) -> Iterator[_Products]:
    """The products of every layer but the last; `layers` and `groups` both start with the first."""
    above = iter(layers[1:])
    for batch in layer_batches(groups[:-1], len(hermite_grid().z)):
        yield from _products_of(activation, stacked(batch), list(itertools.islice(above, len(batch))))


def _products_of(activation: Activation, groups: Groups, above: Sequence[Layer]) -> Iterator[_Products]:
    """The products of several stacked layers; `above` are the layers that their outputs go to."""
    mean = hermite_grid().mean
    gain = np.array([[layer.n_in * layer.weight_variance] for layer in above])
    own = np.array([[layer.normal_bias_variance] for layer in above])
    h, slope = groups.on_grid(activation)
    # The grid's own E[phi^2], so that a correlation of 1 stays 1 up to rounding.
    total = gain * groups.over_biases(mean(h * h)) + own
    varying = shares_of(groups.sample_shares, total > 0)
    scale = groups.for_biases(np.sqrt(np.where(total > 0, gain / total, 0.0)))[..., None]
    y = scale * h
    squares = y * y
    powers = (y, squares, squares * y, scale * np.sqrt(groups.variance)[..., None] * slope)
    first, second, third, rise = (groups.over_samples(power, varying) for power in powers)
    pairs = (first, first, rise), (second, second), (third, first)
    kernels = (series(*pair).weighted(groups.bias_shares) for pair in pairs)
    fourth = np.vecdot(varying, groups.over_biases(mean(squares * squares)))
    shared = np.vecdot(varying, np.sqrt(np.where(total > 0, own / total, 0.0))) ** 2
    return map(_Products, *kernels, fourth.tolist(), shared.tolist())


def _next_pairs(state: State, layer: Layer, products: _Products) -> Pairs:
    """Statistics of pairs at the next layer, `layer`, whose inputs have the given products.

    The variance of the correlation gains what n units add to any sample correlation:
    `1/n Var(y_a y_b - c/2 (y_a^2 + y_b^2))`.
    """
    nodes, shared, same = state.correlation_nodes(), products.shared, products.fourth
    low, high = (products.of_outputs.at(c) + shared for c in nodes)
    c, middle = (low + high) / 2, sum(nodes) / 2
    other = products.of_squares.at(middle)
    noise = other * (1 + c * c / 2) - 2 * c * products.of_cubes.at(middle) + c * c / 2 * same - (shared * (1 - c)) ** 2
    cosine = (c - shared) / (1 - shared) if shared < 1 else 0.0
    return Pairs(
        min(max(c, -1.0), 1.0),
        (high - low) ** 2 / 4 + max(noise, 0.0) / layer.n_in,
        *_excess(layer, same, other, cosine, 1 - shared),
    )
