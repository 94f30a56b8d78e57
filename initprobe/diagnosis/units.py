"""What a result means: findings as data, each with its evidence.

Rates and trends are judged, not one ratio: a variance that falls as a power of depth (Xavier + tanh) is no collapse,
and a net whose draws differ by a factor of ten (ReLU + He at depth) is not judged by one of them.
"""

from __future__ import annotations

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.kinds_of_net import adding_layers, first_where, is_chain
from initprobe.diagnosis.rule import Observation
from initprobe.diagnosis.trends import layers_named
from initprobe.formatting import percent, short
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult


def saturated_units(result: ProbeResult, limits: Thresholds) -> Observation | None:
    return first_where(
        result,
        lambda layer: (layer.output.saturated_fraction or 0) > limits.saturated,
        lambda layer: f"{percent(layer.output.saturated_fraction)}% of the outputs are saturated",
        "warning",
    )


def dead_units(result: ProbeResult, limits: Thresholds) -> Observation | None:
    return first_where(
        result,
        lambda layer: limits.dead < (layer.output.dead_fraction or 0) < 1,
        lambda layer: f"{percent(layer.output.dead_fraction)}% of the units are off for every input",
        "warning",
    )


def dead_layer(result: ProbeResult, limits: Thresholds) -> Observation | None:
    return first_where(
        result,
        lambda layer: (
            (layer.output.zero_fraction == 1 or layer.output.dead_fraction == 1)
            and not _will_move(layer)
            and (is_chain(result) or layer.preactivation.zero_fraction != 1)  # a branch may start at 0
        ),
        lambda layer: (
            "every output is 0" if layer.output.zero_fraction == 1 else "every unit's branch is off, and learns nothing"
        ),
        "error",
    )


def _will_move(layer: LayerStats) -> bool:
    """Weights that somebody set to 0, as in the last layer of a branch, and that the first step changes."""
    return layer.name is not None and layer.weight.rms == 0 and bool(layer.weight_gradient.rms)


def no_gradient(result: ProbeResult, limits: Thresholds) -> Observation | None:
    """Judged in somebody's own model, and the last such layer named: on the way back it is the first.

    Nothing is said where a layer is dead, which is why. Zeros above a weight that is 0 on purpose end with the first
    step.
    """
    if not result.modules or dead_layer(result, limits):
        return None
    cut = layers_named(result, "cut_off")
    absent = [layer for layer in result.layers if layer.name in cut]
    still = [] if _has_gate(result) else [layer for layer in result.layers if _is_still(layer)]
    if not (absent or still):
        return None
    what, found = ("dL/dW is absent, though W asks for it", absent) if absent else ("every entry of dL/dW is 0", still)
    others = f", as in {len(found) - 1} more of {len(result.layers)} layers" if len(found) > 1 else ""
    return Observation(found[-1].layer, f"{what}{others}", "error")


def _is_still(layer: LayerStats) -> bool:
    return layer.weight_gradient.rms == 0 and layer.weight_gradient.status == "ok"


def _has_gate(result: ProbeResult) -> bool:
    """A weight that somebody set to 0, as the last of a branch, and that the first step opens."""
    opening = (one for one in result.modules if one.weight is not None and one.weight.rms == 0)
    return bool(result.config.get("gated")) or any(one.weight_gradient and one.weight_gradient.rms for one in opening)


def void_parameter(result: ProbeResult, limits: Thresholds) -> Observation | None:
    """The probe of somebody's own model names modules whose parameters hold no numbers, with what is wrong."""
    named = result.config.get("void")
    if not isinstance(named, dict) or not named:
        return None
    module, words = next(iter(named.items()))
    layer = next((one.layer for one in result.layers if one.name == module), 1)
    others = f"; {len(named) - 1} more like it" if len(named) > 1 else ""
    return Observation(layer, f"{words}{others}: whatever is computed from it is void", "error", module=module or None)


def symmetric_units(result: ProbeResult, limits: Thresholds) -> Observation | None:
    added = adding_layers(result)
    return first_where(
        result,
        # What a skip adds tells units apart.
        lambda layer: (
            layer.weight.variance == 0 and layer.fan_out > 1 and layer.layer not in added and not _will_move(layer)
        ),
        lambda layer: f"every weight is {short(layer.weight.mean)}, so {layer.fan_out} units are one",
        "error",
    )
