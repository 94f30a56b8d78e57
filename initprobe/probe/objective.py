"""What the network is asked to learn: labels of the data or of a random linear teacher; the starting loss; SGD."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.arrays import Array, finite, mean
from initprobe.blocks.losses import Loss
from initprobe.blocks.skips import Wiring
from initprobe.config.probe_config import ProbeConfig
from initprobe.data.datasets import Dataset
from initprobe.engine.mlp import Parameters
from initprobe.engine.streams import Purpose, Streams
from initprobe.engine.threads import Workers
from initprobe.engine.training import Learner, broken_at, gradients, step
from initprobe.results.layers import LayerStats
from initprobe.results.summary import LossStats

# Of a step, given its number: a batch and its labels.
Batches = Callable[[int], tuple[Array, Array]]


@dataclass(frozen=True)
class Task:
    """The classes that a network is to tell apart.

    Attributes:
        loss: at the end of the read-out.
        classes: how many.
        labels: of every row of the data, or None where a random linear teacher labels the input.
        words: the task in words.
    """

    loss: Loss
    classes: int
    labels: Array | None
    words: str

    def of(self, x: Array, start: int, streams: Streams) -> Array:
        """The labels of rows `x`, of which the first is number `start`; the teacher is the same for a network."""
        if self.labels is not None:
            return self.labels[start : start + len(x)]
        teacher = streams.generator(Purpose.TEACHER).standard_normal((x.shape[1], self.classes))
        wide = x.astype(np.float64)
        # About their mean: an input that is never negative would have one class far more often than the others.
        return np.asarray(np.argmax((wide - wide.mean(axis=0)) @ teacher, axis=1))


def task_of(config: ProbeConfig, labels: Array | None) -> Task | None:
    """The task of an experiment whose labels have been read; None where nothing asks for one."""
    loss = config.objective
    if loss is None:
        return None
    if labels is not None:
        classes = config.classes or int(labels.max()) + 1
        source = config.labels_source
        name = source.name if isinstance(source, Dataset) else source
        return Task(loss, classes, labels, f"labels of {name}, {classes} classes")
    classes = config.classes or DEFAULT_CLASSES
    return Task(loss, classes, None, f"labels of a random linear teacher, {classes} classes")


DEFAULT_CLASSES = 10


@dataclass(frozen=True)
class Start:
    """The loss that one network starts with, and what it sends back: variances of dL/dh and dL/dW, layer by layer."""

    loss: float
    chance: float
    output: Sequence[float]
    weight: Sequence[float]


def learner_of(
    task: Task,
    config: ProbeConfig,
    network: Sequence[Parameters],
    wirings: Sequence[Wiring],
    streams: Streams,
    pool: Workers,
) -> Learner:
    """The network with its read-out; biases of 0 become arrays, since they learn."""
    units = network[-1].weight.shape[1]
    dtype = network[-1].weight.dtype
    readout = streams.generator(Purpose.READOUT).standard_normal((units, task.classes)) / math.sqrt(units)
    layers = [
        Parameters(one.weight, np.zeros(one.weight.shape[1], dtype) if one.bias is None else one.bias)
        for one in network
    ]
    rescaled = frozenset(index for index, wiring in enumerate(wirings) if wiring.skip == 0)
    return Learner(layers, readout.astype(dtype), list(wirings), config.activation, task.loss, pool, rescaled)


def start_of(task: Task, learner: Learner, x: Array, labels: Array) -> Start:
    """What a batch says before anything is learned."""
    found = gradients(learner, x, labels)
    variances = [[_variance(getattr(one, name)) for one in found.layers] for name in ("output", "weight")]
    return Start(found.loss, task.loss.chance(labels, task.classes), *variances)


def _variance(tensor: Array) -> float:
    with np.errstate(all="ignore"):
        return float(np.var(tensor, dtype=np.float64))


def with_loss(
    task: Task, layers: Sequence[LayerStats], starts: Sequence[Start]
) -> tuple[LossStats, tuple[LayerStats, ...]]:
    """The starting loss over draws, and the layers with the loss's own gradients beside those of the random seed."""
    by_draw = tuple(finite(one.loss) for one in starts)
    stats = LossStats(
        name=task.loss.name,
        task=task.words,
        classes=task.classes,
        start=finite(mean([one.loss for one in starts])),
        start_by_draw=by_draw,
        chance=mean([one.chance for one in starts]),
        chance_words=task.loss.chance_words(task.classes),
    )
    beside = tuple(
        layer.model_copy(
            update={
                "loss_output_gradient_variance": finite(mean([one.output[index] for one in starts])),
                "loss_weight_gradient_variance": finite(mean([one.weight[index] for one in starts])),
            }
        )
        for index, layer in enumerate(layers)
    )
    return stats, beside


@dataclass(frozen=True)
class Course:
    """How training went.

    Attributes:
        losses: before each step, and after the last; all finite.
        diverged_at: the step after which the loss was infinite or NaN; None where it never was.
        diverged_layer: the first layer that gave no finite output then; one more than there are for the read-out.
    """

    losses: tuple[float, ...]
    diverged_at: int | None = None
    diverged_layer: int | None = None

    @property
    def final(self) -> float | None:
        """Mean of the last tenth of the losses, which a single batch may miss; None for a net that diverged."""
        last = self.losses[-max(len(self.losses) // 10, 1) :]
        return None if self.diverged_at is not None else mean(last)


def train(learner: Learner, batches: Batches, steps: int, learning_rate: float, advance: Callable[[], None]) -> Course:
    """`steps` of plain SGD, in place, each on the batch of its number."""
    losses: list[float] = []
    for number in range(steps + 1):
        x, labels = batches(number)
        found = gradients(learner, x, labels)
        if not math.isfinite(found.loss):
            return Course(tuple(losses), number, broken_at(learner, x))
        losses.append(found.loss)
        if number < steps:
            step(learner, found, learning_rate)
            advance()
    return Course(tuple(losses))
