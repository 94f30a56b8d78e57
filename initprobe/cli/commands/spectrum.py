"""`initprobe spectrum`: singular values of Jacobians, layer by layer and end to end."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initprobe.cli.options import config_from, experiment_options, scales

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console
    from rich.table import Table

    from initprobe.probe.experiment import Experiment
    from initprobe.results.spectrum import Spectrum, SpectrumStats


# A Jacobian is taken at one input: there is no batch, and no verdict with thresholds.
_LEFT_OUT = ("batch", "batches", "draws", "dtype", "thresholds")
_OFFERED = click.command()(experiment_options(lambda: None)).params
_SHARED = [option for option in _OFFERED if option.name not in _LEFT_OUT]
# Beyond this the user is told how long it will take.
_PATIENCE_S = 60
_MOST_ROWS = 100


@click.command("spectrum", params=_SHARED)
@click.option("--init", "inits", multiple=True, metavar="NAME[:...]", help="Initializer; may be repeated.")
@click.option(
    "--sigma-w", "sigma_ws", multiple=True, metavar="S", help="Normal weights of std S / sqrt(fan_in); may be repeated."
)
@click.option("--sigma-b", metavar="S", help="In place of --bias-init: normal biases of std S.")
@click.option("--act", required=True, metavar="NAME[:...]", help="Activation.")
@click.option(
    "--samples",
    type=click.IntRange(1, 100_000),
    default=2,
    show_default=True,
    metavar="N",
    help="Inputs of each network at which Jacobians are taken.",
)
@click.option("--draws", type=int, default=2, show_default=True, metavar="N", help="Independent networks.")
@click.option("--dtype", default="float64", show_default=True, metavar="float32|float64", help="Network precision.")
@click.option("--figure", metavar="FILE", help="Draw log10 s end to end and by depth; png, svg or pdf.")
@click.option("--export-json", metavar="FILE|-", help="A list of all spectra, as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Every layer's own table, also for several initializers.")
def command(
    inits: tuple[str, ...],
    sigma_ws: tuple[str, ...],
    samples: int,
    figure: str | None,
    export_json: str | None,
    verbose: bool,
    **options: Any,
) -> None:
    """Show the singular values of Jacobians, beside theory.

    They are those of dh_l/dh_l-1 of each layer and of dh_L/dh_0 of them all.

    A network is dynamically isometric where all s end to end are near 1. The networks are those of `initprobe run` with
    the same seed and --dtype.

    \b
    Examples:
      initprobe spectrum --init orthogonal --init lecun --act tanh --width 200
      initprobe spectrum --init orthogonal --init he --act relu --figure s.png
      initprobe spectrum --sigma-w 1.05 --act tanh --export-json spectrum.json
    """
    from initprobe.cli import outputs
    from initprobe.reports.console import console

    fmt = outputs.figure_format(figure) if figure else None
    outputs.check_exports([figure, export_json], None)
    threads = options.pop("threads")
    experiments = [_prepared(one, samples) for one in _asked(inits, sigma_ws, options)]
    _warn_of_time(experiments, samples, threads)
    spectra = _measured(experiments, samples, threads)
    if figure and fmt:
        from initprobe.reports.figures.style import render

        drawn = render(_figure(spectra), fmt)
        outputs.write_whole(Path(figure), lambda file: file.write(drawn))
    if export_json:
        outputs.write_text(export_json, f"[{','.join(spectrum.model_dump_json() for spectrum in spectra)}]\n")
    _report(spectra, verbose, console(sys.stderr if export_json == outputs.STDOUT else sys.stdout))


def _asked(inits: Sequence[str], sigma_ws: Sequence[str], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The options of each network."""
    from initprobe.errors import ConfigError

    weights = [{"init": init, "sigma_w": None} for init in inits] + [{"init": None, "sigma_w": s} for s in sigma_ws]
    if not weights:
        raise ConfigError("give --init NAME or --sigma-w S, several of them to compare")
    for weight in weights:
        yield options | scales(options | weight) | ({} if weight["init"] is None else weight)


def _prepared(options: dict[str, Any], samples: int) -> Experiment:
    from initprobe.probe.experiment import prepare

    return prepare(config_from(options | {"batch": max(samples, 2), "batches": 1, "thresholds": ()}))


def _warn_of_time(experiments: Sequence[Experiment], samples: int, threads: int | None) -> None:
    from initprobe.studies.spectrum import seconds_needed

    seconds = sum(seconds_needed(experiment, samples, threads) for experiment in experiments)
    if seconds > _PATIENCE_S:
        minutes = f"about {math.ceil(seconds / 60):,} min of singular values (they cost width^3)"
        click.echo(f"note: {minutes}; --width, --samples and --draws make it less", err=True)


def _measured(experiments: Sequence[Experiment], samples: int, threads: int | None) -> list[Spectrum]:
    from initprobe.cli.progress import part_of, progress_bar
    from initprobe.studies.spectrum import measure

    spectra = []
    with progress_bar("singular values") as bar:
        for number, experiment in enumerate(experiments):
            part = part_of(bar, number, len(experiments))
            spectra.append(measure(experiment, samples, threads=threads, progress=part))
    return spectra


def _name(spectrum: Spectrum) -> str:
    return str(spectrum.config["init"])


def _figure(spectra: Sequence[Spectrum]) -> Figure:
    from initprobe.reports.figures.spectrum import SpectrumLine, spectrum_figure

    lines = []
    for spectrum in spectra:
        ends, last = spectrum.end_to_end, spectrum.end_to_end[-1]
        lines.append(
            SpectrumLine(
                label=_name(spectrum),
                values=last.histogram_log10,
                missing=(last.zero_fraction or 0.0) + (last.lost_fraction or 0.0),
                depths=_column([stats.layer for stats in ends]),
                percentiles=[stats.percentiles_log10 for stats in ends],
                largest=_column([stats.largest_log10 for stats in ends]),
                smallest=_column([stats.smallest_log10 for stats in ends]),
                predicted=_column([_predicted_rms(stats) for stats in ends]),
            )
        )
    return spectrum_figure(_title(spectra[0]), spectra[0].description.setting, lines)


def _title(spectrum: Spectrum) -> str:
    return f"Jacobians of {spectrum.config['act']} networks, {spectrum.description.shape}"


def _predicted_rms(stats: SpectrumStats) -> float | None:
    log10 = stats.theory.mean_square_log10 if stats.theory else None
    return None if log10 is None else log10 / 2


def _column(values: Sequence[float | None]) -> Any:
    import numpy as np

    return np.array([math.nan if value is None else value for value in values])


_NOTES = """
s: singular value; spread: Var(s^2)/mean(s^2)^2; near 1: s in 0.8 .. 1.25; zero:
exactly, in this dtype; lost: not told from 0 by float64. largest and smallest
are those of all Jacobians, zero and lost ones left out. +-%: standard deviation
of the mean from draw to draw. theory: of infinite width; finite nets differ by
the order of depth/width."""


def _report(spectra: Sequence[Spectrum], verbose: bool, to: Console) -> None:
    """The networks side by side if there are several, then each by itself."""
    to.print(f"{_title(spectra[0])}\n{spectra[0].description.setting}", soft_wrap=True, markup=False)
    if len(spectra) > 1:
        to.print("\nend to end, dh_L/dh_0", markup=False)
        to.print(_table("init", [(_name(spectrum), spectrum.end_to_end[-1]) for spectrum in spectra]))
    for spectrum in spectra:
        _report_one(spectrum, verbose or len(spectra) == 1, to)
    to.print(_NOTES, markup=False)
    if len(spectra) > 1 and not verbose:
        to.print("-v shows every layer by itself.", markup=False)


def _report_one(spectrum: Spectrum, every_layer: bool, to: Console) -> None:
    from rich.text import Text

    verdict = f"\n{_name(spectrum)}\n  {spectrum.verdict}".replace("; ", ";\n  ")
    to.print(Text(verdict, "bold green" if spectrum.isometric else "bold"), soft_wrap=True)
    for note in (spectrum.theory_note, spectrum.width_note):
        if note:
            to.print(note, soft_wrap=True, markup=False)
    if every_layer:
        to.print("\none layer, dh_l/dh_l-1", markup=False)
        to.print(_table("l", [(str(stats.layer), stats) for stats in _thinned(spectrum.layers)]))
    to.print("\nend to end, dh_l/dh_0", markup=False)
    to.print(_table("l", [(str(stats.layer), stats) for stats in spectrum.end_to_end]))


def _thinned(layers: Sequence[SpectrumStats]) -> Sequence[SpectrumStats]:
    """At most about a hundred layers, evenly spaced; JSON has them all."""
    # Counted from the end: the last layer is always among them.
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
