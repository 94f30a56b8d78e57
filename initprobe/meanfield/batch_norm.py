"""Batch norm on the whole kernel of a batch: the products of its rows, and what a finite batch adds.

A sample's centred mean square is `K_aa - 2 mean_b K_ab + mean K`. The next kernel `E[phi(z_a) phi(z_b)]` follows for
each pair by Mehler's series. Where inputs are unlike, a gradient grows by `E[phi'^2] / Var(phi)` per layer
(`pi / (pi - 1)` for ReLU). Yang et al. 2019, arXiv:1902.08129.

A finite batch has two effects of the first order in 1/batch. The units' variances differ by chance. A part of the
gradient, its mean and the part along z, is projected out.

A finite width adds to the first of them. Products of two rows of h are means over n units. So their squares are
larger than those of the mean kernel: rows of n units span at most n directions. Relative to the mean squares, a
centred product varies by `v' = (E[z phi]^2 / Var(phi) (1 - 1/B))^2 v + 1/n` from layer to layer, v being the variance
below. For pairs of uncorrelated rows in a large batch it becomes 2.2/n for ReLU and 7.4/n for tanh. The mean square of
one row varies too. ReLU adds 3.2/n per layer, and keeps 1 - 2/B of a deviation, since phi scales with z.

On the way back, a unit's gradient u is proportional to one over the length of its y. So its weights w, of which y is a
part, are short where u is long. `E[|w|^2 |u|^2]` is `1 - 2/n` times the product of the means (Euler's theorem, as u is
homogeneous of degree -1). Along a sample's own h the radial mode has its part of it. The rest, `(1 + Q/D) / n` with
`Q = E[z^2 phi'^2]` and `D = E[phi'^2]`, is missing evenly along the h of all samples. It is missing in the layers
below as far as phi is linear: `m' = (1 + Q/D) / n + E[phi']^2 E[z phi]^2 / (D Var(phi)) (1 - 1/B)^2 m`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.meanfield.correlated_pairs import hermite_grid, products_of_rows
from initprobe.meanfield.directions import ONE_DIRECTION, Added, Spectrum
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.moments import Moments
from initprobe.meanfield.radial import quotient
from initprobe.meanfield.row_grid import RowGrid
from initprobe.meanfield.signals import Signal, batch_means, centred_gram, cosines, pair_statistics

# Simulated over ten layers of 100 units, on noise, digits and image-like inputs, ReLU and tanh. With 16 samples the
# gradient at layer 1 is 8% to 14% below its prediction. With 12 samples it is up to 18% below, with 10 up to 21%. The
# second limit was chosen. It is on the mean of 1/v of a unit's variance v at the first layer, over 1 / (mean v).
FEWEST_SAMPLES, _LARGEST_INVERSE = 16, 1.6
# Chosen: least factor of the variance of z. For rows that are much longer, its first order is negative.
_LEAST_LENGTHENING = 0.1


def fault_of(inputs: InputMoments, batch: int) -> str | None:
    """Why theory does not hold for a batch norm over `batch` samples of these inputs; None where it holds.

    Args:
        inputs: moments of the input.
        batch: samples that the norm averages over.
    """
    if batch < FEWEST_SAMPLES:
        return f"batch norm over {batch} samples; its theory is a series in 1/batch and needs {FEWEST_SAMPLES} or more"
    noise = BatchNoise.of(Signal.of(inputs, by_row=True).rows, batch)
    if noise.inverse <= _LARGEST_INVERSE:
        return None
    return (
        f"batch norm of inputs that differ in few directions, effectively {1 / noise.variance:.1f}; "
        "variances over the batch are too random for theory"
    )


def kernel_after(grid: RowGrid, squares: Array, correlations: Array, noise: BatchNoise | None) -> Array:
    """`E[phi(z_a) phi(z_b)]` of all pairs of rows, `(rows, rows)`, by Mehler's series.

    The diagonal is `squares`; the other pairs come from `products_of_rows`.

    Args:
        grid: the activation on the grid.
        squares: `E[phi^2]`, `(rows,)`.
        correlations: of z, `(rows, rows)`.
        noise: of the batch norm; None without one.
    """
    coefficients = grid.coefficients()
    kernel = products_of_rows(coefficients, squares, correlations)
    if noise is not None:
        kernel += noise.on_kernel(coefficients)
    np.fill_diagonal(kernel, squares)
    return kernel


@dataclass(frozen=True)
class BatchNoise:
    """What a finite batch adds, to first order in 1/batch: the variance that a unit is divided by is random.

    Attributes:
        variance: half its relative variance over units. One over it is the number of directions that the samples have.
        own: half the relative covariance of it with the y^2 of one row, `(rows,)`.
        inverse: mean over units of one over it, relative to one over its mean.
        correlations: of z of all pairs of rows, `(rows, rows)`.
        followed: half the relative covariance of the unit's variance with the product of two rows, `(rows, rows)`.
        mean: spectrum of the mean kernel.
        spectrum: the same at this width.
    """

    variance: float
    own: Array
    inverse: float
    correlations: Array
    followed: Array
    mean: Spectrum = ONE_DIRECTION
    spectrum: Spectrum = ONE_DIRECTION

    @classmethod
    def of(cls, gram: Array, batch: int, added: Added | None = None) -> BatchNoise:
        """The noise of a batch norm whose inputs have these mean products of rows, `(rows, rows)`.

        What a finite width adds leaves the correlations of z unchanged.

        Args:
            gram: mean products of rows over units, `(rows, rows)`.
            batch: samples that the norm averages over.
            added: what varies over networks.
        """
        centred = centred_gram(gram, batch)
        size = float(np.maximum(centred.diagonal(), 0.0).mean())
        if not 0 < size < math.inf:
            return cls(0.0, np.zeros(len(gram)), 1.0, np.zeros_like(centred), np.zeros_like(centred))
        centred = centred / size
        squares = np.maximum(centred.diagonal(), 0.0)
        by_row, overall = batch_means(np.vecdot(centred, centred), centred.diagonal() ** 2, batch)
        mean = Spectrum.of(centred, overall)
        spectrum = mean if added is None else added.to(mean)
        own, wider = quotient(by_row, squares), spectrum.second - overall
        cosine = cosines(centred)
        correlations, followed = _correlations(centred, cosine, own, batch)
        followed += (1 - 2 / batch) * wider * cosine
        return cls(spectrum.second, own + wider, spectrum.inverse, correlations, followed, mean, spectrum)

    @property
    def lengthening(self) -> Array:
        """Factor of the variance over units of each row's z, `(rows,)`."""
        return np.asarray(np.maximum(1 + 2 * self.variance - 2 * self.own, _LEAST_LENGTHENING))

    @property
    def excess(self) -> Array:
        """The excess kurtosis over units of each row's z, over 24, `(rows,)`."""
        return np.asarray(self.variance / 4 - self.own / 2)

    def on_moments(self, grid: RowGrid, of: Moments) -> Moments:
        """The moments of h, `of` for a normal z, with the excess kurtosis of z.

        Args:
            grid: value and slope of the activation at nodes of z, for each row.
            of: moments of h for a normal z.
        """
        (h, d), fourth = (grid.value, grid.slope), hermite_grid().fourth
        squares, means = (
            [self.excess * grid.spread(f @ fourth) for f in functions] for functions in ((h * h, d * d), (h, d))
        )
        square = np.maximum(of.square + squares[0], 0.0)
        mean = of.mean + means[0]
        variance = np.maximum(of.variance + (square - of.square) - (mean * mean - of.mean * of.mean), 0.0)
        slope_square = np.maximum(of.slope_square + squares[1], 0.0)
        return of._replace(
            mean=mean, square=square, variance=variance, slope=of.slope + means[1], slope_square=slope_square
        )

    def on_kernel(self, coefficients: Array) -> Array:
        """What it adds to `E[phi(z_a) phi(z_b)]`, `(rows, rows)`; coefficients are `(orders, rows)`.

        z has the fourth cumulants `V sum_3 C C - sum_6 C T`. C is the correlation, V the variance of the unit's
        variance, and T its covariance with products of rows. Of each, terms up to the first order in C are kept.
        """
        mean, first, second, third, fourth, fifth = (coefficients[k] * math.sqrt(math.factorial(k)) for k in range(6))
        excess = self.excess
        kernel = _symmetric(
            (excess * fifth, first), ((self.variance - self.own) * third, first), (excess * third, third)
        )
        kernel *= self.correlations
        kernel += _symmetric((excess * fourth, mean), (excess * second, second))
        if third.any():
            kernel -= self.followed * _symmetric((third, first))
        return kernel


def _symmetric(*pairs: tuple[Array, Array]) -> Array:
    """The sum of `a b^T + b a^T` over pairs of vectors a and b, `(rows, rows)`."""
    firsts, seconds = zip(*pairs, strict=True)
    return np.asarray(np.stack([*firsts, *seconds], axis=1) @ np.stack([*seconds, *firsts]))


def _correlations(centred: Array, cosine: Array, own: Array, batch: int) -> tuple[Array, Array]:
    """`correlations` and `followed` of `BatchNoise`, from centred products relative to their mean square.

    `E[z_a z_b]` loses `2 (K K)_ab / batch`, by which the unit's variance follows the product of the two rows.
    """
    squares, rows = centred.diagonal(), len(centred)
    between = (1 - 2 / batch) / (rows - 2) if rows > 2 else 0.0
    scaled = centred * quotient(np.ones(rows), np.sqrt(np.maximum(squares, 0.0)))[:, None]
    followed = scaled @ scaled.T
    followed *= between
    ends = np.add.outer(squares, squares) * (1 / batch - between)
    ends *= cosine
    followed += ends
    shifted = np.add.outer(own + 0.5, own + 0.5)
    shifted *= cosine
    shifted -= 2 * followed
    np.clip(shifted, -1.0, 1.0, out=shifted)
    np.fill_diagonal(shifted, cosine.diagonal())
    return shifted, followed


def added_by(
    grid: RowGrid, noise: BatchNoise | None, below: tuple[Spectrum, Spectrum], branch: float, sizes: tuple[int, int]
) -> Added | None:
    """What a finite width adds to the directions of the batch above one layer.

    None if the output does not vary.

    Args:
        grid: the activation on the grid.
        noise: of its batch norm; None without one.
        below: spectra of the mean kernel and at this width, of the input of the layer or of its branch.
        branch: share of the layer's own output in the variance of its output with the skip.
        sizes: units of the layer, and samples.
    """
    z, fourth = hermite_grid().z, hermite_grid().fourth
    excess = 0.0 if noise is None else noise.excess
    mean, square, product = (
        grid.average(f) + excess * grid.spread(f @ fourth) for f in (grid.value, grid.value**2, grid.value * z)
    )
    variance = float((square - mean * mean).mean())
    if not 0 < variance < math.inf:
        return None
    # Where correlations have the variance v, the cube of one is 3 v times it plus the rest: Isserlis' theorem.
    cubic = grid.spread(grid.value @ hermite_grid().analysis[3])
    varying = max(below[1].second - 1 / sizes[1], 0.0)
    along = min(float((product * product + 3 * varying * cubic * cubic).mean()) / variance, 1.0)
    return Added.by_layer(*below, along, branch, sizes)


class Missing(NamedTuple):
    """What a gradient lacks below batch norms.

    Attributes:
        lost: share of its mean square that is missing along the h of other samples.
        steps: norms that have removed its part along their z, over the samples; those far above count less.
    """

    lost: float
    steps: float


NOTHING = Missing(0.0, 0.0)


def missing_below(grid: RowGrid, noise: BatchNoise, missing: Missing, units: int, batch: int) -> Missing:
    """What is missing from a gradient below the weights of a layer with a batch norm.

    Args:
        grid: the activation on the grid.
        noise: of the batch norm.
        missing: of dL/dh of the layer's output.
        units: inputs of the layer.
        batch: number of samples.
    """
    z, square = hermite_grid().z, grid.slope**2
    slope_square = float(grid.average(square).mean())
    if not slope_square > 0:
        return NOTHING
    pulled, passed = float(grid.average(square * z * z).mean()) / slope_square, _passed(grid, batch)
    lost = noise.spectrum.lost(passed * missing.lost, 1 + pulled, units)
    return Missing(lost, pulled + passed * missing.steps)


def _passed(grid: RowGrid, batch: int) -> float:
    """Share of what is missing above an activation that is missing below it: all for a linear one."""
    means, z = grid.average(grid.value), hermite_grid().z
    variance = float((grid.average(grid.value**2) - means**2).mean())
    slope, slope_square = float(grid.average(grid.slope).mean()), float(grid.average(grid.slope**2).mean())
    if not slope_square * variance > 0:
        return 0.0
    return (slope * float(grid.average(grid.value * z).mean()) * (1 - 1 / batch)) ** 2 / (slope_square * variance)


def finite_batch_factors(
    grid: RowGrid, noise: BatchNoise, batch: int, missing: Missing, has_mean: bool
) -> tuple[Array, float, float]:
    """Factors that a finite batch puts on the mean squares of dL/dy and of dL/dW.

    Of the samples' gradients, the norm removes the mean and the part along z. For weight gradients that part counts
    as often as the samples have fewer directions than there are samples. So do the parts that norms above removed,
    since z above are mostly along z here. Gradients without a mean over the batch have
    products of -1/(B - 1) for two samples. So of `f = phi'` and of `f = z phi'`, `E[f^2] - E[f_a f_b]` is removed.

    Args:
        grid: the activation on the grid.
        noise: of the batch norm.
        batch: number of samples.
        missing: from dL/dh of the layer's output.
        has_mean: whether the gradient has a mean over the batch; one that comes from another batch norm has none.

    Returns:
        A factor of both for each row, `(rows,)`, then one for dL/dy and one for dL/dW.
    """
    square, place = grid.slope * grid.slope, hermite_grid().z
    own, change = grid.average(square), grid.average(square * (place * place - 1))
    rows = np.maximum(noise.inverse + (noise.variance - noise.own) * quotient(change, own), 0.0)
    removed, (correlation, _) = [], pair_statistics(noise.correlations)
    for f in (grid.slope, grid.slope * grid.deviation):
        first = float(grid.average(f).mean()), float(grid.average(f * place).mean())
        pairs = 0.0 if has_mean else first[0] ** 2 + correlation * first[1] ** 2
        removed.append(float(grid.average(f * f).mean()) - pairs)
    whole = float(own.mean())
    if not whole > 0:
        return rows, 1.0, 1.0
    above = _passed(grid, batch) * missing.steps * max(noise.variance - 1 / batch, 0.0)
    return rows, 1 - sum(removed) / whole / batch, 1 / (1 + removed[1] / whole * noise.variance + above)
