"""Find the initializer for an activation at a depth.

The initializer is predicted to keep the signal, then measured: for layers without biases and inputs of mean
square 1. Where no plain initializer keeps the signal, as for GELU at 50 layers, the reason is printed. So are
networks that keep it, and the best initializer for fewer layers.

\b
Examples:
  initprobe recommend --act tanh --layers 30
  initprobe recommend --act gelu --layers 50
  initprobe recommend --act relu --widths 784,256,64,10
  initprobe recommend --act tanh --fan-in 784 --fan-out 256 --layers 10
  initprobe recommend --act relu --layers 40 --residual
  initprobe recommend --act elu --layers 20 --goal forward --export-json -
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from initprobe.cli.options import named_as_options, read_widths, threads_option
from initprobe.cli.parameters import Choice, command_of, option

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from initprobe.studies.choice import Goal
    from initprobe.studies.recommendation import Recommendation


_COLUMNS = 80
# A space at which no line breaks.
_UNBROKEN = "\N{NO-BREAK SPACE}"


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
    seed: int = option(
        "--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the networks that are measured."
    )
    threads: int | None = threads_option()
    export_json: str | None = option(
        "--export-json", metavar="FILE|-", help="Write the recommendation and its numbers as JSON."
    )


@command_of(RecommendOptions, help=__doc__)
def command(options: RecommendOptions) -> None:
    from initprobe.cli import outputs
    from initprobe.cli.progress import progress_bar
    from initprobe.cli.run_output import text_stream
    from initprobe.reports.console import console
    from initprobe.studies.recommendation import recommend
    from initprobe.studies.recommended_shape import Shape

    outputs.check_exports([options.export_json], None)
    names = ("act", "layers", "width", "widths", "fan_in", "fan_out", "input_width", "norm", "residual", "seed")
    with progress_bar("measuring") as progress, named_as_options(names):
        shape = Shape(
            options.layers,
            options.width,
            read_widths(options.widths),
            options.fan_in,
            options.fan_out,
            options.norm,
            options.residual,
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
    _report(recommendation, console(text_stream(options.export_json)))


def _report(advice: Recommendation, to: Console) -> None:
    to.print(_folded(advice.summary), style="bold", markup=False)
    for line in (*_reasons(advice), "", _folded(advice.formula), "", *_code(advice), ""):
        to.print(line, markup=False)
    to.print(_table(advice))
    for line in ("", *_verdict(advice), *_command(advice)):
        to.print(line, markup=False)


def _folded(text: str, first: str = "", rest: str = "") -> str:
    return textwrap.fill(
        text, _COLUMNS - 2, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, break_long_words=False
    )


def _reasons(advice: Recommendation) -> Iterator[str]:
    for reason in advice.reasons:
        yield _folded(reason, "- ", "  ")


def _code(advice: Recommendation) -> Iterator[str]:
    """The code of each framework below its name, on lines of its own, so that it can be copied."""
    yield from (
        "PyTorch, for layer = nn.Linear(...)",
        f"  {advice.pytorch}",
        f"  {advice.pytorch_bias}",
    )
    yield from ("Keras, as kernel_initializer=", f"  {advice.keras}")
    yield from ("JAX and Flax, as kernel_init=", f"  {advice.jax}")


def _table(advice: Recommendation) -> Table:
    from initprobe.formatting import short
    from initprobe.reports.tables import plain_table

    table = plain_table("", "predicted", "measured", left=("",), gap=2)
    rows = {
        "Var(h), layer 1": "output_first",
        f"Var(h), layer {advice.layers}": "output_last",
        "Var(dL/dh), layer 1": "gradient_first",
        "  its factor per layer": "gradient_factor",
        f"chi_1, layer {advice.layers}": "chi_1",
        f"length-map slope, layer {advice.layers}": "length_slope",
    }
    if advice.layers == 1:
        del rows["Var(h), layer 1"]
    for words, name in rows.items():
        table.add_row(words, *(short(getattr(figures, name)) for figures in (advice.predicted, advice.measured)))
    return table


def _verdict(advice: Recommendation) -> Iterator[str]:
    if advice.measured_to_hold:
        margin = "" if advice.predicted_to_hold else ", by a narrow margin or by chance"
        yield f"measured  the signal survives initialization{margin}"
    for finding in advice.verdict:
        text = f"{finding.name.upper()} from layer {finding.layer}: {finding.evidence}"
        yield _folded(text, f"{finding.severity:<10}", " " * 10)


def _command(advice: Recommendation) -> Iterator[str]:
    """The command that measures it, folded to the width of a terminal, never between an option and its value."""
    if advice.command:
        words = re.sub(r" (--\S+) ", f" \\1{_UNBROKEN}", advice.command)
        yield _folded(words, "run       ", " " * 10).replace("\n", " \\\n").replace(_UNBROKEN, " ")
