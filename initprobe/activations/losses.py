"""Losses behind a linear read-out: each a record with its value, its gradient and the loss of chance.

The read-out `logits = h_L V`, with `V ~ N(0, 1/fan_in)` and no bias, follows the last layer. Losses are means over the
samples of a batch, as in frameworks, so their gradients shrink as the batch grows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from initprobe.arrays import Array
from initprobe.registry import Registry


class Loss(NamedTuple):
    """A loss between logits `(samples, classes)` and labels `(samples,)`.

    Attributes:
        name: stable id.
        value_and_gradient: from `(logits, labels)` to the mean loss and its gradient by the logits, both in float64.
        chance: from `(labels, classes)` to the loss of an answer that knows nothing of a sample.
        chance_words: from `classes` to the formula of chance.
        formula: of one sample.
        reference: the source.
        aliases: other names that users type.
    """

    name: str
    value_and_gradient: Callable[[Array, Array], tuple[float, Array]]
    chance: Callable[[Array, int], float]
    chance_words: Callable[[int], str]
    formula: str
    reference: str
    aliases: tuple[str, ...] = ()


def _cross_entropy(logits: Array, labels: Array) -> tuple[float, Array]:
    rows = np.arange(len(labels))
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)
    value = float(np.mean(np.log(totals[:, 0]) - shifted[rows, labels]))
    gradient = exponentials / totals
    gradient[rows, labels] -= 1
    return value, gradient / len(labels)


def _squared_error(logits: Array, labels: Array) -> tuple[float, Array]:
    gap = logits.astype(np.float64)
    gap[np.arange(len(labels)), labels] -= 1
    return float(np.mean(gap * gap)), gap * (2 / gap.size)


def _best_constant(labels: Array, classes: int) -> float:
    """Mean squared error of the shares of the classes, the best answer that is the same for every sample."""
    shares = np.bincount(labels, minlength=classes) / len(labels)
    return float(np.mean(shares * (1 - shares)))


LOSSES: Registry[Loss] = Registry(
    "loss",
    [
        Loss(
            name="cross-entropy",
            value_and_gradient=_cross_entropy,
            chance=lambda labels, classes: float(np.log(classes)),
            chance_words=lambda classes: f"ln {classes}",
            formula="-log softmax(logits)[label]",
            reference="torch.nn.CrossEntropyLoss",
            aliases=("cross_entropy", "crossentropy", "ce", "softmax"),
        ),
        Loss(
            name="mse",
            value_and_gradient=_squared_error,
            chance=_best_constant,
            chance_words=lambda classes: "the labels' shares",
            formula="mean over classes of (logits - one-hot label)^2",
            reference="torch.nn.MSELoss with one-hot targets",
            aliases=("mean_squared_error", "squared"),
        ),
    ],
)
