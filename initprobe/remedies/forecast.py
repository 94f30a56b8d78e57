"""The command line that cures: the same experiment under an initializer whose predicted variances stay level."""

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
from initprobe.initializers.record import Initializer
from initprobe.meanfield.gain import gain_row
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.moments import Moments, histogram, lookup
from initprobe.meanfield.propagate import propagate
from initprobe.prediction.rules import rule

# Shares of the verdict's limit of a trend that a prediction may use up: half for customary weights, since a finite net
# strays; more for the best that there is.
CUSTOMARY_ROOM, LAST_ROOM = 0.5, 0.8
# The last resort: gains from well below the forward and the backward gain to well above, first in steps of 2%, then to
# three digits around the best.
_BELOW, _ABOVE, _STEP = 0.4, 2.0, 1.02
_DIGITS = 3


@dataclass(frozen=True)
class Net:
    """Everything of a net that its weights do not decide, its biases being zero.

    Attributes:
        activation: any record.
        sizes: features of the input, then units of each layer.
        shares: share of the samples in each group of like length, `(groups,)`.
        squares: mean square of the input in each group, `(groups,)`.
        limits: of the verdict.
        draws: networks that a verdict is drawn from.
    """

    activation: Activation
    sizes: tuple[int, ...]
    shares: Array
    squares: Array
    limits: Thresholds
    draws: int

    @classmethod
    def of(cls, config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> Net:
        """The net of an experiment."""
        unit = ProbeConfig(init="lecun", act=config.act)
        first = propagate(config.activation, [rule(unit, (sizes[0], sizes[1]))], inputs)[0]
        return cls(config.activation, tuple(sizes), first.shares, first.variance, config.thresholds, config.draws)

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.sizes) - 1

    def variances(self, initializer: Initializer) -> Array:
        """The variance of a weight of each layer under an initializer, `(1, layers)`."""
        return np.array([[initializer.variance(*fans) for fans in pairwise(self.sizes)]])

    def scaled(self, gains: float | Array) -> Forecast:
        """The forecast under LeCun's rule with a gain, or with each of several."""
        return self.forecast(np.square(np.atleast_1d(gains))[:, None] / np.array(self.sizes[:-1]))

    def forecast(self, variances: Array) -> Forecast:
        """What theory predicts under zero-mean weights of these variances, `(nets, layers)`, all nets at once.

        As `meanfield.maps.predict`, less the correlations, which are most of its cost. A net is given up, all NaN from
        there, where its map turns out unstable over this depth or its Var(h) has changed gravely.
        """
        with np.errstate(all="ignore"):
            lengths, found, steepest = self._forward(variances * self.sizes[:-1])
            gradients = self._backward(variances * self.sizes[1:], found)
            inputs = [np.tile(self.squares, (len(variances), 1)), *(one.square for one in found)]
            weights = [
                (square * one.slope_square * below) @ self.shares
                for square, one, below in zip(gradients, found, inputs, strict=False)
            ]
            outputs = [(one.variance + self._of_means(one.mean)) @ self.shares for one in found]
            slopes = [square @ self.shares for square in gradients]
            output, gradient, weight = (np.log10(profile).T for profile in (outputs, slopes, weights))
            return Forecast(self, output, gradient, weight, lengths, steepest)

    def _of_means(self, mean: Array) -> Array:
        """Squared deviation of the groups' means from the mean over all samples, `(nets, groups)`."""
        return np.asarray((mean - mean @ self.shares[:, None]) ** 2)

    def _forward(self, scales: Array) -> tuple[list[Array], list[Moments], Array]:
        """Lengths `(nets, groups)` and moments of each layer, and the steepest slope of the length map."""
        squares = np.tile(self.squares, (len(scales), 1))
        steepest, growth = np.zeros(len(scales)), np.full(len(scales), np.nan)
        lengths, found = [], []
        for scale in scales.T[:, :, None]:
            lengths.append(scale * squares)
            steepest = np.fmax(steepest, scale[:, 0] * growth / (lengths[-1] @ self.shares))
            lengths[-1][steepest ** (self.layers - 1) >= self.limits.unstable] = np.nan
            found.append(lookup(self.activation, lengths[-1]))
            squares, growth = found[-1].square, found[-1].growth @ self.shares
            change = np.log10(found[-1].variance @ self.shares / (found[0].variance @ self.shares))
            squares = np.where(np.abs(change)[:, None] < self.limits.grave_decades, squares, np.nan)
        return lengths, found, steepest

    def _backward(self, scales: Array, found: Sequence[Moments]) -> list[Array]:
        """Mean square of dL/dh of each layer, first to last, `(nets, groups)` each."""
        squares = [np.ones_like(found[-1].square)]
        for scale, one in zip(scales.T[:0:-1, :, None], found[:0:-1], strict=True):
            squares.append(scale * squares[-1] * one.slope_square)
        return squares[::-1]


@dataclass(frozen=True)
class Forecast:
    """Predictions for nets that differ in their weights alone.

    Attributes:
        net: what they share.
        output: log10 Var(h), `(nets, layers)`.
        gradient: log10 Var(dL/dh), `(nets, layers)`.
        weight_gradient: log10 Var(dL/dW) of one sample, `(nets, layers)`.
        lengths: variance of z of each layer, `(nets, groups of samples)` each.
        steepest: the steepest slope of the length map on the way, `d log q_l / d log q_(l-1)`, `(nets,)`.
        shares: of the groups of samples of each layer; none means those of `net`.
    """

    net: Net
    output: Array
    gradient: Array
    weight_gradient: Array
    lengths: Sequence[Array]
    steepest: Array
    shares: Sequence[Array] = ()

    @cached_property
    def trends(self) -> list[float]:
        """The largest trend of the three variances of each net, in decades over the depth; infinite if given up."""
        return [
            max(abs(trend(profile.tolist()).decades) for profile in profiles)
            if np.isfinite(profiles).all()
            else math.inf
            for profiles in zip(self.output, self.gradient, self.weight_gradient, strict=True)
        ]

    def saturated(self) -> float:
        """The first net's share of saturated outputs where z is shortest or longest, whichever is larger."""
        groups = [(length[0], shares) for length, shares in zip(self.lengths, self._shares(), strict=True)]
        size = np.array([length @ shares for length, shares in groups])
        return max(_saturated(self.net, *groups[layer]) for layer in {int(size.argmin()), int(size.argmax())})

    def _shares(self) -> Sequence[Array]:
        return self.shares or [self.net.shares] * len(self.lengths)

    def holds(self, room: float) -> bool:
        """The first net would pass the verdict, its trends within `room` of their limit."""
        if not self.trends[0] < room * self.net.limits.trend_decades:
            return False
        # In a deep net inputs are all alike: then the units of one layer are the sample, and chance is theirs.
        share, units = self.saturated(), min(self.net.sizes[1:]) * self.net.draws
        chance = math.sqrt(share * (1 - share) / units)
        return share + self.net.limits.spread_sds * chance < self.net.limits.saturated


def _saturated(net: Net, lengths: Array, shares: Array) -> float:
    """Predicted share of outputs in the saturated band at a layer."""
    band = net.activation.saturation
    if band is None:
        return 0.0
    edges = [np.nextafter(band.low, math.inf), np.nextafter(band.high, -math.inf)]
    with np.errstate(all="ignore"):  # a one-sided band has its other edge at the end of the float range
        inside = float(histogram(net.activation, lengths, edges, weights=shares)[0])
        return min(max(1 - inside, 0.0), 1.0)  # rounding is no share


def steadiest_gain(net: Net) -> float | None:
    """The gain of LeCun's rule, to three digits, whose largest trend is smallest; None if every net is given up."""
    row = gain_row(net.activation)
    low, high = _BELOW * min(row.forward, row.backward), _ABOVE * max(row.forward, row.backward)
    coarse = _steadiest(net, np.exp(np.arange(math.log(low), math.log(high), math.log(_STEP))))
    return None if coarse is None else _steadiest(net, _rounded(coarse / _STEP, coarse * _STEP))


def _steadiest(net: Net, gains: Array) -> float | None:
    trends = net.scaled(gains).trends
    best = min(trends)
    return None if math.isinf(best) else float(gains[trends.index(best)])


def _rounded(low: float, high: float) -> Array:
    """The numbers of three digits from `low` to `high`."""
    unit = 10.0 ** (math.floor(math.log10(low)) - _DIGITS + 1)
    return np.round(np.arange(math.ceil(low / unit), high / unit) * unit, 12)
