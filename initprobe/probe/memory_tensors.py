"""The memory of the tensors of a run: those that it holds all the time, and those of one phase.

A batch has two phases. On the forward pass the moments of its input are measured. On the backward pass gradients wait
for their statistics. All that waits is done between the two, so a run needs the larger of them. `probe.buffers` lists
the tensors.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from initprobe.config.probe_config import ProbeConfig
from initprobe.engine.buckets import tallied_together
from initprobe.engine.curvature import VECTORS
from initprobe.engine.threads import MOST_WAITING, tallied_rows
from initprobe.engine.weight_gradient import GRAM_ROWS, SAMPLED_ROWS, is_sampled
from initprobe.initializers.fit_settings import Autoencoder
from initprobe.initializers.own import OwnInitializer
from initprobe.meanfield.input_moments import PAIRED_ROWS

# Arrays of the paired rows in float64 that `InputMoments.measure` holds at once. They are the rows as unit vectors,
# their squares and those squared again.
_PAIRED = 3
_FLOAT64 = np.dtype(float).itemsize


class Shape(NamedTuple):
    """How many entries the tensors of a network have.

    Attributes:
        entry: bytes of one entry.
        layers: how many layers there are.
        matrices: entries of all weights.
        matrix: entries of the largest weight matrix.
        tensors: entries of the outputs of all layers.
        tensor: entries of the largest output.
        stack: entries of the outputs of the layers that are tallied together, at most.
        matrix_stack: the same of their weights.
        input: entries of the input.
        output: entries of the output of the last layer.
        batch: samples in a batch.
        fans: `(fan_in, fan_out)` of the largest weight matrix.
    """

    entry: int
    layers: int
    matrices: int
    matrix: int
    tensors: int
    tensor: int
    stack: int
    matrix_stack: int
    input: int
    output: int
    batch: int
    fans: tuple[int, int]

    @classmethod
    def of(cls, config: ProbeConfig, sizes: Sequence[int], batch: int) -> Shape:
        """The shape of a network.

        Args:
            config: of the experiment.
            sizes: features of the input, then units of each layer, `(layers + 1,)`.
            batch: samples.
        """
        fans = list(itertools.pairwise(sizes))
        matrices = [a * b for a, b in fans]
        together = [(min(tallied_together(max(a, batch) * b), count), a, b) for (a, b), count in Counter(fans).items()]
        return cls(
            np.dtype(config.dtype).itemsize, len(fans), sum(matrices), max(matrices), batch * sum(sizes[1:]),
            batch * max(sizes[1:]), max(number * batch * b for number, _, b in together),
            max(number * a * b for number, a, b in together), batch * sizes[0], batch * sizes[-1], batch,
            max(fans, key=math.prod),
        )  # fmt: skip


def held(config: ProbeConfig, shape: Shape) -> tuple[int, int]:
    """Entries of weights and of activations where the whole network is held.

    Weights are W and the sums of dL/dW; activations are z, h, the input and dL/dh of the last layer.

    Args:
        config: of the experiment.
        shape: of the network.
    """
    weights = shape.matrices * (2 if config.batches > 1 else 1)
    activations = 2 * shape.tensors + shape.input + shape.output
    if config.network is not None:  # the weights of the file
        weights += shape.matrices
    again = config.draws > 1 or config.train_steps > 0  # in the first draw, z and h have not been written yet
    if isinstance(config.initializer.fit, Autoencoder):  # a decoder, a change of the weights; centred codes and input
        weights += 2 * shape.matrix if again else 0
        activations += 4 * shape.tensor if again else max(2 * shape.matrix + 4 * shape.tensor - 2 * shape.tensors, 0)
    if config.optimizer:  # two passes, and for the curvature the parameters, gradients and passes in float64
        doubled = 8 // shape.entry
        weights += (doubled * (VECTORS + 6) + 6) * shape.matrices
        activations += 8 * doubled * shape.tensors
    elif config.train_steps:  # a network drawn again, the gradients of two steps; new z and h, and their gradients
        weights += 3 * shape.matrices
        activations += 4 * shape.tensors
    elif config.objective is not None:  # the same for a single step
        weights += shape.matrices
        activations += 3 * shape.tensors if again else shape.tensors
    return weights, activations


def forward_bytes(config: ProbeConfig, shape: Shape, threads: int) -> int:
    """Bytes that the forward pass needs while noise is made, or moments of the input are measured.

    Noise is made in parts, which are then joined. Moments need the input in float64, and some of its rows again.

    Args:
        config: of the experiment.
        shape: of the network.
        threads: of the run.
    """
    features = shape.input // shape.batch
    rows = min(shape.batch, PAIRED_ROWS)
    widened = shape.input * _FLOAT64 if shape.entry < _FLOAT64 else 0
    moments = widened + _FLOAT64 * rows * (_PAIRED * features + 2 * rows)
    # The weights of layers that are tallied together are joined, too.
    joined = min(shape.matrices, (1 + _waiting(config, shape, threads, 0)) * shape.matrix_stack)
    joined *= shape.matrix_stack > shape.matrix
    return max(shape.input * shape.entry, shape.output * shape.entry, moments) + joined * shape.entry


def backward_entries(config: ProbeConfig, shape: Shape, threads: int, most: int) -> tuple[int, int]:
    """Entries of dL/dW, and of other gradients, that the backward pass needs.

    Args:
        config: the settings.
        shape: of the network.
        threads: of the run.
        most: layers of a segment.
    """
    layers = min(most, shape.layers)
    tallied, weight = _blocks(config, shape)
    # dL/dh of a layer and of the one below. A norm has dL/dz and dL/dy, too, and a norm of columns a copy.
    waiting = 2 + _waiting(config, shape, threads, tallied + weight)
    if config.norm != "none":
        waiting += 2 + _waiting(config, shape, threads, weight) + _waiting(config, shape, threads, 0)
        waiting += config.norm == "batch"
    # dL/dW is written a block at a time, layer after layer.
    begun = 1 if threads == 1 else min(layers, 1 + math.ceil(threads / _blocks_of(*shape.fans)))
    gradients = min(begun * _gradient(config, shape), shape.matrices)
    kinds = {"none": 1, "layer": 3, "batch": 4}[config.norm]
    return gradients, min(waiting * shape.stack, kinds * shape.tensors)


def _blocks(config: ProbeConfig, shape: Shape) -> tuple[int, int]:
    """Blocks of work that are put off per group of layers: of a tensor of the batch, and of dL/dW."""
    weight = _blocks_of(*shape.fans)
    if not config.has_whole_weight_gradient and is_sampled(shape.batch, *shape.fans):
        weight = 1 + math.ceil(shape.batch / GRAM_ROWS)
    return _blocks_of(shape.batch, shape.tensor // shape.batch), weight


def _blocks_of(rows: int, columns: int) -> int:
    """How many blocks `tallied_blocks` has."""
    return math.ceil(rows / tallied_rows(columns))


def _waiting(config: ProbeConfig, shape: Shape, threads: int, later: int) -> int:
    """How many tensors of a kind wait for their statistics; none with one thread, which takes them at once.

    Work is done in its order, and at most `MOST_WAITING` blocks wait while the threads are at further ones. So a tensor
    waits only if the blocks put off after its own are fewer.

    Args:
        config: the settings.
        shape: of the network.
        threads: of the run.
        later: blocks of the same layer that are put off after those of the tensor.
    """
    if threads == 1:
        return 0
    tallied, weight = _blocks(config, shape)
    # A thread refers to its last task, and so to the tensor, until it has another.
    return 1 + max(math.ceil((MOST_WAITING + threads - later) / (2 * tallied + weight)), 0)


def _gradient(config: ProbeConfig, shape: Shape) -> int:
    """Entries of dL/dW of a layer that wait. None do where it is summed over batches, some rows where it is sampled."""
    if config.batches > 1:
        return 0
    fan_in, fan_out = shape.fans
    sampled = not config.has_whole_weight_gradient and is_sampled(shape.batch, fan_in, fan_out)
    return SAMPLED_ROWS * fan_out if sampled else shape.matrix_stack


def drawn_bytes(config: ProbeConfig, shape: Shape, threads: int) -> int:
    """Bytes beside the weights while matrices are drawn in one piece, as many at a time as there are threads.

    Args:
        config: of the experiment.
        shape: of the network.
        threads: of the run.
    """
    if not config.initializer.distribution.whole or config.network is not None:
        return 0
    # A decomposition in float64 has the matrix, its factors, and room; others have a scaled copy and a mask.
    own = isinstance(config.initializer, OwnInitializer)  # two of whose matrices are checked at once
    large = own or config.initializer.distribution.orthogonal
    each = 4 * _FLOAT64 if large else 2 * shape.entry + 1
    return each * shape.matrix * max(min(threads, shape.layers), 2 if own else 1)
