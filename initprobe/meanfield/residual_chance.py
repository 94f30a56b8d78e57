"""The spread of gradient variances in normalised and residual networks, to first order in 1/width.

A gradient has a part along h (`radial`) and the rest. The part along h has a mean square proportional to
`|h_L|^2 / |h|^2`, L being the last layer. The rest varies with the slopes that it has passed, and with the weights. All
of these follow the lengths of signals, so the two parts vary together.

Weights that lengthen a gradient also lengthen signals. Round a branch with weights W, `|g|^2` gains `2 s g . W u` with
`u = phi' g`, and `|h|^2` of another sample gains `2 s h . phi(h W)`. Both are linear in W. In relative terms their
covariance is `4 w c^2 / n`, times the cosine of the slopes of the two samples. Here w is the share of the branch in the
gradient. c is the cosine of gradient and signal, which is chance for two samples: `c^2 = 1/n` of the part across h.

The last gradient is independent between samples. Its chance cosines, `1/n` squared, are of the second order in 1/width.
They matter where there are more samples than units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from initprobe.arrays import Array
from initprobe.meanfield.norm_and_skip_gradients import LayerGradients
from initprobe.meanfield.radial import quotient
from initprobe.meanfield.spread_steps import SQUARE, Step, between
from initprobe.meanfield.unit_noise import free_share


@dataclass(frozen=True)
class Parts:
    """The parts of a gradient at one layer, for groups of samples; all `(groups,)`.

    Attributes:
        across: share of each group's part across h in the whole gradient.
        along: share of its part along h.
        weight: share of the branch in the part across h at the start of the branch.
        passed: share that was across h at the end of a branch, in the part across h at its start. Weights turn the
            rest of it from the part along h. For the branch that ends here.
    """

    across: Array
    along: Array
    weight: Array
    passed: Array

    @property
    def whole(self) -> Array:
        """Share of each group in the gradient."""
        return self.across + self.along


def parts_of(
    steps: Sequence[Step], branches: tuple[Sequence[Array], Sequence[Array]], gradients: Sequence[LayerGradients] | None
) -> list[Parts]:
    """The parts of the gradient at every layer.

    Args:
        steps: of all layers.
        branches: from `branch_weights`.
        gradients: predicted for every layer; None for no part along h.
    """
    weights, wide = branches
    whole, across = wide, wide
    if gradients is not None:
        whole = [each.output for each in gradients]
        across = [each.output - (0.0 if each.along is None else each.along) for each in gradients]
    parts, passed = list[Parts](), np.ones_like(wide[0])
    for k in reversed(range(len(steps))):
        start = k - steps[k].wiring.span
        if not steps[k].wiring.inside:
            passed = np.ones_like(wide[k])
            if start >= 0:
                passed = np.minimum(quotient(wide[start] * across[k], wide[k] * across[start]), 1.0)
        of_groups = steps[k].shares / (steps[k].shares @ whole[k])
        weight = passed * weights[k] + (1 - passed)
        parts.append(Parts(of_groups * across[k], of_groups * (whole[k] - across[k]), weight, passed))
    return parts[::-1]


@dataclass
class _Passed:
    """What the forward pass of the layers above does to the two parts of a gradient.

    Attributes:
        slopes: response of the log of the part across h to the state here, `(groups, 4)`.
        last: the same of the last mean square of h.
        across: covariance of the logs of the part across h that does not come from the state, `(groups, groups)`.
        along: the same of the last mean square of h.
        joint: of the first with the second.
        chance: share of the part across h that varies as the last gradient along h does, `(groups,)`.
    """

    slopes: Array
    last: Array
    across: Array
    along: Array
    joint: Array
    chance: Array

    @classmethod
    def start(cls, last: Step) -> _Passed:
        """At the last layer."""
        nothing, slopes = np.zeros_like(last.slope_noise), np.zeros_like(last.slopes)
        above = slopes.copy()
        above[:, SQUARE] = quotient(np.ones_like(last.squares), last.squares)
        return cls(slopes, above, nothing, nothing, nothing, np.zeros_like(last.squares))

    def turn(self, step: Step, passed: Array) -> None:
        """Let weights turn some of the part along h to one across h. A share `passed` was across h at the layer."""
        turned, rest = 1 - passed, self._rest(step)
        self.slopes = passed[:, None] * self.slopes + turned[:, None] * rest
        both = np.outer(passed, turned) * self.joint
        self.across = np.outer(passed, passed) * self.across + np.outer(turned, turned) * self.along + both + both.T
        self.joint = passed[:, None] * self.joint + turned[:, None] * self.along
        self.chance = passed * self.chance + turned

    def _rest(self, step: Step) -> Array:
        """Response of the part along h to the state at a layer, `(groups, 4)`."""
        rest = self.last.copy()
        rest[:, SQUARE] -= quotient(np.ones_like(step.squares), step.squares)
        return rest

    def add(self, step: Step, weight: Array) -> None:
        """Add a layer, of which the gradient has passed a branch of share `weight`, `(groups,)`."""
        crossed = weight[:, None] * _products(step.with_noise, self.slopes)
        chance = np.outer(weight, weight) * step.slope_noise
        self.across = self.across + between(self.slopes, step.noise, self.slopes) + crossed + crossed.T + chance
        self.along = self.along + between(self.last, step.noise, self.last)
        self.joint = self.joint + between(self.slopes, step.noise, self.last)
        self.joint += weight[:, None] * _products(step.with_noise, self.last)
        self.slopes = step.passed(self.slopes) + weight[:, None] * step.slopes
        self.last = step.passed(self.last)

    def covariances(self, step: Step, covariance: Array, parts: Parts) -> Array:
        """Covariances of the groups' shares in the log of the gradient at a layer, `(groups, groups)`.

        Args:
            step: of the layer.
            covariance: of the deviations above it.
            parts: of the gradient there.
        """
        rest = self._rest(step)
        of_across = self.across + between(self.slopes, covariance, self.slopes)
        of_along = self.along + between(rest, covariance, rest)
        both = np.outer(parts.across, parts.along) * (self.joint + between(self.slopes, covariance, rest))
        own = np.outer(parts.across, parts.across) * of_across + np.outer(parts.along, parts.along) * of_along
        return np.asarray(own + both + both.T)


def _products(noise: Array, slopes: Array) -> Array:
    """Covariance of a number per group with a linear function of the noise of any group, `(groups, groups)`."""
    return np.asarray(np.einsum("abi,bi->ab", noise, slopes))


@dataclass
class _Drawn:
    """What the draw of the weights above does to the part of a gradient across h.

    Attributes:
        samples: that means are taken over.
        variance: of its log.
        inside: what is added inside a branch, which the gradient of the stream has in part.
        overlap: mean squared cosine between the gradients of two samples.
        kept: cosine of the slopes of two samples, over the layers of a branch.
        reused: covariance with the signals of other samples, under layer norm.
    """

    samples: int
    variance: float
    overlap: float
    inside: float = 0.0
    kept: float = 1.0
    reused: float = 0.0

    @classmethod
    def start(cls, last: Step, samples: int) -> _Drawn:
        """At the last layer, whose gradient is given. Independent gradients have chance cosines."""
        units = last.layer.n_out
        return cls(samples, 2 / units / samples, 1 / units)

    @property
    def other_share(self) -> float:
        """Share of pairs that are two different samples."""
        return 1 - 1 / self.samples

    @property
    def shared(self) -> float:
        """Mean squared cosine of the gradients of two samples, times the share of pairs."""
        return self.overlap * self.other_share

    def add(self, step: Step, weight: float, above: _Passed, parts: Parts) -> None:
        """Add a layer.

        Args:
            step: of the layer.
            weight: share of its branch in the gradient.
            above: what the forward pass of the layers above it does.
            parts: of the gradient there.
        """
        layer, units, equal = step.layer, step.units, 1 / self.samples
        self.kept = (1.0 if step.wiring.skip is not None else self.kept) * math.sqrt(units.agreement)
        free, shared = free_share(layer.n_in, layer), self.shared
        chance = 2 / layer.n_out * ((units.same + free) * equal + (units.other + free) * shared)
        if step.wiring.norm is not None:
            chance += self._of_norm(step, weight)
        else:
            self.variance += 2 * weight * self.other_share * free * _with_lengths(step, weight, above, parts)
        self.variance += weight**2 * chance
        of_slopes, crossed = _of_slopes(step, above, parts)
        # Inside its branch the gradient has passed the slopes with their whole weight.
        self.inside += (1 - weight**2) * (chance + of_slopes) + 2 * (1 - weight) * crossed
        if step.wiring.opens:
            self.variance += 4 * weight * (1 - weight) / layer.n_in * (equal + shared * self.kept)
            self.inside = 0.0
        self._overlaps(step, weight)

    def _of_norm(self, step: Step, weight: float) -> float:
        """Variance that the division by a norm adds, with its covariance.

        The weights that lengthen a sample's gradient also lengthen the signals of other samples. A layer norm divides
        their gradients by that: `Cov(|W u|^2, |h W|^2) = 2 / (n_in n_out)`, relative. Through further layers above it
        is the same, times what the nonlinearities keep. For one sample u is across y, and there is none.
        """
        layer, units, equal = step.layer, step.units, 1 / self.samples
        # Orthogonal weights keep the length that the norm divides by.
        varying = free_share(layer.n_out, layer) if step.wiring.by_sample else 1.0
        self.reused = units.reuse * weight * self.reused + (varying / layer.n_out if step.wiring.by_sample else 0.0)
        of_length = equal + units.cosine * self.other_share
        # Cauchy-Schwarz: no larger than the two variances allow.
        most = math.sqrt((equal + self.shared) * of_length)
        return 2 / layer.n_out * varying * of_length - 4 / layer.n_in * min(self.reused * self.other_share, most)

    def _overlaps(self, step: Step, weight: float) -> None:
        """Pass the cosine of two gradients to the layer below."""
        layer, units = step.layer, step.units
        kept = (1 - weight + weight * math.sqrt(units.agreement)) ** 2 * self.overlap
        gained = weight**2 * (1 + units.other) * (1 + 2 * self.overlap) / layer.n_out
        joined = 2 * weight * (1 - weight) / layer.n_in if step.wiring.opens else 0.0
        self.overlap = min(kept + gained + joined, 1.0)  # a squared cosine


def _with_lengths(step: Step, weight: float, above: _Passed, parts: Parts) -> float:
    """Covariance of the lengths of `W u` and of another sample's `h W`, by what slopes make of the second."""
    layer, units = step.layer, step.units
    responses = units.responses[..., 0] * (step.length_response * step.below)[:, None]
    of_state = (step.both @ responses[:, :2, None])[..., 0]
    of_slopes = quotient(responses[:, 2], units.means[:, 2])
    response = np.vecdot(above.slopes[:, SQUARE:], of_state) + weight * of_slopes
    return 2 / (layer.n_in * layer.n_out) * float(parts.whole @ response)


def _of_slopes(step: Step, above: _Passed, parts: Parts) -> tuple[float, float]:
    """Variance of the log of the mean squared slope, and its covariance with the slopes above."""
    shares = parts.whole
    return float(shares @ step.slope_noise @ shares), float(shares @ _products(step.with_noise, above.slopes) @ shares)


def gradient_variances(
    steps: Sequence[Step], covariances: Sequence[Array], parts: Sequence[Parts], samples: int
) -> list[tuple[float, float]]:
    """Variance of the log of Var(dL/dh) at every layer, first to last, without and by the last gradient along h.

    Args:
        steps: of all layers.
        covariances: of the deviations, at the input and above every layer.
        parts: of the gradient at every layer.
        samples: number of samples. For 1 the result is a mean over samples.
    """
    passed, drawn, variances = _Passed.start(steps[-1]), _Drawn.start(steps[-1], samples), list[tuple[float, float]]()
    branch = passed, steps[-1]
    for k in reversed(range(len(steps))):
        step, here = steps[k], parts[k]
        variances.append(_total(passed, drawn, (step, covariances[k + 1], here)))
        if not step.wiring.inside:
            passed.turn(step, here.passed)
            drawn.variance *= float(here.whole @ here.passed) ** 2
            branch = replace(passed), step
        weight = float(here.whole @ here.weight)
        drawn.add(step, weight, passed, here)
        passed.add(step, here.weight)
        if step.wiring.opens:
            _reuse(passed, drawn, branch, weight, here)
    return variances[::-1]


def _reuse(passed: _Passed, drawn: _Drawn, branch: tuple[_Passed, Step], weight: float, parts: Parts) -> None:
    """Add the covariance of the gradients and the signals of other samples that a branch gives.

    Args:
        passed, drawn: below the branch.
        branch: what there is above its end, and the step there.
        weight: share of the branch in the gradient.
        parts: of the gradient.
    """
    above, end = branch
    common = 4 * weight / end.layer.n_out**2 * (1 - end.cosine**2) * drawn.kept * drawn.other_share
    drawn.variance += 2 * common * float(parts.whole @ (above.slopes[:, SQUARE] * end.kept[0]))
    passed.joint = passed.joint + common * above.last[:, SQUARE] * end.kept[0]


def _total(passed: _Passed, drawn: _Drawn, at: tuple[Step, Array, Parts]) -> tuple[float, float]:
    """Variances of the log of a gradient's mean square, over a batch or as a mean over single samples."""
    parts, variance = at[2], drawn.variance + drawn.inside
    covariances = passed.covariances(*at)
    if drawn.samples == 1:
        return float(np.sum(quotient(covariances.diagonal() + parts.across**2 * variance, parts.whole))), 0.0
    # The last gradient's product with h is one normal number per sample.
    by_last = parts.along + parts.across * passed.chance
    of_product = 2 / drawn.samples * float(np.sum(by_last**2 / at[0].shares))
    return float(covariances.sum()) + float(parts.across.sum()) ** 2 * variance, of_product
