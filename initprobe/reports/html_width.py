"""The page of a coordinate check: its verdict, a chart for each quantity, and a table of slopes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from initprobe.formatting import visible
from initprobe.reports.html_charts import Chart, Line
from initprobe.reports.html_page import meaning, page
from initprobe.reports.html_tables import Cell, Column, json_columns, table, word
from initprobe.reports.width_table import line_of, rows_of
from initprobe.results.coordinate_check import CoordinateCheck, Quantity, WidthLine

_NAMES: dict[Quantity, str] = {
    "output": "h",
    "gradient": "dL/dh",
    "change": "change of h",
    "own_change": "update",
}
_NUMBERS = (("slope", "slope"), ("slope_se", "standard error"), ("theory", "theory"))


def width_page(check: CoordinateCheck, command: str) -> str:
    """The report of a coordinate check as HTML.

    Args:
        check: what was measured.
        command: the command line that measures it again.
    """
    charts = [chart for chart in _charts(check) if not chart.is_empty]
    return page(
        "width",
        {"charts": [chart.data() for chart in charts]},
        title=visible(check.title),
        setting=visible(f"widths {', '.join(map(str, check.widths))}; {check.setting}"),
        command=visible(command),
        environment=check.environment,
        transfers=check.transfers,
        verdict=visible(check.verdict),
        findings=[(finding.severity, visible(finding.text)) for finding in check.findings],
        fix=[visible(line) for line in check.fix],
        notes=[visible(note) for note in [check.fix_note] if note],
        chart_list=charts,
        tables=[("Slopes of log rms against log width", table(_columns(), check.lines))],
    )


def _columns() -> Iterator[Column[WidthLine]]:
    yield Column("layer", meaning("layer"), lambda line: word(line.layer))
    yield Column("quantity", "", lambda line: word(_NAMES[line.quantity]))
    yield Column("step", "", lambda line: Cell(str(line.step), line.step))
    yield from json_columns(_NUMBERS)


def _charts(check: CoordinateCheck) -> Iterator[Chart]:
    rows = rows_of(check)
    panels: list[tuple[Quantity, int]] = [("output", 0), ("gradient", 0)]
    panels += [("change", step) for step in range(1, check.steps + 1)]
    for quantity, step in panels:
        known = [(row.name, line) for row in rows if (line := line_of(check, row, quantity, step)) is not None]
        lines = [Line(visible(name), _means(line)) for name, line in known if line.slope is not None]
        when = f"after step {step}" if step else "before training"
        title = f"rms of {_NAMES[quantity]}, {when}"
        drawn = lines or [Line("", [None] * len(check.widths))]
        yield Chart(f"{quantity}-{step}", title, "width", list(check.widths), drawn, x_log=True)


def _means(line: WidthLine) -> list[float | None]:
    """log10 of the rms by width, averaged over seeds."""
    return [sum(math.log10(rms) for rms in row if rms) / len(row) for row in line.rms]
