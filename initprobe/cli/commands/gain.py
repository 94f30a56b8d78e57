"""`initprobe gain`: which scale of weights an activation asks for, and whether any holds."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from initprobe.activations.record import Activation
    from initprobe.meanfield.gain import GainRow


# Gradients that change by e over more layers than any network has are level.
_LEVEL = 1e6


@click.command("gain")
@click.argument("activations", nargs=-1, metavar="[ACT...]")
@click.option("--act", "acts", multiple=True, metavar="ACT", help="The same as an argument; repeatable.")
@click.option("--all", "every", is_flag=True, help="Every activation there is.")
@click.option("--sigma-b", default="0", show_default=True, metavar="S", help="Standard deviation of the biases.")
def command(activations: tuple[str, ...], acts: tuple[str, ...], every: bool, sigma_b: str) -> None:
    """Print the gains of activations.

    Weights have std gain / sqrt(fan_in), and layers are square.

    The forward gain keeps a pre-activation variance of q = 1, the backward gain the variance of the gradient where q is
    1; only for ReLU and its like are they the same. Where the length map's slope exceeds 1, q = 1 is unstable and no
    constant gain holds the scale with depth.

    \b
    Examples:
      initprobe gain relu tanh gelu
      initprobe gain --all
      initprobe gain tanh --sigma-b 0.2
      initprobe gain --act mymodule:swish
    """
    from initprobe.activations.catalogue import ACTIVATIONS
    from initprobe.config.names import activation_of, as_activation
    from initprobe.errors import ConfigError
    from initprobe.reports.console import console
    from initprobe.spec import parse_number

    asked = [*activations, *acts]
    if bool(asked) == every:
        raise ConfigError("name activations, as in `initprobe gain relu tanh`, or give --all")
    bias = parse_number(sigma_b)
    if not 0 <= bias < 1:
        raise ConfigError(f"--sigma-b: {bias:g} must be at least 0 and below 1, or the biases alone exceed q = 1")
    names = list(ACTIVATIONS) if every else asked
    rows = [_row(activation_of(as_activation(name)), bias) for name in names]
    to = console(sys.stdout)
    to.print(_table(rows))
    to.print(_notes(rows), soft_wrap=True, markup=False)


@dataclass(frozen=True)
class Row:
    """The gains of one activation beside biases, and what becomes of q under the customary ones.

    Attributes:
        gains: at q = 1.
        share: what the weights contribute to q = 1 beside the biases.
        torch_q: where q settles with torch's gain; None where torch knows none, NaN where it diverges.
        mean_removed_q: where it settles with 1/std.
    """

    gains: GainRow
    share: float
    torch_q: float | None
    mean_removed_q: float

    @property
    def stable(self) -> bool:
        """The length map's slope at q = 1 is at most 1."""
        return self.share * self.gains.slope <= 1 + 1e-9


def _row(activation: Activation, sigma_b: float) -> Row:
    from initprobe.meanfield.gain import gain_row
    from initprobe.meanfield.phase import settled_lengths

    gains = gain_row(activation)
    scales = [gains.mean_removed, *([] if gains.torch is None else [gains.torch])]
    settled = settled_lengths(activation, scales, sigma_b).tolist()
    return Row(gains, 1 - sigma_b**2, settled[1] if len(settled) > 1 else None, settled[0])


_HEADINGS = (
    "forward\ngain",
    "\nq*",
    "backward\ngain",
    "\nchi_1",
    "gradient\ndepth",
    "map\nslope",
    "torch\ngain",
    "\nq*",
    "1/std\nNFNet",
    "\nq*",
)


def _table(rows: list[Row]) -> Table:
    from initprobe.reports.tables import plain_table

    table = plain_table("\nactivation", *_HEADINGS, left=("\nactivation",))
    for row in rows:
        table.add_row(row.gains.activation, *_numbers(row))
    return table


def _numbers(row: Row) -> list[str]:
    from initprobe.formatting import fixed

    gains, chi = row.gains, row.share * row.gains.chi_1
    return [
        fixed(math.sqrt(row.share) * gains.forward, 4),
        "1" if row.stable else "none",
        fixed(gains.backward, 4),
        fixed(chi, 4),
        _depth(chi),
        fixed(row.share * gains.slope, 3),
        "-" if gains.torch is None else fixed(gains.torch, 4),
        _settled(row.torch_q),
        fixed(gains.mean_removed, 4),
        _settled(row.mean_removed_q),
    ]


def _settled(q: float | None) -> str:
    from initprobe.formatting import short

    return "none" if q is not None and math.isnan(q) else short(q)


def _depth(chi: float) -> str:
    """Layers over which the gradient's variance changes by e; negative where it grows."""
    from initprobe.formatting import fixed

    depth = -1 / math.log(chi) if chi != 1 else math.inf
    return fixed(depth, 1) if abs(depth) < _LEVEL else "level"


def _notes(rows: list[Row]) -> str:
    unstable = [row.gains.activation for row in rows if not row.stable]
    lines = [
        "",
        "forward gain: keeps q = 1; backward gain: keeps the gradient's variance where q is 1.",
        "q*: where q settles with the gain before it; none where it is not stable and q drifts away.",
        "chi_1, depth: factor of the gradient's variance a layer at the forward gain, layers for e.",
        "torch: calculate_gain; sigmoid 1, tanh 5/3, selu 3/4 are custom, no fixed point at q = 1.",
        "1/std: for weights that ignore phi's mean (scaled weight standardisation, timm).",
    ]
    if unstable:
        lines += [
            "",
            f"{', '.join(unstable)}: the length map's slope exceeds 1,",
            "so no constant gain holds the scale with depth: --norm layer or --residual of `initprobe run` may.",
        ]
    return "\n".join(lines)
