"""The means over units of one layer between norms and skips, and how they fluctuate over networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from initprobe.activations.record import Activation
from initprobe.activations.skips import Wiring
from initprobe.arrays import Array
from initprobe.meanfield.input_moments import similar_rows
from initprobe.meanfield.layer import Layer, State
from initprobe.meanfield.moments import lookup
from initprobe.meanfield.norm_and_skip_gradients import LayerPass
from initprobe.meanfield.unit_noise import HH, SLOPE, SLOPES, H, Noise, noises

_ROWS = [HH, H, SLOPES, SLOPE]


@dataclass(frozen=True)
class Units:
    """Means over the units of one layer: of phi^2, phi, phi'^2 and phi', in this order, and how they fluctuate.

    Attributes:
        means: `(4,)`.
        offsets: what the fourth cumulant of z adds to them, `(4,)`.
        curvatures: their second derivatives by the variance of z, times its square, `(4,)`.
        responses: to the log of the variance of z, and to the mean of z in standard deviations, `(4, 2)`.
        noise: covariance over networks, averaged over a batch, `(4, 4)`.
        common: the same of phi weighted by independent signals with the cosines of the branch's input, a variance.
        same: relative variance of phi'^2 over units for one sample.
        other: relative covariance of phi'^2 between two samples.
        agreement: squared cosine between phi' of two samples.
        cosine: mean squared cosine between z of two samples.
    """

    means: Array
    offsets: Array
    curvatures: Array
    responses: Array
    noise: Array
    common: float
    same: float
    other: float
    agreement: float
    cosine: float

    @property
    def reuse(self) -> float:
        """What the layer keeps of the covariance of a gradient with another sample's signal, z of variance 1."""
        return self.agreement * float(self.means[2] / self.means[0])


def units_of(
    activation: Activation,
    layers: Sequence[Layer],
    wirings: Sequence[Wiring],
    passes: Sequence[LayerPass],
    samples: int,
) -> list[tuple[Units, Units]]:
    """The means of every layer and their noise: averaged over a batch of `samples`, and for one sample.

    Args:
        activation: of the network.
        layers: their weights and sizes, first to last.
        wirings: their norm and their place in a branch.
        passes: their forward passes.
        samples: in the input.
    """
    acting = [wiring.acting(activation) for wiring in wirings]
    states = [
        here.state if here.signal.gram is None else _grouped(own, here.state)
        for own, here in zip(acting, passes, strict=True)
    ]
    noise_of: dict[int, Noise] = {}
    # All layers of one activation at once, which takes a third of the time of one by one.
    for own in {id(own): own for own in acting}.values():
        numbers = [number for number, other in enumerate(acting) if other is own]
        noise = noises(own, [layers[number] for number in numbers], [states[number] for number in numbers], samples)
        noise_of |= {number: noise.of_layer(row) for row, number in enumerate(numbers)}
    return [
        _units(*each, noise_of[number], samples)
        for number, each in enumerate(zip(layers, wirings, passes, states, strict=True))
    ]


def _units(
    layer: Layer, wiring: Wiring, here: LayerPass, state: State, noise: Noise, samples: int
) -> tuple[Units, Units]:
    """The means of one layer, from its noise alone: averaged over a batch, and for one sample."""
    same, other = (covariances[0][np.ix_(_ROWS, _ROWS)] for covariances in (noise.same, noise.other))
    first, second = noise.rise[0, _ROWS], math.sqrt(2) * noise.slope[0, _ROWS]
    cosine = sum(c * c for c in state.correlation_nodes()) / 2
    full = same[1, 1], other[1, 1]
    if wiring.norm is not None:
        # The sums of z and z^2 over units (layer norm) or samples (batch norm) are the same in every network.
        # Weights that are not normal change the noise along z^2 alone, to first order.
        fixed, fixed_second = np.outer(first, first), np.outer(second, second)
        same = same - fixed - fixed_second * (1 + state.kurtosis / 2)
        other = other - fixed * state.correlation - fixed_second * (cosine + state.cokurtosis / 2)
    # Under a layer norm z is on a sphere, whose fourth cumulant is -6/n. `noise` has that of orthogonal weights.
    on_sphere = 1 / layer.n_out if wiring.by_sample and not layer.orthogonal else 0.0
    along, left = float(first[1]), (same[1, 1], other[1, 1])
    alone, every = (1.0, 0.0), (1 / samples, 1 - 1 / samples)
    of_batch = Units(
        means=noise.mean[0, _ROWS],
        offsets=noise.offset[0, _ROWS] - on_sphere * noise.curvature[0, _ROWS],
        curvatures=noise.curvature[0, _ROWS],
        responses=np.column_stack([noise.slope[0, _ROWS], first]),
        noise=(every[0] * same + every[1] * other) / layer.n_out,
        common=_common(here, along, full, left, every) / layer.n_out,
        same=float(noise.relative(noise.same, SLOPES, SLOPES)[0]),
        other=float(noise.relative(noise.other, SLOPES, SLOPES)[0]),
        agreement=float((noise.slope_product[0] / noise.mean[0, SLOPES]) ** 2),
        cosine=cosine,
    )
    common = _common(here, along, full, left, alone) / layer.n_out
    return of_batch, replace(of_batch, noise=same / layer.n_out, common=common)


def _common(
    here: LayerPass,
    along: float,
    full: tuple[float, float],
    left: tuple[float, float],
    every: tuple[float, float],
) -> float:
    """Variance over networks of `sum h phi / sqrt(n)`, averaged over a batch, h being what a skip adds to phi."""
    kept = here.skipped
    if kept is None:
        return 0.0
    square, mean = float(kept.shares @ kept.squares), float(kept.shares @ kept.means)
    pairs = kept.cosine * float(kept.shares @ np.sqrt(kept.squares)) ** 2
    alone, together = square - mean * mean, pairs - mean * mean
    varying = every[0] * alone * full[0] + every[1] * together * full[1]
    # Where the products of two signals and of their z vary together over pairs.
    varying += (
        every[1] * square * along * along * math.sqrt(kept.cosine_variance * max(here.state.correlation_variance, 0.0))
    )
    return varying + mean * mean * (every[0] * left[0] + every[1] * left[1])


def _grouped(activation: Activation, state: State) -> State:
    """Rows in a few groups of similar variance."""
    if not (state.variance > 0).all() or not np.isfinite(state.variance).all():
        return state
    shares, variance = similar_rows(state.variance)
    mean = float(state.mean[0])
    pairs = state.correlation, state.correlation_variance, 0.0, 0.0
    return State(shares, np.full_like(variance, mean), variance, lookup(activation, variance, mean), np.ones(1), *pairs)
