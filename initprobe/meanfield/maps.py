"""The mean-field maps through a network of given layers: lengths, correlation and gradients, for the input at hand.

Conventions: rows are samples, `z_l = h_{l-1} W_l + b_l`, `h_l = phi(z_l)`, `W_l` of shape `(n_in, n_out)`. Each sample
keeps its own length `q_a` through the layers, because `phi` averages over samples, not over their lengths: one pooled q
is 5% off on standardised digits and 10% off on Gaussian input of width 4.

Schoenholz et al. 2017, arXiv:1611.01232; Poole et al. 2016, arXiv:1606.05340.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from initprobe.activations import Activation
from initprobe.meanfield.moments import Moments, lookup, moments
from initprobe.meanfield.pairs import hermite_grid, series
from initprobe.meanfield.quadrature import Array

# Lengths are averaged over by a Gauss rule of the samples' own distribution of log q, in which every moment is smooth:
# four nodes give five digits for a sample of chi^2_4. Samples this far below the mean all count as equal: phi is its
# tangent there.
_NODES_PER_SPREAD, _MOST_NODES = 10, 12
_SHORTEST = 1e-5
_INDEPENDENT = 1e-6
# Under weights with a mean the samples' sums matter too: groups of like length, each cut by sum.
_SPLIT_GROUPS = (8, 8)
# Rows whose pairwise cosines are measured: 32,640 pairs.
_COSINE_ROWS = 256


@dataclass(frozen=True)
class Layer:
    """What theory needs to know of a layer's random parameters.

    Attributes:
        n_in: inputs of a unit.
        n_out: units.
        weight_variance: variance of a weight about its mean, as realised (after truncation, with zeros counted).
        weight_mean: mean of a weight.
        bias_variance: variance of a bias about its mean.
        bias_mean: mean of a bias.
        orthogonal: the weights are Haar-orthogonal, so their products keep lengths: only finite-width spread differs.
    """

    n_in: int
    n_out: int
    weight_variance: float
    weight_mean: float = 0.0
    bias_variance: float = 0.0
    bias_mean: float = 0.0
    orthogonal: bool = False


@dataclass(frozen=True)
class InputMoments:
    """What theory needs to know of the input; all of it measured, so that the prediction is for the batch at hand.

    Attributes:
        mean_squares: mean over features of `x^2`, of each sample `(samples,)`.
        means: mean over features of `x`, of each sample `(samples,)`.
        cosine: mean over pairs of different samples of their cosine.
        cosine_variance: variance over those pairs.
    """

    mean_squares: Array
    means: Array
    cosine: float = 0.0
    cosine_variance: float = 0.0

    @classmethod
    def measure(cls, x: npt.ArrayLike) -> InputMoments:
        """Moments of a batch `(samples, features)`, or of several stacked."""
        rows = np.asarray(x, float)
        squares = np.einsum("ij,ij->i", rows, rows)
        return cls(squares / rows.shape[1], rows.mean(axis=1), *_cosines(rows, squares))

    @classmethod
    def noise(cls, mean_square: float = 1.0, cosine: float = 0.0, features: float = math.inf) -> InputMoments:
        """Samples of equal length; independent Gaussian features give a cosine variance of 1/features."""
        return cls(np.full(1, mean_square), np.zeros(1), cosine, (1 - cosine**2) ** 2 / features)


def _cosines(rows: Array, squares: Array) -> tuple[float, float]:
    """Mean cosine over all pairs, and its variance over the pairs of some rows."""
    nonzero = squares > 0
    units = rows[nonzero] / np.sqrt(squares[nonzero])[:, None]
    n = len(units)
    if n < 2:
        return math.nan, math.nan
    total = units.sum(axis=0)
    mean = (float(total @ total) - n) / (n * (n - 1))
    # Evenly spaced rows, since files are often sorted by class.
    some = units[:: -(-n // _COSINE_ROWS)]
    gram = some @ some.T
    return mean, float(np.var(gram[np.triu_indices(len(some), 1)])) if len(some) > 1 else 0.0


@dataclass(frozen=True)
class State:
    """The pre-activations of one layer in the limit of infinite width: groups of samples, each normal over the units.

    Attributes:
        shares: share of the samples in each group, `(groups,)`; they sum to 1.
        mean: mean over units of z, `(groups,)`.
        variance: variance over units of z, `(groups,)`.
        moments: of `phi` under these.
        correlation: mean correlation of z over units between two different samples.
        correlation_variance: its variance over pairs: the input's own, and what finite width adds.
    """

    shares: Array
    mean: Array
    variance: Array
    moments: Moments
    correlation: float
    correlation_variance: float

    def average(self, values: Array) -> float:
        """Mean over samples of a number given for each group."""
        return float(self.shares @ values)

    def on_grid(self, activation: Activation) -> tuple[Array, Array]:
        """`phi` and `phi'` at the Hermite grid, each `(groups, nodes)`."""
        x = self.mean[:, None] + np.sqrt(self.variance)[:, None] * hermite_grid().z
        h = activation.value(x)
        return h, activation.slope(x, h)

    def correlation_nodes(self) -> tuple[float, float]:
        """Two correlations with the mean and variance that the pairs have."""
        spread = math.sqrt(max(self.correlation_variance, 0.0))
        return max(self.correlation - spread, -1.0), min(self.correlation + spread, 1.0)

    @property
    def cosine(self) -> float:
        """Mean cosine between the z of two different samples; the correlation, if z has no mean."""
        length = np.sqrt(self.variance + self.mean**2)
        deviation = self.average(np.sqrt(self.variance) / length)
        return self.correlation * deviation**2 + self.average(self.mean / length) ** 2


def propagate(activation: Activation, layers: Sequence[Layer], inputs: InputMoments) -> tuple[State, ...]:
    """The states of all layers, first to last."""
    with np.errstate(all="ignore"):
        return tuple(_states(activation, layers, inputs))


def _states(activation: Activation, layers: Sequence[Layer], inputs: InputMoments) -> Iterator[State]:
    shares, squares, means = _groups(inputs, split=any(layer.weight_mean != 0 for layer in layers))
    first = layers[0]
    gain = first.n_in * first.weight_variance
    mean = first.n_in * first.weight_mean * means + first.bias_mean
    variance = gain * squares + first.bias_variance
    direct = float(shares @ np.sqrt(squares / variance))
    common = float(shares @ (1 / np.sqrt(variance)))
    correlation = gain * direct**2 * inputs.cosine + first.bias_variance * common**2
    correlation_variance = (gain * direct**2) ** 2 * inputs.cosine_variance
    for index, layer in enumerate(layers):
        found = _moments(activation, variance, mean)
        state = State(shares, mean, variance, found, correlation, correlation_variance)
        yield state
        if index + 1 < len(layers):
            after = layers[index + 1]
            mean = layer.n_out * after.weight_mean * found.mean + after.bias_mean
            variance = layer.n_out * after.weight_variance * found.square + after.bias_variance
            correlation, correlation_variance = _next_correlation(activation, state, after)


def _groups(inputs: InputMoments, split: bool) -> tuple[Array, Array, Array]:
    """Shares, mean squares and means of groups of samples, by length, or if `split` by length and mean."""
    if not split:
        shares, squares = _gauss_rule(inputs.mean_squares)
        return shares, squares, np.full_like(squares, np.mean(inputs.means))
    count, parts = _SPLIT_GROUPS
    order = np.argsort(inputs.mean_squares, kind="stable")
    cuts = []
    for rows in _parts(order, count):
        cut = _parts(rows[np.argsort(inputs.means[rows], kind="stable")], parts)
        means = _stretched(inputs.means[rows], [inputs.means[part] for part in cut])
        cuts += [(len(part), np.mean(inputs.mean_squares[rows]), mean) for part, mean in zip(cut, means, strict=True)]
    sizes, lengths, sums = np.array(cuts).T
    return sizes / len(order), lengths, sums


def _parts(rows: Array, count: int) -> list[Array]:
    return [part for part in np.array_split(rows, count) if len(part)]


def _gauss_rule(values: Array) -> tuple[Array, Array]:
    """Shares and nodes of the Gauss rule of a sample in its logarithm, by Lanczos' method (Golub & Welsch 1969)."""
    scale = float(np.mean(values))
    if not 0 < scale < math.inf:
        return np.ones(1), np.full(1, scale)
    logs = np.log(np.maximum(values / scale, _SHORTEST))
    count = min(2 + math.ceil(_NODES_PER_SPREAD * float(np.std(logs))), _MOST_NODES)
    basis = [np.full(len(values), len(values) ** -0.5)]
    diagonal, beside = [], []
    while True:
        image = logs * basis[-1]
        diagonal.append(float(image @ basis[-1]))
        for _ in range(2):  # orthogonal to rounding only the second time
            image -= sum((image @ vector) * vector for vector in basis)
        size = float(np.linalg.norm(image))
        if len(basis) == count or size < _INDEPENDENT:
            break
        beside.append(size)
        basis.append(image / size)
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
    shares, nodes = vectors[0] ** 2, np.exp(nodes)
    return shares, nodes * (scale / (shares @ nodes))


def _stretched(values: Array, parts: Sequence[Array]) -> list[float]:
    """Means of the parts, moved away from their centre until they have the variance that `values` has."""
    centre, means = float(np.mean(values)), [float(np.mean(part)) for part in parts]
    between = sum(len(part) * (mean - centre) ** 2 for part, mean in zip(parts, means, strict=True)) / len(values)
    factor = math.sqrt(float(np.var(values)) / between) if between > 0 else 1.0
    return [centre + factor * (mean - centre) for mean in means]


def _moments(activation: Activation, variance: Array, mean: Array) -> Moments:
    """From the table where all groups share their mean (a bias's, or none), else by quadrature."""
    if np.all(mean == mean[0]):
        return lookup(activation, variance, float(mean[0]))
    return moments(activation, variance, mean)


def _next_correlation(activation: Activation, state: State, layer: Layer) -> tuple[float, float]:
    """Mean and variance over pairs of the correlation at the next layer.

    The variance gains what n units add to a correlation measured on them, as for any sample correlation:
    `1/n Var(y_a y_b - c/2 (y_a^2 + y_b^2))`, `y` the outputs scaled to the next layer's unit variance.
    """
    h, slope = state.on_grid(activation)
    weights = hermite_grid().weights
    # The grid's own E[phi^2], so that a correlation of 1 stays 1 to rounding.
    square = layer.n_in * layer.weight_variance * ((h * h) @ weights)
    total = square + layer.bias_variance
    scale = np.sqrt(layer.n_in * layer.weight_variance / total)[:, None]
    y = scale * h
    dy = scale * np.sqrt(state.variance)[:, None] * slope
    squares = y * y
    first, second, third = (state.shares @ power for power in (y, squares, squares * y))
    kernel = series(first, first, state.shares @ dy)
    shared = layer.bias_variance * state.average(1 / np.sqrt(total)) ** 2
    low, high = (kernel.at(c) + shared for c in state.correlation_nodes())
    c = (low + high) / 2
    at = state.correlation
    noise = (
        series(second, second).at(at) * (1 + c * c / 2)
        - 2 * c * series(third, first).at(at)
        + c * c / 2 * state.average((squares * squares) @ weights)
        - (shared * (1 - c)) ** 2
    )
    return min(max(c, -1.0), 1.0), (high - low) ** 2 / 4 + max(noise, 0.0) / layer.n_in


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
        gradients = _gradients(layers, states)
        below = [_groups(inputs, split=any(layer.weight_mean != 0 for layer in layers))[1]]
        below += [state.moments.square for state in states]
        return tuple(
            _layer_theory(state, gradient, square, batch)
            for state, gradient, square in zip(states, gradients, below, strict=False)
        )


def _gradients(layers: Sequence[Layer], states: Sequence[State]) -> list[tuple[Array, Array]]:
    """Mean squares of dL/dh and dL/dz of each group of samples, first layer to last.

    Weights with a mean also pass on the products `E[g_i g_j]` of different units, which start at 0.
    """
    found = []
    square = np.ones_like(states[-1].shares)
    product = np.zeros_like(square)
    for layer, state in zip(reversed(layers), reversed(states), strict=True):
        delta = square * state.moments.slope_square
        found.append((square, delta))
        units = layer.n_out
        product = layer.weight_mean**2 * units * (delta + (units - 1) * product * state.moments.slope**2)
        square = units * layer.weight_variance * delta + product
    return found[::-1]


def _layer_theory(state: State, gradient: tuple[Array, Array], below: Array, batch: int) -> LayerTheory:
    square, delta = gradient
    found, mean = state.moments, state.average(state.mean)
    output_mean = state.average(found.mean)
    return LayerTheory(
        preactivation_mean=mean,
        preactivation_variance=state.average(state.variance + (state.mean - mean) ** 2),
        output_mean=output_mean,
        output_variance=state.average(found.variance + (found.mean - output_mean) ** 2),
        correlation=state.cosine,
        output_gradient_variance=state.average(square),
        preactivation_gradient_variance=state.average(delta),
        weight_gradient_variance=batch * state.average(below * delta),
        state=state,
    )
