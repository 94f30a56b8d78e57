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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.layer import Layer, State
from initprobe.meanfield.unit_noise import HH, SLOPES, ZZ, H, Noise, Z, free_share, noises

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
            # Of next to no variance, rounding may leave less than none.
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
    """Relative deviations of each layer's q from theory, `(layers,)`.

    Attributes:
        share: the weights' share of each q but the first: what the noise of the layer below adds to it.
        response: of each q but the first to the deviation of that below.
        batch: variance, averaged over the samples.
        single: variance for one sample.
        bias: mean.
    """

    share: Array
    response: Array
    batch: Array
    single: Array
    bias: Array


def _lengths(layers: Sequence[Layer], states: Sequence[State], noise: Noise) -> _Lengths:
    """Pass every layer's noise on through the length map: `x' = rho (noise + slope x)`, rho the weights' share of q."""
    square, below = noise.mean[:, HH], np.s_[:-1]
    gain = np.array([layer.n_in * layer.weight_variance for layer in layers])
    variance = np.array([state.average(state.variance) for state in states])
    share = gain[1:] * square[below] / variance[1:]
    response = share * (noise.slope[:, HH] / square)[below]
    single = _passed_on(share**2 * noise.single[below], response**2)
    batch = _passed_on(share**2 * noise.relative(noise.batch, HH, HH)[below], response**2)
    drift = (noise.offset[:, HH] + noise.curvature[:, HH] * single / 2) / square
    return _Lengths(share, response, batch, single, _passed_on(share * drift[below], response))


def _passed_on(added: Array, factor: Array) -> Array:
    """`x = added + factor x_before`, from the 0 that the first starts with: one number more than were added."""
    steps = zip(added.tolist(), factor.tolist(), strict=True)
    return np.array([*itertools.accumulate(steps, lambda x, step: step[0] + step[1] * x, initial=0.0)])


def _forward(noise: Noise, first: int, second: int, lengths: _Lengths) -> Iterator[Spread]:
    """Spread of `mean of f^2 - (mean of f)^2` at every layer, for the rows of f and f^2."""
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

    Three parts: slopes that differ from theory because q does, or by chance in these units (`_coupled`); and weights
    that lengthen or shorten this gradient by chance, which a batch averages away as far as `overlap`, the mean squared
    cosine between the gradients of two samples, lets it; and what units differ in by the lengths of their own weights
    (`units_noise`), which are not normal. The bias, of order depth/width, is not derived: 0.
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
        # What the layer below meets.
        free = free_share(layers[k].n_in, layers[k])
        alone, together = 3 * (1 + same[k]) / batch, (1 + other[k]) * (1 + 2 * overlap) * (1 - 1 / batch)
        units_noise = layers[k].unit_noise / units * (alone + together)
    after_slopes, before_slopes = _coupled(layers, noise, lengths)
    found = (after + after_slopes, before + before_slopes)
    output, preactivation = ([Spread(sd, 0.0) for sd in _roots(variance)] for variance in found)
    return output, preactivation


def _roots(variances: Array) -> list[float]:
    """Square roots; NaN of what rounding left below 0."""
    found: list[float] = np.sqrt(variances).tolist()
    return found


def _coupled(layers: Sequence[Layer], noise: Noise, lengths: _Lengths) -> tuple[Array, Array]:
    """Variance of what the forward pass does to dL/dh and to dL/dz at each layer, through the slopes they have met.

    With it comes twice its covariance with the chance of the weights, which z and the gradient share.
    """
    growth = noise.slope / noise.mean
    # How all slopes from a layer on respond to its q; the last entry stands for no slopes.
    to_length = _passed_back(growth[:, SLOPES], lengths.response)
    # How they respond to the chance of its phi^2, which moves the q above it.
    to_noise = np.append(lengths.share * to_length[1:-1], 0.0)
    chance = to_noise**2 * noise.relative(noise.batch, HH, HH)
    chance += 2 * to_noise * noise.relative(noise.batch, HH, SLOPES) + noise.relative(noise.batch, SLOPES, SLOPES)
    variance = to_length**2 * np.append(lengths.batch, 0.0) + _sums(chance)
    reused = 2 * _reused(layers, noise, lengths, to_noise * growth[:, HH] + growth[:, SLOPES])
    return variance[1:] + reused, variance[:-1] + reused


def _reused(layers: Sequence[Layer], noise: Noise, lengths: _Lengths, response: Array) -> Array:
    """Covariance of the gradient's relative noise on its way to each layer with the slopes that it has met.

    These meet the relative noise of `|z|^2` at each layer with `response`. One matrix gives
    `Cov(|Wh|^2, |W'd|^2) = 2/(n_in n_out)`, relative, for any h and d; the product of several likewise, less what the
    nonlinearities between them wash out of the overlaps of signals and gradients. Orthogonal ones keep lengths.
    """
    n_in, n_out, units = np.array([(layer.n_in, layer.n_out, layer.unit_noise) for layer in layers]).T
    drawn = np.array([0.0 if layer.orthogonal else 1.0 for layer in layers])
    each = drawn * response / n_out
    mean = noise.mean[:-1]
    kept = mean[:, ZZ] / mean[:, HH] / mean[:, SLOPES] * noise.slope_product[:-1] ** 2
    together = _passed_back(each, lengths.share * kept)[:-1]
    return _sums(2 * drawn / n_in * together + units * each)[1:]


def _passed_back(added: Array, factor: Array) -> Array:
    """`x = added + factor x_after`, to the 0 that follows the last: one number more than were added."""
    return _passed_on(added[::-1], np.append(factor, 0.0)[::-1])[::-1]


def _sums(values: Array) -> Array:
    """Of those from each to the last, and of none."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)
