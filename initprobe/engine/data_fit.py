"""Weights that look at data: a layer is fitted to its own input, then hands its output to the next.

An autoencoder encodes by `h = phi(x W + b)`, decodes by `x' = h V + c`, and lowers `|x' - x|^2`, summed over features
and averaged over the samples of a step, by plain SGD. Its rate is in units of 1 / the steepest curvature, since the
scale of a layer's input would otherwise decide whether it learns or diverges.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.engine.autoencoder import Coder
from initprobe.engine.fitted import Fitted
from initprobe.engine.mlp import Parameters
from initprobe.engine.streams import Purpose, Streams
from initprobe.engine.threads import Workers, row_blocks
from initprobe.initializers.fit_settings import Fit, UnitVariance


def fit_layer(
    fit: Fit,
    layer: Parameters,
    activation: Activation,
    x: Array,
    streams: Streams,
    number: int,
    pool: Workers,
    advance: Callable[[], None],
) -> tuple[Parameters, Fitted]:
    """Fit the drawn `layer`, the `number`-th of its net, to its input `x` `(samples, fan_in)`; weights change in place.

    Raises:
        ConfigError: the autoencoder diverges; names the layer and the step.
    """
    with np.errstate(all="ignore"):  # what overflows or diverges is reported with its layer
        if isinstance(fit, UnitVariance):
            bias = np.zeros(layer.weight.shape[1], layer.weight.dtype) if layer.bias is None else layer.bias
            found = _scaled(fit, layer.weight, bias, activation, x, pool)
            advance()
            return Parameters(layer.weight, bias if fit.center else layer.bias), found
        coder = Coder(fit, layer, activation, x, streams.generator(Purpose.FIT, number), pool)
        found = coder.learn(number, advance)
        return coder.layer(), found


def _scaled(fit: UnitVariance, weight: Array, bias: Array, activation: Activation, x: Array, pool: Workers) -> Fitted:
    """Divide the weights by the standard deviation of what is measured, until its variance is 1."""
    measured = activation if fit.of == "output" else None
    scaled = 0
    first = mean, variance = _moments(weight, bias, measured, x, pool)
    while not _is_unit(fit, mean, variance) and scaled < fit.max_iterations and 0 < variance < math.inf:
        if fit.center:
            bias -= weight.dtype.type(mean)
        weight /= weight.dtype.type(math.sqrt(variance))
        scaled += 1
        mean, variance = _moments(weight, bias, measured, x, pool)
    return Fitted(first[1], variance, None, scaled, _is_unit(fit, mean, variance))


def _is_unit(fit: UnitVariance, mean: float, variance: float) -> bool:
    return abs(variance - 1) < fit.tol and (not fit.center or abs(mean) < fit.tol)


def _moments(weight: Array, bias: Array, activation: Activation | None, x: Array, pool: Workers) -> tuple[float, float]:
    """Mean and variance of z, or of h, over units and samples."""

    def work(rows: slice) -> tuple[float, float]:
        z = np.matmul(x[rows], weight) + bias
        wide = (z if activation is None else activation.value(z)).astype(np.float64)
        return float(wide.sum()), float(np.vdot(wide, wide))

    sums = pool.map(work, row_blocks(len(x), weight.shape[1]))
    entries = len(x) * weight.shape[1]
    mean = sum(part[0] for part in sums) / entries
    return mean, max(sum(part[1] for part in sums) / entries - mean * mean, 0.0)
