"""The predictions of each layer, beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from initprobe.arrays import finite
from initprobe.results.model_theory import ModelTheory, Predicted, TheoryColumn
from initprobe.torch.measure import Track
from initprobe.torch.structure import Layer, Structure
from initprobe.torch.theory.follow import Backward, Forward
from initprobe.torch.theory.moments import Moments, NoRule
from initprobe.torch.theory.rule import Lookup
from initprobe.torch.theory.trace import Node, Trace

# What the rules leave out, as the SD of the log. It counts from the input of a layer, and from that of the model.
_LOCAL_DOUBT, _FAR_DOUBT = 0.02, 0.05


def theory_of(structure: Structure, trace: Trace) -> Mapping[int, ModelTheory]:
    """The predictions by the number of the layer.

    Args:
        structure: the layers of a recorded model.
        trace: every tensor of its first draw.

    Returns:
        One record per layer. A prediction that does not exist says why.
    """
    makers: dict[int, Node] = {}
    for node in trace.nodes:
        if node.track is not None:
            makers.setdefault(id(node.track), node)
    forward = Forward(trace)
    backward = Backward(trace, forward, makers)
    with np.errstate(all="ignore"):
        return {layer.number: _theory(layer, forward, backward, makers) for layer in structure.layers}


def _theory(layer: Layer, forward: Forward, backward: Backward, makers: Mapping[int, Node]) -> ModelTheory:
    start, z, h = (makers.get(id(track)) for track in (layer.op.output, layer.z, layer.h))
    gradient = layer.h.gradient
    variances = [track.variance if track else math.nan for track in (layer.z, layer.h, gradient)]

    def column(of: Lookup, back: Lookup, doubt: float) -> TheoryColumn:
        none = Predicted(reason="no gradient")
        return TheoryColumn(
            preactivation=_predicted(z, of, layer.z, variances[0], doubt),
            output=_predicted(h, of, layer.h, variances[1], doubt),
            output_gradient=_predicted(h, back, gradient, variances[2], doubt) if gradient else none,
        )

    inside = None if start is None else forward.within(start)

    def within(node: Node) -> Moments:
        if inside is None:
            raise NoRule("the layer is not in the trace")
        return inside(node)

    def from_input(node: Node) -> Moments:
        if node.number in forward.restarts:
            raise NoRule(forward.restarts[node.number])
        return forward.of(node)

    return ModelTheory(
        local=column(within, backward.local, _LOCAL_DOUBT),
        end_to_end=column(from_input, backward.of, _FAR_DOUBT),
        restarted=None if h is None else forward.origin(h),
    )


def _predicted(node: Node | None, of: Lookup, track: Track, measured: float, doubt: float) -> Predicted:
    if node is None:
        return Predicted(reason="the tensor is not in the trace")
    try:
        moments = of(node)
    except NoRule as reason:
        return Predicted(reason=str(reason))
    noise, draws = max(moments.noise, 0.0), max(track.draws, 1)
    sd = math.sqrt(noise + doubt**2)
    return Predicted(
        mean_square=finite(moments.square),
        variance=finite(moments.variance),
        log_sd=finite(sd),
        log_mean=finite(-noise / 2),
        z=_z(moments.variance, measured, -noise / 2 / draws, sd / math.sqrt(draws)),
    )


def _z(variance: float, own: float, mean: float, sd: float) -> float | None:
    """The log of measured over predicted variance about its mean, in SDs; 0 where both variances are 0."""
    if own == variance == 0:
        return 0.0
    if not (own > 0 and variance > 0 and math.isfinite(own)):
        return None
    return finite((math.log(own / variance) - mean) / sd)
