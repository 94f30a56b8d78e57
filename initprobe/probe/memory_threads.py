"""The memory that each thread of a run works in: blocks in float64, counters, and packed factors of products."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from initprobe.activations.norms import NORMS
from initprobe.config.probe_config import ProbeConfig
from initprobe.engine.buckets import tallied_together
from initprobe.engine.threads import block_rows, cached, tallied_rows

# Arrays of a block in the dtype of the network that an activation holds beside its input and result.
_TEMPORARIES = 3
# Arrays of a block in float64 that a norm holds on the backward pass. They are dL/dz, z, their product, and what is
# subtracted.
_NORMALISING = 4
_FLOAT64, _INT32 = np.dtype(float).itemsize, np.dtype(np.int32).itemsize
# Buckets of the finest counter. A table has int32; two more in int64 are needed while one is counted or merged.
_BUCKETS = {"float32": 1 << 16, "float64": 1 << 17}
_COUNTING = 2 * np.dtype(np.int64).itemsize
# OpenBLAS copies panels of both factors of a product. The numbers are entries along the summed axis, and rows of the
# first factor. These are the largest of its kernels for x86-64 and ARM64; each thread that multiplies has its own copy.
_PANEL_DEPTH, _PANEL_ROWS = 448, 768
_MOST_PACKED = 32 << 20  # bytes of its buffer


def scratch_bytes(config: ProbeConfig, sizes: Sequence[int], batch: int, threads: int) -> int:
    """Bytes of the memory that all threads work in, each of them at its peak.

    Args:
        config: the settings.
        sizes: features of the input, then units of each layer.
        batch: samples in a batch.
        threads: of the run.
    """
    item = np.dtype(config.dtype).itemsize
    kinds = Counter(itertools.pairwise(sizes))
    groups = {fans: min(tallied_together(max(fans[0], batch) * fans[1]), count) for fans, count in kinds.items()}
    entries = max(group * max(_part(a, b), _part(batch, b)) for (a, b), group in groups.items())
    keys = _FLOAT64 + 2 * _INT32
    block, blocks = _normalising(config, sizes, batch)
    each = (keys + _TEMPORARIES * item) * entries + _packed(sizes, batch, item)
    each += _BUCKETS[config.dtype] * (_INT32 * max(groups.values()) + _COUNTING)
    # A thread takes statistics or normalises, never both at once.
    return sum(max(each, block if number < blocks else 0) for number in range(threads))


def _part(rows: int, columns: int) -> int:
    """Entries of the largest part of a tensor whose statistics are taken at once."""
    part = cached(slice(0, min(rows, tallied_rows(columns))), columns)[0]
    return int(part.stop - part.start) * columns


def _packed(sizes: Sequence[int], batch: int, item: int) -> int:
    """Bytes of the packed factors of a product: some rows of a block, and all columns."""
    depth, columns = min(_PANEL_DEPTH, max(*sizes, batch)), max(sizes[1:])
    return int(min(item * depth * (min(_PANEL_ROWS, max(columns, batch)) + columns), _MOST_PACKED))


def _normalising(config: ProbeConfig, sizes: Sequence[int], batch: int) -> tuple[int, int]:
    """Bytes of a block of a norm on the backward pass, and how many blocks a layer has."""
    if config.norm == "none":
        return 0, 0
    width = max(sizes[1:])
    rows, columns = (batch, width) if NORMS[config.norm].axis else (width, batch)
    step = block_rows(rows, columns)
    return _NORMALISING * _FLOAT64 * min(step, rows) * columns, math.ceil(rows / step)
