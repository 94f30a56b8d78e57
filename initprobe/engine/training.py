"""The same network without statistics: a loss, its gradients by every parameter, and plain SGD.

The sums are those of `engine.mlp`, in blocks fixed by the shapes, so that a loss curve does not depend on the threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from initprobe.activations import Activation
from initprobe.engine import mlp
from initprobe.engine.mlp import Parameters
from initprobe.engine.products import has_equal_columns, multiplier
from initprobe.engine.workers import Workers, row_blocks
from initprobe.losses import Loss
from initprobe.wiring import Wiring

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Learner:
    """A network with a read-out behind it; its parameters are changed in place by `step`.

    Attributes:
        layers: weights and biases, first to last.
        readout: `(units of the last layer, classes)`.
        wirings: what surrounds each activation.
        activation: of every layer.
        loss: at the end.
        pool: threads.
    """

    layers: Sequence[Parameters]
    readout: Array
    wirings: Sequence[Wiring]
    activation: Activation
    loss: Loss
    pool: Workers


@dataclass(frozen=True)
class Pass:
    """One layer on the way forward: its input, z and h, and what the norm left for the way back."""

    h_in: Array
    z: Array
    h: Array
    inverse: Array | None


@dataclass(frozen=True)
class LayerGradients:
    """What comes back to one layer: dL/dh, dL/dW, and the sum over samples of dL/dy, which is dL/db."""

    output: Array
    weight: Array
    bias: Array


@dataclass(frozen=True)
class Gradients:
    """A batch's loss, and its gradients by every parameter, first layer to last."""

    loss: float
    readout: Array
    layers: tuple[LayerGradients, ...]


def forward(learner: Learner, x: Array) -> list[Pass]:
    """Every layer of a batch, first to last."""
    found: list[Pass] = []
    for parameters, wiring in zip(learner.layers, learner.wirings, strict=True):
        found.append(_forward(learner, parameters, wiring, found[-1].h if found else x))
    return found


def _forward(learner: Learner, parameters: Parameters, wiring: Wiring, h_in: Array) -> Pass:
    z = np.empty((len(h_in), parameters.weight.shape[1]), h_in.dtype)
    h = np.empty_like(z)
    inverse = mlp.forward(parameters, learner.activation, h_in, (z, h), learner.pool, wiring)
    return Pass(h_in, z, h, inverse)


def gradients(learner: Learner, x: Array, labels: Array) -> Gradients:
    """The loss of a batch `(samples, features)` with `labels`, and its gradients."""
    passes = forward(learner, x)
    last = passes[-1].h
    with np.errstate(all="ignore"):
        loss, logits = learner.loss.value_and_gradient(np.matmul(last, learner.readout), labels)
        start = logits.astype(x.dtype)
        g = np.matmul(start, learner.readout.T)
        found = []
        for index in reversed(range(len(passes))):
            here, g = _backward(learner, index, passes[index], g)
            found.append(here)
        return Gradients(loss, np.matmul(last.T, start), tuple(found[::-1]))


def _backward(learner: Learner, index: int, passed: Pass, g: Array) -> tuple[LayerGradients, Array]:
    """The gradients of layer `index` from `g = dL/dh`, and dL/dh of the layer below."""
    wiring, weight, activation = learner.wirings[index], learner.layers[index].weight, learner.activation
    out = np.empty_like(passed.z), np.empty_like(passed.h_in)
    delta = mlp.backward(weight, activation, (passed.z, passed.h), g, out, learner.pool, wiring, passed.inverse)
    gradient = np.empty_like(weight)
    write_product = multiplier(delta, has_equal_columns(passed.h_in))

    def accumulate(rows: slice) -> None:
        write_product(passed.h_in[:, rows].T, gradient[rows])

    learner.pool.map(accumulate, row_blocks(*gradient.shape))
    return LayerGradients(g, gradient, delta.sum(axis=0)), out[1]


def step(learner: Learner, found: Gradients, learning_rate: float) -> None:
    """Plain SGD: every parameter less `learning_rate` times its gradient, in place, which uses up the gradients.

    Biases that start as zeros learn too.
    """
    rate = learner.readout.dtype.type(learning_rate)
    with np.errstate(all="ignore"):
        learner.readout[...] -= rate * found.readout
        for parameters, gradient in zip(learner.layers, found.layers, strict=True):
            np.multiply(gradient.weight, rate, out=gradient.weight)
            np.subtract(parameters.weight, gradient.weight, out=parameters.weight)
            if parameters.bias is not None:
                parameters.bias[...] -= rate * gradient.bias


def broken_at(learner: Learner, x: Array) -> int:
    """The first layer whose output is not finite, or one more than there are: the read-out."""
    for number, passed in enumerate(forward(learner, x), start=1):
        if not np.isfinite(passed.h).all():
            return number
    return len(learner.layers) + 1
