"""The figure of `initprobe compare`."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from initprobe.reports.figures.profiles import finish_profile_axes
from initprobe.reports.figures.result_data import profiles
from initprobe.reports.figures.style import BLACK, COLORS, DASHES, blank_figure, style
from initprobe.reports.figures.titles import centred
from initprobe.results.run import ProbeResult


def draw_comparison(results: Sequence[ProbeResult]) -> Figure:
    """Depth profiles of the variances of h and dL/dh: a line per result, predictions dotted."""
    with style():
        figure = blank_figure(13, 5.2)
        shared = results[0].description
        centred(figure, 0.26, f"{shared.shape} | {shared.setting}", fontsize=12)
        boxes = ((0.06, 0.3, 0.43, 0.56), (0.555, 0.3, 0.43, 0.56))
        for index, box in enumerate(boxes):
            axes = figure.add_axes(box)
            _draw_overlaid(axes, results, index)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, fontsize=9, ncols=4, loc="lower center")
        return figure


def _draw_overlaid(axes: Axes, results: Sequence[ProbeResult], index: int) -> None:
    """Draw the profile number `index` (0 is h, 1 is dL/dh) of each result."""
    for number, result in enumerate(results):
        profile = profiles(result)[index]
        dashes, color = divmod(number, len(COLORS))
        pattern = DASHES[dashes % len(DASHES)]
        (line,) = axes.plot(profile.layers, profile.log10, color=COLORS[color], ls=pattern, lw=1.8)
        line.set_label(f"{result.config.get('weights') or result.config['init']} + {result.config['act']}")
        axes.plot(profile.layers, profile.predicted, color=BLACK, lw=0.9, ls=":")
    axes.set_title(f"Var({profile.label})", fontsize=11)
    finish_profile_axes(axes, max(len(result.layers) for result in results))
