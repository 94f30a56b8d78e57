"""Numbers for people: three digits, no leading zero, never a 0 that is not one."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

NOTHING = "-"
_LONG_NUMBER = re.compile(r"\d+\.\d{6,}(e[-+]?\d+)?")
BLOCKS = " ▁▂▃▄▅▆▇█"


def short(value: float | None, log10: float | None = None) -> str:
    """Three significant digits in at most 8 characters: `.0517`, `72.2`, `1.8e-13`; `-` for None.

    `log10` gives the magnitude of a value that no float can hold.
    """
    if value is None:
        return NOTHING if log10 is None else power(log10)
    size = abs(value)
    if value == 0:
        return "0"
    if not 9.995e-4 <= size < 99_950:
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    decimals = max(2 - math.floor(math.log10(size * (1 + 5e-4))), 0)
    text = f"{value:.{decimals}f}"
    return text.replace("0.", ".", 1) if size < 1 and not text.lstrip("-").startswith("1") else text


def power(log10: float) -> str:
    exponent = math.floor(log10 + 0.02)  # .02: what rounds to 10.0 is 1.0 of the next power
    return f"{10 ** (log10 - exponent):.1f}e{exponent}"


def trimmed(value: object, digits: int = 6) -> str:
    """A value as text, the long numbers in it to so many digits."""
    return _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.{digits}g}", str(value))


def percent(share: float | None) -> str:
    """A share as a percentage, `-` for None, `<.1` for a share too small to print but not 0."""
    if share is None:
        return NOTHING
    return "<.1" if 0 < share < 5e-4 else f"{100 * share:.1f}".replace("100.0", "100")


def factor(ratio: float) -> str:
    """How a quantity changed: `x 3.1` or `/ 7.6`."""
    return f"x{short(ratio)}" if ratio >= 1 else f"/{short(1 / ratio)}"


def sparkline(shares: Sequence[float]) -> str:
    """Heights as block characters; every share that is not 0 shows."""
    top = max(shares, default=0)
    if top <= 0:
        return " " * len(shares)
    return "".join(BLOCKS[math.ceil(8 * share / top) if share > 0 else 0] for share in shares)
