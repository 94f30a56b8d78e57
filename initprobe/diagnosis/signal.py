"""What a result means: findings as data, each with its evidence.

Rates and trends are judged, not one ratio: a variance that falls as a power of depth (Xavier + tanh) is no collapse,
and a net whose draws differ by a factor of ten (ReLU + He at depth) is not judged by one of them.
"""

from __future__ import annotations

import math

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.arithmetic import arithmetic, told_span
from initprobe.diagnosis.kinds_of_net import is_dense_chain, is_plain, is_residual, norm_name
from initprobe.diagnosis.rule import Look, Observation
from initprobe.diagnosis.trends import per_layer_words, real_trend, severity_of, steps_in_words, variance_text
from initprobe.formatting import factor_of, fixed
from initprobe.results.run import ProbeResult


def output_trend(sign: int) -> Look:
    return lambda result, limits: _trend_seen(result, "output", sign, limits)


def gradient_trend(sign: int) -> Look:
    """dL/dh, or else dL/dW, which also depends on h: where that has a trend of its own, dL/dW only repeats it."""

    def look(result: ProbeResult, limits: Thresholds) -> Observation | None:
        seen = _trend_seen(result, "output_gradient", sign, limits)
        # A convolution's dL/dW is a sum over positions, of which there are fewer from layer to layer.
        if seen or not is_dense_chain(result) or any(real_trend(result, "output", way, limits) for way in (-1, 1)):
            return seen
        return None if _cancels(result) else _trend_seen(result, "weight_gradient", sign, limits)

    return look


def _cancels(result: ProbeResult) -> bool:
    """The terms of dL/dW cancel in some layer: what is left of their sum is 0, or rounding, and has no trend.

    A norm makes dL/dy orthogonal to y. Where all units are equal, y is a multiple of every input of the layer.
    """
    return any(layer.weight_gradient.rms == 0 for layer in result.layers) or (
        norm_name(result) != "none" and any(layer.weight.variance == 0 for layer in result.layers)
    )


_TREND_SYMBOLS = {"output": "h", "output_gradient": "dL/dh", "weight_gradient": "dL/dW"}


def _trend_seen(result: ProbeResult, tensor: str, sign: int, limits: Thresholds) -> Observation | None:
    found = real_trend(result, tensor, sign, limits)
    if found is None:
        return None
    moved, profile = found
    (first, a), (last, b) = profile[0], profile[-1]
    course = f"{variance_text(a)} at layer {first}, {variance_text(b)} at layer {last}"
    step = "layer" if len(result.stream) == len(result.layers) else "branch"
    start, end = told_span([value for _, value in profile])
    rate = math.copysign((profile[end][1] - profile[start][1]) / (end - start), sign)
    product = arithmetic(result, tensor, profile, rate) if is_plain(result) else ""
    steps = steps_in_words(profile, (start, end), step)
    evidence = f"{product}{per_layer_words(rate, _TREND_SYMBOLS[tensor], steps)} ({course})"
    cause = _cause_of_wiring(result, tensor)
    return Observation(first if tensor == "output" else last, evidence, severity_of(moved.change, limits), cause)


def _cause_of_wiring(result: ProbeResult, tensor: str) -> str:
    """Why a variance moves in a net that is not plain, where weights alone do not decide it."""
    if is_residual(result):
        return f"every branch adds to the variance of {_TREND_SYMBOLS[tensor]}, in proportion to branch_scale^2"
    if norm_name(result) != "none" and tensor != "output":
        return (
            f"{norm_name(result)} norm divides gradients by the standard deviation of h W, which the slopes of the "
            "activation do not make up for, whatever the weights"
        )
    return ""


def unstable_gain(result: ProbeResult, limits: Thresholds) -> Observation | None:
    """The steepest slope counts, not their product: a net that has slipped is where the map is level again."""
    slopes = {layer.layer: layer.theory.length_slope for layer in result.layers if layer.theory}
    known = {layer: slope for layer, slope in slopes.items() if slope is not None}
    steepest = max(known, key=lambda layer: known[layer], default=0)
    if not known or not known[steepest] > 0:
        return None
    growth = len(known) * math.log10(known[steepest])
    if growth < math.log10(limits.unstable):
        return None
    slips = any(real_trend(result, tensor, way, limits) for tensor in ("output", "output_gradient") for way in (-1, 1))
    evidence = (
        f"length-map slope {fixed(known[steepest], 3)} at layer {steepest}: to the {len(known)}th power, "
        f"deviations in scale grow {factor_of(growth)}"
    )
    return Observation(steepest, evidence, "warning" if slips else "info")
