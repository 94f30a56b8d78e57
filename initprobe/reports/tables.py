"""Tables of text: their common look, and columns that are left out where a line would be too long."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from initprobe.formatting import visible

if TYPE_CHECKING:  # figures need the columns, but not Rich
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.segment import Segment
    from rich.table import Table

_GAP = 1  # blank columns between two columns of a table


def plain_table(*headings: str, left: Container[str] = (), gap: int = _GAP, wrap: bool = False) -> Table:
    """An empty table without lines.

    Args:
        headings: of the columns; one may have two lines.
        left: headings of the columns that are flush left; the others, of numbers, are flush right.
        gap: blank columns after each column.
        wrap: break cells that are too long for the terminal, instead of running over its edge.
    """
    from rich.table import Table

    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False)
    for heading in headings:
        table.add_column(
            heading,
            justify="left" if heading in left else "right",
            no_wrap=not wrap,
            overflow="fold" if wrap else "ellipsis",
            vertical="top" if wrap else "bottom",
        )
    return table


class TextColumn(NamedTuple):
    """A column as text.

    Attributes:
        heading: one or two lines.
        cells: one per row.
        dropped: when the column is left out of a table that is too wide, the lowest number first. None for never.
        left: flush left, as names are.
    """

    heading: str
    cells: Sequence[str]
    dropped: int | None = None
    left: bool = False

    @property
    def width(self) -> int:
        """Of its widest line."""
        from rich.cells import cell_len

        return max(map(cell_len, (*self.heading.split("\n"), *self.cells)))


def fitting(columns: Sequence[TextColumn], width: int | None) -> list[TextColumn]:
    """The columns that fit lines of a width; numbers stay whole.

    Args:
        columns: in order.
        width: characters per line; None for no limit.
    """
    kept = list(columns)
    while width is not None and sum(column.width + _GAP for column in kept) - _GAP > width:
        droppable = [column for column in kept if column.dropped is not None]
        if not droppable:
            break
        kept.remove(min(droppable, key=lambda column: column.dropped or 0))
    return kept


class PlainTable:
    """A table of text. Each line is one segment, because Rich takes a millisecond for each row of cells.

    Attributes:
        heading: its lines.
        lines: one per row.
        styles: of Rich, one per row.
    """

    def __init__(self, columns: Sequence[TextColumn], styles: Sequence[str]) -> None:
        """Set every cell to the width of its column. Names are shown literally.

        Args:
            columns: in order.
            styles: of Rich, one per row.
        """
        headings = [column.heading.split("\n") for column in columns]
        tallest = max(map(len, headings))
        upper = [[""] * (tallest - len(lines)) + lines for lines in headings]
        set_columns = [
            _flush([*lines, *map(visible, column.cells)], column.left)
            for lines, column in zip(upper, columns, strict=True)
        ]
        lines = [(" " * _GAP).join(row).rstrip() for row in zip(*set_columns, strict=True)]
        self.heading, self.lines, self.styles = lines[:tallest], lines[tallest:], styles

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The heading, then the rows."""
        yield from self.heading_segments(console)
        for number in range(len(self.lines)):
            yield from self.row_segments(number, console)

    def heading_segments(self, console: Console) -> Iterator[Segment]:
        """The lines of the heading."""
        from rich.segment import Segment

        style = console.get_style("table.header")
        for line in self.heading:
            yield from (Segment(line, style), Segment.line())

    def row_segments(self, number: int, console: Console) -> Iterator[Segment]:
        """A row and its end of line.

        Args:
            number: 0 for the first row.
            console: knows the styles.
        """
        from rich.segment import Segment

        style = self.styles[number]
        yield from (Segment(self.lines[number], console.get_style(style) if style else None), Segment.line())


def _flush(texts: Sequence[str], left: bool) -> list[str]:
    """The texts with blanks before or after them, so that all are as wide as the widest."""
    from rich.cells import cell_len

    widths = [cell_len(text) for text in texts]
    widest = max(widths)
    blanks = [" " * (widest - width) for width in widths]
    pairs = zip(texts, blanks, strict=True)
    return [text + blank if left else blank + text for text, blank in pairs]
