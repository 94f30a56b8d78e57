"""Forecasts: predicted variances of plain networks that differ in their weights, and whether they stay level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.config.probe_config import ProbeConfig
from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.trends import trend
from initprobe.diagnosis.units import most_saturated
from initprobe.initializers.record import Initializer
from initprobe.meanfield.gain import gain_row
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.moments import Moments, histogram, lookup
from initprobe.meanfield.propagate import propagate
from initprobe.prediction.rules import rule

# Share of the verdict's limit on a trend that a prediction may use. It is half for common weights, because finite
# networks deviate from theory. It is more for the best gain that exists.
COMMON_SHARE, LAST_RESORT_SHARE = 0.5, 0.8
# Search range of gains, relative to the smaller and the larger of forward and backward gain. It is searched in steps of
# 2%, then at all gains of three digits around the best.
_BELOW, _ABOVE, _STEP = 0.4, 2.0, 1.02
_DIGITS = 3
# Steps down from a gain that saturates units.
_SMALLER, _SHRINK = 20, 0.95


@dataclass(frozen=True)
class Network:
    """What a plain network with zero biases is, apart from its weights.

    Attributes:
        activation: any record.
        sizes: features of the input, then units of each layer.
        shares: share of the samples in each group of similar mean square, `(groups,)`.
        squares: mean square of the input in each group, `(groups,)`.
        limits: the verdict's thresholds.
        draws: number of networks that the verdict is based on.
    """

    activation: Activation
    sizes: tuple[int, ...]
    shares: Array
    squares: Array
    limits: Thresholds
    draws: int

    @classmethod
    def of(cls, config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> Network:
        """The network of an experiment, from its config, its sizes and the moments of its input.

        Args:
            config: of the experiment.
            sizes: features of the input, then units of each layer, `(layers + 1,)`.
            inputs: moments of the input.
        """
        unit = ProbeConfig(init="lecun", act=config.act)
        first = propagate(config.activation, [rule(unit, (sizes[0], sizes[1]))], inputs)[0]
        return cls(config.activation, tuple(sizes), first.shares, first.variance, config.thresholds, config.draws)

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.sizes) - 1

    def variances(self, initializer: Initializer) -> Array:
        """Variance of a weight of each layer under an initializer, `(1, layers)`."""
        return np.array([[initializer.variance(*fans) for fans in pairwise(self.sizes)]])

    def scaled(self, gains: float | Array) -> Forecast:
        """The forecast under LeCun's rule with one gain, or with each of several, `(networks,)`."""
        return self.forecast(np.square(np.atleast_1d(gains))[:, None] / np.array(self.sizes[:-1]))

    def forecast(self, variances: Array) -> Forecast:
        """The prediction under zero-mean weights of these variances, `(networks, layers)`, all networks at once.

        It agrees with `meanfield.predict.predict` at infinite width, without the correlations, which take most of the
        time there. From the layer where a network fails, its values are NaN. It fails where the length map is unstable
        over this depth. It also fails where Var(h) changes by more than `grave_decades` of the verdict.
        """
        with np.errstate(all="ignore"):
            lengths, moments, steepest = self._forward(variances * self.sizes[:-1])
            squares = self._backward(variances * self.sizes[1:], moments)
            inputs = [np.tile(self.squares, (len(variances), 1)), *(of_h.square for of_h in moments)]
            weights = [
                (square * of_h.slope_square * below) @ self.shares
                for square, of_h, below in zip(squares, moments, inputs, strict=False)
            ]
            outputs = [(of_h.variance + self._of_means(of_h.mean)) @ self.shares for of_h in moments]
            gradients = [square @ self.shares for square in squares]
            output, gradient, weight = (np.log10(profile).T for profile in (outputs, gradients, weights))
            return Forecast(self, output, gradient, weight, lengths, steepest)

    def _of_means(self, mean: Array) -> Array:
        """Squared deviation of the groups' means from the mean over all samples, `(networks, groups)`."""
        return np.asarray((mean - mean @ self.shares[:, None]) ** 2)

    def _forward(self, scales: Array) -> tuple[list[Array], list[Moments], Array]:
        """Variance of z `(networks, groups)` and moments of h per layer, and the steepest slope of the length map."""
        squares = np.tile(self.squares, (len(scales), 1))
        steepest, growth = np.zeros(len(scales)), np.full(len(scales), np.nan)
        lengths, moments = [], []
        for scale in scales.T[:, :, None]:
            lengths.append(scale * squares)
            steepest = np.fmax(steepest, scale[:, 0] * growth / (lengths[-1] @ self.shares))
            lengths[-1][steepest ** (self.layers - 1) >= self.limits.unstable] = np.nan
            moments.append(lookup(self.activation, lengths[-1]))
            squares, growth = moments[-1].square, moments[-1].growth @ self.shares
            change = np.log10(moments[-1].variance @ self.shares / (moments[0].variance @ self.shares))
            squares = np.where(np.abs(change)[:, None] < self.limits.grave_decades, squares, np.nan)
        return lengths, moments, steepest

    def _backward(self, scales: Array, moments: Sequence[Moments]) -> list[Array]:
        """Mean square of dL/dh of each layer, first to last, `(networks, groups)` each."""
        squares = [np.ones_like(moments[-1].square)]
        for scale, of_h in zip(scales.T[:0:-1, :, None], moments[:0:-1], strict=True):
            squares.append(scale * squares[-1] * of_h.slope_square)
        return squares[::-1]


@dataclass(frozen=True)
class Forecast:
    """Predictions for several networks that differ in their weights alone.

    Attributes:
        network: what they have in common.
        output: log10 Var(h), `(networks, layers)`.
        gradient: log10 Var(dL/dh), `(networks, layers)`.
        weight_gradient: log10 Var(dL/dW) of one sample, `(networks, layers)`.
        lengths: variance of z, `(networks, groups)` for each layer.
        steepest: largest slope of the length map, `d log q_l / d log q_(l-1)`, over the layers, `(networks,)`.
        shares: share of the samples in each group, for each layer; empty if they are those of `network`.
        numbers: the layers that the profiles are of, from 1; empty for all.
    """

    network: Network
    output: Array
    gradient: Array
    weight_gradient: Array
    lengths: Sequence[Array]
    steepest: Array
    shares: Sequence[Array] = ()
    numbers: Sequence[int] = ()

    @cached_property
    def trends(self) -> list[float]:
        """The largest trend of h, dL/dh and dL/dW of each network, in decades over the depth; infinite if it fails."""
        return [
            _largest_trend(profiles, self._entries) if np.isfinite(profiles).all() else math.inf
            for profiles in zip(self.output, self.gradient, self.weight_gradient, strict=True)
        ]

    @property
    def _entries(self) -> Array:
        """log10 of the entries of h, dL/dh and dL/dW, `(3, layers)`; of h they do not count."""
        sizes = np.log10([self.network.sizes[layer - 1 : layer + 1] for layer in self.numbers or self._all()]).T
        return np.array([np.zeros_like(sizes[0]), sizes[1], sizes.sum(axis=0)])

    def _all(self) -> Sequence[int]:
        return range(1, self.network.layers + 1)

    def saturated(self) -> float:
        """Share of saturated outputs of the first network, the larger of two layers: smallest and largest Var(z)."""
        groups = [(length[0], shares) for length, shares in zip(self.lengths, self._shares(), strict=True)]
        size = np.array([length @ shares for length, shares in groups])
        return max(_saturated(self.network, *groups[layer]) for layer in {int(size.argmin()), int(size.argmax())})

    def _shares(self) -> Sequence[Array]:
        return self.shares or [self.network.shares] * len(self.lengths)

    def holds(self, share_of_limit: float, *, chance: bool = True) -> bool:
        """Whether the first network would pass the verdict.

        Args:
            share_of_limit: share of the limit on trends that they may use.
            chance: whether units that saturate by chance must have room too.
        """
        if not self.trends[0] < share_of_limit * self.network.limits.trend_decades:
            return False
        # In a deep network all inputs become alike, so the sample is the units of one layer, in each draw.
        share, units = self.saturated(), min(self.network.sizes[1:]) * self.network.draws
        room = self.network.limits.spread_sds * math.sqrt(share * (1 - share) / units) if chance else 0.0
        return share + room < most_saturated(self.network.activation, self.network.limits.saturated)


def _largest_trend(profiles: Sequence[Array], entries: Array) -> float:
    """The largest trend in decades; of a gradient that of its variance and of its norm, which must move alike."""
    return max(
        _shared(*(trend(values.tolist()).decades for values in (profile, profile + logs)))
        for profile, logs in zip(profiles, entries, strict=True)
    )


def _shared(first: float, second: float) -> float:
    """The smaller of two trends; 0 where one grows and the other decays, as the verdict judges them."""
    return min(abs(first), abs(second)) if first * second > 0 else 0.0


def _saturated(network: Network, lengths: Array, shares: Array) -> float:
    """Predicted share of outputs in the saturated band at one layer, from Var(z) and shares of its groups."""
    band = network.activation.saturation
    if band is None:
        return 0.0
    edges = [np.nextafter(band.low, math.inf), np.nextafter(band.high, -math.inf)]
    with np.errstate(all="ignore"):  # the other edge of a one-sided band is the end of the float range
        inside = float(histogram(network.activation, lengths, edges, weights=shares)[0])
        return min(max(1 - inside, 0.0), 1.0)  # rounding may leave a negative share


def most_level_gain(network: Network) -> float | None:
    """The gain of LeCun's rule, to three digits, with the smallest largest trend; None if every network fails.

    It uses a grid, no optimizer of SciPy. The trend is infinite where a network fails, and a whole grid is one
    forecast.
    """
    row = gain_row(network.activation)
    low, high = _BELOW * min(row.forward, row.backward), _ABOVE * max(row.forward, row.backward)
    coarse = _best_of(network, np.exp(np.arange(math.log(low), math.log(high), math.log(_STEP))))
    return None if coarse is None else _best_of(network, _three_digits(coarse / _STEP, coarse * _STEP))


def smaller_gain(network: Network, gain: float) -> float | None:
    """The first gain from `gain` down, to two digits, that may pass; None if none may.

    Args:
        network: for which the gain is chosen.
        gain: the largest one that is tried.
    """
    for step in range(_SMALLER):
        smaller = float(f"{gain * _SHRINK**step:.2g}")
        if network.scaled(smaller).holds(1.0, chance=False):
            return smaller
    return None


def _best_of(network: Network, gains: Array) -> float | None:
    trends = network.scaled(gains).trends
    best = min(trends)
    return None if math.isinf(best) else float(gains[trends.index(best)])


def _three_digits(low: float, high: float) -> Array:
    """The numbers of three digits from `low` to `high`."""
    unit = 10.0 ** (math.floor(math.log10(low)) - _DIGITS + 1)
    return np.round(np.arange(math.ceil(low / unit), high / unit) * unit, 12)
