"""`initprobe schema`: the JSON Schema of a sweep's file."""

from __future__ import annotations

import click


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of a sweep's file, for editors.

    It is of draft 2020-12; editors check and complete by it.

    \b
    Examples:
      initprobe schema > initprobe.schema.json
      # then, as a file's first line, for editors with the YAML language server:
      # yaml-language-server: $schema=initprobe.schema.json
    """
    import json

    from initprobe.sweeps.file_layout import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
