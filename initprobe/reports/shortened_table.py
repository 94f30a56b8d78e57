"""Long tables: which rows are shown, and a line in place of those left out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from initprobe.reports.tables import PlainTable
from initprobe.results.base import Status
from initprobe.results.layers import LayerStats
from initprobe.results.run import ProbeResult

_ENDS = 6  # layers shown at each end
_FEWEST = 3  # layers that a line may replace


def shown_layers(result: ProbeResult, most: int | None) -> list[int]:
    """Choose the layers to show: both ends, layers where a finding begins, and those where a status changes.

    Args:
        result: what was measured.
        most: number of layers up to which all are shown; None for no limit.

    Returns:
        Numbers of layers, ascending.
    """
    layers = result.layers
    if most is None or len(layers) <= most:
        return [layer.layer for layer in layers]
    kept = {1, len(layers)} | {finding.layer for finding in result.diagnosis}
    kept |= {*range(1, _ENDS + 1), *range(len(layers) - _ENDS + 1, len(layers) + 1)}
    kept |= {b.layer for a, b in itertools.pairwise(layers) if _statuses(a) != _statuses(b)}
    return _without_small_gaps(sorted(kept))


def _statuses(layer: LayerStats) -> list[Status]:
    """The statuses of the tensors that the table shows."""
    return [layer.tensor(name).status for name in ("output", "output_gradient", "weight_gradient")]


def _without_small_gaps(kept: Sequence[int]) -> list[int]:
    filled = [kept[0]]
    for number in kept[1:]:
        start = filled[-1] + 1
        filled += [number] if number - start >= _FEWEST else range(start, number + 1)
    return filled


class ShortenedTable:
    """A table of some layers, with a line in each gap.

    Attributes:
        table: a row for each of `layers`.
        layers: their numbers, in order.
    """

    def __init__(self, table: PlainTable, layers: Sequence[int]) -> None:
        self.table, self.layers = table, layers

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of the table, and one for each gap."""
        yield from self.table.heading_segments(console)
        last = self.layers[0] - 1
        for row, number in enumerate(self.layers):
            if missing := number - last - 1:
                yield Segment(f"  ... {missing:,} layers like these: -v shows all", Style(dim=True))
                yield Segment.line()
            yield from self.table.row_segments(row, console)
            last = number
