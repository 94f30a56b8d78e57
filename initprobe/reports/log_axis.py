"""Ticks of an axis of log10 values, for figures and for HTML pages."""

from __future__ import annotations

import math

from initprobe.formatting import power

_FEW_DECADES, _MOST_TICKS = 2.5, 8
_PLAIN = 3  # powers of ten up to here are written in full
_FLOAT_DECADES = 300
_HALVES = tuple(number / 2 for number in range(2, 20))
_FINE = tuple(number / 20 for number in range(20, 200))
_DIGITS = ((1, 2, 5), (1, 1.5, 2, 3, 5, 7), _HALVES, _FINE)


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks on a log10 axis.

    Over many decades they are whole powers at even steps, else digits as fine as three ticks need. `logTicks` in
    charts.js has the same rule.

    Args:
        low, high: ends of the axis, as log10.
    """
    if high - low < _FEW_DECADES:
        for digits in _DIGITS:
            places = [k + math.log10(m) for k in range(math.floor(low) - 1, math.ceil(high) + 1) for m in digits]
            if len(ticks := [place for place in places if low <= place <= high]) > 2:
                break
        return ticks
    step = max(math.ceil((high - low) / _MOST_TICKS), 1)
    return [float(k) for k in range(math.ceil(low), math.floor(high) + 1) if k % step == 0]


def power_of_ten(log10: float) -> int | None:
    """The exponent of a tick that is written as a power of ten. None for one that is written as a plain number."""
    exponent = round(log10)
    return exponent if abs(log10 - exponent) < 1e-9 and abs(exponent) > _PLAIN else None


def plain_number(log10: float) -> str:
    """The number of a tick in digits."""
    return f"{10**log10:.5g}" if abs(log10) < _FLOAT_DECADES else power(log10)
