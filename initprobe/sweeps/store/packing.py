"""A result's JSON text in little room, and back to the same bytes.

Two thirds of a compressed result are the digits of floats and a quarter the counts of histograms. Here both leave the
text and go by their bytes in memory, the first byte of all numbers, then the second, and so on: exponents and the high
bytes of counts compress well then, and no digit is spelled. What stays of the text is the same for every layer.
"""

from __future__ import annotations

import re
import struct
import zlib
from itertools import chain, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json, to_json

Numbers = npt.NDArray[Any]

# Plain zlib begins with 0x78; stores of before hold that.
_MAGIC = b"\x01ipk"
_HEAD = struct.Struct("<4sIII")
_FASTEST = 1  # of zlib's levels: twice as fast as the usual one, a few percent larger
# Control characters stand in no JSON text, so they mark where a number was taken out.
_COUNTS, _FLOAT = b"\x00", b"\x01"
# Quotes inside of a string have a backslash before them, so this is never a part of one.
_COUNT_LISTS = re.compile(rb'("counts":\[)([\d,]+)')
# Before it stands what stands before a number in a list or mapping. One inside of a string does no harm: see `pack`.
_FLOATS = re.compile(rb"([\[,:])(-?\d+\.\d+(?:e[+-]?\d+)?)")
_MOST = 2**32 - 1


def pack(text: bytes) -> bytes:
    """The text in little room: a result's JSON, or any other that may be larger for it."""
    rest, lists = _taken(text, _COUNT_LISTS, _COUNTS)
    skeleton, tokens = _taken(rest, _FLOATS, _FLOAT)
    counts, floats = np.fromstring(b",".join(lists), np.uint64, sep=","), _array(tokens)
    # Text that would not come back as it is, as 0.50 inside of a string, or counts beyond four bytes: no packing.
    if b",".join(tokens) != b",".join(_texts(floats)) or counts.max(initial=0) > _MOST:
        return zlib.compress(text, _FASTEST)
    lengths = np.array([part.count(b",") + 1 for part in lists], "<u4")
    numbers = np.concatenate([lengths, counts.astype("<u4")])
    words, planes = zlib.compress(skeleton, _FASTEST), _without_matches(_planes(numbers) + _planes(floats))
    return _HEAD.pack(_MAGIC, len(words), len(lists), len(numbers)) + words + planes


def _without_matches(planes: bytes) -> bytes:
    """Compressed without a search for what stands there twice: digits do not, and runs of zeros are found anyway."""
    compressor = zlib.compressobj(_FASTEST, strategy=zlib.Z_RLE)
    return compressor.compress(planes) + compressor.flush()


def _taken(text: bytes, what: re.Pattern[bytes], mark: bytes) -> tuple[bytes, list[bytes]]:
    """The text with marks, and what stood in their places."""
    parts = what.split(text)
    return mark.join(map(bytes.__add__, parts[0::3], [*parts[1::3], b""])), parts[2::3]


def _array(tokens: list[bytes]) -> Numbers:
    return np.array(from_json(b"[" + b",".join(tokens) + b"]"), "<f8")


def unpack(packed: bytes, most: int = 1 << 30) -> bytes:
    """The text again, also one that plain zlib has compressed.

    Raises:
        zlib.error: the bytes are damaged, or stand for more than `most` bytes.
    """
    if not packed.startswith(_MAGIC):
        return _inflated(packed, most)
    try:
        _, length, lists, whole = _HEAD.unpack_from(packed)
        words, planes = packed[_HEAD.size :][:length], packed[_HEAD.size + length :]
        return _joined(_inflated(words, most), _inflated(planes, most), lists, whole)
    except (struct.error, ValueError) as error:
        raise zlib.error(str(error)) from None


def _inflated(packed: bytes, most: int) -> bytes:
    """What zlib has compressed; a few bytes of it can stand for more than there is memory."""
    inflating = zlib.decompressobj()
    found = inflating.decompress(packed, most)
    if not inflating.eof:
        raise zlib.error("incomplete, or too large")
    return found


def _joined(words: bytes, planes: bytes, lists: int, whole: int) -> bytes:
    numbers, floats = _whole(planes[: 4 * whole], "<u4"), _whole(planes[4 * whole :], "<f8")
    rest = _filled(words, _FLOAT, _texts(floats))
    return _filled(rest, _COUNTS, _lists(numbers[:lists], numbers[lists:]))


def _lists(lengths: Numbers, counts: Numbers) -> list[bytes]:
    """The text of every list of counts."""
    ends = np.cumsum(lengths).tolist()
    return [b",".join(_texts(counts[start:end])) for start, end in zip([0, *ends], ends, strict=False)]


def _planes(numbers: Numbers) -> bytes:
    """The first byte of every number, then the second, and so on."""
    return numbers.view("u1").reshape(-1, numbers.itemsize).T.tobytes()


def _whole(planes: bytes, dtype: str) -> Numbers:
    """The numbers again."""
    rows = np.frombuffer(planes, "u1").reshape(np.dtype(dtype).itemsize, -1)
    return np.ascontiguousarray(rows.T).view(dtype).ravel()


def _texts(numbers: Numbers) -> list[bytes]:
    """The numbers as pydantic writes them into JSON, which is how the result's own text came about."""
    return to_json(numbers.tolist())[1:-1].split(b",") if numbers.size else []


def _filled(text: bytes, mark: bytes, parts: list[bytes]) -> bytes:
    """The text with the parts in the places of the marks."""
    return b"".join(chain.from_iterable(zip_longest(text.split(mark), parts, fillvalue=b"")))
