"""Weights that are fitted to data: each layer to its own input, before its output goes to the next layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.engine.autoencoder import Coder
from initprobe.engine.fitted import Fitted
from initprobe.engine.mlp import Layer, Parameters
from initprobe.engine.streams import Purpose, Streams
from initprobe.engine.threads import Workers, row_blocks
from initprobe.initializers.fit_settings import Fit, UnitVariance


@dataclass(frozen=True)
class FitContext:
    """What fitting a layer needs beside the layer and its input.

    Attributes:
        number: of the layer, counted from 1.
        streams: the random streams of the network.
        pool: the threads.
        advance: called after each epoch of an autoencoder, or once.
    """

    number: int
    streams: Streams
    pool: Workers
    advance: Callable[[], None]


def fit_layer(fit: Fit, layer: Layer, x: Array, context: FitContext) -> tuple[Parameters, Fitted]:
    """Fit a drawn layer to its input; the weights change in place.

    Args:
        fit: how.
        layer: without norm and skip.
        x: its input, `(samples, fan_in)`.
        context: where the layer stands, and what does the work.

    Returns:
        The fitted parameters, and what fitting reports.

    Raises:
        ConfigError: the autoencoder diverges; names the layer and the step.
    """
    with np.errstate(all="ignore"):  # what overflows or diverges is reported with its layer
        if isinstance(fit, UnitVariance):
            bias = np.zeros(layer.weight.shape[1], layer.weight.dtype) if layer.bias is None else layer.bias
            report = _scaled(fit, layer._replace(parameters=Parameters(layer.weight, bias)), x, context.pool)
            context.advance()
            return Parameters(layer.weight, bias if fit.center else layer.bias), report
        generator = context.streams.generator(Purpose.FIT, context.number)
        coder = Coder(fit, layer, x, generator, context.pool)
        report = coder.learn(context.number, context.advance)
        return coder.layer(), report


def _scaled(fit: UnitVariance, layer: Layer, x: Array, pool: Workers) -> Fitted:
    """Divide the weights by the standard deviation of z or h until the variance of that is 1."""
    measured = layer.activation if fit.of == "output" else None
    weight, bias, scaled = layer.weight, layer.bias, 0
    first = mean, variance = _moments(layer, measured, x, pool)
    while not _is_unit(fit, mean, variance) and scaled < fit.max_iterations and 0 < variance < math.inf:
        if fit.center and bias is not None:
            bias -= weight.dtype.type(mean)
        weight /= weight.dtype.type(math.sqrt(variance))
        scaled += 1
        mean, variance = _moments(layer, measured, x, pool)
    return Fitted(first[1], variance, None, scaled, _is_unit(fit, mean, variance))


def _is_unit(fit: UnitVariance, mean: float, variance: float) -> bool:
    return abs(variance - 1) < fit.tol and (not fit.center or abs(mean) < fit.tol)


def _moments(layer: Layer, activation: Activation | None, x: Array, pool: Workers) -> tuple[float, float]:
    """Mean and variance over units and samples, of z without an activation, else of h."""

    def work(rows: slice) -> tuple[float, float]:
        z = np.matmul(x[rows], layer.weight) + layer.bias
        wide = (z if activation is None else activation.value(z)).astype(np.float64)
        return float(wide.sum()), float(np.vdot(wide, wide))

    sums = pool.map(work, row_blocks(len(x), layer.weight.shape[1]))
    entries = len(x) * layer.weight.shape[1]
    mean = sum(part[0] for part in sums) / entries
    return mean, max(sum(part[1] for part in sums) / entries - mean * mean, 0.0)
