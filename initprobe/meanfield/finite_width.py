"""The spread of measured variances: how far one network of finite width deviates from infinite width.

Everything is to first order in 1/width. A layer's measured variance is a mean over units and samples. Given the layer
below, units are independent. So the variance of that mean is 1/n times the variance of one unit. How much of it a batch
averages away depends on the samples' correlation, because all samples share the weights.

The deviation of a layer's mean square is passed on through the length map. It also shifts the slopes that gradients
are multiplied by.

Hanin & Nica 2020, arXiv:1812.05994 (products of random matrices are log-normal).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.gradient_bias import gradient_biases
from initprobe.meanfield.gradient_spread import gradient_variances
from initprobe.meanfield.layer import Layer, State
from initprobe.meanfield.lengths import Lengths, lengths_of
from initprobe.meanfield.predict import LayerTheory
from initprobe.meanfield.uncertainty import uncertainties
from initprobe.meanfield.unit_noise import HH, ZZ, H, Noise, Z, noises

# Largest excess kurtosis of z. Beyond it, with five weights per unit, the second order is as large as the first.
_MOST_EXCESS = 1.0
# Chosen: the largest uncertainty of a variance that is judged by its spread, in standard deviations of chance.
_MOST_UNCERTAIN = 0.75


class Spread(NamedTuple):
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


class LayerSpread(NamedTuple):
    """The spreads of one layer's measured variances.

    Attributes:
        gradient_uncertainty: how far the log of the predicted variance of dL/dh may be off, beyond first order in
            1/width. 0 where the length map is stable.
        output_uncertainty: the same for the variance of h.
        underived_gradient: bound on what theory leaves out of the log variance of dL/dh, to first order in 1/width. It
            counts as a further standard deviation.
        underived_weight: the same for the variance of dL/dW, which has no z.
        underived_output: the same for the variance of h.
    """

    preactivation: Spread
    output: Spread
    output_gradient: Spread
    preactivation_gradient: Spread
    weight_gradient: Spread
    gradient_uncertainty: float = 0.0
    output_uncertainty: float = 0.0
    underived_gradient: float = 0.0
    underived_weight: float = 0.0
    underived_output: float = 0.0

    @property
    def is_first_order(self) -> bool:
        """Whether the first order in 1/width is enough for gradients: chance exceeds what it leaves out."""
        return self.gradient_uncertainty <= _MOST_UNCERTAIN * self.output_gradient.sd

    @property
    def is_first_order_forward(self) -> bool:
        """The same for outputs."""
        return self.output_uncertainty <= _MOST_UNCERTAIN * self.output.sd


NO_SPREAD = Spread(math.nan, math.nan)
UNKNOWN = LayerSpread(NO_SPREAD, NO_SPREAD, NO_SPREAD, NO_SPREAD, NO_SPREAD)


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
        lengths = lengths_of(layers, states, noise)
        biases = gradient_biases(activation, layers, states)
        variances = gradient_variances(layers, noise, lengths, batch)
        gradients = [
            map(Spread, _roots(each), bias.tolist())
            for each, bias in zip((*variances, variances[1]), biases, strict=True)
        ]
        forward = [list(_forward(noise, *rows, lengths)) for rows in ((Z, ZZ), (H, HH))]
        of_output, of_gradient = uncertainties(activation, layers, states, lengths)
        # An unstable map makes the bias itself uncertain.
        of_gradient = np.where(of_gradient > 0, np.maximum(of_gradient, np.abs(biases.output)), 0.0)
        of_output = np.where(of_output > 0, np.maximum(of_output, np.abs([layer.bias for layer in forward[1]])), 0.0)
        return tuple(map(LayerSpread, *forward, *gradients, of_gradient.tolist(), of_output.tolist()))


def with_biases(
    layers: Sequence[LayerTheory], spreads: Sequence[LayerSpread]
) -> tuple[list[LayerTheory], list[LayerSpread]]:
    """Gradient variances at this width, each times its bias, and the spreads about them.

    Fluctuating lengths add about 0.5 depth/width to a gradient variance (SELU, tanh with gain 5/3). The factor is
    `exp(bias)`: as a product of many factors, the variance is log-normal.

    Args:
        layers: at infinite width but for the direction of the signal, as `predict` gives them.
        spreads: of the same layers. Biases that are not finite are left out, as under a length map so unstable that
            the first order fails.
    """
    pairs = [_with_bias(theory, spread) for theory, spread in zip(layers, spreads, strict=True)]
    return [theory for theory, _ in pairs], [spread for _, spread in pairs]


def _with_bias(theory: LayerTheory, spread: LayerSpread) -> tuple[LayerTheory, LayerSpread]:
    spreads = spread.output_gradient, spread.preactivation_gradient, spread.weight_gradient
    if not (spread.is_first_order and all(math.isfinite(each.bias) for each in spreads)):
        return theory, spread
    of_h, of_z, of_weight = (float(np.exp(each.bias)) for each in spreads)
    moved = replace(
        theory,
        output_gradient_variance=theory.output_gradient_variance * of_h,
        preactivation_gradient_variance=theory.preactivation_gradient_variance * of_z,
        weight_gradient_variance=theory.weight_gradient_variance * of_weight,
    )
    output, preactivation, weight = (each._replace(bias=0.0) for each in spreads)
    unbiased = spread._replace(output_gradient=output, preactivation_gradient=preactivation, weight_gradient=weight)
    return moved, unbiased


def _forward(noise: Noise, first: int, second: int, lengths: Lengths) -> Iterator[Spread]:
    """Spread of `mean(f^2) - mean(f)^2` at every layer; `first` and `second` are the rows of f and f^2."""
    mean = noise.mean[:, first]
    value = noise.mean[:, second] - mean**2
    direction = np.zeros_like(noise.mean)
    direction[:, first], direction[:, second] = -2 * mean, 1
    slope = np.vecdot(direction, noise.slope)
    within = np.vecdot(np.vecdot(noise.batch, direction[:, None]), direction)
    of_mean = noise.batch[:, first, first] + noise.slope[:, first] ** 2 * lengths.batch
    variance = within / value**2 + (slope / value) ** 2 * lengths.batch
    # The square of the mean's own noise is of second order. It is most of all where the mean square hardly varies: for
    # orthogonal weights, and on flat ends where inputs are alike. What lengths move scales the variance, as above.
    variance += 2 * (noise.batch[:, first, first] / value) ** 2
    drift = np.vecdot(direction, noise.offset + noise.curvature * lengths.single[:, None] / 2)
    bias = slope * lengths.bias + drift - of_mean
    return map(Spread, _roots(variance), (bias / value).tolist())


def _roots(variances: Array) -> list[float]:
    """Square roots; NaN where rounding left a value below 0."""
    roots: list[float] = np.sqrt(variances).tolist()
    return roots
