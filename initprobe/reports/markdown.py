"""Text and rows of tables in GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from initprobe.formatting import visible

_SIGNS = re.compile(r"[\\`*\[\]<|@]")


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(map(markdown_text, cells))} |"


def markdown_text(text: str) -> str:
    """Text as such: no markup of its own, no end of a cell or of a line."""
    return _SIGNS.sub(lambda found: f"\\{found[0]}", visible(text))
