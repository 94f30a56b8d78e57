"""`python -m initprobe` is the command `initprobe`."""

from initprobe.cli.app import program

program()
