"""The length map and the correlation map of a sweep's networks: curves of theory and measured points.

Poole et al. 2016, arXiv:1606.05340, figures 1 and 2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.errors import ConfigError
from initprobe.formatting import short
from initprobe.meanfield.correlated_pairs import hermite_grid, series
from initprobe.meanfield.moments import lookup
from initprobe.meanfield.phase import FixedPoint, quick_fixed_point
from initprobe.reports.figures.sweep_kinds import SweepRun
from initprobe.results.layers import LayerStats

_POINTS = 100
_SMALLEST_Q = 1e-4
# A measured correlation belongs to the map at q* if q is this close to it.
_NEAR = 0.15


@dataclass(frozen=True)
class Curve:
    """A map of theory, `(points,)` each, and what was measured of it, `(layers, 2)`: before and after a layer."""

    before: Array
    after: Array
    measured: Array


@dataclass(frozen=True)
class Scales:
    """An activation, and the scales of weights and biases."""

    act: str
    sigma_w: float
    sigma_b: float

    def words(self, names: Iterable[str]) -> str:
        """Some of the fields in words."""
        values = {"act": self.act, "sigma_w": f"sigma_w {self.sigma_w:.4g}", "sigma_b": f"sigma_b {self.sigma_b:.4g}"}
        return ", ".join(values[name] for name in names)


@dataclass(frozen=True)
class Maps:
    """The maps at one scale of weights and biases.

    Attributes:
        scales: of weights and biases, with the activation.
        point: the fixed point of an infinitely deep network.
        lengths: q of a layer over q of the layer before.
        correlations: the same of the correlation c, at q*; without points of theory where q has no fixed point.
    """

    scales: Scales
    point: FixedPoint
    lengths: Curve
    correlations: Curve

    @property
    def numbers(self) -> str:
        """The fixed point in words."""
        if self.point.settling != "converges":
            return f"q {self.point.settling}"
        numbers = {"q*": self.point.q, "c*": self.point.correlation, "chi_1": self.point.chi_1}
        return ", ".join(f"{name} {short(value)}" for name, value in numbers.items())


def maps_of(runs: Sequence[SweepRun]) -> tuple[Maps, ...]:
    """The maps of all runs, one for each activation and scale of weights and biases.

    Raises:
        ConfigError: no run has two layers that follow one another at one scale.
    """
    by_scales: dict[Scales, tuple[SweepRun, list[Array]]] = {}
    for run in runs:
        for scales, pair in _pairs(run):
            by_scales.setdefault(scales, (run, []))[1].append(pair)
    if not by_scales:
        raise ConfigError("maps need plain networks with square layers")
    longest = max(float(pair[:, 0].max()) for _, pairs in by_scales.values() for pair in pairs)
    return tuple(_maps(scales, run, np.array(pairs), longest) for scales, (run, pairs) in by_scales.items())


def _pairs(run: SweepRun) -> Iterable[tuple[Scales, Array]]:
    """The scales of each layer but the first, and `((q, q'), (c, c'))` of it and the layer before."""
    config, layers = run.config, run.read().layers
    if not config.is_plain:
        return
    for before, after in itertools.pairwise(layers):
        fans = after.fan_in, after.fan_out
        numbers = [(_length(before), _length(after)), (_correlation(before), _correlation(after))]
        if fans[0] == fans[1] and np.isfinite(numbers[0]).all():
            sigma_w = math.sqrt(fans[0] * config.initializer.variance(*fans))
            sigma_b = math.sqrt(config.bias_initializer.variance(*fans))
            yield Scales(str(config.act), round(sigma_w, 6), round(sigma_b, 6)), np.array(numbers)


def _length(layer: LayerStats) -> float:
    """The mean square of z over units, samples and draws."""
    rms = layer.preactivation.rms
    return math.nan if rms is None else rms**2


def _correlation(layer: LayerStats) -> float:
    return math.nan if layer.correlation is None else layer.correlation


def _maps(scales: Scales, run: SweepRun, pairs: Array, longest: float) -> Maps:
    activation, w, b = run.config.activation, scales.sigma_w**2, scales.sigma_b**2
    point = quick_fixed_point(activation, scales.sigma_w, scales.sigma_b)
    q = np.geomspace(_SMALLEST_Q, max(1.1 * longest, 1.2 * point.q if point.q > 0 else 0), 4 * _POINTS)
    near = np.all(np.abs(pairs[:, 0] / point.q - 1) < _NEAR, axis=1) if point.q > 0 else np.zeros(len(pairs), bool)
    c = np.linspace(0, 1, _POINTS) if point.q > 0 else np.zeros(0)
    after = (w * _products(activation, point.q, c) + b) / point.q
    return Maps(
        scales=scales,
        point=point,
        lengths=Curve(q, w * lookup(activation, q).square + b, pairs[:, 0]),
        correlations=Curve(c, after, pairs[near][:, 1]),
    )


def _products(activation: Activation, q: float, c: Array) -> Array:
    """`E[phi(u) phi(v)]` at correlations `c`, `(points,)`, to 1e-5."""
    if not len(c):
        return c
    x = math.sqrt(q) * hermite_grid().z
    h = activation.value(x)
    mehler = series(h, h, math.sqrt(q) * activation.slope(x, h))
    return np.array([mehler.at(float(each)) for each in c])
