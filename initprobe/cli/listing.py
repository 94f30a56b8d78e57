"""`initprobe list`: the names that can be used."""

from __future__ import annotations

import sys
from typing import Any

import click

KINDS = ("initializers", "activations", "inputs")


@click.command("list")
@click.argument("kind", type=click.Choice(KINDS))
def command(kind: str) -> None:
    """List the initializers, activations or inputs: name, aliases, formula and source.

    \b
    Examples:
      initprobe list initializers
      initprobe list activations
    """
    from rich.markup import escape
    from rich.table import Table

    from initprobe.activations import ACTIVATIONS
    from initprobe.initializers import INITIALIZERS
    from initprobe.inputs import INPUTS
    from initprobe.registry import Registry
    from initprobe.reports.tables import console

    registries: tuple[Registry[Any], ...] = (INITIALIZERS, ACTIVATIONS, INPUTS)
    registry = dict(zip(KINDS, registries, strict=True))[kind]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("name (also)", "formula", "source"):
        table.add_column(heading, overflow="fold")
    for record in registry.values():
        also = f"\n[dim]{', '.join(record.aliases)}[/dim]" if record.aliases else ""
        table.add_row(f"[bold]{record.name}[/bold]{also}", escape(record.formula), escape(record.reference))
    to = console(sys.stdout, wrap=True)
    to.print(table)
    to.print(f"\nMore on one: initprobe explain {next(iter(registry))}", highlight=False)
