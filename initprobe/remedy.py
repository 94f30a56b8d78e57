"""The command line that cures: the same experiment under an initializer whose predicted variances stay level."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from initprobe.activations import Activation
from initprobe.config import ProbeConfig
from initprobe.diagnosis import trend
from initprobe.grammar import Spec
from initprobe.initializers import Initializer
from initprobe.meanfield.gain import gain_row
from initprobe.meanfield.maps import propagate
from initprobe.meanfield.moments import Moments, histogram, lookup
from initprobe.meanfield.phase import critical_line
from initprobe.meanfield.quadrature import Array
from initprobe.meanfield.samples import InputMoments
from initprobe.theory import rule
from initprobe.thresholds import Thresholds

# Shares of the verdict's limit of a trend that a prediction may use up: half for customary weights, since a finite net
# strays; more for the best that there is.
CUSTOMARY_ROOM, LAST_ROOM = 0.5, 0.8
# The last resort: gains from well below the forward and the backward gain to well above, first in steps of 2%, then to
# three digits around the best.
_BELOW, _ABOVE, _STEP = 0.4, 2.0, 1.02
_DIGITS = 3


def plain_fix(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, sick: ProbeConfig) -> str | None:
    """A runnable `initprobe run` line, or None where theory knows no plain initializer that keeps the signal.

    Args:
        config: a plain net whose initializer and activation have names.
        sizes: features of the input, then units of each layer.
        inputs: moments of the samples.
        sick: the experiment that needs it, which is not offered again.
    """
    net = Net.of(config, sizes, inputs)
    for candidate in _candidates(config, sick):
        if net.forecast(net.variances(candidate.initializer)).holds(CUSTOMARY_ROOM):
            return command_line(candidate)
    gain = steadiest_gain(net)
    if gain is None or not net.scaled(gain).holds(LAST_ROOM):
        return None
    return next(map(command_line, _others(config, [f"lecun:gain={gain:g}"], sick)), None)


def customary(activation: Activation) -> tuple[str, ...]:
    """The initializers that everybody uses, as fits the activation."""
    slope = activation.params.get("slope")
    return "xavier", f"he:slope={slope:g}" if slope is not None else "he", "lecun"


def _candidates(config: ProbeConfig, sick: ProbeConfig) -> Iterator[ProbeConfig]:
    """The same experiment with customary weights and zero biases."""
    yield from _others(config, (*customary(config.activation), *level_gains(config.activation)), sick)


def _others(config: ProbeConfig, inits: Sequence[str], sick: ProbeConfig) -> Iterator[ProbeConfig]:
    """The same experiment with zero biases and each of these weights, less those that the sick one has already."""
    for init in inits:
        fields = {field: getattr(config, field) for field in ProbeConfig.model_fields}
        changed = ProbeConfig(**(fields | {"init": init, "bias_init": None}))
        other = not sick.is_plain or config.bias_init is not None
        if other or not _same(changed.initializer, config.initializer, config):
            yield changed


def _same(one: Initializer, other: Initializer, config: ProbeConfig) -> bool:
    """Two names for one distribution of the weights."""
    fans = (config.layer_widths[0], config.layer_widths[-1])
    alike = math.isclose(one.variance(*fans), other.variance(*fans), rel_tol=1e-3)
    return alike and (one.distribution.name, one.mean) == (other.distribution.name, other.mean)


def level_gains(activation: Activation) -> Iterator[str]:
    """LeCun weights with the gain that keeps q = 1, and with the one at the edge of chaos where that is stable."""
    yield f"lecun:gain={gain_row(activation).forward:.4g}"
    point = critical_line(activation, 0.0)
    if point is not None and point.stable:
        yield f"lecun:gain={point.sigma_w:.4g}"


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


_DEFAULTS = (
    *("layers", "width", "input_width", "batch", "batches", "draws", "seed", "dtype"),
    *("norm", "block", "branch_scale"),
)
_LOSS_FIELDS = ("loss", "classes", "labels", "train_steps", "learning_rate")
_FLAGS = ("residual", "zero_init_last", "standardize", "full_weight_gradient")


def command_line(config: ProbeConfig) -> str:
    """The `initprobe run` line of an experiment: what differs from the defaults is named."""
    source = ["--init", str(config.init)] if config.weights is None else ["--weights", str(config.weights)]
    words = ["initprobe", "run", *source, "--act", str(config.act)]
    if config.bias_init is not None:
        words += ["--bias-init", _name(config.bias_init)]
    if config.widths is not None:
        words += ["--widths", ",".join(map(str, config.widths))]
    for field in (*_DEFAULTS, *_LOSS_FIELDS):
        value = getattr(config, field)
        if value != ProbeConfig.model_fields[field].default:
            words += [f"--{field.replace('_', '-')}", str(value)]
    if str(config.input) != "gaussian" and config.input != config.weights:
        words += ["--input", str(config.input)]
    words += [f"--{flag.replace('_', '-')}" for flag in _FLAGS if getattr(config, flag)]
    changed = config.thresholds.model_dump(exclude_defaults=True)
    words += [word for name, value in changed.items() for word in ("--threshold", f"{name}={value:g}")]
    return shlex.join(words)


def _name(spec: Spec | Initializer) -> str:
    return str(spec) if isinstance(spec, Spec) else spec.name
