"""The spread of measured variances: how far one network of finite width deviates from infinite width.

Everything is to first order in 1/width. A layer's measured variance is a mean over units and samples. Given the layer
below, units are independent, so the variance of that mean is 1/n times the variance that one unit contributes. How much
of it a batch averages away depends on the samples' correlation, because all samples share the weights.

The deviation of a layer's mean square is passed on through the length map. It also shifts the slopes that gradients
are multiplied by.

Hanin & Nica 2020, arXiv:1812.05994 (products of random matrices are log-normal).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.layer import Layer, State
from initprobe.meanfield.unit_noise import HH, SLOPES, ZZ, H, Noise, Z, free_share, noises

# Largest excess kurtosis of z. Beyond it, with five weights per unit, the second order is as large as the first.
_MOST_EXCESS = 1.0


@dataclass(frozen=True)
class Spread:
    """The distribution of `log(measured / theory)` for a variance measured in one network: normal, to first order.

    Attributes:
        sd: standard deviation.
        bias: `E[measured] / theory - 1`.
    """

    sd: float
    bias: float

    @property
    def log_mean(self) -> float:
        """Mean of the log: half a variance below the log of the mean, as for any log-normal number."""
        return self.bias - self._square / 2

    @property
    def _square(self) -> float:
        """Variance of the log. A product overflows to infinity, where a power of a float raises an error."""
        return self.sd * self.sd

    def averaged(self, draws: int) -> Spread:
        """The spread of the average over `draws` independent networks."""
        if math.isnan(self.sd):
            return self
        # log(1 + (e^v - 1) / draws), without overflow in e^v.
        variance = self._square
        if draws > 1:
            # Rounding may leave a tiny variance negative.
            variance = max(float(np.logaddexp(math.log1p(-1 / draws), variance - math.log(draws))), 0.0)
        return Spread(math.sqrt(variance), self.bias)


@dataclass(frozen=True)
class LayerSpread:
    """The spreads of one layer's measured variances."""

    preactivation: Spread
    output: Spread
    output_gradient: Spread
    preactivation_gradient: Spread


UNKNOWN = LayerSpread(*[Spread(math.nan, math.nan)] * 4)


def spread(
    activation: Activation, layers: Sequence[Layer], states: Sequence[State], batch: int
) -> tuple[LayerSpread, ...]:
    """Spread of the variances measured in one network, given its input, for every layer.

    Spreads are NaN for weights with a mean, under which the layers' means fluctuate too. They are NaN for weights so
    sparse that z is far from normal. What a smaller kurtosis of the weights shifts is part of the bias.

    Args:
        activation: any record.
        layers: as given to `propagate`.
        states: from `propagate`, or of each `LayerTheory`.
        batch: number of samples that the variances are taken over.
    """
    excess = max(abs(state.kurtosis) for state in states)
    if any(layer.weight_mean != 0 for layer in layers) or excess > _MOST_EXCESS:
        return (UNKNOWN,) * len(layers)
    with np.errstate(all="ignore"):
        noise = noises(activation, layers, states, batch)
        lengths = _lengths(layers, states, noise)
        return tuple(
            map(
                LayerSpread,
                _forward(noise, Z, ZZ, lengths),
                _forward(noise, H, HH, lengths),
                *_gradient_spreads(layers, noise, lengths, batch),
            )
        )


@dataclass(frozen=True)
class _Lengths:
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


def _lengths(layers: Sequence[Layer], states: Sequence[State], noise: Noise) -> _Lengths:
    """Accumulate the layers' noise through the length map: `x' = share (noise + slope x)`."""
    square, below = noise.mean[:, HH], np.s_[:-1]
    gain = np.array([layer.n_in * layer.weight_variance for layer in layers])
    variance = np.array([state.average(state.variance) for state in states])
    share = gain[1:] * square[below] / variance[1:]
    response = share * (noise.slope[:, HH] / square)[below]
    single = _accumulated(share**2 * noise.single[below], response**2)
    batch = _accumulated(share**2 * noise.relative(noise.batch, HH, HH)[below], response**2)
    drift = (noise.offset[:, HH] + noise.curvature[:, HH] * single / 2) / square
    return _Lengths(share, response, batch, single, _accumulated(share * drift[below], response))


def _accumulated(added: Array, factor: Array) -> Array:
    """`x_0 = 0`, `x_{k+1} = added_k + factor_k x_k`: one value more than `added` has."""
    steps = zip(added.tolist(), factor.tolist(), strict=True)
    return np.array([*itertools.accumulate(steps, lambda x, step: step[0] + step[1] * x, initial=0.0)])


def _forward(noise: Noise, first: int, second: int, lengths: _Lengths) -> Iterator[Spread]:
    """Spread of `mean(f^2) - mean(f)^2` at every layer; `first` and `second` are the rows of f and f^2."""
    mean = noise.mean[:, first]
    value = noise.mean[:, second] - mean**2
    direction = np.zeros_like(noise.mean)
    direction[:, first], direction[:, second] = -2 * mean, 1
    slope = np.vecdot(direction, noise.slope)
    within = np.vecdot(np.vecdot(noise.batch, direction[:, None]), direction)
    variance = within / value**2 + (slope / value) ** 2 * lengths.batch
    of_mean = noise.batch[:, first, first] + noise.slope[:, first] ** 2 * lengths.batch
    drift = np.vecdot(direction, noise.offset + noise.curvature * lengths.single[:, None] / 2)
    bias = slope * lengths.bias + drift - of_mean
    return map(Spread, _roots(variance), (bias / value).tolist())


def _gradient_spreads(
    layers: Sequence[Layer], noise: Noise, lengths: _Lengths, batch: int
) -> tuple[list[Spread], list[Spread]]:
    """Spreads of dL/dh and dL/dz at each layer, first to last.

    There are three parts. Slopes differ from theory because q does, or by chance in these units (`_coupled`). Weights
    lengthen or shorten this gradient by chance. A batch averages that away as far as `overlap` permits, the mean
    squared cosine between the gradients of two samples. Units differ in the mean square of their own weights
    (`units_noise`), where weights are not normal. The bias, of order depth/width, is not derived and set to 0.
    """
    same, other = (noise.relative(each, SLOPES, SLOPES).tolist() for each in (noise.same, noise.other))
    agreements = ((noise.slope_product / noise.mean[:, SLOPES]) ** 2).tolist()
    after, before = np.zeros((2, len(layers)))
    above, overlap, free, units_noise = 0.0, 0.0, 1.0, 0.0
    for k in reversed(range(len(layers))):
        units, agreement, shared = layers[k].n_out, agreements[k], overlap * (1 - 1 / batch)
        after[k] = above + 2 * free / units * (1 / batch + shared) + units_noise
        above += 2 / units * ((same[k] + free) / batch + (other[k] + free) * shared) + units_noise
        before[k] = above
        gained = (1 + other[k]) * (1 + 2 * overlap) - agreement * (overlap + (1 + overlap) * (1 - free))
        overlap = agreement * overlap + gained / units
        # From here on `free` and `units_noise` are for the layer below.
        free = free_share(layers[k].n_in, layers[k])
        alone, together = 3 * (1 + same[k]) / batch, (1 + other[k]) * (1 + 2 * overlap) * (1 - 1 / batch)
        units_noise = layers[k].unit_noise / units * (alone + together)
    after_slopes, before_slopes = _coupled(layers, noise, lengths)
    variances = (after + after_slopes, before + before_slopes)
    output, preactivation = ([Spread(sd, 0.0) for sd in _roots(variance)] for variance in variances)
    return output, preactivation


def _roots(variances: Array) -> list[float]:
    """Square roots; NaN where rounding left a value below 0."""
    roots: list[float] = np.sqrt(variances).tolist()
    return roots


def _coupled(layers: Sequence[Layer], noise: Noise, lengths: _Lengths) -> tuple[Array, Array]:
    """Variance that the slopes, which depend on the forward pass, give to dL/dh and to dL/dz at each layer.

    It includes twice the covariance with the noise of the weights, which z and the gradient share.
    """
    growth = noise.slope / noise.mean
    # Response of all slopes from a layer on to its q; the last entry stands for no slopes.
    to_length = _accumulated_back(growth[:, SLOPES], lengths.response)
    # Their response to the noise of its mean phi^2, which changes the q above it.
    to_noise = np.append(lengths.share * to_length[1:-1], 0.0)
    chance = to_noise**2 * noise.relative(noise.batch, HH, HH)
    chance += 2 * to_noise * noise.relative(noise.batch, HH, SLOPES) + noise.relative(noise.batch, SLOPES, SLOPES)
    variance = to_length**2 * np.append(lengths.batch, 0.0) + _sums_to_the_last(chance)
    reused = 2 * _reused(layers, noise, lengths, to_noise * growth[:, HH] + growth[:, SLOPES])
    return variance[1:] + reused, variance[:-1] + reused


def _reused(layers: Sequence[Layer], noise: Noise, lengths: _Lengths, response: Array) -> Array:
    """Covariance, at each layer, of the gradient's relative noise with the slopes that it has passed.

    The slopes respond to the relative noise of `|z|^2` at each layer with `response`. For one matrix and any h and d,
    `Cov(|Wh|^2, |W'd|^2) = 2/(n_in n_out)`, relative. For a product of matrices it is the same, times the overlap of
    signals and gradients that the nonlinearities leave. Orthogonal matrices keep lengths.
    """
    n_in, n_out, units = np.array([(layer.n_in, layer.n_out, layer.unit_noise) for layer in layers]).T
    drawn = np.array([0.0 if layer.orthogonal else 1.0 for layer in layers])
    own = drawn * response / n_out
    mean = noise.mean[:-1]
    kept = mean[:, ZZ] / mean[:, HH] / mean[:, SLOPES] * noise.slope_product[:-1] ** 2
    together = _accumulated_back(own, lengths.share * kept)[:-1]
    return _sums_to_the_last(2 * drawn / n_in * together + units * own)[1:]


def _accumulated_back(added: Array, factor: Array) -> Array:
    """`x_k = added_k + factor_k x_{k+1}`, with 0 after the last: one value more than `added` has."""
    return _accumulated(added[::-1], np.append(factor, 0.0)[::-1])[::-1]


def _sums_to_the_last(values: Array) -> Array:
    """Sum from each value to the last, and 0 for the empty sum: one value more than `values` has."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)
