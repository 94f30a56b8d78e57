"""`initprobe compare`: several initializers and activations side by side."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initprobe.cli.options import config_from, experiment_options

if TYPE_CHECKING:
    from initprobe.results import ProbeResult


@click.command("compare")
@click.option(
    "--init", "inits", multiple=True, required=True, metavar="NAME[:...]", help="Initializer; may be repeated."
)
@click.option("--act", "acts", multiple=True, required=True, metavar="NAME[:...]", help="Activation; may be repeated.")
@experiment_options
@click.option("--figure", metavar="FILE", help="Draw the depth profiles over each other; png, svg or pdf.")
@click.option("--export-json", metavar="FILE|-", help="A list of all results, as JSON.")
def command(
    inits: tuple[str, ...], acts: tuple[str, ...], figure: str | None, export_json: str | None, **options: Any
) -> None:
    """Run every initializer with every activation; print a row for each, worst first.

    \b
    Examples:
      initprobe compare --init xavier --init he --init normal:std=0.01 --act tanh --act relu
      initprobe compare --init torch_linear --init keras_dense --init flax_dense --act gelu --layers 50
      initprobe compare --init he --init orthogonal --act relu --layers 30 --figure depth.png
    """
    from initprobe.cli import outputs
    from initprobe.probe import measure, prepare
    from initprobe.reports.tables import console, print_comparison

    fmt = outputs.figure_format(figure) if figure else None
    outputs.check_exports([figure, export_json], None)
    threads = options.pop("threads")
    pairs = list(product(inits, acts))
    experiments = [prepare(config_from(options | {"init": init, "act": act})) for init, act in pairs]
    results: list[ProbeResult] = []
    with outputs.progress_bar("comparing") as progress:
        for done, experiment in enumerate(experiments):
            results.append(measure(experiment, threads=threads))
            if progress:
                progress(done + 1, len(experiments))
    if figure and fmt:
        from initprobe.reports.figures import draw_comparison, render

        drawn = render(draw_comparison(results), fmt)
        outputs.write_whole(Path(figure), lambda file: file.write(drawn))
    if export_json:
        outputs.write_text(export_json, f"[{','.join(result.to_json() for result in results)}]\n")
    print_comparison(results, console(sys.stderr if export_json == outputs.STDOUT else sys.stdout))
