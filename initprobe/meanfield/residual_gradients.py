"""Gradients of residual networks without batch norm: their parts along h and along the mean over units.

A skip keeps what a gradient has gained along signals above. Where phi has a mean, h of all layers share a mean over
units, which grows with depth. So the gradient has two directions of its own at each layer: h, and `1`, equal in all
units. The rest has any direction across both with equal chance. With `p = (g . h, g . 1)` the product of the gradient
with any vector a over units is `a' B (B' B)^-1 p` plus noise, where `B = (h, 1)`.

Round a branch with weights W, `g_below = g + s W (phi' g)`. Given `y = h W`, `W = W_perp + h y / |h|^2`.
So `g_below . h = g . h + s g . (y phi')`, exactly, as in `radial`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from initprobe.activations.skips import Wiring
from initprobe.arrays import Array
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.layer_norm import length_factor, norm_factor
from initprobe.meanfield.norm_and_skip_gradients import LayerGradients, LayerPass
from initprobe.meanfield.radial import Averages, averages, quotient

# Below this share of its mean square, the variance of h over units is rounding: then h itself is along 1.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class _Gradient:
    """dL/dh at one layer, for each group of samples.

    Attributes:
        square: mean square over units, `(groups,)`.
        products: mean over networks of `p p'` with `p = (g . h, g . 1)`, `(groups, 2, 2)`.
    """

    square: Array
    products: Array


@dataclass(frozen=True)
class _Split:
    """A gradient, and the two directions it is split by.

    Attributes:
        gradient: dL/dh.
        inverse: inverse of the mean products of h and 1 over units, `(groups, 2, 2)`.
        directions: how many of the two there are, 1 or 2, `(groups,)`.
        units: of h.
    """

    gradient: _Gradient
    inverse: Array
    directions: Array
    units: int

    @classmethod
    def of(cls, gradient: _Gradient, squares: Array, means: Array, units: int) -> _Split:
        is_apart = squares - means * means > _ROUNDING * squares
        rest = np.where(is_apart, squares - means * means, 1.0)
        first = np.where(is_apart, 1 / rest, quotient(np.ones_like(squares), squares))
        second, both = np.where(is_apart, squares / rest, 0.0), np.where(is_apart, -means / rest, 0.0)
        return cls(gradient, _matrix(first, both, second), 1.0 + is_apart, units)

    @cached_property
    def across(self) -> Array:
        """Mean square over units of the part across h and 1, if it had all directions, `(groups,)`."""
        along = np.einsum("gij,gji->g", self.inverse, self.gradient.products) / self.units**2
        freedom = 1 - self.directions / self.units
        rest = np.maximum(self.gradient.square - along, 0.0)
        return quotient(rest, np.maximum(freedom, 0.0))

    @property
    def along(self) -> Array:
        """Mean square over units of the part along h and 1, `(groups,)`."""
        return np.asarray(self.gradient.square - self.across * (1 - self.directions / self.units))

    def coefficients(self, inner: Array) -> Array:
        """`g . a` for a vector a over units, as a linear function of p: its factors, `(groups, 2)`.

        Args:
            inner: mean over units of `a h` and of a, `(groups, 2)`.
        """
        return np.asarray(np.einsum("gij,gj->gi", self.inverse, inner))

    def product(self, both: Array, first: Array, second: Array) -> Array:
        """`E[(g . a)(g . b)]`, `(groups,)`.

        Args:
            both: mean over units of `a b`, `(groups,)`.
            first: mean over units of `a h` and of a, `(groups, 2)`.
            second: the same of b.
        """
        left, right = self.coefficients(first), self.coefficients(second)
        rest = both - np.vecdot(left, second)
        known = np.einsum("gi,gij,gj->g", left, self.gradient.products, right)
        return np.asarray(self.units * rest * self.across + known)

    def weighted(self, slope_square: Array, weights: Array) -> Array:
        """`E[phi'^2 g^2]`, `(groups,)`.

        Args:
            slope_square: `E[phi'^2]`, `(groups,)`.
            weights: mean over units of `phi'^2 b b'` with `b = (h, 1)`, `(groups, 2, 2)`.
        """
        known = self.inverse @ self.gradient.products @ self.inverse / self.units**2
        excess = known - self.across[:, None, None] * self.inverse / self.units
        total = slope_square * self.across + np.einsum("gij,gji->g", weights, excess)
        return np.asarray(np.maximum(total, 0.0))


def _matrix(first: Array, both: Array, second: Array) -> Array:
    """Symmetric matrices, `(groups, 2, 2)`."""
    return np.array([first, both, both, second]).T.reshape(-1, 2, 2)


def _pair(first: Array, second: Array) -> Array:
    return np.stack([first, second], axis=1)


@dataclass(frozen=True)
class _Branch:
    """A branch that the gradient is in.

    Attributes:
        output: dL/dh at its end.
        kept: mean products of `g . x` and `g . 1` there, x being the input of the branch, `(groups, 2, 2)`.
        shared: mean products of these two with p inside the branch, `(groups, 2, 2)`.
    """

    output: _Gradient
    kept: Array
    shared: Array


@dataclass(frozen=True)
class _Step:
    """One layer on the way back: its weights, wiring and forward pass, averages over its units, and dL/dh."""

    layer: Layer
    wiring: Wiring
    here: LayerPass
    averages: Averages
    split: _Split

    @classmethod
    def of(cls, layer: Layer, wiring: Wiring, here: LayerPass, gradient: _Gradient) -> _Step:
        split = _Split.of(gradient, here.output.squares, here.output.means, layer.n_out)
        return cls(layer, wiring, here, averages(here.grid, here.state, here.weights_share), split)

    @property
    def scale(self) -> float:
        """Factor of the layer's own output in its output with the skip."""
        return 1.0 if self.wiring.skip is None else self.wiring.skip

    @property
    def skipped(self) -> tuple[Array, Array]:
        """Mean square and mean over units of what a skip adds to the layer's own output, `(groups,)` each."""
        kept, none = self.here.skipped, np.zeros_like(self.here.output.squares)
        return (none, none) if kept is None else (kept.squares, kept.means)

    @property
    def delta(self) -> Array:
        """Mean square over units of dL/dz, `(groups,)`."""
        (square, mean), of, scale = self.skipped, self.averages, self.scale
        both = mean * of.slope_square + scale * of.weighted_mean
        of_h = square * of.slope_square + 2 * scale * mean * of.weighted_mean + scale**2 * of.weighted_square
        return scale**2 * self.split.weighted(of.slope_square, _matrix(of_h, both, of.slope_square))

    @cached_property
    def pull(self) -> tuple[Array, Array]:
        """Of `v = s y phi'`, whose product with g is that of the gradient below with h: means of `v^2`, `(v h, v)`."""
        of, mean = self.averages, self.skipped[1]
        inner = _pair(self.scale * (mean * of.rise + self.scale * of.growth), self.scale * of.rise)
        return self.scale**2 * of.pull, inner

    def branch(self, gradient: _Gradient) -> _Branch:
        """The branch that ends here."""
        (square, mean), of, out = self.skipped, self.averages, self.here.output
        of_input, of_ones = _pair(square + self.scale * mean * of.mean, mean), _pair(out.means, np.ones_like(mean))
        product, ones = self.split.product, np.ones_like(mean)
        kept = _matrix(
            product(square, of_input, of_input), product(mean, of_input, of_ones), product(ones, of_ones, of_ones)
        )
        pull = self.pull[1]
        crossed = (
            product(self.scale * mean * of.rise, of_input, pull),
            product(self.scale * of.rise, of_ones, pull),
        )
        return _Branch(gradient, kept, self.passed(_pair(*crossed)))

    def passed(self, crossed: Array) -> Array:
        """Mean products of two numbers with p below the layer, from those with `g . v`, `(groups, 2)`."""
        if self.wiring.by_sample:
            return np.zeros((len(crossed), 2, 2))  # the gradient behind a layer norm is across y
        return np.asarray(crossed[:, :, None] * self._shares[:, None, :])

    def shared_below(self, shared: Array) -> Array:
        """Mean products of two numbers with p below the layer, from those with p above, `(groups, 2, 2)`."""
        return self.passed(np.einsum("gij,gj->gi", shared, self.split.coefficients(self.pull[1])))

    @cached_property
    def _shares(self) -> Array:
        """`g . h` and `g . 1` below, from the part along h, per `g . h`, `(groups, 2)`."""
        below = self.here.signal
        return _pair(np.ones_like(below.means), quotient(below.means, below.squares))

    def below(self, inner: Array) -> _Gradient:
        """dL/dh of the layer's input by way of its weights; `inner` is the mean square of dL/dy, `(groups,)`."""
        layer, below = self.layer, self.here.signal
        if self.wiring.by_sample:
            product = layer.n_out * inner * layer.bias_variance * (1 - layer.bias_variance * self.here.inverse_square)
        else:
            square, along_h = self.pull
            product = np.maximum(self.split.product(square, along_h, along_h), 0.0)
        along = quotient(product, layer.n_in**2 * below.squares)
        across = self._across(inner, along)
        products = product[:, None, None] * self._shares[:, :, None] * self._shares[:, None, :]
        spread = np.maximum(1 - quotient(below.means**2, below.squares), 0.0)
        products[:, 1, 1] += quotient(layer.n_in * across * spread, np.full_like(across, 1 - 1 / layer.n_in))
        return _Gradient(across + along, products)

    def _across(self, inner: Array, along: Array) -> Array:
        """Mean square of the part of dL/dh across h, below the weights.

        Orthogonal weights keep the length of a gradient whose directions they all keep.
        """
        layer = self.layer
        square, freedom = layer.n_out * layer.weight_variance * inner, 1 - 1 / layer.n_in
        if not layer.orthogonal or min(layer.n_in, layer.n_out) < 2:
            return np.asarray(square * freedom)
        chosen = min(freedom / (1 - 1 / layer.n_out), 1.0)
        return np.asarray(np.maximum(square - along, 0.0) * chosen)


def residual_gradients(
    layers: Sequence[Layer], wirings: Sequence[Wiring], passes: Sequence[LayerPass]
) -> Iterator[LayerGradients]:
    """The gradients of every layer, first to last.

    Args:
        layers: first to last.
        wirings: norm and skip of each layer; no batch norm.
        passes: what theory computed at each layer in the forward pass.
    """
    by_layer: list[LayerGradients] = []
    last = passes[-1].output
    ones = np.ones_like(last.squares)
    gradient = _Gradient(ones, layers[-1].n_out * _matrix(last.squares, last.means, ones))
    branch: _Branch | None = None
    above: _Step | None = None
    for layer, wiring, here in zip(reversed(layers), reversed(wirings), reversed(passes), strict=True):
        step = _Step.of(layer, wiring, here, gradient)
        if wiring.skip is not None:
            branch = step.branch(gradient)
        elif branch is not None:
            branch = _Branch(branch.output, branch.kept, step.shared_below(branch.shared))
        delta, inner = _of_layer(step, above)
        by_layer.append(LayerGradients(gradient.square, delta, here.weighted * inner, step.split.along))
        gradient, above = step.below(inner), step
        if wiring.opens and branch is not None:
            gradient, branch = _joined(branch, gradient, here.signal.squares, layer.n_in), None
    return reversed(by_layer)


def _joined(branch: _Branch, below: _Gradient, squares: Array, units: int) -> _Gradient:
    """dL/dh at the start of a branch. `below` is by way of the branch, and `squares` are mean squares of h there."""
    crossed = branch.shared
    products = branch.kept + below.products + crossed + crossed.swapaxes(1, 2)
    along = quotient(2 * crossed[:, 0, 0], units**2 * squares)
    return _Gradient(branch.output.square + below.square + along, products)


def _of_layer(step: _Step, above: _Step | None) -> tuple[Array, Array]:
    """Mean squares of dL/dz, and of dL/dy for a norm of samples, `(groups,)` each."""
    layer, wiring, here = step.layer, step.wiring, step.here
    if not wiring.by_sample:
        return step.delta, step.delta * here.inverse_square
    is_normed = above is not None and above.wiring.by_sample and wiring.skip is None
    share = 1 - above.layer.bias_variance * above.here.inverse_square if is_normed and above else None
    delta = step.delta * length_factor(here.grid, layer, here.state.kurtosis, share)
    factor = norm_factor(step.averages, here.output.squares, layer, is_bare=wiring.skip is None)
    return delta, delta * here.inverse_square * factor
