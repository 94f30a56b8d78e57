"""How far one network of finite width strays from the infinitely wide one.

To first order in 1/width. A layer's measured variance is a mean over units and samples; given the layer below, units
are independent, so its noise has variance 1/n times what one unit contributes, and the samples' correlation decides how
much of that a batch averages away: the weights are shared, so a bigger batch alone does not. What a layer's length
deviates by is passed on through the length map, and shifts the slopes that gradients meet.

Hanin & Nica 2020, arXiv:1812.05994 (products of random matrices are log-normal).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.correlated_pairs import hermite_grid, pair_covariances
from initprobe.meanfield.layer import Layer, State, runs, stacked

# Rows of the functions whose layer means fluctuate together: each with its square.
Z, ZZ, H, HH, _SLOPE, SLOPES = range(6)


@dataclass(frozen=True)
class Noise:
    """How the layer means of z, z^2, phi, phi^2, phi', phi'^2 fluctuate given the layer below, `f` any of them.

    Attributes:
        mean: `E[f]`, `(layers, functions)`.
        slope: `dE[f] / dlog q`.
        curvature: `q^2 d^2 E[f] / dq^2`.
        offset: what the weights add to `E[f]` at finite width.
        batch: covariances of the means over units and samples, `(layers, functions, functions)`.
        single: relative variance of one sample's mean of phi^2, averaged with the samples' own phi^2 as shares.
        same: covariances of the functions themselves in one unit for one sample.
        other: the same for two different samples.
    """

    mean: Array
    slope: Array
    curvature: Array
    offset: Array
    batch: Array
    single: Array
    same: Array
    other: Array

    def relative(self, covariances: Array, first: int, second: int) -> Array:
        """Covariance of two functions in units of their means, `(layers,)`."""
        return np.asarray(covariances[:, first, second] / (self.mean[:, first] * self.mean[:, second]))

    @property
    def slope_product(self) -> Array:
        """`E[phi' phi']` over two different samples, `(layers,)`."""
        return np.asarray(self.other[:, _SLOPE, _SLOPE] + self.mean[:, _SLOPE] ** 2)


def _noise(activation: Activation, layers: Sequence[Layer], states: Sequence[State], batch: int) -> Noise:
    """Of layers with equally many groups."""
    state = stacked(states)
    n_in, n_out = np.array([(layer.n_in, layer.n_out) for layer in layers]).T
    orthogonal = np.array([layer.orthogonal for layer in layers])
    free = np.array([free_share(layer.n_out, layer) for layer in layers])
    each = _functions(activation, state)
    by_bias = state.over_samples(each, state.sample_shares)
    coefficients = _coefficients(by_bias, state)
    scales = (0, 1.0), (2, 1 / math.sqrt(2)), (4, math.sqrt(6) / 2)
    mean, slope, curvature = (scale * coefficients[..., order].T for order, scale in scales)
    same = _same(each, coefficients, state, free)
    correlations = np.array([one.correlation_nodes() for one in states])
    both = slope[:, :, None] * slope[:, None, :]
    other = _other(by_bias, state, correlations, free) + state.cokurtosis[:, None, None] * both
    # Orthogonal weights put z on a sphere: normal, but without the 2/n variance of its squared radius.
    excess = np.where(orthogonal, -1 / np.maximum(n_in, n_out), state.kurtosis / 6)
    return Noise(
        mean=mean,
        slope=slope,
        curvature=curvature,
        offset=excess[:, None] * curvature,
        batch=(same / batch + other * (1 - 1 / batch)) / n_out[:, None, None],
        single=_single(each[HH], state, free) / n_out,
        same=same,
        other=other,
    )


def _functions(activation: Activation, state: State) -> Array:
    """The six functions of z, about its mean, on the Hermite grid: `(functions, layers, groups, nodes)`."""
    h, d = state.on_grid(activation)
    each = np.empty((6, *h.shape))
    centre = state.for_biases(state.over_biases(state.mean))
    each[Z] = (state.mean - centre)[..., None] + np.sqrt(state.variance)[..., None] * hermite_grid().z
    each[H], each[_SLOPE] = h, d
    np.square(each[::2], out=each[1::2])
    return each


def _coefficients(by_bias: Array, state: State) -> Array:
    """The first Hermite coefficients of the functions' means, `(functions, layers, 5)`."""
    found = hermite_grid().coefficients(by_bias, 5)
    return np.asarray(np.vecdot(found.mT, state.bias_shares[:, None, :]))


def _same(each: Array, coefficients: Array, state: State, free: Array) -> Array:
    """Covariances of the functions over the units of one sample, averaged over the samples: `(layers, f, f)`.

    Args:
        each: functions on the Hermite grid, `(functions, layers, groups, nodes)`.
        coefficients: of their means over samples and biases, `(functions, layers, orders)`.
        state: z at these layers.
        free: share of the second Hermite term to keep, `(layers,)`.
    """
    grid, shares = hermite_grid(), state.shares[:, :, None]
    means = state.over_biases(grid.mean(each))
    found = _products(each * (shares * grid.weights), each) - _products(means * state.sample_shares, means)
    kurtosis = np.asarray(state.kurtosis)[:, None, None]
    if kurtosis.any():
        # Gram and Charlier's density, `1 + kurtosis/24 He_4`; the analysis has He_4 over sqrt(24).
        crossed = _outer(coefficients[..., 0], coefficients[..., 4])
        excess = _products(each * (shares * grid.analysis[4]), each) - crossed - crossed.mT
        found += kurtosis / math.sqrt(24) * excess
    return np.asarray(found - (1 - free)[:, None, None] * _outer(coefficients[..., 2], coefficients[..., 2]))


def _products(f: Array, g: Array) -> Array:
    """Sums of products at each layer, `(layers, functions, functions)`, of arrays `(functions, layers, ...)`."""
    left, right = (np.moveaxis(each.reshape(*each.shape[:2], -1), 0, 1) for each in (f, g))
    return np.asarray(left @ right.mT)


def _outer(f: Array, g: Array) -> Array:
    return _products(f[..., None], g[..., None])


def _single(squares: Array, state: State, free: Array) -> Array:
    """Mean over samples, weighted by their phi^2, of the relative variance of phi^2 over the units of one sample.

    Not the relative variance of all samples together: long samples would count for their length twice. Of every layer,
    `(layers,)`.
    """
    means = state.over_biases(hermite_grid().mean(squares))
    scale = state.for_biases(np.sqrt(np.where(means > 0, means, 1.0)))
    scaled = (squares / scale[..., None])[None]
    coefficients = _coefficients(state.over_samples(scaled, state.sample_shares), state)
    covariance = _same(scaled, coefficients, state, free)[:, 0, 0]
    return np.asarray(covariance / np.vecdot(state.sample_shares, means))


def _other(by_bias: Array, state: State, correlations: Array, free: Array) -> Array:
    """Covariances of the functions over the units, between two samples, `(layers, functions, functions)`.

    `by_bias` are `(functions, layers, bias nodes, nodes)`, `correlations` `(layers, 2)`.
    """
    shares = state.bias_shares
    within = pair_covariances(np.moveaxis(by_bias, 0, 2), correlations[:, None, :], free[:, None])
    means = hermite_grid().mean(by_bias)
    mean = np.vecdot(means, shares)
    between = _products(means * shares, means) - _outer(mean, mean)
    return np.asarray(np.einsum("lkfg,lk->lfg", within, shares) + between)


def free_share(units: int, layer: Layer) -> float:
    """Share of the noise in a sum of squares that the weights leave: orthogonal ones fix it but for units cut off."""
    return 1 - units / max(layer.n_in, layer.n_out) if layer.orthogonal else 1.0


def noises(activation: Activation, layers: Sequence[Layer], states: Sequence[State], batch: int) -> Noise:
    """Of all layers."""
    rules, nodes = iter(layers), len(hermite_grid().z)
    found = [
        vars(_noise(activation, list(itertools.islice(rules, len(run))), run, batch)) for run in runs(states, nodes)
    ]
    return Noise(**{name: np.concatenate([some[name] for some in found]) for name in found[0]})
