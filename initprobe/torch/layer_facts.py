"""Numbers of a layer that come from the structure: what its branch adds, its gates, and parts of packed weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from initprobe.arrays import finite
from initprobe.results.layers import GateMeans, PackedPart, PackedWeight
from initprobe.torch.graph import Operation, Signal
from initprobe.torch.packed import Part, parts_of
from initprobe.torch.structure import Layer, Structure

SIGMOIDS = ("sigmoid", "hardsigmoid")
# Gates and candidates of recurrences, in the order in which torch packs them.
GATES: Mapping[str, tuple[str, ...]] = {
    "lstm": ("input", "forget", "cell", "output"),
    "gru": ("reset", "update", "new"),
}
_PASSING = ("part", "norm", "other")


def layer_facts(structure: Structure) -> Mapping[int, Mapping[str, Any]]:
    """Fields of `LayerStats` by the number of the layer; layers without any are left out."""
    facts: dict[int, dict[str, Any]] = {}
    for layer, ratio in _branch_ratios(structure):
        facts.setdefault(layer.number, {})["branch_ratio"] = ratio
    for layer, gates in _gates(structure):
        facts.setdefault(layer.number, {})["gates"] = gates
    for layer in structure.layers:
        if parts := parts_of(layer.signal):
            records = {part.name: _part(part) for part in parts}
            facts.setdefault(layer.number, {})["packed"] = PackedWeight(**records)
    return facts


def _part(part: Part) -> PackedPart:
    weight = part.weight_variance
    return PackedPart(
        weight_variance=None if weight is None else finite(weight),
        preactivation_variance=finite(part.variance),
    )


def _branch_ratios(structure: Structure) -> Iterator[tuple[Layer, float | None]]:
    """The last layer of each branch, with rms(branch) / rms(stream) where it is added; of nested ones the outer."""
    owners = {id(layer.signal): layer for layer in structure.layers}
    for join in structure.joins:
        layers = [owners[id(signal)] for signal in join.added if id(signal) in owners]
        if layers and (ratio := join.ratio) is not None:
            yield max(layers, key=lambda layer: layer.number), finite(ratio)


def _gates(structure: Structure) -> Iterator[tuple[Layer, GateMeans]]:
    """Layers with the means of their gates: of recurrences, and of sigmoids that multiply another signal."""
    owners = {id(layer.signal): layer for layer in structure.layers}
    means: dict[int, dict[int, float]] = {}
    for op in structure.operations:
        for act, signal, mean in _products(op):
            layer = _owner(signal, owners)
            if layer is not None:
                means.setdefault(layer.number, {})[id(act)] = mean
    for layer in structure.layers:
        if layer.op.kind == "recurrence" and "keep" in layer.op.facts:
            yield layer, _recurrent(layer.op.facts)
        elif layer.number in means:
            each = means[layer.number].values()
            yield layer, GateMeans(product=finite(math.fsum(each) / len(each)))


def _products(op: Operation) -> Iterator[tuple[Operation, Signal, float]]:
    """The gates that an operation multiplies by: what makes each, the signal it is made of, and its mean."""
    if "gate" in op.facts and op.inputs:  # glu
        yield op, op.inputs[0], op.facts["gate"]
    for signal in op.inputs if op.kind == "gate" else ():
        act = signal.activation
        if act is not None and act.name in SIGMOIDS and act.output is not None:
            yield act, signal, act.output.mean


def _owner(signal: Signal, owners: Mapping[int, Layer]) -> Layer | None:
    """The layer that makes the signal, alone or by parts and norms."""
    while id(signal) not in owners:
        if signal.op.kind not in _PASSING or len(signal.inputs) != 1:
            return None
        signal = signal.inputs[0]
    return owners[id(signal)]


def _recurrent(facts: Mapping[str, float]) -> GateMeans:
    names = [name for gates in GATES.values() for name in gates]
    keep = facts["keep"]
    steps = 1 / (1 - keep) if keep < 1 else math.inf
    return GateMeans(**{name: finite(facts[name]) for name in names if name in facts}, memory_steps=finite(steps))
