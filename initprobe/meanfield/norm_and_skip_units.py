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


@dataclass(frozen=True)
class _At:
    """One layer, and z of its groups of samples.

    Attributes:
        layer: its weights.
        wiring: its norm and skip.
        here: its forward pass.
        parts: z of each group.
        noise: of each group.
        pairs: covariances in one unit between two samples, `(groups, groups, functions, functions)`.
    """

    layer: Layer
    wiring: Wiring
    here: LayerPass
    parts: Sequence[State]
    noise: Noise
    pairs: Array


def units_of(
    activation: Activation,
    layers: Sequence[Layer],
    wirings: Sequence[Wiring],
    passes: Sequence[LayerPass],
    samples: int,
    *,
    by_group: bool = False,
) -> list[tuple[Units, Units]]:
    """The means of every layer and their noise: averaged over a batch of `samples`, and for one sample.

    Args:
        activation: of the network.
        layers: their weights and sizes, first to last.
        wirings: their norm and their place in a branch.
        passes: their forward passes.
        samples: in the input.
        by_group: whether groups of samples are kept apart; else one group stands for all.
    """
    acting = [wiring.acting(activation) for wiring in wirings]
    states = [
        here.state if here.signal.gram is None else _grouped(of_layer, here.state)
        for of_layer, here in zip(acting, passes, strict=True)
    ]
    parts = [_parts(state) if by_group else [state] for state in states]
    columns = zip(layers, wirings, passes, states, parts, _noises(acting, layers, parts, samples), acting, strict=True)
    return [
        _units(_At(layer, wiring, here, groups, noise, _pairs(of_layer, groups, noise)), state, samples, by_group)
        for layer, wiring, here, state, groups, noise, of_layer in columns
    ]


def _noises(
    acting: Sequence[Activation], layers: Sequence[Layer], parts: Sequence[Sequence[State]], samples: int
) -> list[Noise]:
    """The noise of each layer's groups: all layers of one activation at once takes a third of the time."""
    noise_of: dict[int, Noise] = {}
    for own_activation in {id(each): each for each in acting}.values():
        numbers = [number for number, each in enumerate(acting) if each is own_activation]
        rules = [layers[number] for number in numbers for _ in parts[number]]
        noise, start = noises(own_activation, rules, [part for k in numbers for part in parts[k]], samples), 0
        for number in numbers:
            noise_of[number] = noise.rows(start, start + len(parts[number]))
            start += len(parts[number])
    return [noise_of[number] for number in range(len(layers))]


def _units(at: _At, state: State, samples: int, by_group: bool) -> tuple[Units, Units]:
    """The means of one layer, from the noise of its groups: averaged over a batch, and for one sample."""
    layer, noise, shares = at.layer, at.noise, state.sample_shares if by_group else np.ones(1)
    left = _left(at)
    # Under a layer norm z is on a sphere, whose fourth cumulant is -6/n. `noise` has that of orthogonal weights.
    on_sphere = 1 / layer.n_out if at.wiring.by_sample and not layer.orthogonal else 0.0
    slope, slope_square = (float(shares @ noise.mean[:, row]) for row in (SLOPE, SLOPES))
    products, squares = (float(shares @ at.pairs[..., row, row] @ shares) for row in (SLOPE, SLOPES))
    of_batch, of_single = (
        Units(
            shares=shares,
            means=noise.mean[:, _ROWS],
            offsets=noise.offset[:, _ROWS] - on_sphere * noise.curvature[:, _ROWS],
            curvatures=noise.curvature[:, _ROWS],
            responses=np.stack([noise.slope[:, _ROWS], noise.rise[:, _ROWS]], axis=2),
            noise=_mixed(*left, equal) / layer.n_out,
            common=_mixed(*_common(at, left), equal) / layer.n_out,
            same=_per(float(shares @ noise.same[:, SLOPES, SLOPES]), slope_square**2),
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
    return Moments(*(values[rows] for values in moments))


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


def _left(at: _At) -> tuple[Array, Array]:
    """Covariances of phi^2, phi, phi'^2 and phi' for one sample and for two, without what norm and weights fix."""
    same, other = (each[..., _ROWS, :][..., _ROWS] for each in (at.noise.same, at.pairs))
    by_second = _outer(math.sqrt(2) * at.noise.slope[:, _ROWS])
    if at.wiring.norm is None:
        alone, pairs = _kept_lengths(at.layer, at.parts)
        return same - alone[:, None, None] * own(by_second), other - pairs[..., None, None] * by_second
    # The sums of z and z^2 over units (layer norm) or samples (batch norm) are the same in every network.
    # Weights that are not normal change the noise along z^2 alone, to first order.
    state, by_first = at.parts[0], _outer(at.noise.rise[:, _ROWS])
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


def _common(at: _At, left: tuple[Array, Array]) -> tuple[Array, Array]:
    """Variance over networks of `sum h phi / sqrt(n)`, h being what a skip adds to phi, for one sample and for two.

    Args:
        at: the layer.
        left: from `_left`.
    """
    kept, groups = at.here.skipped, len(at.parts)
    if kept is None:
        return np.zeros(groups), np.zeros((groups, groups))
    # One group stands for all samples, or each for itself.
    weights = kept.shares[None] if groups == 1 else np.eye(groups)
    square, mean, root = (weights @ values for values in (kept.squares, kept.means, np.sqrt(kept.squares)))
    together = kept.cosine * np.outer(root, root) - np.outer(mean, mean)
    alone = (square - mean * mean) * at.noise.same[:, H, H] + mean * mean * left[0][:, 1, 1]
    pairs = together * at.pairs[..., H, H] + np.outer(mean, mean) * left[1][..., 1, 1]
    # Where the products of two signals and of their z vary together over pairs.
    varying = math.sqrt(kept.cosine_variance * max(at.parts[0].correlation_variance, 0.0))
    by_size = np.sqrt(square) * at.noise.rise[:, H]
    return alone, pairs + varying * np.outer(by_size, by_size)


def _grouped(activation: Activation, state: State) -> State:
    """Rows in a few groups of similar variance."""
    if not (state.variance > 0).all() or not np.isfinite(state.variance).all():
        return state
    shares, variance = similar_rows(state.variance)
    mean = float(state.mean[0])
    pairs = state.correlation, state.correlation_variance, 0.0, 0.0
    return State(shares, np.full_like(variance, mean), variance, lookup(activation, variance, mean), np.ones(1), *pairs)
