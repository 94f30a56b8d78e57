"""Random streams, each with a key of its own, so that one more layer or draw changes no other stream."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np


class Purpose(IntEnum):
    """What a stream is used for. Never change a number: the numbers of every seed depend on it."""

    WEIGHT = 0
    BIAS = 1
    INPUT = 2
    SHARED_INPUT = 3
    GRADIENT = 4
    ROWS = 5
    READOUT = 6
    TEACHER = 7
    FIT = 8
    SAMPLE = 9


def stream_blocks(rows: int, columns: int) -> list[slice]:
    """Blocks of rows of a matrix, each with a stream of its own. Never change them: every seed depends on them.

    Args:
        rows, columns: fan_in and fan_out of the matrix.
    """
    step = min(max((1 << 17) // columns, 64), 512)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


class Streams(NamedTuple):
    """The random streams of one network, which is one draw of a seed."""

    seed: int
    draw: int

    def generator(self, purpose: Purpose, layer: int = 0, block: int = 0) -> np.random.Generator:
        """The generator of one block of one tensor; the same arguments give the same numbers.

        Args:
            purpose: what the stream is used for.
            layer: counted from 1; 0 for what belongs to no layer.
            block: the first row of the block.
        """
        key = np.random.SeedSequence(self.seed, spawn_key=(self.draw, layer, purpose, block))
        return np.random.Generator(np.random.PCG64(key))
