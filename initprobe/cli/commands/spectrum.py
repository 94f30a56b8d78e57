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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from initprobe.cli.experiment_config import config_from
from initprobe.cli.html_report import report_option, typed
from initprobe.cli.options import LossOptions, MeasurementOptions, NetworkOptions, WeightListOptions, threads_option
from initprobe.cli.parameters import Choice, command_of, group, option

if TYPE_CHECKING:
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.probe.experiment import Experiment
    from initprobe.results.spectrum import Spectrum


# A longer time is announced.
_PATIENCE_S = 60


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
    from initprobe.reports.spectrum_table import print_spectra

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
    print_spectra(spectra, console(text_stream(options.export_json, options.report)), options.verbose)


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
