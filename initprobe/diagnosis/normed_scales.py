"""Weights whose scale a norm hides: too large to learn, or too small for its epsilon."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from initprobe.activations.norms import EPSILON
from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.kinds_of_net import adding_layers, norm_name
from initprobe.diagnosis.rule import Observation, Rule, each_layer
from initprobe.formatting import power
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult

OVERSIZED = "oversized-weights"
# Mean square of z where the variance of h W equals epsilon; without epsilon it is 1.
_HALF = 0.5
BELOW_EPSILON = f"the variance of h W is below epsilon of the norm, {EPSILON:g}, so the norm does not restore the scale"


def _without_norm(result: ProbeResult) -> Collection[int]:
    """The layers that no norm follows: all without one, else the ends of branches of several layers."""
    if norm_name(result) == "none":
        return range(1, len(result.layers) + 1)
    return adding_layers(result) if result.config.get("block", 1) != 1 else ()


def _scale_log10(layer: LayerStats) -> float:
    """log10 of fan_in E[W^2]; minus infinity for weights of 0."""
    return math.log10(layer.fan_in) + 2 * math.log10(layer.weight.rms) if layer.weight.rms else -math.inf


def _oversized_weights(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    """Behind a norm the gradient of W is proportional to 1/|W|, so a step turns W by rate/|W|^2."""
    without = _without_norm(result)
    return each_layer(
        result,
        lambda layer: layer.layer not in without and is_oversized(_scale_log10(layer), limits),
        lambda layer: oversized_words(_scale_log10(layer)),
        "warning",
    )


def is_oversized(scale_log10: float, limits: Thresholds) -> bool:
    """Whether weights before a norm are so large that no usual step changes them.

    Args:
        scale_log10: log10 of `fan_in E[W^2]`.
        limits: of the verdict.
    """
    return scale_log10 >= limits.grave_decades


def oversized_words(scale_log10: float) -> str:
    """The evidence of weights that are too large, from log10 of `fan_in E[W^2]`."""
    scale = power(scale_log10)
    return f"fan_in x E[W^2] = {scale}: to turn W as far as with 1, a step needs {scale} times the learning rate"


def is_below_epsilon(result: ProbeResult) -> bool:
    """Whether some norm gets a variance below its epsilon."""
    without = _without_norm(result)
    return any(layer.layer not in without and _is_swallowed(result, layer) for layer in result.layers)


def _is_swallowed(result: ProbeResult, layer: LayerStats) -> bool:
    """Whether the variance of h W is below epsilon, and z is small for it."""
    below = mean_square_below(result, layer)
    if not below or not layer.weight.rms or (layer.preactivation.rms or 0.0) ** 2 >= _HALF:
        return False
    return _scale_log10(layer) + math.log10(below) < math.log10(EPSILON)


def mean_square_below(result: ProbeResult, layer: LayerStats) -> float:
    """Mean square of the input of a layer; 0 where it is not known.

    Args:
        result: of a net of `run`.
        layer: of that result.
    """
    if layer.layer > 1:
        return (result.layers[layer.layer - 2].output.rms or 0.0) ** 2
    return result.input.mean_square or 0.0 if result.input is not None else 0.0


RULES = (
    Rule(
        name=OVERSIZED,
        meaning="a norm hides how large the weights are, but a step of training hardly changes them",
        measurement="fan_in E[W^2] before a norm: the learning rate that it needs, relative to usual weights",
        remedy="weights of a common initializer",
        reference="Hoffer et al. 2018, arXiv:1803.01814",
        look=_oversized_weights,
        from_layer_on=True,
    ),
)
