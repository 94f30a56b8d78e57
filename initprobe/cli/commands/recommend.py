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

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from initprobe.cli.experiment_config import read_widths
from initprobe.cli.options import threads_option
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
    to = console(text_stream(options.export_json))
    _answer(recommendation, options.code, to)
    if options.details:
        _details(recommendation, to)


def _answer(advice: Recommendation, framework: str, to: Console) -> None:
    """The one number and the line of code, or the reason why there is none and what would survive."""
    heading = f"{advice.number}: " if advice.answers else ""
    to.print(_folded(heading + advice.summary), style="bold", markup=False)
    if advice.answers:
        code = _code(advice, framework)
        lines = ["", *(f"  {line}" for line in code), "", *_command("run", advice.command)]
    else:
        lines = [*_reasons(advice), *_command("instead", advice.instead)]
    for line in lines:
        to.print(line, markup=False)


def _details(advice: Recommendation, to: Console) -> None:
    """The reasons, the code of all frameworks, the variances and the findings."""
    reasons, code = (_reasons(advice), _every_framework(advice)) if advice.answers else ((), ())
    for line in ("", *reasons, _folded(advice.formula), "", *code, *([""] if advice.answers else [])):
        to.print(line, markup=False)
    to.print(_table(advice))
    for line in ("", *_verdict(advice), *(() if advice.answers else _command("run", advice.command))):
        to.print(line, markup=False)


def _folded(text: str, first: str = "", rest: str = "") -> str:
    return textwrap.fill(
        text, _COLUMNS - 2, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, break_long_words=False
    )


def _reasons(advice: Recommendation) -> Iterator[str]:
    for reason in advice.reasons:
        yield _folded(reason, "- ", "  ")


def _code(advice: Recommendation, framework: str) -> Iterator[str]:
    """The line of code, with that of the biases and of the branches where they are needed."""
    bias = advice.pytorch_bias if framework == "pytorch" else None
    for lines in (getattr(advice, framework), bias, advice.branch):
        yield from lines.split("\n") if lines else ()


_PLACES = {
    "pytorch": "PyTorch, for layer = nn.Linear(...)",
    "numpy": "NumPy, for h @ W with rng = np.random.default_rng()",
    "keras": "Keras, as kernel_initializer=",
    "jax": "JAX and Flax, as kernel_init=",
}


def _every_framework(advice: Recommendation) -> Iterator[str]:
    """The code of each framework below its name, on lines of its own, so that it can be copied."""
    for framework, place in _PLACES.items():
        yield place
        yield from (f"  {line}" for line in _code(advice, framework))


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


def _command(label: str, command: str | None) -> Iterator[str]:
    """A labelled command, folded to the width of a terminal, never between an option and its value."""
    if command:
        words = re.sub(r" (--\S+) (?!--)", f" \\1{_UNBROKEN}", command)
        yield _folded(words, f"{label:<10}", " " * 10).replace("\n", " \\\n").replace(_UNBROKEN, " ")
