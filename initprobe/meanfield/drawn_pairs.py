"""Networks of finite width, drawn by the exact law of two inputs, where the first order in 1/width may fail.

Under weights of mean mu, z of every unit moves with the sum of h below. That sum varies over networks and may decide
where the signal goes. A constant bias may leave so few units active that lengths vary by a factor. But given h of two
inputs, their z is normal and independent over units. Given z too, the mean square of dL/dh follows exactly. So a few
dozen networks are drawn without their weights, and say how far theory may be off.

Weights are taken as normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.finite_width import LayerSpread, Spread
from initprobe.meanfield.input_moments import InputMoments, sample_groups
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.predict import LayerTheory
from initprobe.meanfield.signals import Signal

# How many standard errors count as chance, and how many standard deviations over networks an unknown spread adds.
_ERRORS, _SDS = 3.0, 2.0
# Chosen: the widest spread that theory may state: this factor of that of drawn networks, plus the second number. The
# third is a limit on both, as the mean of a wider log-normal number is seldom reached.
_WIDER, _WIDE, _WIDEST = 2.0, 0.5, 2.5
# Units of all networks that are drawn together, and the least and the largest number of networks.
_UNITS, _LEAST, _MOST = 200_000, 50, 400


@dataclass(frozen=True)
class DrawnLogs:
    """Logs over networks of the variances that a batch shows, at each layer; `(layers,)` each.

    Attributes:
        mean: mean of the log.
        sd: standard deviation of the log.
        networks: number of networks.
    """

    mean: Array
    sd: Array
    networks: int

    @property
    def log_of_mean(self) -> Array:
        """The log of the mean over networks, as for log-normal numbers."""
        return np.asarray(self.mean + self.sd**2 / 2)

    @property
    def error(self) -> Array:
        """Standard error of `log_of_mean`."""
        return np.asarray(np.sqrt((self.sd**2 + self.sd**4 / 2) / self.networks))


class _Sums(NamedTuple):
    """Sums over units, `(networks, inputs)` each, of products of h, `d = phi'(z)` and y, the weights' part of z."""

    h: Array
    hh: Array
    d: Array
    dh: Array
    yd: Array
    ydh: Array
    dd: Array
    ddh: Array
    ddhh: Array
    ydd: Array
    yydd: Array

    @classmethod
    def of(cls, h: Array, d: Array, y: Array) -> _Sums:
        dh, dd = d * h, d * d
        ones = np.ones(h.shape[-1])
        pairs = (
            (h, ones), (h, h), (d, ones), (dh, ones), (y, d), (y, dh), (d, d), (dd, h), (dh, dh), (y, dd), (y * y, dd),
        )  # fmt: skip
        return cls(*(np.asarray(np.vecdot(left, right)) for left, right in pairs))


def checked_by_draws(
    activation: Activation,
    layers: Sequence[Layer],
    theory: Sequence[LayerTheory],
    spreads: Sequence[LayerSpread],
    inputs: InputMoments,
    samples: int,
) -> list[LayerSpread]:
    """The spreads, with how far theory is from drawn networks.

    Args:
        activation: of all layers.
        layers: first to last.
        theory: the predictions.
        spreads: of measured variances about them.
        inputs: moments of the samples.
        samples: number of samples that variances are taken over.
    """
    split = any(layer.weight_mean != 0 for layer in layers)
    signal = Signal(*sample_groups(inputs, split), inputs.cosine, inputs.cosine_variance)
    logs_of_h, logs_of_gradient = drawn_logs(activation, layers, signal, samples)
    of_output = _uncertain(logs_of_h, [layer.output_variance for layer in theory], [each.output for each in spreads])
    of_gradient = _uncertain(
        logs_of_gradient,
        [layer.output_gradient_variance for layer in theory],
        [each.output_gradient for each in spreads],
    )
    return [
        spread._replace(
            output_uncertainty=max(spread.output_uncertainty, output),
            gradient_uncertainty=max(spread.gradient_uncertainty, gradient),
        )
        for spread, output, gradient in zip(spreads, of_output, of_gradient, strict=True)
    ]


def _uncertain(drawn: DrawnLogs, predicted: Sequence[float], spreads: Sequence[Spread]) -> list[float]:
    """How far the logs of predictions are from drawn networks; 0 where chance may explain it.

    Where a spread is not known, or is too wide by far, that over networks is part of the answer.

    Args:
        drawn: logs over networks.
        predicted: the predictions, `(layers,)`.
        spreads: of measured variances about them.
    """
    logs, biases, sds = np.log(predicted), *np.array([(spread.bias, spread.sd) for spread in spreads]).T
    gaps, chance = np.abs(drawn.log_of_mean - logs - biases), _ERRORS * drawn.error
    gaps = np.where(gaps <= chance, 0.0, gaps + chance)
    without_spread = np.maximum(np.abs(drawn.mean - logs) + _SDS * drawn.sd, np.nan_to_num(sds))
    gaps = np.where(sds <= np.minimum(_WIDER * drawn.sd + _WIDE, _WIDEST), gaps, without_spread)
    return [float(gap) if math.isfinite(gap) else math.inf for gap in gaps]


def drawn_logs(
    activation: Activation, layers: Sequence[Layer], signal: Signal, samples: int, seed: int = 0
) -> tuple[DrawnLogs, DrawnLogs]:
    """The logs of the variances of h and dL/dh.

    Args:
        activation: of all layers.
        layers: first to last.
        signal: the input.
        samples: number of samples that variances are taken over.
        seed: of the networks.
    """
    rng, units = np.random.default_rng(seed), sum(layer.n_out for layer in layers)
    networks = min(max(_UNITS // units, _LEAST), _MOST)
    with np.errstate(all="ignore"):
        below, sums, outputs = _input_sums(signal, layers[0].n_in, networks, rng), [], []
        square_below = []
        for layer in layers:
            square_below.append(below[1])
            y, z = _preactivations(layer, *below, rng)
            h = np.asarray(activation.value(z))
            sums.append(_Sums.of(h, activation.slope(z, h), y))
            below = sums[-1].h, sums[-1].hh, np.asarray(np.vecdot(h[:, 0], h[:, 1]))
            outputs.append(_variance(sums[-1], layer.n_out, samples))
        gradients = list(_gradients(layers, sums, square_below))[::-1]
        return _logs(outputs), _logs(gradients)


def _logs(values: Sequence[Array]) -> DrawnLogs:
    """Logs of values `(networks,)` per layer."""
    logs = np.log(np.array(values))
    return DrawnLogs(logs.mean(axis=1), logs.std(axis=1), logs.shape[1])


def _input_sums(signal: Signal, units: int, networks: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Sums over the features of two inputs, of x and x^2, `(networks, 2)`, and of their product, `(networks,)`."""
    chosen = rng.choice(len(signal.shares), (networks, 2), p=signal.shares / signal.shares.sum())
    squares = units * signal.squares[chosen]
    return units * signal.means[chosen], squares, signal.cosine * np.sqrt(squares.prod(axis=1))


def _preactivations(
    layer: Layer, total: Array, squares: Array, product: Array, rng: np.random.Generator
) -> tuple[Array, Array]:
    """What the weights' deviations from their mean give to z, and z, `(networks, 2, units)` each.

    Args:
        layer: rules of its weights and biases.
        total: sum over units of h below, `(networks, 2)`.
        squares: of h^2.
        product: of the product of both inputs' h, `(networks,)`.
        rng: draws the units.
    """
    shape = len(product), layer.n_out
    first, second = rng.standard_normal((2, *shape))
    size, other = np.sqrt(squares).T
    along = np.divide(product, size, out=np.zeros_like(product), where=size > 0)
    across = np.sqrt(np.maximum(other**2 - along**2, 0.0))
    pair = np.stack([size[:, None] * first, along[:, None] * first + across[:, None] * second], axis=1)
    y = math.sqrt(layer.weight_variance) * pair
    shares, deviations = layer.bias_rule
    biases = layer.bias_mean + rng.choice(deviations, shape, p=shares / shares.sum())
    biases = biases + math.sqrt(layer.normal_bias_variance) * rng.standard_normal(shape)
    return y, y + layer.weight_mean * total[..., None] + biases[:, None]


def _variance(sums: _Sums, units: int, samples: int) -> Array:
    """Variance of h over units and samples, from two of the samples, `(networks,)`."""
    means = sums.h / units
    squared_mean = (means**2).mean(axis=1) / samples + means.prod(axis=1) * (1 - 1 / samples)
    return np.asarray(sums.hh.mean(axis=1) / units - squared_mean)


class _Gradient(NamedTuple):
    """A gradient of a mean over all that h leaves open: `noise + alpha ones + kappa h`, `(networks, inputs)` each.

    Attributes:
        noise: mean square of its entries, which are at right angles to h.
        ones: `alpha^2`.
        both: `alpha kappa`.
        along: `kappa^2`.
    """

    noise: Array
    ones: Array
    both: Array
    along: Array

    def moment(self, first: tuple[Array, Array], second: tuple[Array, Array]) -> Array:
        """Mean product of two sums, each with its coefficients of alpha and kappa."""
        crossed = self.both * (first[0] * second[1] + first[1] * second[0])
        return np.asarray(self.ones * first[0] * second[0] + crossed + self.along * first[1] * second[1])


def _gradients(layers: Sequence[Layer], sums: Sequence[_Sums], square_below: Sequence[Array]) -> list[Array]:
    """Mean squares of dL/dh, `(networks,)` each, last layer to first."""
    unit = np.ones_like(sums[-1].hh)
    gradient, squares = _Gradient(unit, 0 * unit, 0 * unit, 1 / sums[-1].hh), []
    for layer, here, below in zip(reversed(layers), reversed(sums), reversed(square_below), strict=True):
        units, of_sum, of_product = layer.n_out, (here.d, here.dh), (here.yd, here.ydh)
        whole = gradient.noise * (units - 1) + gradient.ones * units + 2 * gradient.both * here.h
        squares.append(np.asarray((whole + gradient.along * here.hh).mean(axis=1) / units))
        noise, ones = gradient.noise, gradient.ones
        delta = noise * (here.dd - here.ddhh / here.hh) + ones * here.dd
        delta = delta + 2 * gradient.both * here.ddh + gradient.along * here.ddhh
        mean_square = gradient.moment(of_sum, of_sum) + noise * (here.dd - here.dh**2 / here.hh)
        both = gradient.moment(of_sum, of_product) + noise * (here.ydd - here.dh * here.ydh / here.hh)
        along = gradient.moment(of_product, of_product) + noise * (here.yydd - here.ydh**2 / here.hh)
        mu = layer.weight_mean
        gradient = _Gradient(layer.weight_variance * delta, mu * mu * mean_square, mu * both / below, along / below**2)
    return squares
