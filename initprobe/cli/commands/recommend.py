"""`initprobe recommend`: the weights that suit an activation at a depth."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from initprobe.cli.options import Choice, named_as_options

if TYPE_CHECKING:
    from rich.table import Table

    from initprobe.studies.choice import Goal
    from initprobe.studies.recommendation import Recommendation


_COLUMNS = 80
# A space that text is not folded at.
_UNBROKEN = "\N{NO-BREAK SPACE}"


@click.command("recommend")
@click.option("--act", required=True, metavar="NAME[:...]", help="Activation.")
@click.option("--layers", type=int, required=True, metavar="N", help="Number of layers.")
@click.option("--width", type=int, default=500, show_default=True, metavar="N", help="Units in every layer.")
@click.option(
    "--goal",
    type=Choice(["forward", "backward", "balanced"]),
    default="balanced",
    show_default=True,
    help="Keep Var(h), Var(dL/dh), or both as well as one gain can.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the networks measured.")
@click.option("--threads", type=int, metavar="N", help="Threads; the numbers do not depend on it.  [default: all]")
@click.option("--export-json", metavar="FILE|-", help="The recommendation and its numbers, as JSON.")
def command(
    act: str, layers: int, width: int, goal: Goal, seed: int, threads: int | None, export_json: str | None
) -> None:
    """Find the initializer for an activation at a depth.

    It is predicted to hold, then measured, for square layers without bias and inputs of mean square 1. Where no plain
    initializer holds, as for GELU at 50 layers, it says why, what would, and which is best for fewer.

    \b
    Examples:
      initprobe recommend --act tanh --layers 30
      initprobe recommend --act gelu --layers 50
      initprobe recommend --act elu --layers 20 --goal forward --export-json -
    """
    from initprobe.cli import outputs
    from initprobe.cli.progress import progress_bar
    from initprobe.studies.recommendation import recommend

    outputs.check_exports([export_json], None)
    fields = ("act", "layers", "width", "seed")
    with progress_bar("measuring") as progress, named_as_options(fields):
        found = recommend(act, layers, width, goal, seed=seed, threads=threads, progress=progress)
    if export_json:
        outputs.write_text(export_json, found.model_dump_json() + "\n")
    _report(found, to_stderr=export_json == outputs.STDOUT)


def _report(found: Recommendation, to_stderr: bool) -> None:
    from initprobe.reports.console import console

    to = console(sys.stderr if to_stderr else sys.stdout)
    to.print(_folded(found.summary), style="bold", markup=False)
    for line in (*_reasons(found), "", _folded(found.formula), "", *_code(found), ""):
        to.print(line, markup=False)
    to.print(_table(found))
    for line in ("", *_verdict(found), *_command(found)):
        to.print(line, markup=False)


def _folded(text: str, first: str = "", rest: str = "") -> str:
    return textwrap.fill(
        text, _COLUMNS - 2, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, break_long_words=False
    )


def _reasons(found: Recommendation) -> Iterator[str]:
    for reason in found.reasons:
        yield _folded(reason, "- ", "  ")


def _code(found: Recommendation) -> Iterator[str]:
    """A line for each framework below its name, so that it can be copied whole."""
    yield from ("PyTorch, for layer = nn.Linear(...)", f"  {found.pytorch}", f"  {found.pytorch_bias}")
    yield from ("Keras, as kernel_initializer=", f"  {found.keras}")
    yield from ("JAX and Flax, as kernel_init=", f"  {found.jax}")


def _table(found: Recommendation) -> Table:
    from initprobe.formatting import short
    from initprobe.reports.tables import plain_table

    table = plain_table("", "predicted", "measured", left=("",), gap=2)
    rows = {
        "Var(h), layer 1": "output_first",
        f"Var(h), layer {found.layers}": "output_last",
        "Var(dL/dh), layer 1": "gradient_first",
        "  its factor a layer": "gradient_factor",
        f"chi_1, layer {found.layers}": "chi_1",
        f"length-map slope, layer {found.layers}": "length_slope",
    }
    if found.layers == 1:
        del rows["Var(h), layer 1"]
    for words, name in rows.items():
        table.add_row(words, *(short(getattr(figures, name)) for figures in (found.predicted, found.measured)))
    return table


def _verdict(found: Recommendation) -> Iterator[str]:
    if found.measured_to_hold:
        luck = "" if found.predicted_to_hold else ", by a narrow margin or by chance"
        yield f"measured  the signal survives initialization{luck}"
    for finding in found.verdict:
        words = f"{finding.name.upper()} from layer {finding.layer}: {finding.evidence}"
        yield _folded(words, f"{finding.severity:<10}", " " * 10)


def _command(found: Recommendation) -> Iterator[str]:
    """The line that measures it, continued where it is longer than a terminal, but not between option and value."""
    if found.command:
        words = re.sub(r" (--\S+) ", f" \\1{_UNBROKEN}", found.command)
        yield _folded(words, "run       ", " " * 10).replace("\n", " \\\n").replace(_UNBROKEN, " ")
