"""Find the initializer for an activation at a depth.

The answer is one number and the line of code that draws such weights. It holds for biases of 0 and inputs of mean
square 1. It is predicted to keep the signal, then measured. Where no weights keep the signal, as for GELU at 50 layers,
the answer is a network that does. Option --details adds the reasons, the variances and
other frameworks.

\b
Examples:
  initprobe recommend --act tanh --layers 30
  initprobe recommend --act gelu --layers 50
  initprobe recommend --act relu --widths 784,256,64,10
  initprobe recommend --act tanh --fan-in 784 --fan-out 256 --layers 10
  initprobe recommend --act relu --layers 40 --residual --code numpy
  initprobe recommend --act elu --layers 20 --goal forward --details
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from initprobe.cli.experiment_config import read_widths
from initprobe.cli.options import threads_option
from initprobe.cli.parameters import Choice, command_of, option

if TYPE_CHECKING:
    from initprobe.results.recommendation import Goal


@dataclass(frozen=True, kw_only=True)
class RecommendOptions:
    """The options of `initprobe recommend`."""

    act: str = option("--act", required=True, metavar="NAME[:...]", help="Activation.")
    layers: int | None = option("--layers", type=int, metavar="N", help="Number of layers.")
    width: int = option("--width", type=int, default=500, show_default=True, metavar="N", help="Units per layer.")
    widths: str | None = option(
        "--widths", metavar="N,N,...", help="Units of each layer, instead of --layers and --width."
    )
    fan_in: int | None = option(
        "--fan-in", type=int, metavar="N", help="Inputs of a single layer of a net of --layers."
    )
    fan_out: int | None = option("--fan-out", type=int, metavar="M", help="Units of that layer.  [default: fan-in]")
    norm: Literal["none", "layer", "batch"] = option(
        "--norm",
        type=Choice(["none", "layer", "batch"]),
        default="none",
        show_default=True,
        help="Norm before each activation.",
    )
    residual: bool = option("--residual", is_flag=True, help="Add the input of each layer to its output.")
    goal: Goal = option(
        "--goal",
        type=Choice(["forward", "backward", "balanced"]),
        default="balanced",
        show_default=True,
        help="Keep Var(h), Var(dL/dh), or both as well as one gain can.",
    )
    code: Literal["pytorch", "numpy", "keras", "jax"] = option(
        "--code",
        type=Choice(["pytorch", "numpy", "keras", "jax"]),
        default="pytorch",
        show_default=True,
        help="Framework of the line of code.",
    )
    details: bool = option(
        "--details", is_flag=True, help="Add the reasons, predicted and measured variances, and all frameworks."
    )
    seed: int = option(
        "--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the networks that are measured."
    )
    threads: int | None = threads_option()
    export_json: str | None = option(
        "--export-json", metavar="FILE|-", help="Write the recommendation and its numbers as JSON."
    )


@command_of(RecommendOptions, help=__doc__)
def command(options: RecommendOptions) -> None:
    """Find weights that keep the signal, measure them, and print the answer."""
    from initprobe.cli import outputs
    from initprobe.cli.progress import progress_bar
    from initprobe.cli.run_output import text_stream
    from initprobe.reports.console import console
    from initprobe.reports.recommendation_text import print_advice
    from initprobe.studies.recommendation import recommend
    from initprobe.studies.recommended_shape import Shape

    outputs.check_exports([options.export_json], None)
    with progress_bar("measuring") as progress:
        shape = Shape(
            layers=options.layers,
            width=options.width,
            widths=read_widths(options.widths),
            fan_in=options.fan_in,
            fan_out=options.fan_out,
            norm=options.norm,
            residual=options.residual,
        )
        recommendation = recommend(
            options.act,
            goal=options.goal,
            shape=shape,
            seed=options.seed,
            threads=options.threads,
            progress=progress,
        )
    if options.export_json:
        outputs.write_text(options.export_json, recommendation.model_dump_json() + "\n")
    print_advice(recommendation, console(text_stream(options.export_json)), options.code, options.details)
