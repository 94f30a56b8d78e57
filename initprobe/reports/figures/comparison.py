"""The figure of `initprobe compare`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initprobe.arrays import Array
from initprobe.reports.cells import shared_words, short_names_of
from initprobe.reports.figures.look import SCREEN, Look
from initprobe.reports.figures.panel_grid import Key, PanelSizes, make_grid
from initprobe.reports.figures.profiles import finish_profile_axes
from initprobe.reports.figures.result_data import Profile, profiles
from initprobe.reports.figures.style import BLACK, COLORS, DASHES, MARKERS, points, style
from initprobe.results.run import ProbeResult

_PANEL, _GAP, _BELOW = (5.6, 3.4), 0.8, 0.95  # inches: of a panel, between two, and below one
_LONGEST_LABEL = 160  # characters of a name in the legend, which folds it
_MOST_NAMED = 8  # lines that are named at their ends
_ROOM, _LINE, _LONGEST = 1.9, 0.17, 30  # inches for names, and of a line of them; letters of a name
_TITLES = ("output h", "gradient dL/dh")


def draw_comparison(results: Sequence[ProbeResult], look: Look = SCREEN) -> Figure:
    """Depth profiles of the variances of h and dL/dh: a line per result, predictions dotted.

    A few lines of h are also named at their ends on a screen, which distinguishes equal curves.

    Args:
        results: one per experiment.
        look: size, title, panels per row and style.
    """
    on_paper = look.style == "paper"
    is_named = len(results) <= _MOST_NAMED and not on_paper
    across, columns = _GAP + (_ROOM if is_named else 0.0), 1 if on_paper else 2
    sizes = PanelSizes(2, columns, *_PANEL, across=across, between=_BELOW)
    names, shared = short_names_of(results)
    notes = [*shared, *shared_words(results)]
    with style(look.settings):
        grid = make_grid(
            "Variance by layer", notes, sizes, list(_keys(results, names)), longest=_LONGEST_LABEL, look=look
        )
        for index, axes in enumerate(grid.axes):
            ends = _draw_overlaid(axes, results, names, index)
            if is_named and index == 0:
                _name_ends(axes, ends)
        return grid.figure


def _keys(results: Sequence[ProbeResult], names: Sequence[str]) -> Iterator[Key]:
    for number, result in enumerate(results):
        yield Line2D([], [], lw=1.8, **_line_look(number)), _label(names[number], profiles(result)[0])
    yield Line2D([], [], color=BLACK, lw=0.9, ls=":"), "theory"


def _line_look(number: int) -> dict[str, Any]:
    """Colour, dashes and marker of the line of a result."""
    dashes, color = divmod(number, len(COLORS))
    markers = {"marker": MARKERS[number % len(MARKERS)], "ms": 6}
    return {"color": COLORS[color], "ls": DASHES[dashes % len(DASHES)], **markers}


def _label(name: str, profile: Profile) -> str:
    """Initializer and activation, and where the line ends: `he + relu (overflow from layer 14)`."""
    gap = next(iter(profile.gaps), None)
    if gap is None:
        return name
    return f"{name} ({gap.words if gap.is_whole else f'{gap.why} from layer {gap.first}'})"


End = tuple[float, str, str]  # log10 at the last layer, name, colour


def _draw_overlaid(axes: Axes, results: Sequence[ProbeResult], names: Sequence[str], index: int) -> list[End]:
    """Draw the profile number `index` (0 is h, 1 is dL/dh) of each result; return where the lines end."""
    ends = []
    for number, result in enumerate(results):
        profile = profiles(result)[index]
        step = max(len(profile.layers) // 10, 1)
        # Markers in turn; a point alone is nothing but its marker.
        turn = None if np.isfinite(profile.log10).sum() == 1 else (number % (2 * step), 2 * step)
        look = {"lw": 1.8, "markevery": turn, **_line_look(number)}
        axes.plot(profile.layers, profile.log10, **look)
        axes.plot(profile.layers, profile.predicted, color=BLACK, lw=0.9, ls=":")
        if np.isfinite(profile.log10[-1]):
            ends.append((float(profile.log10[-1]), names[number], str(look["color"])))
    axes.set_title(_TITLES[index], fontsize=points(11))
    _fit_to([profiles(result)[index].log10 for result in results], axes)
    finish_profile_axes(axes, max(len(result.layers) for result in results))
    return ends


def _fit_to(logs: Sequence[Array], axes: Axes) -> None:
    """Fit the axis to what was measured: theory goes on where the dtype lost the rest."""
    finite = np.concatenate([each[np.isfinite(each)] for each in logs])
    if len(finite):
        low, high = float(finite.min()), float(finite.max())
        room = 0.06 * max(high - low, 1.0)
        axes.set_ylim(low - room, high + room)


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
        axes.annotate(
            words, (1.025, place), xycoords=("axes fraction", "data"), va="center", fontsize=points(9), color=color
        )
