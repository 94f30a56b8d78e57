"""Name the initialization of every parameter of a PyTorch model.

FACTORY and its libraries are those of `initprobe torch`. The table has one row per group of parameters that are
initialized alike. `~` means that no known rule agrees: the numbers are measured. --export-yaml writes the rules as a
contract for `initprobe torch --expect`.

\b
Examples:
  initprobe recognize mynet:make
  initprobe recognize timm:resnet18
  initprobe recognize mynet:make --export-yaml init.yaml
  initprobe torch mynet:make --expect init.yaml
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from initprobe.cli.model_options import checkpoint_option, torch_seed_option
from initprobe.cli.parameters import argument, command_of, option

if TYPE_CHECKING:
    from initprobe.contract.parameter import Parameter
    from initprobe.contract.recognise import Group

_HEAD = "The initialization that `initprobe recognize` found. Change the rules that are not intended."


@dataclass(frozen=True, kw_only=True)
class RecognizeOptions:
    """The options of `initprobe recognize`."""

    target: str = argument(metavar="PACKAGE.MODULE:FACTORY")
    checkpoint: str | None = checkpoint_option()
    seed: int = torch_seed_option()
    export_json: str | None = option("--export-json", metavar="FILE|-", help="Write the groups as JSON.")
    export_yaml: str | None = option(
        "--export-yaml", metavar="FILE|-", help="Write the rules as a contract for `initprobe torch --expect`."
    )


@command_of(RecognizeOptions, help=__doc__)
def command(options: RecognizeOptions) -> None:
    """Find the rule that each parameter agrees with, and print or write the rules."""
    from initprobe.cli.outputs import STDOUT, check_exports, write_text
    from initprobe.contract.document import contract_text

    check_exports((options.export_json, options.export_yaml), None)
    groups, parameters = _recognized(options)
    if options.export_json:
        write_text(options.export_json, _json(groups))
    if options.export_yaml:
        ties = [(parameter.name, *parameter.ties) for parameter in parameters if parameter.ties]
        write_text(options.export_yaml, contract_text(groups, ties, _HEAD))
    if STDOUT not in (options.export_json, options.export_yaml):
        _print(groups, parameters)


def _recognized(options: RecognizeOptions) -> tuple[list[Group], list[Parameter]]:
    from initprobe.cli.progress import waiting
    from initprobe.torch.installed import require_torch

    require_torch()
    from initprobe.contract.recognise import recognise
    from initprobe.torch.loading import Request, load

    checkpoint = None if options.checkpoint is None else Path(options.checkpoint)
    with waiting("reading the parameters"):
        parameters = load(Request(options.target, checkpoint=checkpoint, seed=options.seed)).parameters()
        return recognise(parameters), parameters


def _print(groups: Sequence[Group], parameters: Sequence[Parameter]) -> None:
    """The table: one row per group; then tensors that are not drawn on their own."""
    from rich.text import Text

    from initprobe.contract.copies import copies_of
    from initprobe.contract.words import copies_lines
    from initprobe.formatting import percent, short, visible
    from initprobe.reports.console import console
    from initprobe.reports.tables import plain_table

    to = console(sys.stdout)
    headings = ("parameters", "number", "shape", "rule", "std", "+-%")
    table = plain_table(*headings, left=("parameters", "rule"), gap=2)
    shapes = {parameter.name: parameter.values.shape for parameter in parameters}
    for group in groups:
        alike = len({shapes[name] for name in group.names}) == 1
        shape = ("x".join(map(str, group.shape)) or "1") + ("" if alike else ", ...")
        error = percent(group.error) if group.std > 0 else ""
        std = short(group.std) if math.isfinite(group.std) else ""
        cells = (group.pattern, str(len(group.names)), shape, group.rule, std, error)
        table.add_row(*(Text(visible(cell)) for cell in cells))
    to.print(table)
    for parameter in parameters:
        if parameter.unreadable:
            to.print(visible(f"{'note':<10}{parameter.name} {parameter.unreadable}"), soft_wrap=True, markup=False)
    for line in copies_lines(copies_of(parameters)):
        to.print(f"{'copies':<10}{line}", soft_wrap=True)


def _json(groups: Sequence[Group]) -> str:
    import json

    return json.dumps({"version": 1, "groups": [_entry(group) for group in groups]}, indent=2, allow_nan=False) + "\n"


def _entry(group: Group) -> dict[str, Any]:
    """`relative_error` is the standard error of the std, relative to it; null of a constant."""
    return {
        "pattern": group.pattern,
        "names": list(group.names),
        "shape": list(group.shape),
        "rule": group.rule,
        "std": group.std if math.isfinite(group.std) else None,
        "relative_error": group.error if group.std > 0 else None,
    }
