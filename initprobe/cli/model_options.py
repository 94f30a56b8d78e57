"""Options of the commands that make a PyTorch model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from initprobe.cli.parameters import option


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
