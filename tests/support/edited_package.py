"""A copy of the package with one file edited, and commands run in it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import initprobe

_DRIVER = """
import contextlib, io, json, sys
from initprobe.cli.app import main

outputs = []
for arguments in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main(arguments)
    outputs.append(said.getvalue())
print(json.dumps(outputs))
"""


def edited(directory: Path, file: str, text: str) -> Path:
    """A copy of the package in `directory`, with `text` at the end of one of its files."""
    package = Path(initprobe.__file__).parent
    shutil.copytree(package, directory / "initprobe")  # with what Python has compiled
    with (directory / "initprobe" / file).open("a", encoding="utf-8") as source:
        source.write(text)
    return directory


def printed(directory: Path, *commands: str) -> list[str]:
    """What the commands print, run one after the other by the package in `directory`."""
    arguments = json.dumps([command.split() for command in commands])
    call = [sys.executable, "-c", _DRIVER, arguments]
    return json.loads(subprocess.run(call, cwd=directory, check=True, capture_output=True, text=True).stdout)


def completed(directory: Path, line: str) -> list[str]:
    """What TAB offers for the last word of a line."""
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_INITPROBE_COMPLETE": "bash_complete"}
    call = [sys.executable, "-m", "initprobe"]
    env = os.environ | asked
    return subprocess.run(call, cwd=directory, check=True, capture_output=True, text=True, env=env).stdout.splitlines()
