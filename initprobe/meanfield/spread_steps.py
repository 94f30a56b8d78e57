"""Layers with norms, skips or weights with a mean as linear maps of deviations from theory.

They hold to first order in 1/width. The deviations of four numbers are passed on from layer to layer. They are mean
square and mean over units of h, at the inputs of the layer and of its branch.

Samples are in groups of similar length. Under an unstable length map a long sample's deviations grow at another rate
than a short one's. So the product over layers is taken for each group, before the mean over groups.
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
from initprobe.meanfield.norm_and_skip_units import Units, own
from initprobe.meanfield.radial import quotient

# Entries of the vector of deviations: mean square and mean of the branch's input, then of the layer's input.
_KEPT, _KEPT_MEAN, SQUARE, MEAN = range(4)


@dataclass(frozen=True)
class Step:
    """One layer as a linear map of deviations, with its noise. Groups of samples differ in length.

    Attributes:
        layer: its weights.
        wiring: its norm and skip.
        units: its means.
        matrix: from the deviations below the layer to those above it, `(groups, 4, 4)`.
        noise: covariance that the layer adds, `(groups, groups, 4, 4)`.
        offset: mean deviation that the layer adds, `(groups, 4)`.
        both: `d(mean square)` and `d(mean)` of the output, from phi^2 and phi, `(groups, 2, 2)`.
        spread_of_z: variance of z over units.
        length_response: relative change of q per change of the mean square below, `(groups,)`.
        rises: the same as `slopes` of the log of `mean phi'`, `(groups, 4)`.
        slopes: response of the log of `mean phi'^2`, and of the norm's factor, to the deviations below, `(groups, 4)`.
        rise_with_noise: covariance of the log of `mean phi'` with the noise that the layer adds, of any two groups,
            `(groups, groups, 4)`.
        with_noise: the same of the log of `mean phi'^2`.
        slope_noise: covariance of the log of `mean phi'^2`, `(groups, groups)`.
        kept: mean square and mean of what a skip adds to the layer's own output, `(2, groups)`.
        cosine: mean cosine of what a skip adds in two samples.
        below: mean square of the layer's input, `(groups,)`.
        squares: predicted mean square of h, `(groups,)`.
        means: predicted mean of h, `(groups,)`.
        gain: factor of the mean square of a gradient, without the skip, `(groups,)`.
    """

    layer: Layer
    wiring: Wiring
    units: Units
    matrix: Array
    noise: Array
    offset: Array
    both: Array
    spread_of_z: float
    length_response: Array
    rises: Array
    slopes: Array
    rise_with_noise: Array
    with_noise: Array
    slope_noise: Array
    kept: Array
    cosine: float
    below: Array
    squares: Array
    means: Array
    gain: Array

    @classmethod
    def of(cls, layer: Layer, wiring: Wiring, here: LayerPass, units: Units) -> Step:
        """The step through `layer` with its `wiring`, from what theory computed `here` and the noise of `units`."""
        sides, scale = _Sides.of(here, units), 1.0 if wiring.skip is None else wiring.skip
        start = np.eye(4)
        if wiring.opens:
            start[[_KEPT, _KEPT_MEAN]] = start[[SQUARE, MEAN]]
        below = _responses(layer, wiring, here, units, sides)
        both = _of_output(scale, sides.kept[1])
        matrix = _matrix(both @ below[:, :2], 2 * scale * units.means[:, 1] if wiring.skip is not None else None)
        with_noise = _with_noise(both, units, 2)
        return cls(
            layer=layer,
            wiring=wiring,
            units=units,
            matrix=matrix @ start,
            noise=_noise(both, units, sides.kept[1], None if wiring.skip is None else scale),
            offset=_padded((both @ units.offsets[:, :2, None])[..., 0]),
            both=both,
            spread_of_z=float(here.state.average(here.state.variance)),
            length_response=sides.length_response,
            rises=_relative(below[:, 3], units.means[:, 3, None]),
            slopes=_slopes(wiring, _relative(below[:, 2], units.means[:, 2, None]), sides) @ start,
            rise_with_noise=_with_noise(both, units, 3),
            with_noise=with_noise,
            slope_noise=_relative(units.noise[..., 2, 2], np.outer(units.means[:, 2], units.means[:, 2])),
            kept=sides.kept,
            cosine=0.0 if here.skipped is None else here.skipped.cosine,
            below=sides.signal[0],
            squares=sides.output[0],
            means=sides.output[1],
            gain=layer.n_out * layer.weight_variance * units.means[:, 2] * sides.inverse_square,
        )

    @property
    def shares(self) -> Array:
        """Share of the samples in each group, `(groups,)`."""
        return self.units.shares

    def passed(self, slopes: Array) -> Array:
        """Linear functions of the deviations above the layer as functions of those below it, `(groups, 4)`."""
        return np.asarray((slopes[:, None] @ self.matrix)[:, 0])

    def bent(self, covariance: Array) -> Array:
        """Mean deviation above the layer from the second order in the deviations of one sample below, `(groups, 4)`.

        `S' = S + 2 s m E[phi] + s^2 E[phi^2]`, where both expectations are functions of S.

        Args:
            covariance: of the deviations of one sample of each group, `(groups, 4, 4)`.
        """
        if self.wiring.norm is not None:
            return np.zeros_like(self.offset)
        response, units = self.length_response, self.units
        bend = units.curvatures[:, :2] * (response * response * covariance[:, SQUARE, SQUARE] / 2)[:, None]
        # A mean of z that varies acts as a larger variance of z.
        bend = bend + units.responses[:, :2, 0] * self.moved(covariance)[:, None]
        added = _padded((self.both @ bend[..., None])[..., 0])
        if self.wiring.skip is not None:
            kept_mean = MEAN if self.wiring.opens else _KEPT_MEAN
            with_mean = covariance[:, kept_mean, SQUARE] * response
            added[:, SQUARE] += 2 * self.wiring.skip * with_mean * units.responses[:, 1, 0]
        return added

    def moved(self, covariance: Array) -> Array:
        """Variance of the mean of z, which follows the mean of h below, in variances of z, `(groups,)`.

        Args:
            covariance: of the deviations of one sample of each group, `(groups, 4, 4)`.
        """
        factor = self.layer.n_in * self.layer.weight_mean
        own = covariance[:, MEAN, MEAN]
        # NumPy's division, as z may be the same in every unit.
        return np.asarray(factor * factor * own / np.float64(self.spread_of_z) if factor else np.zeros_like(own))

    def output(self, covariance: Array, drift: Array) -> Spread:
        """Spread of the variance of h.

        Args:
            covariance: of the deviations above the layer, `(groups, groups, 4, 4)`.
            drift: their means, `(groups, 4)`.
        """
        shares, mean = self.shares, self.shares @ self.means
        variance = shares @ self.squares - mean * mean
        direction = np.zeros((len(shares), 4))
        direction[:, SQUARE], direction[:, MEAN] = shares, -2 * mean * shares
        of_mean = float(shares @ covariance[..., MEAN, MEAN] @ shares)
        # The square of the mean's own noise is of second order, and most where the mean square hardly varies.
        own_mean = float(shares @ self.noise[..., MEAN, MEAN] @ shares)
        noise = float(between(direction, covariance, direction).sum()) + 2 * own_mean * own_mean
        return Spread(float(square_root(noise) / variance), float((np.sum(direction * drift) - of_mean) / variance))


@dataclass(frozen=True)
class _Sides:
    """What is below, around and above a layer, for groups of samples; arrays `(groups,)`.

    Attributes:
        signal: mean square and mean of the layer's input, and its mean square as weights see it, `(3, groups)`.
        kept: mean square and mean of what a skip adds, `(2, groups)`.
        output: mean square and mean of the output, `(2, groups)`.
        inverse_square: factor of the mean square of a gradient in the norm.
        length_response: relative change of the mean square of z per change of that of the input.
    """

    signal: Array
    kept: Array
    output: Array
    inverse_square: Array
    length_response: Array

    @classmethod
    def of(cls, here: LayerPass, units: Units) -> _Sides:
        shares = here.signal.shares
        # One group stands for all samples, or each for itself.
        weights = shares[None] if len(units.shares) == 1 else np.eye(len(shares))
        signal, out, kept = here.signal, here.output, here.skipped
        below = np.array([signal.squares, signal.means, here.weighted]) @ weights.T
        skipped = np.zeros((2, len(weights))) if kept is None else np.array([kept.squares, kept.means]) @ weights.T
        response = quotient(weights @ here.weights_share, below[0])
        output = np.array([out.squares, out.means]) @ (out.shares[None] if len(weights) == 1 else weights).T
        return cls(below, skipped, output, weights @ here.inverse_square, response)


def _relative(values: Array, means: Array) -> Array:
    """Values relative to means, and 0 where a sample is 0 and so has no mean."""
    return np.asarray(np.divide(values, means, out=np.zeros_like(values), where=means != 0))


def _of_output(scale: float, kept_means: Array) -> Array:
    """`d(mean square)` and `d(mean)` of the output, from phi^2 and phi, `(groups, 2, 2)`."""
    both = np.zeros((len(kept_means), 2, 2))
    both[:, 0, 0], both[:, 0, 1], both[:, 1, 1] = scale**2, 2 * scale * kept_means, scale
    return both


def _padded(values: Array) -> Array:
    """Deviations of mean square and mean of h, `(..., 2)`, as states, `(..., 4)`."""
    return np.concatenate([np.zeros_like(values), values], axis=-1)


def _with_noise(both: Array, units: Units, row: int) -> Array:
    """Covariance of the log of one of the means over units with the noise of the output, `(groups, groups, 4)`."""
    relative = _relative(units.noise[..., row, :2], units.means[:, None, row, None])
    return _padded((both @ relative[..., None])[..., 0])


def _noise(both: Array, units: Units, kept_means: Array, scale: float | None) -> Array:
    """Covariance that a layer adds, `(groups, groups, 4, 4)`; `scale` is that of a skip."""
    noise = np.zeros((*units.noise.shape[:2], 4, 4))
    pair = units.noise[..., :2, :2]
    noise[..., 2:, 2:] = both[:, None] @ pair @ both.mT
    if scale is not None:
        common = units.common - np.outer(kept_means, kept_means) * pair[..., 1, 1]
        noise[..., SQUARE, SQUARE] += 4 * scale**2 * common
    return noise


def _matrix(of_output: Array, of_kept_mean: Array | None) -> Array:
    """The response of a layer's state to the state below, `(groups, 4, 4)`.

    Args:
        of_output: of the mean square and the mean of the output to the state below, `(groups, 2, 4)`.
        of_kept_mean: of the mean square to the mean of the skipped input, `(groups,)`; None without a skip.
    """
    matrix = np.zeros((len(of_output), 4, 4))
    matrix[:, _KEPT, _KEPT] = matrix[:, _KEPT_MEAN, _KEPT_MEAN] = 1.0
    matrix[:, SQUARE:] = of_output
    if of_kept_mean is not None:
        matrix[:, SQUARE, _KEPT] += 1.0
        matrix[:, SQUARE, _KEPT_MEAN] += of_kept_mean
        matrix[:, MEAN, _KEPT_MEAN] += 1.0
    return matrix


def _slopes(wiring: Wiring, slopes: Array, sides: _Sides) -> Array:
    """Relative response of the mean squared slope to the state below, with the division by the norm, `(groups, 4)`."""
    if wiring.norm is not None:
        centred = sides.signal[2 if wiring.by_batch else 0]
        slopes[:, SQUARE] -= _relative(np.ones_like(centred), centred)
        if wiring.by_batch:
            slopes[:, MEAN] += _relative(2 * sides.signal[1], centred)
    return slopes


def _responses(layer: Layer, wiring: Wiring, here: LayerPass, units: Units, sides: _Sides) -> Array:
    """Response of mean phi^2, phi, phi'^2 and phi' to the deviations below the layer, `(groups, 4, 4)`."""
    below = np.zeros((len(units.shares), 4, 4))
    if wiring.norm is not None:
        return below
    below[..., SQUARE] = units.responses[..., 0] * sides.length_response[:, None]
    if layer.weight_mean:
        deviation = math.sqrt(float(here.state.average(here.state.variance)))
        below[..., MEAN] = units.responses[..., 1] * layer.n_in * layer.weight_mean / deviation
    return below


def between(first: Array, covariance: Array, second: Array) -> Array:
    """Covariance of linear functions of the deviations of any two groups, `(groups, groups)`.

    Args:
        first, second: their coefficients, `(groups, 4)` each.
        covariance: of the deviations, `(groups, groups, 4, 4)`.
    """
    return np.asarray(np.einsum("ai,abij,bj->ab", first, covariance, second))


def covariances_of(steps: Sequence[Step]) -> list[Array]:
    """Covariance of the deviations, at the input and above every layer, `(groups, groups, 4, 4)` each."""
    covariances = [np.zeros_like(steps[0].noise)]
    for step in steps:
        covariances.append(step.matrix[:, None] @ covariances[-1] @ step.matrix.mT + step.noise)
    return covariances


def drifts_of(steps: Sequence[Step], covariances: Sequence[Array]) -> list[Array]:
    """Mean deviations, at the input and above every layer, `(groups, 4)` each.

    Args:
        steps: of all layers.
        covariances: of the deviations of single samples, from `covariances_of`.
    """
    drifts = [np.zeros_like(steps[0].offset)]
    for step, covariance in zip(steps, covariances, strict=False):
        moved = (step.matrix @ drifts[-1][..., None])[..., 0]
        drifts.append(moved + step.offset + step.bent(own(covariance)))
    return drifts


def branch_weights(steps: Sequence[Step]) -> tuple[list[Array], list[Array]]:
    """Share of the branch in the gradient at its start, for each of its layers, and Var(dL/dh) at infinite width.

    Both are `(groups,)` per layer.
    """
    nothing, last = np.zeros_like(steps[0].squares), np.ones_like(steps[0].squares)
    weights, across = [last] * len(steps), [last] * len(steps)
    square, around, end = last, nothing, 0
    for k in reversed(range(len(steps))):
        step, skip = steps[k], steps[k].wiring.skip
        across[k] = square
        if skip is not None:
            around, end = square, k
        square = square * step.gain * (1.0 if skip is None else skip**2)
        if step.wiring.opens and around.any():
            share = square / (square + around)
            weights[k : end + 1] = [share] * (end + 1 - k)
            square, around = square + around, nothing
    return weights, across


def square_root(value: float) -> float:
    """The square root; NaN where rounding left a value below 0."""
    return math.sqrt(value) if value >= 0 else math.nan
