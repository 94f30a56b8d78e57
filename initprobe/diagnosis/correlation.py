"""What a result means: findings as data, each with its evidence.

Rates and trends are judged, not one ratio: a variance that falls as a power of depth (Xavier + tanh) is no collapse,
and a net whose draws differ by a factor of ten (ReLU + He at depth) is not judged by one of them.
"""

from __future__ import annotations

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.kinds_of_net import first_where, is_chain
from initprobe.diagnosis.rule import Observation
from initprobe.formatting import short
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult


def rank_collapse(result: ProbeResult, limits: Thresholds) -> Observation | None:
    def words(layer: LayerStats) -> str:
        cosine, second = layer.correlation or 0.0, (layer.preactivation.rms or 0.0) ** 2
        last = stream[-1]
        name = "the last layer" if last is result.layers[-1] else f"layer {last.layer}"
        end = "" if last is layer or last.correlation is None else f", {last.correlation:.4f} at {name}"
        return f"cosine {cosine:.3f} between two inputs{end}; q(1 - c) = {short(second * (1 - cosine))}"

    stream = result.fed_by_stream
    fed = {layer.layer for layer in stream}
    started, ends = (layer.correlation or 0.0 for layer in (stream[0], stream[-1]))
    if not is_chain(result) and ends <= 1 - limits.indistinct:
        return None  # a branch in which inputs look alike says nothing of what goes round it
    return first_where(
        result,
        lambda layer: (
            layer.correlation is not None and layer.correlation > 1 - limits.indistinct > started and layer.layer in fed
        ),
        words,
        "info",
    )


def chaotic_pairs(result: ProbeResult, limits: Thresholds) -> Observation | None:
    known = [layer.correlation for layer in result.fed_by_stream if layer.correlation is not None]
    if not is_chain(result) or len(known) < 2 or known[0] < 0.3 or known[-1] > limits.decorrelated * known[0]:
        return None
    evidence = f"the cosine between two inputs falls from {known[0]:.2f} at layer 1 to {known[-1]:.2f} at the last"
    return Observation(1, evidence, "warning")
