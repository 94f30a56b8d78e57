"""The layers of a deep PyTorch model by blocks, for tables, and by roles, for lines of a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from initprobe.formatting import NOTHING, NUMBER_IN_NAME, percent, role, short
from initprobe.reports.tables import TextColumn

if TYPE_CHECKING:
    from initprobe.results.layers import LayerStats, TensorStats

MOST_ROWS = 100
_LONGEST_NAME = 22


class Block(NamedTuple):
    """Consecutive layers in one part of a model.

    Attributes:
        name: the first parts of their names, which they share.
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
    """Consecutive layers grouped by the first `depth` parts of their names.

    Args:
        layers: with dotted names, first to last.
        depth: number of parts.
    """
    grouped: list[Block] = []
    for layer in layers:
        name = ".".join((layer.name or "").partition("#")[0].split(".")[:depth])
        if grouped and grouped[-1].name == name:
            grouped[-1] = Block(name, (*grouped[-1].layers, layer))
        else:
            grouped.append(Block(name, (layer,)))
    return grouped


def fitting_depth(layers: Sequence[LayerStats]) -> int | None:
    """The largest depth that gives 2 to `MOST_ROWS` rows; None if there is none."""
    deepest = max((layer.name or "").count(".") + 1 for layer in layers)
    counts = {depth: len(blocks(layers, depth)) for depth in range(1, deepest + 1)}
    return max((depth for depth, count in counts.items() if 1 < count <= MOST_ROWS), default=None)


def roles(layers: Sequence[LayerStats]) -> dict[str, list[LayerStats]]:
    """Layers by role, in order; layers that are alone in their role are under the empty name."""
    grouped: dict[str, list[LayerStats]] = {}
    for layer in layers:
        grouped.setdefault(role(layer.name or ""), []).append(layer)
    alone = [group[0] for group in grouped.values() if len(group) < 2]
    many = {name: group for name, group in grouped.items() if len(group) > 1}
    return many | ({"": alone} if alone else {})


def short_name(name: str, longest: int = _LONGEST_NAME) -> str:
    """A name cut to `longest` characters; the number of its block is never cut.

    Args:
        name: dotted.
        longest: number of characters.
    """
    if len(name) <= longest:
        return name
    numbered = NUMBER_IN_NAME.search(name)
    if numbered is None:
        half = (longest - 1) // 2
        return f"{name[: longest - 1 - half]}…{name[-half:]}"
    kept = name[numbered.start() :]
    room = longest - 1
    if len(kept) < room:
        return f"{name[: room - len(kept)]}…{kept}"
    number = numbered.group()
    ending = kept[-(longest - 2 - len(number)) :]
    if ending[0].isdigit() and kept[: -len(ending)][-1].isdigit():  # of the number of a part of the block
        ending = ending.lstrip("0123456789")
    return f"…{number}…{ending}"


def columns(shown: Sequence[Block]) -> Iterator[TextColumn]:
    """The columns of a table of blocks, with the lowest and highest variance in a block. None that would be empty."""
    for heading, entry in _always():
        yield TextColumn(heading, [entry(block) for block in shown])
    for dropped, (heading, entry) in enumerate(_sometimes()):
        entries = [entry(block) for block in shown]
        if any(text != NOTHING for text in entries):
            yield TextColumn(heading, entries, dropped)


def _always() -> Iterator[tuple[str, Callable[[Block], str]]]:
    yield "\nlayers", lambda block: block.numbers
    yield "\nblock", lambda block: short_name(block.name or NOTHING)
    for heading, tensor in (("output h", "output"), ("dL/dh", "output_gradient"), ("dL/dW", "weight_gradient")):
        yield f"{heading}\nvar from", _ends_of(tensor, min)
        yield "\nto", _ends_of(tensor, max)


def _sometimes() -> Iterator[tuple[str, Callable[[Block], str]]]:
    """Those that not every model has; of a table that is too wide the first is left out first."""
    yield "branch\n/stream", _ratio
    yield "\nsat%", lambda block: _most(block, "saturated_fraction")
    yield "\ndead%", lambda block: _most(block, "dead_fraction")


def _ends_of(tensor: str, pick: Callable[..., TensorStats]) -> Callable[[Block], str]:
    return lambda block: _end(block, tensor, pick)


def _end(block: Block, tensor: str, pick: Callable[..., TensorStats]) -> str:
    candidates = [stats for layer in block.layers if (stats := layer.tensor(tensor)).variance_log10 is not None]
    if not candidates:
        return "0" if any(layer.tensor(tensor).variance == 0 for layer in block.layers) else NOTHING
    picked = pick(candidates, key=lambda stats: stats.variance_log10)
    return short(picked.variance, picked.variance_log10)


def _ratio(block: Block) -> str:
    """The largest ratio of a branch to the stream."""
    return short(max((layer.branch_ratio for layer in block.layers if layer.branch_ratio is not None), default=None))


def _most(block: Block, name: str) -> str:
    values = [value for layer in block.layers if (value := getattr(layer.output, name)) is not None]
    return percent(max(values)) if values else NOTHING
