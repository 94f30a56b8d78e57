"""The same network without statistics: a loss, its gradients by every parameter, and plain SGD.

The sums are those of `engine.mlp`, in blocks fixed by the shapes, so that a loss curve does not depend on the threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.blocks.losses import Loss
from initprobe.blocks.skips import Wiring
from initprobe.engine import mlp
from initprobe.engine.mlp import Parameters
from initprobe.engine.products import has_equal_columns, multiplier
from initprobe.engine.threads import Workers, row_blocks


@dataclass(frozen=True)
class Learner:
    """A network with a read-out behind it; its parameters are changed in place by `step`.

    A branch that starts with a scale of 0 learns it (ReZero, Bachlechner et al. 2020, arXiv:2003.04887): with it fixed,
    nothing in the branch would.

    Attributes:
        layers: weights and biases, first to last.
        readout: `(units of the last layer, classes)`.
        wirings: what surrounds each activation; a list, in which `step` puts those with a scale that was learned.
        rescaled: the layers, from 0 on, whose scale is learned.
        activation: of every layer.
        loss: at the end.
        pool: threads.
    """

    layers: Sequence[Parameters]
    readout: Array
    wirings: list[Wiring]
    activation: Activation
    loss: Loss
    pool: Workers
    rescaled: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Pass:
    """One layer on the way forward: its input, z and h, and what the norm left for the way back."""

    h_in: Array
    z: Array
    h: Array
    inverse: Array | None


@dataclass(frozen=True)
class LayerGradients:
    """What comes back to one layer: dL/dh, dL/dW, and the sum over samples of dL/dy, which is dL/db.

    `scale` is dL/ds, the sum over samples and units of dL/dh times what s multiplies; 0 where s is not learned.
    """

    output: Array
    weight: Array
    bias: Array
    scale: float = 0.0


@dataclass(frozen=True)
class Gradients:
    """A batch's loss, and its gradients by every parameter, first layer to last."""

    loss: float
    readout: Array
    layers: tuple[LayerGradients, ...]


def forward(learner: Learner, x: Array) -> list[Pass]:
    """Every layer of a batch, first to last."""
    found: list[Pass] = []
    h = stream = x
    for parameters, wiring in zip(learner.layers, learner.wirings, strict=True):
        stream = h if wiring.opens else stream
        found.append(_forward(learner, parameters, wiring, h, stream))
        h = found[-1].h
    return found


def _forward(learner: Learner, parameters: Parameters, wiring: Wiring, h_in: Array, stream: Array) -> Pass:
    z = np.empty((len(h_in), parameters.weight.shape[1]), h_in.dtype)
    h = np.empty_like(z)
    inverse = mlp.forward(parameters, learner.activation, h_in, (z, h), learner.pool, wiring, stream)
    return Pass(h_in, z, h, inverse)


def gradients(learner: Learner, x: Array, labels: Array) -> Gradients:
    """The loss of a batch `(samples, features)` with `labels`, and its gradients."""
    passes = forward(learner, x)
    last = passes[-1].h
    with np.errstate(all="ignore"):
        loss, logits = learner.loss.value_and_gradient(np.matmul(last, learner.readout), labels)
        start = logits.astype(x.dtype)
        g = np.matmul(start, learner.readout.T)
        found, stream = [], g
        for index in reversed(range(len(passes))):
            stream = g if learner.wirings[index].skip is not None else stream
            here, g = _backward(learner, index, passes[index], g, stream)
            found.append(here)
        return Gradients(loss, np.matmul(last.T, start), tuple(found[::-1]))


def _backward(learner: Learner, index: int, passed: Pass, g: Array, stream: Array) -> tuple[LayerGradients, Array]:
    """The gradients of layer `index` from `g = dL/dh`, and dL/dh of the layer below.

    `stream` is dL/dh at the end of the branch that the layer is of, if it is of any.
    """
    wiring, weight, activation = learner.wirings[index], learner.layers[index].weight, learner.activation
    out = np.empty_like(passed.z), np.empty_like(passed.h_in)
    branch = wiring.acting(activation).value(passed.z) if index in learner.rescaled else None
    scale = 0.0 if branch is None else float(np.vdot(g.astype(float), branch.astype(float)))
    both = passed.z, passed.h
    delta = mlp.backward(weight, activation, both, g, out, learner.pool, wiring, passed.inverse, stream)
    gradient = np.empty_like(weight)
    write_product = multiplier(delta, has_equal_columns(passed.h_in))

    def accumulate(rows: slice) -> None:
        write_product(passed.h_in[:, rows].T, gradient[rows])

    learner.pool.map(accumulate, row_blocks(*gradient.shape))
    return LayerGradients(g, gradient, delta.sum(axis=0), scale), out[1]


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
    for index in learner.rescaled:
        wiring = learner.wirings[index]
        assert wiring.skip is not None
        learner.wirings[index] = replace(wiring, skip=wiring.skip - learning_rate * found.layers[index].scale)


def broken_at(learner: Learner, x: Array) -> int:
    """The first layer whose output is not finite, or one more than there are: the read-out."""
    for number, passed in enumerate(forward(learner, x), start=1):
        if not np.isfinite(passed.h).all():
            return number
    return len(learner.layers) + 1
