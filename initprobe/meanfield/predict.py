"""The mean-field maps through a network of given layers: lengths, correlation and gradients, for the input at hand.

Conventions: rows are samples, `z_l = h_{l-1} W_l + b_l`, `h_l = phi(z_l)`, `W_l` of shape `(n_in, n_out)`. Each sample
keeps its own length `q_a` through the layers, because `phi` averages over samples, not over their lengths: one pooled q
is 5% off on standardised digits and 10% off on Gaussian input of width 4.

Schoenholz et al. 2017, arXiv:1611.01232; Poole et al. 2016, arXiv:1606.05340.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.input_moments import InputMoments, sample_groups
from initprobe.meanfield.layer import Layer, State, runs, stacked
from initprobe.meanfield.propagate import propagate


@dataclass(frozen=True)
class LayerTheory:
    """What an infinitely wide layer would show: variances over all units and samples, as a probe measures them.

    Attributes:
        preactivation_mean: mean of z.
        preactivation_variance: variance of z.
        output_mean: mean of h.
        output_variance: variance of h, `E[S_a] - E[m_a]^2` over samples a.
        correlation: mean cosine between the z of two different samples.
        output_gradient_variance: variance of dL/dh; 1 at the last layer.
        preactivation_gradient_variance: variance of dL/dz.
        weight_gradient_variance: variance of dL/dW, summed over the samples.
        length_slope: `d log q / d log q_below`, q being the mean square of z; NaN where no weights reach z, and where
            it is not derived.
        state: the distribution of z that all this follows from.
    """

    preactivation_mean: float
    preactivation_variance: float
    output_mean: float
    output_variance: float
    correlation: float
    output_gradient_variance: float
    preactivation_gradient_variance: float
    weight_gradient_variance: float
    length_slope: float
    state: State


def predict(
    activation: Activation, layers: Sequence[Layer], inputs: InputMoments, batch: int
) -> tuple[LayerTheory, ...]:
    """Theory for every layer, first to last.

    Backward starts from `dL/dh_L ~ N(0, 1)`, independent of the forward pass. Values beyond the float range come out as
    0, infinity or NaN. Weights with a mean are treated to leading order in width: what chance adds to the sum of a
    layer's outputs, `n mean^2 Var(h)` beside `(n mean E[h])^2`, is left out.

    Args:
        activation: any record.
        layers: first to last; `n_out` of each is `n_in` of the next.
        inputs: moments of the samples.
        batch: samples whose weight gradients are summed.
    """
    states = propagate(activation, layers, inputs)
    with np.errstate(all="ignore"):
        columns = zip(*(_averages(stacked(run)) for run in runs(states)), strict=True)
        known, samples = _Averages(*map(np.concatenate, columns)), states[0].sample_shares
        squares, deltas = _gradients(layers, known)
        _, first, _ = sample_groups(inputs, split=any(layer.weight_mean != 0 for layer in layers))
        below = np.concatenate([[first], known.squares[:-1]])
        numbers = (
            *known[:5],
            squares @ samples,
            deltas @ samples,
            batch * (below * deltas) @ samples,
            _length_slopes(layers, known),
        )
        return tuple(map(LayerTheory, *(column.tolist() for column in numbers), states))


class _Averages(NamedTuple):
    """Of every layer, `(layers,)`, or of each group of samples in it, `(layers, samples)`."""

    mean: Array
    variance: Array
    output_mean: Array
    output_variance: Array
    cosine: Array
    length: Array
    variance_over_units: Array
    growth: Array
    squares: Array
    slopes: Array
    slope_squares: Array


def _averages(state: State) -> _Averages:
    """Those of layers, stacked."""
    found = state.moments
    return _Averages(
        state.average(state.mean),
        _pooled_variance(state, state.mean, state.variance),
        state.average(found.mean),
        _pooled_variance(state, found.mean, found.variance),
        state.cosine,
        np.vecdot(state.sample_shares, state.lengths),
        state.average(state.variance),
        state.average(found.growth),
        *map(state.over_biases, (found.square, found.slope, found.slope_square)),
    )


def _pooled_variance(state: State, mean: Array, variance: Array) -> Array:
    """Over samples and units, of what has these means and variances in each group; equal means add exactly 0."""
    apart = mean - mean[:, :1]
    return state.average(variance + (apart - state.average(apart)[:, None]) ** 2)


def _length_slopes(layers: Sequence[Layer], known: _Averages) -> Array:
    """`d log q / d log q_below` at every layer."""
    gain = np.array([layer.n_in * layer.weight_variance for layer in layers])
    # `growth` is per relative change of the variance about the mean, of which q has more.
    passed = gain[1:] * (known.growth * (known.length / known.variance_over_units))[:-1] / known.length[1:]
    reached = (known.length[1:] > 0) & (known.variance_over_units[:-1] > 0)
    return np.append(math.nan, np.where(reached, passed, math.nan))


def _gradients(layers: Sequence[Layer], known: _Averages) -> tuple[Array, Array]:
    """Mean squares over units of dL/dh and dL/dz of each group of samples, `(layers, samples)`, first layer to last.

    Weights with a mean also pass on the products `E[g_i g_j]` of different units, which start at 0.
    """
    squares, deltas = np.ones_like(known.slopes), np.empty_like(known.slopes)
    product = np.zeros_like(squares[0])
    for k, layer in reversed(list(enumerate(layers))):
        units, delta = layer.n_out, squares[k] * known.slope_squares[k]
        deltas[k] = delta
        product = layer.weight_mean * layer.weight_mean * units * (delta + (units - 1) * product * known.slopes[k] ** 2)
        if k:
            squares[k - 1] = units * layer.weight_variance * delta + product
    return squares, deltas
