"""Random streams keyed by what they are for, so that adding a layer or a draw changes no other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for. The numbers are part of a seed's meaning: never renumber."""

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
    """The rows of a matrix that share a stream; part of a seed's meaning, like the numbers above."""
    step = min(max((1 << 17) // columns, 64), 512)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


@dataclass(frozen=True)
class Streams:
    """The random streams of one network: `(seed, draw)`."""

    seed: int
    draw: int

    def generator(self, purpose: Purpose, layer: int = 0, block: int = 0) -> np.random.Generator:
        """The generator of one block of one tensor; the same key gives the same numbers."""
        key = np.random.SeedSequence(self.seed, spawn_key=(self.draw, layer, purpose, block))
        return np.random.Generator(np.random.PCG64(key))
