"""The spread of gradient variances at finite width, and the bias that fluctuating lengths give them.

Everything is to first order in 1/width, as in `finite_width`. What the signal's own direction adds to a gradient is in
`backward`, at any order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from initprobe.arrays import Array
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.lengths import Lengths, accumulated_back
from initprobe.meanfield.unit_noise import HH, SLOPES, ZZ, Noise, free_share


def gradient_variances(layers: Sequence[Layer], noise: Noise, lengths: Lengths, batch: int) -> tuple[Array, Array]:
    """Variances of the logs of the mean squares of dL/dh and dL/dz, `(layers,)` each, first to last.

    There are three parts. Slopes differ from theory because q does, or by chance in these units (`_coupled`). Weights
    lengthen or shorten this gradient by chance. A batch averages that away as far as `overlap` permits, the mean
    squared cosine between the gradients of two samples. Units differ in the mean square of their own weights
    (`units_noise`), where weights are not normal.
    """
    same, other = (noise.relative(each, SLOPES, SLOPES).tolist() for each in (noise.same, noise.other))
    agreements = ((noise.slope_product / noise.mean[:, SLOPES]) ** 2).tolist()
    after, before = np.zeros((2, len(layers)))
    above, overlap, free, units_noise = 0.0, 0.0, 1.0, 0.0
    for k in reversed(range(len(layers))):
        units, agreement, shared = layers[k].n_out, agreements[k], overlap * (1 - 1 / batch)
        after[k] = above + 2 * free / units * (1 / batch + shared) + units_noise
        above += 2 / units * ((same[k] + free) / batch + (other[k] + free) * shared) + units_noise
        before[k] = above
        gained = (1 + other[k]) * (1 + 2 * overlap) - agreement * (overlap + (1 + overlap) * (1 - free))
        overlap = agreement * overlap + gained / units
        # From here on `free` and `units_noise` are for the layer below.
        free = free_share(layers[k].n_in, layers[k])
        alone, together = 3 * (1 + same[k]) / batch, (1 + other[k]) * (1 + 2 * overlap) * (1 - 1 / batch)
        units_noise = layers[k].unit_noise / units * (alone + together)
    after_slopes, before_slopes = _coupled(layers, noise, lengths)
    return after + after_slopes, before + before_slopes


def gradient_biases(layers: Sequence[Layer], noise: Noise, lengths: Lengths) -> tuple[Array, Array]:
    """`E[measured] / theory - 1` of dL/dh and of dL/dz, `(layers,)` each, first to last.

    A gradient is a product of one factor `mean phi'^2` per layer. The mean of a product exceeds the product of the
    means by the covariances of its factors, which fluctuate together: a long signal stays long. Each factor has a bias
    of its own too, from the mean and the variance of q.

    Each sample of a batch has the bias of a single sample.
    """
    growth = noise.slope[:, SLOPES] / noise.mean[:, SLOPES]
    drift = noise.offset[:, SLOPES] + noise.curvature[:, SLOPES] * lengths.single / 2
    own = growth * lengths.bias + drift / noise.mean[:, SLOPES]
    # What all slopes above a layer gain with its own: through its q, and through the noise that its units share.
    above = accumulated_back(growth, lengths.response)[1:-1]
    common = noise.relative(noise.single, HH, SLOPES)
    passed = lengths.response * growth[:-1] * lengths.single[:-1] + lengths.share * common[:-1]
    before = _sums_to_the_last(own + np.append(above * passed, 0.0))
    # Units of long weights have a large z, and pass more of their gradient back.
    long_units = _sums_to_the_last(np.array([layer.unit_noise for layer in layers]) * growth)
    return before[1:] + long_units[1:], before[:-1] + long_units[1:]


def _coupled(layers: Sequence[Layer], noise: Noise, lengths: Lengths) -> tuple[Array, Array]:
    """Variance that the slopes, which depend on the forward pass, give to dL/dh and to dL/dz at each layer.

    It includes twice the covariance with the noise of the weights, which z and the gradient share.
    """
    growth = noise.slope / noise.mean
    # Response of all slopes from a layer on to its q; the last entry stands for no slopes.
    to_length = accumulated_back(growth[:, SLOPES], lengths.response)
    # Their response to the noise of its mean phi^2, which changes the q above it.
    to_noise = np.append(lengths.share * to_length[1:-1], 0.0)
    chance = to_noise**2 * noise.relative(noise.batch, HH, HH)
    chance += 2 * to_noise * noise.relative(noise.batch, HH, SLOPES) + noise.relative(noise.batch, SLOPES, SLOPES)
    variance = to_length**2 * np.append(lengths.batch, 0.0) + _sums_to_the_last(chance)
    reused = 2 * _reused(layers, noise, lengths, to_noise * growth[:, HH] + growth[:, SLOPES])
    return variance[1:] + reused, variance[:-1] + reused


def _reused(layers: Sequence[Layer], noise: Noise, lengths: Lengths, response: Array) -> Array:
    """Covariance, at each layer, of the gradient's relative noise with the slopes that it has passed.

    The slopes respond to the relative noise of `|z|^2` at each layer with `response`. For one matrix and any h and d,
    `Cov(|Wh|^2, |W'd|^2) = 2/(n_in n_out)`, relative. For a product of matrices it is the same, times the overlap of
    signals and gradients that the nonlinearities leave. Orthogonal matrices keep lengths.
    """
    n_in, n_out, units = np.array([(layer.n_in, layer.n_out, layer.unit_noise) for layer in layers]).T
    drawn = np.array([0.0 if layer.orthogonal else 1.0 for layer in layers])
    own = drawn * response / n_out
    mean = noise.mean[:-1]
    kept = mean[:, ZZ] / mean[:, HH] / mean[:, SLOPES] * noise.slope_product[:-1] ** 2
    together = accumulated_back(own, lengths.share * kept)[:-1]
    return _sums_to_the_last(2 * drawn / n_in * together + units * own)[1:]


def _sums_to_the_last(values: Array) -> Array:
    """Sum from each value to the last, and 0 for the empty sum: one value more than `values` has."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)
