"""What a printed command line runs."""

from initprobe.cli.commands import run

PROGRAM = "initprobe run "


def config_of(line):
    """The experiment that a line `initprobe run ...` runs."""
    assert line.startswith(PROGRAM)
    return run.config_of(line.removeprefix(PROGRAM))
