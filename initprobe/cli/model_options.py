"""Options of the commands that make a PyTorch model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from initprobe.cli.parameters import option

# What `--loss` of a PyTorch model takes.
LOSS_METAVAR = "cross-entropy|mse|PACKAGE.MODULE:FUNCTION"


def shapes_option(more: str = "") -> Any:
    """`--input-shape`: random input; `more` is a further sentence of its help."""
    return option(
        "--input-shape",
        multiple=True,
        metavar="[NAME=]N,N,...[:LOW..HIGH]",
        help=f"N(0,1) input of this shape, samples first: 64,784.{more} With a range, whole numbers: 4,16:0..999. "
        "Repeatable.",
    )


def evaluation_option(words: str) -> Any:
    """`--eval`, with its help."""
    return option("--eval", is_flag=True, help=words)


def checkpoint_option() -> Any:
    """`--checkpoint`: the parameters that a model gets first."""
    return option(
        "--checkpoint",
        metavar="FILE",
        help="Load a saved model.state_dict() first, also one below model_state_dict and similar keys. No code is run.",
    )


def torch_seed_option() -> Any:
    """`--seed`, in the range that PyTorch takes."""
    return option(
        "--seed",
        type=click.IntRange(0, 2**63 - 1),
        default=0,
        show_default=True,
        metavar="N",
        help="Seed of all random numbers.",
    )


@dataclass(frozen=True, kw_only=True)
class FixOptions:
    """A function that sets the weights so that the model is healthy."""

    fix: str | None = option(
        "--fix",
        metavar="FILE|-",
        help="Write a Python function init(model) after which the model is healthy. It needs PyTorch only, and is "
        "tried on the model first. If none works, nothing is written and the exit code is 1.",
    )
    keep: tuple[str, ...] = option(
        "--keep",
        multiple=True,
        metavar="PATTERN",
        help="With --fix: parameters to leave unchanged, as in 'head.*'. Repeatable.",
    )
