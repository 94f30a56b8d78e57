"""Memory that is used again: new pages from the system cost more than the arithmetic on them."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from initprobe.arrays import Array

# Arrays of fewer bytes come from the heap, without new pages. Of larger ones so many bytes are kept.
_SMALLEST, _KEPT = 1 << 18, 1 << 26
# For a block of so many bytes NumPy asks Linux for pages of 2 MB. A run touches its memory 20 times as fast then as in
# pages of 4 kB. Arrays are parts of a block up to a size that leaves at most an eighth of it unused.
_BLOCK, _LARGEST_PART, _STEP = 1 << 24, 1 << 21, 64


def _references(arrays: Sequence[Array]) -> list[int]:
    """How many references there are to each array, those of this call included."""
    return [sys.getrefcount(array) for array in arrays]


# Of an array in a list to which nothing else refers; the number differs between versions of Python.
_UNUSED = _references([np.empty(0)])[0]


class Room:
    """Arrays of one probe, each handed out again once nothing refers to it; for a single thread.

    An array and all its views share the memory of one flat array. Each of them refers to that array. So memory is
    in use exactly while there are more references to the flat array than our own.
    """

    def __init__(self) -> None:
        """Start with no memory."""
        self._held: list[Array] = []
        self._bytes = 0
        self._block, self._end = memoryview(b""), 0

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array with any content, as `numpy.empty` gives it.

        Args:
            shape, dtype: of the array.
        """
        entries = math.prod(shape)
        if entries * dtype.itemsize < _SMALLEST:
            return np.empty(shape, dtype)
        memory = self._unused(entries, dtype)
        return (self._new(entries, dtype) if memory is None else memory).reshape(shape)

    def _unused(self, entries: int, dtype: np.dtype[Any]) -> Array | None:
        for memory, references in zip(self._held, _references(self._held), strict=True):
            if references == _UNUSED and memory.size == entries and memory.dtype == dtype:
                return memory
        return None

    def _new(self, entries: int, dtype: np.dtype[Any]) -> Array:
        size = entries * dtype.itemsize
        if self._bytes + size > _KEPT:
            return np.empty(entries, dtype)
        # An array of a buffer, not a view: views of a view would refer to the whole block alone.
        memory = np.empty(entries, dtype) if size > _LARGEST_PART else np.frombuffer(self._part(size), dtype)
        self._held.append(memory)
        self._bytes += size
        return memory

    def _part(self, size: int) -> memoryview:
        """The next part of a block, a multiple of 64 bytes from its start, so that numbers are aligned."""
        start = math.ceil(self._end / _STEP) * _STEP
        if start + size > len(self._block):
            self._block, start = np.empty(_BLOCK, np.uint8).data, 0
        self._end = start + size
        return self._block[start : self._end]
