"""Check sweep files without running anything.

FILE is a path or the name of a config that `initprobe list configs` shows. Each file gets one line.

Exits with 2 if a file is wrong. A function that a file names as package.module:name is not imported.

\b
Examples:
  initprobe validate sweeps/*.yaml
  initprobe validate article_figures
"""

from __future__ import annotations

from dataclasses import dataclass

import click

from initprobe.cli.candidates import configs
from initprobe.cli.parameters import argument, command_of


@dataclass(frozen=True, kw_only=True)
class ValidateOptions:
    """The options of `initprobe validate`."""

    files: tuple[str, ...] = argument(metavar="FILE...", nargs=-1, required=True, shell_complete=configs)


@command_of(ValidateOptions, help=__doc__)
def command(options: ValidateOptions) -> None:
    """Check files of sweeps and contracts without running anything."""
    from initprobe.errors import ConfigError

    faults = 0
    for file in options.files:
        try:
            click.echo(_checked(file))
        except ConfigError as error:
            faults += 1
            click.echo(str(error))
    if faults:
        click.get_current_context().exit(ConfigError.exit_code)


def _checked(file: str) -> str:
    """One line about a file without a fault."""
    from initprobe.formatting import counted, visible
    from initprobe.sweeps.plan import load

    plan = load(file, importing=False)
    skipped = f"; not imported, so that no code runs: {', '.join(plan.own_names)}" if plan.own_names else ""
    return f"{visible(file)}: ok: {counted(len(plan.runs), 'run')}{visible(skipped)}"
