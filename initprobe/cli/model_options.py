"""Options of the commands that make a PyTorch model."""

from __future__ import annotations

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
