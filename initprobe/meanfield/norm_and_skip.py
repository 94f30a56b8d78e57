"""The mean-field maps of normalised and residual networks, at infinite width.

`y = h_{l-1} W_l + b_l`, `z_l = norm(y)`, `h_l = phi(z_l)`, or with a skip `h_l = h_{l-1} + s phi(z_l)`.

Layer norm subtracts from the y of each sample their mean over units and divides by `sqrt(v + eps)`, v being their
variance over units. So z has the variance `v / (v + eps)` with any weights. On the way back, the mean square of a
gradient is divided by `v + eps`. The part of the gradient that is projected out is of order 1/width.

Batch norm does the same over the samples of a batch. It removes what all samples share, so v is the variance of the
differences between samples. Where inputs are unlike, a gradient grows by `E[phi'^2] / Var(phi)` per layer
(`pi / (pi - 1)` for ReLU). Two effects are of first order in 1/batch: the units' v differ, and a part of the gradient
is projected out. Yang et al. 2019, arXiv:1902.08129.

A skip adds mean squares, `S_l = S_{l-1} + 2 s m_{l-1} E[phi] + s^2 E[phi^2]` with m the mean over units, because new
weights are independent of `h_{l-1}`. Products of two samples add likewise. Gradients follow
`g_{l-1} = g_l (1 + s^2 chi)`. An activation with a mean so builds up a mean that all samples share.
Yang & Schoenholz 2017, arXiv:1712.08969.

A branch of several layers ends in z, not in phi(z), and z is added to the input of its first layer: `S + s^2 q`. Here q
is the mean square of that z, whose mean is 0 apart from a mean of the biases. Gradients of branch and skip add there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.blocks.norms import EPSILON
from initprobe.blocks.skips import Wiring
from initprobe.meanfield.correlated_pairs import hermite_grid, series
from initprobe.meanfield.input_moments import InputMoments, sample_groups
from initprobe.meanfield.layer import Layer, Pairs, State, shares_of
from initprobe.meanfield.predict import LayerTheory
from initprobe.meanfield.propagate import first_pairs, group_moments


@dataclass(frozen=True)
class Signal:
    """The input of one layer, in groups of samples.

    Attributes:
        shares: share of the samples in each group, `(groups,)`.
        squares: mean square over units of h, `(groups,)`.
        means: mean over units of h, `(groups,)`.
        cosine: mean cosine between the h of two different samples.
        cosine_variance: variance of that cosine over pairs.
    """

    shares: Array
    squares: Array
    means: Array
    cosine: float
    cosine_variance: float

    def centred(self, batch: int) -> Array:
        """Mean square of h minus its mean over a batch, for each group of samples, `(groups,)`.

        Any two samples share what their means over units give, and an equal part of the rest.
        """
        rest = np.sqrt(np.maximum(self.squares - self.means**2, 0.0))
        mean, size, typical = (float(self.shares @ values) for values in (self.means, np.sqrt(self.squares), rest))
        common = (self.cosine * size**2 - mean**2) / typical**2 if typical > 0 else 0.0
        centred = (self.means - mean) ** 2 + rest**2 - 2 * common * rest * typical + common * typical**2
        return np.asarray(np.maximum(centred, 0.0) * (1 - 1 / batch))


@dataclass(frozen=True)
class _LayerPass:
    """One layer: its input, z, and what the backward pass needs.

    Attributes:
        signal: the layer's input.
        state: z.
        inverse_square: factor of the mean square of a gradient in the norm, `(groups,)`.
        weighted: mean square of h for weight gradients, `(groups,)`, where the gradient has a mean over the batch.
        centred: the same where a batch norm has removed that mean.
        chance: `1/batch` plus the mean squared correlation of samples: relative noise of the norm's variance.
    """

    signal: Signal
    state: State
    inverse_square: Array
    weighted: Array
    centred: Array
    chance: float


def predict_norm_and_skip(
    activation: Activation, layers: Sequence[Layer], wirings: Sequence[Wiring], inputs: InputMoments, batch: int
) -> tuple[LayerTheory, ...]:
    """The prediction for every layer, first to last; weight gradients are those of one sample.

    Args:
        activation: any record.
        layers: with weights of mean 0.
        wirings: norm and skip of each layer.
        inputs: moments of the samples.
        batch: number of samples in one batch of a batch norm.
    """
    with np.errstate(all="ignore"):
        signal = Signal(*sample_groups(inputs, split=False), inputs.cosine, inputs.cosine_variance)
        stream = signal
        passes, outputs = [], []
        for layer, wiring in zip(layers, wirings, strict=True):
            stream = signal if wiring.opens else stream
            own = wiring.acting(activation)
            passes.append(_forward(own, layer, wiring, signal, batch))
            signal = _output(own, passes[-1].state, signal if wiring.skip is None else stream, wiring.skip)
            outputs.append(signal)
        gradients = _gradients(activation, layers, wirings, passes, batch)
        return tuple(map(_theory, passes, outputs, gradients, wirings))


def _forward(activation: Activation, layer: Layer, wiring: Wiring, signal: Signal, batch: int) -> _LayerPass:
    """The pass of one layer with the given input."""
    norm = wiring.norm
    gain, (bias_shares, deviations) = layer.n_in * layer.weight_variance, layer.bias_rule
    own, mean = layer.normal_bias_variance, layer.bias_mean
    squares, weighted, chance = signal.squares, signal.squares, 0.0
    pairs = first_pairs(layer, _as_inputs(signal), signal.shares, signal.squares)
    inverse = np.ones_like(squares)
    if norm is not None and norm.axis == 1:
        inverse, mean = 1 / (gain * squares + layer.bias_variance + EPSILON), 0.0
    elif norm is not None:
        squares = weighted = signal.centred(batch)
        own, mean, deviations = 0.0, 0.0, np.zeros_like(deviations)  # the same for all samples
        inverse = np.full_like(squares, 1 / (gain * float(signal.shares @ squares) + EPSILON))
        pairs = _centred_pairs(signal, batch)
        chance = 1 / batch + pairs.correlation_variance
    means = mean + np.sqrt(inverse)[:, None] * deviations
    variances = np.repeat((gain * squares + own) * inverse, len(deviations))
    of_h = group_moments(activation, variances.reshape(means.shape), means)
    shares = np.outer(signal.shares, bias_shares).ravel()
    state = State(shares, means.ravel(), variances, of_h, bias_shares, *pairs)
    centred = signal.centred(batch) if wiring.span > 1 and norm is None else weighted
    return _LayerPass(signal, state, inverse, weighted, centred, chance)


def _as_inputs(signal: Signal) -> InputMoments:
    return InputMoments(signal.squares, signal.means, signal.cosine, signal.cosine_variance)


def _centred_pairs(signal: Signal, batch: int) -> Pairs:
    """Statistics of pairs after a batch norm, which removes what the samples of a batch share."""
    square = (1 - signal.cosine) ** 2
    return Pairs(-1 / (batch - 1), signal.cosine_variance / square if square > 0 else 0.0, 0.0, 0.0)


def _output(activation: Activation, state: State, signal: Signal, skip: float | None) -> Signal:
    """The output of a layer: `phi(z)`, or `signal + skip phi(z)` with `signal` the input of its branch."""
    scale = 1.0 if skip is None else skip
    mean, square = (state.over_biases(values) for values in (state.moments.mean, state.moments.square))
    kept, kept_mean = (0.0 * signal.squares, 0.0 * signal.means) if skip is None else (signal.squares, signal.means)
    squares = kept + 2 * scale * kept_mean * mean + scale**2 * square
    means = kept_mean + scale * mean
    size = np.where(squares > 0, np.sqrt(squares), math.inf)
    shares = shares_of(signal.shares, squares > 0)
    low, high = (
        skipped + 2 * float(shares @ (kept_mean / size)) * float(shares @ (scale * mean / size)) + branch
        for skipped, branch in zip(
            float(shares @ (np.sqrt(kept) / size)) ** 2 * np.array(_cosine_nodes(signal)),
            _branch_nodes(activation, state, shares, scale / size),
            strict=True,
        )
    )
    cosine = min(max((low + high) / 2, -1.0), 1.0)
    return Signal(signal.shares, squares, means, cosine, (high - low) ** 2 / 4)


def _cosine_nodes(signal: Signal) -> tuple[float, float]:
    """Two cosines with the mean and variance of the cosines of all pairs."""
    spread = math.sqrt(max(signal.cosine_variance, 0.0))
    return signal.cosine - spread, signal.cosine + spread


def _branch_nodes(activation: Activation, state: State, shares: Array, scale: Array) -> list[float]:
    """`E[f_a f_b]` over pairs of samples, `f = scale phi(z)`, at the two nodes of the correlation."""
    h, slope = state.on_grid(activation)
    factors = state.for_biases(scale)[:, None]
    value, rise = (state.over_samples(factors * f, shares) for f in (h, np.sqrt(state.variance)[:, None] * slope))
    (kernel,) = series(value[None], value[None], rise[None]).weighted(state.bias_shares[None])
    return [kernel.at(c) for c in state.correlation_nodes()]


def _gradients(
    activation: Activation,
    layers: Sequence[Layer],
    wirings: Sequence[Wiring],
    passes: Sequence[_LayerPass],
    batch: int,
) -> Iterator[tuple[Array, Array, Array]]:
    """Mean squares of dL/dh and dL/dz of each group of samples, and of dL/dW of one sample, first layer to last.

    `mean` is the part of dL/dh that has passed no batch norm, and so still has its mean over the batch.
    """
    gradients: list[tuple[Array, Array, Array]] = []
    square = around = mean = mean_around = np.ones_like(passes[-1].signal.squares)
    for layer, wiring, here in zip(reversed(layers), reversed(wirings), reversed(passes), strict=True):
        scale = 1.0 if wiring.skip is None else wiring.skip
        if wiring.skip is not None:
            around, mean_around = square, mean
        share = np.where(square > 0, mean / square, 1.0)
        delta = scale**2 * square * here.state.over_biases(here.state.moments.slope_square)
        inner = delta * here.inverse_square
        weight = here.weighted * inner if np.all(share == 1) else _mixed(here, share) * inner
        if wiring.norm is not None and wiring.norm.axis == 0:
            share = np.zeros_like(share)
            # Above the last norm of a branch of several layers is the stream, whose gradient still has its mean.
            last = not gradients or wiring.place == wiring.span - 2
            inner = inner * _batch_factor(activation, here, batch, has_mean=last)
            weight = here.weighted * inner
        gradients.append((square, delta, weight))
        square = layer.n_out * layer.weight_variance * inner
        mean = share * square
        if wiring.opens:
            square, mean = square + around, mean + mean_around
    return reversed(gradients)


def _mixed(here: _LayerPass, share: Array) -> Array:
    """Mean square of h for a weight gradient; `share` of the gradient has a mean over the batch."""
    return np.asarray(share * here.weighted + (1 - share) * here.centred)


def _batch_factor(activation: Activation, here: _LayerPass, batch: int, has_mean: bool) -> float:
    """Factor that a finite batch puts on a gradient's mean square, to first order in 1/batch.

    The variances that units are divided by differ by `2 chance`. Of the samples' gradients, the norm removes the mean
    and the part along z. A gradient from another batch norm has no mean before its slopes (`has_mean` is False).
    """
    state, weights = here.state, hermite_grid().weights
    _, slope = state.on_grid(activation)
    z = np.sqrt(state.variance)[:, None] * hermite_grid().z
    removed = 0.0
    for f in (slope, slope * z):
        mean = 0.0 if has_mean else float(state.average(f @ weights)) ** 2
        removed += float(state.average((f * f) @ weights)) - mean
    whole = float(state.average((slope * slope) @ weights))
    return (1 + 2 * here.chance) * (1 - removed / whole / batch) if whole > 0 else 1.0


def _theory(here: _LayerPass, out: Signal, gradients: tuple[Array, Array, Array], wiring: Wiring) -> LayerTheory:
    """The prediction for one layer, from its pass, its output and its gradients."""
    square, delta, weight = gradients
    state, shares = here.state, out.shares
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
        output_gradient_variance=float(shares @ square),
        preactivation_gradient_variance=float(shares @ delta),
        weight_gradient_variance=float(shares @ weight),
        length_slope=math.nan,
        state=state,
    )
