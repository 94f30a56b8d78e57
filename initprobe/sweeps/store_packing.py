"""Compression of a result's JSON text, and back to the same bytes.

Of a result compressed as text, two thirds are digits of floats and a quarter are counts of histograms. `pack` takes
both out of the text and stores their bytes. First comes the first byte of all numbers, then the second, and so on.
Exponents and high bytes of counts compress well in this order. The rest of the text is the same for every layer.
"""

from __future__ import annotations

import re
import struct
import zlib
from itertools import chain, zip_longest

import numpy as np
from pydantic_core import from_json, to_json

from initprobe.arrays import Array

# Plain zlib, which older stores hold, begins with 0x78.
_MAGIC = b"\x01ipk"
_HEAD = struct.Struct("<4sIII")
_FASTEST = 1  # level of zlib: twice as fast as the default level, and a few percent larger
# JSON text has no control characters, so they mark the places where numbers were taken out.
_COUNTS, _FLOAT = b"\x00", b"\x01"
# Quotes inside a string are escaped, so this is never part of a string.
_COUNT_LISTS = re.compile(rb'("counts":\[)([\d,]+)')
# Preceded by what precedes a number in a list or a mapping. A match inside a string does no harm: see `pack`.
_FLOATS = re.compile(rb"([\[,:])(-?\d+\.\d+(?:e[+-]?\d+)?)")
_MAX_COUNT = 2**32 - 1


def pack(text: bytes) -> bytes:
    """The compressed text. It is made for the JSON of a result; other text may become larger."""
    rest, lists = _taken(text, _COUNT_LISTS, _COUNTS)
    skeleton, tokens = _taken(rest, _FLOATS, _FLOAT)
    counts, floats = np.fromstring(b",".join(lists), np.uint64, sep=","), _array(tokens)
    # Plain zlib for text that would not come back the same (0.50 inside a string). It also serves counts beyond four
    # bytes.
    if b",".join(tokens) != b",".join(_texts(floats)) or counts.max(initial=0) > _MAX_COUNT:
        return zlib.compress(text, _FASTEST)
    lengths = np.array([part.count(b",") + 1 for part in lists], "<u4")
    numbers = np.concatenate([lengths, counts.astype("<u4")])
    words, planes = zlib.compress(skeleton, _FASTEST), _without_matches(_planes(numbers) + _planes(floats))
    return _HEAD.pack(_MAGIC, len(words), len(lists), len(numbers)) + words + planes


def _without_matches(planes: bytes) -> bytes:
    """Compress without a search for repeated strings: digits do not repeat, and runs of zeros are found anyway."""
    compressor = zlib.compressobj(_FASTEST, strategy=zlib.Z_RLE)
    return compressor.compress(planes) + compressor.flush()


def _taken(text: bytes, pattern: re.Pattern[bytes], mark: bytes) -> tuple[bytes, list[bytes]]:
    """The text with marks in place of the matches, and the matches."""
    parts = pattern.split(text)
    return mark.join(map(bytes.__add__, parts[0::3], [*parts[1::3], b""])), parts[2::3]


def _array(tokens: list[bytes]) -> Array:
    return np.array(from_json(b"[" + b",".join(tokens) + b"]"), "<f8")


def unpack(packed: bytes, max_bytes: int = 1 << 30) -> bytes:
    """The text from its compressed form, or from plain zlib.

    Args:
        packed: the compressed text.
        max_bytes: the largest text to make.

    Raises:
        zlib.error: the bytes are damaged, or the text is larger than `max_bytes`.
    """
    if not packed.startswith(_MAGIC):
        return _inflated(packed, max_bytes)
    try:
        _, length, lists, integers = _HEAD.unpack_from(packed)
        words, planes = packed[_HEAD.size :][:length], packed[_HEAD.size + length :]
        return _joined(_inflated(words, max_bytes), _inflated(planes, max_bytes), lists, integers)
    except (struct.error, ValueError) as error:
        raise zlib.error(str(error)) from None


def _inflated(packed: bytes, max_bytes: int) -> bytes:
    """Decompress with a limit: a few bytes can stand for more than memory holds."""
    inflating = zlib.decompressobj()
    text = inflating.decompress(packed, max_bytes)
    if not inflating.eof:
        raise zlib.error("incomplete, or too large")
    return text


def _joined(skeleton: bytes, planes: bytes, lists: int, integers: int) -> bytes:
    numbers, floats = _from_planes(planes[: 4 * integers], "<u4"), _from_planes(planes[4 * integers :], "<f8")
    rest = _filled(skeleton, _FLOAT, _texts(floats))
    return _filled(rest, _COUNTS, _lists(numbers[:lists], numbers[lists:]))


def _lists(lengths: Array, counts: Array) -> list[bytes]:
    """The text of every list of counts."""
    ends = np.cumsum(lengths).tolist()
    return [b",".join(_texts(counts[start:end])) for start, end in zip([0, *ends], ends, strict=False)]


def _planes(numbers: Array) -> bytes:
    """The first byte of every number, then the second, and so on."""
    return numbers.view("u1").reshape(-1, numbers.itemsize).T.tobytes()


def _from_planes(planes: bytes, dtype: str) -> Array:
    """The numbers whose planes these are."""
    rows = np.frombuffer(planes, "u1").reshape(np.dtype(dtype).itemsize, -1)
    return np.ascontiguousarray(rows.T).view(dtype).ravel()


def _texts(numbers: Array) -> list[bytes]:
    """The numbers as pydantic writes them into JSON, which also wrote the text of the result."""
    return to_json(numbers.tolist())[1:-1].split(b",") if numbers.size else []


def _filled(text: bytes, mark: bytes, parts: list[bytes]) -> bytes:
    """The text with the parts in place of the marks."""
    return b"".join(chain.from_iterable(zip_longest(text.split(mark), parts, fillvalue=b"")))
