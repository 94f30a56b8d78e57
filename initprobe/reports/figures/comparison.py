"""The figure of `initprobe compare`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from initprobe.reports.cells import compared_names
from initprobe.reports.figures.profiles import finish_profile_axes
from initprobe.reports.figures.result_data import profiles
from initprobe.reports.figures.style import BLACK, COLORS, DASHES, MARKERS, blank_figure, style
from initprobe.reports.figures.titles import centred
from initprobe.results.run import ProbeResult

_COLUMNS = 4  # of the legend
_TITLES = ("output h", "gradient dL/dh")


def draw_comparison(results: Sequence[ProbeResult]) -> Figure:
    """Depth profiles of the variances of h and dL/dh: a line per result, predictions dotted."""
    with style():
        rows = math.ceil((len(results) + 1) / _COLUMNS)
        height = 4.9 + 0.22 * rows
        figure = blank_figure(13, height)
        shared = results[0].description
        centred(figure, 0.26, "Variance by layer", fontsize=14, weight="bold")
        centred(figure, 0.55, f"{shared.shape} | {shared.setting}", fontsize=10, color="#333333")
        bottom, top = (0.65 + 0.22 * rows) / height, 1 - 1.05 / height
        boxes = ((0.06, bottom, 0.43, top - bottom), (0.555, bottom, 0.43, top - bottom))
        for index, box in enumerate(boxes):
            axes = figure.add_axes(box)
            _draw_overlaid(axes, results, index)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, fontsize=9, ncols=_COLUMNS, loc="lower center")
        return figure


def _draw_overlaid(axes: Axes, results: Sequence[ProbeResult], index: int) -> None:
    """Draw the profile number `index` (0 is h, 1 is dL/dh) of each result."""
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
        line.set_label(" + ".join(compared_names(result).values()))
        axes.plot(profile.layers, profile.predicted, color=BLACK, lw=0.9, ls=":")
    axes.plot([], [], color=BLACK, lw=0.9, ls=":", label="theory")
    axes.set_title(_TITLES[index], fontsize=11)
    finish_profile_axes(axes, max(len(result.layers) for result in results))
