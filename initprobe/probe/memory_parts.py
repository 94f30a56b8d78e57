"""The memory of a run, part by part, and the segments of a network that is too large for memory.

Weights can be made again from their seed, and activations from the input of an earlier layer. A network that would take
more than `KEPT_BYTES` is divided into segments. The forward pass keeps the input of each segment. The backward pass
computes a segment again before it goes back through it (Chen et al. 2016, arXiv:1604.06174).

The numbers below were measured; tests compare the sum with the peak of real runs. `probe.buffers` lists the tensors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from initprobe.config.probe_config import ProbeConfig
from initprobe.data.machine import processors
from initprobe.initializers.own import OwnInitializer
from initprobe.meanfield.drawn_batches import Plan
from initprobe.meanfield.input_moments import PAIRED_ROWS, rule_nodes
from initprobe.probe.memory_tensors import Shape, backward_entries, drawn_bytes, forward_bytes, held
from initprobe.probe.memory_threads import scratch_bytes

# Python and the modules of every run (62 MB), and what a run leaves when a fix is tried. The second number
# is the part of SciPy that some runs import.
_BASE_BYTES, _SCIPY_BYTES = 76_000_000, 16_000_000
# Bytes per layer for the statistics of six tensors, and what each draw adds: six sets of moments.
LAYER_BYTES, DRAW_BYTES = 215_000, 1_800
# Numbers kept per sample, beside one per node of the Gauss rule.
_SAMPLE_NUMBERS = 10
# Kernels of these rows that theory of batch norm holds per layer at its peak.
_KERNELS = 3
# Factors for the gaps that allocators leave: between arrays that come and go, and round those that are held.
_GAPS, _HELD_GAPS = 1.15, 1.03
# A network that fits in so many bytes is held whole, so that it need not be computed twice.
KEPT_BYTES = 3 << 29


class Parts(NamedTuple):
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
        return sum(self)


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
    imported = _SCIPY_BYTES if config.activation.uses_scipy else 0
    return Parts(
        weights=weights,
        activations=activations,
        layers=(LAYER_BYTES + _kernels(config, batch)) * layers,
        draws=draws * (DRAW_BYTES * layers + sample_bytes(config, sizes) * samples),
        data=data,
        program=_BASE_BYTES + imported + scratch_bytes(config, sizes, batch, threads) + _drawn(config, sizes, batch),
    )


def _kernels(config: ProbeConfig, batch: int) -> int:
    """Bytes per layer of what theory of batch norm holds: products of pairs of some rows."""
    rows = min(batch, PAIRED_ROWS)
    return _KERNELS * np.dtype(float).itemsize * rows * rows if config.norm == "batch" else 0


def _drawn(config: ProbeConfig, sizes: Sequence[int], batch: int) -> int:
    """Bytes of the networks that theory of norms and skips may draw."""
    if config.is_plain:
        return 0
    fans = list(itertools.pairwise(sizes))
    plan = Plan.of(fans, min(batch, PAIRED_ROWS), batch, by_batch=config.norm == "batch")
    return np.dtype(np.float32).itemsize * plan.held if plan else 0


def sample_bytes(config: ProbeConfig, sizes: Sequence[int]) -> int:
    """Bytes of the moments of the input per sample; samples of noise with many features have similar lengths.

    Args:
        config: of the experiment.
        sizes: features of the input, then units of each layer, `(layers + 1,)`.
    """
    spread = math.sqrt(2 / sizes[0]) if config.noise is not None else math.inf
    return np.dtype(float).itemsize * (_SAMPLE_NUMBERS + rule_nodes(spread))


def segments(config: ProbeConfig, sizes: Sequence[int], batch: int) -> list[range]:
    """The layers, from 0, that are held at a time. They are all, or segments of the length that takes least memory.

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
    return not whole and sum(held(config, shape)) * shape.entry > KEPT_BYTES


def _length(config: ProbeConfig, sizes: Sequence[int], batch: int) -> int:
    """The segment length s of L layers that takes least memory. An input is kept for each of L / s segments."""
    layers, kept = len(sizes) - 1, batch * sum(sizes)
    held = 2 * batch * sum(sizes[1:]) + sum(a * b for a, b in itertools.pairwise(sizes))
    # A branch lies in one segment, so that its input is held.
    return config.block * max(round(math.sqrt(layers * kept / held) / config.block), 1)


def _is_single(config: ProbeConfig) -> bool:
    """True if one batch passes through one network, which nothing has passed before."""
    return config.draws * config.batches == 1 and config.objective is None and config.initializer.fit is None


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
        activations += shape.input + shape.output
    else:
        weights, activations = held(config, shape)
    gradients, others = backward_entries(config, shape, threads, length)
    if config.block > 1:  # dL/dh at the end of the branch that the backward pass is in
        others += shape.tensor
    # Which of the two phases takes more; the memory of one serves the other. One thread measures the moments of the
    # first batch before it writes z and h.
    unwritten = 2 * shape.tensors * shape.entry if threads == 1 and length == shape.layers and _is_single(config) else 0
    passing = max(forward_bytes(config, shape, threads) - unwritten, (gradients + others) * shape.entry)
    gradients = min(gradients * shape.entry, passing)
    held_activations, others = round(_HELD_GAPS * activations * shape.entry), round(_GAPS * (passing - gradients))
    # Weights are drawn before there are gradients; those of the first network before there are activations.
    drawn = drawn_bytes(config, shape, threads)
    own = isinstance(config.initializer, OwnInitializer)
    if config.draws == 1 and not (own or config.initializer.distribution.orthogonal):
        drawn -= held_activations
    more = max(round(_GAPS * gradients), round(_HELD_GAPS * drawn) - others)
    return round(_HELD_GAPS * weights * shape.entry) + more, held_activations + others
