"""GitHub's Markdown: literal text, and rows of tables."""

from __future__ import annotations

import re
from collections.abc import Sequence

from initprobe.formatting import visible

_SIGNS = re.compile(r"[\\`*\[\]<|@]")


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(map(markdown_text, cells))} |"


def markdown_text(text: str) -> str:
    """Literal text: nothing in it is markup, ends a cell or ends a line."""
    return _SIGNS.sub(lambda sign: f"\\{sign[0]}", visible(text))
