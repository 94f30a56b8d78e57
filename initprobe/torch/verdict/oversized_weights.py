"""Weights whose scale a norm hides, and which are so large that a step of training hardly changes them.

The limit of `fan_in E[W^2]` is that of `run`. Weights of standard deviation 1 reach it from a fan_in of 10,000 on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from initprobe.diagnosis.normed_scales import OVERSIZED, is_oversized, oversized_words
from initprobe.torch.structure import Layer
from initprobe.torch.verdict import fix_lines
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import MEANING, Fix, Observation, gathered


def _observe(case: Case) -> Iterator[Observation]:
    """One observation of all oversized weights, with a fix that draws all of them again."""
    layers = _oversized(case)
    fixes = fix_lines.for_layers(case, layers)
    yield from gathered(_observation(layer, fixes) for layer in layers)


def _observation(layer: Layer, fixes: tuple[Fix, ...]) -> Observation:
    evidence = oversized_words(math.log10(layer.own_scale))
    return Observation(OVERSIZED, "warning", layer.number, evidence, MEANING, layer.label, fixes)


def _oversized(case: Case) -> list[Layer]:
    """The layers with such weights. A weight that is used without a norm too gets a gradient from there."""
    unhidden = {layer.op.leaf for layer in case.layers if not _is_hidden(layer)}
    return [layer for layer in case.layers if layer.op.leaf not in unhidden and _is_too_large(case, layer)]


def _is_hidden(layer: Layer) -> bool:
    """Whether a norm alone is given what the layer makes, and restores its scale however large W is."""
    return layer.norm is not None and layer.op.kind == "layer" and not layer.is_embedding and _keeps_scale(layer)


def _keeps_scale(layer: Layer) -> bool:
    """Whether no activation with a bounded range, such as tanh, comes before the norm."""
    act = layer.signal.activation
    return act is None or (act.activation is not None and math.inf in map(abs, act.activation.bounds))


def _is_too_large(case: Case, layer: Layer) -> bool:
    """Whether the weight is trained and beyond the limit."""
    parameter, scale = case.parameters.get(layer.op.leaf or ""), layer.own_scale
    if parameter is None or not parameter.requires_grad or not 0 < scale < math.inf:
        return False
    return is_oversized(math.log10(scale), case.limits)


RULES = (ModelRule(_observe, names=(OVERSIZED,), causes=(OVERSIZED,)),)
