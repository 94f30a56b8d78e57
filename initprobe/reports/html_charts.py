"""Line charts: as data for the script, and as a still SVG for a page without scripts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from markupsafe import Markup, escape

from initprobe.reports.log_axis import log_ticks, plain_number, power_of_ten

_WIDTH, _PLOT, _LEFT, _RIGHT, _BOTTOM = 640, 210, 64, 10, 34
_ROW, _KEY, _LETTER = 18, 28, 6.6  # height of a row of the legend, width of a line in it, width of a letter
_LONGEST_LABEL = 48
_MOST_TICKS = 6
MOST_LINES = 8  # as many as there are colours


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        label: in the legend.
        values: one per place on the x axis; log10 of the number where the chart is logarithmic. None for a gap.
        kind: how it is drawn.
        zeros: places on the x axis where the number is exactly 0, which has no log10.
        last: the last place on the x axis that exists for this line; None for all.
    """

    label: str
    values: Sequence[float | None]
    kind: Literal["measured", "theory"] = "measured"
    zeros: Sequence[int] = ()
    last: int | None = None

    @classmethod
    def of_layers(cls, label: str, values: Sequence[float | None], zeros: Sequence[int], depth: int) -> Line:
        """A line of a net that may have fewer layers than the chart.

        Args:
            label, values, zeros: as of the line, one value per layer of the net.
            depth: the layers of the chart.
        """
        return cls(label, [*values, *[None] * (depth - len(values))], zeros=zeros, last=len(values))

    @property
    def key(self) -> str:
        """The label in a still legend, with the reason where no point of the line is drawn."""
        whole = self.zeros and all(value is None for value in self.values)
        return _clipped(f"{self.label} (0 in all layers)" if whole else self.label)


@dataclass(frozen=True)
class Chart:
    """A line chart.

    Attributes:
        name: of the element on the page.
        title: above it.
        x_label: of the x axis.
        x: places on the x axis, ascending.
        lines: what is drawn.
        log: whether values are log10 of the numbers.
        whole: whether places on the x axis are whole numbers.
        x_log: whether the x axis is logarithmic; its ticks are then the places themselves.
        note: on what the lines cannot show; may be empty.
        meaning: of the number, from the glossary; may be empty.
    """

    name: str
    title: str
    x_label: str
    x: Sequence[float]
    lines: Sequence[Line]
    log: bool = True
    whole: bool = True
    x_log: bool = False
    note: str = ""
    meaning: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return all(value is None for line in self.lines for value in line.values)

    def data(self) -> dict[str, Any]:
        """What the script draws."""
        return {**asdict(self), "x": list(self.x)}

    def svg(self) -> Markup:
        """The chart as a still picture, with its legend."""
        return Markup(_Still(self).text())


@dataclass(frozen=True)
class _Still:
    """A chart as SVG: rows of the legend, and the plot below them."""

    chart: Chart

    @property
    def lines(self) -> Sequence[Line]:
        """The first lines; each has its own colour."""
        return self.chart.lines[:MOST_LINES]

    def text(self) -> str:
        keys = list(self._keys())
        top = _ROW * (1 + max((row for row, _ in keys), default=0)) + 10
        height = top + _PLOT + _BOTTOM
        label = escape(f"{self.chart.title}, by {self.chart.x_label}; the table holds the numbers")
        head = f'<svg class="still" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">'
        low, high = self._range()
        plot = "".join([*self._ticks(low, high), *self._paths(low, high)])
        numbered = enumerate(zip(keys, self.lines, strict=True))
        legend = "".join(_key(*place, line, number) for number, (place, line) in numbered)
        return f'{head}{legend}<g transform="translate(0 {top})">{plot}</g></svg>'

    def _keys(self) -> Iterator[tuple[int, float]]:
        """Row and place of each label of the legend."""
        row, x = 0, float(_LEFT)
        for line in self.lines:
            width = _KEY + _LETTER * len(line.key) + 14
            if x > _LEFT and x + width > _WIDTH:
                row, x = row + 1, float(_LEFT)
            yield row, x
            x += width

    def _range(self) -> tuple[float, float]:
        """The range of y; at least one decade if logarithmic, so that rounding is no slope.

        `rangeOf` in charts.js has the same rule. The script draws what a reader selects, so it cannot ask Python.
        """
        values = [value for line in self.lines for value in line.values if value is not None] or [0.0]
        low, high = min(values), max(values)
        least = 1.0 if self.chart.log else 1e-3 * max(abs(high), 1e-300)
        room = max(least - (high - low), 0.0) / 2
        margin = 0.05 * max(high - low, least)
        return low - room - margin, high + room + margin

    def _across(self, x: float) -> float:
        first, last = self.chart.x[0], self.chart.x[-1]
        if self.chart.x_log:
            first, last, x = math.log(first), math.log(last), math.log(x)
        return _LEFT + (x - first) / ((last - first) or 1) * (_WIDTH - _LEFT - _RIGHT)

    def _paths(self, low: float, high: float) -> Iterator[str]:
        for number, line in enumerate(self.lines):
            for part in _runs(self.chart.x, line.values):
                points = [f"{self._across(x):.1f},{_down(y, low, high):.1f}" for x, y in part]
                yield f'<polyline class="{line.kind} c{number}" points="{" ".join(points)}"/>'
                if len(part) == 1:  # a line of one point is not seen
                    x, y = points[0].split(",")
                    yield f'<circle class="c{number}" cx="{x}" cy="{y}" r="2"/>'

    def _ticks(self, low: float, high: float) -> Iterator[str]:
        chart = self.chart
        for value in log_ticks(low, high) if chart.log else ticks(low, high):
            y = f"{_down(value, low, high):.1f}"
            yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
            word = _power_words(value) if chart.log else f"{value:g}"
            yield f'<text x="{_LEFT - 6}" y="{y}" text-anchor="end" dominant-baseline="middle">{word}</text>'
        for place in chart.x if chart.x_log else ticks(chart.x[0], chart.x[-1], whole=chart.whole):
            yield f'<text x="{self._across(place):.1f}" y="{_PLOT + 16}" text-anchor="middle">{place:g}</text>'
        yield f'<text x="{_WIDTH / 2}" y="{_PLOT + 31}" text-anchor="middle">{escape(chart.x_label)}</text>'


def _down(y: float, low: float, high: float) -> float:
    return (high - y) / (high - low) * _PLOT


def _key(row: int, x: float, line: Line, number: int) -> str:
    """A line of the legend with its label."""
    y = 12 + _ROW * row
    drawn = f'<line class="{line.kind} c{number}" x1="{x:g}" x2="{x + 22:g}" y1="{y}" y2="{y}"/>'
    return f'{drawn}<text x="{x + _KEY:g}" y="{y}" dominant-baseline="middle">{escape(line.key)}</text>'


def _clipped(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 3]}..."


def _power_words(log10: float) -> str:
    exponent = power_of_ten(log10)
    return plain_number(log10) if exponent is None else f'10<tspan dy="-5" font-size="9">{exponent}</tspan>'


def _runs(x: Sequence[float], values: Sequence[float | None]) -> Iterator[list[tuple[float, float]]]:
    """The parts of a line between its gaps."""
    part: list[tuple[float, float]] = []
    for place, value in zip(x, values, strict=True):
        if value is not None:
            part.append((place, value))
        elif part:
            yield part
            part = []
    if part:
        yield part


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """At most six round numbers from low to high: 1, 2 or 5 times a power of ten apart.

    Args:
        low: lower end.
        high: upper end.
        whole: whole numbers only.
    """
    rough = (high - low) / _MOST_TICKS or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough)
    step = max(1.0, float(round(step))) if whole else step
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
