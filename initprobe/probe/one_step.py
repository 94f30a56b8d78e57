"""One step of an optimizer: how far each weight and output moves, and the curvature of the loss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array, finite
from initprobe.config.probe_config import ProbeConfig
from initprobe.engine.curvature import VECTORS, largest_curvature
from initprobe.engine.mlp import Layer, Parameters
from initprobe.engine.named_parameters import named_gradients, named_parameters
from initprobe.engine.optimizers import ADAPTIVE, NOT_FOUND, Optimizer
from initprobe.engine.training import ForwardPass, Learner, forward, gradients
from initprobe.results.layers import LayerStats
from initprobe.results.step import StepStats

_LEARNED_SCALE = "the scale of the branches is learned too, and its curvature is not known"


class Moved(NamedTuple):
    """How far one layer moved.

    Attributes:
        weight: rms(change of W) / rms(W); None for weights of 0.
        output: rms(change of h) / rms(h) on the same batch; None for outputs of 0.
    """

    weight: float | None
    output: float | None


def one_step(
    config: ProbeConfig, learner: Learner, x: Array, labels: Array, advance: Callable[[], None]
) -> tuple[StepStats, list[Moved]]:
    """Do one step, in place, and measure what moved.

    Args:
        config: names the optimizer and the rate.
        learner: the network with its read-out, as drawn.
        x: the batch, `(samples, features)`.
        labels: a class per sample, `(samples,)`.
        advance: called after each of at most `passes_of` gradients.

    Returns:
        The step, and how far each layer moved, first to last.
    """
    assert config.optimizer is not None
    curvature, note = _curvature(config, learner, x, labels, advance)
    start, before = gradients(learner, x, labels), forward(learner, x)
    held = [layer.weight.copy() for layer in learner.layers]
    parameters = dict(named_parameters(learner))
    Optimizer(config.optimizer, dict.fromkeys(parameters, config.learning_rate)).step(
        parameters, dict(named_gradients(start))
    )
    after = forward(learner, x)
    with np.errstate(all="ignore"):
        loss, _ = learner.loss.value_and_gradient(np.matmul(after[-1].passed.h, learner.readout), labels)
    stats = StepStats(
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        loss_before=finite(start.loss),
        loss_after=finite(loss),
        largest_curvature=curvature,
        highest_rate=2 / curvature if curvature is not None and curvature > 0 else None,
        curvature_note=note,
    )
    return stats, list(_moved(learner, held, before, after))


def passes_of(config: ProbeConfig) -> int:
    """About how many passes forward and back the curvature takes."""
    return 2 * (VECTORS + 1) if config.optimizer == "sgd" else 0


def with_step(layers: Sequence[LayerStats], moved: Sequence[Moved]) -> tuple[LayerStats, ...]:
    """The layers with how far one step moves them.

    Args:
        layers: as measured, first to last.
        moved: changes by one step, of each layer.
    """
    return tuple(
        layer.model_copy(update={"weight_step_ratio": each.weight, "output_step_ratio": each.output})
        for layer, each in zip(layers, moved, strict=True)
    )


def _curvature(
    config: ProbeConfig, learner: Learner, x: Array, labels: Array, advance: Callable[[], None]
) -> tuple[float | None, str | None]:
    """The largest curvature, or the reason why there is none."""
    if config.optimizer != "sgd":
        return None, ADAPTIVE
    if learner.rescaled:
        return None, _LEARNED_SCALE
    wide = learner._replace(layers=list(map(_wide, learner.layers)), readout=learner.readout.astype(np.float64))
    parameters, batch, count = dict(named_parameters(wide)), x.astype(np.float64), itertools.count()

    def gradient(at: Array) -> Array:
        _write(parameters, at)
        if next(count) < passes_of(config):
            advance()
        by_name = dict(named_gradients(gradients(wide, batch, labels)))
        return np.concatenate([by_name[name].reshape(-1) for name in parameters])

    at = np.concatenate([array.reshape(-1) for array in parameters.values()])
    curvature = largest_curvature(gradient, at, config.seed)
    return curvature, NOT_FOUND if curvature is None else None


def _wide(layer: Layer) -> Layer:
    bias = None if layer.bias is None else layer.bias.astype(np.float64)
    return layer._replace(parameters=Parameters(layer.weight.astype(np.float64), bias))


def _write(parameters: dict[str, Array], at: Array) -> None:
    """Write the entries of one long vector into the parameters."""
    start = 0
    for array in parameters.values():
        array[...] = at[start : start + array.size].reshape(array.shape)
        start += array.size


def _moved(
    learner: Learner, held: Sequence[Array], before: Sequence[ForwardPass], after: Sequence[ForwardPass]
) -> Iterator[Moved]:
    for layer, weight, first, second in zip(learner.layers, held, before, after, strict=True):
        yield Moved(_ratio(layer.weight, weight), _ratio(second.passed.h, first.passed.h))


def _ratio(now: Array, before: Array) -> float | None:
    """rms of the change relative to the rms before; None where that is 0 or not finite."""
    with np.errstate(all="ignore"):
        size = float(np.linalg.norm(before.astype(np.float64)))
        change = float(np.linalg.norm(now.astype(np.float64) - before))
    return finite(change / size) if size and math.isfinite(size) else None
