"""`initprobe validate`: whether files of sweeps hold what they should."""

from __future__ import annotations

import click


@click.command("validate")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...]) -> None:
    """Check the files of sweeps without running anything.

    A file is a path or the name of a config that ships; each gets a line.

    Exits with 2 if one of them is wrong. A function that a file names as package.module:name is not imported.

    \b
    Examples:
      initprobe validate sweeps/*.yaml
      initprobe validate article_figures
    """
    from initprobe.errors import ConfigError
    from initprobe.formatting import counted, visible
    from initprobe.sweeps.plan import load

    bad = 0
    for file in files:
        try:
            plan = load(file, importing=False)
            unread = f"; not looked at, so as to run no code: {', '.join(plan.own_names)}" if plan.own_names else ""
            click.echo(f"{visible(file)}: ok: {counted(len(plan.runs), 'run')}{visible(unread)}")
        except ConfigError as error:
            bad += 1
            click.echo(str(error))
    if bad:
        ctx.exit(ConfigError.exit_code)
