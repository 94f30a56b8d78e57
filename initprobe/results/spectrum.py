"""The singular values of a network's Jacobians, per layer and end to end, beside theory.

If all singular values of the end-to-end Jacobian are near 1, the network changes the length of no direction. This is
dynamical isometry (Saxe et al. 2014, arXiv:1312.6120; Pennington et al. 2017, arXiv:1711.04735).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, JsonValue

from initprobe.results.base import (
    SCHEMA_VERSION,
    Finite,
    Histogram,
    Percentiles,
    Record,
    Share,
    Status,
    dotted_names,
)
from initprobe.results.display import FigureKind, HasFigures, Row, draw_spectrum, print_spectrum
from initprobe.results.summary import Description

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.reports.console import Console
    from initprobe.reports.figures.look import Look


class SpectrumDensity(Record):
    """The predicted density of log10 s, in equal bins from `low` to `high`.

    Attributes:
        low: log10 of a small singular value; few are below it.
        high: log10 of the largest.
        shares: share of the singular values in each bin; the rest is smaller, or 0.
    """

    low: Finite
    high: Finite
    shares: tuple[Share, ...]


class SpectrumTheory(Record):
    """What free probability predicts at infinite width, from the weights' variance and the given inputs.

    Attributes:
        mean_square: mean of `s^2`; null beyond the float range.
        mean_square_log10: its log10; null for 0.
        spread: `Var(s^2) / mean(s^2)^2`; null where the mean is 0.
        density: of log10 s, end to end. Null for a single layer's Jacobian, where layers are not square, and where all
            singular values are equal.
    """

    mean_square: Finite | None
    mean_square_log10: Finite | None
    spread: Finite | None
    density: SpectrumDensity | None = None


class SpectrumStats(Record):
    """The singular values s of one layer's Jacobian `dh_l/dh_{l-1}`, or of `dh_l/dh_0`, over samples and draws.

    A number beyond the float range is null and its log10 is not.

    Attributes:
        layer: l, 1 for the first.
        count: singular values of one Jacobian, its smaller dimension.
        status: `ok`; else the worst status of the pre-activations up to this layer, and all measurements are null.
        mean_square: mean of `s^2`, zeros counted: each Jacobian's, averaged.
        mean_square_log10: its log10; null for 0.
        mean_square_sd: standard deviation (ddof 1) over draws of a draw's mean of `s^2`, in units of `mean_square`. The
            samples of a draw share its weights. Null for one draw.
        spread: `Var(s^2) / mean(s^2)^2` of each Jacobian, averaged; null where all are 0.
        spread_sd: standard deviation (ddof 1) over draws of a draw's spread; null for one draw.
        largest: the largest s of all Jacobians.
        largest_log10: its log10.
        smallest: the smallest s of all Jacobians that is neither 0 nor lost.
        smallest_log10: its log10.
        zero_fraction: share that is exactly 0. Then a layer in between is narrower, or slopes or weights are 0
            in this dtype. A slope of tanh is 0 within rounding of 1.
        lost_fraction: share that float64 cannot distinguish from 0.
        isometric_fraction: share within 0.8 and 1.25.
        percentiles_log10: of log10 s, zeros and lost ones left out.
        histogram_log10: the same as counts in 200 equal bins; one bin of width 0 if all are equal.
        theory: the prediction; null where none holds, and `Spectrum.theory_note` says why.
    """

    layer: Annotated[int, Field(ge=1)]
    count: Annotated[int, Field(ge=1)]
    status: Status
    mean_square: Finite | None = None
    mean_square_log10: Finite | None = None
    mean_square_sd: Finite | None = None
    spread: Finite | None = None
    spread_sd: Finite | None = None
    largest: Finite | None = None
    largest_log10: Finite | None = None
    smallest: Finite | None = None
    smallest_log10: Finite | None = None
    zero_fraction: Share | None = None
    lost_fraction: Share | None = None
    isometric_fraction: Share | None = None
    percentiles_log10: Percentiles | None = None
    histogram_log10: Histogram | None = None
    theory: SpectrumTheory | None = None


class Spectrum(Record, HasFigures):
    """What `spectrum` returns.

    Attributes:
        schema_version: version of this layout; `schema` in JSON.
        config: the experiment as asked for.
        description: the experiment in words.
        samples: inputs of each network at which Jacobians were taken.
        theory_note: why there is no theory, in words; null with theory.
        width_note: why theory cannot hold at this width, in words; null where it can.
        isometric: at least 90% of the end-to-end singular values lie within 0.8 and 1.25; null if not measured.
        verdict: the same in words, with numbers.
        layers: the spectrum of each layer alone.
        end_to_end: the spectrum of the first 1, 2, 4, ... layers, and of all.
    """

    schema_version: Literal[1] = Field(default=SCHEMA_VERSION, alias="schema")
    config: dict[str, JsonValue]
    description: Description
    samples: int
    theory_note: str | None
    width_note: str | None
    isometric: bool | None
    verdict: str
    layers: tuple[SpectrumStats, ...]
    end_to_end: tuple[SpectrumStats, ...]

    @property
    def name(self) -> str:
        """The initializer, which distinguishes networks of one study."""
        return str(self.config["init"])

    @property
    def title(self) -> str:
        """What such networks share, in words."""
        return f"Jacobians of {self.config['act']} networks, {self.description.shape}"

    def in_a_line(self) -> str:
        """The verdict and the network."""
        return f"{self.verdict}; {self.description.title}"

    def _draw(self, kind: FigureKind, look: Look) -> Figure:
        return draw_spectrum(self, kind, look)

    def _print(self, to: Console) -> None:
        print_spectrum(self, to)

    def _rows(self) -> Iterable[Row]:
        names = list(dotted_names(SpectrumStats, ("counts", "shares")))
        for jacobian, spectra in (("layer", self.layers), ("end_to_end", self.end_to_end)):
            for stats in spectra:
                yield {"jacobian": jacobian} | {name: stats.at(name) for name in names}
