"""The spread of measured variances in normalised and residual networks, and under weights with a mean.

To first order in 1/width. The deviations of four numbers from theory are passed on from layer to layer. They are mean
square and mean over units of h, at the inputs of the layer and of its branch. Each layer adds the noise of its units. A
norm fixes mean and variance of z. So its output does not respond to the size of its input, and has no noise along z and
z^2.

`spread_steps` has the map of one layer. `branch_bias` has the bias of gradients round skips, and `left_out` bounds what
is not derived. Hanin & Nica 2020, arXiv:1812.05994.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from initprobe.activations.record import Activation
from initprobe.activations.skips import Wiring
from initprobe.arrays import Array
from initprobe.meanfield.branch_bias import branch_biases
from initprobe.meanfield.finite_width import NO_SPREAD, LayerSpread, Spread
from initprobe.meanfield.gradient_spread import of_mean
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.left_out import BatchRows, with_left_out
from initprobe.meanfield.norm_and_skip_gradients import LayerPass
from initprobe.meanfield.norm_and_skip_units import units_of
from initprobe.meanfield.row_lengths import NO_EFFECT, LengthEffects
from initprobe.meanfield.spread_steps import SQUARE, Step, branch_weights, covariances_of, drifts_of, root
from initprobe.meanfield.unit_noise import free_share


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
        layers: as given to `norm_and_skip.forward_passes`.
        wirings: norm and skip of each layer.
        passes: the forward passes.
        gradients: predicted variance of dL/dh at every layer.
        samples: number of samples that the variances are taken over.
        lengths: what the lengths of rows do, under batch norm; empty where nothing is known of them.
        batch: samples in one batch of a batch norm.
    """
    lengths = lengths or [NO_EFFECT] * len(layers)
    with np.errstate(all="ignore"):
        units = units_of(activation, layers, wirings, passes, samples)
        of_batch, of_single = (
            [Step.of(*each) for each in zip(layers, wirings, passes, column, strict=True)]
            for column in zip(*units, strict=True)
        )
        # Behind a norm nothing of the gradient runs along h; what exceeds infinite width is not a radial mode.
        is_normed = any(wiring.norm is not None for wiring in wirings)
        spreads = spreads_of(of_batch, of_single, None if is_normed else gradients, samples)
        if any(wiring.skip is not None for wiring in wirings) and not any(wiring.by_batch for wiring in wirings):
            spreads = [_biased(*each) for each in zip(spreads, branch_biases(of_single), strict=True)]
        return with_left_out(spreads, layers, wirings, passes, BatchRows(lengths, batch or samples))


def _biased(spread: LayerSpread, bias: float) -> LayerSpread:
    """The spread with the bias of dL/dh, which dL/dz and dL/dW share but for the slopes of one layer."""
    gradient = Spread(spread.output_gradient.sd, bias)
    return replace(spread, output_gradient=gradient, preactivation_gradient=gradient, weight_gradient=gradient)


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
    covariances, of_one = covariances_of(steps), covariances_of(single)
    drifts = drifts_of(steps, of_one)
    outputs = [step.output(*each) for step, *each in zip(steps, covariances[1:], drifts[1:], strict=True)]
    of_batch = np.array(_gradient_variances(steps, covariances, gradients, samples))
    of_single = np.array(_gradient_variances(single, of_one, gradients, 1))
    back = [Spread(root(variance), 0.0) for variance in of_mean(of_batch, of_single, samples).tolist()]
    return [
        LayerSpread(NO_SPREAD, output, gradient, NO_SPREAD, NO_SPREAD)
        for output, gradient in zip(outputs, back, strict=True)
    ]


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
    last = float(covariances[-1][SQUARE, SQUARE]) / steps[-1].square ** 2
    drawn, inside, added, overlap, reused = 2 / steps[-1].layer.n_out * equal_share, 0.0, 0.0, 0.0, 0.0
    slopes, variances = np.zeros(4), list[float]()
    for k in reversed(range(len(steps))):
        step, above = steps[k], covariances[k + 1]
        layer, units, weight = step.layer, step.units, weights[k]
        inside = 0.0 if step.wiring.skip is not None else inside
        share = 1.0 if gradients is None or not gradients[k] > 0 else min(across[k] / gradients[k], 1.0)
        radial = max(last - float(above[SQUARE, SQUARE]) / step.square**2, 0.0) + 2 * equal_share
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
