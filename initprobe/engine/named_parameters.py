"""The arrays of a network that are trained, and their gradients, by name."""

from __future__ import annotations

from collections.abc import Iterator

from initprobe.arrays import Array
from initprobe.engine.training import BatchGradients, Learner

READOUT = "read-out"


def weight_name(layer: int) -> str:
    """The name of a weight; layers count from 1."""
    return f"W of layer {layer}"


def bias_name(layer: int) -> str:
    """The name of a bias; layers count from 1."""
    return f"b of layer {layer}"


def named_parameters(learner: Learner) -> Iterator[tuple[str, Array]]:
    """The arrays that are trained, by name."""
    for number, layer in enumerate(learner.layers, start=1):
        yield weight_name(number), layer.weight
        if layer.bias is not None:
            yield bias_name(number), layer.bias
    yield READOUT, learner.readout


def named_gradients(batch: BatchGradients) -> Iterator[tuple[str, Array]]:
    """Their gradients, by the same names."""
    for number, layer in enumerate(batch.layers, start=1):
        yield weight_name(number), layer.weight
        yield bias_name(number), layer.bias
    yield READOUT, batch.readout
