"""A layer that does not do what independent weights of its variance do."""

from __future__ import annotations

import math
from collections.abc import Iterator

from initprobe.diagnosis.rule import RuleText
from initprobe.formatting import short
from initprobe.torch.structure import Layer
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import MEANING, Observation, gathered

RULE = "dependent-weights"
_FACTOR = 4  # of the mean square of z, from which on a layer is looked at
_SDS = 6  # beyond which chance is no explanation
_FEWEST = 64  # units and inputs; chance is too wide below


def _observe(case: Case) -> Iterator[Observation]:
    """Layers whose z is far from theory for their measured input; a note, as it is right after training."""
    if any(_is_unlike(layer) for layer in case.layers):
        yield from gathered(_noted(case))


def _noted(case: Case) -> Iterator[Observation]:
    for layer in case.layers:
        theory = case.records.theory.get(layer.number) if _is_unlike(layer) else None
        predicted = theory.local.preactivation if theory else None
        if predicted is None or predicted.z is None or abs(predicted.z) <= _SDS or not predicted.variance:
            continue
        ratio = layer.z.variance / predicted.variance
        if max(ratio, 1 / ratio) > _FACTOR:
            evidence = f"var z {short(layer.z.variance)}, independent weights give {short(predicted.variance)}"
            yield Observation(RULE, "info", layer.number, evidence, MEANING, layer.label)


def _is_unlike(layer: Layer) -> bool:
    """Whether the mean square of a product is far from fan_in E[W^2] E[x^2]; bias and border are left to theory."""
    op = layer.op
    if op.kind != "layer" or layer.is_embedding or layer.norm is not None or min(op.fans) < _FEWEST:
        return False
    given, made = op.given, op.output
    if given is None or made is None or op.weight is None:
        return False
    expected, own = layer.own_scale * given.square, made.square
    if not (0 < expected < math.inf and 0 < own < math.inf):
        return False
    return max(own / expected, expected / own) > _FACTOR


RULES = (
    ModelRule(
        _observe,
        texts=(
            RuleText(
                name=RULE,
                meaning="the layer does not do what independent weights of this variance do: its weights fit its input",
                measurement="variance of z beside that of independent weights, from the measured input of the layer",
                remedy="none after training; at the start, draw weights that depend neither on each other nor on data",
                reference="Neal 1996, Bayesian Learning for Neural Networks",
            ),
        ),
    ),
)
