"""Rules about units: saturated, dead, or equal to each other."""

from __future__ import annotations

import math
from collections.abc import Iterator

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.record import Activation
from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.kinds_of_net import adding_layers
from initprobe.diagnosis.normed_scales import BELOW_EPSILON, is_below_epsilon
from initprobe.diagnosis.rule import Observation, Rule, each_layer
from initprobe.formatting import percent, short
from initprobe.results.run import ProbeResult


def _saturated_units(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    name = str(result.config.get("act")).partition(":")[0]
    most = most_saturated(ACTIVATIONS.get(name), limits.saturated)
    return each_layer(
        result,
        lambda layer: (layer.output.saturated_fraction or 0) > most,
        lambda layer: f"{percent(layer.output.saturated_fraction)}% of the outputs are saturated",
        "warning",
    )


def most_saturated(activation: Activation | None, limit: float) -> float:
    """The largest share of saturated units that is no fault.

    Half of all large z are on a flat lower end, as half of all ReLUs are off. Where it is the only flat end, the limit
    holds for the other half.

    Args:
        activation: of the layer; None where it is not known.
        limit: the share where both ends are flat.
    """
    band = activation.saturation if activation is not None else None
    is_half_flat = band is not None and math.isfinite(band.low) and math.isinf(band.high)
    return (1 + limit) / 2 if is_half_flat else limit


def _dead_units(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    return each_layer(
        result,
        lambda layer: limits.dead < (layer.output.dead_fraction or 0) < 1,
        lambda layer: f"{percent(layer.output.dead_fraction)}% of the units are off for every input",
        "warning",
    )


def _dead_layer(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    off = "the branch of every unit is off and learns nothing"  # in a residual net
    cause = BELOW_EPSILON if is_below_epsilon(result) else ""
    observations = each_layer(
        result,
        lambda layer: layer.output.zero_fraction == 1 or layer.output.dead_fraction == 1,
        lambda layer: "every output is 0" if layer.output.zero_fraction == 1 else off,
        "error",
    )
    return (each._replace(cause=cause) for each in observations)


def _symmetric_units(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    """Layers of equal weights and biases; where a skip adds its input, units differ all the same."""
    adding = adding_layers(result)
    return each_layer(
        result,
        lambda layer: (
            layer.weight.variance == 0 and not layer.bias_std and layer.fan_out > 1 and layer.layer not in adding
        ),
        lambda layer: f"every weight is {short(layer.weight.mean)}, so {layer.fan_out} units are one",
        "error",
    )


RULES = (
    Rule(
        name="saturated",
        meaning="most units are on the flat ends of the activation",
        measurement="share of outputs whose slope is below 5.9% of the largest (tanh beyond 0.97)",
        remedy="smaller weights or biases",
        reference="CS231n 2017, lecture 6",
        look=_saturated_units,
        from_layer_on=True,
    ),
    Rule(
        name="dead-units",
        meaning="most units are off for every input and will not learn",
        measurement="share of units at exactly 0 for every sample of every batch",
        remedy="no negative biases, smaller steps, or an activation with a slope on the negative side",
        reference="Lu et al. 2019, arXiv:1903.06733",
        look=_dead_units,
        from_layer_on=True,
    ),
    Rule(
        name="dead-layer",
        meaning="all outputs of a layer are 0, so neither signal nor gradient passes",
        measurement="a layer whose outputs are all exactly 0",
        remedy="random weights without large negative biases; with --zero-init-last, blocks of 2 layers (--block 2)",
        reference="Lu et al. 2019, arXiv:1903.06733",
        look=_dead_layer,
        from_layer_on=True,
    ),
    Rule(
        name="symmetric",
        meaning="equal units get equal gradients and stay equal forever, for any data",
        measurement="a layer whose weights are all equal, and its biases too",
        remedy="random weights",
        reference="Goodfellow et al. 2016, Deep Learning, section 8.4",
        look=_symmetric_units,
        of_weights=True,
        from_layer_on=True,
    ),
)
