"""`initprobe compare`: several initializers and activations side by side."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initprobe.cli.options import config_from, experiment_options, scales

if TYPE_CHECKING:
    from initprobe.results.run import ProbeResult


@click.command("compare")
@click.option("--init", "inits", multiple=True, metavar="NAME[:...]", help="Initializer; may be repeated.")
@click.option(
    "--sigma-w", "sigma_ws", multiple=True, metavar="S", help="Normal weights of std S / sqrt(fan_in); may be repeated."
)
@click.option("--sigma-b", metavar="S", help="In place of --bias-init: normal biases of std S.")
@click.option("--act", "acts", multiple=True, required=True, metavar="NAME[:...]", help="Activation; may be repeated.")
@experiment_options
@click.option("--figure", metavar="FILE", help="Draw the depth profiles over each other; png, svg or pdf.")
@click.option("--export-json", metavar="FILE|-", help="A list of all results, as JSON.")
def command(
    inits: tuple[str, ...],
    sigma_ws: tuple[str, ...],
    acts: tuple[str, ...],
    figure: str | None,
    export_json: str | None,
    **options: Any,
) -> None:
    """Run initializers and activations side by side, worst first.

    \b
    Examples:
      initprobe compare --init xavier --init he --act tanh --act relu
      initprobe compare --init torch_linear --init flax_dense --act gelu
      initprobe compare --init he --init orthogonal --act relu --figure depth.png
      initprobe compare --sigma-w 0.9 --sigma-w 1.5 --act tanh --layers 30
    """
    from initprobe.cli import outputs
    from initprobe.cli.progress import part_of, progress_bar
    from initprobe.errors import ConfigError
    from initprobe.probe.experiment import prepare
    from initprobe.probe.run import measure
    from initprobe.reports.comparison import print_comparison
    from initprobe.reports.console import console

    fmt = outputs.figure_format(figure) if figure else None
    outputs.check_exports([figure, export_json], None)
    threads = options.pop("threads")
    if not (inits or sigma_ws):
        raise ConfigError("give --init NAME or --sigma-w S, several of them to compare")
    weights = [{"init": init, "sigma_w": None} for init in inits] + [{"init": None, "sigma_w": s} for s in sigma_ws]
    asked = [options | weight | {"act": act} for weight, act in product(weights, acts)]
    experiments = [prepare(config_from(one | scales(one))) for one in asked]
    results: list[ProbeResult] = []
    with progress_bar("comparing") as progress:
        for number, experiment in enumerate(experiments):
            part = part_of(progress, number, len(experiments))
            results.append(measure(experiment, threads=threads, progress=part))
    if figure and fmt:
        from initprobe.reports.figures.comparison import draw_comparison
        from initprobe.reports.figures.style import render

        drawn = render(draw_comparison(results), fmt)
        outputs.write_whole(Path(figure), lambda file: file.write(drawn))
    if export_json:
        outputs.write_text(export_json, f"[{','.join(result.to_json() for result in results)}]\n")
    print_comparison(results, console(sys.stderr if export_json == outputs.STDOUT else sys.stdout))
