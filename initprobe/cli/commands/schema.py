"""Print the JSON Schema of sweep files or of contracts, for editors.

With the schema, of draft 2020-12, an editor completes and checks a sweep file, or a contract for
`initprobe torch --expect`.

\b
Examples:
  initprobe schema > initprobe.schema.json
  initprobe schema contract > contract.schema.json
  // then the first line of a file, for editors with the YAML language server:
  # yaml-language-server: $schema=initprobe.schema.json
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from initprobe.cli.parameters import Choice, argument, command_of


@dataclass(frozen=True)
class SchemaOptions:
    """The options of `initprobe schema`."""

    kind: str = argument(type=Choice(["sweep", "contract"]), default="sweep", required=False)


@command_of(SchemaOptions, help=__doc__)
def command(options: SchemaOptions) -> None:
    """Print a JSON schema."""
    import json

    click.echo(json.dumps(_schema(options.kind), indent=2))


def _schema(kind: str) -> dict[str, Any]:
    if kind == "contract":
        from initprobe.contract import document

        return document.json_schema()
    from initprobe.sweeps import file_layout

    return file_layout.json_schema()
