"""The training task: labels of the data or of a random teacher, the loss at the start, and SGD."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from initprobe.activations.losses import Loss
from initprobe.arrays import Array, finite, mean
from initprobe.config.probe_config import ProbeConfig
from initprobe.data.datasets import Dataset
from initprobe.engine.mlp import Layer, Parameters
from initprobe.engine.streams import Purpose, Streams
from initprobe.engine.threads import Workers
from initprobe.results.layers import LayerStats
from initprobe.results.summary import LossStats

if TYPE_CHECKING:
    from initprobe.engine.training import Learner

# From the number of a step to its batch, `(samples, features)`, and its labels, `(samples,)`.
Batches = Callable[[int], tuple[Array, Array]]

DEFAULT_CLASSES = 10


class Task(NamedTuple):
    """The classes that a network is trained to distinguish.

    Attributes:
        loss: of the logits.
        classes: how many.
        labels: of every row of the data; None where a random linear teacher labels the input.
        words: the task in words.
    """

    loss: Loss
    classes: int
    labels: Array | None
    words: str

    def of(self, x: Array, start: int, streams: Streams) -> Array:
        """The labels of rows of the input.

        Args:
            x: the rows, `(samples, features)`.
            start: number of the first row.
            streams: the random streams of the network, one of which makes its teacher.

        Returns:
            Classes, `(samples,)`.
        """
        if self.labels is not None:
            return self.labels[start : start + len(x)]
        teacher = streams.generator(Purpose.TEACHER).standard_normal((x.shape[1], self.classes))
        wide = x.astype(np.float64)
        # Centred: an input that is never negative would give one class far more often than the others.
        return np.asarray(np.argmax((wide - wide.mean(axis=0)) @ teacher, axis=1))


def task_of(config: ProbeConfig, labels: Array | None) -> Task | None:
    """The task of an experiment; None where the config has no loss.

    Args:
        config: of the experiment.
        labels: as read, `(rows,)`; None where none were given.
    """
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


class Start(NamedTuple):
    """The loss of one network before training, and the variances of its gradients.

    Attributes:
        loss: on the first batch.
        chance: the loss of an answer that knows nothing of a sample.
        output: variance of dL/dh over samples and units, layer by layer.
        weight: variance of dL/dW over its entries, layer by layer.
    """

    loss: float
    chance: float
    output: Sequence[float]
    weight: Sequence[float]


def learner_of(task: Task, layers: Sequence[Layer], streams: Streams, pool: Workers) -> Learner:
    """The network with a read-out; a bias of None becomes an array of zeros, since it learns.

    Args:
        task: the loss and its classes.
        layers: the drawn layers, first to last.
        streams: the random streams of the network; one of them draws the read-out.
        pool: the threads.
    """
    from initprobe.engine.training import Learner

    units, dtype = layers[-1].weight.shape[1], layers[-1].weight.dtype
    readout = streams.generator(Purpose.READOUT).standard_normal((units, task.classes)) / math.sqrt(units)
    rescaled = frozenset(index for index, layer in enumerate(layers) if layer.wiring.skip == 0)
    return Learner([_with_bias(layer) for layer in layers], readout.astype(dtype), task.loss, pool, rescaled)


def _with_bias(layer: Layer) -> Layer:
    bias = np.zeros(layer.weight.shape[1], layer.weight.dtype) if layer.bias is None else layer.bias
    return layer._replace(parameters=Parameters(layer.weight, bias))


def start_of(task: Task, learner: Learner, x: Array, labels: Array) -> Start:
    """The loss and the gradients of a batch before training.

    Args:
        task: the loss and its classes.
        learner: the network with a read-out.
        x: the batch, `(samples, features)`.
        labels: a class per sample, `(samples,)`.
    """
    from initprobe.engine.training import gradients

    batch = gradients(learner, x, labels)
    output = [_variance(layer.output) for layer in batch.layers]
    weight = [_variance(layer.weight) for layer in batch.layers]
    return Start(batch.loss, task.loss.chance(labels, task.classes), output, weight)


def _variance(tensor: Array) -> float:
    with np.errstate(all="ignore"):
        return float(np.var(tensor, dtype=np.float64))


def with_loss(
    task: Task, layers: Sequence[LayerStats], starts: Sequence[Start]
) -> tuple[LossStats, tuple[LayerStats, ...]]:
    """The loss before training, averaged over draws, and the layers with the variances of its gradients.

    Args:
        task: what the loss measures.
        layers: the statistics so far.
        starts: of each draw.
    """
    stats = LossStats(
        name=task.loss.name,
        task=task.words,
        classes=task.classes,
        start=finite(mean([start.loss for start in starts])),
        start_by_draw=tuple(finite(start.loss) for start in starts),
        chance=mean([start.chance for start in starts]),
        chance_words=task.loss.chance_words(task.classes),
    )
    with_gradients = tuple(
        layer.model_copy(
            update={
                "loss_output_gradient_variance": finite(mean([start.output[index] for start in starts])),
                "loss_weight_gradient_variance": finite(mean([start.weight[index] for start in starts])),
            }
        )
        for index, layer in enumerate(layers)
    )
    return stats, with_gradients


class Course(NamedTuple):
    """The losses of a training.

    Attributes:
        losses: before each step, and after the last; all finite.
        diverged_at: the step after which the loss was infinite or NaN; None where it never was.
        diverged_layer: the first layer with an output that was not finite then. The read-out counts as one more.
    """

    losses: tuple[float, ...]
    diverged_at: int | None = None
    diverged_layer: int | None = None

    @property
    def final(self) -> float | None:
        """Mean of the last tenth of the losses, as a single batch may be an outlier; None where training diverged."""
        last = self.losses[-max(len(self.losses) // 10, 1) :]
        return None if self.diverged_at is not None else mean(last)


def train(learner: Learner, batches: Batches, steps: int, learning_rate: float, advance: Callable[[], None]) -> Course:
    """Train by plain SGD, in place.

    Args:
        learner: the network with its read-out.
        batches: from the number of a step to its batch.
        steps: how many.
        learning_rate: of every step.
        advance: called after each step.

    Returns:
        The losses, up to the first that is not finite.
    """
    from initprobe.engine.training import first_nonfinite_layer, gradients, step

    losses: list[float] = []
    for number in range(steps + 1):
        x, labels = batches(number)
        batch_gradients = gradients(learner, x, labels)
        if not math.isfinite(batch_gradients.loss):
            return Course(tuple(losses), number, first_nonfinite_layer(learner, x))
        losses.append(batch_gradients.loss)
        if number < steps:
            step(learner, batch_gradients, learning_rate)
            advance()
    return Course(tuple(losses))
