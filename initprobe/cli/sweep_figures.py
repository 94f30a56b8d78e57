"""The figures of a sweep: those its file names, or those that suit its axes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from initprobe.activations.record import Activation
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.reports.figures.sweep_kinds import SweepRun
    from initprobe.results.run import ProbeResult
    from initprobe.results.spectrum import Spectrum
    from initprobe.sweeps.file_figures import Depth, Figure, Heatmap, Histograms, Paper
    from initprobe.sweeps.plan import Plan
    from initprobe.sweeps.store import Store
    from initprobe.sweeps.store_rows import Row

_SIGMAS = ["sigma_w", "sigma_b"]
_GRADIENT = "output_gradient.variance"


def draw_all(plan: Plan, store: Store, rows: Sequence[Row], directory: Path, formats: Sequence[str]) -> list[Path]:
    """Draw the figures that the file names, or those that suit its axes.

    Args:
        plan: of the sweep.
        store: its results.
        rows: the runs to draw.
        directory: where the figures go.
        formats: `png`, `svg` or `pdf`, one file for each.

    Returns:
        The paths of the figures.

    Raises:
        ConfigError: a figure cannot be drawn; the others are drawn, and the results are kept.
        OutputError: a figure cannot be written.
    """
    from initprobe.cli.outputs import relative, write_whole
    from initprobe.errors import ConfigError
    from initprobe.reports.figures.style import render

    written, faults = [], []
    for name, make in _drawings(plan, store, rows):
        try:
            figure = make()
        except ConfigError as error:
            faults.append(f"{name} is not drawn, and the results are kept in {relative(store.path)}: {error}")
            continue
        for fmt in formats:
            data = render(figure, fmt)
            written.append(directory / f"{name}.{fmt}")
            write_whole(written[-1], lambda file, data=data: file.write(data))  # type: ignore[misc]
    if faults:
        raise ConfigError(faults[0] + (f" ({len(faults) - 1} more are not drawn)" if len(faults) > 1 else ""))
    return written


def _drawings(plan: Plan, store: Store, rows: Sequence[Row]) -> Iterator[tuple[str, Callable[[], Drawing]]]:
    """The name of each figure and a function that draws it; no figures where no run is done."""
    from initprobe.reports.figures.run import draw
    from initprobe.sweeps.file_figures import Summary

    done = [row for row in rows if row.digest is not None]
    wanted = default_figures(rows) if plan.figures is None else plan.figures
    for number, figure in enumerate(wanted if done else ()):
        if isinstance(figure, Summary):
            for row in done:
                yield f"summary-{_slug(row)}", lambda row=row: draw(store.result(row.key), "summary")  # type: ignore[misc]
        else:
            suffix = f"-{number + 1}" if [each.kind for each in wanted].count(figure.kind) > 1 else ""
            yield f"{figure.kind}{suffix}", lambda figure=figure: _drawing(figure, plan, store, rows)  # type: ignore[misc]


def _drawing(figure: Depth | Heatmap | Histograms | Paper, plan: Plan, store: Store, rows: Sequence[Row]) -> Drawing:
    """One figure of all runs."""
    from initprobe.reports.figures.heat_map_data import heat_map
    from initprobe.reports.figures.heat_maps import heat_map_figure
    from initprobe.reports.figures.sweep_data import depth_plot, histogram_plot
    from initprobe.reports.figures.sweep_kinds import draw
    from initprobe.reports.figures.sweep_profiles import depth_figure, histogram_figure
    from initprobe.sweeps.file_figures import Depth, Heatmap, Paper

    configs = {run.key: run.config for run in plan.runs}

    def read(row: Row) -> ProbeResult:
        return store.result(row.key)

    def activation(row: Row) -> Activation:
        return configs[row.key].activation  # from the file, not from the store, which must not run code

    def sigma_b(row: Row) -> float:
        width = configs[row.key].width or 1
        return math.sqrt(configs[row.key].bias_initializer.variance(width, width))

    if isinstance(figure, Paper):
        return draw(figure.kind, plan.name, [_run(row, configs[row.key], store) for row in rows if row.digest])
    if isinstance(figure, Heatmap):
        x, y = str(figure.x), str(figure.y)
        plot = heat_map(rows, x, y, figure.value, figure.layer, read, activation, sigma_b)
        return heat_map_figure(plot, plan.name)
    if isinstance(figure, Depth):
        return depth_figure(depth_plot(rows, figure.value, read), plan.name)
    return histogram_figure(histogram_plot(rows, str(figure.over), figure.tensor, read), plan.name)


def _run(row: Row, config: ProbeConfig, store: Store) -> SweepRun:
    """What a figure of a paper may read of a run; singular values are measured when they are drawn."""
    from initprobe.reports.figures.sweep_kinds import SweepRun

    return SweepRun(row, config, lambda: store.result(row.key), lambda: spectrum_of(config))


def spectrum_of(config: ProbeConfig) -> Spectrum:
    """The singular values that a figure of a paper shows of a run, in float64."""
    from initprobe.probe.experiment import prepare
    from initprobe.studies.spectrum import DEFAULT_SAMPLES, measure

    return measure(prepare(config.model_copy(update={"dtype": "float64"})), DEFAULT_SAMPLES)


def default_figures(rows: Sequence[Row]) -> tuple[Figure, ...]:
    """Heat maps for two numeric axes; else depth profiles, with histograms over the first axis of words."""
    from initprobe.reports.figures.sweep_data import MOST_PANELS
    from initprobe.reports.figures.sweep_series import is_number, varying
    from initprobe.sweeps.file_figures import Depth, Heatmap, Histograms

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


def _slug(row: Row) -> str:
    from initprobe.probe.names import shortened

    words = shortened(" ".join(f"{name}={value}" for name, value in row.axes.items())) or "all"
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', words).strip('-')[:80]}-{row.key[:6]}"
