"""What a printed command line runs."""

import shlex

from initprobe.cli.commands.run import RunOptions, command
from initprobe.cli.parameters import options_from


def config_of(line):
    """The experiment that a line `initprobe run ...` runs."""
    words = shlex.split(line)
    assert words[:2] == ["initprobe", "run"]
    return options_from(RunOptions, command.make_context("run", words[2:]).params).config()
