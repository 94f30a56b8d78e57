"""Which pictures a sweep gets, and from which numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from initprobe.meanfield.quadrature import Array
    from initprobe.sweep.layout import Depth, Figure, Heatmap, Histograms
    from initprobe.sweep.plan import Plan
    from initprobe.sweep.store import Row, Store

_FATES = ("verdict", "healthy")


def draw_all(plan: Plan, store: Store, rows: Sequence[Row], directory: Path, formats: Sequence[str]) -> list[Path]:
    """Draw what the file asks for, or what suits its axes; where the pictures are."""
    from initprobe.cli.outputs import write_whole
    from initprobe.reports.figures import render

    done = [row for row in rows if row.digest is not None]
    written = []
    for name, figure in _figures(plan, store, done):
        for fmt in formats:
            data = render(figure, fmt)
            written.append(directory / f"{name}.{fmt}")
            write_whole(written[-1], lambda file, data=data: file.write(data))  # type: ignore[misc]
    return written


def _figures(plan: Plan, store: Store, rows: Sequence[Row]) -> Iterator[tuple[str, Drawing]]:
    from initprobe.reports.figures import draw
    from initprobe.sweep.layout import Depth, Heatmap, Histograms

    asked = _default(plan) if plan.figures is None else plan.figures
    for number, figure in enumerate(asked if rows else ()):
        again = f"-{number + 1}" if [one.kind for one in asked].count(figure.kind) > 1 else ""
        if isinstance(figure, Heatmap):
            yield f"heatmap{again}", _heatmap(plan, store, rows, figure)
        elif isinstance(figure, Depth):
            yield f"depth{again}", _depth(plan, store, rows, figure)
        elif isinstance(figure, Histograms):
            yield f"histograms{again}", _histograms(plan, store, rows, figure)
        else:
            for row in rows:
                yield f"summary-{_slug(row)}", draw(store.result(row.key), "summary")


def _default(plan: Plan) -> tuple[Figure, ...]:
    """A heat map of two numeric axes, else profiles."""
    from initprobe.sweep.layout import Depth, Heatmap

    numeric = [axis for axis in plan.axes if axis != "seed" and _numeric(plan, axis)]
    if len(numeric) >= 2:
        return (Heatmap(kind="heatmap", x=numeric[0], y=numeric[1]),)
    return (Depth(kind="depth"),)


def _numeric(plan: Plan, axis: str) -> bool:
    return all(isinstance(run.axes.get(axis), int | float) for run in plan.runs)


def _label(row: Row) -> str:
    return " ".join(f"{name}={value}" for name, value in row.axes.items()) or "all"


def _slug(row: Row) -> str:
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', _label(row)).strip('-')[:80]}-{row.key[:6]}"


def _heatmap(plan: Plan, store: Store, rows: Sequence[Row], figure: Heatmap) -> Drawing:
    from initprobe.reports.sweep_figures import heatmap

    sums: dict[tuple[float, float], list[float | None]] = {}
    for row in rows:
        x, y = (row.axes.get(str(name)) for name in (figure.x, figure.y))
        if isinstance(x, int | float) and isinstance(y, int | float):
            sums.setdefault((x, y), []).append(_cell(store, row, figure))
    cells = {place: _mean(values) for place, values in sums.items()}
    name = {"verdict": "share of runs that survive", "healthy": "share of runs that survive"}.get(
        figure.value, f"log10 {figure.value}" if "variance" in figure.value else figure.value
    )
    return heatmap(plan.name, (str(figure.x), str(figure.y), name), cells, _edge_of_chaos(rows, figure))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _cell(store: Store, row: Row, figure: Heatmap) -> float | None:
    """The number of one run; log10 for variances, so that seeds are averaged in the log."""
    assert row.digest is not None
    if figure.value in _FATES:
        return float(row.digest.healthy)
    quick = {"output.variance": row.digest.output, "output_gradient.variance": row.digest.gradient}.get(figure.value)
    if quick is not None:
        return quick[_index(figure.layer, len(quick))]
    return _slow(store, row, figure)


def _slow(store: Store, row: Row, figure: Heatmap) -> float | None:
    """A number that only the full result holds."""
    from initprobe.sweep.checks import RATE, value_of

    layers = store.result(row.key).layers
    if figure.value.endswith(RATE):
        logs = [layer.tensor(figure.value.partition(".")[0]).variance_log10 for layer in (layers[0], layers[-1])]
        first, last = logs
        return None if first is None or last is None else (last - first) / max(len(layers) - 1, 1)
    value = value_of(layers[_index(figure.layer, len(layers))], figure.value)
    if value is None or "variance" not in figure.value:
        return value
    return math.log10(value) if value > 0 else None


def _index(layer: str | int, count: int) -> int:
    return {"first": 0, "last": count - 1}[layer] if isinstance(layer, str) else min(layer, count) - 1


def _edge_of_chaos(rows: Sequence[Row], figure: Heatmap) -> tuple[Array, Array] | None:
    """The predicted line where the axes are sigma_w and sigma_b, of one activation."""
    import numpy as np

    from initprobe.activations import ACTIVATIONS
    from initprobe.config import resolve
    from initprobe.grammar import parse_spec
    from initprobe.meanfield.phase import critical_line

    acts = {json.loads(row.config)["act"] for row in rows}
    if {figure.x, figure.y} != {"sigma_w", "sigma_b"} or len(acts) != 1:
        return None
    activation = resolve(ACTIVATIONS, parse_spec(acts.pop()))
    biases = [float(row.axes["sigma_b"]) for row in rows if "sigma_b" in row.axes]
    grid = np.linspace(min(biases), max(biases), 60)
    points = [critical_line(activation, float(b)) for b in grid]
    known = [(point.sigma_w, b) for point, b in zip(points, grid, strict=True) if point is not None]
    if not known:
        return None
    w, b = np.array(known).T
    return (w, b) if figure.x == "sigma_w" else (b, w)


def _depth(plan: Plan, store: Store, rows: Sequence[Row], figure: Depth) -> Drawing:
    from initprobe.reports.sweep_figures import depth

    lines = []
    for row in rows:
        assert row.digest is not None
        found, predicted = row.digest.output, row.digest.output_theory
        if figure.value == "output_gradient.variance":
            found, predicted = row.digest.gradient, row.digest.gradient_theory
        elif figure.value != "output.variance":
            found, predicted = _profile(store, row, figure.value), ()
        lines.append((_label(row), found, predicted))
    return depth(plan.name, figure.value, lines)


def _profile(store: Store, row: Row, name: str) -> tuple[float | None, ...]:
    from initprobe.sweep.checks import value_of

    values = (value_of(layer, name) for layer in store.result(row.key).layers)
    return tuple(math.log10(value) if value and value > 0 else None for value in values)


def _histograms(plan: Plan, store: Store, rows: Sequence[Row], figure: Histograms) -> Drawing:
    from initprobe.reports.sweep_figures import histograms

    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(str(row.axes.get(str(figure.over), "-")), row)
    panels = [
        (f"{figure.over}={value}", store.result(row.key).layers[-1].tensor(figure.tensor).histogram)
        for value, row in first.items()
    ]
    return histograms(plan.name, figure.tensor, panels)
