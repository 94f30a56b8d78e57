"""What several test files share."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from initprobe.cli.app import main


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def initprobe(capsys, tmp_path, monkeypatch):
    """Run `initprobe ARGS...` in an empty directory, as a terminal-less user would."""
    monkeypatch.chdir(tmp_path)

    def call(*args):
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, captured.err)

    return call


def files_below(directory: Path) -> set[str]:
    """Every file below a directory, by its path from there."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
