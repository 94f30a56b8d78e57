"""The prediction that stands beside each measurement: the config's own variance rules through the mean-field maps."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np

from initprobe.config import ProbeConfig
from initprobe.meanfield.maps import InputMoments, Layer, LayerTheory, State, predict
from initprobe.meanfield.moments import histogram
from initprobe.meanfield.spread import LayerSpread, Spread, spread
from initprobe.results import Histogram, LayerStats
from initprobe.results import LayerTheory as Prediction


def no_theory(config: ProbeConfig) -> str | None:
    """Why mean-field theory says nothing about these weights, in words; None where it does."""
    init = config.initializer
    if init.distribution.gaussian_limit:
        return None
    return (
        f"no mean-field prediction: {init.name} weights do not make a wide layer's pre-activations Gaussian and "
        "independent from unit to unit"
    )


def with_theory(
    config: ProbeConfig, layers: Sequence[LayerStats], inputs: Sequence[InputMoments], samples: int
) -> tuple[LayerStats, ...]:
    """The layers with their predictions; `inputs` are the moments of each draw's input, `samples` its rows."""
    if no_theory(config):
        return tuple(layers)
    rules = [rule(config, (layer.fan_in, layer.fan_out)) for layer in layers]
    with np.errstate(all="ignore"):  # a prediction may leave the float range as a measurement may
        predicted = predict(config.activation, rules, pooled(inputs), samples)
        spreads = spread(config.activation, rules, [theory.state for theory in predicted], samples)
        slopes = [math.nan, *map(_length_slope, predicted, predicted[1:], rules[1:])]
        return tuple(
            layer.model_copy(update={"theory": _prediction(config, layer, theory, noise, slope)})
            for layer, theory, noise, slope in zip(layers, predicted, spreads, slopes, strict=True)
        )


def _length_slope(below: LayerTheory, here: LayerTheory, layer: Layer) -> float:
    """`d log q / d log q_below`, q being the mean square of z."""
    found, state = below.state.moments, here.state
    q = state.average(state.variance + state.mean**2)
    return layer.n_in * layer.weight_variance * below.state.average(found.growth) / q


def pooled(inputs: Sequence[InputMoments]) -> InputMoments:
    """The moments of all draws' inputs together; pairs are of one draw."""
    return InputMoments(
        np.concatenate([one.mean_squares for one in inputs]),
        np.concatenate([one.means for one in inputs]),
        statistics.fmean(one.cosine for one in inputs),
        statistics.fmean(one.cosine_variance for one in inputs),
    )


def rule(config: ProbeConfig, fans: tuple[int, int]) -> Layer:
    """What theory needs to know of a `fans = (fan_in, fan_out)` layer, from the rules its weights are sampled by."""
    init, bias = config.initializer, config.bias_initializer
    return Layer(
        *fans,
        weight_variance=init.variance(*fans),
        weight_mean=init.mean,
        bias_variance=bias.variance(*fans),
        bias_mean=bias.mean,
        orthogonal=init.distribution.orthogonal,
    )


def _prediction(
    config: ProbeConfig, layer: LayerStats, theory: LayerTheory, noise: LayerSpread, slope: float
) -> Prediction:
    return Prediction(
        preactivation_variance=_number(theory.preactivation_variance),
        output_variance=_number(theory.output_variance),
        preactivation_gradient_variance=_number(theory.preactivation_gradient_variance),
        output_gradient_variance=_number(theory.output_gradient_variance),
        weight_gradient_variance=_number(theory.weight_gradient_variance),
        correlation=_finite(theory.correlation),
        output_spread=_finite(noise.output.averaged(config.draws).sd),
        output_gradient_spread=_finite(noise.output_gradient.averaged(config.draws).sd),
        length_slope=_finite(slope),
        z=_z(layer, theory.output_variance, noise.output),
        output_shares=_shares(config, layer.output.histogram, theory.state),
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _number(variance: float) -> float | None:
    """A variance, or None where it left the float range."""
    return float(variance) if math.isfinite(variance) and variance > 0 else None


def _z(layer: LayerStats, predicted: float, noise: Spread) -> float | None:
    """Mean log of the draws' variances against its expectation, in standard deviations of that mean.

    In the log, since a measured variance is log-normal: its mean log lies below the log of its mean.
    """
    measured = [v for v in layer.output.variance_by_draw if v is not None and v > 0]
    complete = len(measured) == len(layer.output.variance_by_draw)
    if not complete or layer.output.status != "ok" or not predicted > 0 or not noise.sd > 0:
        return None
    gap = statistics.fmean(map(math.log, measured)) - math.log(predicted) - noise.log_mean
    return _finite(gap / (noise.sd / math.sqrt(len(measured))))


def _shares(config: ProbeConfig, measured: Histogram | None, state: State) -> tuple[float, ...] | None:
    """The predicted distribution of h in the bins of the measured histogram."""
    if measured is None or measured.low == measured.high:
        return None
    edges = np.linspace(measured.low, measured.high, len(measured.counts) + 1)
    shares = histogram(config.activation, state.variance, edges, state.mean, state.shares)
    return tuple(np.clip(shares, 0, 1).tolist()) if np.isfinite(shares).all() else None
