"""A file of any size that is allowed is refused quickly, whatever makes it slow to read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sweep_files import SMALL, refusal

from initprobe.data import documents

# A second on an idle machine; tests share theirs with others.
PATIENCE_S = 5.0


def _rows(row: str, head: str = "") -> str:
    """Lines of this form, numbered, as many as a file may hold."""
    room = documents.MAX_BYTES - len(SMALL) - len(head) - 20
    lines, size, number = [], 0, 0
    while size + len(line := row.replace("#", str(number))) < room:
        lines.append(line)
        size, number = size + len(line), number + 1
    return f"{SMALL}{head}{''.join(lines)}"


SLOW = {
    "unknown keys": _rows("k#: 1\n"),
    "unknown fields": _rows("  k#: [1]\n", "grid:\n"),
    "unknown checks": _rows("  output.varianc#: [0, 1]\n", "checks:\n"),
    "unknown fields of entries": _rows("- {lyers: #}\n", "include:\n"),
    "unknown names of entries": _rows("- {init: h#}\n", "include:\n"),
    "nothing in entries": _rows("-\n", "include:\n"),
    "excluded": _rows("- {layers: #}\n", "exclude:\n"),
    "figures": _rows("- {kind: depth, valu: #}\n", "figures:\n"),
    "unknown names": _rows("  - nam#\n", "grid:\n  init:\n"),
    "aliases": _rows("- [*a, *a, *a, *a, *a]\n", "defaults: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\nfigures:\n"),
    "depth": "[" * (documents.MAX_BYTES - 9),
    "one word": SMALL + "x: " + "a" * 60_000,
    "one key": SMALL + "a" * 60_000 + ": 1",
    "a long name": f"{SMALL}grid: {{init: [{'h' * 900}]}}",
    "numbers": _rows("- [0x#, 1e#, .#]\n", "seeds:\n"),
}


# The others take the same ways through the parser.
ALWAYS = ("unknown checks", "unknown fields of entries", "aliases", "one word", "one key", "a long name")
CASES = [pytest.param(SLOW[n], id=n, marks=[] if n in ALWAYS else [pytest.mark.slow]) for n in SLOW]


@pytest.mark.parametrize("text", CASES)
def test_hostile_yaml_is_refused_quickly(tmp_path: Path, text: str) -> None:
    started = time.process_time()
    refusal(tmp_path, text)
    assert time.process_time() - started < PATIENCE_S


def test_a_larger_file_is_not_even_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "parse", lambda *_: pytest.fail("parsed"))
    assert "is larger than 64 kB" in refusal(tmp_path, SMALL + "# x\n" * 60_000)
    monkeypatch.undo()
    assert "--set grid.x" in refusal(tmp_path, SMALL, f"grid.x=[{'1,' * 60_000}1]")
