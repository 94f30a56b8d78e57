"""Rules about variances over depth: signal and gradient that vanish or explode."""

from __future__ import annotations

import math
from collections.abc import Iterator

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.arithmetic import arithmetic, stated_span
from initprobe.diagnosis.branch_slopes import branch_slopes
from initprobe.diagnosis.kinds_of_net import is_plain, is_residual, norm_name
from initprobe.diagnosis.normed_scales import BELOW_EPSILON, is_below_epsilon, mean_square_below
from initprobe.diagnosis.rule import Look, Observation, Rule
from initprobe.diagnosis.trends import (
    TensorProfile,
    per_layer_words,
    real_trend,
    severity_of,
    steps_in_words,
    variance_text,
)
from initprobe.formatting import short
from initprobe.results.base import TENSOR_SYMBOLS
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult


def _output_trend(sign: int) -> Look:
    return lambda result, limits: _trends_of(result, "output", sign, limits)


def _gradient_trend(sign: int) -> Look:
    """dL/dh, else dL/dW. The latter also depends on h: where h has a trend of its own, dL/dW only repeats it."""

    def look(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
        observations = list(_trends_of(result, "output_gradient", sign, limits))
        output_moves = any(real_trend(result, "output", way, limits) for way in (-1, 1))
        if observations or output_moves or _cancels(result):
            return iter(observations)
        return _trends_of(result, "weight_gradient", sign, limits)

    return look


def _vanishing_gradient(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    """A layer whose units are all on flat ends, so no gradient passes; else an idle branch or a trend."""
    flat = [layer.layer for layer in result.layers if _is_flat(layer, is_residual(result))]
    if flat:
        evidence = "dL/dz is exactly 0: every unit is on a flat end for every input"
        yield Observation(flat[-1], evidence, "error", _LEARNS_NOTHING if is_residual(result) else _FLAT)
    else:
        yield from _idle_branches(result, limits)
        yield from _gradient_trend(-1)(result, limits)


def _idle_branches(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    """The last layer in a branch whose activation passes next to nothing."""
    slopes = branch_slopes(result)
    idle = [number for number, log10 in slopes.items() if log10 <= -limits.grave_decades]
    if idle:
        evidence = f"E[phi'^2] = {variance_text(slopes[idle[-1]])} in the branch"
        yield Observation(idle[-1], evidence, "error", _HARDLY_LEARNS)


_FLAT = "weights or biases are so large that every unit is on a flat end of the activation; no gradient passes"
_LEARNS_NOTHING = "every unit of the branch is on a flat end, so it learns nothing; the skip passes the gradient"
_HARDLY_LEARNS = "nearly every unit of the branch is on a flat end, so it hardly learns; the skip passes the gradient"


def _is_flat(layer: LayerStats, residual: bool) -> bool:
    """Whether all units of a layer are on flat ends, so that no gradient passes.

    Units that are off are another fault. A branch scale of 0 stops the gradient on purpose.
    """
    passed, given, output = layer.preactivation_gradient, layer.output_gradient, layer.output
    if passed.rms != 0 or passed.status != "ok" or not given.rms:
        return False
    off = output.zero_fraction == 1 or output.dead_fraction == 1
    return not off and not (residual and output.saturated_fraction != 1)


def _cancels(result: ProbeResult) -> bool:
    """Whether the terms of dL/dW cancel in some layer, as a norm makes them do where all units are equal."""
    return any(layer.weight_gradient.rms == 0 for layer in result.layers) or (
        norm_name(result) != "none" and any(layer.weight.variance == 0 for layer in result.layers)
    )


def _trends_of(result: ProbeResult, tensor: str, sign: int, limits: Thresholds) -> Iterator[Observation]:
    """The trend of a tensor's variance in one direction, if there is one, with the arithmetic."""
    moved_profile = real_trend(result, tensor, sign, limits)
    if moved_profile is None:
        return
    moved, profile = moved_profile
    (first, a), (last, b) = profile[0], profile[-1]
    course = f"{variance_text(a)} at layer {first}, {variance_text(b)} at layer {last}"
    step = "layer" if len(result.stream) == len(result.layers) else "branch"
    start, end = stated_span([value for _, value in profile])
    rate = math.copysign((profile[end][1] - profile[start][1]) / (end - start), sign)
    product = arithmetic(result, tensor, profile, rate) if is_plain(result) else ""
    steps = steps_in_words(profile, (start, end), step)
    evidence = f"{product}{per_layer_words(rate, TENSOR_SYMBOLS[tensor], steps)} ({course})"
    cause = _cause_of_signal(result, profile) if tensor == "weight_gradient" else ""
    cause = cause or _cause_beside_weights(result, tensor, sign)
    yield Observation(first if tensor == "output" else last, evidence, severity_of(moved.change, limits), cause)


def _cause_of_signal(result: ProbeResult, profile: TensorProfile) -> str:
    """Why dL/dW moves where it is mostly h that does, by its mean square; empty where dL/dz moves more."""
    (first, a), (last, b) = profile[0], profile[-1]
    sizes = [mean_square_below(result, result.layers[number - 1]) for number in (first, last)]
    if not all(sizes) or a == b or 2 * math.log10(sizes[1] / sizes[0]) / (b - a) < 1:
        return ""
    way = "grows" if sizes[1] > sizes[0] else "falls"
    return f"dL/dW is a product with the h below, whose mean square {way} from {short(sizes[0])} to {short(sizes[1])}"


def _cause_beside_weights(result: ProbeResult, tensor: str, sign: int) -> str:
    """Why a variance moves in a net with a norm or residual branches, where weights alone do not decide it."""
    norm, symbol = norm_name(result), TENSOR_SYMBOLS[tensor]
    if is_residual(result) and sign > 0:
        return f"every branch adds to the variance of {symbol}, in proportion to branch_scale^2"
    if is_residual(result):
        return f"the layers without a skip shrink the variance of {symbol}; a skip would keep it"
    if sign < 0 and is_below_epsilon(result):
        return BELOW_EPSILON
    if norm == "none" or tensor == "output":
        return ""
    if sign > 0:
        return (
            f"whatever the weights, {norm} norm divides gradients by std(h W); "
            "slopes of the activation do not compensate"
        )
    return f"with {norm} norm the slopes of the activation shrink the gradient, whatever the weights"


RULES = (
    Rule(
        name="vanishing-output",
        meaning="the weights are too small for this activation, so the signal shrinks by a factor per layer",
        measurement="log variance of h over depth: steady rate times depth, beyond the predicted spread",
        remedy="larger weights: the forward gain of the activation",
        reference="Glorot & Bengio 2010, AISTATS 9:249",
        look=_output_trend(-1),
    ),
    Rule(
        name="exploding-output",
        meaning="the weights are too large for this activation, so the signal grows by a factor per layer",
        measurement="log variance of h over depth: steady rate times depth, beyond the predicted spread",
        remedy="smaller weights: the forward gain of the activation; in a residual net --branch-scale 1/sqrt(2L)",
        reference="He et al. 2015, arXiv:1502.01852",
        look=_output_trend(1),
    ),
    Rule(
        name="vanishing-gradient",
        meaning="width x Var(W) times the mean squared slope is below 1, so the gradient shrinks backward",
        measurement="log variance of dL/dh, else dL/dW, over depth: steady rate times depth, beyond chance",
        remedy="larger weights, or an activation with a larger slope where its inputs are",
        reference="Glorot & Bengio 2010, AISTATS 9:249",
        look=_vanishing_gradient,
    ),
    Rule(
        name="exploding-gradient",
        meaning="width x Var(W) times the mean squared slope is above 1, so the gradient grows backward",
        measurement="log variance of dL/dh, else dL/dW, over depth: steady rate times depth, beyond chance",
        remedy="smaller weights; in a residual net --branch-scale 1/sqrt(2L)",
        reference="Schoenholz et al. 2017, arXiv:1611.01232",
        look=_gradient_trend(1),
    ),
)
