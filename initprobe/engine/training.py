"""The same network without statistics: a loss, its gradients by every parameter, and plain SGD.

The products are those of `engine.mlp`, in blocks fixed by the shapes. So a loss curve does not depend on the number of
threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from initprobe.activations.losses import Loss
from initprobe.arrays import Array
from initprobe.engine import mlp
from initprobe.engine.mlp import Layer, Passed
from initprobe.engine.products import has_equal_columns, multiplier
from initprobe.engine.threads import Workers, row_blocks


class Learner(NamedTuple):
    """A network with a read-out behind it; `step` changes its parameters in place.

    A branch that starts with a scale of 0 learns its scale (ReZero, Bachlechner et al. 2020, arXiv:2003.04887). If the
    scale were fixed at 0, nothing in the branch would learn.

    Attributes:
        layers: first to last; a list, in which `step` replaces a layer whose scale it changed.
        readout: `(units of the last layer, classes)`.
        loss: of the logits.
        pool: the threads.
        rescaled: the layers, counted from 0, whose scale is learned.
    """

    layers: list[Layer]
    readout: Array
    loss: Loss
    pool: Workers
    rescaled: frozenset[int] = frozenset()


class ForwardPass(NamedTuple):
    """One layer on the forward pass: its input, `(batch, fan_in)`, and what `mlp.forward` returned."""

    h_in: Array
    passed: Passed


class LayerGradients(NamedTuple):
    """The gradients of the loss at one layer.

    Attributes:
        output: dL/dh, `(batch, fan_out)`.
        weight: dL/dW, `(fan_in, fan_out)`, summed over samples.
        bias: dL/db, `(fan_out,)`, the sum of dL/dy over samples.
        scale: dL/ds, the sum over samples and units of dL/dh times the branch; 0 where s is not learned.
    """

    output: Array
    weight: Array
    bias: Array
    scale: float = 0.0


class BatchGradients(NamedTuple):
    """The loss of a batch, and its gradients by the read-out and by every layer, first to last."""

    loss: float
    readout: Array
    layers: tuple[LayerGradients, ...]


def forward(learner: Learner, x: Array) -> list[ForwardPass]:
    """The forward pass of a batch `(samples, features)`, first layer to last.

    Args:
        learner: the network.
        x: `(samples, features)`.
    """
    passes: list[ForwardPass] = []
    h = stream = x
    for layer in learner.layers:
        stream = h if layer.wiring.opens else stream
        z = np.empty((len(h), layer.weight.shape[1]), h.dtype)
        passes.append(ForwardPass(h, mlp.forward(layer, h, (z, np.empty_like(z)), learner.pool, stream)))
        h = passes[-1].passed.h
    return passes


def gradients(learner: Learner, x: Array, labels: Array) -> BatchGradients:
    """The loss of a batch, and its gradients.

    Args:
        learner: the network.
        x: the batch, `(samples, features)`.
        labels: classes, `(samples,)`.
    """
    passes = forward(learner, x)
    last = passes[-1].passed.h
    with np.errstate(all="ignore"):
        loss, logits = learner.loss.value_and_gradient(np.matmul(last, learner.readout), labels)
        start = logits.astype(x.dtype)
        g = np.matmul(start, learner.readout.T)
        by_layer, stream = [], g
        for index in reversed(range(len(passes))):
            stream = g if learner.layers[index].wiring.skip is not None else stream
            own, g = _backward(learner, index, passes[index], g, stream)
            by_layer.append(own)
        return BatchGradients(loss, np.matmul(last.T, start), tuple(by_layer[::-1]))


def _backward(
    learner: Learner, index: int, forward_pass: ForwardPass, g: Array, stream: Array
) -> tuple[LayerGradients, Array]:
    """The gradients of layer `index` from `g = dL/dh`, and dL/dh of the layer below.

    `stream` is dL/dh at the end of the branch that holds the layer, if one does.
    """
    layer, (h_in, passed) = learner.layers[index], (forward_pass.h_in, forward_pass.passed)
    branch = layer.phi.value(passed.z) if index in learner.rescaled else None
    scale = 0.0 if branch is None else float(np.vdot(g.astype(float), branch.astype(float)))
    room = mlp.Gradients(g, np.empty_like(passed.z), np.empty_like(h_in))
    delta = mlp.backward(layer, passed, room, learner.pool, stream)
    gradient = np.empty_like(layer.weight)
    write_product = multiplier(delta, has_equal_columns(h_in))

    def accumulate(rows: slice) -> None:
        write_product(h_in[:, rows].T, gradient[rows])

    learner.pool.map(accumulate, row_blocks(*gradient.shape))
    assert room.below is not None
    return LayerGradients(g, gradient, delta.sum(axis=0), scale), room.below


def step(learner: Learner, batch_gradients: BatchGradients, learning_rate: float) -> None:
    """One step of plain SGD: every parameter less `learning_rate` times its gradient, in place.

    The gradients are overwritten. Biases that start as zeros learn too.

    Args:
        learner: the network.
        batch_gradients: of every parameter.
        learning_rate: the same for every parameter.
    """
    rate = learner.readout.dtype.type(learning_rate)
    with np.errstate(all="ignore"):
        learner.readout[...] -= rate * batch_gradients.readout
        for layer, gradient in zip(learner.layers, batch_gradients.layers, strict=True):
            _descend(layer, gradient, rate)
    for index in learner.rescaled:
        layer = learner.layers[index]
        assert layer.wiring.skip is not None
        skip = layer.wiring.skip - learning_rate * batch_gradients.layers[index].scale
        learner.layers[index] = layer._replace(wiring=layer.wiring._replace(skip=skip))


def _descend(layer: Layer, gradient: LayerGradients, rate: np.floating[Any]) -> None:
    np.multiply(gradient.weight, rate, out=gradient.weight)
    np.subtract(layer.weight, gradient.weight, out=layer.weight)
    if layer.bias is not None:
        layer.bias[...] -= rate * gradient.bias


def first_nonfinite_layer(learner: Learner, x: Array) -> int:
    """The first layer, from 1, with an output that is not finite. The read-out counts as one more.

    Args:
        learner: the network.
        x: `(samples, features)`.
    """
    for number, forward_pass in enumerate(forward(learner, x), start=1):
        if not np.isfinite(forward_pass.passed.h).all():
            return number
    return len(learner.layers) + 1
