"""What the names in JSON, CSV and checks mean, read from the docstrings of the records."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import get_args

from initprobe.results.base import TENSORS, Record
from initprobe.results.coordinate_check import CoordinateCheck
from initprobe.results.layers import LayerStats
from initprobe.results.named_numbers import FORMAT_NUMBERS, FORMAT_PARTS, RATE
from initprobe.results.run import ProbeResult
from initprobe.results.spectrum import Spectrum, SpectrumStats

_ENTRY = re.compile(r"^(\w+): (.*(?:\n {4,}.*)*)", re.MULTILINE)


@cache
def json_names() -> Mapping[str, tuple[str, ...]]:
    """Every dotted name, with the meaning of each of its parts, outermost first.

    Numbers of a layer have names like `output.variance`; those of the whole net have the field names of the result.
    """
    names = dict(_names(LayerStats)) | {name: words for name, words in _names(ProbeResult) if name != "layers"}
    rate = "factor by which this variance changes per layer, the geometric mean from the first layer to the last"
    return names | {f"{tensor}.{RATE}": (*names[tensor], rate) for tensor in TENSORS}


@cache
def spectrum_names() -> Mapping[str, tuple[str, ...]]:
    """The same for the numbers of a layer in a spectrum."""
    return dict(_names(SpectrumStats))


@cache
def other_names() -> Mapping[str, tuple[str, ...]]:
    """The same for the JSON of `spectrum` and `width`, and for numbers of formats in tables of a sweep."""
    names: dict[str, tuple[str, ...]] = {
        name.rpartition(".")[2]: words[-1:] for name, words in _names(CoordinateCheck) if words
    }
    names |= {name: (words,) for name, words in _attributes(Spectrum).items()}
    names |= {name: json_names()[f"formats.{FORMAT_PARTS[name.split('.')[-1]]}"] for name in FORMAT_NUMBERS}
    return names | dict(spectrum_names())


def short_names() -> Mapping[str, list[str]]:
    """The dotted names that end in a word: `variance` is `weight.variance`, `output.variance`, ..."""
    endings: dict[str, list[str]] = {}
    for name in json_names():
        endings.setdefault(name.rpartition(".")[2], []).append(name)
    return endings


def _names(
    record: type[Record], prefix: str = "", above: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[str, ...]]]:
    meanings = _attributes(record)
    for name, info in record.model_fields.items():
        words = (*above, meanings[name]) if name in meanings else above
        yield f"{prefix}{name}", words
        if (inner := _record_in(info.annotation)) is not None and inner is not LayerStats:
            yield from _names(inner, f"{prefix}{name}.", words)


def _record_in(annotation: object) -> type[Record] | None:
    """The kind of record in a field, alone or in a tuple; None without one."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return annotation
    return next((inner for part in get_args(annotation) if (inner := _record_in(part)) is not None), None)


@cache
def _attributes(record: type[Record]) -> Mapping[str, str]:
    """The meaning of each field, from the docstrings of a record and of its base classes."""
    meanings: dict[str, str] = {}
    for base in reversed(record.__mro__):
        _, _, section = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        entries = _ENTRY.findall(inspect.cleandoc("\n" + section)) if issubclass(base, Record) else []
        meanings |= {name: " ".join(words.split()) for name, words in entries}
    return meanings
