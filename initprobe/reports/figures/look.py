"""How a figure should look: its size, title, panels per row and style; and where its axes go, in inches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initprobe.errors import ConfigError
from initprobe.reports.figures.run_data import Heading
from initprobe.reports.figures.style import FONT, blank_figure
from initprobe.reports.figures.titles import centred

Style = Literal["screen", "paper"]
_SCALES: dict[Style, float] = {"screen": 1.0, "paper": 0.75}
_MARGINS, _LEAST_POINTS = 0.6, 5.6  # share of the height for letters, and their least size, with labels of 5
_SMALLEST, _LARGEST = 2.0, 50.0  # inches of a side
_COLUMN, _PAPER_ROW = 3.3, 0.75  # inches
_LEGEND = 0.15  # more inches for a legend on paper
_THINNER = 0.6  # lines and markers on paper


@dataclass(frozen=True)
class Look:
    """What the caller of `ProbeResult.figure` may choose.

    Attributes:
        size: width and height in inches; None for that of the kind.
        title: instead of the title of the result. An empty text for none. None for its own, or none on paper.
        columns: panels of histograms in a row; None for all of them in one row, or five on paper.
        style: `screen`; `paper` has letters of 7.5 points, legible in a column 3.3 inches wide.
        shrink: of letters and margins, where the size leaves too little room; labels keep 5 points.
    """

    size: tuple[float, float] | None = None
    title: str | None = None
    columns: int | None = None
    style: Style = "screen"
    shrink: float = 1.0

    def __post_init__(self) -> None:
        if self.style not in _SCALES:
            raise ConfigError(f"must be one of {', '.join(_SCALES)}, not {self.style!r}", field="style")
        if self.title is not None and not isinstance(self.title, str):
            raise ConfigError(f"must be a text, not {self.title!r}", field="title")
        if self.columns is not None and not (isinstance(self.columns, Integral) and self.columns >= 1):
            raise ConfigError(f"must be a whole number of at least 1, not {self.columns!r}", field="columns")
        if self.size is not None and not _is_size(self.size):
            raise ConfigError(f"must be a width and a height of {_SMALLEST:g} to {_LARGEST:g} inches", field="size")

    @property
    def scale(self) -> float:
        """Size of letters and margins, 1 on a screen."""
        return self.shrink * _SCALES[self.style]

    def shrunk(self, taken: float) -> Look:
        """The look with smaller letters where margins take more than their share of a fixed height.

        Args:
            taken: inches of the height that letters of this look take.
        """
        if self.size is None or taken <= _MARGINS * self.size[1]:
            return self
        least = _LEAST_POINTS / FONT / self.scale
        return replace(self, shrink=max(_MARGINS * self.size[1] / taken, least, 0.0) * self.shrink)

    @property
    def settings(self) -> dict[Any, Any]:
        """Settings of matplotlib for this style."""
        ticks = {f"{axis}tick.major.{name}": 3.5 * self.scale for axis in "xy" for name in ("size", "pad")}
        sizes = {"font.size": FONT, "axes.linewidth": 0.8, "axes.labelpad": 4.0}
        return {name: size * self.scale for name, size in sizes.items()} | ticks

    @property
    def sides(self) -> tuple[float, float | None] | None:
        """Width and height in inches, where they are fixed; on paper the height follows from the panels."""
        return self.size or ((_COLUMN, None) if self.style == "paper" else None)

    def per_row(self, panels: int) -> int:
        """Panels of histograms in one row."""
        return min(self.columns or (5 if self.style == "paper" else panels), panels)


def _is_size(size: object) -> bool:
    """Whether it is a pair of sides in range."""
    if not isinstance(size, Sequence) or len(size) != 2:
        return False
    return all(isinstance(side, Real) and _SMALLEST <= float(side) <= _LARGEST for side in size)


SCREEN = Look()


@dataclass(frozen=True)
class Block:
    """A row of a figure.

    Attributes:
        weight: its share of the height that margins leave.
        above: inches for headings, on a screen.
        below: inches for ticks and labels.
        has_legend: a legend stands above, which takes more rows on paper.
    """

    weight: float
    above: float
    below: float
    has_legend: bool = False

    def heading(self, look: Look) -> float:
        """Inches above the axes."""
        return look.scale * self.above + (look.shrink * _LEGEND if self.has_legend and look.style == "paper" else 0.0)

    def margins(self, look: Look) -> float:
        """Inches above and below the axes."""
        return self.heading(look) + look.scale * self.below


CHART = Block(2.0, 0.35, 0.6, has_legend=True)  # alone in its row


def fitted(look: Look, blocks: Sequence[Block]) -> Look:
    """The look whose letters leave room for the charts. Within the context of `style`, its letters hold at once.

    Args:
        look: as the caller wants it.
        blocks: the rows of the figure.
    """
    smaller = look.shrunk(_title_height(look) + sum(block.margins(look) for block in blocks))
    mpl.rcParams.update(smaller.settings)
    return smaller


def sheet(heading: Heading, look: Look, width: float, height: float, blocks: Sequence[Block]) -> Figure:
    """An empty figure with its title.

    Args:
        heading: of what is drawn.
        look: as the caller wants it.
        width: in inches on a screen, where `look` has no size; a column of 3.3 on paper.
        height: in inches on a screen; on paper it follows from the blocks.
        blocks: the rows of the figure.
    """
    if look.size is None and look.style == "paper":
        margins = sum(block.margins(look) for block in blocks)
        height = _title_height(look) + margins + _PAPER_ROW * sum(block.weight for block in blocks)
        width = _COLUMN
    figure = blank_figure(*(look.size or (width, height)))
    if look.title is not None:
        centred(figure, 0.28 * look.scale, look.title, fontsize=14 * look.scale, weight="bold")
    elif look.style == "screen":
        centred(figure, 0.28, heading.title, fontsize=14, weight="bold")
        centred(figure, 0.56, heading.details, fontsize=10, color="#333333")
    return figure


def _title_height(look: Look) -> float:
    """Inches that the title takes."""
    if look.title is not None:
        return 0.5 * look.scale if look.title else 0.0
    return 0.72 if look.style == "screen" else 0.0


def stacked(figure: Figure, look: Look, blocks: Sequence[Block], left: float = 0.8, right: float = 0.2) -> list[Axes]:
    """Axes below each other, one per block; margins are in inches on a screen and scale with the letters.

    Args:
        figure: to draw in.
        look: its size and letters.
        blocks: one per axes, top to bottom.
        left: left margin.
        right: right margin.
    """
    width, height = figure.get_size_inches()
    scale, top = look.scale, height - _title_height(look)
    margins = sum(block.margins(look) for block in blocks)
    unit = max(top - margins, 0.2 * len(blocks)) / sum(block.weight for block in blocks)
    axes = []
    for block in blocks:
        top -= block.heading(look) + block.weight * unit
        box = (scale * left, top, width - scale * (left + right), block.weight * unit)
        axes.append(figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height)))
        top -= scale * block.below
    return axes


def thinned(figure: Figure) -> Figure:
    """The figure with thinner lines and smaller markers, for paper."""
    for line in figure.findobj(Line2D):
        line.set_linewidth(_THINNER * line.get_linewidth())
        line.set_markersize(_THINNER * line.get_markersize())
    return figure
