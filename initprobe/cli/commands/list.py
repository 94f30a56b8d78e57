"""List initializers, activations, inputs, rules, configs.

KIND is one of initializers, activations, inputs, rules, thresholds, configs.

\b
Examples:
  initprobe list initializers
  initprobe list activations
  initprobe list thresholds
  initprobe list configs
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from initprobe.cli.parameters import Choice, argument, command_of

if TYPE_CHECKING:
    from rich.table import Table


REGISTRIES = ("initializers", "activations", "inputs")
OTHERS = ("rules", "thresholds", "configs")


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """The options of `initprobe list`."""

    kind: str = argument(metavar="KIND", type=Choice((*REGISTRIES, *OTHERS)))


@command_of(ListOptions, help=__doc__)
def command(options: ListOptions) -> None:
    """Print the names of one kind."""
    from initprobe.reports.console import console

    others = {"rules": _rules, "thresholds": _thresholds, "configs": _configs}
    table, more = others[options.kind]() if options.kind in others else _records(options.kind)
    to = console(sys.stdout, wrap=True, markup=True)
    to.print(table)
    to.print(f"\n{more}", highlight=False)


def _table(*headings: str) -> Table:
    from initprobe.reports.tables import plain_table

    return plain_table(*headings, left=headings, gap=2, wrap=True)


def _records(kind: str) -> tuple[Table, str]:
    from rich.markup import escape

    from initprobe.activations.catalogue import ACTIVATIONS
    from initprobe.data.noise import INPUTS
    from initprobe.initializers.catalogue import INITIALIZERS
    from initprobe.registry import Registry

    registries: tuple[Registry[Any], ...] = (INITIALIZERS, ACTIVATIONS, INPUTS)
    registry = dict(zip(REGISTRIES, registries, strict=True))[kind]
    table = _table("name (also)", "formula", "source")
    for record in registry.values():
        also = f"\n[dim]{', '.join(record.aliases)}[/dim]" if record.aliases else ""
        table.add_row(f"[bold]{record.name}[/bold]{also}", escape(record.formula), escape(record.reference))
    return table, f"For details: initprobe explain {next(iter(registry))}"


def _rules() -> tuple[Table, str]:
    from initprobe.torch.verdict.rulebook import RULEBOOK

    table = _table("name", "meaning")
    for rule in RULEBOOK.values():
        table.add_row(f"[bold]{rule.name}[/bold]", rule.meaning)
    return table, f"For details: initprobe explain {next(iter(RULEBOOK))}"


def _thresholds() -> tuple[Table, str]:
    from initprobe.config.thresholds import ModelThresholds

    table = _table("name", "value", "meaning, and reason for the default")
    for name, field in ModelThresholds.model_fields.items():
        table.add_row(f"[bold]{name}[/bold]", f"{field.default:g}", field.description)
    return table, "To change one: initprobe run --threshold saturated=0.3 ..."


def _configs() -> tuple[Table, str]:
    from rich.markup import escape

    from initprobe.sweeps.shipped_configs import first_comment, shipped

    configs = shipped()
    table = _table("name", "meaning")
    for name, path in configs.items():
        table.add_row(f"[bold]{name}[/bold]", escape(first_comment(path)))
    homes = {path.parent for path in configs.values()}
    return table, "\n".join(f"The files are in {home}; copy one and change it." for home in homes)
