"""Show the singular values of Jacobians, beside theory.

The Jacobians are dh_l/dh_l-1 of each layer and dh_L/dh_0 of the whole network.

A network is dynamically isometric if all singular values s of the whole network are near 1. The networks are those of
`initprobe run` with the same seed and --dtype.

\b
Examples:
  initprobe spectrum --init orthogonal --init lecun --act tanh --width 200
  initprobe spectrum --init orthogonal --init he --act relu --figure s.png
  initprobe spectrum --sigma-w 1.05 --act tanh --export-json spectrum.json
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from initprobe.cli.experiment_config import config_from
from initprobe.cli.html_report import report_option, typed
from initprobe.cli.options import LossOptions, MeasurementOptions, NetworkOptions, WeightListOptions, threads_option
from initprobe.cli.parameters import Choice, command_of, group, option

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from initprobe.config.probe_config import ProbeConfig
    from initprobe.probe.experiment import Experiment
    from initprobe.results.spectrum import Spectrum, SpectrumStats


# A longer time is announced.
_PATIENCE_S = 60
_MOST_ROWS = 100


@dataclass(frozen=True, kw_only=True)
class SpectrumOptions:
    """The options of `initprobe spectrum`."""

    weights: WeightListOptions = group(WeightListOptions)
    act: str = option("--act", required=True, metavar="NAME[:...]", help="Activation.")
    network: NetworkOptions = group(NetworkOptions)
    samples: int = option(
        "--samples",
        type=click.IntRange(1, 100_000),
        default=2,
        show_default=True,
        metavar="N",
        help="Inputs per network; each gives one Jacobian per layer.",
    )
    draws: int = option("--draws", type=int, default=2, show_default=True, metavar="N", help="Independent networks.")
    dtype: Literal["float32", "float64"] = option(
        "--dtype",
        type=Choice(["float32", "float64"]),
        default="float64",
        show_default=True,
        help="Precision of the network.",
    )
    threads: int | None = threads_option()
    figure: str | None = option(
        "--figure", metavar="FILE", help="Draw log10 s of the whole network, and by depth; png, svg or pdf."
    )
    export_json: str | None = option("--export-json", metavar="FILE|-", help="Write a list of all spectra as JSON.")
    report: str | None = report_option()
    verbose: bool = option(
        "-v", "--verbose", is_flag=True, help="Print the table of every layer, also for several initializers."
    )
    full_weight_gradient: bool = option(
        "--full-weight-gradient", is_flag=True, help="Accepted without effect: a Jacobian has no weight gradient."
    )

    @property
    def needs_densities(self) -> bool:
        """Whether an output shows predicted densities."""
        return bool(self.figure or self.export_json)

    def configs(self) -> list[ProbeConfig]:
        """The experiments, one per initializer. A Jacobian is taken at single inputs, which are rows of the batch."""
        measurement = MeasurementOptions(batch=max(self.samples, 2), draws=self.draws, dtype=self.dtype)
        return [
            config_from(self.act, weights, self.network, measurement, LossOptions())
            for weights in self.weights.choices()
        ]


@command_of(SpectrumOptions, help=__doc__)
def command(options: SpectrumOptions) -> None:
    """Measure the singular values of the Jacobians of some networks."""
    from initprobe.cli import outputs
    from initprobe.cli.run_output import text_stream
    from initprobe.probe.experiment import prepare
    from initprobe.reports.console import console

    fmt = outputs.figure_format(options.figure) if options.figure else None
    outputs.check_exports([options.figure, options.export_json, options.report], None)
    experiments = [prepare(config) for config in options.configs()]
    _announce_time(experiments, options)
    spectra = _measured(experiments, options)
    if options.figure and fmt:
        from initprobe.reports.figures.spectrum import draw_spectra

        outputs.write_figure(options.figure, fmt, draw_spectra(spectra))
    if options.export_json:
        outputs.write_text(options.export_json, f"[{','.join(each.model_dump_json() for each in spectra)}]\n")
    if options.report:
        from initprobe.engine.threads import checked_threads
        from initprobe.reports.html_spectrum import spectrum_page
        from initprobe.results.environment import environment

        machine = environment(checked_threads(options.threads))
        outputs.write_page(options.report, spectrum_page(spectra, spectra[0].title, typed(), machine))
    _report(spectra, options.verbose, console(text_stream(options.export_json, options.report)))


def _announce_time(experiments: Sequence[Experiment], options: SpectrumOptions) -> None:
    from initprobe.studies.spectrum import seconds_needed

    seconds = sum(seconds_needed(experiment, options.samples, options.threads) for experiment in experiments)
    if seconds > _PATIENCE_S:
        minutes = f"about {math.ceil(seconds / 60):,} min of singular values (their cost grows as width^3)"
        click.echo(f"note: {minutes}; smaller --width, --samples or --draws take less", err=True)


def _measured(experiments: Sequence[Experiment], options: SpectrumOptions) -> list[Spectrum]:
    from initprobe.cli.progress import progress_bar
    from initprobe.probe.progress import part_of
    from initprobe.studies.spectrum import measure

    spectra = []
    with progress_bar("singular values") as bar:
        for number, experiment in enumerate(experiments):
            part = part_of(bar, number, len(experiments))
            spectra.append(
                measure(
                    experiment,
                    options.samples,
                    threads=options.threads,
                    progress=part,
                    densities=options.needs_densities,
                )
            )
    return spectra


_NOTES = """
s: singular value. spread: Var(s^2)/mean(s^2)^2. near 1: s in 0.8 .. 1.25.
zero: exactly 0 in this dtype. lost: float64 cannot tell it from 0. largest and
smallest: over all Jacobians, without zero and lost values. +-%: standard
deviation of the mean over draws. theory: for infinite width; finite networks
differ by the order of depth/width."""


def _report(spectra: Sequence[Spectrum], verbose: bool, to: Console) -> None:
    """Print several networks side by side, then each alone."""
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
    from rich.text import Text

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
    from initprobe.reports.tables import plain_table

    table = plain_table(f"\n{first}", *_HEADINGS, left=(f"\n{first}",))
    names = table.columns[0]
    names.max_width, names.overflow, names.no_wrap, names.vertical = _WIDEST_NAME, "fold", False, "top"
    for name, stats in rows:
        table.add_row(name, *_cells(stats))
    return table


def _cells(stats: SpectrumStats) -> Iterator[str]:
    from initprobe.formatting import percent, short
    from initprobe.results.spectrum import SpectrumTheory

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
