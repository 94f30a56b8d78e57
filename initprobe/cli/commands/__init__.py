"""The commands of `initprobe`, one file each; the file names are the command names.

A file holds a docstring, a dataclass of options, and a function `command` that takes it. The docstring is the help;
`initprobe --help` shows its first line. The function only parses, calls another room and prints. Start reading in
`run.py`; to add a command, copy `show.py`.
"""
