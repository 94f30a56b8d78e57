"""Which pictures a sweep gets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from initprobe.activations import Activation
    from initprobe.results import ProbeResult
    from initprobe.sweep.layout import Depth, Figure, Heatmap, Histograms
    from initprobe.sweep.plan import Plan
    from initprobe.sweep.store import Row, Store

_SIGMAS = ["sigma_w", "sigma_b"]
_GRADIENT = "output_gradient.variance"


def draw_all(plan: Plan, store: Store, rows: Sequence[Row], directory: Path, formats: Sequence[str]) -> list[Path]:
    """Draw what the file asks for, or what suits its axes; where the pictures are."""
    from initprobe.cli.outputs import write_whole
    from initprobe.reports.figures import render

    written = []
    for name, figure in _drawings(plan, store, rows):
        for fmt in formats:
            data = render(figure, fmt)
            written.append(directory / f"{name}.{fmt}")
            write_whole(written[-1], lambda file, data=data: file.write(data))  # type: ignore[misc]
    return written


def _drawings(plan: Plan, store: Store, rows: Sequence[Row]) -> Iterator[tuple[str, Drawing]]:
    """A name and a picture each; none where no run is done."""
    from initprobe.reports.figures import draw
    from initprobe.sweep.layout import Summary

    done = [row for row in rows if row.digest is not None]
    asked = default_figures(rows) if plan.figures is None else plan.figures
    for number, figure in enumerate(asked if done else ()):
        if isinstance(figure, Summary):
            yield from ((f"summary-{_slug(row)}", draw(store.result(row.key), "summary")) for row in done)
        else:
            again = f"-{number + 1}" if [one.kind for one in asked].count(figure.kind) > 1 else ""
            yield f"{figure.kind}{again}", _drawing(figure, plan.name, store, rows)


def _drawing(figure: Depth | Heatmap | Histograms, title: str, store: Store, rows: Sequence[Row]) -> Drawing:
    """One picture of all runs."""
    from initprobe.reports.curves import depth_plot, histogram_plot
    from initprobe.reports.grids import heat_map
    from initprobe.reports.sweep_figures import depth_figure, histogram_figure
    from initprobe.reports.sweep_maps import heat_map_figure
    from initprobe.sweep.layout import Depth, Heatmap

    def read(row: Row) -> ProbeResult:
        return store.result(row.key)

    if isinstance(figure, Heatmap):
        x, y = str(figure.x), str(figure.y)
        return heat_map_figure(heat_map(rows, x, y, figure.value, figure.layer, read, _activation), title)
    if isinstance(figure, Depth):
        return depth_figure(depth_plot(rows, figure.value, read), title)
    return histogram_figure(histogram_plot(rows, str(figure.over), figure.tensor, read), title)


def default_figures(rows: Sequence[Row]) -> tuple[Figure, ...]:
    """What suits the axes: heat maps of two numeric ones, else profiles, and histograms over an axis of words."""
    from initprobe.reports.curves import MOST_PANELS
    from initprobe.reports.readings import is_number, varying
    from initprobe.sweep.layout import Depth, Heatmap, Histograms

    values = {name: {row.axes.get(name) for row in rows} for name in varying(rows)}
    numeric = sorted((name for name in values if all(map(is_number, values[name]))), key=lambda n: n not in _SIGMAS)
    if len(numeric) > 1:
        x, y = _SIGMAS if set(numeric[:2]) == set(_SIGMAS) else numeric[:2]
        return (
            Heatmap(kind="heatmap", x=x, y=y),
            Heatmap(kind="heatmap", x=x, y=y, value=_GRADIENT, layer="first"),
            Heatmap(kind="heatmap", x=x, y=y, value="verdict"),
        )
    worded = [name for name in values if name not in numeric and len(values[name]) <= MOST_PANELS]
    profiles = (Depth(kind="depth"), Depth(kind="depth", value=_GRADIENT))
    return (*profiles, *(Histograms(kind="histograms", over=name) for name in worded[:1]))


def _activation(row: Row) -> Activation:
    from initprobe.activations import ACTIVATIONS
    from initprobe.config import resolve
    from initprobe.grammar import parse_spec

    found: Activation = resolve(ACTIVATIONS, parse_spec(json.loads(row.config)["act"]))
    return found


def _slug(row: Row) -> str:
    from initprobe.describe import shortened

    words = shortened(" ".join(f"{name}={value}" for name, value in row.axes.items())) or "all"
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', words).strip('-')[:80]}-{row.key[:6]}"
