"""The spread of gradient variances at finite width.

Everything is to first order in 1/width, as in `finite_width`. `of_mean` goes on to the log of a mean over samples that
are log-normal. The bias of gradient variances is in `gradient_bias`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from initprobe.arrays import Array
from initprobe.meanfield.layer import Layer
from initprobe.meanfield.lengths import Lengths, accumulated_back
from initprobe.meanfield.unit_noise import HH, SLOPES, ZZ, Noise, free_share

# Variance of the logs of independent samples beyond which that of their mean grows along its tangent.
_WIDEST = 2.0


def gradient_variances(layers: Sequence[Layer], noise: Noise, lengths: Lengths, batch: int) -> tuple[Array, Array]:
    """Variances of the logs of the mean squares of dL/dh and dL/dz, `(layers,)` each, first to last.

    Args:
        layers: first to last.
        noise: of their means.
        lengths: the deviations of their mean squares.
        batch: number of samples that the mean squares are taken over.
    """
    of_batch = _first_order(layers, noise, lengths, batch)
    one_sample = noise._replace(batch=noise.single), lengths._replace(batch=lengths.single)
    of_single = _first_order(layers, *one_sample, 1)
    first, second = (of_mean(*each, batch) for each in zip(of_batch, of_single, strict=True))
    return first, second


def of_mean(of_batch: Array, single: Array, batch: int) -> Array:
    """Variance of the log of a mean over samples whose logs are normal, from first orders.

    To first order the variance of the mean is `single / B + (1 - 1/B) shared`. The log of each sample is a shared part
    and `D = single - shared` of its own. A mean of B log-normal numbers has the relative variance `(e^D - 1) / B`, so
    that the log of the mean has `shared + log(1 + (e^D - 1) / B)`. Fenton 1960, IRE Trans. Commun. Systems 8:57.

    Against simulation, the standard deviation is right to 8% up to D = 1.5. From D = 2 on the formula overshoots. Its
    tangent there is within 40% up to D = 5.

    Args:
        of_batch: the first order for the mean, `(layers,)`.
        single: that for one sample, `(layers,)`.
        batch: number of samples B.
    """
    if batch == 1:
        return of_batch
    shared = (of_batch - single / batch) / (1 - 1 / batch)
    own = np.maximum(single - shared, 0.0)
    near, far = np.minimum(own, _WIDEST), np.maximum(own - _WIDEST, 0.0)
    growth = np.exp(near) / (batch + np.expm1(near))
    return np.asarray(shared + np.log1p(np.expm1(near) / batch) + growth * far)


def _first_order(layers: Sequence[Layer], noise: Noise, lengths: Lengths, batch: int) -> tuple[Array, Array]:
    """The variances to first order in 1/width.

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
        overlap = min(agreement * overlap + gained / units, 1.0)  # a squared cosine
        # From here on `free` and `units_noise` are for the layer below.
        free = free_share(layers[k].n_in, layers[k])
        alone, together = 3 * (1 + same[k]) / batch, (1 + other[k]) * (1 + 2 * overlap) * (1 - 1 / batch)
        units_noise = layers[k].unit_noise / units * (alone + together)
    after_slopes, before_slopes = _coupled(layers, noise, lengths)
    return after + after_slopes, before + before_slopes


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
