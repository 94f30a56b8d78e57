"""`initprobe gain`: which scale of weights an activation asks for, and whether any holds."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import click

# Gradients that change by e over more layers than any network has are level.
_LEVEL = 1e6

if TYPE_CHECKING:
    from rich.table import Table

    from initprobe.meanfield.gain import GainRow


@click.command("gain")
@click.argument("activations", nargs=-1, metavar="[ACT...]")
@click.option("--all", "every", is_flag=True, help="Every activation there is.")
@click.option("--sigma-b", default="0", show_default=True, metavar="S", help="Standard deviation of the biases.")
def command(activations: tuple[str, ...], every: bool, sigma_b: str) -> None:
    """Print the gains of activations: weights of std gain / sqrt(fan_in), square layers.

    The forward gain keeps a pre-activation variance of q = 1, the backward gain the variance of the gradient where q is
    1; only for ReLU and its like are they the same. Where the length map's slope exceeds 1, q = 1 is unstable and no
    constant gain holds the scale with depth.

    \b
    Examples:
      initprobe gain relu tanh gelu
      initprobe gain --all
      initprobe gain tanh --sigma-b 0.2
    """
    from initprobe.activations import ACTIVATIONS
    from initprobe.config import resolve
    from initprobe.errors import ConfigError
    from initprobe.grammar import parse_number, parse_spec
    from initprobe.meanfield.gain import gain_row
    from initprobe.reports.tables import console

    if bool(activations) == every:
        raise ConfigError("name activations, as in `initprobe gain relu tanh`, or give --all")
    bias = parse_number(sigma_b)
    if not 0 <= bias < 1:
        raise ConfigError(f"--sigma-b: {bias:g} must be at least 0 and below 1, or the biases alone exceed q = 1")
    names = list(ACTIVATIONS) if every else list(activations)
    rows = [gain_row(resolve(ACTIVATIONS, parse_spec(name))) for name in names]
    to = console(sys.stdout)
    to.print(_table(rows, 1 - bias**2))
    to.print(_notes(rows, 1 - bias**2), soft_wrap=True, markup=False)


def _table(rows: list[GainRow], share: float) -> Table:
    """A row an activation; `share` is what the weights contribute to q = 1 beside the biases."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("\nactivation")
    headings = (
        "forward\ngain",
        "backward\ngain",
        "torch\ngain",
        "1/std\n(NFNet)",
        "\nchi_1",
        "gradient\ndepth",
        "map\nslope",
    )
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row.activation, *_numbers(row, share))
    return table


def _numbers(row: GainRow, share: float) -> list[str]:
    chi = share * row.chi_1
    return [
        f"{math.sqrt(share) * row.forward:.4f}",
        f"{row.backward:.4f}",
        "-" if row.torch is None else f"{row.torch:.4f}",
        f"{row.mean_removed:.4f}",
        f"{chi:.4f}",
        _depth(chi),
        f"{share * row.slope:.3f}" + ("" if share * row.slope <= 1 + 1e-12 else " !"),
    ]


def _depth(chi: float) -> str:
    """Layers over which the gradient's variance changes by e; negative where it grows."""
    depth = -1 / math.log(chi) if chi != 1 else math.inf
    return f"{depth:.1f}" if abs(depth) < _LEVEL else "level"


def _notes(rows: list[GainRow], share: float) -> str:
    unstable = [row.activation for row in rows if share * row.slope > 1 + 1e-12]
    lines = [
        "",
        "chi_1: factor of the gradient's variance a layer, at the forward gain; depth: layers for a change by e.",
        "torch: calculate_gain; sigmoid 1, tanh 5/3 and selu 3/4 there are custom, not a fixed point of either map.",
        "1/std: the gain where the mean of phi is removed (scaled weight standardisation).",
    ]
    if unstable:
        lines.append(
            f"! {', '.join(unstable)}: the slope exceeds 1, so no constant gain holds the scale with depth; normalise, "
            "or add residual branches."
        )
    return "\n".join(lines)
