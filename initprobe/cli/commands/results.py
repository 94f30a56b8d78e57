"""Print the table of a sweep, also while it is running.

STORE is a sweep.db or its directory.

Exits with 3 if some runs are damaged in the store; the others are shown.

\b
Examples:
  initprobe results initprobe-out/article_figures
  initprobe results sweep.db --sort -theory.z --columns verdict,theory.z
  initprobe results sweep.db --export-csv results.csv
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from initprobe.cli.candidates import files
from initprobe.cli.parameters import argument, command_of, group, option
from initprobe.cli.sweep_output import TableExports, TableOptions, TableOutput, axes_of, report_damage, show
from initprobe.data.files import STORE_FILE

if TYPE_CHECKING:
    from initprobe.sweeps.store_rows import Row


@dataclass(frozen=True, kw_only=True)
class ResultsOptions:
    """The options of `initprobe results`."""

    store: str = argument(shell_complete=files)
    where: tuple[str, ...] = option(
        "--where", multiple=True, metavar="AXIS=VALUE", help="Only runs with this value: act=relu; repeatable."
    )
    table: TableOptions = group(TableOptions)
    exports: TableExports = group(TableExports)


@command_of(ResultsOptions, help=__doc__)
def command(options: ResultsOptions) -> None:
    """Print a table of the runs of a store."""
    from initprobe.cli import outputs
    from initprobe.data.files import is_directory
    from initprobe.sweeps.store import read_store

    path = Path(options.store)
    outputs.check_exports(options.exports.targets(), None)
    with read_store(path / STORE_FILE if is_directory(path) else path) as store:
        rows = list(store.rows())
        axes = axes_of(rows)
        for condition in options.where:
            rows = _matching(rows, condition, axes)
        show(store, rows, TableOutput(options.table.layout(axes), options.exports))
        report_damage(store.damage.values())


def _matching(rows: Sequence[Row], condition: str, axes: Sequence[str]) -> list[Row]:
    """The rows that meet a condition `AXIS=VALUE`, written as in the sweep file.

    Raises:
        ConfigError: there is no such axis, or no row has the value; the message names those that exist.
    """
    from initprobe.errors import ConfigError
    from initprobe.registry import suggestion
    from initprobe.sweeps.file_conditions import parse_condition, select

    name = condition.partition("=")[0].strip()
    if "=" not in condition or name not in axes:
        hint = suggestion(name, axes) or f" The axes are {', '.join(axes) or 'none'}."
        raise ConfigError(f"{condition!r} is not AXIS=VALUE.{hint}", field="--where")
    kept = select(condition, parse_condition(condition), {index: row.axes.get(name) for index, row in enumerate(rows)})
    return [rows[index] for index in kept]
