"""Characters beyond ASCII, and what stands for them on a terminal that cannot show them."""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from collections.abc import Mapping
from typing import TextIO

from initprobe.formatting import BLOCKS

ASCII_BLOCKS = " .:-=+*#@"
# Neither quotes nor commas: JSON and CSV stay what they are.
_ASCII = dict(zip(BLOCKS, ASCII_BLOCKS, strict=True)) | {
    **dict.fromkeys("─━═┄┈╌\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("│┃║┆┊╎", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰╞╡╪╔╗╚╝╠╣╦╩╬┏┓┗┛┣┫┳┻╋", "+"),
    **dict.fromkeys("\u2018\u2019\u201a\u201c\u201d\u201e", "'"),
    **dict.fromkeys("·•", "."),
    "±": "+-",
    "\N{MULTIPLICATION SIGN}": "x",
    "÷": "/",
    "²": "^2",
    "³": "^3",
    "µ": "u",
    "μ": "u",
    "\N{GREEK SMALL LETTER SIGMA}": "sigma",
    "φ": "phi",
    "χ": "chi",
    "→": "->",
    "←": "<-",
    "↔": "<->",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "∞": "inf",
    "√": "sqrt",
    "…": "~",  # as wide: columns stay straight
    "\N{NO-BREAK SPACE}": " ",
}
REPLACED = "initprobe.ascii"  # the error handler's name


def _ascii_of(character: str) -> str:
    """What stands for a character on a terminal that cannot show it; as JSON escapes it where nothing does."""
    if character in _ASCII:
        return _ASCII[character]
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    plain = plain if plain.isalnum() else ""
    pairs = character.encode("utf-16-be", "surrogatepass").hex()
    return plain or "".join(f"\\u{pairs[start : start + 4]}" for start in range(0, len(pairs), 4))


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_ascii_of, error.object[error.start : error.end])), error.end


codecs.register_error(REPLACED, _replaced)


def showable(text: str, encoding: str | None) -> str:
    """The text in characters of that encoding."""
    return text.encode(encoding or "utf-8", REPLACED).decode(encoding or "utf-8")


def adapt(stream: TextIO, environment: Mapping[str, str] = os.environ) -> None:
    """Make a stream show a plain character for one that it cannot; none beyond ASCII where the locale is plain C."""
    if not isinstance(stream, io.TextIOWrapper):
        return
    if stream in (sys.__stdout__, sys.__stderr__) and _is_plain(environment):
        stream.reconfigure(encoding="ascii")
    stream.reconfigure(errors=REPLACED)


def _is_plain(environment: Mapping[str, str]) -> bool:
    """The user asks for the C locale; Python itself then writes UTF-8 all the same, which is for its files."""
    if environment.get("PYTHONIOENCODING") or environment.get("PYTHONUTF8"):
        return False
    coerced = environment.get("LC_CTYPE") == "C.UTF-8"  # by Python, for a C locale
    asked = environment.get("LC_ALL") or (not coerced and environment.get("LC_CTYPE")) or environment.get("LANG")
    return asked in ("C", "POSIX")
