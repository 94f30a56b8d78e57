"""Rules about the cosine between two inputs: inputs that become indistinguishable, and inputs that drift apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.kinds_of_net import is_residual
from initprobe.diagnosis.rule import Observation, Rule, each_layer
from initprobe.formatting import short
from initprobe.results.base import Severity
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult

RANK_COLLAPSE = "rank-collapse"
_EQUAL = "other data: every sample is the same"
# A distance from which rounding is far, as 1 minus a cosine.
_DISTINCT = 1e-4
# Measured on the digits, best of five learning rates. Nets that keep 8e-4 of the distance reach a loss of 1.5 to 1.7.
# Those that keep 4e-4 or less stay above 1.9, and chance is 2.3. The default limit is 4.6e-4.
_SHARE_OF_DECADES = 5 / 6
# The cosine of two vectors of fewer entries is mostly chance: its SD is 1/sqrt(entries).
_FEWEST_UNITS = 8
_LEAST_ALIKE = 0.3  # a cosine below which inputs were unlike from the start


def _rank_collapse(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    """The first layer at which two inputs are indistinguishable; it may be the first, or the samples may be alike."""

    def words(layer: LayerStats) -> str:
        cosine, second = layer.correlation or 0.0, (layer.preactivation.rms or 0.0) ** 2
        last = stream[-1]
        name = "the last layer" if last is result.layers[-1] else f"layer {last.layer}"
        end = "" if last is layer or last.correlation is None else f", {last.correlation:.4f} at {name}"
        own = "" if layer.layer > 1 or samples is None else f", {samples:.3f} between the samples"
        return f"cosine {cosine:.3f} between two inputs{own}{end}; q(1 - c) = {short(second * (1 - cosine))}"

    def holds(layer: LayerStats) -> bool:
        alike = layer.correlation is not None and layer.correlation > 1 - limits.indistinct
        return alike and layer.layer in numbers

    stream = result.fed_by_stream
    numbers = {layer.layer for layer in stream}
    samples = result.input.correlation if result.input is not None else None
    equal = result.input is not None and result.input.equal
    severity: Severity = "warning" if equal or _distance_is_lost(result, limits) else "info"
    observations = islice(each_layer(result, holds, words, severity), 1)
    return (each._replace(no_fix=_EQUAL if equal else "") for each in observations)


def _distance_is_lost(result: ProbeResult, limits: Thresholds) -> bool:
    """Whether too little of 1 - c is left. Skips keep inputs apart whatever the branches do."""
    cosines = [layer.correlation for layer in result.fed_by_stream if layer.correlation is not None]
    start = result.input.correlation if result.input is not None else None
    if is_residual(result) or not cosines or start is None or 1 - start < _DISTINCT:
        return False
    return 1 - cosines[-1] < (1 - start) * least_distance(limits)


def least_distance(limits: Thresholds) -> float:
    """The share of 1 - c of the inputs below which a plain net does not learn.

    Measured, not derived; the figures are at `_SHARE_OF_DECADES`. It is not a limit of precision: float32 tells inputs
    apart down to a share near 1e-7.
    """
    return float(10 ** (-_SHARE_OF_DECADES * limits.grave_decades))


def collapses(result: ProbeResult) -> bool:
    """Whether a judged result has rank collapse among its findings, of any severity."""
    return any(finding.rule == RANK_COLLAPSE for finding in result.diagnosis)


def _chaotic_pairs(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    """Inputs that are alike at the first layer and not at the last, where small differences grow."""
    wide = [layer for layer in result.fed_by_stream if layer.fan_out >= _FEWEST_UNITS]
    cosines = [(layer.layer, layer.correlation) for layer in wide if layer.correlation is not None]
    if len(cosines) < 2:
        return
    (first, start), (last, end) = cosines[0], cosines[-1]
    # A first layer of large z may separate inputs where no other does.
    if start < _LEAST_ALIKE or end > limits.decorrelated * start or not _differences_grow(result):
        return
    evidence = f"the cosine between two inputs falls from {start:.2f} at layer {first} to {end:.2f} at layer {last}"
    yield Observation(1, evidence, "warning")


def _differences_grow(result: ProbeResult) -> bool:
    """Whether a gradient grows back to layer 2, as a small difference grows forward; True if it left the range."""
    profile = [(layer.output_gradient.variance_log10, layer.fan_out) for layer in result.stream[1:]]
    logs = [log10 + math.log10(units) for log10, units in profile if log10 is not None]
    return len(logs) < max(len(profile), 2) or logs[0] > logs[-1]


RULES = (
    Rule(
        name=RANK_COLLAPSE,
        meaning="different inputs become indistinguishable, which the variance does not show",
        measurement="mean cosine c between two inputs' z, and q(1 - c), the part of z's mean square that differs",
        remedy="weak residual branches, --branch-scale 1/L; weights alone do not help a plain ReLU-like net",
        reference="Poole et al. 2016, arXiv:1606.05340",
        look=_rank_collapse,
    ),
    Rule(
        name="chaotic",
        meaning="similar inputs become dissimilar, so what is learned from one input does not hold for its neighbour",
        measurement="mean cosine between two inputs' z, first layer against last, where the gradient grows back",
        remedy="smaller weights: the edge of chaos",
        reference="Schoenholz et al. 2017, arXiv:1611.01232",
        look=_chaotic_pairs,
    ),
)
