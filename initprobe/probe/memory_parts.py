"""What a run takes: memory, refused before it starts where there is too little, and operations.

Weights can be made again from their seed, and activations from those of an earlier layer. Where the whole network
would take more than `KEPT_BYTES`, it is gone through in segments: the way forward keeps the input of each, the way
back makes a segment again before it goes through it (Chen et al. 2016, arXiv:1604.06174).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.blocks.norms import NORMS
from initprobe.config.probe_config import ProbeConfig
from initprobe.data.machine import processors
from initprobe.engine.buckets import SOON_COUNTED, tallied_together
from initprobe.engine.threads import MOST_WAITING, row_blocks, tallied_blocks
from initprobe.engine.weight_gradient import SAMPLED_ROWS, is_sampled
from initprobe.initializers.fit_settings import Autoencoder
from initprobe.initializers.own import OwnInitializer
from initprobe.meanfield.input_moments import rule_nodes

# Python with NumPy, SciPy and what else a run loads.
_BASE_BYTES = 75_000_000
# What summing, counting and activations take beside an entry of a tensor, of at most so many entries at a time.
# Threads are not all at their peak at once: further ones add less.
_SCRATCH_BYTES, _FURTHER_BYTES, _SCRATCH_ENTRIES = 28, 22, 1 << 19
# Statistics of the six tensors of a layer; and what every draw adds: six sets of moments, and numbers per sample.
LAYER_BYTES, DRAW_BYTES = 115_000, 1_800
# Two numbers of a sample, both twice, and in the Gauss rule of all samples some more and one per node.
_SAMPLE_NUMBERS = 10
# Bytes per bucket of the counters of a tensor: of few entries counted twice in int64, of many in int32.
_BUCKETS = {"float32": 1 << 16, "float64": 1 << 17}
_FEW_COUNTED, _MANY_COUNTED = 16, 8
# Rows whose pairs are measured (`meanfield.samples`).
_PAIRED_ROWS = 256
# Allocators leave gaps, and this much again is for what differs from machine to machine.
_GAPS, _LARGE_GAPS = 1.15, 1.06
# Of a block of rows whose statistics are taken: rows at least, and entries in a narrow layer.
_BLOCK_ROWS, _BLOCK_ENTRIES = 256, 1 << 17
# A network that fits in this much is kept whole, which saves making it twice.
KEPT_BYTES = 3 << 29


@dataclass(frozen=True)
class Shape:
    """Entries of a network's tensors: in all layers together, and in the largest of them.

    Attributes:
        entry: bytes of one.
        layers: how many there are.
        matrices: of the weights.
        matrix: of the largest of them.
        tensors: of the outputs.
        tensor: of the largest of them, the input included.
        input: of the input.
        batch: samples.
        fans: `(fan_in, fan_out)` of the largest matrix.
    """

    entry: int
    layers: int
    matrices: int
    matrix: int
    tensors: int
    tensor: int
    input: int
    batch: int
    fans: tuple[int, int]

    @classmethod
    def of(cls, config: ProbeConfig, sizes: Sequence[int], batch: int) -> Shape:
        matrices = [a * b for a, b in itertools.pairwise(sizes)]
        return cls(
            np.dtype(config.dtype).itemsize, len(matrices), sum(matrices), max(matrices),
            batch * sum(sizes[1:]), batch * max(sizes[1:]), batch * sizes[0], batch,
            max(itertools.pairwise(sizes), key=math.prod),
        )  # fmt: skip


def held_bytes(config: ProbeConfig, shape: Shape) -> tuple[int, int]:
    """Entries of weights and activations where the whole network is held: W, dL/dW in sum; z, h, and the input."""
    weights = shape.matrices * (2 if config.batches > 1 else 1)
    activations = 2 * shape.tensors + shape.input
    if config.network is not None:  # as they were read
        weights += shape.matrices
    again = config.draws > 1 or config.train_steps > 0  # the first time, z and h have not been written yet
    if isinstance(config.initializer.fit, Autoencoder):  # a decoder, a change of the weights; codes and input, centred
        weights += 2 * shape.matrix if again else 0
        activations += 4 * shape.tensor if again else max(2 * shape.matrix + 4 * shape.tensor - 2 * shape.tensors, 0)
    if config.train_steps:  # the gradients of this step and of the last one; z and h anew, dL/dh of both
        weights += 2 * shape.matrices
        activations += 4 * shape.tensors
    elif config.objective is not None:  # the same of a single step
        weights += shape.matrices
        activations += 3 * shape.tensors if again else shape.tensors
    return weights, activations


def waiting_bytes(config: ProbeConfig, shape: Shape, threads: int, most: int) -> tuple[int, int]:
    """Entries of dL/dW, and of dL/dh and the like, that are there until their statistics have been taken.

    With one thread they are taken at once; others work on what the first has left, which is so many blocks, of at
    `most` the layers of a segment.
    """
    rows = max(_BLOCK_ENTRIES // (shape.tensor // shape.batch), _BLOCK_ROWS)
    blocks = 3 * math.ceil(shape.batch / rows)
    layers = 1 if threads == 1 else min(most, math.ceil((MOST_WAITING + threads) / blocks) + 1)
    normed = {"none": 1, "layer": 3, "batch": 4}[config.norm]  # dL/dz and dL/dy, which do not take the place of z
    # Noise is made in parts; its moments are taken in float64, and those of pairs from some rows.
    some = 3 * np.dtype(float).itemsize // shape.entry * min(shape.batch, _PAIRED_ROWS)
    some += (threads - 1) * min(shape.batch, _PAIRED_ROWS)
    making = max(2 * shape.tensor, 2 * shape.input + some * (shape.input // shape.batch))
    waiting = normed + (layers - 1) * min(normed, 3)
    # dL/dW is written when its turn comes, a block at a time, layer after layer.
    begun = 1 if threads == 1 else min(layers, 1 + math.ceil(threads / len(tallied_blocks(*shape.fans))))
    gradients = min(begun * _gradient(config, shape), shape.matrices)
    return gradients, min(waiting * shape.tensor, normed * shape.tensors) + making


def _gradient(config: ProbeConfig, shape: Shape) -> int:
    """Entries of dL/dW of a layer that wait: none where batches add up to one, some rows where it is not made whole."""
    if config.batches > 1:
        return 0
    fan_in, fan_out = shape.fans
    sampled = not config.full_weight_gradient and is_sampled(shape.batch, fan_in, fan_out)
    return SAMPLED_ROWS * fan_out if sampled else shape.matrix


def sampled_whole(config: ProbeConfig, shape: Shape, threads: int) -> int:
    """Bytes beside the weights of matrices that are sampled in one piece, as many at a time as there are threads."""
    if not config.initializer.distribution.whole or config.network is not None:
        return 0
    # Of a decomposition in float64: the matrix, its factors, and room. Others: a scaled copy and a mask.
    own = isinstance(config.initializer, OwnInitializer)  # two matrices of which are judged at once, beside that
    large = own or config.initializer.distribution.orthogonal
    each = 4.0 * np.dtype(float).itemsize if large else 2.0 * shape.entry + 1
    each *= _LARGE_GAPS / _GAPS  # these come from the system, without gaps
    return round(each * shape.matrix * max(min(threads, shape.layers), 2 if own else 1))


@dataclass(frozen=True)
class Parts:
    """What takes the memory of a run, in bytes at its peak.

    Attributes:
        weights: the network, and gradients of its weights.
        activations: z, h and their gradients, for a batch.
        layers: statistics of every layer.
        draws: what every draw adds to them.
        data: input that was read.
        program: Python, libraries, and what every thread has to itself.
    """

    weights: int
    activations: int
    layers: int
    draws: int
    data: int
    program: int

    @property
    def total(self) -> int:
        return sum(vars(self).values())


def parts(config: ProbeConfig, sizes: Sequence[int], batch: int, threads: int | None = None, data: int = 0) -> Parts:
    """What a run takes with so many threads; None means every processor available."""
    threads, layers = threads or processors(), len(sizes) - 1
    samples, draws = batch * config.batches, config.draws
    weights, activations = memory_needed(config, sizes, batch, threads)
    max(batch * max(sizes), max(a * b for a, b in itertools.pairwise(sizes)))
    scratch = _scratch(config, sizes, batch, threads) + threads * _counters(config, sizes, batch)
    return Parts(
        weights=round(_GAPS * weights),
        activations=round(_GAPS * activations),
        layers=LAYER_BYTES * layers,
        draws=draws * (DRAW_BYTES * layers + sample_bytes(config, sizes) * samples),
        data=data,
        program=_BASE_BYTES + scratch,
    )


def _scratch(config: ProbeConfig, sizes: Sequence[int], batch: int, threads: int) -> int:
    """Bytes that threads work in: each takes statistics or normalises, one at a time, so the larger of the two."""
    largest = max(batch * max(sizes), max(a * b for a, b in itertools.pairwise(sizes)))
    entries, (block, blocks) = min(largest, _SCRATCH_ENTRIES), _normalising(config, sizes, batch)
    further = [max(_FURTHER_BYTES * entries, block if number < blocks else 0) for number in range(1, threads)]
    return max(_SCRATCH_BYTES * entries, block) + sum(further)


def _normalising(config: ProbeConfig, sizes: Sequence[int], batch: int) -> tuple[int, int]:
    """Bytes of the block that a norm works on going back, in float64, and how many blocks a layer has.

    They are dL/dz, z, their product and what is subtracted.
    """
    if config.norm == "none":
        return 0, 0
    width = max(sizes[1:])
    shape = (batch, width) if NORMS[config.norm].axis else (width, batch)
    blocks = row_blocks(*shape)
    return int(4 * np.dtype(float).itemsize * (blocks[0].stop - blocks[0].start) * shape[1]), len(blocks)


def _counters(config: ProbeConfig, sizes: Sequence[int], batch: int) -> int:
    """Bytes of the counters that a thread fills at a time, of as many tensors as are tallied together."""
    each = _BUCKETS[config.dtype]
    kinds = Counter((max(a, batch) * b, batch * b) for a, b in itertools.pairwise(sizes))
    groups = [(min(tallied_together(largest), count), entries) for (largest, entries), count in kinds.items()]
    return max(
        each * group * (_FEW_COUNTED if group * entries < SOON_COUNTED else _MANY_COUNTED) for group, entries in groups
    )


def sample_bytes(config: ProbeConfig, sizes: Sequence[int]) -> int:
    """Bytes that the moments of the input take per sample; noise of many features has samples of like length."""
    spread = math.sqrt(2 / sizes[0]) if config.noise is not None else math.inf
    return np.dtype(float).itemsize * (_SAMPLE_NUMBERS + rule_nodes(spread))


def segments(config: ProbeConfig, sizes: Sequence[int], batch: int) -> list[range]:
    """The layers, from 0 on, that are held at a time: all of them, or runs of about the length that takes least."""
    layers = len(sizes) - 1
    if not is_remade(config, sizes, batch):
        return [range(layers)]
    length = _length(config, sizes, batch)
    return [range(start, min(start + length, layers)) for start in range(0, layers, length)]


def is_remade(config: ProbeConfig, sizes: Sequence[int], batch: int) -> bool:
    """It would not fit, and nothing needs all of it at once."""
    whole = config.batches > 1 or config.initializer.fit is not None or config.objective is not None
    whole = whole or config.network is not None  # which is in memory as it is
    shape = Shape.of(config, sizes, batch)
    return not whole and sum(held_bytes(config, shape)) * shape.entry > KEPT_BYTES


def _length(config: ProbeConfig, sizes: Sequence[int], batch: int) -> int:
    """Layers L, an input kept for each of L / s segments, and s layers' z, h and W at a time: least at this s."""
    layers, kept = len(sizes) - 1, batch * sum(sizes)
    held = 2 * batch * sum(sizes[1:]) + sum(a * b for a, b in itertools.pairwise(sizes))
    # A branch is in one segment, so that what it is added to is at hand.
    return config.block * max(round(math.sqrt(layers * kept / held) / config.block), 1)


def memory_needed(config: ProbeConfig, sizes: Sequence[int], batch: int, threads: int = 1) -> tuple[int, int]:
    """Bytes that the weights and the activations of a run take at its peak, which `threads` raise a little."""
    shape, length = Shape.of(config, sizes, batch), len(sizes) - 1
    if is_remade(config, sizes, batch):
        length = _length(config, sizes, batch)
        weights, activations = (length + 2) * shape.matrix, shape.tensor * (shape.layers // length + 2 * length)
    else:
        weights, activations = held_bytes(config, shape)
    if config.block > 1:  # dL/dh at the end of the branch that the way back is in
        activations += shape.tensor
    more = waiting_bytes(config, shape, threads, length)
    passed = (activations + more[1]) * shape.entry
    # Weights are drawn before there are gradients; those of the first network before there are activations.
    sampled = sampled_whole(config, shape, threads)
    own = isinstance(config.initializer, OwnInitializer)
    if config.draws == 1 and not (own or config.initializer.distribution.orthogonal):
        sampled -= passed
    return weights * shape.entry + max(more[0] * shape.entry, sampled), passed
