"""The prediction beside each measurement: the variance rules of a config put through the mean-field maps."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from initprobe.activations.skips import wirings
from initprobe.arrays import finite
from initprobe.config.probe_config import ProbeConfig
from initprobe.meanfield.finite_width import UNKNOWN, LayerSpread, Spread, spread, with_biases
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.predict import LayerTheory, predict
from initprobe.prediction.drawn import are_drawn, with_drawn_networks
from initprobe.prediction.infinite_width import AtInfiniteWidth, norm_and_skip_theory, surrounded
from initprobe.prediction.output_shares import OutputShares
from initprobe.prediction.rules import no_series, no_theory, rules_of
from initprobe.results.base import TENSORS
from initprobe.results.layers import LayerStats, TensorStats

if TYPE_CHECKING:
    from initprobe.meanfield.row_lengths import LengthEffects

# Chosen: spreads of logs beyond which theory is checked by networks that are drawn.
_WIDE = 1.0
# Relative rounding of a measured variance. A linear activation behind a norm has no other spread.
_ROUNDING = 1e-6
# Chosen: the largest possible error, in logs, with which a prediction is given; the second under batch norm.
_MOST_LEFT_OUT = math.log(1000), math.log(1.15)


class NetworkPrediction(NamedTuple):
    """The prediction for every layer of a network, from its config and its measured input.

    Attributes:
        layers: first to last; forward at infinite width, gradients at this width to first order.
        spreads: spread of the measured variances at this width; NaN where it is not derived.
    """

    layers: Sequence[LayerTheory]
    spreads: Sequence[LayerSpread]


def predict_network(
    config: ProbeConfig,
    sizes: Sequence[int],
    inputs: InputMoments,
    samples: int,
    *,
    drawing: bool = True,
    at_infinite_width: AtInfiniteWidth | None = None,
) -> NetworkPrediction | None:
    """The prediction for a network; None where mean-field theory does not apply.

    Args:
        config: of the run.
        sizes: features of the input, then units of each layer.
        inputs: moments of the input.
        samples: number of samples per draw.
        drawing: whether networks may be drawn where the series is too short, which takes up to some seconds.
        at_infinite_width: of a normalised or residual network, if it is known.
    """
    batch = samples // config.batches
    fault = no_series(config, sizes, inputs, batch)
    if fault and (not drawing or no_theory(config, sizes, inputs, batch)):
        return None
    with np.errstate(all="ignore"):  # a prediction may leave the float range as a measurement may
        if not config.is_plain:
            series = at_infinite_width or norm_and_skip_theory(config, sizes, inputs, batch)
            return _norm_and_skip_prediction(config, sizes, inputs, samples, series, drawing, has_series=fault is None)
        rules = rules_of(config, sizes)
        layers = predict(config.activation, rules, inputs, samples)
        if any(layer.weight_mean for layer in rules):
            from initprobe.meanfield.weights_with_mean import spread_with_means

            spreads = spread_with_means(config.activation, rules, layers, inputs, samples)
            return NetworkPrediction(list(map(_within_reach, layers, spreads)), spreads)
        of_plain = spread(config.activation, rules, [theory.state for theory in layers], samples)
        corrected, about = with_biases(layers, of_plain)
        is_narrow = all(noise.output.sd <= _WIDE and noise.output_gradient.sd <= _WIDE for noise in about)
        # A mean of the biases may leave few units active.
        if is_narrow or not any(layer.bias_mean for layer in rules):
            return NetworkPrediction(corrected, about)
        from initprobe.meanfield.drawn_pairs import checked_by_draws

        checked = checked_by_draws(config.activation, rules, corrected, about, inputs, samples)
        return NetworkPrediction(list(map(_within_reach, corrected, checked)), checked)


def _norm_and_skip_prediction(
    config: ProbeConfig,
    sizes: Sequence[int],
    inputs: InputMoments,
    samples: int,
    series: AtInfiniteWidth,
    drawing: bool,
    *,
    has_series: bool,
) -> NetworkPrediction:
    """The prediction for a normalised or residual network."""
    from initprobe.meanfield.norm_and_skip_spread import spread_norm_and_skip
    from initprobe.meanfield.row_lengths import NO_EFFECT, length_effects

    rules, around, batch, passes, gradients, theory_of_sample = series
    lengths = [NO_EFFECT] * len(rules)
    if config.norm == "batch":
        lengths = length_effects(config.activation, rules, around, passes, batch)
    layers = [
        _with_lengths(replace(theory, weight_gradient_variance=samples * theory.weight_gradient_variance), each)
        for theory, each in zip(theory_of_sample, lengths, strict=True)
    ]
    try:
        spreads = spread_norm_and_skip(
            config.activation, rules, around, passes, gradients, samples, lengths=lengths, batch=batch
        )
    except OverflowError:  # a square beyond the range of float64
        spreads = [UNKNOWN] * len(layers)
    if config.residual and config.norm != "batch":
        layers, spreads = with_biases(layers, spreads)
    if drawing and (not has_series or are_drawn(rules, around, spreads, inputs, batch)):
        with_means = surrounded(config, sizes, with_means=True)[1]
        drawn = with_drawn_networks(config, with_means, around, inputs, samples, layers, spreads)
        if drawn is not None:
            return NetworkPrediction(_where_known(drawn[0], drawn[1], _MOST_LEFT_OUT[0]), drawn[1])
    return NetworkPrediction(_where_known(layers, spreads, _MOST_LEFT_OUT[config.norm == "batch"]), spreads)


def _with_lengths(theory: LayerTheory, lengths: LengthEffects) -> LayerTheory:
    """The prediction of a layer, with what unequal rows of a batch do to it."""
    return replace(
        theory,
        output_variance=theory.output_variance * lengths.output,
        output_gradient_variance=theory.output_gradient_variance * lengths.output_gradient,
        preactivation_gradient_variance=theory.preactivation_gradient_variance * lengths.preactivation_gradient,
        weight_gradient_variance=theory.weight_gradient_variance * lengths.weight_gradient,
    )


def _where_known(layers: Sequence[LayerTheory], spreads: Sequence[LayerSpread], most: float) -> list[LayerTheory]:
    """The predictions, with NaN where theory may be off by more than `most`, in logs.

    From a layer whose output is not known on, nothing is. Then no gradient is, since each has passed these layers.
    """
    lost = next((k for k, noise in enumerate(spreads) if not noise.underived_output <= most), len(layers))
    return [
        _known(each, noise, most) if lost == len(layers) else _without_gradients(each if number < lost else _none(each))
        for number, (each, noise) in enumerate(zip(layers, spreads, strict=True))
    ]


def _within_reach(theory: LayerTheory, noise: LayerSpread) -> LayerTheory:
    """The prediction, with NaN for what may be off by more than a factor of 1,000 at this width."""
    if noise.output_uncertainty > _MOST_LEFT_OUT[0]:
        return _none(_without_gradients(theory))
    return _without_gradients(theory) if noise.gradient_uncertainty > _MOST_LEFT_OUT[0] else theory


def _known(theory: LayerTheory, noise: LayerSpread, most: float) -> LayerTheory:
    if not noise.underived_gradient <= most:
        return _without_gradients(theory)
    return theory if noise.underived_weight <= most else replace(theory, weight_gradient_variance=math.nan)


def _none(theory: LayerTheory) -> LayerTheory:
    return replace(theory, preactivation_variance=math.nan, output_variance=math.nan, correlation=math.nan)


def _without_gradients(theory: LayerTheory) -> LayerTheory:
    return replace(
        theory,
        output_gradient_variance=math.nan,
        preactivation_gradient_variance=math.nan,
        weight_gradient_variance=math.nan,
    )


def with_predictions(
    config: ProbeConfig, layers: Sequence[LayerStats], prediction: NetworkPrediction | None, unequal: float = 0.0
) -> tuple[LayerStats, ...]:
    """The measured layers, each with its prediction in `theory`; unchanged where there is no prediction.

    Args:
        config: of the experiment.
        layers: as measured, first to last.
        prediction: None where theory does not apply.
        unequal: how far the mean log of the inputs of the draws is below the log of their mean.
    """
    if prediction is None:
        return tuple(layers)
    sizes = (layers[0].fan_in, *(layer.fan_out for layer in layers))
    # After a skip h is a sum of branches, whose distribution does not follow from z alone.
    ranges = [
        (layer.output.min, layer.output.max) if wiring.skip is None else (None, None)
        for layer, wiring in zip(layers, wirings(config, sizes), strict=True)
    ]
    shares = OutputShares(config.activation, ranges, [theory.state for theory in prediction.layers])
    with np.errstate(all="ignore"):
        columns = zip(itertools.count(), layers, prediction.layers, prediction.spreads, strict=False)
        return tuple(
            layer.model_copy(update={"theory": shares.added(index, _prediction(config, layer, theory, noise, unequal))})
            for index, layer, theory, noise in columns
        )


def _prediction(
    config: ProbeConfig, layer: LayerStats, theory: LayerTheory, noise: LayerSpread, unequal: float
) -> dict[str, Any]:
    """One layer's prediction, as fields of its record without `output_shares`."""
    forward, back = (math.hypot(left_out, unequal) for left_out in (noise.underived_output, noise.underived_gradient))
    return {
        **{
            name: _number(getattr(theory, name), zero_is_true=config.zero_init_last or config.branch_factor == 0)
            for name in (f"{tensor}_variance" for tensor in TENSORS if tensor != "weight")
        },
        "correlation": finite(theory.correlation),
        "output_spread": finite(noise.output.averaged(config.draws).sd),
        "output_gradient_spread": finite(noise.output_gradient.averaged(config.draws).sd),
        "length_slope": finite(theory.length_slope),
        "z": _z(layer.output, theory.output_variance, noise.output, forward) if noise.is_first_order_forward else None,
        "gradient_z": _z(layer.output_gradient, theory.output_gradient_variance, noise.output_gradient, back)
        if noise.is_first_order
        else None,
        "gradient_uncertainty": _factor(max(noise.gradient_uncertainty, noise.underived_gradient)),
        "weight_gradient_uncertainty": _factor(max(noise.gradient_uncertainty, noise.underived_weight)),
        "output_uncertainty": _factor(max(noise.output_uncertainty, noise.underived_output)),
    }


def _factor(log: float) -> float | None:
    """The factor of a deviation in logs; None for none, and beyond the float range."""
    with np.errstate(over="ignore"):
        return finite(float(np.exp(log))) if log > 0 else None


def _number(variance: float, zero_is_true: bool) -> float | None:
    """A variance, or None where it left the float range. 0 is valid only where a branch may start at 0."""
    return float(variance) if math.isfinite(variance) and (variance > 0 or (zero_is_true and variance == 0)) else None


def _z(tensor: TensorStats, predicted: float, noise: Spread, underived: float) -> float | None:
    """Distance of the measured mean log variance from its prediction, in standard deviations of that mean.

    What theory does not derive, `underived`, counts as a further standard deviation, which draws do not average away.
    It is taken in logs because a measured variance is log-normal. Its mean log lies below the log of its mean.
    """
    measured = [v for v in tensor.variance_by_draw if v is not None and v > 0]
    complete = len(measured) == len(tensor.variance_by_draw)
    if not complete or tensor.status != "ok" or not predicted > 0 or not noise.sd > 0:
        return None
    gap = statistics.fmean(map(math.log, measured)) - math.log(predicted) - noise.log_mean
    chance = max(noise.sd / math.sqrt(len(measured)), _ROUNDING)
    return finite(gap / math.hypot(chance, underived))
