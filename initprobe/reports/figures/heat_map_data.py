"""Heat maps of a sweep: one number, or a verdict, over two numeric axes, computed before drawing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array, mean
from initprobe.formatting import counted
from initprobe.meanfield.phase import phase_diagram
from initprobe.reports.figures.critical_curve import critical_curve
from initprobe.reports.figures.sweep_series import E, is_log, is_number, label, series, varying
from initprobe.reports.sweep_table import Entry
from initprobe.results.named_numbers import HEALTHY, LOSSES, RATE, VERDICT, number_of
from initprobe.results.run import ProbeResult

MOST_FACETS = 12
FAILED, NOT_RUN, DISAGREE = "failed", "not run", "runs disagree"
ZERO, ZERO_OR_LOST, NO_VALUE = "exactly 0", "0 or lost", "no value"  # stores of older versions do not tell them apart
SIGMAS = ("sigma_w", "sigma_b")
TRAINABLE = ("sigma_w", "layers")
EDGE = "edge of chaos by theory"
# Networks up to this many depth scales of the correlation can be trained: Schoenholz et al. 2017, arXiv:1611.01232.
_DEPTH_SCALES = 6
_DEPTHS = f"{_DEPTH_SCALES} xi_c by theory"
_DEPTH_POINTS = 200
# Mesh cells per run from which runs are drawn as squares. The cells of an almost empty mesh could not be seen.
_SPARSE = 4
_FINE = 12
# If gaps of an axis differ by more than this factor, all are drawn equal. Narrow cells could not be read.
_UNEVEN = 1.5


@dataclass(frozen=True)
class Scale:
    """One of the two axes.

    Attributes:
        name: of the axis.
        values: of the runs, ascending.
        places: where the values are drawn: at themselves, or at 0, 1, 2 .. if a few are spaced unevenly.
        log: whether places are spaced by ratios.
        edges: of the cells, half way between the places, `(values + 1,)`.
        constant: the value is the same in all runs, which do not record it; a placeholder is drawn.
    """

    name: str
    values: tuple[float, ...]
    places: tuple[float, ...]
    log: bool
    edges: tuple[float, ...]
    constant: bool = False

    def indices(self, values: Sequence[float]) -> Array:
        """The indices of the cells of the given values."""
        return np.searchsorted(self.values, values)

    def drawn(self, values: Array) -> Array:
        """Where numbers between the values are drawn; numbers beyond them keep the distance of the last two."""
        if self.places == self.values or len(self.values) < 2:
            return values
        ends = (np.array(self.values), np.array(self.places))
        inside = np.interp(values, *ends)
        above = ends[1][-1] + (values - ends[0][-1]) * (ends[1][-1] - ends[1][-2]) / (ends[0][-1] - ends[0][-2])
        return np.asarray(np.where(values > ends[0][-1], above, inside))


@dataclass(frozen=True)
class Cell:
    """The runs at one place.

    Attributes:
        x: the place along the first axis.
        y: the place along the second axis.
        number: mean over the runs that have one, of log10 where the map shows logs. None where no run has one.
        word: the most common verdict; empty for a heat map of numbers.
        runs: number of runs.
        lacking: why some or all runs have no number, or that their verdicts differ; empty for neither.
    """

    x: float
    y: float
    number: float | None
    word: str
    runs: int
    lacking: str

    @property
    def empty(self) -> bool:
        """Whether no run has a number or verdict here."""
        return self.number is None and not self.word


@dataclass(frozen=True)
class HeatPanel:
    """The cells at one setting of the other axes. `line` is a line of theory, its points by the name of an axis."""

    title: str
    cells: tuple[Cell, ...]
    line: Mapping[str, Array] | None


@dataclass(frozen=True)
class HeatMap:
    """A heat map.

    Attributes:
        value: the number's dotted name, `verdict` or `healthy`.
        layer: where it is read, in words; empty for a number of the whole net.
        log: whether the numbers are log10.
        x: the axis across.
        y: the axis upwards.
        panels: one per setting of the other axes, or a single one that averages over them.
        notes: on averages and on what is left out.
        line_name: what the lines of the panels are.
    """

    value: str
    layer: str
    log: bool
    x: Scale
    y: Scale
    panels: tuple[HeatPanel, ...]
    notes: tuple[str, ...]
    line_name: str = EDGE

    @property
    def categorical(self) -> bool:
        """Whether words are shown, not numbers."""
        return self.value in (VERDICT, HEALTHY)

    @property
    def cells(self) -> list[Cell]:
        """The cells of all panels."""
        return [cell for panel in self.panels for cell in panel.cells]

    @property
    def missing(self) -> int:
        """The number of cells without a run, in panels that show cells."""
        mesh = len(self.x.values) * len(self.y.values)
        return 0 if self.sparse else sum(mesh - len(panel.cells) for panel in self.panels)

    @property
    def sparse(self) -> bool:
        """Whether there are far fewer runs than cells, as where both axes vary together."""
        sides = len(self.x.values), len(self.y.values)
        return max(sides) > _FINE and sides[0] * sides[1] >= _SPARSE * max(len(panel.cells) for panel in self.panels)


def heat_map(
    entries: Sequence[E],
    x: str,
    y: str,
    value: str,
    layer: str | int,
    read: Callable[[E], ProbeResult],
    activation: Callable[[E], Activation | None],
    sigma_b: Callable[[E], float] = lambda entry: 0.0,
) -> HeatMap:
    """Compute a heat map of a sweep's runs.

    Args:
        entries: the runs.
        x: the axis across.
        y: the axis upwards.
        value: a number of a layer by its dotted name, `TENSOR.variance_per_layer`, a loss, `verdict` or `healthy`.
        layer: `first`, `last`, or a number from 1 on.
        read: reads the whole result of a finished run; called only for numbers that its digest lacks.
        activation: of a run, None for no line of theory; called once per panel, where one axis is sigma_w.
        sigma_b: scale of the biases of a run; called once per panel, where the axes are sigma_w and layers.
    """
    names = {name for entry in entries for name in entry.axes}
    placed = [entry for entry in entries if all(is_number(entry.axes.get(name)) for name in names & {x, y})]
    facets, averaged = _facets(placed, x, y)
    sigmas = {x, y} == set(SIGMAS)
    across, upwards = (_scale(name, placed, name not in names, true_to_scale=sigmas) for name in (x, y))
    number = _number(value, layer, read)

    curves: dict[frozenset[str], Callable[[E], Mapping[str, Array] | None]] = {
        frozenset(SIGMAS): lambda run: _critical(activation(run), across, upwards),
        frozenset(TRAINABLE): lambda run: _trainable(activation(run), sigma_b(run), across, upwards),
    }
    mixed = {name.partition(".")[0] for name in averaged} & {"act", "sigma_b"} or not {x, y} <= names
    curve = None if mixed else curves.get(frozenset((x, y)))
    panels = []
    for title, runs in facets:
        cells = tuple(_cell(place, here, value, number) for place, here in _by_place(runs, x, y).items())
        panels.append(HeatPanel(title, cells, curve(runs[0]) if curve and runs else None))
    left_out = len(entries) - len(placed)
    missing = [f"{counted(left_out, 'run has', 'runs have')} no {x} or {y}"] if left_out else []
    losses = ["trained by initprobe; bright: learned; dark: not"] if value in LOSSES else []
    notes = (*losses, *_averages(panels, value, averaged), *missing)
    where, name = _where(value, layer), EDGE if sigmas else _DEPTHS
    return HeatMap(value, where, is_log(value), across, upwards, tuple(panels), notes, name)


def _where(value: str, layer: str | int) -> str:
    if value in (VERDICT, HEALTHY, *LOSSES) or value.endswith(RATE):
        return ""
    return f"layer {layer}" if isinstance(layer, int) else f"{layer} layer"


def _along(entry: Entry, name: str) -> float:
    """The place of a run on an axis; 0 on an axis that does not vary, which no run records."""
    return float(entry.axes.get(name, 0.0))


def _by_place(entries: Sequence[E], x: str, y: str) -> dict[tuple[float, float], list[E]]:
    by_place: dict[tuple[float, float], list[E]] = {}
    for entry in entries:
        by_place.setdefault((_along(entry, x), _along(entry, y)), []).append(entry)
    return by_place


def _facets(entries: Sequence[E], x: str, y: str) -> tuple[list[tuple[str, list[E]]], list[str]]:
    """Runs by setting of the axes that vary within a cell; or all runs, and the axes to average over."""
    differing = {name for runs in _by_place(entries, x, y).values() for name in varying(runs, (x, y))}
    names = [name for name in varying(entries) if name in differing]
    by_label: dict[str, list[E]] = {}
    for entry in entries:
        by_label.setdefault(label(entry, names), []).append(entry)
    if 0 < len(by_label) <= MOST_FACETS:
        return list(by_label.items()), []
    return [("", list(entries))], names


def _number(value: str, layer: str | int, read: Callable[[E], ProbeResult]) -> Callable[[E], float]:
    """A function that reads the number of a finished run, NaN where it has none."""
    tensor, _, last = value.rpartition(".")
    if value in LOSSES:
        return lambda entry: math.nan if (loss := number_of(read(entry), value)) is None else loss
    if last == RATE:
        return lambda entry: series(f"{tensor}.variance", entry, read).rate

    def number(entry: E) -> float:
        numbers = series(value, entry, read).with_zeros
        index = layer - 1 if isinstance(layer, int) else 0 if layer == "first" else len(numbers) - 1
        return float(numbers[index]) if index < len(numbers) else math.nan

    return number


def _cell(place: tuple[float, float], entries: Sequence[E], value: str, number: Callable[[E], float]) -> Cell:
    states = {entry.state for entry in entries if entry.digest is None}
    lacking = "" if not states else FAILED if "failed" in states else NOT_RUN
    if value in (VERDICT, HEALTHY):
        words = Counter(_word(entry, value) for entry in entries if entry.digest is not None).most_common()
        lacking = lacking or (DISAGREE if len(words) > 1 else "")
        return Cell(*place, None, words[0][0] if words else "", len(entries), lacking)
    numbers = [number(entry) for entry in entries if entry.digest is not None]
    present = [number for number in numbers if math.isfinite(number)]
    if len(present) < len(numbers):
        lacking = lacking or _why(numbers, value)
    return Cell(*place, mean(present) if present else None, "", len(entries), lacking)


def _why(numbers: Sequence[float], value: str) -> str:
    """Why some numbers cannot be shown: -inf is the log10 of 0."""
    if not is_log(value):
        return NO_VALUE
    return ZERO_OR_LOST if any(map(math.isnan, numbers)) else ZERO


def _word(entry: Entry, value: str) -> str:
    if entry.digest is None:
        return entry.state
    return entry.digest.verdict if value == VERDICT else "healthy" if entry.digest.healthy else "not healthy"


def _averages(panels: Sequence[HeatPanel], value: str, averaged: Sequence[str]) -> list[str]:
    most = max((cell.runs for panel in panels for cell in panel.cells), default=0)
    if most < 2:
        return []
    how = "most common" if value in (VERDICT, HEALTHY) else "mean of the log10" if is_log(value) else "mean"
    over = f", over {', '.join(averaged)}" if averaged else ""
    return [f"{how} of up to {most} runs per cell{over}"]


def _scale(name: str, entries: Sequence[Entry], constant: bool, true_to_scale: bool) -> Scale:
    values = sorted({_along(entry, name) for entry in entries})
    log = by_ratio(values)
    gaps = np.diff(np.log(values) if log else values)
    if not true_to_scale and 1 < len(gaps) < _FINE and gaps.max() > _UNEVEN * gaps.min():
        return Scale(name, tuple(values), tuple(range(len(values))), False, _edges(range(len(values)), False))
    return Scale(name, tuple(values), tuple(values), log, _edges(values, log), constant)


def _edges(places: Sequence[float], log: bool) -> tuple[float, ...]:
    """Edges half way between places, and as far beyond the outer places."""
    centres = np.log(places) if log else np.asarray(places or [0.0], float)
    gaps = np.diff(centres) if len(centres) > 1 else np.ones(1)
    middles = (centres[1:] + centres[:-1]) / 2
    edges = np.concatenate((centres[:1] - gaps[0] / 2, middles, centres[-1:] + gaps[-1] / 2))
    return tuple(float(edge) for edge in (np.exp(edges) if log else edges))


def by_ratio(values: Sequence[float]) -> bool:
    """Whether ratios of neighbouring values are more equal than their differences."""
    if len(values) < 3 or values[0] <= 0:
        return False
    logs, plain = np.diff(np.log(values)), np.diff(values)
    return bool(logs.std() / logs.mean() < plain.std() / plain.mean())


def _critical(activation: Activation | None, across: Scale, upwards: Scale) -> Mapping[str, Array] | None:
    if activation is None:
        return None
    scales = {scale.name: scale for scale in (across, upwards)}
    bias = scales["sigma_b"]
    curve = critical_curve(activation, max(bias.edges[0], 0.0), bias.edges[-1], bias.log)
    return None if curve is None else dict(zip(SIGMAS, curve, strict=True))


def _trainable(
    activation: Activation | None, sigma_b: float, across: Scale, upwards: Scale
) -> Mapping[str, Array] | None:
    """The largest depth that can be trained, over the scale of the weights; NaN where there is no depth scale."""
    if activation is None:
        return None
    weights = across if across.name == "sigma_w" else upwards
    sigma_w = np.linspace(max(weights.edges[0], 0.0), weights.edges[-1], _DEPTH_POINTS)
    depth = _DEPTH_SCALES * phase_diagram(activation, sigma_w, [sigma_b]).xi_c[0]
    return {"sigma_w": sigma_w, "layers": np.where(np.isfinite(depth) & (depth > 0), depth, np.nan)}
