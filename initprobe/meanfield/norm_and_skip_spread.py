"""The spread of measured variances in normalised and residual networks, and under weights with a mean.

To first order in 1/width. The deviations of four numbers from theory are passed on from layer to layer. They are mean
square and mean over units of h, at the inputs of the layer and of its branch. Each layer adds the noise of its units. A
norm fixes mean and variance of z. So its output does not respond to the size of its input, and has no noise along z and
z^2.

Layer norm without a skip is complete to first order in 1/width. Elsewhere a bias of order depth/width is left, from
noise that signal and gradient share. `left_out` bounds it. Hanin & Nica 2020, arXiv:1812.05994.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.activations.record import Activation
from initprobe.activations.skips import Wiring
from initprobe.arrays import Array
from initprobe.meanfield.finite_width import NO_SPREAD, LayerSpread, Spread
from initprobe.meanfield.gradient_spread import of_mean
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.left_out import BatchRows, with_left_out
from initprobe.meanfield.norm_and_skip_gradients import LayerPass
from initprobe.meanfield.norm_and_skip_units import Units, units_of
from initprobe.meanfield.row_lengths import NO_EFFECT, LengthEffects
from initprobe.meanfield.unit_noise import free_share

# Entries of the vector of deviations: mean square and mean of the branch's input, then of the layer's input.
_KEPT, _KEPT_MEAN, _SQUARE, MEAN = range(4)


def spread_norm_and_skip(
    activation: Activation,
    layers: Sequence[Layer],
    wirings: Sequence[Wiring],
    passes: Sequence[LayerPass],
    gradients: Sequence[float],
    samples: int,
    lengths: Sequence[LengthEffects] = (),
    batch: int = 0,
) -> list[LayerSpread]:
    """Spread of the variances measured in one network, given its input, for every layer.

    Args:
        activation: any record.
        layers: as given to `predict_norm_and_skip`.
        wirings: norm and skip of each layer.
        passes: the forward passes.
        gradients: predicted variance of dL/dh at every layer.
        samples: number of samples that the variances are taken over.
        lengths: what the lengths of rows do, under batch norm; empty where nothing is known of them.
        batch: samples in one batch of a batch norm.
    """
    lengths = lengths or [NO_EFFECT] * len(layers)
    with np.errstate(all="ignore"):
        units = [
            units_of(wiring.acting(activation), layer, wiring, here, samples)
            for layer, wiring, here in zip(layers, wirings, passes, strict=True)
        ]
        of_batch, of_single = (
            [Step.of(*each) for each in zip(layers, wirings, passes, column, strict=True)]
            for column in zip(*units, strict=True)
        )
        # Behind a norm nothing of the gradient runs along h; what exceeds infinite width is not a radial mode.
        is_normed = any(wiring.norm is not None for wiring in wirings)
        spreads = spreads_of(of_batch, of_single, None if is_normed else gradients, samples)
        return with_left_out(spreads, layers, wirings, passes, BatchRows(lengths, batch or samples))


def spreads_of(
    steps: Sequence[Step], single: Sequence[Step], gradients: Sequence[float] | None, samples: int
) -> list[LayerSpread]:
    """The spreads of all layers, from steps with the noise of a batch and of a single sample.

    Args:
        steps: one per layer, with the noise of a batch.
        single: the same with the noise of one sample.
        gradients: Var(dL/dh) at infinite width; None where no radial mode is followed.
        samples: number of samples.
    """
    covariances, of_one, drifts = covariances_of(steps), covariances_of(single), [np.zeros(4)]
    for step, covariance in zip(steps, of_one, strict=False):
        drifts.append(step.matrix @ drifts[-1] + step.offset + step.bent(covariance))
    outputs = [step.output(*each) for step, *each in zip(steps, covariances[1:], drifts[1:], strict=True)]
    of_batch = np.array(_gradient_variances(steps, covariances, gradients, samples))
    of_single = np.array(_gradient_variances(single, of_one, gradients, 1))
    back = [Spread(_root(variance), 0.0) for variance in of_mean(of_batch, of_single, samples).tolist()]
    return [
        LayerSpread(NO_SPREAD, output, gradient, NO_SPREAD, NO_SPREAD)
        for output, gradient in zip(outputs, back, strict=True)
    ]


def _root(value: float) -> float:
    return math.sqrt(value) if value >= 0 else math.nan


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
            start[[_KEPT, _KEPT_MEAN]] = start[[_SQUARE, MEAN]]
        below = _responses(layer, wiring, here, units)
        kept_mean = 0.0 if kept is None else float(kept.shares @ kept.means)
        # d(mean square) and d(mean) of the output, from phi^2 and phi.
        of_square, of_mean = np.array([scale**2, 2 * scale * kept_mean]), np.array([0.0, scale])
        both = np.array([of_square, of_mean])
        matrix = _matrix(both @ below[:2], 2 * scale * units.means[1] if skipped else None)
        noise, offset, with_noise = np.zeros((4, 4)), np.zeros(4), np.zeros(4)
        pair, slope_noise = units.noise[:2, :2], units.noise[2, :2] / units.means[2]
        noise[2:, 2:] = both @ pair @ both.T
        noise[_SQUARE, _SQUARE] += 4 * scale**2 * (units.common - kept_mean**2 * pair[1, 1]) if skipped else 0.0
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
            bend = units.curvatures[:2] * response * response * covariance[_SQUARE, _SQUARE] / 2
            # A mean of z that varies acts as a larger variance of z.
            bend = bend + units.responses[:2, 0] * self.moved(covariance)
            added[_SQUARE], added[MEAN] = self.both @ bend
            if self.wiring.skip is not None:
                kept_mean = MEAN if self.wiring.opens else _KEPT_MEAN
                with_mean = covariance[kept_mean, _SQUARE] * response
                added[_SQUARE] += 2 * self.wiring.skip * with_mean * self.units.responses[1, 0]
        return added

    def moved(self, covariance: Array) -> float:
        """Variance of the mean of z, which deviations of the mean of h below give it, in variances of z."""
        factor = self.layer.n_in * self.layer.weight_mean
        # NumPy's division, as z may be the same in every unit.
        return float(factor * factor * covariance[MEAN, MEAN] / np.float64(self.spread_of_z)) if factor else 0.0

    def output(self, covariance: Array, drift: Array) -> Spread:
        """Spread of the variance of h, from `covariance` and mean `drift` of the deviations above the layer."""
        direction = np.array([0.0, 0.0, 1.0, -2 * self.mean])
        sd = _root(float(direction @ covariance @ direction)) / self.variance
        return Spread(sd, float(direction @ drift - covariance[MEAN, MEAN]) / self.variance)


def _matrix(of_output: Array, of_kept_mean: np.float64 | None) -> Array:
    """The response of a layer's state to the state below, `(4, 4)`.

    Args:
        of_output: of the mean square and the mean of the output to the state below, `(2, 4)`.
        of_kept_mean: of the mean square to the mean of the skipped input; None without a skip.
    """
    matrix = np.zeros((4, 4))
    matrix[_KEPT, _KEPT] = matrix[_KEPT_MEAN, _KEPT_MEAN] = 1.0
    matrix[_SQUARE], matrix[MEAN] = of_output
    if of_kept_mean is not None:
        matrix[_SQUARE, _KEPT] += 1.0
        matrix[_SQUARE, _KEPT_MEAN] += of_kept_mean
        matrix[MEAN, _KEPT_MEAN] += 1.0
    return matrix


def _slopes(wiring: Wiring, here: LayerPass, slopes: Array) -> Array:
    """Relative response of the mean squared slope to the state below, with the division by the norm, `(4,)`."""
    if wiring.norm is not None:
        shares = here.signal.shares
        centred = shares @ (here.weighted if wiring.by_batch else here.signal.squares)
        slopes[_SQUARE] -= 1 / centred
        if wiring.by_batch:
            slopes[MEAN] += 2 * float(shares @ here.signal.means) / centred
    return slopes


def _responses(layer: Layer, wiring: Wiring, here: LayerPass, units: Units) -> Array:
    """Response of mean phi^2, phi, phi'^2 and phi' to the deviations below the layer, `(4, 4)`."""
    below = np.zeros((4, 4))
    if wiring.norm is not None:
        return below
    below[:, _SQUARE] = units.responses[:, 0] * _length_response(here)
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


def _gradient_variances(
    steps: Sequence[Step], covariances: Sequence[Array], gradients: Sequence[float] | None, samples: int
) -> list[float]:
    """Variance of the log of Var(dL/dh) at every layer, first to last.

    The weights that lengthen a sample's gradient also lengthen the signals of other samples. A layer norm divides their
    gradients by that: `Cov(|W u|^2, |h W|^2) = 2 / (n_in n_out)`, relative. Through further layers above it is
    the same, times what the nonlinearities keep. For one sample u is across y, and there is none.

    Where the gradient runs along h (`radial`), its variance is proportional to the last mean square over the one here.
    """
    equal_share, other_share = 1 / samples, 1 - 1 / samples
    weights, across = branch_weights(steps)
    last = float(covariances[-1][_SQUARE, _SQUARE]) / steps[-1].square ** 2
    drawn, inside, added, overlap, reused = 2 / steps[-1].layer.n_out * equal_share, 0.0, 0.0, 0.0, 0.0
    slopes, variances = np.zeros(4), list[float]()
    for k in reversed(range(len(steps))):
        step, above = steps[k], covariances[k + 1]
        layer, units, weight = step.layer, step.units, weights[k]
        inside = 0.0 if step.wiring.skip is not None else inside
        share = 1.0 if gradients is None or not gradients[k] > 0 else min(across[k] / gradients[k], 1.0)
        radial = max(last - float(above[_SQUARE, _SQUARE]) / step.square**2, 0.0) + 2 * equal_share
        chance = drawn + inside + added + float(slopes @ above @ slopes)
        variances.append(share**2 * chance + (1 - share) ** 2 * radial)
        free, shared = free_share(layer.n_in, layer), overlap * other_share
        own = 2 / layer.n_out * ((units.same + free) * equal_share + (units.other + free) * shared)
        if step.wiring.norm is not None:
            varying = free_share(layer.n_out, layer) if step.wiring.by_sample else 1.0
            reused = units.reuse * weight * reused + (varying / layer.n_out if step.wiring.by_sample else 0.0)
            own += _noise_of_norm(step, varying, shared, reused, samples)
        drawn += weight**2 * own
        inside += (1 - weight**2) * own
        if step.wiring.opens:
            drawn += 4 * weight * (1 - weight) / layer.n_in * (equal_share + shared)
        added += float(slopes @ step.noise @ slopes) + 2 * weight * float(slopes @ step.with_noise)
        chance_of_slopes = units.noise[2, 2] / units.means[2] ** 2
        added += weight**2 * chance_of_slopes
        # Inside its branch the gradient has passed the slopes with their whole weight.
        inside += (1 - weight**2) * chance_of_slopes + 2 * (1 - weight) * float(slopes @ step.with_noise)
        slopes = slopes @ step.matrix + weight * step.slopes
        kept = (1 - weight + weight * math.sqrt(units.agreement)) ** 2 * overlap
        gained = weight**2 * (1 + units.other) * (1 + 2 * overlap) / layer.n_out
        joined = 2 * weight * (1 - weight) / layer.n_in if step.wiring.opens else 0.0
        overlap = min(kept + gained + joined, 1.0)  # a squared cosine
    return variances[::-1]


def _noise_of_norm(step: Step, varying: float, shared: float, reused: float, samples: int) -> float:
    """Variance that the division by a norm adds to the log of Var(dL/dh), with its covariance.

    Args:
        step: of the layer.
        varying: share of the noise of the length that the norm divides by; orthogonal weights keep the length.
        shared: mean squared cosine of the gradients of two samples, times the share of pairs.
        reused: covariance with the signals of other samples, from the layers above.
        samples: number of samples.
    """
    equal_share, other_share, layer = 1 / samples, 1 - 1 / samples, step.layer
    of_length = equal_share + step.units.cosine * other_share
    # Cauchy-Schwarz: no larger than the two variances allow.
    most = math.sqrt((equal_share + shared) * of_length)
    return 2 / layer.n_out * varying * of_length - 4 / layer.n_in * min(reused * other_share, most)


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
