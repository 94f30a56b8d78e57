"""All networks that are written by hand. They need PyTorch only."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from zoo_entry import Entry

HOMES = ("plain", "sets", "classifiers", "pictures", "steps", "transformers", "users")


def entries() -> Iterator[Entry]:
    for home in HOMES:
        yield from import_module(f"zoo_hand_{home}").entries()
