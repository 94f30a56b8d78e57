"""Print the JSON Schema of sweep files, for editors.

With the schema, of draft 2020-12, an editor completes and checks a sweep file.

\b
Examples:
  initprobe schema > initprobe.schema.json
  # then the first line of a file, for editors with the YAML language server:
  # yaml-language-server: $schema=initprobe.schema.json
"""

from __future__ import annotations

from dataclasses import dataclass

import click

from initprobe.cli.parameters import command_of


@dataclass(frozen=True)
class SchemaOptions:
    """`initprobe schema` has no options."""


@command_of(SchemaOptions, help=__doc__)
def command(options: SchemaOptions) -> None:
    import json

    from initprobe.sweeps.file_layout import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
