"""Characters beyond ASCII, and their substitutes for terminals that cannot show them."""

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
# No quotes and no commas: JSON and CSV stay valid.
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
    "…": "~",  # of the same width: columns stay aligned
    "\N{NO-BREAK SPACE}": " ",
}
REPLACED = "initprobe.ascii"  # the error handler's name


def _ascii_of(character: str) -> str:
    """The ASCII substitute of a character; where there is none, its escape in JSON."""
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
    """The text with substitutes for characters that the encoding lacks; UTF-8 for None.

    Args:
        text, encoding: what is written, and the encoding of the stream.
    """
    return text.encode(encoding or "utf-8", REPLACED).decode(encoding or "utf-8")


def adapt(stream: TextIO, environment: Mapping[str, str] = os.environ) -> None:
    """Make a stream write substitutes for characters it cannot show, and ASCII only in the C locale.

    Args:
        stream: of text.
        environment: variables that name the locale.
    """
    if not isinstance(stream, io.TextIOWrapper):
        return
    if stream in (sys.__stdout__, sys.__stderr__) and _is_plain(environment):
        stream.reconfigure(encoding="ascii")
    stream.reconfigure(errors=REPLACED)


def _is_plain(environment: Mapping[str, str]) -> bool:
    """Whether the user asks for the C locale; Python then still writes UTF-8."""
    if environment.get("PYTHONIOENCODING") or environment.get("PYTHONUTF8"):
        return False
    coerced = environment.get("LC_CTYPE") == "C.UTF-8"  # set by Python for a C locale
    asked = environment.get("LC_ALL") or (not coerced and environment.get("LC_CTYPE")) or environment.get("LANG")
    return asked in ("C", "POSIX")
