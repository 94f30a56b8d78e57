"""The memory of a run, part by part, and the segments of a network that is too large for memory.

Weights can be made again from their seed, and activations from the input of an earlier layer. A network that would take
more than `KEPT_BYTES` is divided into segments. The forward pass keeps the input of each segment. The backward pass
computes a segment again before it goes back through it (Chen et al. 2016, arXiv:1604.06174).

The numbers below were measured; tests compare the sum with the peak of real runs. `probe.buffers` lists the tensors.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.activations.norms import NORMS
from initprobe.config.probe_config import ProbeConfig
from initprobe.data.machine import processors
from initprobe.engine.buckets import SOON_COUNTED, tallied_together
from initprobe.engine.curvature import VECTORS
from initprobe.engine.threads import MOST_WAITING, row_blocks, tallied_blocks
from initprobe.engine.weight_gradient import SAMPLED_ROWS, is_sampled
from initprobe.initializers.fit_settings import Autoencoder
from initprobe.initializers.own import OwnInitializer
from initprobe.meanfield.input_moments import PAIRED_ROWS, rule_nodes

# Python with all that a run imports.
_BASE_BYTES = 75_000_000
# Bytes per entry for sums, counts and activations, of at most so many entries at a time. Threads are not all at their
# peak at once, so each further thread adds less.
_SCRATCH_BYTES, _FURTHER_BYTES, _SCRATCH_ENTRIES = 28, 22, 1 << 19
# Bytes per layer for the statistics of six tensors, and what each draw adds: six sets of moments.
LAYER_BYTES, DRAW_BYTES = 150_000, 1_800
# Numbers kept per sample, beside one per node of the Gauss rule.
_SAMPLE_NUMBERS = 10
# Buckets of the counters of a tensor, and bytes per bucket: few entries are counted twice in int64, many in int32.
_BUCKETS = {"float32": 1 << 16, "float64": 1 << 17}
_FEW_COUNTED, _MANY_COUNTED = 16, 8
# Kernels of these rows that theory of batch norm holds per layer at its peak.
_KERNELS = 3
# Factors for the gaps that allocators leave and for differences between machines; large arrays have fewer gaps.
_GAPS, _LARGE_GAPS = 1.15, 1.06
# A block of rows whose statistics are taken: fewest rows, and entries in a narrow layer.
_BLOCK_ROWS, _BLOCK_ENTRIES = 256, 1 << 17
# A network that fits in so many bytes is held whole, so that it need not be computed twice.
KEPT_BYTES = 3 << 29


@dataclass(frozen=True)
class Shape:
    """How many entries the tensors of a network have.

    Attributes:
        entry: bytes of one entry.
        layers: how many layers there are.
        matrices: entries of all weights.
        matrix: entries of the largest weight matrix.
        tensors: entries of the outputs of all layers.
        tensor: entries of the largest output.
        input: entries of the input.
        batch: samples in a batch.
        fans: `(fan_in, fan_out)` of the largest weight matrix.
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
        """The shape of a network.

        Args:
            config: of the experiment.
            sizes: features of the input, then units of each layer, `(layers + 1,)`.
            batch: samples.
        """
        matrices = [a * b for a, b in itertools.pairwise(sizes)]
        return cls(
            np.dtype(config.dtype).itemsize, len(matrices), sum(matrices), max(matrices),
            batch * sum(sizes[1:]), batch * max(sizes[1:]), batch * sizes[0], batch,
            max(itertools.pairwise(sizes), key=math.prod),
        )  # fmt: skip


def held_bytes(config: ProbeConfig, shape: Shape) -> tuple[int, int]:
    """Entries of weights and of activations where the whole network is held.

    Weights are W and the sums of dL/dW; activations are z, h and the input.

    Args:
        config: of the experiment.
        shape: of the network.
    """
    weights = shape.matrices * (2 if config.batches > 1 else 1)
    activations = 2 * shape.tensors + shape.input
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
    elif config.train_steps:  # the gradients of two steps; new z and h, and their gradients
        weights += 2 * shape.matrices
        activations += 4 * shape.tensors
    elif config.objective is not None:  # the same for a single step
        weights += shape.matrices
        activations += 3 * shape.tensors if again else shape.tensors
    return weights, activations


def waiting_bytes(config: ProbeConfig, shape: Shape, threads: int, most: int) -> tuple[int, int]:
    """Entries of dL/dW, and of other gradients, that wait until their statistics have been taken.

    With one thread statistics are taken at once. Other threads work on up to `MOST_WAITING` blocks that the first put
    off.

    Args:
        config: the settings.
        shape: of the network.
        threads: of the run.
        most: layers of a segment.
    """
    rows = max(_BLOCK_ENTRIES // (shape.tensor // shape.batch), _BLOCK_ROWS)
    blocks = 3 * math.ceil(shape.batch / rows)
    layers = 1 if threads == 1 else min(most, math.ceil((MOST_WAITING + threads) / blocks) + 1)
    normed = {"none": 1, "layer": 3, "batch": 4}[config.norm]  # with dL/dz and dL/dy, which then cannot replace z
    # Noise is made in parts; its moments are computed in float64, those of pairs from some rows.
    pair_entries = 3 * np.dtype(float).itemsize // shape.entry * min(shape.batch, PAIRED_ROWS)
    pair_entries += (threads - 1) * min(shape.batch, PAIRED_ROWS)
    making = max(2 * shape.tensor, 2 * shape.input + pair_entries * (shape.input // shape.batch))
    waiting = normed + (layers - 1) * min(normed, 3)
    # dL/dW is written a block at a time, layer after layer.
    begun = 1 if threads == 1 else min(layers, 1 + math.ceil(threads / len(tallied_blocks(*shape.fans))))
    gradients = min(begun * _gradient(config, shape), shape.matrices)
    return gradients, min(waiting * shape.tensor, normed * shape.tensors) + making


def _gradient(config: ProbeConfig, shape: Shape) -> int:
    """Entries of dL/dW of a layer that wait: none where it is summed over batches, some rows where it is sampled."""
    if config.batches > 1:
        return 0
    fan_in, fan_out = shape.fans
    sampled = not config.has_whole_weight_gradient and is_sampled(shape.batch, fan_in, fan_out)
    return SAMPLED_ROWS * fan_out if sampled else shape.matrix


def sampled_whole(config: ProbeConfig, shape: Shape, threads: int) -> int:
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
    each = 4.0 * np.dtype(float).itemsize if large else 2.0 * shape.entry + 1
    each *= _LARGE_GAPS / _GAPS  # large arrays come from the system, with fewer gaps
    return round(each * shape.matrix * max(min(threads, shape.layers), 2 if own else 1))


@dataclass(frozen=True)
class Parts:
    """The memory of a run at its peak, in bytes.

    Attributes:
        weights: the weights of the network, and their gradients.
        activations: z, h and their gradients, for a batch.
        layers: statistics of every layer.
        draws: what the draws add to them.
        data: input that was read.
        program: Python, libraries, and the scratch memory of each thread.
    """

    weights: int
    activations: int
    layers: int
    draws: int
    data: int
    program: int

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(vars(self).values())


def parts(config: ProbeConfig, sizes: Sequence[int], batch: int, threads: int | None = None, data: int = 0) -> Parts:
    """The memory of a run.

    Args:
        config: the settings.
        sizes: features of the input, then units of each layer.
        batch: samples in a batch.
        threads: of the run; None for all available processors.
        data: bytes of data that were read.
    """
    threads, layers = threads or processors(), len(sizes) - 1
    samples, draws = batch * config.batches, config.draws
    weights, activations = memory_needed(config, sizes, batch, threads)
    scratch = _scratch(config, sizes, batch, threads) + threads * _counters(config, sizes, batch)
    return Parts(
        weights=round(_GAPS * weights),
        activations=round(_GAPS * activations),
        layers=(LAYER_BYTES + _kernels(config, batch)) * layers,
        draws=draws * (DRAW_BYTES * layers + sample_bytes(config, sizes) * samples),
        data=data,
        program=_BASE_BYTES + scratch,
    )


def _kernels(config: ProbeConfig, batch: int) -> int:
    """Bytes per layer of what theory of batch norm holds: products of pairs of some rows."""
    rows = min(batch, PAIRED_ROWS)
    return _KERNELS * np.dtype(float).itemsize * rows * rows if config.norm == "batch" else 0


def _scratch(config: ProbeConfig, sizes: Sequence[int], batch: int, threads: int) -> int:
    """Bytes of scratch memory: a thread takes statistics or normalises, never both, so the larger of the two counts."""
    largest = max(batch * max(sizes), max(a * b for a, b in itertools.pairwise(sizes)))
    entries, (block, blocks) = min(largest, _SCRATCH_ENTRIES), _normalising(config, sizes, batch)
    further = [max(_FURTHER_BYTES * entries, block if number < blocks else 0) for number in range(1, threads)]
    return max(_SCRATCH_BYTES * entries, block) + sum(further)


def _normalising(config: ProbeConfig, sizes: Sequence[int], batch: int) -> tuple[int, int]:
    """Bytes of a block of a norm on the backward pass, and how many blocks a layer has.

    A block holds dL/dz, z, their product and what is subtracted, in float64.
    """
    if config.norm == "none":
        return 0, 0
    width = max(sizes[1:])
    shape = (batch, width) if NORMS[config.norm].axis else (width, batch)
    blocks = row_blocks(*shape)
    return int(4 * np.dtype(float).itemsize * (blocks[0].stop - blocks[0].start) * shape[1]), len(blocks)


def _counters(config: ProbeConfig, sizes: Sequence[int], batch: int) -> int:
    """Bytes of the counters of the tensors that a thread tallies together."""
    each = _BUCKETS[config.dtype]
    kinds = Counter((max(a, batch) * b, batch * b) for a, b in itertools.pairwise(sizes))
    groups = [(min(tallied_together(largest), count), entries) for (largest, entries), count in kinds.items()]
    return max(
        each * group * (_FEW_COUNTED if group * entries < SOON_COUNTED else _MANY_COUNTED) for group, entries in groups
    )


def sample_bytes(config: ProbeConfig, sizes: Sequence[int]) -> int:
    """Bytes of the moments of the input per sample; samples of noise with many features have similar lengths.

    Args:
        config: of the experiment.
        sizes: features of the input, then units of each layer, `(layers + 1,)`.
    """
    spread = math.sqrt(2 / sizes[0]) if config.noise is not None else math.inf
    return np.dtype(float).itemsize * (_SAMPLE_NUMBERS + rule_nodes(spread))


def segments(config: ProbeConfig, sizes: Sequence[int], batch: int) -> list[range]:
    """The layers, counted from 0, that are held at a time: all, or segments of the length that takes least memory.

    Args:
        config: the settings.
        sizes: features of the input, then units of each layer.
        batch: samples in a batch.
    """
    layers = len(sizes) - 1
    if not is_remade(config, sizes, batch):
        return [range(layers)]
    length = _length(config, sizes, batch)
    return [range(start, min(start + length, layers)) for start in range(0, layers, length)]


def is_remade(config: ProbeConfig, sizes: Sequence[int], batch: int) -> bool:
    """True if the network is divided into segments: it is too large, and nothing needs all of it at once.

    Args:
        config: the settings.
        sizes: features of the input, then units of each layer.
        batch: samples in a batch.
    """
    whole = config.batches > 1 or config.initializer.fit is not None or config.objective is not None
    whole = whole or config.network is not None  # which is in memory already
    shape = Shape.of(config, sizes, batch)
    return not whole and sum(held_bytes(config, shape)) * shape.entry > KEPT_BYTES


def _length(config: ProbeConfig, sizes: Sequence[int], batch: int) -> int:
    """The segment length s of L layers that takes least memory: an input is kept for each of L / s segments."""
    layers, kept = len(sizes) - 1, batch * sum(sizes)
    held = 2 * batch * sum(sizes[1:]) + sum(a * b for a, b in itertools.pairwise(sizes))
    # A branch lies in one segment, so that its input is held.
    return config.block * max(round(math.sqrt(layers * kept / held) / config.block), 1)


def memory_needed(config: ProbeConfig, sizes: Sequence[int], batch: int, threads: int = 1) -> tuple[int, int]:
    """Bytes of weights and of activations at the peak of a run.

    Args:
        config: the settings.
        sizes: features of the input, then units of each layer.
        batch: samples in a batch.
        threads: of the run; more threads take a little more memory.
    """
    shape, length = Shape.of(config, sizes, batch), len(sizes) - 1
    if is_remade(config, sizes, batch):
        length = _length(config, sizes, batch)
        weights, activations = (length + 2) * shape.matrix, shape.tensor * (shape.layers // length + 2 * length)
    else:
        weights, activations = held_bytes(config, shape)
    if config.block > 1:  # dL/dh at the end of the branch that the backward pass is in
        activations += shape.tensor
    more = waiting_bytes(config, shape, threads, length)
    passed = (activations + more[1]) * shape.entry
    # Weights are drawn before there are gradients; those of the first network before there are activations.
    sampled = sampled_whole(config, shape, threads)
    own = isinstance(config.initializer, OwnInitializer)
    if config.draws == 1 and not (own or config.initializer.distribution.orthogonal):
        sampled -= passed
    return weights * shape.entry + max(more[0] * shape.entry, sampled), passed
