"""What others wrote, as text that is safe and short to show: in errors, in tables, on a terminal."""

from __future__ import annotations

import re

# Control characters drive terminals; line breaks forge lines; marks of direction reorder what is read; halves of
# surrogate pairs, which stand for bytes of a path that are not UTF-8, cannot be written.
_UNSEEN = "\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
_CONTROL = re.compile(f"[{_UNSEEN}]")
# A line that begins with `::`, or holds `##[`, is a command to GitHub's runners.
_COMMAND = re.compile(r"\A\s*:(?=:)|#(?=#\[)")
_CONTROL_BUT_BREAKS = re.compile(f"(?!\n)[{_UNSEEN}]")
MOST = 80
_LONGEST_WORD, _LONGEST_MESSAGE = 256, 800


def visible(text: str, breaks: bool = False) -> str:
    """The text with control characters as escapes such as `\\x1b`; line breaks stay if `breaks`.

    What a CI service would take for a command to it is escaped too.
    """
    seen = (_CONTROL_BUT_BREAKS if breaks else _CONTROL).sub(_escape, text)
    return _COMMAND.sub(lambda found: f"{found[0][:-1]}\\x{ord(found[0][-1]):02x}", seen)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def shown(text: object, most: int = MOST) -> str:
    """What was given, visible and in about `most` characters: both ends of a longer text, and its length."""
    whole = str(text)
    if len(whole) <= most:
        return visible(whole)
    end = most // 4
    return f"{visible(whole[: most - end])}...{visible(whole[-end:])} ({len(whole):,} characters)"


def message(text: str) -> str:
    """A message as one line, whatever of a user's text it holds: visible, with long words and long wholes cut."""
    line = " ".join(text.splitlines())
    line = re.sub(rf"\S{{{_LONGEST_WORD + 1},}}", lambda word: shown(word[0]), line)
    return shown(line, _LONGEST_MESSAGE)
