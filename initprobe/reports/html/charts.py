"""Line charts: as data for the script, and as a still SVG for a page without scripts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from markupsafe import Markup, escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 270, 64, 34, 28
_MOST_TICKS = 6
_MOST_STILL = 4  # lines of a still chart; more labels have no room


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        label: in the legend.
        values: one per place on the x axis; log10 of the number where the chart is logarithmic; None for a gap.
        kind: how it is drawn.
    """

    label: str
    values: Sequence[float | None]
    kind: Literal["measured", "theory"] = "measured"


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
    """

    name: str
    title: str
    x_label: str
    x: Sequence[float]
    lines: Sequence[Line]
    log: bool = True
    whole: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return all(value is None for line in self.lines for value in line.values)

    def data(self) -> dict[str, Any]:
        """What the script draws."""
        return {**asdict(self), "x": list(self.x)}

    def svg(self) -> Markup:
        """The chart as a still picture."""
        low, high = self._range()
        parts = [*self._ticks(low, high), *self._paths(low, high), *self._legend()]
        label = escape(f"{self.title}, by {self.x_label}; the table holds the numbers")
        head = f'<svg class="still" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        return Markup(f"{head}{''.join(parts)}</svg>")

    def _range(self) -> tuple[float, float]:
        """The range of y; at least one decade if logarithmic, so that rounding is no slope.

        `rangeOf` in charts.js has the same rule. The script draws what a reader selects, so it cannot ask Python.
        """
        values = [value for line in self.lines for value in line.values if value is not None] or [0.0]
        low, high = min(values), max(values)
        least = 1.0 if self.log else 1e-3 * max(abs(high), 1e-300)
        room = max(least - (high - low), 0.0) / 2
        margin = 0.05 * max(high - low, least)
        return low - room - margin, high + room + margin

    def _place(self, x: float, y: float, low: float, high: float) -> str:
        span = (self.x[-1] - self.x[0]) or 1
        across = _LEFT + (x - self.x[0]) / span * (_WIDTH - _LEFT - 10)
        return f"{across:.1f},{_TOP + (high - y) / (high - low) * (_HEIGHT - _BOTTOM - _TOP):.1f}"

    def _paths(self, low: float, high: float) -> Iterator[str]:
        for number, line in enumerate(self.lines[:_MOST_STILL]):
            for part in _runs(self.x, line.values):
                points = " ".join(self._place(x, y, low, high) for x, y in part)
                yield f'<polyline class="{line.kind} c{number}" points="{points}"/>'

    def _ticks(self, low: float, high: float) -> Iterator[str]:
        for value in ticks(low, high, whole=self.log):
            x, y = self._place(self.x[0], value, low, high).split(",")
            yield f'<line class="grid" x1="{x}" x2="{_WIDTH - 10}" y1="{y}" y2="{y}"/>'
            word = f'10<tspan dy="-5" font-size="9">{value:g}</tspan>' if self.log else f"{value:g}"
            yield f'<text x="{_LEFT - 6}" y="{y}" text-anchor="end" dominant-baseline="middle">{word}</text>'
        for place in ticks(self.x[0], self.x[-1], whole=self.whole):
            x = self._place(place, low, low, high).split(",")[0]
            yield f'<text x="{x}" y="{_HEIGHT - 18}" text-anchor="middle">{place:g}</text>'
        yield f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 3}" text-anchor="middle">{escape(self.x_label)}</text>'

    def _legend(self) -> Iterator[str]:
        """The labels above the chart, as far as there is room."""
        step = (_WIDTH - _LEFT) // _MOST_STILL
        for number, line in enumerate(self.lines[:_MOST_STILL]):
            x = _LEFT + step * number
            yield f'<line class="{line.kind} c{number}" x1="{x}" x2="{x + 22}" y1="12" y2="12"/>'
            yield f'<text x="{x + 28}" y="12" dominant-baseline="middle">{escape(line.label[:18])}</text>'


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
    """At most six round numbers from low to high: 1, 2 or 5 times a power of ten apart."""
    rough = (high - low) / _MOST_TICKS or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough)
    step = max(1.0, float(round(step))) if whole else step
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
