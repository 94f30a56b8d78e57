"""The parameters of a model compared with a contract, as a table; those with a fault come first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from initprobe.formatting import short, visible
from initprobe.reports.console import Console
from initprobe.reports.tables import plain_table
from initprobe.reports.verdict import SEVERITY_STYLE

_MOST_ROWS = 50
_HEADINGS = ("parameter", "rule", "meant\nmean", "\nstd", "measured\nmean", "\nstd", "as meant")
_NUMBERS = ("meant_mean", "meant_std", "mean", "std")


def print_parameters(headline: str, rows: Sequence[Mapping[str, object]], to: Console) -> None:
    """Print how many parameters are as meant, and the parameters.

    Args:
        headline: how many are as meant.
        rows: as in the frame of the report.
        to: the console.
    """
    faults_first = sorted(rows, key=lambda row: bool(row["holds"]))
    to.print(f"{headline}\n", style="bold", markup=False, soft_wrap=True)
    to.print(_table(faults_first[:_MOST_ROWS]))
    if len(rows) > _MOST_ROWS:
        to.print(f"{_MOST_ROWS} of {len(rows):,} parameters; to_dataframe() has all", style="dim", markup=False)


def _table(rows: Sequence[Mapping[str, object]]) -> Table:
    table = plain_table(*_HEADINGS, left=("parameter", "rule", "as meant"))
    for row in rows:
        names = (visible(str(row[name])) for name in ("parameter", "rule"))
        numbers = (short(float(str(row[name]))) for name in _NUMBERS)
        holds = bool(row["holds"])
        table.add_row(*names, *numbers, "yes" if holds else "no", style="" if holds else SEVERITY_STYLE["error"])
    return table
