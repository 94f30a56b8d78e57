"""A model of many layers by its blocks: the rows of its table, and the roles that lines of a figure stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from initprobe.formatting import NOTHING, percent, short
from initprobe.results.layers import LayerStats, TensorStats

MOST_ROWS = 100
_LONGEST_NAME = 22
_NUMBER = re.compile(r"(?<![^.])[0-9]+(?![^.])")  # of a block, not that in fc1


@dataclass(frozen=True)
class Block:
    """Layers that follow one another in one part of a model.

    Attributes:
        name: the first parts of their names, that they share.
        layers: in order.
    """

    name: str
    layers: tuple[LayerStats, ...]

    @property
    def numbers(self) -> str:
        """`5-8`."""
        first, last = self.layers[0].layer, self.layers[-1].layer
        return str(first) if first == last else f"{first}-{last}"


def blocks(layers: Sequence[LayerStats], depth: int) -> list[Block]:
    """Layers in a row by the first `depth` parts of their names."""
    found: list[Block] = []
    for layer in layers:
        name = ".".join((layer.name or "").partition("#")[0].split(".")[:depth])
        if found and found[-1].name == name:
            found[-1] = Block(name, (*found[-1].layers, layer))
        else:
            found.append(Block(name, (layer,)))
    return found


def fitting_depth(layers: Sequence[LayerStats]) -> int | None:
    """The greatest depth that leaves at most `MOST_ROWS` rows and more than one; None where none does."""
    deepest = max((layer.name or "").count(".") + 1 for layer in layers)
    counts = {depth: len(blocks(layers, depth)) for depth in range(1, deepest + 1)}
    return max((depth for depth, count in counts.items() if 1 < count <= MOST_ROWS), default=None)


def role(name: str) -> str:
    """The same for the same place in another block: `blocks.*.fc` of `blocks.3.fc`."""
    return _NUMBER.sub("*", name.partition("#")[0])


def roles(layers: Sequence[LayerStats]) -> dict[str, list[LayerStats]]:
    """Layers by their role, in order, where there are at least two of a role; the others under ``."""
    found: dict[str, list[LayerStats]] = {}
    for layer in layers:
        found.setdefault(role(layer.name or ""), []).append(layer)
    alone = [one for group in found.values() if len(group) < 2 for one in group]
    many = {name: group for name, group in found.items() if len(group) > 1}
    return many | ({"": alone} if alone else {})


def short_name(name: str, longest: int = _LONGEST_NAME) -> str:
    """A name that leaves room for the numbers in 80 columns; the number of its block is never cut."""
    if len(name) <= longest:
        return name
    numbered = _NUMBER.search(name)
    if numbered is None:
        half = (longest - 1) // 2
        return f"{name[: longest - 1 - half]}…{name[-half:]}"
    kept = name[numbered.start() :]
    room = longest - 1
    if len(kept) < room:
        return f"{name[: room - len(kept)]}…{kept}"
    number = numbered.group()
    return f"…{number}…{kept[-(longest - 2 - len(number)) :]}"


def columns() -> Iterator[tuple[str, Callable[[Block], str]]]:
    """Heading and entry of each column; lowest and highest variance of the layers of a block."""
    yield "\nlayers", lambda block: block.numbers
    yield "\nblock", lambda block: short_name(block.name or NOTHING)
    for heading, tensor in (("output h", "output"), ("dL/dh", "output_gradient"), ("dL/dW", "weight_gradient")):
        yield f"{heading}\nvar from", _ends_of(tensor, min)
        yield "\nto", _ends_of(tensor, max)
    yield "\nsat%", lambda block: _most(block, "saturated_fraction")
    yield "\ndead%", lambda block: _most(block, "dead_fraction")


def _ends_of(tensor: str, pick: Callable[..., TensorStats]) -> Callable[[Block], str]:
    return lambda block: _end(block, tensor, pick)


def _end(block: Block, tensor: str, pick: Callable[..., TensorStats]) -> str:
    known = [stats for layer in block.layers if (stats := layer.tensor(tensor)).variance_log10 is not None]
    if not known:
        return "0" if any(layer.tensor(tensor).variance == 0 for layer in block.layers) else NOTHING
    one = pick(known, key=lambda stats: stats.variance_log10)
    return short(one.variance, one.variance_log10)


def _most(block: Block, name: str) -> str:
    values = [value for layer in block.layers if (value := getattr(layer.output, name)) is not None]
    return percent(max(values)) if values else NOTHING
