"""The table of `initprobe diff`: a row per change."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from initprobe.formatting import visible
from initprobe.reports.console import Console
from initprobe.reports.markdown import markdown_row, markdown_text
from initprobe.reports.tables import plain_table

_MOST_ROWS = 50
_HEADINGS = ("run", "number", "layer", "was", "is", "change")


def print_differences(headline: str, notes: Sequence[str], rows: Sequence[Sequence[str]], to: Console) -> None:
    """Print how many runs agree, the notes, and the first changes.

    Args:
        headline: how many runs agree and differ.
        notes: one line each.
        rows: the cells of each change.
        to: the console.
    """
    to.print(headline, style="bold", markup=False, soft_wrap=True)
    for note in notes:
        to.print(visible(note), markup=False, soft_wrap=True)
    if rows:
        of_one_run = len({row[0] for row in rows}) == 1
        if of_one_run and rows[0][0]:
            to.print(rows[0][0], markup=False, soft_wrap=True)
        to.print(_table(rows[:_MOST_ROWS], int(of_one_run)))
    if len(rows) > _MOST_ROWS:
        to.print(f"{_MOST_ROWS} of {len(rows):,} changes", style="dim")


def _table(rows: Sequence[Sequence[str]], first: int) -> Table:
    """The changes, from a first column on: all of one run need no name in each row."""
    table = plain_table(*_HEADINGS[first:], left=("run", "number"), gap=2)
    for row in rows:
        table.add_row(*map(Text, row[first:]))
    return table


def markdown(headline: str, rows: Sequence[Sequence[str]]) -> str:
    """The headline and the first changes as Markdown.

    Args:
        headline: how many runs agree and differ.
        rows: the cells of each change.
    """
    table = [_HEADINGS, ("---",) * len(_HEADINGS), *rows[:_MOST_ROWS]] if rows else []
    return "\n".join([f"**{markdown_text(headline)}**", "", *map(markdown_row, table)]) + "\n"
