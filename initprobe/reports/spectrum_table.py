"""The table of `initprobe spectrum`: singular values of several networks, and of each layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from initprobe.formatting import percent, short
from initprobe.reports.console import Console
from initprobe.reports.tables import plain_table
from initprobe.results.spectrum import Spectrum, SpectrumStats, SpectrumTheory

_MOST_ROWS = 100
_NOTES = """
s: singular value. spread: Var(s^2)/mean(s^2)^2. near 1: s in 0.8 .. 1.25.
zero: exactly 0 in this dtype. lost: float64 cannot tell it from 0. largest and
smallest: over all Jacobians, without zero and lost values. +-%: standard
deviation of the mean over draws. theory: for infinite width; finite networks
differ by the order of depth/width."""


def print_spectra(spectra: Sequence[Spectrum], to: Console, verbose: bool = False) -> None:
    """Print several networks side by side, then each alone.

    Args:
        spectra: of networks that share all but their weights.
        to: the console.
        verbose: print every layer of several networks too.
    """
    to.print(f"{spectra[0].title}\n{spectra[0].description.setting}", soft_wrap=True, markup=False)
    if len(spectra) > 1:
        to.print("\nend to end, dh_L/dh_0", markup=False)
        to.print(_table("init", [(spectrum.name, spectrum.end_to_end[-1]) for spectrum in spectra]))
    for spectrum in spectra:
        _report_one(spectrum, verbose or len(spectra) == 1, to)
    to.print(_NOTES, markup=False)
    if len(spectra) > 1 and not verbose:
        to.print("-v prints the table of every layer.", markup=False)


def _report_one(spectrum: Spectrum, every_layer: bool, to: Console) -> None:
    verdict = f"\n{spectrum.name}\n  {spectrum.verdict}".replace("; ", ";\n  ")
    to.print(Text(verdict, "bold green" if spectrum.isometric else "bold"), soft_wrap=True)
    for note in (spectrum.theory_note, spectrum.width_note):
        if note:
            to.print(note, soft_wrap=True, markup=False)
    if every_layer:
        to.print("\nsingle layers, dh_l/dh_l-1", markup=False)
        to.print(_table("l", [(str(stats.layer), stats) for stats in _thinned(spectrum.layers)]))
    to.print("\nend to end, dh_l/dh_0", markup=False)
    to.print(_table("l", [(str(stats.layer), stats) for stats in spectrum.end_to_end]))


def _thinned(layers: Sequence[SpectrumStats]) -> Sequence[SpectrumStats]:
    """At most about a hundred layers, evenly spaced; JSON has all."""
    # Counted from the end, so that the last layer is included.
    return layers[:: -math.ceil(len(layers) / _MOST_ROWS)][::-1]


_HEADINGS = (
    "s^2\nmean",
    "\n+-%",
    "\ntheory",
    "\nspread",
    "\ntheory",
    "largest\ns",
    "smallest\ns",
    "zero\n%",
    "lost\n%",
    "near\n1 %",
)
_WIDEST_NAME = 10


def _table(first: str, rows: Sequence[tuple[str, SpectrumStats]]) -> Table:
    table = plain_table(f"\n{first}", *_HEADINGS, left=(f"\n{first}",))
    names = table.columns[0]
    names.max_width, names.overflow, names.no_wrap, names.vertical = _WIDEST_NAME, "fold", False, "top"
    for name, stats in rows:
        table.add_row(name, *_cells(stats))
    return table


def _cells(stats: SpectrumStats) -> Iterator[str]:
    theory = stats.theory or SpectrumTheory(mean_square=None, mean_square_log10=None, spread=None)
    yield short(stats.mean_square, stats.mean_square_log10)
    yield short(None if stats.mean_square_sd is None else 100 * stats.mean_square_sd)
    yield short(theory.mean_square, theory.mean_square_log10)
    yield short(stats.spread)
    yield short(theory.spread)
    yield short(stats.largest, stats.largest_log10)
    yield short(stats.smallest, stats.smallest_log10)
    yield percent(stats.zero_fraction)
    yield percent(stats.lost_fraction)
    yield percent(stats.isometric_fraction)
