"""`initprobe results`: what a sweep found, again, at any time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initprobe.cli.sweep_output import axes_of, layout_from, show, table_options, tell_damage
from initprobe.cli.sweep_run import STORE_FILE

if TYPE_CHECKING:
    from initprobe.sweeps.store.rows import Row


@click.command("results")
@click.argument("store")
@click.option("--where", multiple=True, metavar="AXIS=VALUE", help="Only runs that have it: act=relu; repeatable.")
@table_options
def command(store: str, where: tuple[str, ...], **options: Any) -> None:
    """Print the table of a sweep, also while it is running.

    STORE is a sweep.db or the directory it lies in.

    Exits with 3 if the store is damaged at some runs; the others are shown.

    \b
    Examples:
      initprobe results initprobe-out/article_figures
      initprobe results sweep.db --sort -theory.z --columns verdict,theory.z
      initprobe results sweep.db --export-csv results.csv
    """
    from initprobe.cli import outputs
    from initprobe.data.files import is_directory
    from initprobe.sweeps.store.store import read_store

    path = Path(store) / STORE_FILE if is_directory(Path(store)) else Path(store)
    outputs.check_exports([options[name] for name in ("export_csv", "export_json", "markdown")], None)
    with read_store(path) as opened:
        rows = list(opened.rows())
        axes = axes_of(rows)
        for text in where:
            rows = _having(rows, text, axes)
        show(opened, rows, layout_from(axes, options), options)
        tell_damage(opened.damage.values())


def _having(rows: Sequence[Row], text: str, axes: Sequence[str]) -> list[Row]:
    """The rows with a value, written as in the sweep's file.

    Raises:
        ConfigError: no such axis, or no row has the value; names those that there are.
    """
    from initprobe.errors import ConfigError
    from initprobe.registry import suggestion
    from initprobe.sweeps.file_conditions import parse_condition, select

    name = text.partition("=")[0].strip()
    if "=" not in text or name not in axes:
        hint = suggestion(name, axes) or f" The axes are {', '.join(axes) or 'none'}."
        raise ConfigError(f"--where {text}: write AXIS=VALUE.{hint}")
    kept = select(text, parse_condition(text), {index: row.axes.get(name) for index, row in enumerate(rows)})
    return [rows[index] for index in kept]
