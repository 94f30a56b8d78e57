"""Layers with norms, skips or weights with a mean as linear maps of deviations from theory.

They hold to first order in 1/width. The deviations of four numbers are passed on from layer to layer. They are mean
square and mean over units of h, at the inputs of the layer and of its branch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.activations.skips import Wiring
from initprobe.arrays import Array
from initprobe.meanfield.finite_width import Spread
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.norm_and_skip_gradients import LayerPass
from initprobe.meanfield.norm_and_skip_units import Units

# Entries of the vector of deviations: mean square and mean of the branch's input, then of the layer's input.
_KEPT, _KEPT_MEAN, SQUARE, MEAN = range(4)


@dataclass(frozen=True)
class Step:
    """One layer as a linear map of deviations, with its noise.

    Attributes:
        layer: its weights.
        wiring: its norm and skip.
        units: its means.
        matrix: from the deviations below the layer to those above it, `(4, 4)`.
        noise: covariance that the layer adds, `(4, 4)`.
        offset: mean deviation that the layer adds, `(4,)`.
        both: `d(mean square)` and `d(mean)` of the output, from phi^2 and phi, `(2, 2)`.
        spread_of_z: variance of z over units.
        length_response: relative change of q per change of the mean square below.
        rises: the same as `slopes` of the log of `mean phi'`, `(4,)`.
        slopes: response of the log of `mean phi'^2`, and of the norm's factor, to the deviations below, `(4,)`.
        rise_with_noise: covariance of the log of `mean phi'` with the noise that the layer adds, `(4,)`.
        with_noise: covariance of the log of `mean phi'^2` with the noise that the layer adds, `(4,)`.
        variance: predicted variance of h, over units and samples.
        square: predicted mean square of h.
        mean: predicted mean of h.
        gain: factor of the mean square of a gradient, without the skip.
    """

    layer: Layer
    wiring: Wiring
    units: Units
    matrix: Array
    noise: Array
    offset: Array
    both: Array
    spread_of_z: float
    length_response: float
    rises: Array
    slopes: Array
    rise_with_noise: Array
    with_noise: Array
    variance: np.float64
    square: np.float64
    mean: np.float64
    gain: np.float64

    @classmethod
    def of(cls, layer: Layer, wiring: Wiring, here: LayerPass, units: Units) -> Step:
        """The step through `layer` with its `wiring`, from what theory computed `here` and the noise of `units`."""
        shares, scale = here.signal.shares, 1.0 if wiring.skip is None else wiring.skip
        skipped, kept = wiring.skip is not None, here.skipped
        # NumPy's numbers, since Python's raise an error where these overflow or are divided by 0.
        square, mean = (np.float64(here.output.shares @ values) for values in (here.output.squares, here.output.means))
        start = np.eye(4)
        if wiring.opens:
            start[[_KEPT, _KEPT_MEAN]] = start[[SQUARE, MEAN]]
        below = _responses(layer, wiring, here, units)
        kept_mean = 0.0 if kept is None else float(kept.shares @ kept.means)
        # d(mean square) and d(mean) of the output, from phi^2 and phi.
        of_square, of_mean = np.array([scale**2, 2 * scale * kept_mean]), np.array([0.0, scale])
        both = np.array([of_square, of_mean])
        matrix = _matrix(both @ below[:2], 2 * scale * units.means[1] if skipped else None)
        noise, offset, with_noise = np.zeros((4, 4)), np.zeros(4), np.zeros(4)
        pair, slope_noise = units.noise[:2, :2], units.noise[2, :2] / units.means[2]
        noise[2:, 2:] = both @ pair @ both.T
        noise[SQUARE, SQUARE] += 4 * scale**2 * (units.common - kept_mean**2 * pair[1, 1]) if skipped else 0.0
        offset[2:], with_noise[2:] = both @ units.offsets[:2], both @ slope_noise
        gain = np.float64(layer.n_out * layer.weight_variance * units.means[2] * (shares @ here.inverse_square))
        variance = square - mean * mean
        return cls(
            layer=layer,
            wiring=wiring,
            units=units,
            matrix=matrix @ start,
            noise=noise,
            offset=offset,
            both=both,
            spread_of_z=float(here.state.average(here.state.variance)),
            length_response=_length_response(here),
            rises=below[3] / units.means[3],
            slopes=_slopes(wiring, here, below[2] / units.means[2]) @ start,
            rise_with_noise=np.append(np.zeros(2), both @ units.noise[3, :2] / units.means[3]),
            with_noise=with_noise,
            variance=variance,
            square=square,
            mean=mean,
            gain=gain,
        )

    def bent(self, covariance: Array) -> Array:
        """Mean deviation above the layer from the second order in the deviations of one sample below, `(4,)`.

        `S' = S + 2 s m E[phi] + s^2 E[phi^2]`, where both expectations are functions of S.
        """
        added = np.zeros(4)
        if self.wiring.norm is None:
            response, units = self.length_response, self.units
            bend = units.curvatures[:2] * response * response * covariance[SQUARE, SQUARE] / 2
            # A mean of z that varies acts as a larger variance of z.
            bend = bend + units.responses[:2, 0] * self.moved(covariance)
            added[SQUARE], added[MEAN] = self.both @ bend
            if self.wiring.skip is not None:
                kept_mean = MEAN if self.wiring.opens else _KEPT_MEAN
                with_mean = covariance[kept_mean, SQUARE] * response
                added[SQUARE] += 2 * self.wiring.skip * with_mean * self.units.responses[1, 0]
        return added

    def moved(self, covariance: Array) -> float:
        """Variance of the mean of z, which deviations of the mean of h below give it, in variances of z."""
        factor = self.layer.n_in * self.layer.weight_mean
        # NumPy's division, as z may be the same in every unit.
        return float(factor * factor * covariance[MEAN, MEAN] / np.float64(self.spread_of_z)) if factor else 0.0

    def output(self, covariance: Array, drift: Array) -> Spread:
        """Spread of the variance of h, from `covariance` and mean `drift` of the deviations above the layer."""
        direction = np.array([0.0, 0.0, 1.0, -2 * self.mean])
        sd = root(float(direction @ covariance @ direction)) / self.variance
        return Spread(sd, float(direction @ drift - covariance[MEAN, MEAN]) / self.variance)


def _matrix(of_output: Array, of_kept_mean: np.float64 | None) -> Array:
    """The response of a layer's state to the state below, `(4, 4)`.

    Args:
        of_output: of the mean square and the mean of the output to the state below, `(2, 4)`.
        of_kept_mean: of the mean square to the mean of the skipped input; None without a skip.
    """
    matrix = np.zeros((4, 4))
    matrix[_KEPT, _KEPT] = matrix[_KEPT_MEAN, _KEPT_MEAN] = 1.0
    matrix[SQUARE], matrix[MEAN] = of_output
    if of_kept_mean is not None:
        matrix[SQUARE, _KEPT] += 1.0
        matrix[SQUARE, _KEPT_MEAN] += of_kept_mean
        matrix[MEAN, _KEPT_MEAN] += 1.0
    return matrix


def _slopes(wiring: Wiring, here: LayerPass, slopes: Array) -> Array:
    """Relative response of the mean squared slope to the state below, with the division by the norm, `(4,)`."""
    if wiring.norm is not None:
        shares = here.signal.shares
        centred = shares @ (here.weighted if wiring.by_batch else here.signal.squares)
        slopes[SQUARE] -= 1 / centred
        if wiring.by_batch:
            slopes[MEAN] += 2 * float(shares @ here.signal.means) / centred
    return slopes


def _responses(layer: Layer, wiring: Wiring, here: LayerPass, units: Units) -> Array:
    """Response of mean phi^2, phi, phi'^2 and phi' to the deviations below the layer, `(4, 4)`."""
    below = np.zeros((4, 4))
    if wiring.norm is not None:
        return below
    below[:, SQUARE] = units.responses[:, 0] * _length_response(here)
    if layer.weight_mean:
        deviation = math.sqrt(float(here.state.average(here.state.variance)))
        below[:, MEAN] = units.responses[:, 1] * layer.n_in * layer.weight_mean / deviation
    return below


def _length_response(here: LayerPass) -> float:
    """Relative change of the mean square of z per change of the mean square of the layer's input."""
    square, share = (float(here.signal.shares @ values) for values in (here.signal.squares, here.weights_share))
    return share / square if square > 0 else 0.0


def covariances_of(steps: Sequence[Step]) -> list[Array]:
    """Covariance of the deviations, at the input and above every layer, `(4, 4)` each."""
    covariances = [np.zeros((4, 4))]
    for step in steps:
        covariances.append(step.matrix @ covariances[-1] @ step.matrix.T + step.noise)
    return covariances


def drifts_of(steps: Sequence[Step], covariances: Sequence[Array]) -> list[Array]:
    """Mean deviations, at the input and above every layer, `(4,)` each.

    Args:
        steps: of all layers.
        covariances: of the deviations of single samples, from `covariances_of`.
    """
    drifts = [np.zeros(4)]
    for step, covariance in zip(steps, covariances, strict=False):
        drifts.append(step.matrix @ drifts[-1] + step.offset + step.bent(covariance))
    return drifts


def branch_weights(steps: Sequence[Step]) -> tuple[list[float], list[float]]:
    """Share of the branch in the gradient at its start, for each of its layers, and Var(dL/dh) at infinite width."""
    weights, across = [1.0] * len(steps), [1.0] * len(steps)
    square, around, end = np.float64(1.0), np.float64(0.0), 0
    for k in reversed(range(len(steps))):
        step, skip = steps[k], steps[k].wiring.skip
        across[k] = float(square)
        if skip is not None:
            around, end = square, k
        square = square * step.gain * (1.0 if skip is None else skip**2)
        if step.wiring.opens and around > 0:
            share = square / (square + around)
            weights[k : end + 1] = [float(share)] * (end + 1 - k)
            square, around = square + around, np.float64(0.0)
    return weights, across


def root(value: float) -> float:
    """The square root; NaN where rounding left a value below 0."""
    return math.sqrt(value) if value >= 0 else math.nan
