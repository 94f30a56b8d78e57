"""The prediction for every layer of a plain network, forward and backward, for the input at hand.

Schoenholz et al. 2017, arXiv:1611.01232; Poole et al. 2016, arXiv:1606.05340.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.backward import Directions, directions, gradients
from initprobe.meanfield.correlated_pairs import hermite_grid
from initprobe.meanfield.input_moments import InputMoments, sample_groups
from initprobe.meanfield.layer import Groups, Layer, State, layer_batches, stacked
from initprobe.meanfield.propagate import propagate


@dataclass(frozen=True)
class LayerTheory:
    """Statistics of a layer at infinite width, over all units and samples, as a probe measures them.

    Attributes:
        preactivation_mean: mean of z.
        preactivation_variance: variance of z.
        output_mean: mean of h.
        output_variance: variance of h, `E[S_a] - E[m_a]^2` over samples a.
        correlation: mean cosine between the z of two different samples.
        output_gradient_variance: variance of dL/dh; 1 at the last layer.
        preactivation_gradient_variance: variance of dL/dz.
        weight_gradient_variance: variance of dL/dW, summed over the samples.
        length_slope: `d log q / d log q_below`, q being the mean square of z. NaN where no weights reach z, and where
            the slope is not derived.
        state: the distribution of z that all these follow from.
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
    0, infinity or NaN. Weights with a mean are treated to leading order in width. The variance of a layer's sum of
    outputs, `n mean^2 Var(h)`, is neglected against `(n mean E[h])^2`.

    Args:
        activation: any record.
        layers: first to last; `n_out` of each is `n_in` of the next.
        inputs: moments of the samples.
        batch: number of samples, over which weight gradients are summed.
    """
    states = propagate(activation, layers, inputs)
    with np.errstate(all="ignore"):
        batches = layer_batches(states)
        columns = zip(*(_averages(stacked(run), [state.correlation for state in run]) for run in batches), strict=True)
        averages, samples = _Averages(*map(np.concatenate, columns)), states[0].sample_shares
        squares, deltas, means = gradients(layers, _directions(activation, layers, states))
        _, first, first_mean = sample_groups(inputs, split=any(layer.weight_mean != 0 for layer in layers))
        below = np.concatenate([[first], averages.squares[:-1]])
        mean_below = np.concatenate([[first_mean], averages.means[:-1]])
        # Less the mean over all weights, which counts where units share their gradient.
        weights = below * deltas - mean_below**2 * means
        numbers = (
            *averages[:5],
            squares @ samples,
            deltas @ samples,
            batch * weights @ samples,
            _length_slopes(layers, averages),
        )
        return tuple(map(LayerTheory, *(column.tolist() for column in numbers), states))


def _directions(activation: Activation, layers: Sequence[Layer], states: Sequence[State]) -> Directions:
    """What the backward pass needs of every layer, `(layers, samples)`."""
    remaining, nodes = iter(layers), len(hermite_grid().z)
    parts = [
        directions(activation, list(itertools.islice(remaining, len(batch))), stacked(batch))
        for batch in layer_batches(states, nodes)
    ]
    return Directions(*map(np.concatenate, zip(*parts, strict=True)))


class _Averages(NamedTuple):
    """Averages over units and samples, `(layers,)`, and over units for each group of samples, `(layers, samples)`."""

    mean: Array
    variance: Array
    output_mean: Array
    output_variance: Array
    cosine: Array
    length: Array
    variance_over_units: Array
    growth: Array
    squares: Array
    means: Array


def _averages(groups: Groups, correlation: list[float]) -> _Averages:
    """The averages of stacked layers."""
    of_h = groups.moments
    return _Averages(
        groups.average(groups.mean),
        _pooled_variance(groups, groups.mean, groups.variance),
        groups.average(of_h.mean),
        _pooled_variance(groups, of_h.mean, of_h.variance),
        groups.cosine(correlation),
        np.vecdot(groups.sample_shares, groups.lengths),
        groups.average(groups.variance),
        groups.average(of_h.growth),
        groups.over_biases(of_h.square),
        groups.over_biases(of_h.mean),
    )


def _pooled_variance(groups: Groups, mean: Array, variance: Array) -> Array:
    """Variance over samples and units, `(layers,)`, from means and variances per group, `(layers, groups)`."""
    shifted = mean - mean[:, :1]  # so that equal means add exactly 0
    return groups.average(variance + (shifted - groups.average(shifted)[:, None]) ** 2)


def _length_slopes(layers: Sequence[Layer], averages: _Averages) -> Array:
    """`d log q / d log q_below` at every layer, `(layers,)`."""
    gain = np.array([layer.n_in * layer.weight_variance for layer in layers])
    length, variance = averages.length, averages.variance_over_units
    # `growth` is per relative change of the variance about the mean, while q also holds the squared mean.
    slopes = gain[1:] * (averages.growth * (length / variance))[:-1] / length[1:]
    reached = (length[1:] > 0) & (variance[:-1] > 0)
    return np.append(math.nan, np.where(reached, slopes, math.nan))
