"""JSON text to values; a fault is one line, with the line of the text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from initprobe.errors import InputError


def parse_json(text: str | bytes, source: str | Path) -> Any:
    """What JSON text holds.

    Args:
        text: as read from a file.
        source: the file, or another name of the text, for the error.

    Raises:
        InputError: it is not JSON; names the line.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        words = error.msg[:1].lower() + error.msg[1:]
        raise InputError(f"is not JSON: {words}", file=source, line=error.lineno) from None
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", file=source, line=1 + error.object[: error.start].count(10)) from None
    except (ValueError, RecursionError) as error:  # a number of too many digits, or too many brackets
        raise InputError(f"is not JSON: {error}", file=source) from None
