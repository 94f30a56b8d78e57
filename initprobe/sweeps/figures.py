"""The figures of a sweep: those its file names, or those that suit its axes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from initprobe.activations.record import Activation
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.reports.figures.look import Look
    from initprobe.reports.figures.sweep_kinds import SweepRun
    from initprobe.results.run import ProbeResult
    from initprobe.results.spectrum import Spectrum
    from initprobe.sweeps.file_figures import Depth, Figure, Heatmap, Histograms, Paper
    from initprobe.sweeps.store_rows import Row

_SIGMAS = ["sigma_w", "sigma_b"]
_GRADIENT = "output_gradient.variance"


@dataclass(frozen=True)
class SweepData:
    """What a figure of a sweep may read.

    Attributes:
        name: of the sweep, for titles.
        rows: the runs to draw.
        read: reads a result.
        configs: the experiments of the file by key. Empty for a store that was loaded: a store must not run code.
        wanted: the figures that the file names; None where it leaves that open.
    """

    name: str
    rows: Sequence[Row]
    read: Callable[[Row], ProbeResult]
    configs: Mapping[str, ProbeConfig]
    wanted: Sequence[Figure] | None = None

    @property
    def done(self) -> list[Row]:
        """The runs with a result."""
        return [row for row in self.rows if row.digest is not None]

    def figures(self) -> Iterator[tuple[str, Callable[[Look], Drawing]]]:
        """The name of each figure and a function that draws it; no figures where no run is done."""
        from initprobe.reports.figures.run import draw
        from initprobe.sweeps.file_figures import Summary

        wanted = default_figures(self.rows) if self.wanted is None else self.wanted
        for number, figure in enumerate(wanted if self.done else ()):
            if isinstance(figure, Summary):
                for row in self.done:
                    yield f"summary-{_slug(row)}", lambda look, row=row: draw(self.read(row), "summary", look)  # type: ignore[misc]
            else:
                suffix = f"-{number + 1}" if [each.kind for each in wanted].count(figure.kind) > 1 else ""
                yield f"{figure.kind}{suffix}", partial(self.draw, figure)

    def draw(self, figure: Depth | Heatmap | Histograms | Paper, look: Look) -> Drawing:
        """Draw one figure of all runs.

        Args:
            figure: its kind and what it shows.
            look: size, title, panels per row and style.

        Raises:
            ConfigError: the runs lack what the figure shows.
        """
        from initprobe.reports.figures.heat_map_data import heat_map
        from initprobe.reports.figures.heat_maps import heat_map_figure
        from initprobe.reports.figures.sweep_data import depth_plot, histogram_plot
        from initprobe.reports.figures.sweep_kinds import draw
        from initprobe.reports.figures.sweep_profiles import depth_figure, histogram_figure
        from initprobe.sweeps.file_figures import Depth, Heatmap, Paper

        if isinstance(figure, Paper):
            return draw(figure.kind, self.name, [self._run(row) for row in self.done], look)
        if isinstance(figure, Heatmap):
            x, y = str(figure.x), str(figure.y)
            theory = self._activation, self._sigma_b
            return heat_map_figure(
                heat_map(self.rows, x, y, figure.value, figure.layer, self.read, *theory), self.name, look
            )
        if isinstance(figure, Depth):
            return depth_figure(depth_plot(self.rows, figure.value, self.read), self.name, look)
        return histogram_figure(histogram_plot(self.rows, str(figure.over), figure.tensor, self.read), self.name, look)

    def _activation(self, row: Row) -> Activation | None:
        """The activation of a run; None where only code named by a store would give it."""
        from initprobe.activations.catalogue import ACTIVATIONS

        if row.key in self.configs:
            return self.configs[row.key].activation
        name = json.loads(row.config).get("act")
        return ACTIVATIONS.get(name) if isinstance(name, str) else None

    def _sigma_b(self, row: Row) -> float:
        """The scale of the biases of a run."""
        if row.key not in self.configs:
            return float(row.axes.get("sigma_b", json.loads(row.config).get("sigma_b")) or 0.0)
        width = self.configs[row.key].width or 1
        return math.sqrt(self.configs[row.key].bias_initializer.variance(width, width))

    def _run(self, row: Row) -> SweepRun:
        """What a figure of a paper may read of a run; singular values are measured when they are drawn.

        Raises:
            ConfigError: the store was loaded without its file.
        """
        from initprobe.errors import ConfigError
        from initprobe.reports.figures.sweep_kinds import SweepRun

        if row.key not in self.configs:
            raise ConfigError("this figure needs the file of the sweep: call initprobe.sweep(FILE)", field="kind")
        config = self.configs[row.key]
        return SweepRun(row, config, lambda: self.read(row), lambda: spectrum_of(config))


def draw(data: SweepData, kind: str | Mapping[str, object] | None, look: Look) -> Drawing:
    """Draw a figure of a sweep.

    Args:
        data: its runs.
        kind: the name of a figure or kind, or a mapping as under `figures` in a file. None for the first figure.
        look: size, title, panels per row and style.

    Raises:
        ConfigError: no run is done, or the runs lack what the figure shows.
        UnknownNameError: there is no such figure.
    """
    from initprobe.errors import ConfigError
    from initprobe.reports.figures.choose import choose

    if not data.done:
        raise ConfigError("no run of this sweep is done", field="kind")
    makers = dict(data.figures())
    if isinstance(kind, Mapping):
        return choose({"": partial(data.draw, _read(data, kind))}, None, look)
    for name in _kinds():
        makers.setdefault(name, lambda look, name=name: data.draw(_read(data, {"kind": name}), look))  # type: ignore[misc]
    return choose(makers, kind, look)


def _kinds() -> Sequence[str]:
    """The kinds of figures of all runs."""
    from initprobe.sweeps.file_figures import KINDS, Summary

    return [name for name, part in KINDS.items() if part is not Summary]


def _read(data: SweepData, values: Mapping[str, object]) -> Depth | Heatmap | Histograms | Paper:
    """A figure of all runs from a mapping, with axes for those left open.

    Raises:
        ConfigError: the mapping is not valid, or asks for the summary of one run.
    """
    from pydantic import TypeAdapter, ValidationError

    from initprobe.data.documents import Place
    from initprobe.errors import ConfigError
    from initprobe.reports.figures.sweep_series import is_number, varying
    from initprobe.sweeps.file_figures import FigureOrName, Summary
    from initprobe.sweeps.plan import FigureAxes

    try:
        figure = TypeAdapter(FigureOrName).validate_python(dict(values))
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"][1:])
        raise ConfigError(f"{key}: {fault['msg']}" if key else str(fault["msg"]), field="kind") from None
    columns = {name: [row.axes.get(name) for row in data.rows] for row in data.rows for name in row.axes}
    numeric = [name for name, column in columns.items() if all(each is None or is_number(each) for each in column)]
    filled: Figure = FigureAxes(list(columns), numeric, varying(data.rows)).fill(figure, Place("kind"))
    if isinstance(filled, Summary):
        raise ConfigError("a summary shows one run: call figure() of one of results()", field="kind")
    return filled


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
