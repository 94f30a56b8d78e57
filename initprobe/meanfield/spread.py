"""How far one network of finite width strays from the infinitely wide one.

To first order in 1/width. A layer's measured variance is a mean over units and samples; given the layer below, units
are independent, so its noise has variance 1/n times what one unit contributes, and the samples' correlation decides how
much of that a batch averages away: the weights are shared, so a bigger batch alone does not. What a layer's length
deviates by is passed on through the length map, and shifts the slopes that gradients meet.

Hanin & Nica 2020, arXiv:1812.05994 (products of random matrices are log-normal).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.activations import Activation
from initprobe.meanfield.maps import Layer, State
from initprobe.meanfield.pairs import hermite_grid, pair_covariances
from initprobe.meanfield.quadrature import Array

# Rows of the functions whose layer means fluctuate together.
_Z, _ZZ, _H, _HH, _SLOPE, _SLOPES = range(6)
# Excess kurtosis of z beyond which its square, the second order, is as large: five weights left to a unit.
_MOST_EXCESS = 1.0


@dataclass(frozen=True)
class Spread:
    """The distribution of `log(measured / theory)` for a variance measured in one network: normal, to first order.

    Attributes:
        sd: its standard deviation.
        bias: `E[measured] / theory - 1`.
    """

    sd: float
    bias: float

    @property
    def log_mean(self) -> float:
        """Its mean. A log-normal number has its mean log half a variance below the log of its mean."""
        return self.bias - self._square / 2

    @property
    def _square(self) -> float:
        """Its variance. A product leaves the float range as infinity, where a power of a float is an error."""
        return self.sd * self.sd

    def averaged(self, draws: int) -> Spread:
        """The same for the average over independent networks."""
        if math.isnan(self.sd):
            return self
        # log(1 + (e^v - 1) / draws) without the overflow of e^v.
        variance = self._square
        if draws > 1:
            variance = float(np.logaddexp(math.log1p(-1 / draws), variance - math.log(draws)))
        return Spread(math.sqrt(variance), self.bias)


@dataclass(frozen=True)
class LayerSpread:
    """The spreads of one layer's measured variances."""

    preactivation: Spread
    output: Spread
    output_gradient: Spread
    preactivation_gradient: Spread


UNKNOWN = LayerSpread(*[Spread(math.nan, math.nan)] * 4)


@dataclass(frozen=True)
class _Noise:
    """How the layer means of z, z^2, phi, phi^2, phi', phi'^2 fluctuate given the layer below, `f` any of them.

    Attributes:
        mean: `E[f]`, `(functions,)`.
        slope: `dE[f] / dlog q`.
        curvature: `q^2 d^2 E[f] / dq^2`.
        offset: what the weights add to `E[f]` at finite width.
        batch: covariances of the means over units and samples, `(functions, functions)`.
        single: relative variance of one sample's mean of phi^2, averaged with the samples' own phi^2 as shares.
        same: covariances of the functions themselves in one unit for one sample.
        other: the same for two different samples.
    """

    mean: Array
    slope: Array
    curvature: Array
    offset: Array
    batch: Array
    single: float
    same: Array
    other: Array

    @property
    def slope_product(self) -> np.float64:
        """`E[phi' phi']` over two different samples; NumPy's float, whose square may be infinite."""
        return np.float64(self.other[_SLOPE, _SLOPE] + self.mean[_SLOPE] ** 2)


def _noise(activation: Activation, state: State, layer: Layer, batch: int) -> _Noise:
    grid = hermite_grid()
    each = _functions(activation, state)
    by_bias = _over_samples(each, state)
    coefficients = state.bias_shares @ by_bias @ grid.analysis[:5].T
    free = _free_share(layer.n_out, layer)
    slope, curvature = coefficients[:, 2] / math.sqrt(2), coefficients[:, 4] * math.sqrt(6) / 2
    same = _same(each, coefficients, state, free)
    other = _other(by_bias, state, free) + state.cokurtosis * np.outer(slope, slope)
    # Orthogonal weights put z on a sphere: normal, but without the 2/n variance of its squared radius.
    excess = -1 / max(layer.n_in, layer.n_out) if layer.orthogonal else state.kurtosis / 6
    return _Noise(
        mean=coefficients[:, 0],
        slope=slope,
        curvature=curvature,
        offset=excess * curvature,
        batch=(same / batch + other * (1 - 1 / batch)) / layer.n_out,
        single=_single(each[_HH], state, free) / layer.n_out,
        same=same,
        other=other,
    )


def _functions(activation: Activation, state: State) -> Array:
    """The six functions of z, about its mean, on the Hermite grid: `(functions, groups, nodes)`."""
    h, d = state.on_grid(activation)
    centre = np.repeat(state.over_biases(state.mean), len(state.bias_shares))
    z = (state.mean - centre)[:, None] + np.sqrt(state.variance)[:, None] * hermite_grid().z
    return np.stack([z, z * z, h, h * h, d, d * d])


def _over_samples(each: Array, state: State) -> Array:
    """Means over samples, at every bias node: `(functions, bias nodes, nodes)`."""
    samples, biases = len(state.sample_shares), len(state.bias_shares)
    by_sample = each.reshape(len(each), samples, -1)
    return np.asarray((state.sample_shares @ by_sample).reshape(len(each), biases, -1))


def _same(each: Array, coefficients: Array, state: State, free: float) -> Array:
    """Covariances of the functions over the units of one sample, averaged over the samples.

    `coefficients` are of the functions' means over samples and biases, `(functions, orders)`.
    """
    grid, flat = hermite_grid(), (len(each), -1)
    means = np.stack([state.over_biases(f) for f in each @ grid.weights])
    weighted = each * (state.shares[:, None] * grid.weights)
    covariances = weighted.reshape(flat) @ each.reshape(flat).T - (means * state.sample_shares) @ means.T
    if state.kurtosis:
        # Gram and Charlier's density, `1 + kurtosis/24 He_4`; the analysis has He_4 over sqrt(24).
        weighted = each * (state.shares[:, None] * grid.analysis[4])
        crossed = np.outer(coefficients[:, 0], coefficients[:, 4])
        excess = weighted.reshape(flat) @ each.reshape(flat).T - crossed - crossed.T
        covariances += state.kurtosis / math.sqrt(24) * excess
    return np.asarray(covariances - (1 - free) * np.outer(coefficients[:, 2], coefficients[:, 2]))


def _single(squares: Array, state: State, free: float) -> float:
    """Mean over samples, weighted by their phi^2, of the relative variance of phi^2 over the units of one sample.

    Not the relative variance of all samples together: long samples would count for their length twice.
    """
    means = state.over_biases(squares @ hermite_grid().weights)
    scale = np.repeat(np.sqrt(np.where(means > 0, means, 1.0)), len(state.bias_shares))
    scaled = (squares / scale[:, None])[None]
    coefficients = state.bias_shares @ _over_samples(scaled, state) @ hermite_grid().analysis[:5].T
    covariance = _same(scaled, coefficients, state, free)
    return float(covariance[0, 0] / (state.sample_shares @ means))


def _other(by_bias: Array, state: State, free: float) -> Array:
    """Covariances of the functions over the units, between two samples; `by_bias` are `(functions, biases, nodes)`."""
    shape, shares = by_bias.shape[:2], state.bias_shares
    within = pair_covariances(by_bias.reshape(-1, by_bias.shape[-1]), state.correlation_nodes(), free)
    means = by_bias @ hermite_grid().weights
    mean = means @ shares
    between = (means * shares) @ means.T - np.outer(mean, mean)
    return np.asarray(np.einsum("fkgk,k->fg", within.reshape(shape + shape), shares) + between)


def _free_share(units: int, layer: Layer) -> float:
    """Share of the noise in a sum of squares that the weights leave: orthogonal ones fix it but for units cut off."""
    return 1 - units / max(layer.n_in, layer.n_out) if layer.orthogonal else 1.0


def spread(
    activation: Activation, layers: Sequence[Layer], states: Sequence[State], batch: int
) -> tuple[LayerSpread, ...]:
    """Spread of the variances measured in one network, given its input, for every layer.

    Weights with a mean are not covered (the layers' means then fluctuate too), nor are those so sparse that z is far
    from normal: their spreads are NaN. What the kurtosis of other weights shifts is in the bias.

    Args:
        activation: any record.
        layers: as given to `propagate`.
        states: from `propagate`, or of each `LayerTheory`.
        batch: samples that the variances are taken over.
    """
    excess = max(abs(state.kurtosis) for state in states)
    if any(layer.weight_mean != 0 for layer in layers) or excess > _MOST_EXCESS:
        return (UNKNOWN,) * len(layers)
    with np.errstate(all="ignore"):
        noises = [_noise(activation, s, layer, batch) for s, layer in zip(states, layers, strict=True)]
        lengths = _lengths(layers, states, noises)
        gradients = _gradient_spreads(layers, noises, lengths, batch)
        return tuple(
            LayerSpread(_forward(noise, _Z, _ZZ, lengths, k), _forward(noise, _H, _HH, lengths, k), *gradients[k])
            for k, noise in enumerate(noises)
        )


@dataclass(frozen=True)
class _Lengths:
    """Relative deviations of each layer's q from theory.

    Attributes:
        influence: response of layer k's q to the relative noise in layer j's mean square output, `(k, j)`.
        batch: variance, averaged over the samples, `(layers,)`.
        single: variance for one sample, `(layers,)`.
        bias: mean, `(layers,)`.
    """

    influence: Array
    batch: Array
    single: Array
    bias: Array


def _lengths(layers: Sequence[Layer], states: Sequence[State], noises: Sequence[_Noise]) -> _Lengths:
    """Pass every layer's noise on through the length map: `x' = rho (noise + slope x)`, rho the weights' share of q."""
    influence, bias, single = np.zeros((len(layers),) * 2), np.zeros(len(layers)), np.zeros(len(layers))
    relative = [noise.single for noise in noises]
    for k in range(1, len(layers)):
        below = noises[k - 1]
        square = below.mean[_HH]
        rho = layers[k].n_in * layers[k].weight_variance * square / states[k].average(states[k].variance)
        influence[k] = rho * below.slope[_HH] / square * influence[k - 1]
        influence[k, k - 1] = rho
        drift = below.offset[_HH] + below.curvature[_HH] * single[k - 1] / 2
        bias[k] = rho * (below.slope[_HH] * bias[k - 1] + drift) / square
        single[k] = influence[k] ** 2 @ relative
    return _Lengths(influence, influence**2 @ [_relative(noise.batch, noise) for noise in noises], single, bias)


def _relative(covariances: Array, noise: _Noise) -> float:
    return float(covariances[_HH, _HH] / noise.mean[_HH] ** 2)


def _forward(noise: _Noise, first: int, second: int, lengths: _Lengths, k: int) -> Spread:
    """Spread of `mean of f^2 - (mean of f)^2` at layer k, for the rows of f and f^2."""
    mean = noise.mean[first]
    value = noise.mean[second] - mean**2
    direction = np.zeros(len(noise.mean))
    direction[[first, second]] = -2 * mean, 1
    slope = direction @ noise.slope
    variance = direction @ noise.batch @ direction / value**2 + (slope / value) ** 2 * lengths.batch[k]
    of_mean = noise.batch[first, first] + noise.slope[first] ** 2 * lengths.batch[k]
    drift = direction @ (noise.offset + noise.curvature * lengths.single[k] / 2)
    bias = slope * lengths.bias[k] + drift - of_mean
    return Spread(_root(float(variance)), float(bias / value))


def _gradient_spreads(
    layers: Sequence[Layer], noises: Sequence[_Noise], lengths: _Lengths, batch: int
) -> list[tuple[Spread, Spread]]:
    """Spreads of dL/dh and dL/dz at each layer, first to last.

    Three parts: slopes that differ from theory because q does, or by chance in these units (`_coupled`); and weights
    that lengthen or shorten this gradient by chance, which a batch averages away as far as `overlap`, the mean squared
    cosine between the gradients of two samples, lets it; and what units differ in by
    the lengths of their own weights (`_units_noise`). The bias, of order depth/width, is not derived: 0.
    """
    found = []
    above, overlap = 0.0, 0.0
    after, before = _coupled(layers, noises, lengths)
    for k in reversed(range(len(layers))):
        units, noise = layers[k].n_out, noises[k]
        free = _free_share(units, layers[k + 1]) if k + 1 < len(layers) else 1.0
        same = noise.same[_SLOPES, _SLOPES] / noise.mean[_SLOPES] ** 2
        other = noise.other[_SLOPES, _SLOPES] / noise.mean[_SLOPES] ** 2
        agreement = (noise.slope_product / noise.mean[_SLOPES]) ** 2
        shared = overlap * (1 - 1 / batch)
        units_noise = _units_noise(layers, noises, k, overlap, batch)
        here = above + 2 * free / units * (1 / batch + shared) + units_noise
        above += 2 / units * ((same + free) / batch + (other + free) * shared) + units_noise
        found.append((Spread(_root(here + after[k]), 0.0), Spread(_root(above + before[k]), 0.0)))
        gained = (1 + other) * (1 + 2 * overlap) - agreement * (overlap + (1 + overlap) * (1 - free))
        overlap = agreement * overlap + gained / units
    return found[::-1]


def _units_noise(layers: Sequence[Layer], noises: Sequence[_Noise], k: int, overlap: float, batch: int) -> float:
    """Variance that weights which are not normal add to dL/dh at layer k: the units above then differ in theirs."""
    if k + 1 == len(layers):
        return 0.0
    layer, noise = layers[k + 1], noises[k + 1]
    same, other = (1 + m[_SLOPES, _SLOPES] / noise.mean[_SLOPES] ** 2 for m in (noise.same, noise.other))
    return float(layer.unit_noise / layer.n_out * (3 * same / batch + other * (1 + 2 * overlap) * (1 - 1 / batch)))


def _root(variance: float) -> float:
    return math.sqrt(variance) if variance >= 0 else math.nan


def _coupled(layers: Sequence[Layer], noises: Sequence[_Noise], lengths: _Lengths) -> tuple[Array, Array]:
    """Variance of what the forward pass does to dL/dh and to dL/dz at each layer, through the slopes they have met.

    With it comes twice its covariance with the chance of the weights, which z and the gradient share.
    """
    mean = np.array([noise.mean for noise in noises])
    relative = np.array([noise.batch for noise in noises]) / (mean[:, :, None] * mean[:, None, :])
    growth = np.array([noise.slope for noise in noises]) / mean
    # Rows: the first layer whose slopes have been met; one more row for none. Columns: the layer that fluctuates.
    met = np.triu(np.ones((len(layers) + 1, len(layers))))
    response = met * growth[:, _SLOPES] @ lengths.influence
    variance = response**2 @ relative[:, _HH, _HH]
    variance += 2 * (response * met) @ relative[:, _HH, _SLOPES] + met @ relative[:, _SLOPES, _SLOPES]
    to_length = response * growth[:, _HH] + met * growth[:, _SLOPES]
    reused = 2 * _reused(layers, noises, lengths)
    after, before = (variance[rows] + np.sum(reused * to_length[rows], axis=1) for rows in (np.s_[1:], np.s_[:-1]))
    return after, before


def _reused(layers: Sequence[Layer], noises: Sequence[_Noise], lengths: _Lengths) -> Array:
    """Covariance between the relative noise of `|z|^2` at layer k and that of the gradient on its way to layer `at`.

    One matrix gives `Cov(|Wh|^2, |W'd|^2) = 2/(n_in n_out)`, relative, for any h and d; the product of several
    likewise, less what the nonlinearities between them wash out of the overlaps of signals and gradients. `(at, k)`.
    """
    count = len(layers)
    found = np.zeros((count, count))
    products = np.zeros(count)
    for k, (layer, noise) in enumerate(zip(layers, noises, strict=True)):
        if not layer.orthogonal:
            products += (np.arange(count) < k) / layer.n_in
            found[:, k] = (2 * products + (np.arange(count) < k) * layer.unit_noise) / layer.n_out
        if k + 1 < count:
            passed = lengths.influence[k + 1, k] * noise.mean[_ZZ] / noise.mean[_HH] / noise.mean[_SLOPES]
            products *= passed * noise.slope_product**2
    return found
