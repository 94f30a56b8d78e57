"""The page of Jacobian spectra: a chart over depth, a histogram and a table for each initializer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from initprobe.formatting import visible
from initprobe.reports.html_charts import Chart, Line
from initprobe.reports.html_page import page, spectrum_meaning
from initprobe.reports.html_tables import Cell, Column, json_columns, table
from initprobe.results.spectrum import Spectrum, SpectrumStats
from initprobe.results.summary import Environment

# A Jacobian has few singular values: its 200 bins are drawn as 40.
_MERGED = 5
_NUMBERS = (
    ("mean_square", "s^2 mean"),
    ("mean_square_sd", "SD over draws"),
    ("theory.mean_square", "theory of mean"),
    ("spread", "spread of s^2"),
    ("theory.spread", "theory of spread"),
    ("largest", "largest s"),
    ("smallest", "smallest s"),
    ("zero_fraction", "zero"),
    ("lost_fraction", "lost"),
    ("isometric_fraction", "near 1"),
)


def spectrum_page(spectra: Sequence[Spectrum], title: str, command: str, environment: Environment) -> str:
    """The report of spectra as HTML.

    Args:
        spectra: one per initializer.
        title: of the page.
        command: the command line that measures them again.
        environment: versions and machine.
    """
    parts = [_part(spectrum, number) for number, spectrum in enumerate(spectra)]
    charts = [chart for part in parts for chart in part["charts"]]
    return page(
        "spectrum",
        {"charts": [chart.data() for chart in charts]},
        title=visible(title),
        setting=visible(spectra[0].description.setting),
        command=visible(command),
        environment=environment,
        parts_of=parts,
    )


def _part(spectrum: Spectrum, number: int) -> dict[str, Any]:
    """What the template shows of one initializer."""
    charts = [_depth(spectrum, f"depth-{number}"), _density(spectrum.end_to_end[-1], f"density-{number}")]
    return {
        "name": visible(spectrum.name),
        "isometric": spectrum.isometric,
        "verdict": visible(spectrum.verdict),
        "notes": [visible(note) for note in (spectrum.theory_note, spectrum.width_note) if note],
        "charts": [chart for chart in charts if not chart.is_empty],
        "tables": [
            ("End to end, dh_l/dh_0", table(_columns(), spectrum.end_to_end)),
            ("Single layers, dh_l/dh_l-1", table(_columns(), spectrum.layers)),
        ],
    }


def _columns() -> Iterator[Column[SpectrumStats]]:
    yield Column("layer", spectrum_meaning("layer"), lambda stats: Cell(str(stats.layer), stats.layer))
    yield from json_columns(_NUMBERS, meaning=spectrum_meaning)


def _depth(spectrum: Spectrum, name: str) -> Chart:
    """Log10 of singular values of the first layers, by their number."""
    ends = spectrum.end_to_end
    lines = [Line("largest", [stats.largest_log10 for stats in ends])]
    for percentile, label in (("p95", "95%"), ("p50", "median"), ("p5", "5%")):
        values = [getattr(stats.percentiles_log10, percentile, None) for stats in ends]
        lines.append(Line(label, values))
    lines.append(Line("smallest", [stats.smallest_log10 for stats in ends]))
    predicted = [_half(stats.theory.mean_square_log10 if stats.theory else None) for stats in ends]
    if any(value is not None for value in predicted):
        lines.append(Line("theory of the rms", predicted, "theory"))
    return Chart(name, "Singular values s of dh_l/dh_0", "layer", [stats.layer for stats in ends], lines)


def _half(value: float | None) -> float | None:
    return None if value is None else value / 2


def _density(stats: SpectrumStats, name: str) -> Chart:
    """The histogram of log10 s of the whole network."""
    histogram = stats.histogram_log10
    if histogram is None or histogram.high == histogram.low:
        return Chart(name, "", "", [0], [Line("", [None])])
    counts = [sum(histogram.counts[first : first + _MERGED]) for first in range(0, len(histogram.counts), _MERGED)]
    width = (histogram.high - histogram.low) / len(counts)
    x = [histogram.low + (place + 0.5) * width for place in range(len(counts))]
    line = Line("share per bin", [count / sum(counts) for count in counts])
    return Chart(name, "Histogram of log10 s of the whole network", "log10 s", x, [line], log=False, whole=False)
