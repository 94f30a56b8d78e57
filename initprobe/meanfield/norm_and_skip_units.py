"""The means over units of one layer between norms and skips, and how they fluctuate over networks.

Samples are in groups of similar length, which the weights of one network move together. Where each row of a batch is a
group, one group stands for all samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.activations.record import Activation
from initprobe.activations.skips import Wiring
from initprobe.arrays import Array
from initprobe.meanfield.correlated_pairs import hermite_grid
from initprobe.meanfield.input_moments import similar_rows
from initprobe.meanfield.layer import Layer, State
from initprobe.meanfield.moments import Moments, lookup
from initprobe.meanfield.norm_and_skip_gradients import LayerPass
from initprobe.meanfield.radial import quotient
from initprobe.meanfield.unit_noise import HH, SLOPE, SLOPES, H, Noise, free_share, group_covariances, noises

_ROWS = [HH, H, SLOPES, SLOPE]


@dataclass(frozen=True)
class Units:
    """Means over the units of one layer: of phi^2, phi, phi'^2 and phi', in this order, and how they fluctuate.

    Attributes:
        shares: share of the samples in each group, `(groups,)`.
        means: of each group, `(groups, 4)`.
        offsets: what the fourth cumulant of z adds to them, `(groups, 4)`.
        curvatures: their second derivatives by the variance of z, times its square, `(groups, 4)`.
        responses: to the log of the variance of z, and to the mean of z in standard deviations, `(groups, 4, 2)`.
        noise: covariance over networks, averaged over the samples of each group, `(groups, groups, 4, 4)`.
        common: the same of phi weighted by independent signals with the cosines of the branch's input, a variance,
            `(groups, groups)`.
        same: relative variance of phi'^2 over units for one sample.
        other: relative covariance of phi'^2 between two samples.
        agreement: squared cosine between phi' of two samples.
        cosine: mean squared cosine between z of two samples.
    """

    shares: Array
    means: Array
    offsets: Array
    curvatures: Array
    responses: Array
    noise: Array
    common: Array
    same: float
    other: float
    agreement: float
    cosine: float

    @property
    def reuse(self) -> float:
        """What the layer keeps of the covariance of a gradient with another sample's signal, z of variance 1."""
        square, _, slope_square, _ = self.shares @ self.means
        return self.agreement * _per(slope_square, square)


def units_of(
    activation: Activation, layer: Layer, wiring: Wiring, here: LayerPass, samples: int, *, by_group: bool = False
) -> tuple[Units, Units]:
    """The means of one layer and their noise: averaged over a batch of `samples`, and for one sample.

    Args:
        activation: of the layer.
        layer: its weights and sizes.
        wiring: its norm and its place in a branch.
        here: its forward pass.
        samples: in the input.
        by_group: whether groups of samples are kept apart; else one group stands for all.
    """
    state = here.state if here.signal.gram is None else _grouped(activation, here.state)
    parts = _parts(state) if by_group else [state]
    shares = state.sample_shares if by_group else np.ones(1)
    noise = noises(activation, [layer] * len(parts), parts, samples)
    first = np.array([_along(activation, part) for part in parts])
    full = noise.same, _pairs(activation, parts, noise)
    left = _left(layer, wiring, parts, noise, first, full)
    # Under a layer norm z is on a sphere, whose fourth cumulant is -6/n. `noise` has that of orthogonal weights.
    on_sphere = 1 / layer.n_out if wiring.by_sample and not layer.orthogonal else 0.0
    slope, slope_square = (float(shares @ noise.mean[:, row]) for row in (SLOPE, SLOPES))
    products, squares = (float(shares @ full[1][..., row, row] @ shares) for row in (SLOPE, SLOPES))
    of_batch, of_single = (
        Units(
            shares=shares,
            means=noise.mean[:, _ROWS],
            offsets=noise.offset[:, _ROWS] - on_sphere * noise.curvature[:, _ROWS],
            curvatures=noise.curvature[:, _ROWS],
            responses=np.stack([noise.slope[:, _ROWS], first], axis=2),
            noise=_mixed(*left, equal) / layer.n_out,
            common=_mixed(*_common(here, parts, first[:, 1], full, left), equal) / layer.n_out,
            same=_per(float(shares @ full[0][:, SLOPES, SLOPES]), slope_square**2),
            other=_per(squares, slope_square**2),
            agreement=_per(products + slope**2, slope_square) ** 2,
            cosine=_cosine(state),
        )
        for equal in (1 / (samples * shares), np.ones(len(shares)))
    )
    return of_batch, of_single


def _per(value: float, whole: float) -> float:
    """The quotient, and 0 for a layer without slopes."""
    return float(value / whole) if whole > 0 else 0.0


def _parts(state: State) -> list[State]:
    """Each group of samples as a state of its own."""
    nodes, (mean, variance) = len(state.bias_shares), (state.mean, state.variance)
    pairs = state.correlation, state.correlation_variance, state.kurtosis, state.cokurtosis
    rows = [slice(start, start + nodes) for start in range(0, len(mean), nodes)]
    return [
        State(state.bias_shares, mean[at], variance[at], _moments_at(state.moments, at), state.bias_shares, *pairs)
        for at in rows
    ]


def _moments_at(moments: Moments, rows: slice) -> Moments:
    return Moments(**{name: values[rows] for name, values in vars(moments).items()})


def _pairs(activation: Activation, parts: Sequence[State], noise: Noise) -> Array:
    """Covariances in one unit between two samples, `(groups, groups, functions, functions)`."""
    if len(parts) == 1:
        return noise.other[None]
    return group_covariances(activation, parts) + parts[0].cokurtosis * _outer(noise.slope)


def _outer(values: Array) -> Array:
    """Products of values `(groups, functions)` of any two groups, `(groups, groups, functions, functions)`."""
    return np.asarray(np.einsum("ai,bj->abij", values, values))


def own(matrix: Array) -> Array:
    """The diagonal of a matrix over groups, `(groups, ...)`, of `(groups, groups, ...)`."""
    return np.moveaxis(matrix.diagonal(), -1, 0)


def _mixed(same: Array, other: Array, equal: Array) -> Array:
    """Covariances of means over the samples of groups, `(groups, groups, ...)`.

    Args:
        same: of one sample, `(groups, ...)`.
        other: of two different samples, `(groups, groups, ...)`.
        equal: share of pairs in a group that are one and the same sample, `(groups,)`.
    """
    mixed, groups = other.copy(), np.arange(len(equal))
    mixed[groups, groups] += (equal * (same - own(other)).T).T
    return mixed


def _left(
    layer: Layer, wiring: Wiring, parts: Sequence[State], noise: Noise, first: Array, full: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Covariances of phi^2, phi, phi'^2 and phi' for one sample and for two, without what norm and weights fix.

    Args:
        layer: its weights.
        wiring: its norm.
        parts: z of each group.
        noise: of each group.
        first: `E[f z]` of the four functions, `(groups, 4)`.
        full: the covariances of all six functions, with nothing fixed.
    """
    same, other = (each[..., _ROWS, :][..., _ROWS] for each in full)
    by_second = _outer(math.sqrt(2) * noise.slope[:, _ROWS])
    if wiring.norm is None:
        alone, pairs = _kept_lengths(layer, parts)
        return same - alone[:, None, None] * own(by_second), other - pairs[..., None, None] * by_second
    # The sums of z and z^2 over units (layer norm) or samples (batch norm) are the same in every network.
    # Weights that are not normal change the noise along z^2 alone, to first order.
    state, by_first = parts[0], _outer(first)
    same = same - own(by_first) - own(by_second) * (1 + state.kurtosis / 2)
    return same, other - by_first * state.correlation - by_second * (_cosine(state) + state.cokurtosis / 2)


def _kept_lengths(layer: Layer, parts: Sequence[State]) -> tuple[Array, Array]:
    """Share of the noise along z^2 that orthogonal weights remove: for one sample and for two, `(groups, ...)`."""
    fixed = 1 - free_share(layer.n_out, layer)
    deviations = np.array([math.sqrt(part.average(part.variance)) for part in parts])
    sizes = np.outer(deviations, deviations)
    biases = quotient(np.full_like(sizes, layer.normal_bias_variance), sizes)
    pairs = sum((c - biases) ** 2 for c in parts[0].correlation_nodes()) / 2
    return fixed * (1 - own(biases)) ** 2, np.asarray(fixed * pairs)


def _cosine(state: State) -> float:
    """Mean squared cosine between z of two samples."""
    return sum(c * c for c in state.correlation_nodes()) / 2


def _along(activation: Activation, state: State) -> Array:
    """`E[f z]` for z in standard deviations, of phi^2, phi, phi'^2 and phi', averaged over samples, `(4,)`."""
    h, d = state.on_grid(activation)
    weights = hermite_grid().weights * hermite_grid().z
    return np.array([float(state.average(f @ weights)) for f in (h * h, h, d * d, d)])


def _common(
    here: LayerPass, parts: Sequence[State], along: Array, full: tuple[Array, Array], left: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Variance over networks of `sum h phi / sqrt(n)`, h being what a skip adds to phi, for one sample and for two."""
    kept = here.skipped
    if kept is None:
        return np.zeros(len(along)), np.zeros((len(along), len(along)))
    # One group stands for all samples, or each for itself.
    weights = kept.shares[None] if len(parts) == 1 else np.eye(len(parts))
    square, mean, root = (weights @ values for values in (kept.squares, kept.means, np.sqrt(kept.squares)))
    together = kept.cosine * np.outer(root, root) - np.outer(mean, mean)
    alone = (square - mean * mean) * full[0][:, H, H] + mean * mean * left[0][:, 1, 1]
    pairs = together * full[1][..., H, H] + np.outer(mean, mean) * left[1][..., 1, 1]
    # Where the products of two signals and of their z vary together over pairs.
    varying = math.sqrt(kept.cosine_variance * max(parts[0].correlation_variance, 0.0))
    by_size = np.sqrt(square) * along
    return alone, pairs + varying * np.outer(by_size, by_size)


def _grouped(activation: Activation, state: State) -> State:
    """Rows in a few groups of similar variance."""
    if not (state.variance > 0).all() or not np.isfinite(state.variance).all():
        return state
    shares, variance = similar_rows(state.variance)
    mean = float(state.mean[0])
    pairs = state.correlation, state.correlation_variance, 0.0, 0.0
    return State(shares, np.full_like(variance, mean), variance, lookup(activation, variance, mean), np.ones(1), *pairs)
