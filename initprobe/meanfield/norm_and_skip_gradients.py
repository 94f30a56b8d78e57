"""The backward pass of normalised and residual networks: `g_{l-1} = g_l + s W (phi' g_l)`.

Beside the mean square of the gradient it follows its inner product with h, the radial mode (`radial`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from initprobe.activations.skips import Wiring
from initprobe.arrays import Array
from initprobe.meanfield.batch_norm import NOTHING, BatchNoise, Missing, finite_batch_factors, missing_below
from initprobe.meanfield.layer import Layer, State
from initprobe.meanfield.layer_norm import length_factor, norm_factor
from initprobe.meanfield.radial import Averages, Branch, Gradient, Split, averages, quotient
from initprobe.meanfield.row_grid import RowGrid
from initprobe.meanfield.signals import Signal


@dataclass(frozen=True)
class LayerPass:
    """The forward pass of one layer: its input, z and output, and what the backward pass needs.

    Attributes:
        signal: the layer's input.
        state: z.
        grid: the activation on the Hermite grid.
        output: the layer's output.
        skipped: what a skip adds to the layer's own output; None without a skip.
        weights_share: share of the weights in the variance of z, `(groups,)`.
        inverse_square: factor of the mean square of a gradient in the norm, `(groups,)`.
        weighted: mean square of h for weight gradients, `(groups,)`, where the gradient has a mean over the batch.
        centred: the same where a batch norm has removed that mean.
        noise: what a finite batch adds; None without a batch norm.
    """

    signal: Signal
    state: State
    grid: RowGrid
    output: Signal
    skipped: Signal | None
    weights_share: Array
    inverse_square: Array
    weighted: Array
    centred: Array
    noise: BatchNoise | None


class LayerGradients(NamedTuple):
    """Mean squares of the gradients of each group of samples, `(groups,)` each.

    Attributes:
        output: of dL/dh.
        preactivation: of dL/dz.
        weight: of dL/dW, for one sample.
        along: of the part of dL/dh along h and along the mean over units; None where it is not followed.
    """

    output: Array
    preactivation: Array
    weight: Array
    along: Array | None = None


def gradients(
    layers: Sequence[Layer], wirings: Sequence[Wiring], passes: Sequence[LayerPass], batch: int
) -> Iterator[LayerGradients]:
    """The gradients of every layer, first to last.

    Args:
        layers: first to last.
        wirings: norm and skip of each layer.
        passes: what theory computed at each layer in the forward pass.
        batch: samples per batch.
    """
    by_layer: list[LayerGradients] = []
    gradient = Gradient.start(passes[-1].output.squares, layers[-1].n_out)
    mean = mean_around = gradient.square  # of the part that has passed no batch norm, so it has its mean
    branch: Branch | None = None
    above: _Step | None = None
    missing = NOTHING
    for layer, wiring, here in zip(reversed(layers), reversed(wirings), reversed(passes), strict=True):
        step = _Step.of(layer, wiring, here, gradient)
        if wiring.skip is not None:
            mean_around, branch = mean, step.branch(gradient)
        elif branch is not None:
            branch = replace(branch, shared=branch.shared * step.kept_along)
        share = np.where(gradient.square > 0, mean / gradient.square, 1.0)
        delta, inner = _of_layer(step, above)
        weight = here.weighted * inner if np.all(share == 1) else _mixed(here, share) * inner
        if here.noise is not None:
            share = np.zeros_like(share)
            # Above the last norm of a branch of several layers is the stream, whose gradient still has its mean.
            last = not by_layer or wiring.place == wiring.span - 2
            by_row, kept, kept_in_weights = finite_batch_factors(here.grid, here.noise, batch, missing, has_mean=last)
            weight, inner = here.weighted * inner * by_row * kept_in_weights, inner * by_row * kept
        by_layer.append(LayerGradients(gradient.square, delta, weight))
        missing = missing_after(layer, wiring, here, missing, batch)
        gradient, above = step.below(inner, missing), step
        mean = share * gradient.square
        if wiring.opens and branch is not None:
            gradient, branch, mean = branch.joined(gradient, here.signal.squares, layer.n_in), None, mean + mean_around
    return reversed(by_layer)


def _of_layer(step: _Step, above: _Step | None) -> tuple[Array, Array]:
    """Mean squares of dL/dz, and of dL/dy for a norm of samples, `(groups,)` each."""
    layer, wiring, here = step.layer, step.wiring, step.here
    if not wiring.by_sample:
        return step.delta, step.delta * here.inverse_square
    delta = step.delta * length_factor(here.grid, layer, here.state.kurtosis, _share_above(step, above))
    factor = norm_factor(step.averages, here.output.squares, layer, is_bare=wiring.skip is None)
    return delta, delta * here.inverse_square * factor


def missing_after(layer: Layer, wiring: Wiring, here: LayerPass, missing: Missing, batch: int) -> Missing:
    """What batch norms have removed from a gradient below a layer, from what they have above it.

    Args:
        layer, wiring, here: the layer, its norm and skip, and what theory computed there.
        missing: what batch norms above have removed.
        batch: samples per batch.
    """
    if here.noise is None:
        return missing
    return missing_below(here.grid, here.noise, missing if wiring.skip is None else NOTHING, layer.n_in, batch)


def _share_above(step: _Step, above: _Step | None) -> Array | None:
    """Share of the weights in what the layer norm above divides by. None where that is not this layer's own output."""
    if above is None or not above.wiring.by_sample or step.wiring.skip is not None:
        return None
    return above.weights_part


def _mixed(here: LayerPass, share: Array) -> Array:
    """Mean square of h for a weight gradient; `share` of the gradient has a mean over the batch."""
    return np.asarray(share * here.weighted + (1 - share) * here.centred)


@dataclass(frozen=True)
class _Step:
    """One layer on the way back.

    Attributes:
        layer: its weights.
        wiring: its norm and skip.
        here: its forward pass.
        averages: over its units.
        split: dL/dh of its output, and h.
    """

    layer: Layer
    wiring: Wiring
    here: LayerPass
    averages: Averages
    split: Split

    @classmethod
    def of(cls, layer: Layer, wiring: Wiring, here: LayerPass, gradient: Gradient) -> _Step:
        split = Split(gradient, here.output.squares, layer.n_out)
        return cls(layer, wiring, here, averages(here.grid, here.state, here.weights_share), split)

    @property
    def weights_part(self) -> Array:
        """Share of the weights in the variance that a layer norm divides by, `(groups,)`."""
        return np.asarray(1 - self.layer.bias_variance * self.here.inverse_square)

    @property
    def scale(self) -> float:
        """Factor of the layer's own output in its output with the skip."""
        return 1.0 if self.wiring.skip is None else self.wiring.skip

    @property
    def skipped(self) -> tuple[Array, Array]:
        """Mean square and mean over units of what a skip adds to the layer's own output, `(groups,)` each."""
        if self.here.skipped is None:
            return np.zeros_like(self.split.squares), np.zeros_like(self.split.squares)
        return self.here.skipped.squares, self.here.skipped.means

    @cached_property
    def delta(self) -> Array:
        """Mean square over units of dL/dz, `(groups,)`."""
        (square, mean), of = self.skipped, self.averages
        weighted = square * of.slope_square + 2 * self.scale * mean * of.weighted_mean
        weighted = weighted + self.scale**2 * of.weighted_square
        return self.scale**2 * self.split.weighted(of.slope_square, weighted)

    @property
    def _along(self) -> Array:
        """Mean over units of `h v`, where `v = y d(output)/dz`, `(groups,)`."""
        return self.scale * (self.skipped[1] * self.averages.rise + self.scale * self.averages.growth)

    @property
    def kept_along(self) -> Array:
        """Factor that the layer puts on the inner product of gradient and signal, `(groups,)`."""
        if self.wiring.by_sample:
            return np.zeros_like(self.split.squares)  # the gradient behind a layer norm is across y
        return quotient(self._along, self.split.squares)

    def branch(self, gradient: Gradient) -> Branch:
        """The branch that ends here."""
        (square, mean), product = self.skipped, self.split.product
        common = square + self.scale * mean * self.averages.mean
        shared = product(self.scale * mean * self.averages.rise, common, self._along)
        shared = np.zeros_like(shared) if self.wiring.by_sample else shared
        return Branch(gradient, product(square, common, common), shared)

    def below(self, inner: Array, missing: Missing) -> Gradient:
        """dL/dh of the layer's input, by way of its weights.

        Args:
            inner: mean square of dL/dy, `(groups,)`.
            missing: what a batch norm takes from it, along the signals of the batch.
        """
        layer, of = self.layer, self.averages
        if self.wiring.by_sample:
            # h . W u = (y - b) . u = -b . u, as u is across y; this is the variance of a bias given y.
            product = layer.n_out * inner * layer.bias_variance * self.weights_part
        else:
            # Before a batch norm, y also has a part that all samples share.
            common = quotient(self.here.signal.squares, self.here.weighted) - 1
            pull = of.pull + np.maximum(common, 0.0) * of.slope_square
            product = self.split.product(self.scale**2 * pull, self._along, self._along)
        along = quotient(product, layer.n_in**2 * self.here.signal.squares)
        across = self._across(inner, along, missing)
        return Gradient(across + along, product)

    def _across(self, inner: Array, along: Array, missing: Missing) -> Array:
        """Mean square of the part of dL/dh across h, below the weights; arguments as in `below`.

        Orthogonal weights keep the length of a gradient whose directions they all keep.
        """
        layer = self.layer
        square, freedom = layer.n_out * layer.weight_variance * inner, 1 - 1 / layer.n_in
        if not layer.orthogonal or self.wiring.by_batch or min(layer.n_in, layer.n_out) < 2:
            return np.asarray(square * max(freedom - (missing.lost if self.wiring.by_batch else 0.0), 0.0))
        chosen = min(freedom / (1 - 1 / layer.n_out), 1.0)
        return np.asarray(np.maximum(square - along, 0.0) * chosen)
