"""Memory is handed out again once nothing refers to it, and never before."""

import numpy as np

from initprobe.engine.room import Room

FLOAT = np.dtype(np.float32)
LARGE = (300, 1000)


def test_memory_is_used_again_once_no_view_of_it_is_left():
    room = Room()
    first = room.empty(LARGE, FLOAT)
    row, place = first[5], first.ctypes.data
    second = room.empty(LARGE, FLOAT)
    assert not np.shares_memory(first, second)
    del first
    assert not np.shares_memory(room.empty(LARGE, FLOAT), row)
    del row
    assert place in {room.empty(LARGE[::-1], FLOAT).ctypes.data for _ in range(2)}


def test_other_sizes_and_dtypes_get_memory_of_their_own():
    room = Room()
    for shape, dtype in ((LARGE, FLOAT), (LARGE, np.dtype(float)), ((10, 10), FLOAT), (LARGE[:1], FLOAT)):
        array = room.empty(shape, dtype)
        assert (array.shape, array.dtype) == (shape, dtype) and array.flags.c_contiguous and array.flags.writeable


def test_little_memory_is_kept():
    room = Room()
    places = [room.empty((1 << 22,), FLOAT) for _ in range(6)]
    assert sum(held.nbytes for held in room._held) <= 1 << 26
    assert len({array.ctypes.data for array in places}) == 6
