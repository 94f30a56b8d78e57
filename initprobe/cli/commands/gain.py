"""Print the gains of activations.

Weights have std gain / sqrt(fan_in), and layers are square.

The forward gain keeps a pre-activation variance of q = 1. The backward gain keeps the variance of the gradient where q
is 1. The two are equal only for ReLU and similar activations. Where the slope of the length map exceeds 1, q = 1 is
unstable. Then no constant gain keeps the scale with depth.

\b
Examples:
  initprobe gain relu tanh gelu
  initprobe gain --all
  initprobe gain tanh --sigma-b 0.2
  initprobe gain --act mymodule:swish
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from initprobe.cli.candidates import activations
from initprobe.cli.parameters import argument, command_of, option

if TYPE_CHECKING:
    from rich.table import Table

    from initprobe.activations.record import Activation
    from initprobe.meanfield.gain import GainRow


# A depth scale beyond the depth of any network: the gradient is level.
_LEVEL = 1e6


@dataclass(frozen=True, kw_only=True)
class GainOptions:
    """The options of `initprobe gain`."""

    activations: tuple[str, ...] = argument(nargs=-1, metavar="[ACT...]", shell_complete=activations)
    acts: tuple[str, ...] = option("--act", multiple=True, metavar="ACT", help="The same as an argument; repeatable.")
    every: bool = option("--all", is_flag=True, help="All activations.")
    sigma_b: str = option(
        "--sigma-b", default="0", show_default=True, metavar="S", help="Standard deviation of the biases."
    )

    def names(self) -> list[str]:
        """The activations asked for.

        Raises:
            ConfigError: none is given, or some beside `--all`.
        """
        from initprobe.activations.catalogue import ACTIVATIONS
        from initprobe.errors import ConfigError

        given = [*self.activations, *self.acts]
        if bool(given) == self.every:
            raise ConfigError("name activations, for example `initprobe gain relu tanh`, or give --all")
        return list(ACTIVATIONS) if self.every else given


@command_of(GainOptions, help=__doc__)
def command(options: GainOptions) -> None:
    """Print gains of one activation, or of all.

    Args:
        options: of the command line.

    Raises:
        ConfigError: an unknown activation, or a `sigma_b` outside [0, 1).
    """
    from initprobe.config.names import activation_of, as_activation
    from initprobe.errors import ConfigError, at_field
    from initprobe.reports.console import console
    from initprobe.spec import parse_number

    names = options.names()
    with at_field("--sigma-b"):
        bias = parse_number(options.sigma_b)
    if not 0 <= bias < 1:
        raise ConfigError(
            f"must be at least 0 and below 1, not {bias:g}: biases alone would exceed q = 1", field="--sigma-b"
        )
    rows = [_row(activation_of(as_activation(name)), bias) for name in names]
    to = console(sys.stdout)
    to.print(_table(rows))
    to.print(_notes(rows), soft_wrap=True, markup=False)


@dataclass(frozen=True)
class Row:
    """The gains of one activation with biases, and where q settles with the gains that others use.

    Attributes:
        gains: at q = 1.
        share: of q = 1 that the weights contribute; the biases contribute the rest.
        torch_q: where q settles with the gain of torch; None where torch has none, NaN where q diverges.
        mean_removed_q: where q settles with the gain 1/std.
    """

    gains: GainRow
    share: float
    torch_q: float | None
    mean_removed_q: float

    @property
    def stable(self) -> bool:
        """Whether the slope of the length map at q = 1 is at most 1."""
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
    return "-" if q is None else "none" if math.isnan(q) else f"{q:.3g}"


def _depth(chi: float) -> str:
    """Layers over which the variance of the gradient changes by a factor of e; negative where it grows."""
    from initprobe.formatting import fixed

    depth = -1 / math.log(chi) if chi != 1 else math.inf
    return fixed(depth, 1) if abs(depth) < _LEVEL else "level"


def _notes(rows: list[Row]) -> str:
    unstable = [row.gains.activation for row in rows if not row.stable]
    lines = [
        "",
        "forward gain: keeps q = 1; backward gain: keeps the gradient's variance where q is 1.",
        "q*: where q settles with the gain to its left; none where q = 1 is unstable and q drifts away.",
        "chi_1: factor of the gradient's variance per layer at the forward gain; depth: layers for a factor of e.",
        "torch: calculate_gain; its sigmoid 1, tanh 5/3, selu 3/4 have no fixed point at q = 1.",
        "1/std: for weights that ignore the mean of phi (scaled weight standardization, timm).",
    ]
    if unstable:
        lines += [
            "",
            f"{', '.join(unstable)}: the slope of the length map exceeds 1,",
            "so no constant gain keeps the scale with depth; try --norm layer or --residual of `initprobe run`.",
        ]
    return "\n".join(lines)
