"""Whole commands beside the imports that they cannot do without, in pairs, as a user has them: with compiled files.

`python -m pytest -m benchmark -s tests/benchmarks` prints the tables. They never fail on an absolute time.
"""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

resource = pytest.importorskip("resource")

PAIRS = 9
CLICK = "import click; click.Command('x', help='x').main(['--help'])"
FIGURE = "import numpy, matplotlib.figure"
RUN = ("run", "--init", "xavier", "--act", "tanh", "--layers", "10")


@dataclass(frozen=True)
class Pair:
    """A command, and the program whose time it is divided by; `aim` is the ratio of wall times to reach."""

    name: str
    words: tuple[str, ...]
    beside: str
    aim: float


COMMANDS = [
    Pair("--help beside bare click", ("--help",), CLICK, 2.0),
    Pair("README command beside the imports of a figure", RUN, FIGURE, 2.5),
    Pair("small run beside the imports of a figure", (*RUN, "--width", "50", "--no-figures"), FIGURE, 2.5),
]


def seconds(words, folder, compiled):
    """Wall and processor time of a Python process, its own processes included."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(compiled)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=folder, env=environment)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.benchmark
@pytest.mark.parametrize("pair", COMMANDS, ids=lambda pair: pair.name)
def test_command_beside_imports(pair, tmp_path):
    programs = [["-m", "initprobe", *pair.words], ["-c", pair.beside]]
    compiled = tmp_path / "compiled"
    for words in programs:  # which writes the compiled files
        seconds(words, tmp_path, compiled)
    times = [[], []]
    for number in range(PAIRS):
        for index in (0, 1) if number % 2 else (1, 0):
            times[index].append(seconds(programs[index], tmp_path, compiled))
    print(f"\n{pair.name}, {PAIRS} pairs; aim at most {pair.aim} in wall time")
    for kind, place in (("wall", 0), ("processor", 1)):
        ours, theirs = ([entry[place] for entry in series] for series in times)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        medians = (statistics.median(ours) * 1e3, statistics.median(theirs) * 1e3)
        print(f"{kind:10}{medians[0]:8.0f} ms{medians[1]:8.0f} ms   median ratio {ratio:.2f}")
