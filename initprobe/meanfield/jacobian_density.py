"""The density of the singular values of an end-to-end Jacobian, at infinite width.

The layers are square and their weights and slopes are free of each other. Let `m(w) = E[x / (w - x)]` of the squared
singular values x. Let `m_l` be the same of the squared slopes `phi'^2` of layer l. Then the product of S-transforms
gives

    w = (1 + m)/m  prod_l n Var(W_l) (1 + m)^(g_l - 1) m w_l,      m_l(w_l) = m,

where `g_l` is 1 for independent and 0 for orthogonal weights. The density of `log x` is `-Im m / pi` just above the
real axis: Pennington, Schoenholz & Ganguli 2017, arXiv:1711.04735, section 2.3. The physical root is followed from the
negative real axis, where all is real, through the upper half plane.

For a deep linear net with independent weights this is the Fuss-Catalan law, which has a closed form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.jacobian_spectrum import SpectrumMoments
from initprobe.meanfield.layer import Groups, Layer
from initprobe.meanfield.quadrature import curve_of, rules

# Slopes of one layer are replaced by atoms: so many equally likely ones. They are split where the log of the square
# differs by a step, down to a rare smallest one. Equal slopes stay one atom of their whole share.
_ATOMS, _LOG_STEP, _RARE = 64, 0.15, 1e-4
_SAME = 1e-9
# Points of the density: evenly spaced in and above its bulk; in its lower tail spaced by growing ratios.
_BULK_POINTS, _TAIL_POINTS = 240, 60
# The angle above the real axis at which the root is read, in units of the spectrum's width; its steps. Half of
# the distance between points, so that no spike falls between them.
_ANGLE, _TURN = 0.025, 0.75
# A little above the negative axis, where the logarithms are on the right side of their cut.
_HALF_TURN = math.pi * (1 - 1e-9)
_ITERATIONS, _HALVINGS = 8, 5
_TOLERANCE, _SOLVED = 1e-10, 1e-6
# Samples that stand for all others.
_MOST_SAMPLES = 4
# Layers are alike if the kurtosis of their slopes is the same to this fraction of its range.
_LEVELS = 10
# Largest difference between the whole density and what the negative axis says of it, before no density is given.
_LOST = 0.03
# How far above the spectrum the root is known, in `log s^2`, and the share below which nothing is followed.
_FAR_ABOVE, _NOTHING_BELOW = 8.0, 1e-6


@dataclass(frozen=True)
class JacobianDensity:
    """The density of the singular values s.

    Attributes:
        log10_s: places, ascending, `(points,)`.
        below: share of the singular values that are smaller, zeros included, `(points,)`.
    """

    log10_s: Array
    below: Array


@dataclass(frozen=True)
class _Factors:
    """The factors of a product, equal ones once.

    Attributes:
        squares: `phi'^2` over its mean, `(laws, atoms)`.
        shares: of the units, `(laws, atoms)`.
        counts: layers of each law, `(laws,)`.
        log_scale: log of the mean of `s^2`, the product of `n Var(W) E[phi'^2]`.
        independent: number of layers with independent weights.
    """

    squares: Array
    shares: Array
    counts: Array
    log_scale: float
    independent: int

    @property
    def depth(self) -> int:
        """Number of layers."""
        return int(self.counts.sum())

    @property
    def largest(self) -> tuple[float, float]:
        """log of the largest `s^2`, and the share of the singular values that equal it.

        Orthogonal weights keep some directions in all layers where each passes most units with the same slope
        (Bercovici & Voiculescu 1998).
        """
        common = np.argmax(self.shares, axis=1)[:, None]
        squares, shares = (np.take_along_axis(values, common, axis=1)[:, 0] for values in (self.squares, self.shares))
        share = 1 - float(self.counts @ (1 - shares)) if self.independent == 0 else 0.0
        with np.errstate(divide="ignore"):
            return self.log_scale + float(self.counts @ np.log(squares)), share if share > _SAME else 0.0

    @property
    def zeros(self) -> float:
        """Share of singular values that are exactly 0: that of the layer with the most slopes of 0."""
        return float(np.max(np.sum(np.where(self.squares == 0, self.shares, 0.0), axis=1)))


@dataclass(frozen=True)
class _Roots:
    """Solutions at several w.

    Attributes:
        log_w: where they hold, `(points,)`; the imaginary part is the angle above the real axis.
        ratio: `log(m / (1 + m))`, `(points,)`.
        inverse: log of `w_l` of every law, `(points, laws)`.
    """

    log_w: Array
    ratio: Array
    inverse: Array

    @property
    def m(self) -> Array:
        """m, `(points,)`."""
        return np.asarray(-1 / (1 - np.exp(-self.ratio)))

    def at(self, points: Array) -> _Roots:
        """The solutions at some of the points."""
        return _Roots(self.log_w[points], self.ratio[points], self.inverse[points])

    def where(self, points: Array, other: _Roots) -> _Roots:
        """These solutions, replaced by others at some of the points."""
        log_w, ratio, inverse = self.log_w.copy(), self.ratio.copy(), self.inverse.copy()
        log_w[points], ratio[points], inverse[points] = other.log_w, other.ratio, other.inverse
        return _Roots(log_w, ratio, inverse)


def density(
    activation: Activation, layers: Sequence[Layer], groups: Sequence[Groups], moments: SpectrumMoments
) -> JacobianDensity | None:
    """The density of the Jacobian of `layers`, averaged over the samples.

    Args:
        activation: of the net.
        layers: first to last; weights without a mean.
        groups: the pre-activations of the same layers, from `propagate`.
        moments: of the same Jacobian, which say where the density lies.

    Returns:
        None where layers are not square, where all singular values are equal, or where the root is lost.
    """
    sizes = {size for layer in layers for size in (layer.n_in, layer.n_out)}
    if len(sizes) > 1 or not moments.spread > _SAME or not math.isfinite(moments.mean_log10):
        return None
    points = _points(moments, len(layers))
    with np.errstate(all="ignore"):
        total = np.zeros(len(points))
        for share, sample in _samples(groups[0]):
            factors = _factors(activation, layers, groups, sample)
            below = _below(factors, points, _ANGLE * _width(moments))
            if below is None:
                return None
            total += share * below
    return JacobianDensity(points / (2 * math.log(10)), total)


def _width(moments: SpectrumMoments) -> float:
    """The scale of the logarithm of `s^2`, at most 1."""
    return min(math.sqrt(moments.spread), 1.0)


def _points(moments: SpectrumMoments, depth: int) -> Array:
    """Places of `log s^2`, ascending: even ones through the bulk, and a tail below."""
    width = _width(moments)
    top = moments.mean_log10 * math.log(10) + math.log1p(moments.spread) + 3 * min(1.0, 2 * width)
    bulk = np.linspace(0, 12 * width, _BULK_POINTS)
    tail = np.geomspace(bulk[-1], bulk[-1] + 6 * depth, _TAIL_POINTS + 1)[1:]
    return np.asarray(top - np.concatenate((bulk, tail)))[::-1]


def _samples(first: Groups) -> list[tuple[float, int]]:
    """Shares and numbers of the samples that stand for all: every one of few, else the middles of equal parts."""
    shares, order = first.sample_shares, np.argsort(first.lengths)
    if len(order) <= _MOST_SAMPLES:
        return [(float(shares[sample]), int(sample)) for sample in order]
    parts = np.array_split(order, _MOST_SAMPLES)
    return [(float(shares[part].sum()), int(part[len(part) // 2])) for part in parts]


def _factors(activation: Activation, layers: Sequence[Layer], groups: Sequence[Groups], sample: int) -> _Factors:
    """The factors at one sample. One of similar layers stands for all, but each keeps its own mean square slope."""
    at_layers = [layer.moments for layer in groups]
    fourth_powers = [at.slope_kurtosis * at.slope_square**2 for at in at_layers]
    means = np.array([layer.over_biases(at.slope_square)[sample] for layer, at in zip(groups, at_layers, strict=True)])
    fourths = np.array([layer.over_biases(each)[sample] for layer, each in zip(groups, fourth_powers, strict=True)])
    scale = sum(math.log(layer.n_in * layer.weight_variance * mean) for layer, mean in zip(layers, means, strict=True))
    kurtosis = fourths / means**2
    level = np.round(_LEVELS * (kurtosis - kurtosis.min()) / max(np.ptp(kurtosis), _SAME * kurtosis.max()))
    parts = [np.flatnonzero(level == each) for each in np.unique(level)]
    middles = [part[np.argmin(np.abs(kurtosis[part] - kurtosis[part].mean()))] for part in parts]
    laws = [_slopes(activation, groups[middle], sample) for middle in middles]
    atoms = max(len(squares) for squares, _ in laws)
    squares, shares = (np.array([np.pad(law[part], (0, atoms - len(law[part]))) for law in laws]) for part in (0, 1))
    independent = sum(not layer.orthogonal for layer in layers)
    return _Factors(squares, shares, np.array([len(part) for part in parts]), scale, independent)


def _slopes(activation: Activation, groups: Groups, sample: int) -> tuple[Array, Array]:
    """`phi'^2` over its mean, and the shares of the units that have it, near ones merged, `(atoms,)` each."""
    means, variances = (groups.by_bias(values)[sample] for values in (groups.mean, groups.variance))
    squares, shares = [], []
    for rule in rules(curve_of(activation), variances, means):
        squares.append(activation.slope(rule.x, activation.value(rule.x)) ** 2)
        shares.append(rule.weights * rule.spread(groups.bias_shares[rule.rows]))
    square, share = np.concatenate(squares), np.concatenate(shares)
    order = np.argsort(square)
    square, share = square[order], share[order] / share.sum()
    upto = np.cumsum(share)
    logs = np.log(np.maximum(square, square[np.searchsorted(upto, _RARE)] + _SAME * square[-1]))
    parts = (np.floor((upto - share / 2) * _ATOMS), np.floor(logs / _LOG_STEP))
    new = np.any([np.diff(part, prepend=-np.inf) > 0 for part in parts], axis=0)
    starts = np.flatnonzero(new & (np.diff(square, prepend=-1.0) > _SAME * square[-1]))
    merged = np.add.reduceat(share, starts)
    kept = merged > 0
    atoms = np.add.reduceat(share * square, starts)[kept] / merged[kept]
    return atoms / (atoms @ merged[kept]), merged[kept]


def _below(factors: _Factors, points: Array, angle: float) -> Array | None:
    """The share of singular values below each place of `log s^2`; None where the root is lost.

    The blur of reading above the real axis is extrapolated to none, from two angles. On the negative axis,
    `-m(-r) = E[x / (x + r)]`, nearly the share above a small r.
    """
    roots = _on_negative_axis(factors, points)
    followed, lowest = points[len(points) - len(roots.log_w) :], roots.m[0].real
    turn = _HALF_TURN
    while turn > 2 * angle:
        turn = max(turn * _TURN, 2 * angle)
        roots = _moved(factors, roots, followed + 1j * turn)
    wide = _density(factors, roots)
    sharp = _density(factors, _moved(factors, roots, followed + 1j * angle))
    density_of_log = np.zeros(len(points))
    density_of_log[len(points) - len(followed) :] = np.maximum(2 * sharp - wide, 0.0)
    place, share = factors.largest
    steps = np.diff(points) * (density_of_log[1:] + density_of_log[:-1]) / 2
    above = np.concatenate((np.cumsum(steps[::-1])[::-1], [0.0])) + share * (points < place)
    if not abs(above[0] + lowest) <= _LOST:
        return None
    return np.asarray(1 - above)


def _density(factors: _Factors, roots: _Roots) -> Array:
    """The density of `log s^2` without its atom, `(points,)`, blurred by the angle above the real axis."""
    place, share = factors.largest
    atom = share / np.expm1(roots.log_w - place) if share else 0.0
    return np.asarray(-(roots.m - atom).imag / math.pi)


def _on_negative_axis(factors: _Factors, points: Array) -> _Roots:
    """The solution at `w = -exp(points)`, from the largest down to where nearly all singular values are larger.

    Each solution starts at the one before.
    """
    far = np.array([points[-1] + _FAR_ABOVE + 1j * _HALF_TURN])
    ratio = factors.log_scale - far
    roots = _Roots(far, ratio, np.tile(-ratio[:, None], len(factors.counts)))
    solved = []
    for place in (*np.arange(far[0].real, points[-1], -1.0), *points[::-1]):
        roots = _moved(factors, roots, np.array([place + 1j * _HALF_TURN]))
        if roots.log_w[0].real != place or 1 - factors.zeros + roots.m[0].real < _NOTHING_BELOW:
            break
        if place <= points[-1]:
            solved.append(roots)
    ascending = solved[::-1] or [roots]
    return _Roots(
        *(np.concatenate([getattr(each, name) for each in ascending]) for name in ("log_w", "ratio", "inverse"))
    )


def _moved(factors: _Factors, start: _Roots, log_w: Array, halvings: int = _HALVINGS) -> _Roots:
    """The solutions followed to `log_w`, `(points,)`; where one is lost on the way, the last that holds."""
    end, holds = _solved(factors, start, log_w)
    lost = np.flatnonzero(~holds)
    if not len(lost):
        return end
    if not halvings:
        return end.where(lost, start.at(lost))
    retried = start.at(lost)
    middle = (retried.log_w + log_w[lost]) / 2
    half = _moved(factors, retried, middle, halvings - 1)
    arrived = np.flatnonzero(half.log_w == middle)
    rest = _moved(factors, half.at(arrived), log_w[lost][arrived], halvings - 1)
    return end.where(lost, half.where(arrived, rest))


def _solved(factors: _Factors, start: _Roots, log_w: Array) -> tuple[_Roots, Array]:
    """The solutions at `log_w` by Newton's method in logarithms, and whether each was found, `(points,)`."""
    ratio, inverse, counts = start.ratio, start.inverse, factors.counts
    for _ in range(_ITERATIONS):
        odds, squares = np.exp(-ratio), np.exp(inverse)
        m, rest = -1 / (1 - odds), odds / (odds - 1)
        distance = squares[..., None] - factors.squares
        terms = factors.shares * factors.squares / distance
        own = terms.sum(axis=-1)
        steepness = -squares * (terms / distance).sum(axis=-1) / own
        gap = np.log(m[:, None] / own)
        value = (factors.depth - 1) * ratio + factors.independent * np.log(rest) + inverse @ counts
        excess = value + factors.log_scale - log_w + (gap / steepness) @ counts
        slope = factors.depth - 1 + factors.independent * m + rest * ((1 / steepness) @ counts)
        change = -excess / slope
        ratio = ratio + change
        inverse = inverse + (gap + (rest * change)[:, None]) / steepness
        if not np.max(np.abs(change)) > _TOLERANCE:
            break
    holds = (np.abs(change) < _SOLVED) & (m.imag <= _SOLVED) & (squares.imag.min(axis=1) >= -_SOLVED)
    return _Roots(log_w, ratio, inverse), holds
