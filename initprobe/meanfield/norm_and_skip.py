"""The mean-field maps of normalised and residual networks, at infinite width.

`y = h_{l-1} W_l + b_l`, `z_l = norm(y)`, `h_l = phi(z_l)`, or with a skip `h_l = h_{l-1} + s phi(z_l)`.

Layer norm takes y of each sample, with mean m and variance v over units, to `(y - m) / sqrt(v + eps)`. So z has the
variance `v / (v + eps)` with any weights. On the way back, the mean square of a gradient is divided by `v + eps`. The
part of the gradient that is projected out is of order 1/width.

Batch norm does the same over the samples of a batch. It removes what all samples share, so each sample's z depends on
its products with all others. They are passed on row by row (`batch_norm`).

A skip adds mean squares, `S_l = S_{l-1} + 2 s m_{l-1} E[phi] + s^2 E[phi^2]` with m the mean over units, because new
weights are independent of `h_{l-1}`. Products of two samples add likewise. Gradients are in `norm_and_skip_gradients`.
An activation with a mean so builds up a mean that all samples share. Yang & Schoenholz 2017, arXiv:1712.08969.

A branch of several layers ends in z, not in phi(z). This z is added to the input of its first layer: `S + s^2 q`. Here
q is the mean square of that z, whose mean is 0 apart from a mean of the biases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from initprobe.activations.norms import EPSILON
from initprobe.activations.record import Activation
from initprobe.activations.skips import Wiring
from initprobe.arrays import Array
from initprobe.meanfield.batch_norm import BatchNoise, added_by, kernel_after
from initprobe.meanfield.correlated_pairs import hermite_grid, series
from initprobe.meanfield.directions import Added
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.layer import Layer, Pairs, State, shares_of
from initprobe.meanfield.norm_and_skip_gradients import LayerGradients, LayerPass, gradients
from initprobe.meanfield.predict import LayerTheory
from initprobe.meanfield.propagate import first_pairs, group_moments
from initprobe.meanfield.radial import quotient
from initprobe.meanfield.residual_gradients import residual_gradients
from initprobe.meanfield.row_grid import RowGrid
from initprobe.meanfield.signals import Signal, cosines, pair_statistics


def gradients_of(
    layers: Sequence[Layer], wirings: Sequence[Wiring], passes: Sequence[LayerPass], batch: int
) -> list[LayerGradients]:
    """The gradients of every layer, from the forward passes.

    Args:
        layers: first to last.
        wirings: of every layer.
        passes: from `forward_passes`.
        batch: samples in a batch.
    """
    is_by_row = any(wiring.by_batch for wiring in wirings)
    has_skip = any(wiring.skip is not None for wiring in wirings)
    with np.errstate(all="ignore"):
        if has_skip and not is_by_row:
            return list(residual_gradients(layers, wirings, passes))
        return list(gradients(layers, wirings, passes, batch))


def theory_of(
    wirings: Sequence[Wiring], passes: Sequence[LayerPass], by_layer: Sequence[LayerGradients]
) -> tuple[LayerTheory, ...]:
    """The prediction for every layer, from the forward and backward passes.

    Args:
        wirings: of every layer.
        passes: from `forward_passes`.
        by_layer: from `gradients_of`.
    """
    with np.errstate(all="ignore"):
        return tuple(map(_theory, passes, by_layer, wirings))


def forward_passes(
    activation: Activation, layers: Sequence[Layer], wirings: Sequence[Wiring], inputs: InputMoments, batch: int
) -> list[LayerPass]:
    """The forward pass of every layer, first to last.

    Args:
        activation: of every layer.
        layers: first to last.
        wirings: of every layer: its norm, skip and place in a branch.
        inputs: moments of the samples.
        batch: samples in a batch.
    """
    signal = Signal.of(inputs, by_row=any(wiring.by_batch for wiring in wirings))
    stream = signal
    passes = []
    for layer, wiring in zip(layers, wirings, strict=True):
        stream = signal if wiring.opens else stream
        passes.append(_forward(activation, layer, wiring, signal, stream, batch))
        signal = passes[-1].output
    return passes


class _Scaling(NamedTuple):
    """How a norm, or none, scales a layer's weighted sums.

    Attributes:
        squares: mean square of an input entry, centred over the batch before a batch norm, `(groups,)`.
        own: variance of z that biases add, and `mean` their mean.
        inverse: square of the factor of a norm, `(groups,)`; 1 without one.
        lengthening: factor of the variance of z from the noise of a finite batch, `(groups,)`.
        noise: of a batch norm; else None.
    """

    squares: Array
    own: float
    mean: float
    inverse: Array
    lengthening: Array
    noise: BatchNoise | None


def _scaling(layer: Layer, wiring: Wiring, signal: Signal, batch: int) -> _Scaling:
    gain, squares, unscaled = layer.n_in * layer.weight_variance, signal.squares, np.ones_like(signal.squares)
    if wiring.norm is None:
        # With a kernel of rows the end of a branch is linear: the distribution of biases does not matter.
        own = layer.normal_bias_variance if signal.gram is None else layer.bias_variance
        return _Scaling(squares, own, layer.bias_mean, unscaled, unscaled, None)
    if wiring.by_sample:
        inverse = 1 / (gain * squares + layer.bias_variance + EPSILON)
        return _Scaling(squares, layer.normal_bias_variance, 0.0, inverse, unscaled, None)
    centred = signal.centred(batch)
    inverse = np.full_like(centred, 1 / (gain * float(signal.shares @ centred) + EPSILON))
    noise = BatchNoise.of(signal.rows, batch, signal.added)
    # Biases are the same for all samples.
    return _Scaling(centred, 0.0, 0.0, inverse, noise.lengthening, noise)


def _forward(
    activation: Activation, layer: Layer, wiring: Wiring, signal: Signal, stream: Signal, batch: int
) -> LayerPass:
    """The pass of one layer with the given input; `stream` is the input of its branch."""
    acting, by_row = wiring.acting(activation), signal.gram is not None
    gain, (bias_shares, deviations) = layer.n_in * layer.weight_variance, layer.bias_rule
    squares, own, mean, inverse, lengthening, noise = _scaling(layer, wiring, signal, batch)
    correlations = None
    if by_row:
        bias_shares, deviations = np.ones(1), np.zeros(1)
    means = mean + np.sqrt(inverse)[:, None] * deviations
    variances = np.repeat((gain * squares + own) * inverse * lengthening, len(deviations))
    of_h = group_moments(acting, variances.reshape(means.shape), means)
    grid = RowGrid.of(acting, means.ravel(), variances, bias_shares, by_row)
    if by_row:
        correlations = cosines(gain * signal.rows + own) if noise is None else noise.correlations
        pairs = Pairs(*pair_statistics(correlations), 0.0, 0.0)
    else:
        pairs = first_pairs(layer, _as_inputs(signal), signal.shares, signal.squares)
    if noise is not None:
        of_h = noise.on_moments(grid, of_h)
    shares = np.outer(signal.shares, bias_shares).ravel()
    state = State(shares, means.ravel(), variances, of_h, bias_shares, *pairs)
    kept = signal if wiring.skip is None else stream
    if correlations is None:
        output = _output(grid, state, kept, wiring.skip, layer.n_out)
    else:
        kernel = kernel_after(grid, state.moments.square, correlations, noise)
        share = _branch_share(state, kept, wiring.skip, batch)
        below = kept.spectra(batch) if noise is None or kept is not signal else (noise.mean, noise.spectrum)
        added = added_by(grid, noise, below, share, (layer.n_out, batch))
        output = _output_rows(kernel, state, kept, wiring.skip, added)
    return LayerPass(
        signal=signal,
        state=state,
        grid=grid,
        output=output,
        skipped=None if wiring.skip is None else stream,
        weights_share=quotient(gain * squares, gain * squares + own),
        inverse_square=inverse,
        weighted=squares,
        centred=signal.centred(batch) if wiring.span > 1 and wiring.norm is None else squares,
        noise=noise,
    )


def _as_inputs(signal: Signal) -> InputMoments:
    return InputMoments(signal.squares, signal.means, signal.cosine, signal.cosine_variance)


def _branch_share(state: State, kept: Signal, skip: float | None, batch: int) -> float:
    """Share of a layer's own phi(z) in the centred mean square of its output with the skip, in rows."""
    if skip is None:
        return 1.0
    branch, around = skip**2 * float(state.moments.variance.mean()), float(kept.centred(batch).mean())
    return branch / (branch + around) if branch + around > 0 else 1.0


def _output_rows(kernel: Array, state: State, signal: Signal, skip: float | None, added: Added | None) -> Signal:
    """The output of a layer in rows, from the kernel of phi(z); arguments as in `_output`."""
    if skip is None:
        return Signal.of_rows(kernel, state.moments.mean, added)
    crossed = skip * np.multiply.outer(signal.means, state.moments.mean)
    return Signal.of_rows(
        signal.rows + crossed + crossed.T + skip**2 * kernel,
        signal.means + skip * state.moments.mean,
        added,
    )


def _output(grid: RowGrid, state: State, signal: Signal, skip: float | None, units: int) -> Signal:
    """The output of a layer: `phi(z)`, or `signal + skip phi(z)` with `signal` the input of its branch.

    `units` vary the cosines of pairs.
    """
    scale = 1.0 if skip is None else skip
    mean, square = (state.over_biases(values) for values in (state.moments.mean, state.moments.square))
    kept, kept_mean = (0.0 * signal.squares, 0.0 * signal.means) if skip is None else (signal.squares, signal.means)
    means = kept_mean + scale * mean
    squares = kept + 2 * scale * kept_mean * mean + scale**2 * square
    size = np.where(squares > 0, np.sqrt(squares), math.inf)
    shares = shares_of(signal.shares, squares > 0)
    branches = _branch_nodes(grid, state, shares, scale / size)
    low, high = (
        skipped + 2 * float(shares @ (kept_mean / size)) * float(shares @ (scale * mean / size)) + branch
        for skipped, branch in zip(
            float(shares @ (np.sqrt(kept) / size)) ** 2 * np.array(_cosine_nodes(signal)),
            branches,
            strict=True,
        )
    )
    cosine, variance = min(max((low + high) / 2, -1.0), 1.0), (high - low) ** 2 / 4
    if skip is None:
        variance += _pair_noise(grid, state, shares, scale / size, cosine, np.zeros_like(mean)) / units
    else:
        alone = float(shares @ ((scale / size) ** 2 * np.maximum(square - mean * mean, 0.0)))
        together = sum(branches) / 2 - float(shares @ (scale * mean / size)) ** 2
        own = _pair_noise(grid, state, shares, scale / size, cosine, mean) - (together - cosine * alone) ** 2
        variance += (max(own, 0.0) + _crossed_noise(alone, together, cosine)) / units
    return Signal(signal.shares, squares, means, cosine, variance)


def _crossed_noise(alone: float, together: float, cosine: float) -> float:
    """Variance over units of what the branch adds to the cosine of a sum `x + f`, by its products with x.

    With x and f in units of the length of the sum, it is `(x_a - c x_b) f_b + (x_b - c x_a) f_a`. Here x is given and
    f is independent of it.

    Args:
        alone: variance of f over units, for one sample.
        together: covariance of f for two samples.
        cosine: c of the sums of two samples.
    """
    given, pair, c = 1 - alone, cosine - together, cosine
    own = alone * (given * (1 + c * c) - 2 * c * pair)
    return max(2 * (own + together * (pair * (1 + c * c) - 2 * c * given)), 0.0)


def _pair_noise(grid: RowGrid, state: State, shares: Array, scale: Array, cosine: float, centre: Array) -> float:
    """Variance of `y_a y_b - c/2 (y_a^2 + y_b^2)` over units for two samples, y being `scale (h - centre)`."""
    y = state.for_biases(scale)[:, None] * (grid.value - state.for_biases(centre)[:, None])
    y_square = y * y  # products: a power takes 20 times as long
    first, second, third = (state.over_samples(power, shares)[None] for power in (y, y_square, y_square * y))
    (of_squares,), (of_cubes,) = (
        series(*pair).weighted(state.bias_shares[None]) for pair in ((second, second), (third, first))
    )
    middle = sum(state.correlation_nodes()) / 2
    fourth = float(shares @ state.over_biases(hermite_grid().mean(y_square * y_square)))
    both = of_squares.at(middle) * (1 + cosine * cosine / 2)
    return max(both - 2 * cosine * of_cubes.at(middle) + cosine * cosine / 2 * fourth, 0.0)


def _cosine_nodes(signal: Signal) -> tuple[float, float]:
    """Two cosines with the mean and variance of the cosines of all pairs."""
    spread = math.sqrt(max(signal.cosine_variance, 0.0))
    return signal.cosine - spread, signal.cosine + spread


def _branch_nodes(grid: RowGrid, state: State, shares: Array, scale: Array) -> list[float]:
    """`E[f_a f_b]` over pairs of samples, `f = scale phi(z)`, at the two nodes of the correlation."""
    factors, slope = state.for_biases(scale)[:, None], np.sqrt(state.variance)[:, None] * grid.slope
    value, rise = (state.over_samples(factors * f, shares) for f in (grid.value, slope))
    (kernel,) = series(value[None], value[None], rise[None]).weighted(state.bias_shares[None])
    return [kernel.at(c) for c in state.correlation_nodes()]


def _theory(here: LayerPass, back: LayerGradients, wiring: Wiring) -> LayerTheory:
    """The prediction for one layer, from its pass and its gradients."""
    state, out, shares = here.state, here.output, here.output.shares
    mean, output_mean = float(state.average(state.mean)), float(shares @ out.means)
    if wiring.skip is None:
        moments = state.moments
        variance = float(state.average(moments.variance + (moments.mean - output_mean) ** 2))
    else:
        variance = float(shares @ out.squares) - output_mean * output_mean  # `**` raises where `*` is infinite
    return LayerTheory(
        preactivation_mean=mean,
        preactivation_variance=float(state.average(state.variance + (state.mean - mean) ** 2)),
        output_mean=output_mean,
        output_variance=variance,
        correlation=float(state.cosine(state.correlation)),
        output_gradient_variance=float(shares @ back.output),
        preactivation_gradient_variance=float(shares @ back.preactivation),
        weight_gradient_variance=float(shares @ back.weight),
        length_slope=math.nan,
        state=state,
    )
