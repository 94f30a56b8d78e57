"""The figure of `initprobe compare`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from initprobe.reports.cells import compared_names
from initprobe.reports.figures.profiles import finish_profile_axes
from initprobe.reports.figures.result_data import Profile, profiles
from initprobe.reports.figures.style import BLACK, COLORS, DASHES, MARKERS, blank_figure, style
from initprobe.reports.figures.titles import centred
from initprobe.results.run import ProbeResult

_COLUMNS = 4  # of the legend
_MOST_NAMED = 8  # lines that are named at their ends
_ROOM, _LINE, _LONGEST = 1.9, 0.17, 30  # inches for names, and of a line of them; letters of a name
_TITLES = ("output h", "gradient dL/dh")


def draw_comparison(results: Sequence[ProbeResult]) -> Figure:
    """Depth profiles of the variances of h and dL/dh: a line per result, predictions dotted.

    A few lines of h are also named at their ends, which distinguishes equal curves.
    """
    with style():
        columns = _columns(results)
        rows = math.ceil((len(results) + 1) / columns)
        height = 4.9 + 0.22 * rows
        named = len(results) <= _MOST_NAMED
        room = _ROOM if named else 0.0
        figure = blank_figure(13 + room, height)
        shared, width = results[0].description, 13 + room
        centred(figure, 0.26, "Variance by layer", fontsize=14, weight="bold")
        centred(figure, 0.55, f"{shared.shape} | {shared.setting}", fontsize=10, color="#333333")
        bottom, top = (0.65 + 0.22 * rows) / height, 1 - 1.05 / height
        for index, left in enumerate((0.8, 7.2 + room)):
            axes = figure.add_axes((left / width, bottom, 5.6 / width, top - bottom))
            ends = _draw_overlaid(axes, results, index)
            if index == 0:
                handles, labels = axes.get_legend_handles_labels()
                figure.legend(handles, labels, frameon=False, fontsize=9, ncols=columns, loc="lower center")
                if named:
                    _name_ends(axes, ends)
        return figure


def _columns(results: Sequence[ProbeResult]) -> int:
    """Columns of the legend, so that it fits the width."""
    longest = max(len(_label(result, profiles(result)[0])) for result in results)
    return max(1, min(_COLUMNS, int(12.5 / (0.075 * longest + 0.6))))


def _label(result: ProbeResult, profile: Profile) -> str:
    """Initializer and activation, and where the line ends: `he + relu (overflow from layer 14)`."""
    name = " + ".join(compared_names(result).values())
    gap = next(iter(profile.gaps), None)
    if gap is None:
        return name
    return f"{name} ({gap.words if gap.is_whole else f'{gap.why} from layer {gap.first}'})"


End = tuple[float, str, str]  # log10 at the last layer, name, colour


def _draw_overlaid(axes: Axes, results: Sequence[ProbeResult], index: int) -> list[End]:
    """Draw the profile number `index` (0 is h, 1 is dL/dh) of each result; return where the lines end."""
    ends = []
    for number, result in enumerate(results):
        profile = profiles(result)[index]
        dashes, color = divmod(number, len(COLORS))
        pattern = DASHES[dashes % len(DASHES)]
        # Equal curves show their markers in turn.
        step = max(len(profile.layers) // 10, 1)
        look: dict[str, Any] = {
            "marker": MARKERS[number % len(MARKERS)],
            "ms": 6,
            "markevery": (number % (2 * step), 2 * step),
        }
        (line,) = axes.plot(profile.layers, profile.log10, color=COLORS[color], ls=pattern, lw=1.8, **look)
        line.set_label(_label(result, profile))
        name = " + ".join(compared_names(result).values())
        axes.plot(profile.layers, profile.predicted, color=BLACK, lw=0.9, ls=":")
        if np.isfinite(profile.log10[-1]):
            ends.append((float(profile.log10[-1]), name, COLORS[color]))
    axes.plot([], [], color=BLACK, lw=0.9, ls=":", label="theory")
    axes.set_title(_TITLES[index], fontsize=11)
    finish_profile_axes(axes, max(len(result.layers) for result in results))
    return ends


def _name_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Name lines at the right of the axes, in their order and without overlap."""
    low, high = axes.get_ylim()
    height = axes.bbox.height / axes.figure.dpi
    line = _LINE / height * (high - low)
    places: list[float] = []
    for value, _, _ in (ordered := sorted(ends)):
        places.append(max(value, places[-1] + line) if places else value)
    if places and (above := places[-1] - high) > 0:  # pushed beyond the top: all that touch go down
        places[-1] -= above
        for number in range(len(places) - 2, -1, -1):
            places[number] = min(places[number], places[number + 1] - line)
    for place, (value, name, color) in zip(places, ordered, strict=True):
        right = axes.get_xlim()[1]
        axes.plot([right, right + 0.02 * right], [value, place], color=color, lw=0.8, clip_on=False)
        words = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."
        axes.annotate(words, (1.025, place), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=color)
