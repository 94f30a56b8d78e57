"""The page of many results: filters, a heat map, a row per run, and the chosen run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from initprobe.formatting import short_of, trimmed, visible
from initprobe.reports.html_charts import MOST_LINES, Chart, Line
from initprobe.reports.html_outcome import Outcome
from initprobe.reports.html_page import meaning, page
from initprobe.reports.html_tables import Cell, Column, Table, number, table, word
from initprobe.reports.sweep_table import SEED, Scalar
from initprobe.results.digest import Digest, digest
from initprobe.results.outcome import counted
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Environment


@dataclass(frozen=True)
class RunCard(Outcome):
    """One run on the page.

    Attributes:
        axes: what sets it apart, by name.
        state: `done`, `failed`, `queued`, ...
        words: the evidence of its worst finding, or the error of a failed run.
        fix: of its worst finding; empty without one.
        command: the command line that measures it alone; empty if there is none.
        digest: its numbers; None for a run that is not done.
    """

    axes: Mapping[str, Scalar]
    state: str
    words: str
    fix: str
    command: str
    digest: Digest | None

    @property
    def name(self) -> str:
        """Its axes in one line."""
        return visible(" ".join(f"{name}={trimmed(value)}" for name, value in self.axes.items())) or "the run"

    def label(self, varying: Sequence[str]) -> str:
        """What sets it apart from other runs, without the seed: `he, tanh, layers 20`."""
        shown = ((name, self.axes[name]) for name in varying if name in self.axes and name != SEED)
        words = (value if isinstance(value, str) else f"{name} {trimmed(value)}" for name, value in shown)
        return visible(", ".join(words)) or self.name

    def line_label(self, varying: Sequence[str]) -> str:
        """The label of its line in a chart, which has one seed per setting: `he, tanh, seed 0`."""
        label = self.label(varying)
        has_seed = label != self.name and SEED in varying and SEED in self.axes
        return f"{label}, {SEED} {visible(trimmed(self.axes[SEED]))}" if has_seed else label


def card(axes: Mapping[str, Scalar], result: ProbeResult, command: str) -> RunCard:
    """The card of a run that is done.

    Args:
        axes: values of the run.
        result: of the run.
        command: measures it again; "" for none.
    """
    worst = next(iter(counted(result)), None)
    return RunCard(
        axes=axes,
        state="done",
        words=visible(worst.evidence) if worst else "",
        fix=visible(worst.fix or "") if worst and worst.severity != "info" else "",
        command=visible(command),
        digest=digest(result),
    )


@dataclass(frozen=True)
class _Number:
    """A number of a run: in the table, and as a colour of the heat map."""

    name: str
    label: str
    of: Callable[[Digest], float | None]
    log: bool = False


_NUMBERS = (
    _Number("output.variance", "var h, last layer", lambda d: d.last_output, log=True),
    _Number("theory.output_variance", "theory of var h", lambda d: d.output_theory[-1], log=True),
    _Number("output_gradient.variance", "var dL/dh, first layer", lambda d: d.first_gradient, log=True),
    _Number(
        "theory.output_gradient_variance", "theory of var dL/dh", lambda d: d.gradient_theory[d.start - 1], log=True
    ),
    _Number("correlation", "cos, last layer", lambda d: d.correlation),
    _Number("output.saturated_fraction", "saturated", lambda d: d.saturated),
    _Number("output.dead_fraction", "dead", lambda d: d.dead),
    _Number("theory.z", "z-score", lambda d: d.z),
    _Number("loss.start", "loss at the start", lambda d: d.loss),
    _Number("training.final_loss", "loss at the end", lambda d: d.final_loss),
    _Number("layer", "from layer", lambda d: d.layer),
)


def runs_page(
    title: str,
    headline: str,
    runs: Sequence[RunCard],
    command: str,
    environment: Environment | None,
    breaches: Table | None = None,
) -> str:
    """The report of many runs as HTML.

    Args:
        title: of the page.
        headline: how many runs survive.
        runs: all runs, those that failed too.
        command: the command line that makes all of them.
        environment: versions and machine; None if no run is done.
        breaches: the checks that do not hold; None where nothing was checked.
    """
    axes = list(dict.fromkeys(name for run in runs for name in run.axes))
    varying = [name for name in axes if len({run.axes.get(name) for run in runs}) > 1]
    numbers = [entry for entry in _NUMBERS if any(run.digest and entry.of(run.digest) is not None for run in runs)]
    data = {
        "axes": list(map(visible, axes)),
        "numbers": [{"name": entry.name, "label": entry.label, "log": entry.log} for entry in numbers],
        "runs": [_data(run, numbers, varying) for run in runs],
        "most_lines": MOST_LINES,
    }
    return page(
        "runs",
        data,
        title=visible(title),
        headline=visible(headline),
        command=visible(command),
        environment=environment,
        charts=list(_overview(runs, varying)),
        shown=f"The first {MOST_LINES} settings as lines." if len(_settings(runs, varying)) > MOST_LINES else "",
        breaches=breaches,
        table=table(_columns(axes, numbers), runs),
        failed=[run for run in runs if run.digest is None],
    )


def _data(run: RunCard, numbers: Sequence[_Number], varying: Sequence[str]) -> dict[str, Any]:
    """One run, as the script shows it; variances are log10."""
    numbers_of_run = run.digest and {entry.name: _in_json(entry.of(run.digest)) for entry in numbers}
    series = run.digest and {
        "output": run.digest.output,
        "output_theory": run.digest.output_theory,
        "gradient": run.digest.gradient,
        "gradient_theory": run.digest.gradient_theory,
        "output_zeros": run.digest.output_zeros,
        "gradient_zeros": run.digest.gradient_zeros,
    }
    return {
        "name": run.name,
        "label": run.label(varying),
        "line": run.line_label(varying),
        "axes": {visible(name): _shown(value) for name, value in run.axes.items()},
        "verdict": run.verdict,
        "level": run.level,
        "layer": run.digest.layer if run.digest else None,
        "words": visible(run.words),
        "fix": run.fix,
        "command": run.command,
        "numbers": numbers_of_run,
        "series": series,
    }


def _in_json(value: float | None) -> float | str | None:
    """A number of a run; JSON has no -inf, the log10 of 0."""
    return "zero" if value == -math.inf else value


def _shown(value: Scalar) -> Scalar:
    return visible(value) if isinstance(value, str) else value


def _columns(axes: Sequence[str], numbers: Sequence[_Number]) -> Iterator[Column[RunCard]]:
    for axis in axes:
        yield Column(visible(axis), "", lambda run, axis=axis: _axis(run.axes.get(axis)))  # type: ignore[misc]
    yield Column("verdict", "", lambda run: word(run.verdict))
    for entry in numbers:
        yield Column(entry.label, meaning(entry.name), lambda run, entry=entry: _number(run, entry))  # type: ignore[misc]


def _axis(value: Scalar | None) -> Cell:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(visible(trimmed(value)), float(value) if is_number else None)  # type: ignore[arg-type]


def _number(run: RunCard, entry: _Number) -> Cell:
    value = entry.of(run.digest) if run.digest else None
    if isinstance(value, int):
        return Cell(str(value), value)
    if not entry.log or value is None:
        return number(value)
    return Cell(short_of(value), value, is_log10=True)


def _settings(runs: Sequence[RunCard], varying: Sequence[str]) -> dict[str, Digest]:
    """The numbers of the first seed of each setting, by the label of its line."""
    firsts: dict[str, RunCard] = {}
    for run in runs:
        if run.digest:
            firsts.setdefault(run.label(varying), run)
    return {run.line_label(varying): run.digest for run in firsts.values() if run.digest}


def _overview(runs: Sequence[RunCard], varying: Sequence[str]) -> Iterator[Chart]:
    """The variances of h and dL/dh by layer: a line for each of the first settings, of its first seed."""
    chosen = dict(list(_settings(runs, varying).items())[:MOST_LINES])
    depth = max((len(digest.output) for digest in chosen.values()), default=1)
    for key, title, name in (
        ("output", "Variance of the output h", "output.variance"),
        ("gradient", "Variance of the gradient dL/dh", "output_gradient.variance"),
    ):
        lines = [
            Line.of_layers(label, getattr(digest, key), getattr(digest, f"{key}_zeros"), depth)
            for label, digest in chosen.items()
        ]
        yield Chart(f"overview-{key}", title, "layer", range(1, depth + 1), lines, meaning=meaning(name))
