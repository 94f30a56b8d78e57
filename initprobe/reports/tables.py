"""Tables of text: their common look, and columns that are left out where a line would be too long."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from initprobe.formatting import visible

if TYPE_CHECKING:  # figures need the columns, but not Rich
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


@dataclass(frozen=True)
class TextColumn:
    """A column as text.

    Attributes:
        heading: one or two lines.
        cells: one per row.
        dropped: when the column is left out of a table that is too wide, the lowest number first. None for never.
    """

    heading: str
    cells: Sequence[str]
    dropped: int | None = None

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


def table_of(columns: Sequence[TextColumn], styles: Sequence[str]) -> Table:
    """A table of these columns, flush right, with a style per row. Names in it are shown literally.

    Args:
        columns: in order.
        styles: of Rich, one per row.
    """
    from rich.text import Text

    table = plain_table(*(column.heading for column in columns))
    for number, style in enumerate(styles):
        table.add_row(*(Text(visible(column.cells[number])) for column in columns), style=style)
    return table
