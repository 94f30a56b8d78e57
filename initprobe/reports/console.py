"""Where text goes: a terminal, whose size counts, a pipe, or a string."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import IO, Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.segment import Segment
from rich.text import Text

from initprobe.formatting import visible

_WIDEST = 1000
_NARROWEST = 80
_AROUND = 16  # lines that stand above and below a table
_FEWEST_ROWS = 20  # however low a terminal is
_MOST_ROWS = 100  # of a text that no terminal limits
LABEL = 10  # columns of the word that a line begins with


class _Visible:
    """Something that is drawn with the control characters of its text as escapes; those of styles are Rich's own."""

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, to: RichConsole, options: ConsoleOptions) -> Iterator[Segment]:
        for part in to.render(self._inner, options):
            yield part if part.control else Segment(visible(part.text, breaks=True), part.style)


class _EscapesControls(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Visible(one) for one in renderables]


class Console(RichConsole):
    """A console that never crops a number: lines of a table keep their length.

    Attributes:
        fold: the width below which sentences are folded; None for a pipe, whose lines are not folded.
        most_rows: rows beyond which the middle of a table is left out; None for a pipe, which gets them all.
        row_width: columns of the longest row of a table; None for a pipe without `COLUMNS`.
    """

    fold: int | None = None
    most_rows: int | None = None
    row_width: int | None = None

    def on_broken_pipe(self) -> None:
        """Let the program say what it means; Rich would exit with 1."""
        raise BrokenPipeError


def console(file: IO[str], *, color: bool | None = None, wrap: bool = False, markup: bool = False) -> Console:
    """A console for a file; `wrap` folds words into 80 columns, or as many as a terminal has.

    Text is printed as it is, without a meaning for brackets unless `markup`, and with control characters as escapes.
    """
    probe = RichConsole(file=file, force_jupyter=False)
    folded = max(probe.width, _NARROWEST) if probe.is_terminal else _NARROWEST
    plain = None if color is None else not color
    # Rich ignores a width without a height on a dumb terminal, and would show a notebook what is for a file.
    found = Console(
        file=file,
        width=folded if wrap else _WIDEST,
        height=probe.height,
        highlight=False,
        no_color=plain,
        force_jupyter=False,
        markup=markup,
        emoji=False,
    )
    found.push_render_hook(_EscapesControls())
    if file.isatty() or "COLUMNS" in os.environ:
        found.row_width = probe.width
    if not file.isatty():  # a pipe into which colours are forced is a pipe
        return found
    if probe.width > 2 * LABEL:
        found.fold = probe.width
    found.most_rows = max(probe.height - _AROUND, _FEWEST_ROWS)
    return found


def text_console(width: int | None) -> tuple[Console, io.StringIO]:
    """A console whose text is kept, without colour; sentences are folded into so many columns, if any."""
    out = io.StringIO()
    plain: dict[str, Any] = {"color_system": None, "force_terminal": False, "force_jupyter": False, "markup": False}
    found = Console(file=out, width=_WIDEST, height=_MOST_ROWS, highlight=False, emoji=False, **plain)
    found.push_render_hook(_EscapesControls())
    found.fold = None if width is None else max(width, 2 * LABEL)
    found.most_rows, found.row_width = _MOST_ROWS, found.fold
    return found, out


def say(text: Text, to: Console) -> int:
    """Print lines in full, or folded below their own text; give how many there were.

    A fix is left whole, so that it can be copied.
    """
    count = 0
    for line in text.split("\n", allow_blank=True):
        folded = to.fold is not None and not line.plain.startswith("fix ")
        for part in _folded(line, to.fold or _WIDEST, to) if folded else [line]:
            to.print(part, soft_wrap=True)
            count += 1
    return count


def _folded(line: Text, width: int, to: Console) -> Iterator[Text]:
    """A line in lines of that width at most, those after the first indented."""
    first, *others = line.wrap(to, width)
    parts = [first]
    if others:
        parts += [Text(" " * LABEL) + part for part in line[len(first) :].wrap(to, width - LABEL)]
    for part in parts:
        part.rstrip()
        yield part
