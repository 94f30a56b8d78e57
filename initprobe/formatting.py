"""Numbers, names and foreign text, made short and safe to show in errors, in tables and on a terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

# Control characters change the terminal, line breaks forge lines, and marks of direction reorder text. Halves of
# surrogate pairs, which stand for bytes of a path that are not UTF-8, cannot be written.
_UNSEEN = "\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
_CONTROL = re.compile(f"[{_UNSEEN}]")
# A line that begins with `::`, or holds `##[`, is a command to GitHub's runners.
_COMMAND = re.compile(r"\A\s*:(?=:)|#(?=#\[)")
_CONTROL_BUT_BREAKS = re.compile(f"(?!\n)[{_UNSEEN}]")
MOST, MOST_NAMES = 80, 4
_LONGEST_WORD, _LONGEST_MESSAGE = 256, 800


def visible(text: str, breaks: bool = False) -> str:
    """The text with control characters as escapes such as `\\x1b`.

    Text that a CI service would read as a command is escaped too.

    Args:
        text: from anywhere.
        breaks: keep line breaks.
    """
    escaped = (_CONTROL_BUT_BREAKS if breaks else _CONTROL).sub(_escape, text)
    return _COMMAND.sub(lambda match: f"{match[0][:-1]}\\x{ord(match[0][-1]):02x}", escaped)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def shown(text: object, most: int = MOST) -> str:
    """The visible text in about `most` characters; of a longer text both ends and its length.

    Args:
        text: is converted with `str`.
        most: number of characters, about.

    Returns:
        The whole text if it is short; else both ends and its length.
    """
    whole = str(text)
    if len(whole) <= most:
        return visible(whole)
    end = most // 4
    return f"{visible(whole[: most - end])}...{visible(whole[-end:])} ({len(whole):,} characters)"


def message(text: str) -> str:
    """A message as one visible line, with long words and long lines cut. It may quote any text of the user."""
    line = " ".join(text.splitlines())
    line = re.sub(rf"\S{{{_LONGEST_WORD + 1},}}", lambda word: shown(word[0]), line)
    return shown(line, _LONGEST_MESSAGE)


NOTHING = "-"
_LONG_NUMBER = re.compile(r"\d+\.\d{6,}(e[-+]?\d+)?")
BLOCKS = " ▁▂▃▄▅▆▇█"


def short(value: float | None, log10: float | None = None) -> str:
    """Three significant digits, two below 0.01, all from 1,000 on: `0.0517`, `72.2`, `1.8e-13`; `-` for None.

    At most 8 characters, and a sign.

    Args:
        value: None where there is no number, or where no float can hold it.
        log10: magnitude of a value that no float can hold.
    """
    if value is None:
        return NOTHING if log10 is None else power(log10)
    size = abs(value)
    if value == 0:
        return "0"
    # The exponent is that of the rounded number: 0.9995 is 1.00.
    exponent = int(f"{size:.2e}".partition("e")[2]) if math.isfinite(size) else 0
    if exponent < -3 or not size < 99_950:
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return f"{value:.{min(max(2 - exponent, 0), 4)}f}"


def short_of(log10: float) -> str:
    """As `short`, for a number given by its log10, which may be beyond the float range; -inf stands for 0."""
    if log10 == -math.inf:
        return "0"
    return short(10**log10 if abs(log10) < 300 else None, log10)


def power(log10: float) -> str:
    """Two significant digits of the number with this log10, also where no float can hold it: `9.6e-400`."""
    exponent = math.floor(log10)
    digits = f"{10 ** (log10 - exponent):.1f}"
    return f"1.0e{exponent + 1}" if digits == "10.0" else f"{digits}e{exponent}"


def trimmed(value: object, digits: int = 6) -> str:
    """A value as text, with long numbers rounded to `digits` significant digits.

    Args:
        value: is converted with `str`.
        digits: significant digits of a long number.
    """
    return _LONG_NUMBER.sub(lambda match: f"{float(match[0]):.{digits}g}", str(value))


def percent(share: float | None) -> str:
    """A share as a percentage, `-` for None, `<0.1` for a share too small to print but not 0."""
    if share is None:
        return NOTHING
    return "<0.1" if 0 < share < 5e-4 else f"{100 * share:.1f}".replace("100.0", "100")


def percent_change(size: float) -> str:
    """A change in percent: `8.87%`, `1,012%`, or with a power of ten where the number is longer."""
    return f"{100 * size:,.0f}%" if 10 <= size < 1e4 else f"{100 * size:.3g}%"


def factor(ratio: float) -> str:
    """A ratio as a factor: `x3.10`, `x0.133`."""
    return f"x{short(ratio)}"


def factor_of(log10: float) -> str:
    """As `factor`, for a ratio given by its log10, which may be beyond the float range: `x10^400`."""
    return factor(10**log10) if abs(log10) < 300 else f"x10^{log10:.0f}"


_UNITS_S = (("days", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def duration(seconds: float) -> str:
    """A time in the largest unit that gives at least 2: `90 s`, `40 min`, `3 h`, `5 days`."""
    name, size = next((unit for unit in _UNITS_S if seconds >= 2 * unit[1]), _UNITS_S[-1])
    count = seconds / size
    return f"{count:,.0f} {name}" if count < 1e6 else f"{short(count)} {name}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number and its noun: `1 run`, `2 runs`, `1,000 runs`.

    Args:
        count: the number.
        noun: in the singular.
        plural: needed where it is not the noun with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def fixed(value: float, decimals: int) -> str:
    """A number with so many decimals, `1.4142`; a very small or large one as `short` writes it.

    Args:
        value: of any size.
        decimals: digits behind the point.
    """
    least = 10.0**-decimals if decimals else 0
    if value == 0 or least <= abs(value) < 1e4:
        return f"{value:.{decimals}f}"
    return short(value)


def sparkline(shares: Sequence[float]) -> str:
    """Heights as block characters; every share above 0 is visible."""
    top = max(shares, default=0)
    if top <= 0:
        return " " * len(shares)
    return "".join(BLOCKS[math.ceil(8 * share / top) if share > 0 else 0] for share in shares)


# A part of a qualified name that is a number, as of a block; not the 1 in fc1.
NUMBER_IN_NAME = re.compile(r"(?<![^.])[0-9]+(?![^.])")


def without_numbers(name: str) -> str:
    """A qualified name with `*` for each part that is a number: `h.*.fc.weight` for `h.3.fc.weight`."""
    return NUMBER_IN_NAME.sub("*", name)


def role(name: str) -> str:
    """A name without the numbers of blocks, equal in all blocks: `blocks.*.fc` for `blocks.3.fc`.

    A number at the end is a place in the block if there is another: `blocks.*.0` for `blocks.3.0`.
    """
    plain = name.partition("#")[0]
    block, _, last = plain.rpartition(".")
    is_place = last.isdigit() and NUMBER_IN_NAME.search(block)
    return f"{without_numbers(block)}.{last}" if is_place else without_numbers(plain)


def listed(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """Names with commas between them: `a, b and 3 more`.

    Args:
        names: in the order of the text.
        most: names that are written out.
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
