"""Pixels as a PNG file.

matplotlib's library tries five filters for each row of pixels, which helps photographs. Figures are as small without
one. The four of the README's first command then take 20 ms of processor time instead of 45.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from initprobe.arrays import Array

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB, _BITS = 2, 8  # colour type, and bits of each channel
_LEVEL = 3  # of compression: higher ones take twice as long
_PER_METRE = 1 / 0.0254


def encode(pixels: Array, dpi: float) -> bytes:
    """A PNG file; the same pixels give the same bytes.

    Args:
        pixels: red, green and blue, `(height, width, 3)`, 8 bits each.
        dpi: pixels per inch, which programs that print read.
    """
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with its filter: 0 is none
    rows[:, 1:] = pixels.reshape(height, -1)
    per_metre = round(dpi * _PER_METRE)
    header = struct.pack(">IIBBBBB", width, height, _BITS, _RGB, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)),
        (b"IDAT", zlib.compress(rows.data, _LEVEL)),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
