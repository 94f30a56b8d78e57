"""Checks of .npy and .npz files before they are loaded: whether the arrays they declare are there and fit."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

from numpy.lib import format as npy

from initprobe.data.files import check_file, check_growth, check_room
from initprobe.errors import InputError

_PICKLE = b"\x80"
_NPY = b"\x93NUMPY"


def check_arrays(path: Path) -> bool:
    """Make sure that the arrays which a file declares are there and fit into memory.

    Returns:
        Whether it is a .npy or .npz file, or begins like a pickle, which the reader then refuses.

    Raises:
        InputError: there is no such file, it declares more bytes than it holds, or it unpacks to far more bytes.
        MemoryLimitError: its arrays do not fit into memory.
    """
    size = check_file(path)
    with path.open("rb") as file:
        head = file.read(len(_NPY))
        if head == _NPY:
            file.seek(0)
            declared, start = _declared(file), file.tell()
            if declared > size - start:
                raise InputError(f"declares {declared:,} bytes and holds {size - start:,}; it was cut off", file=path)
            check_room(path, declared)
        elif zipfile.is_zipfile(file):
            check_growth(path, size, _unpacked(file))
        else:
            return head.startswith(_PICKLE)
    return True


def _declared(file: IO[bytes]) -> int:
    """Size in bytes of the array whose header comes next."""
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in read:  # NumPy has no public reader for other versions
        return 0
    shape, _, dtype = read[version](file)
    if dtype.hasobject:  # a pickle, which the reader refuses
        return 0
    return math.prod(shape) * dtype.itemsize


def _unpacked(file: IO[bytes]) -> int:
    """Size of the unpacked parts in bytes: what the archive or the arrays in it declare, whichever is more."""
    total = 0
    with zipfile.ZipFile(file) as archive:
        for part in archive.infolist():
            with archive.open(part) as inside:
                head = inside.read(len(_NPY))
            with archive.open(part) as inside:
                total += max(part.file_size, _declared(inside) if head == _NPY else 0)
    return total
