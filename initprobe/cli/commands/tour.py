"""Show seven initializations in the terminal, one after the other.

Each stop measures one small network, shows a picture and says what to see. ENTER continues, and Ctrl-C ends the tour.

\b
Examples:
  initprobe tour
  initprobe tour --no-wait
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from initprobe.cli.parameters import command_of, option

if TYPE_CHECKING:
    from initprobe.results.run import ProbeResult


@dataclass(frozen=True, kw_only=True)
class TourOptions:
    """The options of `initprobe tour`."""

    no_wait: bool = option("--no-wait", is_flag=True, help="Do not wait for ENTER; in a pipe it never waits.")


@dataclass(frozen=True)
class Stop:
    """One stop of the tour.

    Attributes:
        title: in a few words.
        arguments: of `initprobe run`, beside the size.
        words: what to see.
    """

    title: str
    arguments: str
    words: str


STOPS = (
    Stop(
        "All weights equal",
        "--init constant:value=0.05 --act tanh",
        "All units of a layer compute the same, and training keeps them equal.",
    ),
    Stop(
        "Small random weights: collapse",
        "--init normal:std=0.01 --act tanh",
        "Each layer shrinks the signal, until nothing but 0 is left.",
    ),
    Stop(
        "Large random weights: saturation",
        "--init normal:std=1 --act tanh",
        "Nearly all outputs are -1 or 1. Most gradients are lost, and a few explode.",
    ),
    Stop(
        "Xavier with tanh",
        "--init xavier --act tanh",
        "With fan_in Var(W) = 1 the outputs keep a useful range in all layers.",
    ),
    Stop(
        "Xavier with ReLU",
        "--init xavier --act relu",
        "ReLU sets half of its inputs to 0, so each layer loses half of the mean square.",
    ),
    Stop(
        "He with ReLU",
        "--init he --act relu",
        "Twice the variance makes up for the half that ReLU drops: the signal stays.",
    ),
    Stop(
        "Pretraining with autoencoders",
        "--init autoencoder --act sigmoid --input digits --standardize",
        "Before Xavier and He, each layer was first trained to reconstruct its input.",
    ),
)
_SIZE = "--layers 10 --width 100 --draws 1"
_COLUMNS = 80


@command_of(TourOptions, help=__doc__)
def command(options: TourOptions) -> None:
    """Print the stops of the tour, and run the command of each."""
    waits = not options.no_wait and sys.stdin.isatty() and sys.stdout.isatty()
    for number, stop in enumerate(STOPS, 1):
        for line in _lines(stop, f"{number} of {len(STOPS)}"):
            click.echo(line)
        if waits and number < len(STOPS):
            click.prompt("\nENTER continues", default="", show_default=False, prompt_suffix=" ")
    click.echo("\nThe same for your own network: initprobe run --help, initprobe torch --help.")


def _lines(stop: Stop, place: str) -> Iterator[str]:
    """What a stop prints: its title, the command, the picture, the sentence and the verdict."""
    from initprobe.reports.encoding import showable
    from initprobe.reports.small_picture import small_picture
    from initprobe.results.outcome import verdict_of

    result = _measured(stop)
    yield f"\n{click.style(f'{place}: {stop.title}', bold=True)}"
    line = f"initprobe run {stop.arguments} {_SIZE}"
    yield line if len(line) <= _COLUMNS else f"initprobe run {stop.arguments} \\\n  {_SIZE}"
    yield ""
    yield from (showable(line, sys.stdout.encoding) for line in small_picture(result))
    yield f"\n{stop.words}"
    worst = verdict_of(result)
    yield "Verdict: the signal survives." if worst is None else f"Verdict: {worst.name} from layer {worst.layer}."


def _measured(stop: Stop) -> ProbeResult:
    """The network of a stop, by the options of `initprobe run`; no fix is shown, so none is looked for."""
    from initprobe.cli.commands.run import config_of
    from initprobe.probe.run import measured

    return measured(config_of(f"{stop.arguments} {_SIZE}"))
