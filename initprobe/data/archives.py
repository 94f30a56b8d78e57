"""NumPy files, looked at before they are loaded: what they declare to hold."""

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
    """Whether this is a .npy or .npz file, or perhaps a pickle; what it says that it holds is there and fits.

    Raises:
        InputError: there is no such file, it declares more than it holds, or would grow out of all proportion.
        MemoryLimitError: its arrays do not fit into memory.
    """
    size = check_file(path)
    with path.open("rb") as file:
        head = file.read(len(_NPY))
        if head == _NPY:
            file.seek(0)
            declared, start = _declared(file), file.tell()
            if declared > size - start:
                raise InputError(f"{path}: declares {declared:,} bytes and holds {size - start:,}; it was cut off")
            check_room(path, declared)
        elif zipfile.is_zipfile(file):
            check_growth(path, size, _unpacked(file))
        else:
            return head.startswith(_PICKLE)
    return True


def _declared(file: IO[bytes]) -> int:
    """Bytes of the array whose header comes next."""
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in read:  # whose header NumPy reads by a private function alone
        return 0
    shape, _, dtype = read[version](file)
    if dtype.hasobject:  # pickled, which is refused for that
        return 0
    return math.prod(shape) * dtype.itemsize


def _unpacked(file: IO[bytes]) -> int:
    """Bytes that the parts of an archive take, by what it says and by what the arrays in it say."""
    total = 0
    with zipfile.ZipFile(file) as archive:
        for part in archive.infolist():
            with archive.open(part) as inside:
                head = inside.read(len(_NPY))
            with archive.open(part) as inside:
                total += max(part.file_size, _declared(inside) if head == _NPY else 0)
    return total
