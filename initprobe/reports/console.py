"""Consoles: text for a terminal of known size, a pipe, or a string."""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.segment import Segment
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from initprobe.formatting import visible
from initprobe.reports.encoding import showable

_WIDEST = 1000
_NARROWEST = 80
_AROUND = 16  # lines that stand above and below a table
_FEWEST_ROWS = 20  # however low a terminal is
_MOST_ROWS = 100  # of a text that no terminal limits
_CONTINUED = " \\"  # at the end of a line of a command that goes on
LABEL = 10  # columns of the word that a line begins with
# Red, green and yellow of HTML; the others are not used. Mixed with the colour of the text, which is black or white.
_GREY, _RED, _GREEN, _YELLOW = (128, 128, 128), (224, 49, 49), (43, 138, 62), (214, 137, 16)
_COLOURS = TerminalTheme((255, 255, 255), (0, 0, 0), [_GREY, _RED, _GREEN, _YELLOW, *[_GREY] * 4])
_COLOUR = re.compile(r'<span style="color: (#[0-9a-f]{6}); text-decoration-color: #[0-9a-f]{6}')


class _Visible:
    """A renderable whose text shows control characters as escapes; those of styles are Rich's own."""

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, to: RichConsole, options: ConsoleOptions) -> Iterator[Segment]:
        for part in to.render(self._inner, options):
            yield part if part.control else Segment(visible(part.text, breaks=True), part.style)


class _EscapesControls(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Visible(renderable) for renderable in renderables]


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
        """Raise, so that the command line decides; Rich would exit with 1.

        Raises:
            BrokenPipeError: always.
        """
        raise BrokenPipeError


def console(file: IO[str], *, color: bool | None = None, wrap: bool = False, markup: bool = False) -> Console:
    """Make a console for a file.

    Control characters are printed as escapes.

    Args:
        file: open for writing.
        color: whether to use colours; None lets Rich decide.
        wrap: fold words into 80 columns, or as many as a terminal has.
        markup: whether brackets in printed text are Rich's markup.
    """
    probe = RichConsole(file=file, force_jupyter=False)
    folded = max(probe.width, _NARROWEST) if probe.is_terminal else _NARROWEST
    plain = None if color is None else not color
    # Without a height, Rich ignores the width on a dumb terminal. In a notebook it would ignore the file.
    made = Console(
        file=file,
        width=folded if wrap else _WIDEST,
        height=probe.height,
        highlight=False,
        no_color=plain,
        force_jupyter=False,
        markup=markup,
        emoji=False,
    )
    made.push_render_hook(_EscapesControls())
    if file.isatty() or "COLUMNS" in os.environ:
        made.row_width = probe.width
    if not file.isatty():  # a pipe stays a pipe, even with forced colours
        return made
    if probe.width > 2 * LABEL:
        made.fold = probe.width
    made.most_rows = max(probe.height - _AROUND, _FEWEST_ROWS)
    return made


def plain(prints: Callable[[Console], None], width: int | None = None) -> str:
    """What a function prints, without colour, in characters that standard output can show.

    Args:
        prints: prints to a console.
        width: columns into which sentences are folded; None for no limit.
    """
    to = _kept(width)
    prints(to)
    return showable(to.export_text(), getattr(sys.stdout, "encoding", None))


def markup(prints: Callable[[Console], None], width: int) -> str:
    """What a function prints, as HTML for a `pre` element. Its colours are legible on white and on black.

    Args:
        prints: prints to a console.
        width: columns into which sentences are folded.
    """
    to = _kept(width)
    prints(to)
    text = to.export_html(theme=_COLOURS, code_format="{code}", inline_styles=True)
    return _COLOUR.sub(r'<span style="color: color-mix(in srgb, \1 70%, currentColor)', text)


def _kept(width: int | None) -> Console:
    """A console that keeps what is printed to it, and prints it nowhere."""
    look: dict[str, Any] = {"color_system": None, "force_terminal": False, "force_jupyter": False, "markup": False}
    made = Console(
        file=io.StringIO(), record=True, width=_WIDEST, height=_MOST_ROWS, highlight=False, emoji=False, **look
    )
    made.push_render_hook(_EscapesControls())
    made.fold = None if width is None else max(width, 2 * LABEL)
    made.most_rows = _MOST_ROWS
    return made


def say(text: Text, to: Console, indent: int = LABEL) -> int:
    """Print lines in full, or folded with an indent. A fix can be copied: a command has backslashes at its folds.

    Args:
        text: may have several lines.
        to: the console.
        indent: spaces before the second part of a folded line.

    Returns:
        The number of printed lines.
    """
    count = 0
    for line in text.split("\n", allow_blank=True):
        for part in [line] if to.fold is None else _parts(line, to.fold, to, indent):
            to.print(part, soft_wrap=True)
            count += 1
    return count


def say_labelled(label: str, words: str, to: Console) -> None:
    """Print words after a bold label.

    Args:
        label: of at most nine letters.
        words: what it says; control characters are shown as escapes.
        to: the console.
    """
    say(Text.assemble((f"{label:<{LABEL}}", "bold"), visible(words)), to)


def _parts(line: Text, width: int, to: Console, indent: int) -> Iterable[Text]:
    """The lines of a folded line; code of a fix is never folded."""
    label = line.plain[:LABEL]
    if label.strip() not in ("fix", "option"):
        return _folded(line, width, to, indent)
    if not line.plain[LABEL:].startswith("initprobe "):
        return [line]
    first, *others = command_lines(line.plain[LABEL:], width - LABEL)
    return [line[:LABEL] + Text(first), *(Text(" " * LABEL + other) for other in others)]


def command_lines(command: str, width: int) -> list[str]:
    """A command in lines of at most that width, never folded between an option and its value.

    Args:
        command: as for a shell.
        width: columns per line, with the backslash at its end.

    Returns:
        The lines; all but the last end with a backslash, so that they can be copied.
    """
    try:
        words = [shlex.quote(word) for word in shlex.split(command)]
    except ValueError:  # no command of a shell
        return [command]
    lines = [""]
    for place, group in enumerate(groups := _options(words)):
        room = width if place == len(groups) - 1 else width - len(_CONTINUED)
        if lines[-1] and len(lines[-1]) + 1 + len(group) > room:
            lines[-1] += _CONTINUED
            lines.append(group)
        else:
            lines[-1] = f"{lines[-1]} {group}".lstrip()
    return lines


def _options(words: Iterable[str]) -> list[str]:
    """The words of a command, each option together with its value."""
    groups: list[str] = []
    for word in words:
        is_value = groups and re.fullmatch(r"--\S+", groups[-1]) and not word.startswith("--")
        groups = [*groups[:-1], f"{groups[-1]} {word}"] if is_value else [*groups, word]
    return groups


def _folded(line: Text, width: int, to: Console, indent: int) -> Iterator[Text]:
    """Fold a line into lines of at most that width, indented after the first."""
    first, *others = line.wrap(to, width)
    parts = [first]
    if others:
        start = len(line.plain) - len(line.plain[len(first) :].lstrip())
        parts += [Text(" " * indent) + part for part in line[start:].wrap(to, width - indent)]
    for part in parts:
        part.rstrip()
        yield part
