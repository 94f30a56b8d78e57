"""Run initializers and activations side by side, worst first.

Every initializer is combined with every activation.

\b
Examples:
  initprobe compare --init xavier --init he --act tanh --act relu
  initprobe compare --init torch_linear --init flax_dense --act gelu
  initprobe compare --init he --init orthogonal --act relu --figure depth.png
  initprobe compare --sigma-w 0.9 --sigma-w 1.5 --act tanh --layers 30
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from initprobe.cli.experiment_config import config_from
from initprobe.cli.html_report import report_option, write_comparison_report
from initprobe.cli.options import LossOptions, MeasurementOptions, NetworkOptions, WeightListOptions, threads_option
from initprobe.cli.parameters import command_of, group, option

if TYPE_CHECKING:
    from initprobe.config.probe_config import ProbeConfig


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """The options of `initprobe compare`."""

    weights: WeightListOptions = group(WeightListOptions)
    acts: tuple[str, ...] = option(
        "--act", multiple=True, required=True, metavar="NAME[:...]", help="Activation; repeatable."
    )
    network: NetworkOptions = group(NetworkOptions)
    measurement: MeasurementOptions = group(MeasurementOptions)
    threads: int | None = threads_option()
    figure: str | None = option(
        "--figure", metavar="FILE", help="Draw all depth profiles in one figure; png, svg or pdf."
    )
    export_json: str | None = option("--export-json", metavar="FILE|-", help="Write a list of all results as JSON.")
    report: str | None = report_option()

    def configs(self) -> list[ProbeConfig]:
        """The experiments: every initializer with every activation."""
        return [
            config_from(act, weights, self.network, self.measurement, LossOptions())
            for weights, act in product(self.weights.choices(), self.acts)
        ]


@command_of(CompareOptions, help=__doc__)
def command(options: CompareOptions) -> None:
    """Measure every combination of initializers and activations, and print them worst first."""
    from initprobe.cli import outputs
    from initprobe.cli.progress import progress_bar
    from initprobe.cli.run_output import text_stream
    from initprobe.reports.comparison import print_comparison
    from initprobe.reports.console import console
    from initprobe.studies.comparison import compare

    fmt = outputs.figure_format(options.figure) if options.figure else None
    outputs.check_exports([options.figure, options.export_json, options.report], None)
    with progress_bar("comparing") as progress:
        results = compare(options.configs(), threads=options.threads, progress=progress).results
    if options.figure and fmt:
        from initprobe.reports.figures.comparison import draw_comparison

        outputs.write_figure(options.figure, fmt, draw_comparison(results))
    if options.export_json:
        outputs.write_text(options.export_json, f"[{','.join(result.to_json() for result in results)}]\n")
    write_comparison_report(options.report, results)
    print_comparison(results, console(text_stream(options.export_json, options.report)))
