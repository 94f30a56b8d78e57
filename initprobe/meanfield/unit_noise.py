"""How the layer means of z, phi, phi' and their squares fluctuate over networks, given the layer below.

The units of a layer are independent given the layer below. So a mean over n units has a covariance of 1/n times the
covariance over units. That covariance is of one sample (`same`) or between two samples (`other`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array, Scratch
from initprobe.meanfield.correlated_pairs import hermite_grid, pair_covariances
from initprobe.meanfield.layer import Groups, Layer, State, layer_batches, stacked

# Rows of the functions whose layer means fluctuate together: each is followed by its square.
Z, ZZ, H, HH, SLOPE, SLOPES = range(6)

# The functions on the Hermite grid, and the same times their weights.
_values, _weighted = Scratch(), Scratch()

# Largest relative error of `E[phi^2]` on the Hermite grid for which the noise is derived.
_GRID_ERROR = 1e-3


class Noise(NamedTuple):
    """Fluctuations of the layer means of z, z^2, phi, phi^2, phi', phi'^2; f is any of these six functions.

    Attributes:
        mean: `E[f]`, `(layers, functions)`.
        rise: `dE[f]` by the mean of z in standard deviations, `(layers, functions)`.
        slope: `dE[f] / dlog q`, `(layers, functions)`.
        curvature: `q^2 d^2 E[f] / dq^2`, `(layers, functions)`.
        offset: what the weights add to `E[f]` at finite width, `(layers, functions)`.
        batch: covariances of the means over units and samples, `(layers, functions, functions)`.
        single: covariances of the means over units, for one sample, `(layers, functions, functions)`.
        length: relative variance of one sample's mean of phi^2, averaged with weights phi^2, `(layers,)`.
        same: covariances of the functions in one unit for one sample, `(layers, functions, functions)`.
        other: covariances in one unit between two different samples, `(layers, functions, functions)`.
    """

    mean: Array
    rise: Array
    slope: Array
    curvature: Array
    offset: Array
    batch: Array
    single: Array
    length: Array
    same: Array
    other: Array

    def rows(self, start: int, stop: int) -> Noise:
        """The noise of the layers from `start` to before `stop`, counted from 0."""
        return Noise(*(values[start:stop] for values in self))

    def relative(self, covariances: Array, first: int, second: int) -> Array:
        """Covariance of two functions divided by their means, `(layers,)`.

        Args:
            covariances: by layer and by two functions, `(layers, functions, functions)`.
            first, second: indices of the two functions.
        """
        return np.asarray(covariances[:, first, second] / (self.mean[:, first] * self.mean[:, second]))

    @property
    def slope_product(self) -> Array:
        """`E[phi'(z_a) phi'(z_b)]` over two different samples, `(layers,)`."""
        return np.asarray(self.other[:, SLOPE, SLOPE] + self.mean[:, SLOPE] ** 2)


class _Stack(NamedTuple):
    """Layers with equally many groups.

    Attributes:
        groups: their pre-activations, stacked.
        kurtosis: excess kurtosis of z for one sample, `(layers,)`.
        cokurtosis: fourth cumulant of z of two samples, `(layers,)`.
        correlations: two nodes that stand for the correlations of all pairs, `(layers, 2)`.
        fixed: share of the noise in a sum of squares of one sample that the weights remove, `(layers,)`.
        fixed_pairs: the same for the covariance of the sums of two samples, times their squared correlation.
    """

    groups: Groups
    kurtosis: Array
    cokurtosis: Array
    correlations: Array
    fixed: Array
    fixed_pairs: Array

    @classmethod
    def of(cls, layers: Sequence[Layer], states: Sequence[State]) -> _Stack:
        groups, correlations = stacked(states), np.array([state.correlation_nodes() for state in states])
        fixed = np.array([1 - free_share(layer.n_out, layer) for layer in layers])
        # Weights fix sums over their own share of z, and not over the normal biases that are added to it.
        own = np.array([layer.normal_bias_variance for layer in layers])[:, None]
        biases = groups.average(np.where(groups.variance > 0, own / groups.variance, 0.0))
        return cls(
            groups=groups,
            kurtosis=np.array([state.kurtosis for state in states]),
            cokurtosis=np.array([state.cokurtosis for state in states]),
            correlations=correlations,
            fixed=fixed * (1 - biases) ** 2,
            fixed_pairs=fixed * np.mean((correlations - biases[:, None]) ** 2, axis=1),
        )


def _noise(activation: Activation, layers: Sequence[Layer], states: Sequence[State], batch: int) -> Noise:
    """The noise of layers with equally many groups."""
    stack = _Stack.of(layers, states)
    n_in, n_out = np.array([(layer.n_in, layer.n_out) for layer in layers]).T
    orthogonal = np.array([layer.orthogonal for layer in layers])
    functions = _functions(activation, stack.groups)
    by_bias = stack.groups.over_samples(functions, stack.groups.sample_shares)
    coefficients = _coefficients(by_bias, stack.groups)
    scales = (0, 1.0), (1, 1.0), (2, 1 / math.sqrt(2)), (4, math.sqrt(6) / 2)
    mean, rise, slope, curvature = (scale * coefficients[..., order].T for order, scale in scales)
    mean[_is_cut_off(mean[:, HH], stack.groups)] = np.nan
    same, other = _same(functions, coefficients, stack), _other(by_bias, stack)
    other += stack.cokurtosis[:, None, None] * (slope[:, :, None] * slope[:, None, :])
    single = same - _removed(coefficients, stack)
    pairs = other - _removed_pairs(by_bias, stack)
    # Orthogonal weights put z on a sphere: normal, but without the 2/n variance of its squared radius.
    excess = np.where(orthogonal, -1 / np.maximum(n_in, n_out), stack.kurtosis / 6)
    return Noise(
        mean=mean,
        rise=rise,
        slope=slope,
        curvature=curvature,
        offset=excess[:, None] * curvature,
        batch=(single / batch + pairs * (1 - 1 / batch)) / n_out[:, None, None],
        single=single / n_out[:, None, None],
        length=_length(functions[HH], stack) / n_out,
        same=same,
        other=other,
    )


def _is_cut_off(square: Array, groups: Groups) -> Array:
    """Whether the Hermite grid, which ends at 8 SDs, misses a part of `E[phi^2]` (an exponential): `(layers,)`."""
    exact = groups.average(groups.moments.square)
    return np.asarray(np.abs(square - exact) > _GRID_ERROR * exact)


def _functions(activation: Activation, groups: Groups) -> Array:
    """The six functions of z, z about its mean, on the Hermite grid: `(functions, layers, groups, nodes)`.

    They are valid until the next call in this thread.
    """
    h, d = groups.on_grid(activation)
    functions = _values.array((6, *h.shape), np.float64)
    centre = groups.for_biases(groups.over_biases(groups.mean))
    functions[Z] = (groups.mean - centre)[..., None] + np.sqrt(groups.variance)[..., None] * hermite_grid().z
    functions[H], functions[SLOPE] = h, d
    np.square(functions[::2], out=functions[1::2])
    return functions


def _coefficients(by_bias: Array, groups: Groups) -> Array:
    """The first five Hermite coefficients of the functions' means over samples and biases, `(functions, layers, 5)`."""
    at_biases = hermite_grid().coefficients(by_bias, 5)
    return np.asarray(np.vecdot(at_biases.mT, groups.bias_shares[:, None, :]))


def _same(functions: Array, coefficients: Array, stack: _Stack) -> Array:
    """Covariances over the units of one sample, averaged over samples, `(layers, functions, functions)`.

    Args:
        functions: on the Hermite grid, `(functions, layers, groups, nodes)`.
        coefficients: Hermite coefficients of their means over samples and biases, `(functions, layers, orders)`.
        stack: z at these layers.
    """
    groups, grid = stack.groups, hermite_grid()
    shares, means = groups.shares[:, :, None], groups.over_biases(grid.mean(functions))
    weighted = _weighted.array(functions.shape, np.float64)
    squares = _products(np.multiply(functions, shares * grid.weights, out=weighted), functions)
    covariances = squares - _products(means * groups.sample_shares, means)
    if stack.kurtosis.any():
        # The Gram-Charlier density, `1 + kurtosis/24 He_4`; `analysis` holds He_4 over sqrt(24).
        crossed = _outer(coefficients[..., 0], coefficients[..., 4])
        np.multiply(functions, shares * grid.analysis[4], out=weighted)
        excess = _products(weighted, functions) - crossed - crossed.mT
        covariances += stack.kurtosis[:, None, None] / math.sqrt(24) * excess
    return np.asarray(covariances)


def _removed(coefficients: Array, stack: _Stack) -> Array:
    """What orthogonal weights remove from covariances of means of one sample, `(layers, functions, functions)`."""
    second = coefficients[..., 2]
    return np.asarray(stack.fixed[:, None, None] * _outer(second, second))


def _removed_pairs(by_bias: Array, stack: _Stack) -> Array:
    """What they remove from covariances of means of two samples, `(layers, functions, functions)`."""
    if not stack.fixed_pairs.any():
        return np.zeros((1, 1, 1))
    second = hermite_grid().coefficients(by_bias, 3)[..., 2]
    products = _products(second * stack.groups.bias_shares, second)
    return np.asarray(stack.fixed_pairs[:, None, None] * products)


def _products(f: Array, g: Array) -> Array:
    """Sums of products per layer, `(layers, functions, functions)`, of arrays `(functions, layers, ...)`."""
    left, right = (np.moveaxis(values.reshape(*values.shape[:2], -1), 0, 1) for values in (f, g))
    return np.asarray(left @ right.mT)


def _outer(f: Array, g: Array) -> Array:
    return _products(f[..., None], g[..., None])


def _length(squares: Array, stack: _Stack) -> Array:
    """Relative variance over units of phi^2 of one sample, averaged over samples with weights phi^2: `(layers,)`.

    It is not the relative variance over all samples together, in which samples of large phi^2 would count twice.
    `squares` is phi^2 on the Hermite grid, `(layers, groups, nodes)`.
    """
    groups = stack.groups
    means = groups.over_biases(hermite_grid().mean(squares))
    scale = groups.for_biases(np.sqrt(np.where(means > 0, means, 1.0)))
    scaled = (squares / scale[..., None])[None]
    coefficients = _coefficients(groups.over_samples(scaled, groups.sample_shares), groups)
    covariance = (_same(scaled, coefficients, stack) - _removed(coefficients, stack))[:, 0, 0]
    return np.asarray(covariance / np.vecdot(groups.sample_shares, means))


def _other(by_bias: Array, stack: _Stack) -> Array:
    """Covariances over the units between two samples, `(layers, functions, functions)`.

    `by_bias` are the functions' means over samples, `(functions, layers, bias nodes, nodes)`.
    """
    shares = stack.groups.bias_shares
    within = pair_covariances(np.moveaxis(by_bias, 0, 2), stack.correlations[:, None, :])
    means = hermite_grid().mean(by_bias)
    mean = np.vecdot(means, shares)
    between = _products(means * shares, means) - _outer(mean, mean)
    return np.asarray(np.einsum("lkfg,lk->lfg", within, shares) + between)


def group_covariances(activation: Activation, states: Sequence[State]) -> Array:
    """Covariances in one unit between samples of any two groups, `(groups, groups, functions, functions)`.

    Args:
        activation: of the layer.
        states: z of one layer, for each group of samples.
    """
    groups = stacked(states)
    functions = groups.over_samples(_functions(activation, groups), groups.sample_shares)
    by_group = np.moveaxis(functions, 0, 1)
    size, shares = by_group.shape[:2], groups.bias_shares[0]
    at_biases = np.moveaxis(by_group.reshape(math.prod(size), len(shares), -1), 0, 1)
    within = pair_covariances(at_biases, np.array(states[0].correlation_nodes())[None])
    means = hermite_grid().mean(at_biases)
    mean = shares @ means
    between = (means.T * shares) @ means - np.outer(mean, mean)
    total = np.einsum("k,kij->ij", shares, within) + between
    return np.asarray(np.moveaxis(total.reshape(*size, *size), 2, 1))


def free_share(units: int, layer: Layer) -> float:
    """Share of the noise in a sum of squares over `units` that the weights leave.

    Orthogonal weights keep lengths, so that only units cut off leave noise; other weights leave all of it.

    Args:
        units: in the sum.
        layer: whose weights make the units.
    """
    return 1 - units / max(layer.n_in, layer.n_out) if layer.orthogonal else 1.0


def noises(activation: Activation, layers: Sequence[Layer], states: Sequence[State], batch: int) -> Noise:
    """The noise of all layers.

    Args:
        activation: of all layers.
        layers: rules of the weights, first to last.
        states: what infinite width predicts for each.
        batch: number of samples that means are taken over.
    """
    remaining, nodes = iter(layers), len(hermite_grid().z)
    parts = [
        _noise(activation, list(itertools.islice(remaining, len(batch_states))), batch_states, batch)
        for batch_states in layer_batches(states, nodes)
    ]
    return Noise(*map(np.concatenate, zip(*parts, strict=True)))
