"""The mean-field maps of normalised and residual nets, in the limit of infinite width.

`y = h_{l-1} W_l + b_l`, `z_l = norm(y)`, `h_l = phi(z_l)`, or with a skip `h_l = h_{l-1} + s phi(z_l)`.

Layer norm divides the y of each sample by `sqrt(v + eps)`, v being their variance over units, and takes their mean: z
has the variance `v / (v + eps)` whatever the weights, and the mean square of a gradient is divided by `v + eps` on its
way back. What is projected out of it is of order 1/width.

Batch norm does the same over the samples of a batch: of a unit's y it takes what all samples share, so v is made of the
differences between samples alone, and a gradient grows by `E[phi'^2] / Var(phi)` a layer where inputs are unlike
(pi / (pi - 1) for ReLU). Of first order in 1/batch are the spread of the variances that units are divided by, and what
is projected out of a gradient. Yang et al. 2019, arXiv:1902.08129.

A skip adds lengths, `S_l = S_{l-1} + 2 s m_{l-1} E[phi] + s^2 E[phi^2]` with m the mean over units, since new weights
know nothing of `h_{l-1}`; the products of two samples likewise, and gradients, `g_{l-1} = g_l (1 + s^2 chi)`. An
activation with a mean so adds up to one that every sample shares. Yang & Schoenholz 2017, arXiv:1712.08969.

A branch of several layers ends in z, not in phi(z), and is added to the input of its first: `S + s^2 q` with q the mean
square of that z, of mean 0 but for a mean of the biases. The gradient that goes round it is added there too.
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
    """What one layer hands to the next, in groups of samples.

    Attributes:
        shares: share of the samples in each group, `(groups,)`.
        squares: mean square over units of h, `(groups,)`.
        means: mean over units of h, `(groups,)`.
        cosine: mean over pairs of different samples of the cosine of their h.
        cosine_variance: variance over those pairs.
    """

    shares: Array
    squares: Array
    means: Array
    cosine: float
    cosine_variance: float

    def centred(self, batch: int) -> Array:
        """Mean square of h less its mean over a batch, of each group of samples.

        Two samples have in common what their means over units give, and the same share of the rest in every pair.
        """
        rest = np.sqrt(np.maximum(self.squares - self.means**2, 0.0))
        mean, size, typical = (float(self.shares @ values) for values in (self.means, np.sqrt(self.squares), rest))
        common = (self.cosine * size**2 - mean**2) / typical**2 if typical > 0 else 0.0
        apart = (self.means - mean) ** 2 + rest**2 - 2 * common * rest * typical + common * typical**2
        return np.asarray(np.maximum(apart, 0.0) * (1 - 1 / batch))


@dataclass(frozen=True)
class _Passage:
    """One layer: what comes in, z, and what a gradient meets.

    Attributes:
        signal: what the layer is given.
        state: z.
        inverse_square: what the norm multiplies the mean square of a gradient by, `(groups,)`.
        weighted: mean square of h that weight gradients see, `(groups,)`, where the gradient has its mean over a batch.
        apart: the same where a batch norm has taken that mean.
        chance: `1/batch` and the mean squared correlation of samples: over how few the norm takes its variance.
    """

    signal: Signal
    state: State
    inverse_square: Array
    weighted: Array
    apart: Array
    chance: float


def predict_wired(
    activation: Activation, layers: Sequence[Layer], wirings: Sequence[Wiring], inputs: InputMoments, batch: int
) -> tuple[LayerTheory, ...]:
    """Theory for every layer, first to last, as `maps.predict` has it; weight gradients are of one sample.

    Args:
        activation: any record.
        layers: of zero-mean weights.
        wirings: what surrounds the activation of each layer.
        inputs: moments of the samples.
        batch: samples that a batch norm sees at once.
    """
    with np.errstate(all="ignore"):
        signal = Signal(*sample_groups(inputs, split=False), inputs.cosine, inputs.cosine_variance)
        stream = signal
        passages, outputs = [], []
        for layer, wiring in zip(layers, wirings, strict=True):
            stream = signal if wiring.opens else stream
            own = wiring.acting(activation)
            passages.append(_passage(own, layer, wiring, signal, batch))
            signal = _next(own, passages[-1].state, signal if wiring.skip is None else stream, wiring.skip)
            outputs.append(signal)
        gradients = _gradients(activation, layers, wirings, passages, batch)
        return tuple(map(_theory, passages, outputs, gradients, wirings))


def _passage(activation: Activation, layer: Layer, wiring: Wiring, signal: Signal, batch: int) -> _Passage:
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
        pairs = _apart(signal, batch)
        chance = 1 / batch + pairs.correlation_variance
    means = mean + np.sqrt(inverse)[:, None] * deviations
    variances = np.repeat((gain * squares + own) * inverse, len(deviations))
    found = group_moments(activation, variances.reshape(means.shape), means)
    shares = np.outer(signal.shares, bias_shares).ravel()
    state = State(shares, means.ravel(), variances, found, bias_shares, *pairs)
    apart = signal.centred(batch) if wiring.span > 1 and norm is None else weighted
    return _Passage(signal, state, inverse, weighted, apart, chance)


def _as_inputs(signal: Signal) -> InputMoments:
    return InputMoments(signal.squares, signal.means, signal.cosine, signal.cosine_variance)


def _apart(signal: Signal, batch: int) -> Pairs:
    """The correlations of z that are left when what the samples of a batch share is gone."""
    apart = (1 - signal.cosine) ** 2
    return Pairs(-1 / (batch - 1), signal.cosine_variance / apart if apart > 0 else 0.0, 0.0, 0.0)


def _next(activation: Activation, state: State, signal: Signal, skip: float | None) -> Signal:
    """What a layer hands on: `phi(z)`, or `phi(z)` times `skip` and the `signal` that its branch was given."""
    scale = 1.0 if skip is None else skip
    mean, square = (state.over_biases(values) for values in (state.moments.mean, state.moments.square))
    kept, kept_mean = (0.0 * signal.squares, 0.0 * signal.means) if skip is None else (signal.squares, signal.means)
    squares = kept + 2 * scale * kept_mean * mean + scale**2 * square
    means = kept_mean + scale * mean
    size = np.where(squares > 0, np.sqrt(squares), math.inf)
    some = shares_of(signal.shares, squares > 0)
    low, high = (
        skipped + 2 * float(some @ (kept_mean / size)) * float(some @ (scale * mean / size)) + branch
        for skipped, branch in zip(
            float(some @ (np.sqrt(kept) / size)) ** 2 * np.array(_cosine_nodes(signal)),
            _branch_nodes(activation, state, some, scale / size),
            strict=True,
        )
    )
    cosine = min(max((low + high) / 2, -1.0), 1.0)
    return Signal(signal.shares, squares, means, cosine, (high - low) ** 2 / 4)


def _cosine_nodes(signal: Signal) -> tuple[float, float]:
    """Two cosines with the mean and variance that the pairs have."""
    spread = math.sqrt(max(signal.cosine_variance, 0.0))
    return signal.cosine - spread, signal.cosine + spread


def _branch_nodes(activation: Activation, state: State, shares: Array, scale: Array) -> list[float]:
    """`E[f_a f_b]` over pairs of samples, `f = scale phi(z)`, at the two correlations that stand for all."""
    h, slope = state.on_grid(activation)
    each = state.for_biases(scale)[:, None]
    value, rise = (state.over_samples(each * f, shares) for f in (h, np.sqrt(state.variance)[:, None] * slope))
    (kernel,) = series(value[None], value[None], rise[None]).weighted(state.bias_shares[None])
    return [kernel.at(c) for c in state.correlation_nodes()]


def _gradients(
    activation: Activation,
    layers: Sequence[Layer],
    wirings: Sequence[Wiring],
    passages: Sequence[_Passage],
    batch: int,
) -> Iterator[tuple[Array, Array, Array]]:
    """Mean squares of dL/dh and dL/dz of each group of samples, and of dL/dW of one sample, first layer to last.

    Of dL/dh a part, `mean`, has not passed a batch norm, which takes its mean over the batch.
    """
    found: list[tuple[Array, Array, Array]] = []
    square = around = mean = mean_around = np.ones_like(passages[-1].signal.squares)
    for layer, wiring, passage in zip(reversed(layers), reversed(wirings), reversed(passages), strict=True):
        scale = 1.0 if wiring.skip is None else wiring.skip
        if wiring.skip is not None:
            around, mean_around = square, mean
        share = np.where(square > 0, mean / square, 1.0)
        delta = scale**2 * square * passage.state.over_biases(passage.state.moments.slope_square)
        inner = delta * passage.inverse_square
        weight = passage.weighted * inner if np.all(share == 1) else _mixed(passage, share) * inner
        if wiring.norm is not None and wiring.norm.axis == 0:
            share = np.zeros_like(share)
            # Above the last norm of a branch of several layers is the stream, whose gradient has its mean.
            inner = inner * _batch_share(activation, passage, batch, first=not found or wiring.place == wiring.span - 2)
            weight = passage.weighted * inner
        found.append((square, delta, weight))
        square = layer.n_out * layer.weight_variance * inner
        mean = share * square
        if wiring.opens:
            square, mean = square + around, mean + mean_around
    return reversed(found)


def _mixed(passage: _Passage, share: Array) -> Array:
    """Mean square of h that a weight gradient sees, of which a share has its mean over the batch."""
    return np.asarray(share * passage.weighted + (1 - share) * passage.apart)


def _batch_share(activation: Activation, passage: _Passage, batch: int, first: bool) -> float:
    """What a finite batch changes of a gradient's mean square, to first order.

    Units are divided by variances that differ by `2 chance`; and of the samples' gradients their mean and their part
    along z is taken. The gradient that comes from another batch norm has lost the former already, before its slopes.
    """
    state, weights = passage.state, hermite_grid().weights
    _, slope = state.on_grid(activation)
    z = np.sqrt(state.variance)[:, None] * hermite_grid().z
    lost = 0.0
    for f in (slope, slope * z):
        mean = 0.0 if first else float(state.average(f @ weights)) ** 2
        lost += float(state.average((f * f) @ weights)) - mean
    of = float(state.average((slope * slope) @ weights))
    return (1 + 2 * passage.chance) * (1 - lost / of / batch) if of > 0 else 1.0


def _theory(passage: _Passage, out: Signal, gradients: tuple[Array, Array, Array], wiring: Wiring) -> LayerTheory:
    square, delta, weight = gradients
    state, shares = passage.state, out.shares
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
        correlation=float(state.cosine),
        output_gradient_variance=float(shares @ square),
        preactivation_gradient_variance=float(shares @ delta),
        weight_gradient_variance=float(shares @ weight),
        length_slope=math.nan,
        state=state,
    )
