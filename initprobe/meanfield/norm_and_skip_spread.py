"""The spread of measured variances in normalised and residual networks, and under weights with a mean.

To first order in 1/width. The deviations of four numbers from theory are passed on from layer to layer. They are mean
square and mean over units of h, at the inputs of the layer and of its branch. Each layer adds the noise of its units. A
norm fixes mean and variance of z. So its output does not respond to the size of its input, and has no noise along z and
z^2.

`spread_steps` has the map of one layer. `branch_bias` has the bias of gradients round skips, and `left_out` bounds what
is not derived. Hanin & Nica 2020, arXiv:1812.05994.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from initprobe.activations.record import Activation
from initprobe.activations.skips import Wiring
from initprobe.arrays import Array
from initprobe.meanfield.branch_bias import branch_biases
from initprobe.meanfield.finite_width import NO_SPREAD, LayerSpread, Spread
from initprobe.meanfield.gradient_spread import of_mean
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.left_out import BatchRows, with_left_out
from initprobe.meanfield.norm_and_skip_gradients import LayerGradients, LayerPass
from initprobe.meanfield.norm_and_skip_units import units_of
from initprobe.meanfield.residual_chance import gradient_variances, parts_of
from initprobe.meanfield.row_lengths import NO_EFFECT, LengthEffects
from initprobe.meanfield.spread_steps import Step, branch_weights, covariances_of, drifts_of, square_root


def spread_norm_and_skip(
    activation: Activation,
    layers: Sequence[Layer],
    wirings: Sequence[Wiring],
    passes: Sequence[LayerPass],
    gradients: Sequence[LayerGradients],
    samples: int,
    lengths: Sequence[LengthEffects] = (),
    batch: int = 0,
) -> list[LayerSpread]:
    """Spread of the variances measured in one network, given its input, for every layer.

    Args:
        activation: any record.
        layers: as given to `norm_and_skip.forward_passes`.
        wirings: norm and skip of each layer.
        passes: the forward passes.
        gradients: predicted for every layer.
        samples: number of samples that the variances are taken over.
        lengths: what the lengths of rows do, under batch norm; empty where nothing is known of them.
        batch: samples in one batch of a batch norm.
    """
    lengths = lengths or [NO_EFFECT] * len(layers)
    by_group = not any(wiring.by_batch for wiring in wirings)
    with np.errstate(all="ignore"):
        units = units_of(activation, layers, wirings, passes, samples, by_group=by_group)
        of_batch, of_single = (
            [Step.of(*each) for each in zip(layers, wirings, passes, column, strict=True)]
            for column in zip(*units, strict=True)
        )
        has_skip = any(wiring.skip is not None for wiring in wirings)
        # Behind a norm nothing of the gradient runs along h; what exceeds infinite width is not a radial mode.
        is_radial = has_skip and all(wiring.norm is None for wiring in wirings)
        spreads = spreads_of(of_batch, of_single, gradients if is_radial else None, samples)
        if by_group and has_skip:
            biases = branch_biases(of_single)
            spreads = [_biased(*each) for each in zip(spreads, biases, gradients, of_single, strict=True)]
        return with_left_out(spreads, layers, wirings, passes, BatchRows(lengths, batch or samples))


def _biased(spread: LayerSpread, biases: Array, gradients: LayerGradients, step: Step) -> LayerSpread:
    """The spread with the bias of dL/dh, which dL/dz and dL/dW share but for the slopes of one layer."""
    weights = step.shares * gradients.output
    gradient = Spread(spread.output_gradient.sd, float(weights @ biases / weights.sum()))
    return spread._replace(output_gradient=gradient, preactivation_gradient=gradient, weight_gradient=gradient)


def spreads_of(
    steps: Sequence[Step], single: Sequence[Step], gradients: Sequence[LayerGradients] | None, samples: int
) -> list[LayerSpread]:
    """The spreads of all layers, from steps with the noise of a batch and of a single sample.

    Args:
        steps: one per layer, with the noise of a batch.
        single: the same with the noise of one sample.
        gradients: predicted for every layer; None where no radial mode is followed.
        samples: number of samples.
    """
    covariances, of_one = covariances_of(steps), covariances_of(single)
    drifts, parts = drifts_of(steps, of_one), parts_of(steps, branch_weights(steps), gradients)
    outputs = [step.output(*each) for step, *each in zip(steps, covariances[1:], drifts[1:], strict=True)]
    of_batch, of_last = np.array(gradient_variances(steps, covariances, parts, samples)).T
    of_single = np.array(gradient_variances(single, of_one, parts, 1))[:, 0]
    back = [
        Spread(square_root(variance), 0.0) for variance in (of_mean(of_batch, of_single, samples) + of_last).tolist()
    ]
    return [
        LayerSpread(NO_SPREAD, output, gradient, NO_SPREAD, NO_SPREAD)
        for output, gradient in zip(outputs, back, strict=True)
    ]
