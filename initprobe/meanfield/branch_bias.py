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
from initprobe.meanfield.norm_and_skip_units import own
from initprobe.meanfield.radial import quotient
from initprobe.meanfield.spread_steps import SQUARE, Step, branch_weights, covariances_of, drifts_of


@dataclass
class _Together:
    """How the factors of some successive layers vary together, for each group of samples.

    Attributes:
        slopes: response of the sum of their relative deviations to the state below them, `(groups, 4)`.
        added: variance of that sum which does not come from the state below, `(groups,)`.
        apart: sum of the variances of the factors, `(groups,)`.
    """

    slopes: Array
    added: Array
    apart: Array

    @classmethod
    def nothing(cls, groups: int) -> _Together:
        """No layers."""
        return cls(np.zeros((groups, 4)), np.zeros(groups), np.zeros(groups))

    def covariance(self, covariance: Array) -> Array:
        """Sum of the covariances of all pairs of factors, from the covariance of the state below, `(groups, 4, 4)`."""
        return (_square(self.slopes, covariance) + self.added - self.apart) / 2

    def add(self, step: Step, weight: Array, covariance: Array) -> None:
        """Add the factor of the layer below, with the covariance of the state below it."""
        chance = own(step.slope_noise)
        self.added = self.added + _square(self.slopes, own(step.noise)) + weight**2 * chance
        self.added += 2 * weight * np.vecdot(self.slopes, own(step.with_noise))
        self.apart = self.apart + weight**2 * (_square(step.slopes, covariance) + chance)
        self.slopes = step.passed(self.slopes) + weight[:, None] * step.slopes


def _square(slopes: Array, covariance: Array) -> Array:
    """Variance of a linear function of the state, `(groups,)`."""
    return np.asarray(np.einsum("gi,gij,gj->g", slopes, covariance, slopes))


def branch_biases(single: Sequence[Step]) -> list[Array]:
    """Logs of the mean square of dL/dh over that of lengths without chance, at every layer, `(groups,)` each.

    Args:
        single: steps of all layers, with the noise of one sample.
    """
    covariances, (weights, _) = covariances_of(single), branch_weights(single)
    drifts, groups = drifts_of(single, covariances), len(single[0].shares)
    alone, biases = np.zeros(groups), list[Array]()
    together, inside = _Together.nothing(groups), _Together.nothing(groups)
    for k in reversed(range(len(single))):
        step, weight, below = single[k], weights[k], own(covariances[k])
        biases.append(alone + together.covariance(own(covariances[k + 1])))
        inside = _Together.nothing(groups) if step.wiring.skip is not None else inside
        alone = alone + weight * _mean(step, drifts[k], below)
        together.add(step, weight, below)
        inside.add(step, np.ones(groups), below)
        if step.wiring.opens and step.wiring.span > 1:
            # Inside its branch the gradient has passed two layers with their whole weight.
            alone = alone + (weight - weight**2) * inside.covariance(below)
    return biases[::-1]


def _mean(step: Step, drift: Array, covariance: Array) -> Array:
    """Mean relative deviation of a layer's factor, from mean and covariance of the state below it, `(groups,)`.

    Inside a branch with a norm, `layer_norm` has it.
    """
    moved, units = np.vecdot(step.slopes, drift), step.units
    if step.wiring.norm is None:
        bend = units.curvatures[:, 2] * step.length_response**2 * covariance[:, SQUARE, SQUARE] / 2
        return np.asarray(moved + quotient(bend + units.offsets[:, 2], units.means[:, 2]))
    # The norm divides by the mean square of its input, and `E[1 / (1 + x)] = 1 + E[x^2]`.
    return np.asarray(moved + _square(step.slopes, covariance)) if step.wiring.opens else np.zeros_like(moved)
