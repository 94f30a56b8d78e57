"""The lengths of the rows of a batch at a finite width, simulated: batch norm lets long rows grow longer.

A batch norm divides all rows by one number. So a row that is longer than the others stays longer. ReLU, GELU and SiLU
even lengthen it: little of a long row is lost by centring. Each layer adds chance, as a length is a mean over n units.
So the lengths of a deep network are far from those of the mean kernel, and differ between networks. No series in
1/width holds. Rows are followed in a few networks, with one number per row and layer:

`T_a = E[(phi(z_a) - m)^2] + chance`, with `z_a ~ N(0, q_a)`, `q_a` proportional to T_a below and m the mean of phi over
all rows. Chance has the variance of `(phi - m)^2` over n. Rows count as independent, which batch norm makes them.

Results are relative to the same formula for the rows of the mean kernel, on which theory builds. Those rows are the
first network of each array.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.activations.skips import Wiring
from initprobe.arrays import Array
from initprobe.meanfield.batch_norm import BatchNoise
from initprobe.meanfield.correlated_pairs import hermite_grid
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.norm_and_skip_gradients import LayerPass

# Networks: so many rows in all, within limits; and the largest number of rows of one.
_ROWS, _FEWEST, _MOST, _LARGEST = 16_000, 24, 200, 1024
# Logs of the variance of z at which averages over units are computed; between them they are interpolated.
_LOW, _HIGH, _STEPS = -14.0, 10.0, 481
_SEED = 0


class LengthEffects(NamedTuple):
    """Effects of the lengths of rows at one layer: factors of the predicted variances, and SDs of their logs.

    Attributes:
        variance: what they add to `BatchNoise.variance`.
    """

    output: float
    output_sd: float
    output_gradient: float
    output_gradient_sd: float
    preactivation_gradient: float
    weight_gradient: float
    variance: float


NO_EFFECT = LengthEffects(1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0)


class _Units(NamedTuple):
    """Averages over units of one row, `(networks, rows)` each.

    Attributes:
        mean: `E[phi]`.
        square: `E[phi^2]`.
        cube: `E[phi^3]`.
        fourth: `E[phi^4]`.
        slope_square: `E[phi'^2]`.
        pull: `E[z^2 phi'^2]`.
        by_kurtosis: changes of the first four per excess kurtosis of z, over 24.
        along: `E[phi z]`, `E[phi^2 z]`, and the same with `z^2 - 1`, z being in standard deviations.
    """

    mean: Array
    square: Array
    cube: Array
    fourth: Array
    slope_square: Array
    pull: Array
    by_kurtosis: Array
    along: Array


class _Table:
    """Averages over units as functions of the variance of z."""

    def __init__(self, activation: Activation) -> None:
        z = np.exp(np.linspace(_LOW, _HIGH, _STEPS) / 2)[:, None] * hermite_grid().z
        h = activation.value(z)
        d = activation.slope(z, h) ** 2
        powers, grid = (h, h * h, h**3, h**4), hermite_grid()
        first, second = grid.weights * grid.z, grid.weights * (grid.z**2 - 1)
        values = [grid.mean(f) for f in (*powers, d, z * z * d)] + [f @ grid.fourth for f in powers]
        values += [f @ weights for weights in (first, second) for f in powers[:2]]
        self._values = np.stack(values, axis=1)
        self._slopes = np.ascontiguousarray(self._values[:, 4:6])

    def at(self, variance: Array) -> _Units:
        """The averages for z of the given variances, `(networks, rows)`."""
        columns = self._between(self._values, variance)
        mean, square, cube, fourth, slope_square, pull = columns[:6]
        return _Units(mean, square, cube, fourth, slope_square, pull, columns[6:10], columns[10:])

    def slopes_at(self, variance: Array) -> tuple[Array, Array]:
        """`slope_square` and `pull` of these averages, all that the way back needs."""
        slope_square, pull = self._between(self._slopes, variance)
        return slope_square, pull

    def _between(self, table: Array, variance: Array) -> Array:
        """Columns of a table, interpolated in the log of the variance, `(columns, networks, rows)`."""
        places = np.clip((np.log(variance) - _LOW) * ((_STEPS - 1) / (_HIGH - _LOW)), 0.0, _STEPS - 1.001)
        low = np.nan_to_num(places).astype(np.intp)  # rows without length have no prediction: their averages are nan
        values = table[low]
        values += (places - low)[..., None] * (table[low + 1] - values)
        return np.moveaxis(values, -1, 0)


@dataclass(frozen=True)
class _Layer:
    """One layer of all networks.

    Attributes:
        z: variance of z of each row, `(networks, rows)`.
        lengths: centred mean square of each row of its input.
        widened: factor of `E[1 / v]` that unequal rows give, v being a unit's variance over the batch, `(networks, 1)`.
        output: mean centred square of its output, `(networks,)`.
        noise: what unequal rows add to the variance over networks of that mean, relative to its square.
    """

    z: Array
    lengths: Array
    widened: Array
    output: Array
    noise: float


def length_effects(
    activation: Activation, layers: Sequence[Layer], wirings: Sequence[Wiring], passes: Sequence[LayerPass], batch: int
) -> list[LengthEffects]:
    """What the lengths of rows do at every layer of a network with batch norms, first to last.

    Args:
        activation: of every layer.
        layers: first to last.
        wirings: norm and skip of each.
        passes: their forward passes, with the rows of the mean kernel.
        batch: number of samples.
    """
    simulation = _Simulation(_Table(activation), layers, wirings, passes, batch)
    with np.errstate(all="ignore"):
        forward = simulation.forward()
        return list(map(_effects, forward, passes, simulation.backward(forward)))


def _effects(layer: _Layer, here: LayerPass, back: tuple[Array, Array, Array]) -> LengthEffects:
    output = layer.output / layer.output[0]
    variance = float(here.output.squares.mean() - here.output.means.mean() ** 2)
    # A part of the output is the same for all samples.
    share = min(float(here.output.centred(len(here.output.squares)).mean()) / variance, 1.0) if variance > 0 else 0.0
    of_h, sd = _statistics(1 + share * (output - 1))
    of_gradient, gradient_sd = _statistics(back[0])
    return LengthEffects(
        output=of_h,
        output_sd=math.sqrt(sd * sd + share * share * layer.noise),
        output_gradient=of_gradient,
        output_gradient_sd=gradient_sd,
        preactivation_gradient=_statistics(back[1])[0],
        weight_gradient=_statistics(back[2])[0],
        variance=float(layer.widened[1:].mean() - 1) / 2,
    )


def _statistics(values: Array) -> tuple[float, float]:
    """Mean over networks of a factor, and SD of its log, with the error of that mean."""
    factors = values[1:] / values[0]
    mean = float(factors.mean())
    if not (0 < mean < math.inf and factors.min() > 0):
        return math.nan, math.nan
    return mean, float(np.log(factors).std(ddof=1)) * math.sqrt(1 + 1 / len(factors))


class _Simulation:
    """The rows of a few networks. All arrays are `(networks, rows)`; the first network has the mean lengths."""

    def __init__(
        self, table: _Table, layers: Sequence[Layer], wirings: Sequence[Wiring], passes: Sequence[LayerPass], batch: int
    ) -> None:
        known = len(passes[0].signal.squares)
        self._rows = np.arange(min(max(batch, known), _LARGEST)) % known
        self._networks = 1 + min(max(_ROWS // len(self._rows), _FEWEST), _MOST)
        self._table, self._batch = table, batch
        self._parts = list(zip(layers, wirings, passes, strict=True))

    def forward(self) -> list[_Layer]:
        """The forward pass of all networks."""
        rng, shape = np.random.default_rng(_SEED), (self._networks, len(self._rows))
        lengths, modes = np.ones(shape), np.zeros(shape)
        stream, stream_modes = lengths, modes
        simulated = []
        for layer, wiring, here in self._parts:
            if wiring.opens:
                stream, stream_modes = lengths, modes
            below = lengths * here.centred[self._rows]
            z = here.state.variance[self._rows] * np.ones(shape)
            widened, skip, noise = np.ones((shape[0], 1)), 1.0 if wiring.skip is None else wiring.skip, 0.0
            if wiring.by_batch:
                z, widened = self._normalised(z[0], below, modes, here.noise), self._widened(below, modes)
                units = self._table.at(z)
                middle = units.mean.mean(axis=1, keepdims=True)
                if wiring.skip is None:
                    by_network = self._noise(units, z, middle, modes * np.sqrt(z / below)) / layer.n_out
                    noise = float(by_network[1:].mean() - by_network[0])
                own, chance, mode = _centred(units, middle, self._kurtosis(z, widened, here.noise))
            else:  # the end of a branch is linear, and its z has no mean
                own = layer.n_in * layer.weight_variance * below
                chance, mode = 2 * own * own, np.zeros(shape)
            above, mode, chance = own * skip**2, skip * mode, chance * skip**4
            if wiring.skip is not None and here.skipped is not None:
                kept = stream * here.skipped.centred(self._batch)[self._rows]
                chance = chance + 4 * kept * above
                above, mode = above + kept + 2 * stream_modes * mode, stream_modes + mode
            simulated.append(_Layer(z, below, widened, above.mean(axis=1), max(noise, 0.0)))
            lengths = above / above[0] * self._chance(chance / layer.n_out / above**2, modes**2 / below, rng)
            modes = mode
        return simulated

    def _normalised(self, mean: Array, lengths: Array, modes: Array, noise: BatchNoise | None) -> Array:
        """Variance of z of each row behind a batch norm. A long row adds to what it is divided by.

        Some rows are long because they lie along large directions, by which all units are divided more. In rows of
        normal numbers these are `2 (sum share^2 - 1/batch)` of the variance of lengths, and grow by
        `1 - 2 (sum share^3 / sum share^2 - sum share^2)`. Rows of unlike means over units have one such direction in
        common, of some share: a unit's variance along it is divided by `1 + 2 share`.
        """
        size = lengths.mean(axis=1, keepdims=True)
        share = np.minimum((modes**2).mean(axis=1, keepdims=True) / size, 1.0)
        less = np.minimum(modes**2 / lengths, 1.0) * 2 * share / (1 + 2 * share)
        ratio = lengths * (1 - less)
        ratio = ratio / ratio[0]
        if noise is not None:
            second, third = noise.spectrum.moments[1:3]
            along = 2 * max(second - 1 / self._batch, 0.0)
            varying = np.maximum((lengths**2).mean(axis=1, keepdims=True) / size**2 - 1, along)
            ratio = ratio ** (1 - np.clip(2 * (third / second - second) * along / varying, 0.0, 1.0))
        z = mean * ratio * (lengths[0].mean() / size)
        z = z * (1 + 2 * mean / self._batch) / (1 + 2 * z / self._batch)
        return np.asarray(z * (mean.mean() / z.mean(axis=1, keepdims=True)))

    def _kurtosis(self, z: Array, widened: Array, noise: BatchNoise | None) -> Array:
        """The excess kurtosis over units of each row's z, over 24."""
        variance = (0.0 if noise is None else noise.variance) + (widened - 1) / 2
        return np.asarray(-variance / 4 - (z - 1) / (2 * self._batch))

    def _widened(self, lengths: Array, modes: Array) -> Array:
        """Factor of the mean of one over a unit's variance; rows of unlike means have a direction in common."""
        size = lengths.mean(axis=1, keepdims=True)
        shares = (lengths**2).mean(axis=1, keepdims=True) / size**2 / self._batch
        shares = shares + ((modes**2).mean(axis=1, keepdims=True) / size) ** 2
        return np.asarray(1 + 2 * (shares - shares[0]))

    def _noise(self, units: _Units, z: Array, middle: Array, modes: Array) -> Array:
        """Relative variance over units of the mean over rows of `(phi - middle)^2`, `(networks,)`.

        The means over rows of z and z^2 are fixed. Where rows are alike, only the part of the function across
        both counts. Rows of unlike variance have unlike parts along them, and are long in the same units.

        Args:
            units: averages over units.
            z: variance of z.
            middle: mean of phi, `(networks, 1)`.
            modes: mean over units that z has in common with other rows, in one direction.
        """
        deviation = np.sqrt(z)
        first = (units.along[1] - 2 * middle * units.along[0]) / deviation
        second = (units.along[3] - 2 * middle * units.along[2]) / (2 * z)
        mean = units.square - 2 * middle * units.mean
        whole = units.fourth - 4 * middle * (units.cube - middle * units.square) - mean * mean
        across = whole - z * (first**2 + 2 * z * second**2)
        first, second = first - first.mean(axis=1, keepdims=True), second - second.mean(axis=1, keepdims=True)
        alone = (across + z * (first**2 + 2 * z * second**2)).mean(axis=1) / self._batch
        together = (first * modes).mean(axis=1) ** 2 + 2 * (second * modes**2).mean(axis=1) ** 2
        return np.asarray((alone + together) / (mean + middle * middle).mean(axis=1) ** 2)

    def _chance(self, variance: Array, common: Array, rng: np.random.Generator) -> Array:
        """Log-normal factors of mean 1 and the given variances, and 1 for the first network.

        Lengths of z of two rows have the squared cosine in common: the product of their values of `common`.
        """
        logs, share = np.log1p(variance), np.minimum(common, 1.0)
        own, of_network = rng.standard_normal(variance.shape), rng.standard_normal((len(variance), 1))
        factors = np.exp(np.sqrt(logs) * (np.sqrt(1 - share**2) * own + share * of_network) - logs / 2)
        factors[0] = 1.0
        return np.asarray(factors)

    def backward(self, forward: Sequence[_Layer]) -> list[tuple[Array, Array, Array]]:
        """Means over rows of the squares of dL/dh, dL/dz and dL/dW, `(networks,)` each, first layer to last."""
        gradient = np.ones((self._networks, len(self._rows)))
        around, simulated = gradient, []
        for (layer, wiring, here), each in zip(reversed(self._parts), reversed(forward), strict=True):
            of_h, skip = gradient.mean(axis=1), 1.0 if wiring.skip is None else wiring.skip
            if wiring.skip is not None:
                around = gradient
            delta = inner = skip**2 * gradient
            if wiring.by_batch:
                slopes = self._table.slopes_at(each.z)
                inner, delta = self._behind_norm(gradient * skip**2, each.z, *slopes), delta * slopes[0]
                inner = inner * each.widened * (each.lengths[0].mean() / each.lengths.mean(axis=1, keepdims=True))
            weight = (each.lengths * inner).mean(axis=1)
            simulated.append((of_h, delta.mean(axis=1), weight))
            inverse = float(here.inverse_square[0]) * (1.0 if here.noise is None else here.noise.inverse)
            gradient = layer.n_out * layer.weight_variance * inverse * inner
            if wiring.opens:
                gradient = gradient + around
        return simulated[::-1]

    def _behind_norm(self, gradient: Array, z: Array, slope_square: Array, pull: Array) -> Array:
        """Mean square of dL/dy of each row: a norm removes the mean over the batch, and the part along z."""
        square, along = gradient * slope_square, gradient * pull
        common = square.mean(axis=1, keepdims=True) + z * along.mean(axis=1, keepdims=True)
        return np.asarray(np.maximum(square - (2 * (square + along) - common) / self._batch, 0.0))


def _centred(units: _Units, middle: Array, kurtosis: Array) -> tuple[Array, Array, Array]:
    """Mean and variance over units of `(phi - middle)^2`, and the mean of `phi - middle`."""
    moments = np.stack([np.ones_like(units.mean), units.mean, units.square, units.cube, units.fourth])
    added = np.stack([np.zeros_like(units.mean), *units.by_kurtosis])
    mean, square, fourth = (_about(middle, moments, power) for power in (1, 2, 4))
    by_square, by_fourth = (_about(middle, added, power) for power in (2, 4))
    square = np.maximum(square, 0.0)
    variance = fourth + kurtosis * (by_fourth - 2 * square * by_square) - square * square
    return square, np.maximum(variance, 0.0), mean


def _about(middle: Array, moments: Array, power: int) -> Array:
    """`E[(phi - middle)^power]`, from the moments about 0 of orders 0 to 4."""
    terms = (math.comb(power, k) * moments[k] * (-middle) ** (power - k) for k in range(power + 1))
    return np.asarray(sum(terms))
