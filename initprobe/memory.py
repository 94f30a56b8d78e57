"""What a run takes: memory, refused before it starts where there is too little, and operations.

Weights can be made again from their seed, and activations from those of an earlier layer. Where the whole network
would take more than `_KEPT_BYTES`, it is gone through in segments: the way forward keeps the input of each, the way
back makes a segment again before it goes through it (Chen et al. 2016, arXiv:1604.06174).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.config import DEFAULT_BATCH, ProbeConfig
from initprobe.errors import MemoryLimitError
from initprobe.own_init import OwnInitializer

# What Python, its threads' scratch blocks and the figures take besides the network.
_OVERHEAD_BYTES = 150_000_000
_SKETCH_BYTES = 20_000
_MEMORY_SHARE = 0.9
# Layers whose dL/dW and dL/dh wait for their statistics, at most, where layers are so wide that it matters.
_GRADIENTS_HELD, _OUTPUT_GRADIENTS_HELD = 4, 8
# A network that fits in this much is kept whole, which saves making it twice.
_KEPT_BYTES = 3 << 29


def segments(config: ProbeConfig, sizes: Sequence[int], batch: int) -> list[range]:
    """The layers, from 0 on, that are held at a time: all of them, or runs of about the length that takes least."""
    layers = len(sizes) - 1
    if not _is_remade(config, sizes, batch):
        return [range(layers)]
    length = _length(config, sizes, batch)
    return [range(start, min(start + length, layers)) for start in range(0, layers, length)]


def _is_remade(config: ProbeConfig, sizes: Sequence[int], batch: int) -> bool:
    """It would not fit, and nothing needs all of it at once."""
    whole = config.batches > 1 or config.initializer.fit is not None or config.objective is not None
    whole = whole or config.network is not None  # which is in memory as it is
    return not whole and sum(_kept(config, sizes, batch)) > _KEPT_BYTES


def _length(config: ProbeConfig, sizes: Sequence[int], batch: int) -> int:
    """Layers L, an input kept for each of L / s segments, and s layers' z, h and W at a time: least at this s."""
    layers, kept = len(sizes) - 1, batch * sum(sizes)
    held = 2 * batch * sum(sizes[1:]) + sum(a * b for a, b in itertools.pairwise(sizes))
    # A branch is in one segment, so that what it is added to is at hand.
    return config.block * max(round(math.sqrt(layers * kept / held) / config.block), 1)


def memory_needed(config: ProbeConfig, sizes: Sequence[int], batch: int) -> tuple[int, int]:
    """Bytes that the weights and the activations of a run take at their peak."""
    if not _is_remade(config, sizes, batch):
        return _kept(config, sizes, batch)
    entry, layers, length = np.dtype(config.dtype).itemsize, len(sizes) - 1, _length(config, sizes, batch)
    weights = (length + 1 + _GRADIENTS_HELD) * max(a * b for a, b in itertools.pairwise(sizes))
    activations = batch * max(sizes) * (layers // length + 2 * length + _OUTPUT_GRADIENTS_HELD + (config.block > 1))
    return weights * entry, activations * entry


def _kept(config: ProbeConfig, sizes: Sequence[int], batch: int) -> tuple[int, int]:
    """Bytes of weights and activations where the whole network is held."""
    entry = np.dtype(config.dtype).itemsize
    matrices = [a * b for a, b in itertools.pairwise(sizes)]
    layers = len(matrices)
    weights = sum(matrices) * (2 if config.batches > 1 else 1) + min(_GRADIENTS_HELD, layers) * max(matrices)
    activations = batch * (sizes[0] + 2 * sum(sizes[1:]) + min(_OUTPUT_GRADIENTS_HELD, layers) * max(sizes))
    if config.initializer.fit is not None:  # a decoder and a change of the weights; two layers' outputs
        weights += 2 * max(matrices)
        activations += 2 * batch * max(sizes)
    if config.objective is not None:  # all gradients at once, and every z, h and dL/dh anew
        weights += 2 * sum(matrices)
        activations += batch * 3 * sum(sizes[1:])
    activations += 2 * batch * sizes[0] * np.dtype(float).itemsize // entry  # for the moments of the input
    if config.block > 1:  # dL/dh at the end of the branch that the way back is in
        activations += batch * max(sizes)
    if config.norm != "none":  # dL/dz and dL/dy, which do not take the place of z
        activations += 2 * batch * min(_GRADIENTS_HELD, layers) * max(sizes)
    deviations = {"none": 0, "layer": batch * layers, "batch": sum(sizes[1:])}[config.norm]
    if isinstance(config.initializer, OwnInitializer):  # drawn and judged in float64
        weights += 5 * max(matrices) * np.dtype(float).itemsize // entry
    if config.network is not None:  # as they were read
        weights += sum(matrices)
    return weights * entry, activations * entry + deviations * np.dtype(float).itemsize


@dataclass(frozen=True)
class Cost:
    """What a run takes: floating-point operations in its matrix products, and bytes of memory at its peak."""

    flops: float
    peak_bytes: int


def cost(config: ProbeConfig) -> Cost:
    """The cost of a run on noise; one on real data is taken to be as wide as its first layer, if not told otherwise."""
    sizes = (config.features or config.layer_widths[0], *config.layer_widths)
    batch = config.batch or DEFAULT_BATCH
    products = sum(a * b for a, b in itertools.pairwise(sizes))
    each = 4 if _is_remade(config, sizes, batch) else 3
    fit = config.initializer.fit.products if config.initializer.fit else 0
    passes = each * config.batches * config.draws + 3 * (config.draws * bool(config.objective) + config.train_steps)
    fitted = fit * (config.draws + bool(config.train_steps))
    memory = sum(memory_needed(config, sizes, batch)) + _beside(len(sizes) - 1)
    return Cost(2.0 * products * batch * (passes + fitted), memory)


def _beside(layers: int) -> int:
    """Bytes beside weights and activations: Python, what it has loaded, and statistics of six tensors a layer."""
    return 6 * _SKETCH_BYTES * layers + _OVERHEAD_BYTES


def available_bytes() -> int:
    """Memory that is free, or would be if caches gave theirs up."""
    import psutil

    return int(psutil.virtual_memory().available)


def check_memory(config: ProbeConfig, sizes: Sequence[int], batch: int, held: int) -> None:
    """Make sure that a run fits; `held` bytes of data are in memory already.

    Raises:
        MemoryLimitError: it would not; says by how much, and what to lower.
    """
    weights, activations = memory_needed(config, sizes, batch)
    needed = weights + activations + _beside(len(sizes) - 1) + held
    available = available_bytes()
    if needed <= _MEMORY_SHARE * available:
        return
    fix = (
        "lower --width or --layers"
        if weights > activations
        else f"lower --batch: --batch {max(batch // 10, 2)} --batches {10 * config.batches} measures as many samples"
    )
    raise MemoryLimitError(
        f"this run needs {needed / 1e9:,.1f} GB (weights {weights / 1e9:,.1f}, activations {activations / 1e9:,.1f}), "
        f"and {available / 1e9:,.1f} GB is free; {fix}"
    )
