"""`initprobe results`: what a sweep found, again, at any time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from initprobe.cli.sweep import STORE_FILE
from initprobe.cli.sweep_output import axes_of, layout_from, show, table_options


@click.command("results")
@click.argument("store")
@click.option("--where", multiple=True, metavar="AXIS=VALUE", help="Only runs that have it: act=relu; repeatable.")
@table_options
def command(store: str, where: tuple[str, ...], **options: Any) -> None:
    """Print the table of a sweep, also while it is running.

    STORE is a sweep.db or the directory it lies in.

    \b
    Examples:
      initprobe results initprobe-out/article_figures
      initprobe results sweep.db --sort -theory.z --columns verdict,theory.z,layer
      initprobe results sweep.db --export-csv results.csv
    """
    from initprobe.cli import outputs
    from initprobe.sweep.store import read_store

    path = Path(store) / STORE_FILE if Path(store).is_dir() else Path(store)
    outputs.check_exports([options[name] for name in ("export_csv", "export_json", "markdown")], None)
    with read_store(path) as opened:
        rows = list(opened.rows())
        axes = axes_of(rows)
        for text in where:
            rows = [row for row in rows if _matches(row.axes, text, axes)]
        show(opened, rows, layout_from(axes, options), options)


def _matches(axes: Any, text: str, known: list[str]) -> bool:
    from initprobe.errors import ConfigError
    from initprobe.registry import suggestion

    name, equals, value = text.partition("=")
    if not equals or name not in known:
        hint = suggestion(name, known) or f" The axes are {', '.join(known) or 'none'}."
        raise ConfigError(f"--where {text}: write AXIS=VALUE.{hint}")
    return str(axes.get(name, "")) == value
