"""Tables that can be sorted: each cell has its text, and the number behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from initprobe.formatting import NOTHING, short, visible
from initprobe.reports.html_page import meaning

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: as shown.
        value: the number behind it, unrounded; None for a word, and for a number that does not apply.
        is_log10: the value is log10 of the number that the text shows.
    """

    text: str
    value: float | None = None
    is_log10: bool = False

    @property
    def exact(self) -> str:
        """The number in full; an empty text for a word."""
        return "" if self.value is None else "-Infinity" if self.value == -math.inf else repr(self.value)

    @property
    def hover(self) -> str:
        """What is shown on hover."""
        if self.is_log10:
            return self.text if self.value == -math.inf else f"log10: {self.exact}"
        return self.exact


@dataclass(frozen=True)
class Column(Generic[_Row]):
    """A column.

    Attributes:
        heading: above it.
        meaning: of the number, which is shown on hover and focus; may be empty.
        cell: the cell of a row.
    """

    heading: str
    meaning: str
    cell: Callable[[_Row], Cell]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: their headings and meanings.
        rows: of cells.
    """

    columns: Sequence[Column[Any]]
    rows: Sequence[Sequence[Cell]]

    @property
    def of_words(self) -> list[bool]:
        """For each column, whether it holds words alone."""
        return [all(cells[place].value is None for cells in self.rows) for place in range(len(self.columns))]


def table(columns: Iterable[Column[_Row]], rows: Sequence[_Row]) -> Table:
    """A table without the columns that apply to no row.

    Args:
        columns: in order.
        rows: records that the columns read.
    """
    made = [(column, [column.cell(row) for row in rows]) for column in columns]
    kept = [(column, cells) for column, cells in made if any(cell.text not in ("", NOTHING) for cell in cells)]
    return Table([column for column, _ in kept], list(zip(*(cells for _, cells in kept), strict=True)))


def number(value: float | None) -> Cell:
    """The cell of a number."""
    return Cell(short(value), value)


def word(text: object) -> Cell:
    """The cell of a word."""
    return Cell(visible(str(text)))


def json_columns(names: Iterable[tuple[str, str]], meaning: Callable[[str], str] = meaning) -> Iterator[Column[Any]]:
    """Columns of numbers by their JSON names, each with its heading.

    Args:
        names: pairs of JSON name and heading.
        meaning: explains a JSON name.
    """
    for name, heading in names:
        yield Column(heading, meaning(name), lambda row, name=name: number(row.at(name)))  # type: ignore[misc]


def text_columns(headings: Sequence[str]) -> Iterator[Column[Sequence[str]]]:
    """Columns of rows that are tuples of text."""
    for place, heading in enumerate(headings):
        yield Column(heading, "", lambda row, place=place: word(row[place]))  # type: ignore[misc]
