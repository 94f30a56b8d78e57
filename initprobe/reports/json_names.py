"""What the names of JSON, CSV and checks mean, read from the docstrings of the records that hold them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import get_args

from initprobe.results.base import TENSORS, Record
from initprobe.results.layers import LayerStats
from initprobe.results.named_numbers import RATE
from initprobe.results.run import ProbeResult

_ENTRY = re.compile(r"^(\w+): (.*(?:\n {4,}.*)*)", re.MULTILINE)


@cache
def json_names() -> Mapping[str, tuple[str, ...]]:
    """Every dotted name, with what each of its parts means, outermost first.

    Numbers of a layer go by their own names, as `output.variance`, those of the whole net by the names of the result.
    """
    found = dict(_names(LayerStats)) | {name: words for name, words in _names(ProbeResult) if name != "layers"}
    rate = "factor by which this variance changes per layer, the geometric mean from the first layer to the last"
    return found | {f"{tensor}.{RATE}": (*found[tensor], rate) for tensor in TENSORS}


def short_names() -> Mapping[str, list[str]]:
    """The dotted names that end in a word: `variance` is `weight.variance`, `output.variance`, ..."""
    found: dict[str, list[str]] = {}
    for name in json_names():
        found.setdefault(name.rpartition(".")[2], []).append(name)
    return found


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
    """The record that a field holds, or holds several of."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return annotation
    return next((inner for part in get_args(annotation) if (inner := _record_in(part)) is not None), None)


@cache
def _attributes(record: type[Record]) -> Mapping[str, str]:
    """The fields that the docstrings of a record and of those it extends describe."""
    found: dict[str, str] = {}
    for one in reversed(record.__mro__):
        _, _, section = inspect.cleandoc(one.__doc__ or "").partition("Attributes:\n")
        entries = _ENTRY.findall(inspect.cleandoc("\n" + section)) if issubclass(one, Record) else []
        found |= {name: " ".join(words.split()) for name, words in entries}
    return found
