"""The part of a profile of logs that changes most at a steady rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from initprobe.arrays import Array

_ROUNDING = 1e-9  # far above that of a change
_LENGTHS_AT_A_TIME = 64  # so that a long profile needs little memory


def decades(value: float) -> float:
    """The log to base 10; NaN for what is 0 or not finite."""
    return math.log10(value) if value > 0 and math.isfinite(value) else math.nan


@dataclass(frozen=True)
class Trend:
    """The part of a profile that changes most at a steady rate.

    Attributes:
        start: place in the profile where it begins.
        end: place where it ends.
        rate: decades per step: the median of the slopes of all pairs in the part (Theil 1950, Sen 1968).
        decades: the rate of the slower half of the part, times all its steps. For an exponential that is the whole
            change, for `1/l` at most 0.6 of it.
    """

    start: int
    end: int
    rate: float
    decades: float

    @property
    def steps(self) -> int:
        """Steps in the part."""
        return self.end - self.start


def sustained(profile: Sequence[float], sign: int, least: int = 2, floor: float = 0.0) -> Trend | None:
    """The steadiest change of a profile in one direction.

    Args:
        profile: a log to base 10 at each place; NaN where it is not known.
        sign: 1 for growth, -1 for decay.
        least: fewest steps of the part.
        floor: decades of the part from which it counts.

    Returns:
        The part, or None where nothing changes so much in this direction.
    """
    values = np.asarray(profile, dtype=float) * sign
    best = _steadiest(values, least, floor)
    if best is None:
        return None
    start, end = _trimmed(values, best, least)
    return Trend(start, end, sign * _slope(values[start : end + 1]), sign * best[0])


def _steadiest(values: Array, least: int, floor: float) -> tuple[float, int, int] | None:
    """The largest steady change of at least `floor`, with the places where it begins and ends. Of equal ones the first.

    The steady change of a part is at most its whole change, so most lengths need no closer look.
    """
    if len(values) <= least or not np.fmax.reduce(values) - np.fmin.reduce(values) >= floor * (1 - _ROUNDING):
        return None
    bounds = _largest_changes(values, least) * (1 + _ROUNDING)
    best: tuple[float, int, int] | None = None
    for index in np.argsort(-bounds, kind="stable").tolist():  # with NaN, of lengths without any change, at the end
        if not (bounds[index] > 0 and bounds[index] >= (floor if best is None else best[0])):
            break
        changes = _steady_changes(values, index + least)
        place = int(np.argmax(changes))
        part = float(changes[place]), place, place + index + least
        is_better = best is None or part[0] > best[0] or (part[0] == best[0] and part[2] - place < best[2] - best[1])
        if part[0] > 0 and part[0] >= floor and is_better:
            best = part
    return best


def _largest_changes(values: Array, least: int) -> Array:
    """The largest change over exactly `least`, `least + 1` and so on steps; NaN where none is known."""
    count = len(values) - least
    padded = np.concatenate((values[least:], np.full(count - 1, np.nan)))
    later = sliding_window_view(padded, len(values) - least)  # row k: the values `least + k` steps later
    blocks = range(0, count, _LENGTHS_AT_A_TIME)
    return np.concatenate(
        [np.fmax.reduce(later[first : first + _LENGTHS_AT_A_TIME] - values[:count], axis=1) for first in blocks]
    )


def _steady_changes(values: Array, steps: int) -> Array:
    """For each part of so many steps, the rate of its slower half times the steps. 0 where the halves disagree."""
    starts, ends = values[:-steps], values[steps:]
    changes = np.full(len(starts), np.inf)
    for half in {steps // 2, steps - steps // 2}:
        middles = values[half : len(values) - (steps - half)]
        early, late = (middles - starts) / half, (ends - middles) / (steps - half)
        changes = np.minimum(changes, np.minimum(early, late) * steps)
    return np.where(np.isfinite(changes), changes, 0.0)


def _trimmed(values: Array, part: tuple[float, int, int], least: int) -> tuple[int, int]:
    """The part without steps at its ends that are less than half as steep as its average."""
    total, start, end = part
    rate = total / (end - start)
    while end - start > least and values[start + 1] - values[start] < rate / 2:
        start += 1
    while end - start > least and values[end] - values[end - 1] < rate / 2:
        end -= 1
    return start, end


def _slope(values: Array) -> float:
    """The median slope of all pairs."""
    places = np.arange(len(values))
    first, second = np.triu_indices(len(values), 1)
    return float(np.median((values[second] - values[first]) / (places[second] - places[first])))
