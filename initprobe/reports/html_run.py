"""The page of one result: verdict and fix, charts over depth, histograms, a row per layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from initprobe.formatting import NOTHING, visible
from initprobe.reports.cells import value_text
from initprobe.reports.gaps import gap_words, gaps
from initprobe.reports.html_charts import Chart, Line
from initprobe.reports.html_page import meaning, page
from initprobe.reports.html_tables import Cell, Column, json_columns, table, word
from initprobe.reports.narrative import SYMBOLS, course
from initprobe.reports.verdict import fixed_finding, name_of_fix, why_no_fix
from initprobe.results.layers import LayerStats
from initprobe.results.outcome import verdict_of
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding

# Above this many layers, the file has the histograms of h and dL/dh only. All would take more than a megabyte.
_MOST_HISTOGRAMS = 40
_TENSORS = ("output", "preactivation", "output_gradient", "weight_gradient", "weight")
_FEW_TENSORS = ("output", "output_gradient")


def run_page(result: ProbeResult, command: str) -> str:
    """The report of a result as HTML.

    Args:
        result: what was measured.
        command: the command line that measures it again.
    """
    every = list(_charts(result))
    charts = [chart for chart in every if not chart.is_empty]
    names = _TENSORS if len(result.layers) <= _MOST_HISTOGRAMS else _FEW_TENSORS
    histograms = {name: [_histogram(layer, name) for layer in result.layers] for name in names}
    return page(
        "run",
        {"charts": [chart.data() for chart in charts], "histograms": histograms, "symbols": SYMBOLS},
        title=visible(result.description.title),
        command=visible(command),
        result=result,
        verdict=verdict(result),
        charts=charts,
        empty=[chart for chart in every if chart.is_empty and chart.note],
        table=table(_columns(result), result.layers),
        tensors={name: SYMBOLS[name] for name in names},
        left_out=len(names) < len(_TENSORS),
        most_histograms=_MOST_HISTOGRAMS,
        summary=[(label, visible(str(words), breaks=True)) for label, words in course(result)],
    )


@dataclass(frozen=True)
class Verdict:
    """The verdict of a result.

    Attributes:
        words: one line.
        level: `healthy`, or the severity of its worst finding.
        fix: the first fix of a finding that counts, or None.
        name_of_fix: `fix`, or `option` for a net that survives.
        no_fix: why there is none, or None.
        findings: all of them.
        judged: for a PyTorch model, the share of the parameters that was judged.
    """

    words: str
    level: str
    fix: str | None
    name_of_fix: str
    no_fix: str | None
    findings: tuple[Finding, ...]
    judged: str


def verdict(result: ProbeResult) -> Verdict:
    """What the top of a page says."""
    worst = verdict_of(result)
    fixed = fixed_finding(result)
    fix = visible(fixed.fix, breaks=True) if fixed and fixed.fix else None
    return Verdict(
        words=visible(result.in_a_line().partition(";")[0]),
        level="healthy" if worst is None else worst.severity,
        fix=fix,
        name_of_fix=name_of_fix(fixed) if fixed else "",
        no_fix=None if fix else why_no_fix(result),
        findings=result.diagnosis,
        judged=visible(result.coverage.words) if result.coverage else "",
    )


def _charts(result: ProbeResult) -> Iterator[Chart]:
    yield depth_chart(result, "output", "Variance of the output h")
    yield depth_chart(result, "output_gradient", "Variance of the gradient dL/dh")
    yield depth_chart(result, "weight_gradient", "Variance of the weight gradient dL/dW")
    if result.training:
        losses = result.training.losses
        yield Chart("losses", "Loss", "step", range(len(losses)), [Line("loss", losses)], log=False)


def depth_chart(result: ProbeResult, tensor: str, title: str) -> Chart:
    """Log10 of the variance of a tensor by layer, measured and predicted.

    Args:
        result: of one run.
        tensor: name of the tensor, as `output`.
        title: of the chart.
    """
    layers = result.layers
    zeros = [layer.layer for layer in layers if layer.tensor(tensor).variance == 0]
    lines = [Line("measured", [layer.tensor(tensor).variance_log10 for layer in layers], zeros=zeros)]
    predicted = [_log10(layer.prediction(tensor)[0]) for layer in layers]
    if any(value is not None for value in predicted):
        lines.append(Line("theory", predicted, "theory"))
    return Chart(
        name=tensor,
        title=title,
        x_label="layer",
        x=[layer.layer for layer in layers],
        lines=lines,
        note=gap_words(list(gaps(layers, tensor))),
        meaning=meaning(f"{tensor}.variance"),
    )


def _log10(value: float | None) -> float | None:
    return math.log10(value) if value else None


def _histogram(layer: LayerStats, name: str) -> dict[str, Any]:
    """The histogram of one tensor of one layer, as the script draws it."""
    stats = layer.tensor(name)
    data: dict[str, Any] = {"status": stats.status, "zero": stats.zero_fraction, "std": stats.std}
    if stats.histogram is not None:
        data |= {"low": stats.histogram.low, "high": stats.histogram.high, "counts": stats.histogram.counts}
    if name == "output" and layer.theory is not None and layer.theory.output_shares is not None:
        data["shares"] = layer.theory.output_shares
    return data


_GENERAL = (
    ("theory.output_variance", "theory of h var"),
    ("theory.z", "h z-score"),
    ("model_theory.end_to_end.output.variance", "theory of h var"),
    ("model_theory.end_to_end.output.z", "h z-score"),
    ("model_theory.local.output.variance", "local theory of h var"),
    ("model_theory.local.output.z", "local h z-score"),
    ("output.saturated_fraction", "saturated"),
    ("output.dead_fraction", "dead"),
    ("correlation", "cos"),
)
_GRADIENT = (
    ("theory.output_gradient_variance", "theory of dL/dh var"),
    ("theory.gradient_z", "dL/dh z-score"),
    ("model_theory.end_to_end.output_gradient.variance", "theory of dL/dh var"),
    ("model_theory.end_to_end.output_gradient.z", "dL/dh z-score"),
    ("model_theory.local.output_gradient.variance", "local theory of dL/dh var"),
    ("model_theory.local.output_gradient.z", "local dL/dh z-score"),
)
_LAST = (
    ("weight.std", "W std"),
    ("gradient_to_weight_ratio", "dW/W"),
    ("branch_ratio", "branch/stream"),
    ("gates.product", "mean gate"),
    ("gates.forget", "forget gate"),
    ("gates.update", "update gate"),
    ("gates.memory_steps", "memory steps"),
    ("fitting.before", "fit before"),
    ("fitting.after", "fit after"),
    ("loss_output_gradient_variance", "var of dloss/dh"),
    ("loss_weight_gradient_variance", "var of dloss/dW"),
)


def _meaning(name: str) -> str:
    """What a number is; of a prediction for a model, what the same number is for every net."""
    if name.startswith("model_theory."):
        start = "model_theory.local.output.variance" if ".local." in name else "theory.output_variance"
        return meaning("theory.z" if name.endswith(".z") else start)
    return meaning(name)


def _columns(result: ProbeResult) -> Iterator[Column[LayerStats]]:
    yield Column("layer", meaning("layer"), lambda layer: Cell(_layer_text(layer), layer.layer))
    yield Column("module", meaning("name"), lambda layer: word(layer.name or NOTHING))
    yield Column("fan_in", meaning("fan_in"), lambda layer: Cell(str(layer.fan_in), layer.fan_in))
    yield Column("fan_out", meaning("fan_out"), lambda layer: Cell(str(layer.fan_out), layer.fan_out))
    yield _moment("h std", "output", "std")
    yield _moment("h var", "output", "variance")
    yield from json_columns(_GENERAL, _meaning)
    yield _moment("dL/dh var", "output_gradient", "variance")
    yield from json_columns(_GRADIENT, _meaning)
    yield _moment("dL/dW var", "weight_gradient", "variance")
    yield from json_columns(_LAST)


def _layer_text(layer: LayerStats) -> str:
    return f"({layer.layer})" if layer.inside_branch else str(layer.layer)


def _moment(heading: str, tensor: str, name: str) -> Column[LayerStats]:
    """The column of a statistic of a tensor; a cell says how the dtype lost a number."""

    def cell(layer: LayerStats) -> Cell:
        stats = layer.tensor(tensor)
        value = getattr(stats, name)
        return Cell(value_text(stats, value), value)

    return Column(heading, meaning(f"{tensor}.{name}"), cell)
