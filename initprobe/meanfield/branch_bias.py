"""The bias of gradient variances in residual networks, to first order in 1/width.

A branch multiplies the mean square of a gradient by `1 + s^2 chi(q)`. Here q varies over networks. The mean of the
product of all factors differs from the product of their means in three ways. Lengths have a bias of their own. chi is
curved as a function of q. And the factors of two layers vary together, as both follow q.

Hanin & Nica 2020, arXiv:1812.05994 have the same for plain networks (`gradient_bias`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.arrays import Array
from initprobe.meanfield.spread_steps import SQUARE, Step, branch_weights, covariances_of, drifts_of


@dataclass
class _Together:
    """How the factors of some successive layers vary together.

    Attributes:
        slopes: response of the sum of their relative deviations to the state below them, `(4,)`.
        added: variance of that sum which does not come from the state below.
        apart: sum of the variances of the factors.
    """

    slopes: Array
    added: float = 0.0
    apart: float = 0.0

    def covariance(self, covariance: Array) -> float:
        """Sum of the covariances of all pairs of factors, from the covariance of the state below, `(4, 4)`."""
        return (float(self.slopes @ covariance @ self.slopes) + self.added - self.apart) / 2

    def add(self, step: Step, weight: float, covariance: Array) -> None:
        """Add the factor of the layer below, with the covariance of the state below it."""
        own = float(step.units.noise[2, 2] / step.units.means[2] ** 2)
        self.added += float(self.slopes @ step.noise @ self.slopes)
        self.added += 2 * weight * float(self.slopes @ step.with_noise) + weight**2 * own
        self.apart += weight**2 * (float(step.slopes @ covariance @ step.slopes) + own)
        self.slopes = self.slopes @ step.matrix + weight * step.slopes


def branch_biases(single: Sequence[Step]) -> list[float]:
    """Logs of the mean square of dL/dh over that of lengths without chance, at every layer.

    Args:
        single: steps of all layers, with the noise of one sample.
    """
    covariances, (weights, _) = covariances_of(single), branch_weights(single)
    drifts = drifts_of(single, covariances)
    alone, inside, biases = 0.0, _nothing(), list[float]()
    together = _nothing()
    for k in reversed(range(len(single))):
        step, weight, below = single[k], weights[k], covariances[k]
        biases.append(alone + together.covariance(covariances[k + 1]))
        inside = _nothing() if step.wiring.skip is not None else inside
        alone += weight * _mean(step, drifts[k], below)
        together.add(step, weight, below)
        inside.add(step, 1.0, below)
        if step.wiring.opens and step.wiring.span > 1:
            # Inside its branch the gradient has passed two layers with their whole weight.
            alone += (weight - weight**2) * inside.covariance(below)
    return biases[::-1]


def _nothing() -> _Together:
    return _Together(np.zeros(4))


def _mean(step: Step, drift: Array, covariance: Array) -> float:
    """Mean relative deviation of a layer's factor, from mean and covariance of the state below it.

    Inside a branch with a norm, `layer_norm` has it.
    """
    moved = float(step.slopes @ drift)
    if step.wiring.norm is None:
        bend = step.units.curvatures[2] * step.length_response**2 * covariance[SQUARE, SQUARE] / 2
        return moved + float((bend + step.units.offsets[2]) / step.units.means[2])
    # The norm divides by the mean square of its input, and `E[1 / (1 + x)] = 1 + E[x^2]`.
    return moved + float(step.slopes @ covariance @ step.slopes) if step.wiring.opens else 0.0
