"""The typical draw of a finite network: how far its signal falls below the mean over draws.

Theory at infinite width gives the mean square of h over all draws. At finite width a layer multiplies the mean square
of one draw by a random factor. The log of the product is a sum over layers, so the typical draw is `exp(sum E log)`.
It lies below the mean, by about `exp(-SD^2/2)`, and in a deep narrow network by many decades.

Hanin & Rolnick 2018, arXiv:1803.01719; Hanin & Nica 2020, arXiv:1812.05994.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.activations.skips import Wiring
from initprobe.arrays import Array, normal_cdf
from initprobe.meanfield.finite_width import Spread
from initprobe.meanfield.layer import Layer

# A draw is lost if its mean square is below this share of the mean over draws.
LOST = 0.01
# Below this SD and this bias, the log is normal to first order. The probability of a loss is then below 1e-3. First
# order in 1/width fails in layers narrower than this.
_SMALL, _LITTLE, _NARROW = 1.0, 0.5, 8
# Networks in a simulation: the standard error of a probability is at most 0.025.
_NETWORKS = 400
# A simulation of a batch has so many networks, and at most so many outputs per network: units times inputs. The least
# and the largest number of inputs, if the batch has so many. Where the length map is unstable, inputs of a batch drift
# apart, and more of them keep the signal: He + GELU, 20 x 10, batch 50 loses .68 of 400 draws; 16 inputs say .81.
_NETWORKS_OF_BATCH, _MOST_OUTPUTS, _LEAST_INPUTS, _MOST_INPUTS = 200, 50_000, 8, 64


class LengthLogs(NamedTuple):
    """The log of a draw's mean square of h over that at infinite width, at each layer. All arrays are `(layers,)`.

    Attributes:
        mean: mean over draws whose signal is not exactly 0.
        sd: standard deviation over the same draws.
        lost: probability that a draw has less than `LOST` of the mean square at infinite width.
    """

    mean: Array
    sd: Array
    lost: Array


def length_logs(
    activation: Activation, layers: Sequence[Layer], squares: Sequence[float], spreads: Sequence[Spread], seed: int
) -> LengthLogs | None:
    """The distribution of log(mean square of h) for one input, in a plain network of finite width.

    It is exact for ReLU and linear activations with independent normal weights and no biases. For others it is normal
    with the given spread while that is small, and simulated where it is not. Given the layer below, the units of a
    layer are independent normal numbers. Weights are taken as normal or orthogonal.

    Args:
        activation: any record.
        layers: first to last.
        squares: mean square of the input, then of h at each layer at infinite width, `(layers + 1,)`.
        spreads: of the measured variance of h at each layer, to first order in 1/width, `(layers,)`.
        seed: of the simulation.

    Returns:
        None for weights with a mean, whose coherent part fluctuates differently, and beyond the float range.
    """
    sds, biases = np.array([(spread.sd, spread.bias) for spread in spreads]).T
    usable = all(0 < square < math.inf for square in squares) and np.isfinite(sds).all()
    if not usable or any(layer.weight_mean for layer in layers):
        return None
    wide = min(layer.n_out for layer in layers) >= _NARROW
    if wide and sds.max() < _SMALL and np.abs(biases).max() < _LITTLE:
        return _normal(np.array([spread.log_mean for spread in spreads]), sds)
    simple = not any(layer.orthogonal or layer.bias_variance or layer.bias_mean for layer in layers)
    if simple and (active := _active_share(activation)):
        return _exact([layer.n_out for layer in layers], active)
    return _simulated(activation, layers, squares, np.random.default_rng(seed))


def logs_with_skips(
    activation: Activation,
    layers: Sequence[Layer],
    wirings: Sequence[Wiring],
    squares: Sequence[float],
    spreads: Sequence[Spread],
    seed: int,
) -> LengthLogs | None:
    """The same in a network whose layers all have a norm or a skip.

    It is normal while the given spread is small. Otherwise residual networks without a norm are simulated, one input
    per network: weights are independent of the input of their branch.

    Args:
        activation: any record.
        layers: first to last.
        wirings: norm and skip of each.
        squares: mean square of the input, then of h at each layer by theory, `(layers + 1,)`.
        spreads: of the measured variance of h at each layer, `(layers,)`.
        seed: of the simulation.

    Returns:
        None with a norm and a large spread, for weights with a mean, and beyond the float range.
    """
    sds, biases = np.array([(spread.sd, spread.bias) for spread in spreads]).T
    usable = all(0 < square < math.inf for square in squares) and np.isfinite(sds).all() and np.isfinite(biases).all()
    if not usable or any(layer.weight_mean for layer in layers):
        return None
    if min(layer.n_out for layer in layers) >= _NARROW and sds.max() < _SMALL and np.abs(biases).max() < _LITTLE:
        return _normal(np.array([spread.log_mean for spread in spreads]), sds)
    if any(wiring.norm is not None for wiring in wirings):
        return None
    rng, logs = np.random.default_rng(seed), []
    h = stream = math.sqrt(squares[0]) * rng.standard_normal((_NETWORKS, layers[0].n_in))
    with np.errstate(all="ignore"):
        for layer, wiring, square in zip(layers, wirings, squares[1:], strict=True):
            stream = h if wiring.opens else stream
            own = wiring.acting(activation).value(_preactivations(layer, np.square(h).mean(axis=1), rng))
            h = own if wiring.skip is None else stream + wiring.skip * own
            logs.append(np.log(np.square(h).mean(axis=1) / square))
    return _of_networks(np.array(logs))


def lost_by_batch(
    activation: Activation, layers: Sequence[Layer], squares: Sequence[float], batch: int, cosine: float, seed: int
) -> Array | None:
    """The probability that a draw loses the signal of a whole batch of inputs, at each layer, `(layers,)`.

    A ReLU that is off for one input may be on for another. So a narrow network that loses one input may keep others,
    and only depth makes inputs alike. Networks with normal or orthogonal weights are simulated for a few inputs.

    Args:
        activation: any record.
        layers: first to last.
        squares: mean square of the input, then of h at each layer at infinite width, `(layers + 1,)`.
        batch: number of inputs.
        cosine: of two inputs.
        seed: of the simulation.

    Returns:
        None for networks with too many units.
    """
    count = min(batch, _MOST_INPUTS, _MOST_OUTPUTS // sum(layer.n_out for layer in layers))
    if count < min(batch, _LEAST_INPUTS):
        return None
    rng = np.random.default_rng(seed)
    alike = min(max(cosine, 0.0), 1.0)
    common, own = (rng.standard_normal((_NETWORKS_OF_BATCH, inputs, layers[0].n_in)) for inputs in (1, count))
    h, lost = math.sqrt(squares[0]) * (math.sqrt(alike) * common + math.sqrt(1 - alike) * own), []
    with np.errstate(all="ignore"):
        for layer, square in zip(layers, squares[1:], strict=True):
            h = activation.value(_products(layer, h, rng) + _biases(layer, rng))
            lost.append(np.mean(~(np.square(h).mean(axis=(1, 2)) >= LOST * square)))
    return np.array(lost)


def _products(layer: Layer, h: Array, rng: np.random.Generator) -> Array:
    """Draw `h W` in each network, `(networks, inputs, units)`.

    With `h = L Q`, where the rows of Q are orthonormal, `Q W` is distributed as the first rows of W.
    """
    lower = h if layer.n_in <= h.shape[1] else np.linalg.qr(h.swapaxes(1, 2)).R.swapaxes(1, 2)
    long, rows = max(layer.n_in, layer.n_out), lower.shape[2]
    if layer.orthogonal:
        columns = np.linalg.qr(rng.standard_normal((len(h), long, rows))).Q[:, : layer.n_out]
        signs = rng.choice([-1.0, 1.0], (len(h), rows, 1))  # Householder's are not random
        weights = math.sqrt(long) * signs * columns.swapaxes(1, 2)
    else:
        weights = rng.standard_normal((len(h), rows, layer.n_out))
    return np.asarray(lower @ (math.sqrt(layer.weight_variance) * weights))


def _biases(layer: Layer, rng: np.random.Generator) -> Array:
    """Draw the biases of a layer in each network, `(networks, 1, units)`."""
    shape = _NETWORKS_OF_BATCH, 1, layer.n_out
    drawn = layer.bias_mean + math.sqrt(layer.normal_bias_variance) * rng.standard_normal(shape)
    shares, deviations = layer.bias_rule
    return np.asarray(drawn + rng.choice(deviations, shape, p=shares) if layer.bias_nodes else drawn)


def _active_share(activation: Activation) -> float | None:
    """The share of units that are not exactly 0: 1 for linear, 1/2 for ReLU; None for any other activation."""
    x = np.array([-8.0, -1.0, -0.125, 0.125, 1.0, 8.0])
    left, right = np.split(activation.value(x) / x, 2)
    if not set(activation.kinks) <= {0.0} or np.ptp(left) or np.ptp(right):
        return None
    sizes = {abs(float(left[0])), abs(float(right[0]))}
    return 1.0 if len(sizes) == 1 else 0.5 if 0.0 in sizes else None


def _exact(widths: Sequence[int], share: float) -> LengthLogs:
    """Of n units, K are active, a binomial number; a layer's factor is `chi^2_K / (share n)`, exactly.

    The sum over layers is taken as normal. A network in which no unit of some layer is active is lost.
    """
    factors = {width: _log_factor(width, share) for width in set(widths)}
    mean, variance = np.cumsum([factors[width][:2] for width in widths], axis=0).T
    alive = np.cumprod([1 - factors[width][2] for width in widths])
    logs = _normal(mean, np.sqrt(variance))
    return LengthLogs(logs.mean, logs.sd, 1 - alive * (1 - logs.lost))


def _log_factor(units: int, share: float) -> tuple[float, float, float]:
    """Mean and variance of a layer's log factor if a unit is active, and the probability that none is."""
    counts = np.arange(1, units + 1)
    log_mean, log_variance = _chi_square_logs(units)
    if share == 1:
        weights, none = np.where(counts == units, 1.0, 0.0), 0.0
    else:
        choose = math.lgamma(units + 1) - np.array([math.lgamma(k + 1) + math.lgamma(units - k + 1) for k in counts])
        weights, none = np.exp(choose - units * math.log(2)), 2.0**-units
    weights /= weights.sum()
    mean = float(weights @ log_mean)
    variance = float(weights @ (log_variance + (log_mean - mean) ** 2))
    return mean - math.log(share * units), variance, none


def _chi_square_logs(most: int) -> tuple[Array, Array]:
    """Mean and variance of `log chi^2_K` for K from 1 to `most`: `psi(K/2) + log 2` and `psi'(K/2)`, by recurrence."""
    mean, variance = np.empty((2, most + 2))
    mean[:2], variance[:2] = (-np.euler_gamma - 2 * math.log(2), -np.euler_gamma), (math.pi**2 / 2, math.pi**2 / 6)
    for start in (0, 1):
        halves = (np.arange(start, most + 2, 2)[:-1] + 1) / 2
        mean[start::2][1:] = mean[start] + np.cumsum(1 / halves)
        variance[start::2][1:] = variance[start] - np.cumsum(1 / halves**2)
    return mean[:most] + math.log(2), variance[:most]


def _normal(mean: Array, sd: Array) -> LengthLogs:
    """Logs that are normal."""
    places = (math.log(LOST) - mean) / np.where(sd > 0, sd, 1.0)
    lost = np.array([normal_cdf(float(place)) for place in places])
    return LengthLogs(mean, sd, np.where(sd > 0, lost, (mean < math.log(LOST)).astype(float)))


def _simulated(
    activation: Activation, layers: Sequence[Layer], squares: Sequence[float], rng: np.random.Generator
) -> LengthLogs | None:
    """The logs of many networks, of which only the mean square of each layer is kept."""
    own, logs = np.full(_NETWORKS, squares[0]), []
    with np.errstate(all="ignore"):
        for layer, square in zip(layers, squares[1:], strict=True):
            own = np.square(activation.value(_preactivations(layer, own, rng))).mean(axis=1)
            logs.append(np.log(own / square))
    return _of_networks(np.array(logs))


def _of_networks(each: Array) -> LengthLogs | None:
    """Their distribution, from the logs of each network, `(layers, networks)`."""
    if np.isnan(each).any() or (each == math.inf).any():
        return None
    alive = np.where(np.isfinite(each), each, np.nan)
    if np.isnan(alive).all(axis=1).any():
        return None
    return LengthLogs(np.nanmean(alive, axis=1), np.nanstd(alive, axis=1), (each < math.log(LOST)).mean(axis=1))


def _preactivations(layer: Layer, squares: Array, rng: np.random.Generator) -> Array:
    """Draw z of one input in each network, `(networks, units)`, given the mean square of the layer's inputs."""
    z = rng.standard_normal((len(squares), layer.n_out))
    variance = layer.n_in * layer.weight_variance * squares
    if layer.orthogonal:
        z *= np.sqrt(layer.n_out / np.square(z).sum(axis=1))[:, None]
        if layer.n_in > layer.n_out:  # a projection keeps a random share of the length
            share = rng.beta(layer.n_out / 2, (layer.n_in - layer.n_out) / 2, len(squares))
            variance = variance * share * layer.n_in / layer.n_out
        z *= np.sqrt(variance)[:, None]
        z += math.sqrt(layer.normal_bias_variance) * rng.standard_normal(z.shape)
    else:
        z *= np.sqrt(variance + layer.normal_bias_variance)[:, None]
    shares, deviations = layer.bias_rule
    if layer.bias_nodes:
        z += rng.choice(deviations, z.shape, p=shares)
    return np.asarray(z + layer.bias_mean)
